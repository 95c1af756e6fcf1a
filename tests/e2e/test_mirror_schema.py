#!/usr/bin/python3
# suite: takes=15
"""Fields whose type changes, that are made anew, that come and go while events flow: their columns, in both targets."""
import base64
import json
import struct

from lib import case, mirrors, verdict
import tap_print

TOPIC = "/data/Widget__ChangeEvent"
CREATE, UPDATE = 0, 1
STRING, STRINGS = "string", {"type": "array", "items": "string"}
HEADER = {"type": "record", "name": "ChangeEventHeader", "fields": [
    {"name": "entityName", "type": STRING}, {"name": "recordIds", "type": STRINGS},
    {"name": "changeType", "type": {"type": "enum", "name": "ChangeType", "symbols": ["CREATE", "UPDATE", "DELETE", "UNDELETE"]}},
    {"name": "changeOrigin", "type": STRING}, {"name": "transactionKey", "type": STRING},
    {"name": "sequenceNumber", "type": "int"}, {"name": "commitTimestamp", "type": "long"},
    {"name": "commitNumber", "type": "long"}, {"name": "commitUser", "type": STRING},
    {"name": "nulledFields", "type": STRINGS}, {"name": "diffFields", "type": STRINGS}, {"name": "changedFields", "type": STRINGS}]}

# Size__c is a number, becomes a text, is deleted and made anew as a number beside Color__c. (A schema's id does not tell
# field ids: one that differs in nothing else would be the same schema.)
SCHEMAS = {
    "number": [("Size__c", "double", "Data:Double:00N1")],
    "text": [("Size__c", "string", "Data:Text:00N1")],
    "anew": [("Color__c", "string", "Data:Text:00NA"), ("Size__c", "double", "Data:Double:00N9")],
}


def number(value):
    """Avro's zig-zag, seven bits at a time."""
    value, out = (value << 1) ^ (value >> 63), b""
    while value > 0x7f:
        out, value = out + bytes([value & 0x7f | 0x80]), value >> 7
    return out + bytes([value])


def text(value):
    return number(len(value.encode())) + value.encode()


def texts(values):
    return (number(len(values)) + b"".join(map(text, values)) if values else b"") + number(0)


def payload(place, schema, kind, record, values):
    """One change; values: those that it names, None for nulled ones."""
    names = [name for name, _, _ in SCHEMAS[schema]]
    named = sum(2 << i for i, name in enumerate(names) if name in values)
    nulled = sum(2 << i for i, name in enumerate(names) if values.get(name, 0) is None)
    bits = [[f"0x{mask:02X}"] if mask and kind == UPDATE else [] for mask in (nulled, named)]
    out = (text("Widget__c") + texts([record]) + number(kind) + text("") + text(f"key-{place}") + number(1) +
           number(1767225600000 + 1000 * place) + number(70000000000 + place) + text("") + texts(bits[0]) + texts([]) + texts(bits[1]))
    for name in names:
        value = values.get(name)
        out += number(0 if value is None else 1)
        if value is not None:
            out += text(value) if isinstance(value, str) else struct.pack("<d", value)
    return out


class MirrorSchema(case.Case):
    def company(self, changes):
        """An org whose past is these changes; a longer list is the same past, and more."""
        for name, fields in SCHEMAS.items():
            schema = {"type": "record", "name": "Widget__ChangeEvent", "fields": [
                {"name": "ChangeEventHeader", "type": HEADER},
                *({"name": field, "type": ["null", kind], "default": None, "doc": doc} for field, kind, doc in fields)]}
            (self.folder / f"{name}.avsc").write_text(json.dumps(schema), encoding="utf-8")
        events = [{"topic": TOPIC, "schema_file": f"{schema}.avsc", "event_id": f"event-{i}", "replay_id_hex": f"{1000 + i:016x}0000",
                   "payload_b64": base64.b64encode(payload(place, schema, kind, record, values)).decode()}
                  for i, (place, schema, kind, record, values) in enumerate(changes)]
        path = self.folder / "events.json"
        path.write_text(json.dumps({"events": events}), encoding="utf-8")
        listen = {"listen": self.bus.endpoint, "http": f"127.0.0.1:{self.bus.http}"} if self.bus else {}
        if self.bus:
            self.bus.stop()
        self.bus = self.org("--load", path, **listen)

    bus = None

    def test_fields_that_change(self):
        """each kind of value has a column of its own from then on; what came before, or comes late, stays where it was"""
        one, two, three, four = (f"a0100000000000{n}AAA" for n in range(1, 5))
        changes = [
            (1, "number", CREATE, one, {"Size__c": 1.5}),
            (2, "number", CREATE, two, {"Size__c": 2.5}),
            (5, "text", UPDATE, one, {"Size__c": "big"}),
            (6, "text", CREATE, three, {"Size__c": "small"}),
        ]
        later = [
            (3, "number", UPDATE, two, {"Size__c": 2.75}),  # from before the text, and late
            (7, "anew", UPDATE, one, {"Size__c": 7.5}),
            (8, "anew", CREATE, four, {"Size__c": 8.5}),
            (9, "anew", UPDATE, three, {"Color__c": "red", "Size__c": 9.5}),
            (10, "anew", UPDATE, four, {"Size__c": None}),
        ]
        server = mirrors.start_server()
        if server:
            self.started.append(server)
        targets = mirrors.both(self.folder, server)
        self.company(changes)
        tidemark = self.tidemark(self.bus, topics=(TOPIC,), sinks=[target.sink(on_delete="soft") for target in targets])
        self.expect(tidemark.run_until_idle(), 0, "Size__c changed its type from double to text .* size__c_2 .* size__c stays as it is")
        self.company(changes + later)
        told = self.expect(tidemark.run_until_idle(), 0, r"Size__c was deleted and made anew \(00N9\) .* size__c_3")
        self.assertNotIn("changed its type", told.err)  # remembered
        wanted = {one: (1.5, "big", 7.5, None), two: (2.75, None, None, None), three: (None, "small", 9.5, "red"),
                  four: (None, None, None, None)}
        for target in targets:
            rows = {row["id"]: tuple(row[column] for column in ("size__c", "size__c_2", "size__c_3", "color__c"))
                    for row in target.rows("widget__c")}
            self.assertEqual(rows, wanted, target.kind)
        status = tidemark.status()
        verdict.check_accounts(status)
        self.assertEqual([(sink["delivered"], sink["parked"]) for sink in status["sinks"]], [(9, 0)] * len(targets))


if __name__ == "__main__":
    tap_print.main()

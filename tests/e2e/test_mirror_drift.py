#!/usr/bin/python3
# suite: timeout=300 takes=10
"""Mirrors of an object whose fields change their types, go, and come back as others, in the middle of the stream."""
import base64
import datetime
import json
import random
import struct
import unittest
import uuid

from lib import case, mirrors, verdict
import tap_print

TOPIC, TABLE = "/data/Thing__ChangeEvent", "thing__c"
TYPES = ["CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW"]
DAY_MS = 86400000
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

# Field: Avro type, doc (with the field's id), column. The second and third schema change it in turn.
FIRST = {
    "Name": ("string", "Data:Text", "name"),
    "Amount__c": ("double", "Data:Currency:00NA1", "amount__c"),
    "Code__c": ("string", "Data:Text:00NC1", "code__c"),
    "Flag__c": ("boolean", "Data:Boolean:00NF1", "flag__c"),
    "When__c": ("long", "Data:DateTime:00NW1", "when__c"),
    "Day__c": ("long", "Data:DateOnly:00ND1", "day__c"),
    "Time__c": ("long", "Data:TimeOnly:00NT1", "time__c"),
    "Count__c": ("long", "Data:Integer:00NI1", "count__c"),
    "Multi__c": ("string", "Data:MultiEnum:00NM1", "multi__c"),
    "Order": ("string", "Data:Text", "order"),
}
SECOND = {name: field for name, field in FIRST.items() if name not in ("Code__c", "Amount__c")}
SECOND["Amount__c"] = ("string", "Data:Text:00NA1", "amount__c_2")  # another type
SECOND["New__c"] = ("string", "Data:Text:00NN1", "new__c")
THIRD = {name: field for name, field in SECOND.items() if name not in ("Flag__c", "New__c")}
THIRD["Flag__c"] = SECOND["Flag__c"]  # another place
THIRD["Code__c"] = ("string", "Data:Text:00NC2", "code__c_2")  # another field under the name of one that went
SCHEMAS = (FIRST, SECOND, THIRD)

VALUES = {
    "string": ["", " ", "plain", "Ærøskøbing", "日本語", "😀 é", "quote \" ' \\ %s $1 ?", "tab\tline\r\n", "\x01\x1f\x7f",
               "x" * 131072, "NULL", "null", "  lead", "\ufeffbom", "0012", "1e5"],
    "double": [0.0, 1.5, 1e308, 5e-324, -1.7976931348623157e308, 0.1, 9007199254740993.0],
    "boolean": [True, False],
    "Count__c": [0, 1, -1, 2**53 + 1, 2**63 - 1, -2**63],
    "When__c": [0, -1, -62135596800000, 253402300799999, 1700000000123],
    "Day__c": [0, -DAY_MS, -719162 * DAY_MS, 2932896 * DAY_MS, 20000 * DAY_MS],
    "Time__c": [0, 1, 86399999, 43200000],
}


def long_bytes(number):
    number = ((number << 1) ^ (number >> 63)) & (1 << 64) - 1
    out = b""
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


def text_bytes(text):
    return long_bytes(len(text.encode())) + text.encode()


def texts_bytes(texts):
    return (long_bytes(len(texts)) + b"".join(map(text_bytes, texts)) if texts else b"") + long_bytes(0)


ENCODE = {"string": text_bytes, "long": long_bytes, "double": lambda v: struct.pack("<d", v), "boolean": lambda v: bytes([v])}


def bitmap(fields, schema):
    digits = f"{sum(1 << place for place, name in enumerate(schema, 1) if name in fields):X}"
    return ["0x" + "0" * (len(digits) % 2) + digits] if fields else []


def schema_text(schema):
    texts = {"type": "array", "items": "string"}
    header = {"entityName": "string", "recordIds": texts, "changeType": {"type": "enum", "name": "ChangeType", "symbols": TYPES},
              "changeOrigin": "string", "transactionKey": "string", "sequenceNumber": "int", "commitTimestamp": "long",
              "commitNumber": "long", "commitUser": "string", "nulledFields": texts, "diffFields": texts, "changedFields": texts}
    fields = [{"name": "ChangeEventHeader", "type": {"type": "record", "name": "ChangeEventHeader", "fields": [
        {"name": name, "type": kind} for name, kind in header.items()]}}]
    fields += [{"name": name, "type": ["null", kind], "doc": doc, "default": None} for name, (kind, doc, _) in schema.items()]
    return json.dumps({"type": "record", "name": "Thing__ChangeEvent", "namespace": "com.sforce.eventbus", "fields": fields})


class Thing:
    """What was done to some records, as events and as the rows that must come of it."""

    def __init__(self, seed, changes=150):
        """So many changes under each schema."""
        self.chance, self.commit = random.Random(seed), 1000
        self.events, self.rows = [], {}
        for version in range(len(SCHEMAS)):
            for _ in range(changes):
                self.change(version, f"a01{self.chance.randrange(40):012d}AAA")

    def change(self, version, record):
        schema, chance, row = SCHEMAS[version], self.chance, self.rows.get(record)
        if row is None:
            kind, share, nulls = ("UNDELETE" if record in self.rows else "CREATE"), 0.8, 0
        else:
            kind, share, nulls = ("DELETE", 0, 0) if chance.random() < 0.05 else ("UPDATE", 0.3, 0.2)
        named = [name for name in schema if chance.random() < share] or (["Name"] if kind == "UPDATE" else [])
        values = {name: None if chance.random() < nulls else chance.choice(VALUES.get(name) or VALUES[schema[name][0]])
                  for name in named}
        self.add(version, kind, record, values)
        columns = {schema[name][2]: (name, value) for name, value in values.items()}
        self.rows[record] = None if kind == "DELETE" else {**(row or {}), **columns}

    def add(self, version, kind, record, values):
        schema, update = SCHEMAS[version], kind == "UPDATE"
        self.commit += 1
        nulled = [name for name, value in values.items() if value is None]
        payload = text_bytes("Thing__c") + texts_bytes([record]) + long_bytes(TYPES.index(kind)) + text_bytes("")
        payload += text_bytes(str(uuid.UUID(int=self.commit))) + long_bytes(1) + long_bytes(1700000000000 + self.commit)
        payload += long_bytes(self.commit) + text_bytes("005000000000001AAA") + texts_bytes(bitmap(nulled, schema) if update else [])
        payload += texts_bytes([]) + texts_bytes(bitmap(values, schema) if update else [])
        for name, (avro, _, _) in schema.items():
            value = values.get(name)
            payload += long_bytes(0) if value is None else long_bytes(1) + ENCODE[avro](value)
        self.events.append({"payload_b64": base64.b64encode(payload).decode(), "schema_file": f"v{version}.avsc"})


def as_milliseconds(text, name):
    if name == "Time__c":
        hours, minutes, seconds = text.split(":")
        return round((int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 1000)
    moment = datetime.datetime.fromisoformat((text if len(text) > 10 else text + "T00:00:00Z").replace("Z", "+00:00"))
    return (moment - EPOCH) // datetime.timedelta(milliseconds=1)


def is_same(wanted, found):
    name, value = wanted
    if value is None or found is None:
        return value is found
    return as_milliseconds(str(found), name) == value if name in ("When__c", "Day__c", "Time__c") else found == value


class Drift(case.Case):
    server = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = mirrors.start_server()
        if cls.server:
            cls.addClassCleanup(cls.server.stop)

    def mirror(self, thing):
        for version, schema in enumerate(SCHEMAS):
            (self.folder / f"v{version}.avsc").write_text(schema_text(schema), encoding="utf-8")
        load = self.folder / "load.json"
        load.write_text(json.dumps({"topic": TOPIC, "events": thing.events}), encoding="utf-8")
        bus = self.org("--load", load)
        targets = mirrors.both(self.folder, self.server)
        return targets, self.tidemark(bus, topics=(TOPIC,),
                                      sinks=[target.sink(on_delete="hard", batch={"events": 7}) for target in targets])

    def test_what_comes_late(self):
        """an event from before a field's change goes to the column that the field had then"""
        thing, record = Thing(1, changes=0), "a01000000000001AAA"
        thing.add(0, "CREATE", record, {"Name": "a", "Amount__c": 1.5, "Code__c": "old"})
        for version, values in ((0, {"Amount__c": 2.5}), (0, {"Code__c": "older"}), (1, {"Amount__c": "much"}), (2, {"Code__c": "new"})):
            thing.add(version, "UPDATE", record, values)
        thing.events += thing.events[1:3]
        del thing.events[1:3]
        targets, tidemark = self.mirror(thing)
        told = self.expect(tidemark.run_until_idle(), 0, "Amount__c changed its type from double to text .* amount__c stays as it is",
                           r"Code__c was deleted and made anew \(00NC2\) .* code__c stays as it is")
        self.assertEqual(told.err.count("changed its type"), len(targets))
        for target in targets:
            (row,) = target.rows(TABLE)
            self.assertEqual([row[column] for column in ("amount__c", "amount__c_2", "code__c", "code__c_2")],
                             [2.5, "much", "older", "new"], target.kind)

    def test_fields_that_change(self):
        """another type, another field under an old name, one more, one less; odd values; deaths between: the rows are right"""
        thing = Thing(7)
        targets, tidemark = self.mirror(thing)
        for visit in range(30, 120, 17):
            tidemark.run_until_idle(env={"TIDEMARK_KILL_AT": str(visit)})
        self.expect(tidemark.run_until_idle(), 0)
        status = tidemark.status()
        self.assertEqual(verdict.check_accounts(status), len(thing.events))
        self.assertEqual([sink["parked"] for sink in status["sinks"]], [0] * len(targets))
        self.assertEqual(status["incidents"], [])
        live = {record: row for record, row in thing.rows.items() if row is not None}
        for target in targets:
            rows = {row["id"]: row for row in target.rows(TABLE)}
            self.assertEqual(set(rows), set(live), target.kind)
            for record, row in rows.items():
                for column in set(row) - {"id"}:
                    if not column.startswith("_"):
                        wanted = live[record].get(column, (None, None))
                        self.assertTrue(is_same(wanted, row[column]), f"{target.kind} {record} {column}: {row[column]!r}, not {wanted!r}")
                self.assertLessEqual(set(live[record]), set(row))


if __name__ == "__main__":
    tap_print.main()

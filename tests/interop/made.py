"""Events made here: our own schemas, random values, encoded by python-avro. Seeded."""
import io
import json
import random
import string
import uuid

import avro.io
import avro.schema

import bitmaps
import service

NAMESPACE = "com.sforce.eventbus"
SYMBOLS = ["CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE",
           "GAP_OVERFLOW", "SNAPSHOT"]
TEXTS = ["", "plain", "Ærøskøbing", "日本語のテキスト", "emoji \U0001f600 here", "quote \" and \\ and /", "tab\tline\nreturn\r",
         "control \x01\x1f\x7f", "</script>", "x" * 3000]


def optional(kind, doc="Data:Text"):
    return {"type": ["null", kind], "doc": doc, "default": None}


def record(name, **fields):
    return {"type": "record", "name": name, "fields": [{"name": field, **kind} for field, kind in fields.items()]}


def header():
    text, texts = {"type": "string"}, {"type": {"type": "array", "items": "string"}}
    return {"name": "ChangeEventHeader", "type": record(
        "ChangeEventHeader", entityName=text, recordIds=texts,
        changeType={"type": {"type": "enum", "name": "ChangeType", "symbols": SYMBOLS}}, changeOrigin=text,
        transactionKey=text, sequenceNumber={"type": "int"}, commitTimestamp={"type": "long"},
        commitNumber={"type": "long"}, commitUser=text, nulledFields=texts, diffFields=texts, changedFields=texts)}


def change_schema():
    """A change event with every kind of field the service has, and more of them than 64."""
    address = record("Address", Street=optional("string"), City=optional("string"), Country=optional("string"),
                     Latitude=optional("double"), Longitude=optional("double"), GeocodeAccuracy=optional("string"))
    person = record("Switchable_PersonName", Salutation=optional("string"), FirstName=optional("string"),
                    LastName=optional("string"))
    fields = {
        "Name": {"type": ["null", "string", person], "default": None},
        "BillingAddress": optional(address, "Data:Address"), "ShippingAddress": optional("Address", "Data:Address"),
        "Phone": optional("string"), "Amount__c": optional("double", "Data:Currency"), "Employees": optional("int", "Data:Integer"),
        "Active__c": optional("boolean", "Data:Boolean"), "CloseDate": optional("long", "Data:DateOnly"),
        "Serial__c": optional("long", "Data:DateTime"), "Where__c": optional(record(
            "Location", Latitude=optional("double"), Longitude=optional("double")), "Data:Location"),
        "Preferences": optional({"type": "array", "items": "string"}),
    }
    fields.update({f"Custom_{number}__c": optional("string") for number in range(70)})
    fields["LastModifiedDate"] = optional("long", "Data:DateTime")
    return {"type": "record", "name": "Widget__ChangeEvent", "namespace": NAMESPACE,
            "fields": [header()] + [{"name": name, **kind} for name, kind in fields.items()], "uuid": "unknown member"}


def platform_schema():
    return {"type": "record", "name": "Order__e", "namespace": NAMESPACE, "fields": [
        {"name": "CreatedDate", "type": "long", "doc": "CreatedDate:DateTime"},
        {"name": "CreatedById", "type": "string", "doc": "CreatedBy:EntityId"},
        {"name": "Number__c", **optional("double", "Data:Double")}, {"name": "Note__c", **optional("string")},
        {"name": "Paid__c", **optional("boolean", "Data:Boolean")}, {"name": "Due__c", **optional("long", "Data:DateOnly")}]}


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.change, self.platform = (avro.schema.parse(json.dumps(schema)) for schema in (change_schema(), platform_schema()))
        self.change_id = service.schema_id(self.change.canonical_form)
        self.platform_id = service.schema_id(self.platform.canonical_form)
        self.replay = 1000

    def record_id(self, prefix="a01"):
        return prefix + "".join(self.random.choices(string.ascii_letters + string.digits, k=15))

    def value(self, kind):
        """A random value of a non-null schema; records have some of their components."""
        draw = self.random
        if kind.type == "record":
            return {field.name: self.value(field.type.schemas[1]) if draw.random() < 0.6 else None for field in kind.fields}
        if kind.type == "array":
            return [draw.choice(TEXTS) for _ in range(draw.randrange(5))]
        return {
            "string": lambda: draw.choice(TEXTS) + str(draw.randrange(100)),
            "double": lambda: draw.choice([0.0, -0.0, 1.5, 1e308, -1e-300, 5e-324, 0.1, 2.0**53, float("nan"), float("inf"),
                                           float("-inf"), draw.uniform(-1e6, 1e6)]),
            "int": lambda: draw.choice([0, -1, 2**31 - 1, -2**31, draw.randrange(10**6)]),
            "long": lambda: draw.choice([0, -1, 2**63 - 1, -2**63, 2**53 + 1, draw.randrange(2 * 10**12)]),
            "boolean": lambda: draw.random() < 0.5,
        }[kind.type]()

    def event(self, schema, identity, value):
        out = io.BytesIO()
        avro.io.DatumWriter(schema).write(value, avro.io.BinaryEncoder(out))
        self.replay += self.random.randrange(1, 40)
        return service.Event(identity, out.getvalue(), self.replay.to_bytes(8, "big") + bytes(2),
                             str(uuid.UUID(int=self.random.getrandbits(128), version=4)))

    def pick_changes(self, body):
        """Random changed and nulled names of an UPDATE, and the body's values for them."""
        changed, nulled = [], []
        for field in self.random.sample(self.change.fields[1:], self.random.randrange(1, 12)):
            branches = field.type.schemas
            compound = bitmaps.record_branch(field.type)
            if compound and (len(branches) == 2 or self.random.random() < 0.5):
                value = dict.fromkeys([child.name for child in compound.fields])
                for child in self.random.sample(compound.fields, self.random.randrange(1, len(compound.fields) + 1)):
                    changed.append((field.name, child.name))
                    if self.random.random() < 0.3:
                        nulled.append((field.name, child.name))
                    else:
                        value[child.name] = self.value(child.type.schemas[1])
                body[field.name] = value
            else:
                changed.append((field.name, None))
                if self.random.random() < 0.3:
                    nulled.append((field.name, None))
                else:
                    body[field.name] = self.value(branches[1])
        return changed, nulled

    def change_event(self, number):
        kind = self.random.choices(SYMBOLS[:9], [3, 8, 2, 1, 1, 1, 1, 1, 1])[0]
        body = {field.name: None for field in self.change.fields[1:]}
        changed, nulled, diff = [], [], []
        if kind in ("CREATE", "UNDELETE"):
            for field in self.change.fields[1:]:
                if self.random.random() < 0.4:
                    body[field.name] = self.value(self.random.choice(field.type.schemas[1:]))
        elif kind == "UPDATE":
            changed, nulled = self.pick_changes(body)
            diff = [pair for pair in changed if pair[1] is None and isinstance(body[pair[0]], str) and self.random.random() < 0.1]
        if kind in ("UPDATE", "DELETE") and self.random.random() < 0.3:
            # An enriched channel sends values of fields that did not change.
            for field in self.random.sample(self.change.fields[1:], 4):
                if body[field.name] is None and not any(name == field.name for name, _ in changed):
                    body[field.name] = self.value(field.type.schemas[-1])
        ids = ["000000000000000AAA"] if kind == "GAP_OVERFLOW" else [
            self.record_id() for _ in range(self.random.choice([1, 1, 1, 2, 20]))]
        header_value = {
            "entityName": "Widget__c", "recordIds": ids, "changeType": kind, "changeOrigin": self.random.choice(["", "com/salesforce/api/rest/66.0"]),
            "transactionKey": str(uuid.UUID(int=self.random.getrandbits(128))), "sequenceNumber": self.random.randrange(1, 50),
            "commitTimestamp": (1771300000 + number) * 1000, "commitNumber": self.random.choice([72784468115, 2**53 + 1, 2**60]) + number,
            "commitUser": self.record_id("005"), "nulledFields": bitmaps.encode(nulled, self.change),
            "diffFields": bitmaps.encode(diff, self.change), "changedFields": bitmaps.encode(changed, self.change)}
        return self.event(self.change, self.change_id, {"ChangeEventHeader": header_value, **body})

    def platform_event(self, number):
        body = {"CreatedDate": 1711497484289 + number, "CreatedById": self.record_id("005")}
        for field in self.platform.fields[2:]:
            body[field.name] = self.value(field.type.schemas[1]) if self.random.random() < 0.7 else None
        return self.event(self.platform, self.platform_id, body)

"""What a line of output must say, worked out from the python-avro decoding of the same bytes."""
import io
import json
import math

import avro.io
import avro.schema

import bitmaps

HEADER_KEYS = ["kind", "entity", "change_type", "record_ids", "commit_timestamp", "commit_number", "transaction_key",
               "sequence_number", "change_origin", "commit_user", "changed_fields", "nulled_fields", "diff_fields", "fields"]
FULL_IMAGES = ("CREATE", "UNDELETE", "SNAPSHOT")


def datum(schema, payload):
    reader = io.BytesIO(payload)
    value = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(reader))
    assert not reader.read(), "bytes left over"
    return value


def plain(value):
    """A value as JSON has it: what JSON has no number for is a string, a record without its nulls."""
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def whole(record, names):
    return {name: plain(record[name]) for name in names if record[name] is not None}


def named_fields(body, named, nulled):
    """fields of an UPDATE: what was named, in the order of the names; null only where it was nulled."""
    fields = {}
    for name, child in named:
        value = body[name]
        if child is not None:
            value = value.get(child) if isinstance(value, dict) else None
        if value is None and (name, child) not in nulled:
            continue
        if child is None:
            fields[name] = plain(value)
        else:
            fields.setdefault(name, {})[child] = plain(value)
    return fields


def enriched(body, named, names):
    """Values that are there although nothing named them, in schema order."""
    rest = {}
    for name in names:
        value = body[name]
        if value is None or (name, None) in named:
            continue
        if isinstance(value, dict):
            value = {child: item for child, item in value.items() if item is not None and (name, child) not in named}
            if not value:
                continue
        rest[name] = plain(value)
    return rest


def order(pairs, schema):
    """Top level ascending, then nested ascending."""
    position = {field.name: index for index, field in enumerate(schema.fields)}

    def key(pair):
        name, child = pair
        children = [] if child is None else [f.name for f in bitmaps.record_branch(schema.fields[position[name]].type).fields]
        return (child is not None, position[name], children.index(child) if children else 0)
    return sorted(pairs, key=key)


def line(schema, payload):
    """The members of the line from "kind" on, in their order."""
    value = datum(schema, payload)
    names = [field.name for field in schema.fields]
    if "ChangeEventHeader" not in names:
        return {"kind": "platform_event", "fields": whole(value, names)}
    header, names = value["ChangeEventHeader"], names[1:]
    change_type = header["changeType"]
    changed = bitmaps.names(header["changedFields"], schema)
    nulled = bitmaps.names(header["nulledFields"], schema)
    diff = bitmaps.names(header["diffFields"], schema)
    kind = "change"
    if change_type.startswith("GAP_"):
        kind = "overflow" if change_type == "GAP_OVERFLOW" else "gap"
    result = dict(zip(HEADER_KEYS, [
        kind, header["entityName"], change_type, header["recordIds"], header["commitTimestamp"], header["commitNumber"],
        header["transactionKey"], header["sequenceNumber"], header["changeOrigin"], header["commitUser"],
        bitmaps.text(changed), bitmaps.text(nulled), bitmaps.text(diff), {}]))
    if change_type in FULL_IMAGES:
        result["fields"] = whole(value, names)
    elif change_type == "UPDATE":
        named = order(set(changed) | set(nulled), schema)
        result["fields"] = named_fields(value, named, nulled)
    if change_type in ("UPDATE", "DELETE"):
        named = set(changed) | set(nulled) if change_type == "UPDATE" else set()
        more = enriched(value, named, names)
        if more:
            result["enriched"] = more
    return result


def from_kind(text):
    """The members of an output line from "kind" on, and those before it, both in the order of the line."""
    members = json.loads(text)
    keys = list(members)
    start = keys.index("kind")
    return {key: members[key] for key in keys[start:]}, {key: members[key] for key in keys[:start]}


def difference(wanted, got, where=""):
    """Where got is not wanted, the order of every object's members included; None when nowhere."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        if list(wanted) != list(got):
            return f"{where}: members {list(got)}, not {list(wanted)}"
        return next((found for key in wanted for found in [difference(wanted[key], got[key], f"{where}.{key}")] if found), None)
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        pairs = enumerate(zip(wanted, got))
        return next((found for index, pair in pairs for found in [difference(*pair, f"{where}[{index}]")] if found), None)
    number = (int, float)
    alike = type(wanted) is type(got) or (type(wanted) in number and type(got) in number)
    return None if alike and wanted == got else f"{where}: {got!r}, not {wanted!r}"


def parse_schema(text):
    return avro.schema.parse(text)

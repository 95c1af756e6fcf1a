"""The bitmaps of a change header, decoded and encoded on their own: nothing here is shared with the daemon.

An element "0xHEX" is one big number whose bit i stands for field i of the event record; "N-0xHEX" is the
same for the record branch of field N. Names come out top level ascending, then nested as Parent.Child.
"""


def record_branch(field_type):
    """The record among a field's union branches (resolved python-avro schema), or None."""
    branches = field_type.schemas if field_type.type == "union" else [field_type]
    return next((branch for branch in branches if branch.type == "record"), None)


def has_scalar(field_type):
    """Whether the field may hold a plain value too, as Name does: [null, string, record]."""
    return any(branch.type not in ("null", "record") for branch in getattr(field_type, "schemas", [field_type]))


def bits(text):
    number = int(text, 16)
    return [index for index in range(number.bit_length()) if number >> index & 1]


def names(elements, schema):
    """[(field, child or None)] for one header array."""
    top, nested = set(), {}
    for element in elements:
        parent, dash, mask = element.partition("-")
        if dash:
            nested.setdefault(int(parent), set()).update(bits(mask))
        else:
            top.update(bits(element))
    for index in list(top):
        record = record_branch(schema.fields[index].type)
        if record and not has_scalar(schema.fields[index].type):
            top.discard(index)
            nested.setdefault(index, set()).update(range(len(record.fields)))
    found = [(schema.fields[index].name, None) for index in sorted(top)]
    for parent in sorted(nested):
        record = record_branch(schema.fields[parent].type)
        found += [(schema.fields[parent].name, record.fields[child].name) for child in sorted(nested[parent])]
    return found


def text(pairs):
    return [name if child is None else f"{name}.{child}" for name, child in pairs]


def mask(indexes):
    digits = f"{sum(1 << index for index in indexes):X}"
    return "0x" + digits.zfill(len(digits) + len(digits) % 2)


def encode(pairs, schema):
    """The header array for these (field, child or None), in the service's form."""
    position = {field.name: index for index, field in enumerate(schema.fields)}
    top = [position[name] for name, child in pairs if child is None]
    nested = {}
    for name, child in pairs:
        if child is not None:
            record = record_branch(schema.fields[position[name]].type)
            nested.setdefault(position[name], []).append([field.name for field in record.fields].index(child))
    return ([mask(top)] if top else []) + [f"{parent}-{mask(nested[parent])}" for parent in sorted(nested)]

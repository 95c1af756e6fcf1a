"""The verdict on a run: each published event in the file exactly once, in order; the accounts add up (I9)."""
from . import org as orgs


def on_topic(entry, topic):
    return entry["topic"] == topic or (topic == orgs.CHANGES and entry["topic"].startswith("/data/"))


def identity(entry):
    """What makes two events one (I2). The ledger says event_id where an output line says id."""
    return entry.get("event_id", entry.get("id")), tuple(entry.get("record_ids") or ())


def expected(ledger, topic):
    """Identities that must be delivered for a subscription of topic: bus order, publish retries once."""
    return list(dict.fromkeys(identity(entry) for entry in ledger if on_topic(entry, topic)))


def difference(wanted, got, limit=5):
    """Why got is not wanted, in words; None when it is."""
    if wanted == got:
        return None
    places_wanted = {key: index for index, key in enumerate(wanted)}
    seen, repeated, foreign = set(), [], []
    for key in got:
        if key in seen:
            repeated.append(key)
        if key not in places_wanted:
            foreign.append(key)
        seen.add(key)
    missing = [key for key in wanted if key not in seen]
    words = [f"{len(wanted)} published, {len(got)} in the file"]
    for what, keys in (("lost", missing), ("repeated", repeated), ("never published", foreign)):
        if keys:
            words.append(f"{len(keys)} {what}: {keys[:limit]}")
    if not missing and not repeated and not foreign:
        first = next(index for index, pair in enumerate(zip(wanted, got)) if pair[0] != pair[1])
        words.append(f"out of order from line {first}: {got[first:first + limit]} instead of {wanted[first:first + limit]}")
    return "; ".join(words)


def check_output(ledger, lines, topics):
    """Raises unless the lines of each topic are its published events, once each and in order."""
    complaints = []
    for topic in topics:
        wanted = expected(ledger, topic)
        got = [identity(line) for line in lines if line["topic"] == topic]
        complaint = difference(wanted, got)
        if complaint:
            complaints.append(f"{topic}: {complaint}")
        fields = {identity(entry): entry for entry in ledger if on_topic(entry, topic)}
        for line in lines:
            entry = fields.get(identity(line)) if line["topic"] == topic else None
            if entry and line["kind"] not in ("platform_event",):
                for name in ("entity", "change_type", "schema_id"):
                    if name in entry and entry[name] != line[name]:
                        complaints.append(f"{topic}: {line['id']}: {name} is {line[name]!r}, published {entry[name]!r}")
    others = {line["topic"] for line in lines} - set(topics)
    if others:
        complaints.append(f"lines of topics nobody subscribed to: {others}")
    if complaints:
        raise AssertionError("\n".join(complaints))


def check_sequence(lines):
    """Raises unless seq only grows, line by line."""
    numbers = [line["seq"] for line in lines]
    for before, after in zip(numbers, numbers[1:]):
        if after <= before:
            raise AssertionError(f"seq {after} after seq {before}")


def check_accounts(status, settled=True):
    """I9, from `status --json`. settled: every sink has settled the head."""
    complaints, journaled = [], 0
    for sub in status["subscriptions"]:
        journaled += sub["journaled"]
        if sub["received"] != sub["duplicates"] + sub["before_start"] + sub["journaled"]:
            complaints.append(f"subscription {sub['name']}: received is not duplicates + before_start + journaled: {sub}")
    if status["journal"]["head"] != journaled:
        complaints.append(f"head {status['journal']['head']}, journaled in all {journaled}")
    for sink in status["sinks"]:
        accounted = sum(sink[name] for name in ("delivered", "superseded", "filtered", "parked", "lag"))
        if accounted != journaled:
            complaints.append(f"sink {sink['name']}: {accounted} accounted for, {journaled} journaled: {sink}")
        if settled and (sink["lag"] != 0 or sink["cursor"] != status["journal"]["head"]):
            complaints.append(f"sink {sink['name']} has not settled the head: {sink}")
    if complaints:
        raise AssertionError("\n".join(complaints))
    return journaled


def totals(status):
    """The part of a status that a restart must not change."""
    return {
        "subscriptions": [{key: sub[key] for key in ("name", "generation", "journaled", "before_start")}
                          for sub in status["subscriptions"]],
        "journal": {key: status["journal"][key] for key in ("head", "oldest")},
        "sinks": [{key: sink[key] for key in ("name", "cursor", "lag", "delivered", "superseded", "filtered", "parked")}
                  for sink in status["sinks"]],
        "dead_letters": status["dead_letters"],
        "incidents": status["incidents"],
    }

"""Targets of mirrors, and whether one holds what the org holds.

The mapping of names and values is written here once more, from its description and not from the program.
"""
import collections
import datetime
import json
import pathlib
import re
import shutil
import sqlite3
import urllib.request

from . import postgres


def column_of(field):
    """LastModifiedDate -> last_modified_date, Amount_Owed__c -> amount_owed__c."""
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", field)
    return re.sub(r"([A-Z])([A-Z][a-z])", r"\1_\2", text).lower()


def leaves(fields, prefix=""):
    """Column and value of every field that is not null, compounds by their parts."""
    for name, value in fields.items():
        column = prefix + column_of(name)
        if isinstance(value, dict):
            yield from leaves(value, column + "_")
        else:
            yield column, value


def milliseconds(text):
    """A time, a date or a time of day, as the org's numbers have them."""
    if re.fullmatch(r"\d\d:\d\d:\d\d(\.\d+)?", text):
        text = f"1970-01-01T{text}+00:00"
    elif re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        text += "T00:00:00+00:00"
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round((moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)).total_seconds() * 1000)


def same(expected, found):
    if isinstance(expected, (int, float)) and isinstance(found, str):
        found = milliseconds(found)
    return expected == found


def org_state(bus):
    """{entity: {record id: {column: value}}} of what the simulated company holds right now."""
    with urllib.request.urlopen(f"{bus.login_url}/sim/state", timeout=20) as answer:
        entities = json.load(answer)["entities"]
    return {entity: {record: dict(leaves(fields)) for record, fields in records.items()}
            for entity, records in entities.items()}


def spread(row):
    """A row as if every field had a column of its own: objects that several fields share, by their members."""
    flat = {}
    for column, value in row.items():
        shared = json.loads(value) if isinstance(value, str) and value.startswith("{") else value
        if column == "_fields" or isinstance(shared, dict):
            for path, member in (shared or {}).items():
                name = "_".join(column_of(part) for part in path.split("."))
                flat[name if column == "_fields" else f"{column}_{name}"] = member
        else:
            flat[column] = value
    return flat


def differences(state, target, skip=(), limit=8):
    """What of the target is not what the org holds, in words. skip: record ids that are not looked at."""
    found = []
    for entity, records in sorted(state.items()):
        rows = {row["id"]: spread(row) for row in target.rows(column_of(entity)) if not row.get("_deleted")}
        wanted = {record: fields for record, fields in records.items() if record not in skip}
        found += [f"{entity} {record}: no row" for record in sorted(set(wanted) - set(rows))]
        found += [f"{entity} {record}: a row that should not be" for record in sorted(set(rows) - set(wanted) - set(skip))]
        for record in sorted(set(wanted) & set(rows)):
            for column, value in rows[record].items():
                expected = wanted[record].get(column)
                if column == "_incomplete" and value:
                    found.append(f"{entity} {record}: is incomplete")
                if column != "id" and not column.startswith("_") and column not in target.foreign and not same(expected, value):
                    found.append(f"{entity} {record} {column}: {value!r} instead of {expected!r}")
            found += [f"{entity} {record} {column}: no column" for column in sorted(set(wanted[record]) - set(rows[record]))]
    return "\n".join(found[:limit] + ([f"... {len(found)} in all"] if len(found) > limit else []))


def steady(rows):
    """Rows by id, without what a repeat of the same changes may say anew."""
    return {row["id"]: {key: value for key, value in row.items() if key not in ("_seq", "_state")} for row in rows}


def archived(ledger):
    """{entity: {record id: how often it was deleted}}: a row of the history each, whatever comes twice."""
    found, alive, seen = {}, set(), set()
    for entry in ledger:
        key = (entry["event_id"], *entry.get("record_ids", ()))
        if entry.get("change_type") is None or key in seen:
            continue
        seen.add(key)
        for record in entry["record_ids"]:
            if entry["change_type"] != "DELETE":
                alive |= {record} if entry["change_type"] != "UPDATE" else set()
            elif record in alive:
                alive.remove(record)
                found.setdefault(entry["entity"], collections.Counter())[record] += 1
    return found


def history(target, entities):
    """The same, as the target has it."""
    rows = {entity: collections.Counter(row["id"] for row in target.rows(f"{column_of(entity)}_history")) for entity in entities}
    return {entity: records for entity, records in rows.items() if records}


class Sqlite:
    """A SQLite file."""
    kind = "sqlite"

    def __init__(self, path):
        self.path, self.foreign = path, set()

    def sink(self, **keys):
        return {"name": self.kind, "sqlite": {"path": str(self.path)}, **keys}

    def connect(self):
        connection = sqlite3.connect(self.path, timeout=30)
        connection.row_factory = sqlite3.Row
        return connection

    def run(self, sql):
        connection = self.connect()
        with connection:
            connection.executescript(sql)
        connection.close()

    def keep(self, path):
        """A backup, as its owner would make one; put_back(path) restores it."""
        connection = self.connect()
        copy = sqlite3.connect(path)
        connection.backup(copy)
        connection.close()
        copy.close()

    def put_back(self, path):
        for name in (self.path, f"{self.path}-wal", f"{self.path}-shm"):
            pathlib.Path(name).unlink(missing_ok=True)
        shutil.copy(path, self.path)

    def rows(self, table):
        connection = self.connect()
        try:
            return [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')]
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()


class Postgres:
    """A database of a server of the tests."""
    kind = "postgres"

    def __init__(self, server):
        self.server, self.database, self.foreign = server, server.create(), set()

    def sink(self, user="postgres", **keys):
        return {"name": self.kind, "postgres": {"dsn": self.server.dsn(self.database, user)}, **keys}

    def run(self, sql):
        return self.server.sql(sql, self.database)

    def keep(self, path):
        """A backup; nobody may be connected. put_back(path) restores it."""
        self.server.sql(f'CREATE DATABASE "{path.name}" TEMPLATE {self.database}', "postgres")

    def put_back(self, path):
        self.server.sql(f"DROP DATABASE {self.database}", "postgres")
        self.server.sql(f'CREATE DATABASE {self.database} TEMPLATE "{path.name}"', "postgres")

    def rows(self, table):
        if self.server.sql(f"SELECT to_regclass('{table}')", self.database).strip() == "":
            return []
        return self.server.rows(f'SELECT * FROM "{table}"', self.database)


def both(folder, server):
    """One target of each kind; PostgreSQL only where it is installed."""
    targets = [Sqlite(folder / "mirror.db")]
    return targets + [Postgres(server)] if server else targets


def start_server():
    return postgres.Postgres() if postgres.programs() else None

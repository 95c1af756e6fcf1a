#!/usr/bin/python3
# suite: timeout=300 takes=15
"""Mirrors whose rows are edited in the target, too: a last-modified column that the target fills tells whose write it was."""
import unittest

from lib import case, mirrors, org as orgs, verdict, waiting
import tap_print

TABLE = {
    "sqlite": """
        CREATE TABLE {0} (id text PRIMARY KEY NOT NULL, updated_at text NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')));
        CREATE TRIGGER {0}_touch AFTER UPDATE ON {0} BEGIN
            UPDATE {0} SET updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE id = NEW.id; END;""",
    "postgres": """
        CREATE TABLE {0} (id text PRIMARY KEY, updated_at timestamptz NOT NULL DEFAULT clock_timestamp());
        CREATE FUNCTION {0}_touch() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN NEW.updated_at = clock_timestamp(); RETURN NEW; END $$;
        CREATE TRIGGER touch BEFORE UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION {0}_touch();""",
}
ENTITIES = {
    "Account": {"last_modified_column": "updated_at", "conflict": "newest_wins"},
    "Contact": {"last_modified_column": "updated_at", "conflict": "target_wins"},
}


class Edits(case.Case):
    server = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = mirrors.start_server()
        if cls.server:
            cls.addClassCleanup(cls.server.stop)

    def sinks(self):
        return {sink["name"]: sink for sink in self.tide.status()["sinks"]}

    def run_and_check(self):
        self.expect(self.tide.run_until_idle(), 0)
        verdict.check_accounts(self.tide.status())

    def test_a_column_the_target_fills(self):
        """a trigger stamps every row at every write, an hour behind the org: nothing of the source is lost, edits are seen"""
        self.bus = self.org("--seed", 71, "--prefill", 600, "--count", 300, "--rate", 0, "--hold")
        self.bus.wait_published(600)
        targets = mirrors.both(self.folder, self.server)
        for target in targets:
            target.run(TABLE[target.kind].format("account") + TABLE[target.kind].format("contact"))
            target.foreign = {"updated_at"}
        only = {"Opportunity": False, "Invoice__c": False}
        self.tide = self.tidemark(self.bus, topics=(orgs.CHANGES,), sinks=[
            target.sink(on_delete="hard", batch={"events": 20}, entities={**ENTITIES, **only}) for target in targets])

        def state():
            return {entity: rows for entity, rows in mirrors.org_state(self.bus).items() if entity in ENTITIES}
        self.run_and_check()
        for target in targets:
            self.assertEqual(mirrors.differences(state(), target), "", target.kind)
            self.assertEqual(self.sinks()[target.kind]["superseded"], 0)
        # Rows are edited. Everything is delivered once more, a restart later: older than the edits, it changes nothing.
        edited = {}
        for target in targets:
            for table, column in (("account", "name"), ("contact", "title")):
                rows = target.rows(table)
                newest = max(mirrors.milliseconds(row["updated_at"]) for row in rows)

                def later():
                    target.run(f"UPDATE {table} SET {column} = 'edited' WHERE id IN ({', '.join(ids)})")
                    stamps = [mirrors.milliseconds(row["updated_at"]) for row in target.rows(table) if row[column] == "edited"]
                    return min(stamps) > newest + 1000
                chosen = sorted(row["id"] for row in rows)[::7]
                ids = [f"'{record}'" for record in chosen]
                waiting.until(later, "edits of a later second than ours", 30)
                edited[target.kind, table] = set(chosen)
        for target in targets:
            self.expect(self.tide.call("replay", "--sink", target.kind, "--from", "earliest"), 0)
        self.run_and_check()
        for target in targets:
            rows = {table: {row["id"]: row for row in target.rows(table)} for table in ("account", "contact")}
            for table, column in (("account", "name"), ("contact", "title")):
                self.assertEqual({record for record, row in rows[table].items() if row[column] == "edited"}, edited[target.kind, table])
            skip = edited[target.kind, "account"] | edited[target.kind, "contact"]
            self.assertEqual(mirrors.differences(state(), target, skip), "", target.kind)


if __name__ == "__main__":
    tap_print.main()

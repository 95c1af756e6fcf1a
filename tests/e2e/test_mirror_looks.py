#!/usr/bin/python3
"""Looking at mirrors: what one would do (run --dry-run), and why a record's fields are what they are (status --explain)."""
import json
import sqlite3
import unittest

from lib import case, mirrors, org as orgs
import tap_print

EVENTS = 200


def rows_of(connection):
    """Every row of the tables that are the user's, by table."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type='table' ORDER BY name")]
    return {name: sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)
            for name in names if not name.startswith("_tidemark_")}


class Looks(case.Case):
    def filled(self, seed):
        """A journal with events that a mirror, named last, was not given yet."""
        self.bus = self.org("--seed", seed, "--prefill", EVENTS, "--count", 0)
        self.bus.wait_published(EVENTS)
        self.tm = self.tidemark(self.bus, topics=(orgs.ACCOUNTS, orgs.CONTACTS))
        self.expect(self.tm.run_until_idle(), 0)
        self.database = self.folder / "mirror.db"

    def mirror(self, **keys):
        self.tm.config["sinks"].append({"name": "mirror", "sqlite": {"path": str(self.database)}, **keys})
        self.tm.write()

    def journal(self):
        return {key: value for key, value in self.tm.status()["journal"].items() if key != "free_bytes"}

    def test_statements(self):
        """the statements of the first batch, run by hand, give the rows that the daemon writes"""
        self.filled(101)
        self.mirror(on_delete="soft", new_fields="json",
                    entities={"Account": {"new_fields": "add", "fields": {"Name": {"max_length": 12}, "Rating": False,
                                                                                    "BillingAddress": None}}})
        before = self.journal()
        told = self.expect(self.tm.call("run", "--dry-run"), 0).out
        self.assertFalse(self.database.exists())
        self.assertEqual(self.journal(), before)
        self.assertIn("-- sink mirror (sqlite)\n", told)
        self.assertRegex(told, r"-- seq \d+ Account 001\w+: would be parked: .*Account.Name: max_length 12: ")
        self.assertRegex(told, r"-- seq \d+ Contact: filtered\n")
        self.assertNotIn('"contact"', told)
        by_hand = sqlite3.connect(":memory:")
        by_hand.executescript(told)
        self.expect(self.tm.run_until_idle(), 0)
        with sqlite3.connect(self.database) as written:
            expected = rows_of(written)
        self.assertGreater(len(expected["account"]), 1)
        self.assertEqual(rows_of(by_hand), expected)
        sink = next(sink for sink in self.tm.status()["sinks"] if sink["name"] == "mirror")
        parked = {line.split()[2] for line in told.splitlines() if ": would be parked: " in line}
        self.assertEqual(sink["parked"], len(parked))
        letters = [json.loads(line) for line in self.expect(self.tm.call("dlq", "list", "--json"), 0).out.splitlines()]
        self.assertEqual({str(letter["seq"]) for letter in letters}, parked)
        self.assertTrue(all(letter["reason"] == "mapping" and letter["record_id"] for letter in letters), letters)

    def test_what_is_there_already(self):
        """what the target holds decides: nothing is made again, older changes are superseded, new columns are said"""
        self.filled(102)
        self.mirror(on_delete="hard", entities={"Account": {"fields": {"Rating": False}}})
        self.expect(self.tm.run_until_idle(), 0)
        self.expect(self.tm.call("replay", "--sink", "mirror", "--from", "earliest"), 0)
        self.tm.config["sinks"][-1]["entities"]["Account"]["fields"] = {"Rating": {"column": "stars"}}
        self.tm.write()
        told = self.expect(self.tm.call("run", "--dry-run"), 0).out
        self.assertNotIn("CREATE TABLE", told)
        self.assertIn('-- ALTER TABLE "account" ADD COLUMN "stars": text\n', told)
        self.assertRegex(told, r"-- seq \d+ Account 001\w+: superseded, what the target holds is newer\n")

    def test_postgres(self):
        """the same in PostgreSQL: what is shown, run by hand, is what is written; explained; looked at by the doctor"""
        server = mirrors.start_server()
        if not server:
            raise unittest.SkipTest("no PostgreSQL here")
        self.addCleanup(server.stop)
        self.filled(106)
        written, by_hand = server.create(), server.create()
        self.tm.config["sinks"].append({"name": "mirror", "postgres": {"dsn": server.dsn(written)}, "on_delete": "archive",
                                        "compounds": "json", "entities": {"Account": {}}})
        self.tm.write()
        told = self.expect(self.tm.call("run", "--dry-run"), 0).out
        self.assertEqual(server.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", written), [])
        tombstones = "CREATE TABLE _tidemark_tombstones (\"table\" text, id text, epoch int, commit_number bigint, " \
                     "version text, seq bigint, state bytea, PRIMARY KEY (\"table\", id));\n"
        server.sql(tombstones + told, by_hand)
        self.expect(self.tm.run_until_idle(), 0)
        for table in ("account", "account_history"):
            rows = [server.rows(f'SELECT * FROM {table} ORDER BY id, _seq', database) for database in (by_hand, written)]
            self.assertEqual(rows[0], rows[1])
        record = server.rows("SELECT id FROM account ORDER BY id LIMIT 1", written)[0]["id"]
        (held,) = self.explained(record)["held"]
        self.assertEqual((held["table"], held["row"], held["existence"]), ("account", True, "exists"))
        self.assertIn("billing_address", {field["column"] for field in held["fields"]})
        told = self.expect(self.tm.call("doctor"), 0).out
        self.assertRegex(told, 'table "account": \\d+ columns are there, 0 will be added')

    def test_before_anything_came(self):
        """with nothing in the journal, the org's schemas tell the tables; without the org it says so"""
        self.bus = self.org("--seed", 103, "--prefill", 0, "--count", 0)
        self.database = self.folder / "mirror.db"
        self.tm = self.tidemark(self.bus, topics=(orgs.ACCOUNTS, orgs.CONTACTS), sinks=[])
        self.mirror(on_delete="archive")
        told = self.expect(self.tm.call("run", "--dry-run"), 0).out
        by_hand = sqlite3.connect(":memory:")
        by_hand.executescript(told)
        self.assertEqual(set(rows_of(by_hand)), {"account", "account_history", "contact", "contact_history"})
        self.assertFalse(self.database.exists())
        self.tm.config["sinks"] = [{"name": "log", "file": {"path": str(self.folder / "out.ndjson")}}]
        self.tm.write()
        self.expect(self.tm.call("run", "--dry-run"), 2, "no sink mirrors records")

    def explained(self, record, *words):
        return json.loads(self.expect(self.tm.call("status", "--json", "--explain", record, *words), 0).out)

    def newest_of(self, record):
        """Per field of the record the newest event of the journal that names it; what a CREATE says, of all."""
        newest, order = {}, lambda event: (event["commit_number"], event["sequence_number"])
        for event in sorted((event for event in self.events if record in event.get("record_ids", ())), key=order):
            if event["change_type"] == "UPDATE":
                newest.update(dict.fromkeys(event["changed_fields"], event["seq"]))
            elif event["change_type"] in ("CREATE", "UNDELETE", "DELETE"):
                newest = {None: event["seq"]}
        return newest

    def test_explained(self):
        """each field's version, event and value; which of an event's fields were newer already; in two kinds of rows"""
        self.filled(104)
        self.mirror(on_delete="hard", entities={"Account": {"fields": {"Phone": {"column": "telephone"}}},
                                                "Contact": {"new_fields": "json"}})
        self.expect(self.tm.run_until_idle(), 0)
        told = self.expect(self.tm.call("tail", "--journal", "--json", "-n", self.journal()["head"]), 0).out
        self.events = [json.loads(line) for line in told.splitlines()]
        with sqlite3.connect(self.database) as database:
            database.row_factory = sqlite3.Row
            accounts = database.execute("SELECT * FROM account").fetchall()
            contact = database.execute("SELECT * FROM contact").fetchone()
        seen, record = 0, ""
        for row in accounts:
            told = self.explained(row["id"], "--sink", "mirror")
            newest = self.newest_of(row["id"])
            (held,) = told["held"]
            self.assertEqual((held["table"], held["row"], held["existence"]), ("account", True, "exists"))
            self.assertEqual(held["existed_seq"], newest[None])
            for field in held["fields"]:
                self.assertEqual(field["seq"], newest.get(field["field"], newest[None]), field)
                self.assertEqual(field["by"], "update" if field["field"] in newest else "image")
                if isinstance(row[field["column"]], str):
                    self.assertEqual(field["value"], row[field["column"]])
            for event in told["events"]:
                (sink,) = event["superseded"]
                for field in sink["fields"]:
                    self.assertEqual(field["seq"], newest.get(field["field"], newest[None]))
                    self.assertNotEqual(field["seq"], event["seq"])
                    seen += 1
                    record = row["id"]
        self.assertGreater(seen, 0)
        text = self.expect(self.tm.call("status", "--explain", record[:15]), 0).out
        self.assertIn("    mirror: newer already: ", text)
        self.assertRegex(text, r"sink mirror, table account: one row; the record exists since version \S+ \(seq \d+\)\n")
        self.assertRegex(text, r"\n  Phone +telephone +\d\.\d+\.\d+ +seq \d+")
        last = {record: event for event in self.events for record in event.get("record_ids", ()) if event["entity"] == "Account"}
        deleted, event = next((record, event) for record, event in last.items() if event["change_type"] == "DELETE")
        (held,) = self.explained(deleted)["held"]
        self.assertEqual((held["row"], held["existence"], held["existed_seq"]), (False, "deleted", event["seq"]))
        self.assertIn(f": no row; the record is deleted since version {held['existed']} (seq {event['seq']})\n",
                      self.expect(self.tm.call("status", "--explain", deleted), 0).out)
        (held,) = self.explained(contact["id"])["held"]
        self.assertEqual({field["column"] for field in held["fields"]}, {"_fields"})
        self.database.unlink()
        self.assertIn("No such file", self.explained(record)["held"][0]["error"])
        self.assertIn("sink mirror: cannot open ", self.expect(self.tm.call("status", "--explain", record), 0).out)

    def test_edit_won(self):
        """changes that an edit in the target kept from the row are told as such, and no others"""
        self.filled(105)
        self.mirror(on_delete="hard", entities={"Account": {"last_modified_column": "last_modified_date"}})
        self.expect(self.tm.run_until_idle(), 0)
        with sqlite3.connect(self.database) as database:
            edited = {record for (record,) in database.execute("SELECT id FROM account")}
            database.execute("UPDATE account SET name = 'edited', last_modified_date = '2999-01-01T00:00:00.000Z'")
        before = self.journal()["head"]
        self.bus.order("publish 200")
        self.bus.wait_published(EVENTS + 200)
        self.expect(self.tm.run_until_idle(), 0)
        with sqlite3.connect(self.database) as database:
            held = dict(database.execute("SELECT id, name FROM account"))
        self.assertEqual({held[record] for record in edited}, {"edited"})
        told, deletions, fields = {}, 0, 0
        for record in held:
            explained = told[record] = self.explained(record, "--sink", "mirror")
            newest = {}
            for event in explained["events"]:
                (lost,) = event["edit_won"] or [None]
                if lost:
                    self.assertIn(record, edited)
                    self.assertGreater(event["seq"], before)
                    deletions += lost["deletion"]
                    self.assertEqual(lost["deletion"], event["change_type"] == "DELETE")
                    newest.update(dict.fromkeys(lost["fields"], event["seq"]))
            for field in explained["held"][0]["fields"]:
                self.assertEqual(field.get("edit_won", False), field["field"] in newest, (record, field))
                fields += field["field"] in newest
        self.assertGreater(deletions, 0)
        self.assertGreater(fields, 0)
        record = next(record for record in told if any(event["edit_won"] and event["edit_won"][0]["fields"]
                                                       for event in told[record]["events"]))
        text = self.expect(self.tm.call("status", "--explain", record), 0).out
        self.assertRegex(text, r"\n    mirror: not written, the row had been edited in the target: \w+")
        self.assertRegex(text, r" an edit in the target, not seq \d+ ")

    def test_doctor(self):
        """doctor says whether the database can be made or written, and how its tables stand; it changes nothing"""
        self.filled(105)
        self.mirror(on_delete="soft", entities={"Account": {}})
        self.assertIn(f"{self.database} will be made", self.expect(self.tm.call("doctor"), 0).out)
        self.assertFalse(self.database.exists())
        self.expect(self.tm.run_until_idle(), 0)
        told = self.expect(self.tm.call("doctor"), 0).out
        self.assertIn(f"{self.database} can be written", told)
        self.assertIn('table "account" has its columns', told)
        with sqlite3.connect(self.database) as database:
            before = rows_of(database)
            database.execute("ALTER TABLE account DROP COLUMN fax")
        told = self.expect(self.tm.call("doctor"), 0).out
        self.assertIn("will do: ", told)
        with sqlite3.connect(self.database) as database:
            self.assertNotEqual(rows_of(database), before)  # it is still gone
        # A column that is to tell who wrote last, and tells no time.
        with sqlite3.connect(self.database) as database:
            database.execute("ALTER TABLE account ADD COLUMN touched integer")
        self.tm.config["sinks"][-1]["entities"]["Account"] = {"last_modified_column": "touched"}
        self.tm.write()
        self.expect(self.tm.call("doctor"), 5, 'column "touched", the last_modified_column, is INTEGER .*: edits in the target are not')
        self.tm.config["sinks"][-1]["sqlite"]["path"] = str(self.folder / "nowhere" / "mirror.db")
        self.tm.write()
        self.assertRegex(self.expect(self.tm.call("doctor"), 5).out, "the folder of .* does not exist: make it")


if __name__ == "__main__":
    tap_print.main()

#!/usr/bin/python3
# suite: timeout=900 takes=40
"""Mirrors in SQLite and PostgreSQL: after whatever happens, the rows are what the simulated company holds."""
import collections
import json
import shutil
import subprocess
import unittest

from lib import case, mirrors, org as orgs, verdict, waiting
import tap_print

EVENTS = 1200
KILLED = 99


class Mirror(case.Case):
    server = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = mirrors.start_server()
        if cls.server:
            cls.addClassCleanup(cls.server.stop)

    def filled(self, seed, *options, events=EVENTS):
        """An org whose events are on the bus before anybody listens."""
        self.bus = self.org("--seed", seed, "--prefill", events, "--count", 0, *options)
        self.bus.wait_published(events)

    def need_server(self):
        if not self.server:
            raise unittest.SkipTest("no PostgreSQL here")

    def mirror(self, *sinks, folder=None, topics=(orgs.CHANGES,), **more):
        return self.tidemark(self.bus, topics=topics, sinks=list(sinks), folder=folder or self.folder, **more)

    def same_as_org(self, *targets, skip=()):
        state = mirrors.org_state(self.bus)
        self.assertGreater(len(state["Account"]), 10)
        for target in targets:
            self.assertEqual(mirrors.differences(state, target, skip), "", target.kind)

    def sink_of(self, tidemark, name):
        return next(sink for sink in tidemark.status()["sinks"] if sink["name"] == name)

    def is_settled(self, tidemark, name):
        """Live, and nothing left to do."""
        status = tidemark.status()
        sinks = [sink for sink in status["sinks"] if sink["name"] == name]
        return all(sub["state"] == "live" for sub in status["subscriptions"]) and status["journal"]["head"] > 0 and \
            bool(sinks) and sinks[0]["lag"] == 0

    def kinds_of_incidents(self, tidemark):
        return {(incident["kind"], incident.get("sink") or incident.get("subscription")) for incident in tidemark.status()["incidents"]}

    # --- state ---

    def test_state(self):
        """rows are the org's state, in both targets: a schema that grows, repeats, split updates, large texts as differences"""
        self.filled(51, "--schema-change-at", EVENTS // 2, "--duplicates", 0.1, "--shared-replay", 0.1, "--diffs", 0.05)
        targets = mirrors.both(self.folder, self.server)
        deletes = dict(zip((target.kind for target in targets), ("hard", "soft")))
        tidemark = self.mirror(*(target.sink(on_delete=deletes[target.kind]) for target in targets),
                               topics=(orgs.CHANGES, orgs.ORDERS))
        self.expect(tidemark.run_until_idle(), 0)
        self.same_as_org(*targets)
        status = tidemark.status()
        verdict.check_accounts(status)
        orders = {entry["event_id"] for entry in self.bus.ledger() if entry["topic"] == orgs.ORDERS}
        for target in targets:
            self.assertEqual(self.sink_of(tidemark, target.kind)["parked"], 0)
            rows = target.rows("order__e")
            self.assertEqual(sorted(row["event_id"] for row in rows), sorted(orders))
            self.assertIn("region__c", target.rows("account")[0])
            # Every record that is gone is a tombstone, or a row that is marked.
            gone = set(mirrors.archived(self.bus.ledger())["Contact"]) - set(mirrors.org_state(self.bus)["Contact"])
            self.assertGreater(len(gone), 3)
            marked = {row["id"] for row in target.rows("contact") if row.get("_deleted") and row["_deleted_at"]}
            buried = {row["id"] for row in target.rows("_tidemark_tombstones") if row["id"].startswith("003")}
            self.assertEqual((marked, buried), (set(), gone) if target.kind == "sqlite" else (gone, set()))
        # The same again, from the journal: older than what is there, it changes nothing.
        before = {target.kind: mirrors.steady(target.rows("contact")) for target in targets}
        for target in targets:
            self.expect(tidemark.call("replay", "--sink", target.kind, "--from", "earliest"), 0)
        self.expect(tidemark.run_until_idle(), 0)
        self.same_as_org(*targets)
        self.assertEqual({target.kind: mirrors.steady(target.rows("contact")) for target in targets}, before)
        verdict.check_accounts(tidemark.status())

    def test_fields_that_share_a_column(self):
        """objects instead of columns: the same rows, large texts that come as differences included"""
        self.filled(57, "--diffs", 0.1, "--duplicates", 0.1, events=600)
        for form in ({"new_fields": "json"}, {"compounds": "json"}):
            folder = self.folder / next(iter(form))
            folder.mkdir()
            targets = mirrors.both(folder, self.server)
            tidemark = self.mirror(*(target.sink(on_delete="hard", **form) for target in targets), folder=folder)
            self.expect(tidemark.run_until_idle(), 0)
            self.same_as_org(*targets)
            status = tidemark.status()
            verdict.check_accounts(status)
            self.assertEqual([sink["parked"] for sink in status["sinks"]], [0] * len(targets))
            self.assertEqual(status["incidents"], [])

    def test_replayed_from_an_old_id(self):
        """an ordered replay of all there was, a generation later: it brings back no old value, no deleted record, no row"""
        self.filled(58)
        targets = mirrors.both(self.folder, self.server)
        tables = ("account", "contact", "opportunity", "invoice__c")
        tidemark = self.mirror(*(target.sink(on_delete="archive", batch={"events": 70}) for target in targets),
                               topics=(orgs.CHANGES, orgs.ORDERS))
        self.expect(tidemark.run_until_idle(), 0)

        def held():
            rows = {(target.kind, table): mirrors.steady(target.rows(table)) for target in targets for table in tables}
            orders = {target.kind: sorted(row["event_id"] for row in target.rows("order__e")) for target in targets}
            return rows, orders, {target.kind: mirrors.history(target, gone) for target in targets}
        gone = mirrors.archived(self.bus.ledger())
        before, head = held(), tidemark.status()["journal"]["head"]
        self.assertEqual(before[2], {target.kind: gone for target in targets})
        for topic in (orgs.CHANGES, orgs.ORDERS):
            self.expect(tidemark.call("replay", "--subscription", tidemark.name_of(topic), "--from", "earliest"), 0)
        self.expect(tidemark.run_until_idle(), 0)
        status = tidemark.status()
        self.assertEqual(status["journal"]["head"], 2 * head)  # all of it came again
        verdict.check_accounts(status)
        self.same_as_org(*targets)
        self.assertEqual(held(), before)

    def test_tables_made_by_hand(self):
        """a column of another type stays, is told as an incident, and takes what fits; one poisoned record parks alone"""
        self.filled(52)
        poisoned = next(entry["record_ids"][0] for entry in self.bus.ledger()
                        if entry.get("entity") == "Contact" and len(entry["record_ids"]) == 1)
        targets = mirrors.both(self.folder, self.server)
        for target in targets:
            number = "numeric" if target.kind == "postgres" else "text"
            target.run(f"CREATE TABLE account (note text, id varchar(18) PRIMARY KEY NOT NULL, name varchar(400),"
                       f" number_of_employees {number});"
                       f"CREATE TABLE contact (id text PRIMARY KEY NOT NULL CHECK (id <> '{poisoned}'))")
            target.foreign = {"note", "number_of_employees"}
        tidemark = self.mirror(*(target.sink(on_delete="hard") for target in targets))
        self.expect(tidemark.run_until_idle(), 0)
        self.same_as_org(*targets, skip=(poisoned,))
        verdict.check_accounts(tidemark.status())
        touching = {verdict.identity(entry)[0] for entry in self.bus.ledger() if poisoned in (entry.get("record_ids") or ())}
        for target in targets:
            sink = self.sink_of(tidemark, target.kind)
            self.assertTrue(0 < sink["parked"] <= len(touching), sink)
            self.assertEqual([row for row in target.rows("contact") if row["id"] == poisoned], [])
            self.assertIn(("column_type", target.kind), self.kinds_of_incidents(tidemark))
            employees = {row["id"]: row["number_of_employees"] for row in target.rows("account")}
            state = mirrors.org_state(self.bus)["Account"]
            for record, fields in state.items():
                wanted = fields.get("number_of_employees")
                self.assertEqual(None if employees[record] is None else int(employees[record]), wanted, record)

    def test_a_row_that_takes_the_others_with_it(self):
        """a trigger that rolls everything back, or ends the connection: that row is parked, the others go in"""
        self.filled(57)
        counts = collections.Counter(record for entry in self.bus.ledger() if entry.get("entity") == "Contact"
                                     for record in entry["record_ids"])
        poisoned = min(record for record, n in counts.items() if n > 1)
        targets = mirrors.both(self.folder, self.server)
        for target in targets:
            target.run("CREATE TABLE contact (id text PRIMARY KEY NOT NULL)")
            target.run(f"CREATE TRIGGER trap BEFORE INSERT ON contact WHEN NEW.id = '{poisoned}'"
                       " BEGIN SELECT RAISE(ROLLBACK, 'not this one'); END" if target.kind == "sqlite" else
                       "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS"
                       " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';"
                       f"CREATE TRIGGER trap BEFORE INSERT ON contact FOR EACH ROW WHEN (NEW.id = '{poisoned}')"
                       " EXECUTE FUNCTION trap()")
        tidemark = self.mirror(*(target.sink(on_delete="hard") for target in targets))
        self.expect(tidemark.run_until_idle(), 0)
        self.same_as_org(*targets, skip=(poisoned,))
        status = tidemark.status()
        verdict.check_accounts(status)
        for target in targets:
            parked = self.sink_of(tidemark, target.kind)["parked"]
            self.assertTrue(0 < parked <= counts[poisoned], parked)
            letters = self.expect(tidemark.call("dlq", "list", "--sink", target.kind, "--json"), 0).out
            self.assertEqual({json.loads(line)["record_id"] for line in letters.splitlines()}, {poisoned})

    # --- targets that fail ---

    def test_rights_and_a_killed_server(self):
        """a missing right waits for a person, a killed server for its return; nothing is parked for either"""
        self.need_server()
        self.filled(53)
        target = mirrors.Postgres(self.server)
        target.run("CREATE ROLE mirror LOGIN; GRANT CREATE ON SCHEMA public TO mirror; CREATE TABLE contact (id text PRIMARY KEY)")
        tidemark = self.mirror(target.sink("mirror", on_delete="soft"))
        program = self.run_daemon(tidemark)
        program.wait_for('table "contact" cannot be made or altered', 60)
        self.assertIn("own", self.sink_of(tidemark, "postgres")["reason"])
        target.run("ALTER TABLE contact OWNER TO mirror")
        waiting.until(lambda: self.is_settled(tidemark, "postgres"), program.tail, 60)
        self.kill_at_work(target, tidemark, program)
        target.run("REVOKE UPDATE ON account FROM mirror")
        self.expect(tidemark.call("doctor"), 5, "reached PostgreSQL \\d+.* as \"mirror\"", "tables can be made in schema \"public\"",
                    'table "account" cannot be mirrored into: GRANT UPDATE ON "account"')
        target.run("GRANT UPDATE ON account TO mirror")
        self.assertNotRegex(self.expect(tidemark.call("doctor"), 0).out, "(?m)^bad")
        self.assertEqual(program.terminate(), 0, program.tail())
        self.same_as_org(target)
        status = tidemark.status()
        verdict.check_accounts(status)
        self.assertEqual(status["sinks"][0]["parked"], 0)

    def kill_at_work(self, target, tidemark, program):
        """The server dies while a row is written: somebody else holds the table until then."""
        with subprocess.Popen([self.server.bin / "psql", "-X", "-q", "-d", self.server.dsn(target.database)], text=True,
                              stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as other:
            other.stdin.write("BEGIN; LOCK TABLE account IN SHARE ROW EXCLUSIVE MODE;\n")
            other.stdin.flush()

            def waits(which):
                return target.run(f"SELECT count(*) FROM pg_stat_activity WHERE {which}").strip() != "0"
            waiting.until(lambda: target.run("SELECT count(*) FROM pg_locks WHERE mode = 'ShareRowExclusiveLock'"
                                             " AND relation = 'account'::regclass").strip() == "1", "the table is held")
            self.expect(tidemark.call("replay", "--sink", "postgres", "--from", "earliest"), 0)
            waiting.until(lambda: waits("application_name = 'tidemark sink postgres' AND wait_event_type = 'Lock'"), program.tail)
            self.server.kill()
            other.stdin.close()
        waiting.until(lambda: self.sink_of(tidemark, "postgres")["state"] == "backing_off", program.tail)
        self.server.start()
        waiting.until(lambda: self.is_settled(tidemark, "postgres"), program.tail, 60)

    def test_kill_points_between_the_commits(self):
        """dying before and between the commits of target and store: cursor, rows and counts agree, nothing twice"""
        self.filled(54, events=400)
        for target in mirrors.both(self.folder, self.server):
            tidemark = self.mirror(target.sink(on_delete="archive"), folder=self.folder / target.kind, topics=(orgs.CHANGES, orgs.ORDERS))
            tidemark.config["sinks"][0]["batch"] = {"events": 50}
            tidemark.write()
            own = "mirror" if target.kind == "sqlite" else "postgres"
            # Behind a commit of the target that ours did not follow, there is something to compare at the next start.
            for point in ("records.before_write", "records.before_commit", f"{own}.before_commit", f"{own}.after_commit",
                          "records.before_authority", "records.after_commit", "records.after_fence",
                          "mirror.before_fence" if own == "mirror" else "postgres.after_fence"):
                env = {"TIDEMARK_KILL_AT_POINT": point, "TIDEMARK_KILL_AT": "2" if point.endswith("_commit") else "1"}
                done = tidemark.run_until_idle(env=env)
                self.assertEqual(done.status, KILLED, f"{point}: {done}")
            self.expect(tidemark.run_until_idle(), 0)
            self.same_as_org(target)
            status = tidemark.status()
            verdict.check_accounts(status)
            self.assertEqual(status["incidents"], [])
            gone = mirrors.archived(self.bus.ledger())
            self.assertTrue(gone)
            self.assertEqual(mirrors.history(target, gone), gone)
            published = [verdict.identity(entry) for entry in self.bus.ledger()]
            self.assertEqual(sum(status["sinks"][0][name] for name in ("delivered", "superseded")), len(set(published)))

    # --- authority ---

    def test_a_second_daemon_fences_the_first(self):
        """whoever comes second writes; the first stops and says so; the rows are right"""
        self.filled(55, events=600)
        targets = mirrors.both(self.folder, self.server)
        names = [target.kind for target in targets]
        sinks = [target.sink(on_delete="soft") for target in targets]
        first = self.mirror(*sinks, folder=self.folder / "first")
        one = self.run_daemon(first)
        waiting.until(lambda: all(self.is_settled(first, name) for name in names), one.tail, 60)
        second = self.mirror(*sinks, folder=self.folder / "second")
        self.expect(second.run_until_idle(), 0)
        self.same_as_org(*targets)
        for name in names:
            self.assertIn(("other_store", name), self.kinds_of_incidents(second))
            # The first has nothing to write until something comes: it is told at its next batch.
            self.expect(first.call("replay", "--sink", name, "--from", "earliest"), 0)
        waiting.until(lambda: all("another daemon" in self.sink_of(first, name)["reason"] for name in names), one.tail, 60)
        self.assertEqual({self.sink_of(first, name)["state"] for name in names}, {"refused"})
        one.kill()
        self.same_as_org(*targets)

    def test_backups_put_back(self):
        """the database, or the files of the store, as they were some time ago: noticed, and the rows are right again"""
        company = ["--seed", 59, "--count", 0, "--start-time", "2026-01-01T00:00:00Z"]
        self.bus = self.org(*company, "--prefill", 400)
        self.bus.wait_published(400)
        targets = mirrors.both(self.folder, self.server)
        tidemark = self.mirror(*(target.sink(on_delete="soft", batch={"events": 50}) for target in targets))
        kept = self.folder / "kept"

        def runs_and_is_right():
            self.expect(tidemark.run_until_idle(), 0)
            self.same_as_org(*targets)
            verdict.check_accounts(tidemark.status())
        runs_and_is_right()
        shutil.copytree(tidemark.store, kept / "store")
        for target in targets:
            target.keep(kept / f"kept_{target.kind}")
        cursors = {target.kind: self.sink_of(tidemark, target.kind)["cursor"] for target in targets}

        def org_again():
            self.bus = self.org(*company, "--prefill", 900, listen=self.bus.endpoint, http=f"127.0.0.1:{self.bus.http}")
            self.bus.wait_published(900)
        self.bus.stop()
        org_again()
        runs_and_is_right()
        rows = {target.kind: mirrors.steady(target.rows("contact")) for target in targets}
        # The journal holds all that they lack: there is nothing to tell but where they stand.
        for target in targets:
            target.put_back(kept / f"kept_{target.kind}")
            (row,) = target.rows("_tidemark_sinks")
            self.assertEqual(row["cursor"], cursors[target.kind])
            self.assertNotEqual(mirrors.steady(target.rows("contact")), rows[target.kind])
        runs_and_is_right()
        self.assertEqual({target.kind: mirrors.steady(target.rows("contact")) for target in targets}, rows)
        self.assertEqual(tidemark.status()["incidents"], [])
        # The targets are ahead of the store, and the org is away: it could bring the same events to the same places.
        shutil.rmtree(tidemark.store)
        shutil.copytree(kept / "store", tidemark.store)
        self.bus.stop()
        program = self.run_daemon(tidemark)
        noticed = {("store_rolled_back", target.kind) for target in targets}
        waiting.until(lambda: noticed <= self.kinds_of_incidents(tidemark), program.tail)
        org_again()
        self.assertEqual(program.terminate(), 0)
        runs_and_is_right()
        self.assertEqual({target.kind: mirrors.steady(target.rows("contact")) for target in targets}, rows)

    def test_stores_and_databases_lost_and_restored(self):
        """the store lost, the store restored, the database restored: noticed, told, and the rows are right again"""
        self.bus = self.org("--seed", 56, "--prefill", 500, "--count", 900, "--rate", 0, "--hold")
        targets = mirrors.both(self.folder, self.server)
        tidemark = self.mirror(*(target.sink(on_delete="hard") for target in targets))

        def runs_and_is_right():
            done = self.expect(tidemark.run_until_idle(), 0)
            self.same_as_org(*targets)
            verdict.check_accounts(tidemark.status())
            return done

        def noticed(kind):
            for target in targets:
                self.assertIn((kind, target.kind), self.kinds_of_incidents(tidemark))
        runs_and_is_right()
        self.expect(tidemark.call("backup", str(self.folder / "backup")), 0)
        # Databases as they were before the last batches: their cursors, and what came since is not there.
        for target in targets:
            target.run("DELETE FROM account; DELETE FROM contact; DELETE FROM opportunity; DELETE FROM invoice__c;"
                       " DELETE FROM _tidemark_tombstones; UPDATE _tidemark_sinks SET cursor = 0")
        done = runs_and_is_right()
        self.assertEqual(done.err.count("the target is right"), len(targets), done.err)
        # Databases that are new: they know nothing of us.
        for target in targets:
            target.run("DELETE FROM account; DELETE FROM contact; DELETE FROM opportunity; DELETE FROM invoice__c;"
                       " DELETE FROM _tidemark_tombstones; DELETE FROM _tidemark_sinks")
        runs_and_is_right()
        noticed("target_rolled_back")
        # Another store: an older one, then none at all.
        self.expect(tidemark.call("restore", str(self.folder / "backup"), "--force"), 0)
        runs_and_is_right()
        noticed("other_store")
        shutil.rmtree(tidemark.store)
        runs_and_is_right()
        noticed("other_store")


if __name__ == "__main__":
    tap_print.main()

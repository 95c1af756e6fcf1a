#!/usr/bin/python3
# suite: timeout=900 takes=25
"""What can happen to a SQLite file: its writer dies, others lock it, its disk is full, it is taken back or lost.

Mirrors of both kinds are in test_mirror.py; the verdict here is that of scripts/demo (scripts/compare-mirror).
"""
import contextlib
import datetime
import pathlib
import re
import shutil
import sqlite3
import subprocess
import sys
import urllib.request

from lib import case, disks, org as orgs, verdict, waiting
import tap_print

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVENTS = 600
TOPICS = (orgs.CHANGES, orgs.ORDERS)


class SqliteMirror(case.Case):
    """self.bus: an org with EVENTS changes on the bus; self.database: the mirror of all its entities."""

    def ready(self, *options, events=EVENTS, folder=None, **keys):
        hour_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
        self.company = ["--seed", 77, "--count", 0, "--duplicates", 0.05, "--shared-replay", 0.05,
                        "--start-time", hour_ago.strftime("%Y-%m-%dT%H:%M:%SZ"), *options]
        self.bus = self.org(*self.company, "--prefill", events)
        self.bus.wait_published(events)
        self.database = (folder or self.folder) / "mirror.db"
        sink = {"name": "mirror", "sqlite": {"path": str(self.database)}, "on_delete": "hard", **keys}
        return self.tidemark(self.bus, topics=TOPICS, sinks=[sink])

    def assert_holds_what_the_org_holds(self):
        state = self.folder / "state.json"
        with urllib.request.urlopen(f"{self.bus.login_url}/sim/state", timeout=60) as answer:
            state.write_bytes(answer.read())
        done = subprocess.run([sys.executable, ROOT / "scripts/compare-mirror", state, self.database,
                               self.bus.ledger_path],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def finish(self, tidemark):
        done = self.expect(tidemark.run_until_idle(), 0)
        self.assert_holds_what_the_org_holds()
        return done

    def sink_of(self, tidemark):
        """As status shows it; {} before the daemon knows it."""
        return next((sink for sink in tidemark.status()["sinks"] if sink["name"] == "mirror"), {})

    def is_settled(self, tidemark, events=1):
        """The sink runs, and has settled all of a journal that holds so many events."""
        sink = self.sink_of(tidemark)
        return sink.get("state") == "running" and sink["lag"] == 0 and tidemark.status()["journal"]["head"] >= events

    def rows(self, table="account"):
        """How many rows there are; 0 while there is no such table."""
        if not self.database.exists():
            return 0
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as db:
            there = db.execute("SELECT count(*) FROM sqlite_schema WHERE name=?", (table,)).fetchone()[0]
            return db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] if there else 0

    def test_killed_again_and_again(self):
        """kill -9 while it works, five times; the rows are the org's and each event counts once"""
        tidemark = self.ready(events=2000, batch={"events": 50})
        for _ in range(5):
            program = self.run_daemon(tidemark)
            before = self.rows()
            waiting.until(lambda: self.rows() > before or self.is_settled(tidemark), program.tail)
            program.kill()
        self.finish(tidemark)
        status = tidemark.status()
        sink = self.sink_of(tidemark)
        self.assertEqual(sink["delivered"] + sink["superseded"], status["journal"]["head"])
        self.expect(tidemark.call("replay", "--sink", "mirror", "--from", "earliest"), 0)
        self.finish(tidemark)

    def test_locked_by_another(self):
        """a program that holds the database locked: the sink waits and says so; nothing is parked"""
        tidemark = self.ready()
        with contextlib.closing(sqlite3.connect(self.database)) as other:
            other.execute("PRAGMA journal_mode=WAL")
            other.execute("BEGIN IMMEDIATE")
            program = self.run_daemon(tidemark)
            program.wait_for("locked for writing")
            other.execute("ROLLBACK")
        waiting.until(lambda: self.is_settled(tidemark), program.tail)
        self.assertEqual(program.terminate(), 0)
        self.finish(tidemark)
        self.assertEqual(self.sink_of(tidemark)["parked"], 0)

    def test_full_disk(self):
        """the disk of the mirror is full: the sink waits and says so, the others go on; with room it catches up"""
        if not disks.can_mount(self.folder):
            self.skipTest("mounting needs root")
        disk = disks.Disk(self.folder / "small", 4 << 20)
        self.started.append(disk)
        tidemark = self.ready(folder=disk.folder)
        tidemark.config["sinks"].append({"name": "log", "file": {"path": str(tidemark.output)}})
        tidemark.write()
        disk.fill(leave=200 << 10)
        program = self.run_daemon(tidemark)
        program.wait_for("bytes free")

        def told():
            done = tidemark.call("health")
            return done.status == 4 and re.search("sink mirror: backing_off.*bytes free", done.out + done.err)
        waiting.until(told, program.tail)
        waiting.until(lambda: re.search("bytes free", self.sink_of(tidemark)["reason"]), program.tail)
        waiting.until(lambda: len(tidemark.lines()) >= tidemark.status()["journal"]["head"] > 0, program.tail)
        self.assertEqual(self.sink_of(tidemark)["parked"], 0)
        disk.make_room()
        waiting.until(lambda: self.is_settled(tidemark), program.tail)
        waiting.until(lambda: tidemark.call("health").status == 0, program.tail)
        self.assertEqual(program.terminate(), 0)
        self.finish(tidemark)
        status = tidemark.status()
        verdict.check_accounts(status)
        self.assertEqual((self.sink_of(tidemark)["parked"], status["dead_letters"], status["incidents"]), (0, [], []))

    def remove_database(self):
        for path in self.folder.glob("mirror.db*"):
            path.unlink()

    def copy_database(self, to):
        """A backup of the mirror, as its owner would make one."""
        with contextlib.closing(sqlite3.connect(self.database)) as source, contextlib.closing(sqlite3.connect(to)) as target:
            source.backup(target)

    def more_events(self, events):
        """The same past, and a future."""
        self.bus.stop()
        self.bus = self.org(*self.company, "--prefill", events, listen=self.bus.endpoint,
                            http=f"127.0.0.1:{self.bus.http}")
        self.bus.wait_published(events)

    def test_database_taken_back(self):
        """the mirror is restored from its backup, then lost altogether: both are noticed, and it is whole again"""
        tidemark = self.ready(events=300)
        self.finish(tidemark)
        backup = self.folder / "backup.db"
        self.copy_database(backup)
        self.more_events(EVENTS)
        self.finish(tidemark)
        rows = self.rows()
        self.remove_database()
        shutil.copy(backup, self.database)
        self.assertLess(self.rows(), rows)
        # What the store remembers looks settled; only the target knows, and it is slow to answer.
        with contextlib.closing(sqlite3.connect(self.database)) as other:
            other.execute("BEGIN IMMEDIATE")
            program = self.run_daemon(tidemark, "--until-idle", "1")
            program.wait_for("locked for writing")
            other.execute("ROLLBACK")
        self.assertEqual(program.wait(), 0, program.tail())
        self.assert_holds_what_the_org_holds()
        self.remove_database()
        self.finish(tidemark)


if __name__ == "__main__":
    tap_print.main()

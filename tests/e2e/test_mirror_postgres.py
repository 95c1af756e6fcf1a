#!/usr/bin/python3
# suite: timeout=900 takes=60
"""What can happen between a daemon and its PostgreSQL: COMMITs lost on the wire, disks that are full, certificates."""
import pathlib
import random
import re
import shutil
import tempfile
import unittest

from lib import case, disks, mirrors, org as orgs, postgres, thief, verdict, waiting
import certificates
import tap_print

TOPICS = (orgs.CHANGES, orgs.ORDERS)
MIB = 1 << 20
# An address of this machine that is not known as one: what holds for other hosts holds for it.
ELSEWHERE = "0.0.0.0"


@unittest.skipUnless(postgres.programs(), "no PostgreSQL here")
class MirrorPostgres(case.Case):
    def server(self, **settings):
        server = postgres.Postgres(**settings)
        self.started.append(server)
        return server

    def mirror(self, *sinks, **more):
        return self.tidemark(self.bus, topics=TOPICS, sinks=list(sinks), **more)

    def sink_of(self, tidemark, name="postgres"):
        return next((sink for sink in tidemark.status()["sinks"] if sink["name"] == name), {"state": "", "reason": ""})

    def is_settled(self, tidemark, events, name="postgres"):
        sink = self.sink_of(tidemark, name)
        return sink["state"] == "running" and sink["lag"] == 0 and tidemark.status()["journal"]["head"] >= events

    def same_as_org(self, target):
        self.assertEqual(mirrors.differences(mirrors.org_state(self.bus), target), "")
        orders = sorted({entry["event_id"] for entry in self.bus.ledger() if entry["topic"] == orgs.ORDERS})
        self.assertEqual(sorted(row["event_id"] for row in target.rows("order__e")), orders)

    def nothing_lost(self, tidemark, target):
        """Nothing parked, nothing owed, every event counted once, and the rows are the org's."""
        status = tidemark.status()
        verdict.check_accounts(status)
        self.assertEqual([sink["parked"] for sink in status["sinks"]], [0] * len(status["sinks"]))
        self.assertEqual(status["dead_letters"], [])
        self.assertEqual(status["incidents"], [])
        self.same_as_org(target)

    # --- COMMIT ---

    def test_commits_cut_at_random(self):
        """the line is cut before COMMITs and before their answers, while events flow: everything goes in once"""
        chance = random.Random(61)
        self.bus = self.org("--seed", 61, "--prefill", 200, "--count", 700, "--rate", 100, "--hold", "--duplicates", 0.05)
        server = self.server()
        target, calm = mirrors.Postgres(server), mirrors.Postgres(server)
        wire = thief.CommitThief(server.folder / ".s.PGSQL.5432", lambda: chance.choice(("commit", "answer") + 5 * (None,)))
        self.started.append(wire)
        keys = {"on_delete": "archive", "batch": {"events": 15}}
        sinks = [{**target.sink(**keys), "postgres": {"dsn": f"host=127.0.0.1 port={wire.port} user=postgres dbname={target.database}"}},
                 {**calm.sink(**keys), "name": "calm"}]
        tidemark = self.mirror(*sinks)
        self.expect(tidemark.run_until_idle(seconds=300), 0)
        self.assertGreater(min(wire.taken["commit"], wire.taken["answer"]), 5, wire.taken)
        self.nothing_lost(tidemark, target)
        # What was applied twice would be twice in the history, which has no key.
        gone = mirrors.archived(self.bus.ledger())
        self.assertGreater(sum(map(len, gone.values())), 10)
        self.assertEqual(mirrors.history(target, gone), gone)
        totals = [{key: self.sink_of(tidemark, name)[key] for key in ("delivered", "superseded", "filtered", "parked")}
                  for name in ("postgres", "calm")]
        self.assertEqual(*totals)
        (row,) = target.rows("_tidemark_sinks")
        self.assertGreater(row["epoch"], 5)  # it fenced before it believed anything

    # --- full disks ---

    def disk(self, size):
        if not disks.can_mount(self.folder):
            self.skipTest("mounting needs root, and a container that allows it")
        outside = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-disk-"))  # the server is another user
        outside.chmod(0o711)
        self.addCleanup(shutil.rmtree, outside, ignore_errors=True)
        disk = disks.Disk(outside / "small", size)
        self.addCleanup(disk.stop)
        return disk

    def while_full(self, tidemark, said):
        """The daemon, at a target whose disk is full: it waits, says why everywhere, and the other sink goes on."""
        tidemark.config["sinks"].append({"name": "log", "file": {"path": str(tidemark.output)}})
        tidemark.write()
        program = self.run_daemon(tidemark)
        waiting.until(lambda: self.sink_of(tidemark)["state"] == "backing_off" and
                      re.search(said, self.sink_of(tidemark)["reason"]), program.tail)

        def told():
            done = tidemark.call("health")
            return done.status == 4 and re.search(f"sink postgres: backing_off.*{said}", done.out + done.err)
        waiting.until(told, program.tail)
        waiting.until(lambda: len(tidemark.lines()) >= tidemark.status()["journal"]["head"] > 0, program.tail)
        status = tidemark.status()
        verdict.check_accounts(status, settled=False)
        self.assertEqual((status["dead_letters"], self.sink_of(tidemark)["parked"]), ([], 0))
        return program

    def and_then(self, program, tidemark, target, events):
        """There is room again."""
        waiting.until(lambda: self.is_settled(tidemark, events), program.tail)
        waiting.until(lambda: tidemark.call("health").status == 0, program.tail)
        self.assertEqual(program.terminate(), 0)
        self.nothing_lost(tidemark, target)

    def test_disk_of_the_tables_is_full(self):
        """no room for rows: the sink waits and says so; with room everything goes in"""
        disk = self.disk(4 * MIB)
        events = 1500
        self.bus = self.org("--seed", 62, "--prefill", events, "--count", 0)
        server = self.server()
        target = mirrors.Postgres(server)
        space = server.own_folder(disk.folder / "space")
        target.run(f"CREATE TABLESPACE small LOCATION '{space}'")
        target.run(f"ALTER DATABASE {target.database} SET default_tablespace = small")
        disk.fill(leave=300 << 10)
        tidemark = self.mirror(target.sink(on_delete="soft", batch={"events": 100}))
        program = self.while_full(tidemark, "the disk of the server is full")
        disk.make_room()
        self.and_then(program, tidemark, target, events)

    def test_disk_of_the_log_is_full(self):
        """no room for PostgreSQL's log: the server goes down, again and again perhaps; nothing is parked for it"""
        disk = self.disk(24 * MIB)
        events = 3000
        self.bus = self.org("--seed", 63, "--prefill", events, "--count", 0)
        server = self.server(wal=disk.folder / "wal")
        target = mirrors.Postgres(server)
        disk.fill()
        tidemark = self.mirror(target.sink(on_delete="soft", batch={"events": 100}))
        program = self.while_full(tidemark, "PostgreSQL|the disk of the server is full")
        self.assertIn("No space left on device", server.log.read_text(encoding="utf-8"))
        disk.make_room()
        if server.process.poll() is not None:  # it could not recover, and nobody but an operator starts it
            server.start()
        self.and_then(program, tidemark, target, events)

    # --- certificates ---

    def encrypted(self, names):
        folder = self.folder / "certificates"
        folder.mkdir()
        certificates.make(folder, names)
        return self.server(tcp=True, certificate=folder, log_connections="on"), folder / "ca.pem"

    def sink_at(self, server, database, words, host="db.example"):
        return {"name": "postgres", "on_delete": "hard",
                "postgres": {"dsn": f"host={host} hostaddr={ELSEWHERE} port={server.port} user=postgres dbname={database} {words}"}}

    def is_refused(self, server, database, sink, env, *texts):
        """doctor and the daemon say why and what to do; nobody has logged in."""
        tidemark = self.mirror(sink)
        before = server.log.read_text(encoding="utf-8").count("connection authorized")
        self.expect(tidemark.call("doctor", env=env), 5, *texts)
        self.gives_up(tidemark, 5, *texts, env=env)
        self.assertEqual(server.log.read_text(encoding="utf-8").count("connection authorized"), before)
        self.assertEqual(server.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database).strip(), "0")

    def test_certificates(self):
        """a server elsewhere must show a certificate for its name from a known authority: that is the default"""
        self.bus = self.org("--seed", 64, "--prefill", 200, "--count", 0)
        server, authority = self.encrypted(["DNS:db.example"])
        target = mirrors.Postgres(server)
        home = self.folder / "home"
        (home / ".postgresql").mkdir(parents=True)
        env = {"HOME": str(home)}
        root = f"sslrootcert={authority}"
        self.is_refused(server, target.database, self.sink_at(server, target.database, ""), env,
                        "certificate verify failed", "sslrootcert")
        self.is_refused(server, target.database, self.sink_at(server, target.database, root, host="other.example"), env,
                        'certificate for "db.example" does not match host name "other.example"', "connect to it by the name")
        nowhere = f"sslrootcert={self.folder}/nowhere.pem"
        self.is_refused(server, target.database, self.sink_at(server, target.database, nowhere), env,
                        'root certificate file ".*nowhere.pem" does not exist')
        # The authority is where PostgreSQL's own programs look for it.
        (home / ".postgresql/root.crt").write_bytes(authority.read_bytes())
        tidemark = self.mirror(self.sink_at(server, target.database, ""))
        program = self.run_daemon(tidemark, env=env)
        waiting.until(lambda: self.is_settled(tidemark, 200), program.tail)
        encrypted = server.sql("SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                               " WHERE application_name = 'tidemark sink postgres'", target.database)
        self.assertEqual(set(encrypted.split()), {"t"})
        self.assertNotIn("not encrypted", program.err)
        self.assertEqual(program.terminate(), 0)
        self.nothing_lost(tidemark, target)

    def test_a_server_without_tls(self):
        """one elsewhere that does not encrypt is refused unless the connection string allows it, and then it is told"""
        self.bus = self.org("--seed", 65, "--prefill", 100, "--count", 0)
        server = self.server(tcp=True, log_connections="on")
        target = mirrors.Postgres(server)
        self.is_refused(server, target.database, self.sink_at(server, target.database, ""), None,
                        "does not support SSL", "turn TLS on there")
        tidemark = self.mirror(self.sink_at(server, target.database, "sslmode=disable"))
        self.expect(tidemark.run_until_idle(), 0, "not encrypted")
        self.nothing_lost(tidemark, target)
        # On this machine nothing is asked for.
        here = mirrors.Postgres(server)
        tidemark = self.mirror({"name": "here", "on_delete": "hard", "postgres": {
            "dsn": f"host=127.0.0.1 port={server.port} user=postgres dbname={here.database}"}}, folder=self.folder / "here")
        self.assertNotIn("not encrypted", self.expect(tidemark.run_until_idle(), 0).err)
        self.same_as_org(here)


if __name__ == "__main__":
    tap_print.main()

#!/usr/bin/python3
# suite: timeout=600 takes=30
"""tidemark dlq: dead letters of a mirror and of a file, exported, tried again and dropped; daemon up and down."""
import base64
import json
import sqlite3

from lib import case, org as orgs, verdict, waiting
import tap_print

EVENTS = 200
KILLED = 99


class Dlq(case.Case):
    def setUp(self):
        super().setUp()
        self.bus = self.org("--seed", 131, "--prefill", EVENTS, "--count", 0)
        self.bus.wait_published(EVENTS)
        self.tm = self.tidemark(self.bus, topics=(orgs.ACCOUNTS,))
        self.database = self.folder / "mirror.db"
        self.configure(12)
        self.expect(self.tm.run_until_idle(), 0)
        self.parked = self.letters()
        self.assertGreater(len(self.parked), 3)

    def configure(self, longest):
        """Names of more characters are parked."""
        self.tm.config["sinks"] = [{"name": "mirror", "sqlite": {"path": str(self.database)}, "on_delete": "hard",
                                    "entities": {"Account": {"fields": {"Name": {"max_length": longest}}}}}]
        self.tm.write()

    def dlq(self, *words, status=0, env=None):
        return self.expect(self.tm.call("dlq", *words, env=env), status)

    def letters(self, *words):
        return [json.loads(line) for line in self.dlq("list", "--json", *words).out.splitlines()]

    def sink(self):
        return self.tm.status()["sinks"][0]

    def uses(self):
        told = self.expect(self.tm.call("incidents", "list", "--all", "--json"), 0).out
        return [one for one in map(json.loads, told.splitlines()) if one["kind"] == "dead_letters"]

    def names(self):
        with sqlite3.connect(self.database) as database:
            return dict(database.execute("SELECT id, name FROM account"))

    def expected(self):
        """What a mirror holds that was given everything under the new configuration."""
        self.tm.config["sinks"].append(dict(self.tm.config["sinks"][0], name="whole",
                                            sqlite={"path": str(self.folder / "whole.db")}))
        self.tm.write()
        self.expect(self.tm.run_until_idle(), 0)
        with sqlite3.connect(self.folder / "whole.db") as database:
            return dict(database.execute("SELECT id, name FROM account"))

    def test_export(self):
        """whole, one JSON object a line; by class and by sink"""
        told = [json.loads(line) for line in self.dlq("export").out.splitlines()]
        self.assertEqual([(one["seq"], one["reason"]) for one in told], [(one["seq"], one["reason"]) for one in self.parked])
        self.assertTrue(all(len(base64.b64decode(one["payload"])) == one["payload_bytes"] > 0 for one in told))
        self.assertEqual(self.dlq("export", "--reason", "rejected").out, "")
        self.assertEqual(len(self.dlq("export", "--sink", "mirror", "--reason", "mapping").out.splitlines()), len(told))
        self.dlq("export", "--sink", "nobody", status=2)

    def test_daemon_down(self):
        """an order waits in the store; at the next start what fits goes in, late, and brings no old value back"""
        seq = str(self.parked[0]["seq"])
        self.configure(200)
        self.assertRegex(self.dlq("retry", "mirror", seq, "--dry-run").out, r"^sink mirror: 1 dead letters would be tried again, seq \d+ to")
        self.assertEqual((self.letters(), self.uses()), (self.parked, []))
        self.assertIn("they are tried at the next start", self.dlq("retry", "--sink", "mirror", "--reason", "mapping").out)
        self.assertEqual({one["status"] for one in self.letters()}, {"retrying"})
        self.assertIn(f"{len(self.parked)} wait to be tried again already", self.dlq("retry", "--all").out)
        before = self.sink()
        self.expect(self.tm.run_until_idle(), 0)
        self.assertEqual(self.letters(), [])
        after = self.sink()
        self.assertEqual(after["redriven"], len(self.parked))
        for total in ("delivered", "superseded", "filtered", "parked", "cursor"):
            self.assertEqual(after[total], before[total], total)
        verdict.check_accounts(self.tm.status())
        (use,) = self.uses()
        self.assertEqual((use["state"], use["subject"]), ("closed", "mirror"))
        self.assertRegex(use["text"], rf"^{len(self.parked)} dead letters tried again, seq \d+ to \d+, reason mapping, ordered by uid \d+")
        self.assertEqual(self.names(), self.expected())

    def test_daemon_up(self):
        """at once, through the socket: refused again for what has not changed; dropped for good"""
        program = self.run_daemon(self.tm)
        waiting.until(lambda: self.tm.status()["daemon"]["running"], program.tail)
        first, second = (str(one["seq"]) for one in self.parked[:2])
        self.assertIn("the daemon tries them now", self.dlq("retry", "mirror", first, second).out)
        waiting.until(lambda: {one["status"] for one in self.letters()} == {"final"}, program.tail)
        self.assertEqual(len(self.letters()), len(self.parked))
        self.assertEqual(self.sink()["redriven"], 0)
        self.assertRegex(self.dlq("drop", "mirror", first).out, r"^sink mirror: 1 dead letters are dropped")
        self.assertEqual([one["seq"] for one in self.letters()], [one["seq"] for one in self.parked[1:]])
        self.dlq("drop", "mirror", first, status=2)
        self.dlq("drop", "--all")
        self.assertEqual(self.letters(), [])
        self.assertEqual([use["text"].split(" dead")[0] for use in self.uses()], ["2", "1", str(len(self.parked) - 1)])
        verdict.check_accounts(self.tm.status())
        program.terminate()
        self.assertEqual(program.wait(), 0)

    def test_killed(self):
        """an order that dies before its commit has not been given, and one that dies behind it has"""
        for point, waits in (("redrive.before_order", "final"), ("redrive.after_order", "retrying")):
            env = {"TIDEMARK_KILL_AT": "1", "TIDEMARK_KILL_AT_POINT": point}
            self.dlq("retry", "--all", status=KILLED, env=env)
            self.assertEqual({one["status"] for one in self.letters()}, {waits})
            self.assertEqual(len(self.uses()), waits == "retrying")

    def test_mistakes(self):
        """each is told, and changes nothing"""
        for words, text in ((("retry",), "which"), (("drop", "mirror"), "SINK SEQ"), (("retry", "mirror", "x"), "not 'x'"),
                            (("drop", "--all", "--reason", "mapping"), "--all"), (("list", "--all"), "--all"),
                            (("retry", "--reason", "rejected"), "no dead letter"), (("drop", "nobody", "1"), "no dead letter"),
                            (("export", "--dry-run"), "--dry-run"), (("show", "mirror", "1", "--reason", "mapping"), "show")):
            done = self.dlq(*words, status=2)
            self.assertIn(text, done.err)
            self.assertEqual(done.out, "")
        self.tm.config["sinks"] = [{"name": "log", "file": {"path": str(self.folder / "out.ndjson")}}]
        self.tm.write()
        self.assertIn("not in the configuration", self.dlq("retry", "--sink", "mirror", "--all", status=2).err)
        self.assertEqual(self.letters("--sink", "mirror"), self.parked)
        self.dlq("drop", "--sink", "mirror", "--all")
        self.assertEqual(self.letters(), [])


if __name__ == "__main__":
    tap_print.main()

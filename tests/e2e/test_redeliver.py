#!/usr/bin/python3
# suite: timeout=600 takes=40
"""tidemark replay --sink: what the journal holds, delivered to one sink once more, without asking the service."""
import datetime
import json

from lib import case, org as orgs, verdict, waiting
import tap_print

EVENTS = 300
KILLED = 99


class Redeliver(case.Case):
    def setUp(self):
        super().setUp()
        self.bus = self.org("--seed", 51, "--prefill", EVENTS, "--count", 0)
        self.bus.wait_published(EVENTS)
        self.other = self.folder / "other.ndjson"
        self.tm = self.tidemark(self.bus, topics=[orgs.ACCOUNTS, orgs.CONTACTS])
        self.tm.config["sinks"] = [
            {"name": "log", "file": {"path": str(self.tm.output)}, "batch": {"events": 20}},
            {"name": "other", "file": {"path": str(self.other)}}]
        self.tm.write()
        self.expect(self.tm.run_until_idle(), 0)
        self.first = self.tm.lines()

    def order(self, position, *words, status=0):
        return self.expect(self.tm.call("replay", "--sink", "log", "--from", position, *words), status)

    def sink(self, name="log"):
        return [sink for sink in self.tm.status()["sinks"] if sink["name"] == name][0]

    def check_again(self, wanted, generation=1, redelivered=None):
        """Exactly these lines once more, the same but for the mark; the other sink and the totals know nothing of it."""
        again = self.tm.lines()[len(self.first):]
        self.assertEqual([{k: v for k, v in line.items() if k != "replay"} for line in again], wanted)
        self.assertTrue(all(line["replay"] == generation for line in again))
        self.assertEqual(len(self.tm.lines(self.other)), len(self.first))
        verdict.check_accounts(self.tm.status())
        self.assertEqual((self.sink()["redelivered"], self.sink()["redelivering"]), (redelivered or len(wanted), 0))
        self.assertEqual((self.sink("other")["redelivered"], self.sink()["delivered"]), (0, len(self.first)))

    def after(self, index):
        """What was delivered after that line's group."""
        line = self.first[index]
        last = max(i for i, other in enumerate(self.first)
                   if (other["topic"], other["replay_id"]) == (line["topic"], line["replay_id"]))
        return line["replay_id"], self.first[last + 1:]

    def test_daemon_down(self):
        """daemon down, from an id: exactly the events after it, marked; totals hold before, between and after"""
        replay_id, wanted = self.after(len(self.first) // 2)
        self.assertRegex(self.order(replay_id).out, rf"{len(wanted)} events, seq.*\n.*takes effect at the next start")
        verdict.check_accounts(self.tm.status(), settled=False)
        self.assertEqual((self.sink()["redelivering"], self.sink()["lag"]), (len(wanted), 0))
        self.expect(self.tm.run_until_idle(), 0)
        self.check_again(wanted)
        self.expect(self.tm.run_until_idle(), 0)
        self.check_again(wanted)

    def test_daemon_up(self):
        """daemon up: at once; a dry run changes nothing; the same order twice is one; then another, in a new generation"""
        program = self.run_daemon(self.tm)
        waiting.until(lambda: self.tm.status()["daemon"]["running"], program.tail)
        replay_id, wanted = self.after(10)
        before = verdict.totals(self.tm.status())
        self.assertRegex(self.order(replay_id, "--dry-run").out, rf"{len(wanted)} events")
        self.assertEqual(verdict.totals(self.tm.status()), before)
        self.assertIn("now", self.order(replay_id).out)
        self.assertIn("ordered already", self.order(replay_id).out)
        waiting.until(lambda: self.sink()["redelivered"] == len(wanted), program.tail)
        self.check_again(wanted)
        self.order("earliest")
        waiting.until(lambda: self.sink()["redelivered"] == len(wanted) + len(self.first), program.tail)
        again = self.tm.lines()[len(self.first) + len(wanted):]
        self.assertEqual([line["seq"] for line in again], [line["seq"] for line in self.first])
        self.assertEqual({line["replay"] for line in again}, {2})
        self.assertEqual(program.terminate(), 0)
        verdict.check_accounts(self.tm.status())

    def test_time(self):
        """a time: what was committed then or later, wherever it stands in the journal"""
        stamps = sorted({line["commit_timestamp"] for line in self.first})
        middle = stamps[len(stamps) // 2] // 1000 * 1000
        self.order(datetime.datetime.fromtimestamp(middle / 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
        self.expect(self.tm.run_until_idle(), 0)
        wanted = [line for line in self.first if line["commit_timestamp"] >= middle]
        self.assertTrue(0 < len(wanted) <= len(self.first))
        self.check_again(wanted)

    def test_killed(self):
        """kill points all through a re-delivery: each event once more, the totals hold after every death"""
        self.order("earliest")
        deaths = 0
        for number in range(1, 200, 3):
            done = self.tm.run_until_idle(env={"TIDEMARK_KILL_AT": str(number)})
            if done.status != KILLED:
                self.expect(done, 0)
                break
            deaths += 1
            verdict.check_accounts(self.tm.status(), settled=False)
            if deaths == 12:
                self.expect(self.tm.run_until_idle(), 0)
                break
        self.assertGreater(deaths, 5)
        self.check_again(self.first)

    def test_new_events_meanwhile(self):
        """events that come behind a re-delivery are delivered once, unmarked, and counted"""
        self.order("earliest")
        self.bus.stop()
        self.bus = self.org("--seed", 51, "--prefill", 2 * EVENTS, "--count", 0,
                            listen=self.bus.endpoint, http=f"127.0.0.1:{self.bus.http}")
        self.bus.wait_published(2 * EVENTS)
        self.expect(self.tm.run_until_idle(), 0)
        lines = self.tm.lines()
        self.assertEqual(sum("replay" in line for line in lines), len(self.first))
        verdict.check_output(self.bus.ledger(), [line for line in lines if "replay" not in line], self.tm.topics)
        verdict.check_accounts(self.tm.status())
        self.assertEqual(self.sink()["redelivered"], len(self.first))

    def test_while_another_waits(self):
        """a second order while the first waits replaces it; the totals hold"""
        self.order("earliest")
        replay_id, wanted = self.after(len(self.first) // 3)
        self.order(replay_id)
        self.expect(self.tm.run_until_idle(), 0)
        self.check_again(wanted, generation=2)

    def test_recorded_and_refused(self):
        """every use is recorded; nothing held, nothing to deliver, nonsense, wrong words: exit 2, nothing changed"""
        before = verdict.totals(self.tm.status())
        for words in (("log", "ffffffffffffffffff"), ("log", "latest"), ("log", "yesterday"), ("nobody", "earliest"),
                      ("log", self.first[-1]["replay_id"])):
            self.expect(self.tm.call("replay", "--sink", words[0], "--from", words[1]), 2)
        self.expect(self.tm.call("replay", "--sink", "log"), 2)
        self.expect(self.tm.call("replay", "--sink", "log", "--subscription", "x", "--from", "earliest"), 2)
        self.assertEqual(verdict.totals(self.tm.status()), before)
        self.order("earliest")
        listed = [json.loads(line) for line in self.tm.call("incidents", "list", "--all", "--json").out.splitlines()]
        self.assertEqual([(i["kind"], i["state"], i["subject"]) for i in listed], [("redelivery", "closed", "log")])
        self.assertRegex(listed[0]["text"], rf"re-delivery from earliest, ordered by uid \d+.*seq 1 to {len(self.first)} .*generation 1")


if __name__ == "__main__":
    tap_print.main()

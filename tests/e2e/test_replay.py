#!/usr/bin/python3
# suite: timeout=600 takes=25
"""Recovery by replay id: what an order reads again, what it leaves alone, and who gave it."""
import datetime
import json
import re
import signal
import urllib.error
import urllib.request

from lib import case, org as orgs, verdict, waiting
import tap_print

EVENTS = 300


class Replay(case.Case):
    def setUp(self):
        super().setUp()
        self.bus = self.org("--seed", 11, "--prefill", EVENTS, "--count", 0)
        self.bus.wait_published(EVENTS)
        self.tm = self.tidemark(self.bus)
        self.expect(self.tm.run_until_idle(), 0)
        self.first = self.tm.lines()

    def order(self, position, *words, status=0):
        return self.expect(self.tm.call("replay", "--subscription", "data_accountchangeevent", "--from", position, *words), status)

    def again(self):
        """What came after the first run's lines."""
        return self.tm.lines()[len(self.first):]

    def check_again(self, wanted, generation):
        """Exactly these lines once more, in order, marked."""
        got = self.again()
        self.assertEqual([verdict.identity(line) for line in got], [verdict.identity(line) for line in wanted])
        self.assertTrue(all(line["replay"] == generation for line in got))
        for line, old in zip(got, wanted):
            self.assertEqual({k: v for k, v in line.items() if k not in ("seq", "received_at", "replay")},
                             {k: v for k, v in old.items() if k not in ("seq", "received_at")})
        verdict.check_accounts(self.tm.status())

    def after(self, index):
        """The lines after that one's replay id (several lines may share it)."""
        replay_id = self.first[index]["replay_id"]
        last = max(i for i, line in enumerate(self.first) if line["replay_id"] == replay_id)
        return replay_id, self.first[last + 1:]

    def test_daemon_down(self):
        """from an id in the middle, daemon down: exactly the events after it, once more, marked"""
        replay_id, wanted = self.after(len(self.first) // 2)
        self.assertRegex(self.order(replay_id).out, r"takes effect at the next start")
        self.expect(self.tm.run_until_idle(), 0)
        self.check_again(wanted, 1)
        self.expect(self.tm.run_until_idle(), 0)
        self.check_again(wanted, 1)

    def test_daemon_up(self):
        """the same with the daemon up; the same order twice is one; a dry run changes nothing"""
        replay_id, wanted = self.after(10)
        program = self.run_daemon(self.tm)
        waiting.until(lambda: self.tm.status()["subscriptions"][0]["state"] == "live", program.tail)
        before = verdict.totals(self.tm.status())
        self.assertRegex(self.order(replay_id, "--dry-run").out, rf"the journal holds {len(wanted)} of them")
        self.assertEqual(verdict.totals(self.tm.status()), before)
        self.order(replay_id)
        self.assertRegex(self.order(replay_id).out, r"ordered already")
        waiting.until(lambda: len(self.again()) >= len(wanted), program.tail)
        self.assertEqual(program.terminate(), 0)
        self.check_again(wanted, 1)

    def test_time_behind_the_position(self):
        """a time at which the position has not arrived yet: what lies between is skipped, and that is said beforehand"""
        skipped = "older, and was not received yet, is skipped"
        self.assertNotIn(skipped, self.order("-2h", "--dry-run").out)
        self.assertIn(skipped, self.order("-0s", "--dry-run").out)

    def test_age(self):
        """the same age twice, a moment later, is one order; another age is another"""
        self.order("-2h")
        self.assertRegex(self.order("-2h").out, "ordered already and is under way, as generation 1")
        self.expect(self.tm.run_until_idle(), 0)
        self.assertRegex(self.order("-2h").out, "ordered already and is done, as generation 1")
        self.assertEqual(self.tm.status()["subscriptions"][0]["generation"], 1)
        self.order("-1h")
        self.assertEqual(self.tm.status()["subscriptions"][0]["generation"], 2)

    def test_killed(self):
        """kill -9 right after an order: it is carried out all the same, once"""
        replay_id, wanted = self.after(5)
        program = self.run_daemon(self.tm)
        waiting.until(lambda: self.tm.status()["subscriptions"][0]["state"] == "live", program.tail)
        self.order(replay_id)
        program.kill()
        self.expect(self.tm.run_until_idle(), 0)
        self.check_again(wanted, 1)

    def test_login_is_refused(self):
        """a daemon that has not got as far as its org takes an order all the same; it is carried out once it has"""
        replay_id, wanted = self.after(5)
        good, auth = self.tm.env, self.tm.config["orgs"][0]["auth"]["client_credentials"]
        self.tm.env = {name: "wrong" for name in good}
        program = self.run_daemon(self.tm)
        program.wait_for("refused")
        self.assertRegex(self.order(replay_id).out, "stored; the daemon reads again from there")
        self.assertRegex(self.order(replay_id).out, "ordered already and is under way, as generation 1")
        auth["client_secret"] = orgs.CLIENT_SECRET
        self.tm.write()
        program.signal(signal.SIGHUP)
        waiting.until(lambda: len(self.again()) >= len(wanted), program.tail)
        self.assertEqual(program.terminate(), 0)
        self.check_again(wanted, 1)

    def test_earliest_and_generations(self):
        """earliest twice, in two generations: everything once more each time, marked with its number"""
        self.order("earliest")
        self.expect(self.tm.run_until_idle(), 0)
        self.check_again(self.first, 1)
        self.order(self.first[0]["replay_id"])
        self.expect(self.tm.run_until_idle(), 0)
        self.assertEqual({line["replay"] for line in self.again()}, {1, 2})

    def test_time(self):
        """a time: what was committed at or after it"""
        stamps = sorted({line["commit_timestamp"] for line in self.first})
        middle = stamps[len(stamps) // 2]
        text = datetime.datetime.fromtimestamp(middle / 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.order(text)
        self.expect(self.tm.run_until_idle(), 0)
        self.check_again([line for line in self.first if line["commit_timestamp"] >= middle], 1)

    def test_refused_id(self):
        """an id that the service refuses: an incident, and the position and generation stay"""
        before = self.tm.status()["subscriptions"][0]
        self.order("ffffffffffffffffff")
        self.expect(self.tm.run_until_idle(), 0)
        after = self.tm.status()["subscriptions"][0]
        self.assertEqual((after["generation"], after["replay_id"]), (before["generation"], before["replay_id"]))
        self.assertEqual(self.again(), [])
        listed = [json.loads(line) for line in self.tm.call("incidents", "list", "--json").out.splitlines()]
        self.assertEqual([(i["kind"], i["state"]) for i in listed], [("replay_refused", "open")])

    def test_recorded(self):
        """every use is recorded: when, from, to, by whom"""
        replay_id, _ = self.after(3)
        self.order(replay_id)
        listed = [json.loads(line) for line in self.tm.call("incidents", "list", "--all", "--json").out.splitlines()]
        self.assertEqual([(i["kind"], i["state"]) for i in listed], [("replay", "closed")])
        self.assertRegex(listed[0]["text"], rf"replay from {replay_id}, ordered by uid \d+.*generation 1")
        self.assertEqual(self.expect(self.tm.call("incidents", "list"), 0).out, "")

    def test_mistakes(self):
        """an unknown subscription, no position, nonsense, a missing option: exit 2, nothing changed"""
        before = verdict.totals(self.tm.status())
        for words in (["--subscription", "nobody", "--from", "earliest"], ["--subscription", "data_accountchangeevent", "--from", "yesterday"],
                      ["--subscription", "data_accountchangeevent"], ["--from", "earliest"],
                      ["--subscription", "data_accountchangeevent", "--from", "2126-01-01T00:00:00Z"]):
            self.expect(self.tm.call("replay", *words), 2)
        self.assertRegex(self.order("2126-01-01T00:00:00Z", status=2).err, "lies in the future")
        self.assertEqual(self.tm.status()["incidents"], [])
        self.assertEqual(verdict.totals(self.tm.status()), before)

    def test_authority(self):
        """over TCP an order needs the token"""
        program = self.run_daemon(self.tm)
        found = waiting.until(lambda: program.err and [w for w in program.err.split() if w.startswith("http://127.0.0.1:")], program.tail)
        done = self.tm.call("status", "--json")
        self.assertEqual(done.status, 0)
        request = urllib.request.Request(found[0].rstrip("/") + "/replay?subscription=data_accountchangeevent&from=earliest", method="POST")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        self.assertEqual(refused.exception.code, 403)
        self.assertEqual(self.tm.status()["subscriptions"][0]["generation"], 0)


class Orders(case.Case):
    """Platform events carry their time in the payload."""

    def test_busy_stream(self):
        """a stream of platform events that is never quiet: it has caught up all the same, and a replay of it is through"""
        bus = self.org("--seed", 13, "--prefill", EVENTS, "--rate", 200)
        tidemark = self.tidemark(bus, topics=[orgs.ORDERS])
        program = self.run_daemon(tidemark)
        program.wait_for("running: ")
        name = tidemark.config["subscriptions"][0]["name"]
        live = lambda: tidemark.status()["subscriptions"][0]["state"] == "live"
        waiting.until(live, program.tail)
        order = ("replay", "--subscription", name, "--from", "earliest")
        self.expect(tidemark.call(*order), 0, "reads again from there")
        waiting.until(live, program.tail)
        waiting.until(lambda: re.search("ordered already and is done", tidemark.call(*order, "--dry-run").out), program.tail)
        self.assertEqual(program.terminate(), 0)

    def test_time_of_platform_events(self):
        """a replay by time goes by creation time for platform events"""
        bus = self.org("--seed", 12, "--prefill", EVENTS, "--count", 0)
        bus.wait_published(EVENTS)
        tidemark = self.tidemark(bus, topics=[orgs.ORDERS])
        self.expect(tidemark.run_until_idle(), 0)
        first = tidemark.lines()
        stamps = sorted(line["fields"]["CreatedDate"] for line in first)
        middle = stamps[len(stamps) // 2] // 1000 * 1000
        text = datetime.datetime.fromtimestamp(middle / 1000, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        name = tidemark.config["subscriptions"][0]["name"]
        self.expect(tidemark.call("replay", "--subscription", name, "--from", text), 0)
        self.expect(tidemark.run_until_idle(), 0)
        wanted = [verdict.identity(line) for line in first if line["fields"]["CreatedDate"] >= middle]
        self.assertEqual([verdict.identity(line) for line in tidemark.lines()[len(first):]], wanted)


if __name__ == "__main__":
    tap_print.main()

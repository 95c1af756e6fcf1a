#!/usr/bin/python3
# suite: timeout=600 takes=30
"""Managed subscriptions: the service keeps the position too, one stream at a time, and neither loses anything."""
import json
import random
import re
import shutil
import urllib.parse
import urllib.request

from lib import case, org as orgs, verdict, waiting
import tap_print

NAME = "Account_feed"
SEED = 20261121


class Managed(case.Case):
    def managed_org(self, *options, definition=",earliest", **more):
        return self.org("--seed", SEED, "--managed", f"{NAME}={orgs.ACCOUNTS}{definition}", "--managed-commit-delay", 0.05,
                        "--keepalive", 0.2, *options, **more)

    def managed_tidemark(self, org, start="latest", **more):
        tidemark = self.tidemark(org, start=start, **more)
        tidemark.config["subscriptions"][0]["managed"] = NAME
        tidemark.write()
        return tidemark

    @staticmethod
    def order(org, **words):
        query = urllib.parse.urlencode({"name": NAME, **words})
        urllib.request.urlopen(urllib.request.Request(f"{org.login_url}/sim/managed?{query}", method="POST"), timeout=10).read()

    @staticmethod
    def publish(org, count):
        """So many more events, at once."""
        request = urllib.request.Request(f"{org.login_url}/faults", f"publish {count}\n".encode(), method="POST")
        urllib.request.urlopen(request, timeout=10).read()

    @staticmethod
    def service(org):
        with urllib.request.urlopen(f"{org.login_url}/sim/stats", timeout=10) as answer:
            return json.load(answer)["managed"][NAME]

    @staticmethod
    def head(org):
        with urllib.request.urlopen(f"{org.login_url}/sim/stats", timeout=10) as answer:
            return json.load(answer)["replay_id"]

    @staticmethod
    def sub(tidemark):
        return tidemark.status()["subscriptions"][0]

    def check(self, org, tidemark, in_order=True):
        lines = tidemark.lines()
        if in_order:
            verdict.check_output(org.ledger(), lines, tidemark.topics)
        else:
            self.check_once(org, lines)
        verdict.check_sequence(lines)
        verdict.check_accounts(tidemark.status())

    def check_once(self, org, lines):
        """Each event exactly once, in whatever order."""
        wanted = sorted(verdict.expected(org.ledger(), orgs.ACCOUNTS))
        self.assertIsNone(verdict.difference(wanted, sorted(verdict.identity(line) for line in lines)))

    def test_first_run(self):
        """what the service holds for us comes, start: latest or not; all of it is committed when the daemon has ended"""
        org = self.managed_org("--prefill", 300, "--count", 0)
        tidemark = self.managed_tidemark(org)
        self.expect(tidemark.run_until_idle(), 0)
        self.check(org, tidemark)
        sub, service = self.sub(tidemark), self.service(org)
        self.assertEqual(sub["managed"]["name"], NAME)
        self.assertEqual((sub["managed"]["acknowledged_replay_id"], sub["replay_id"]), (service["committed"], service["committed"]))
        self.assertEqual(service["refused"], 0)
        before = tidemark.output.read_bytes()
        self.expect(tidemark.run_until_idle(), 0)
        self.assertEqual(tidemark.output.read_bytes(), before)

    def test_killed(self):
        """killed again and again, at kill points and by kill -9: each event once, in order; the service is never ahead"""
        draw = random.Random(SEED)
        lives, count = 14, 700
        org = self.managed_org("--rate", 250, "--count", count, "--duplicates", 0.05, "--shared-replay", 0.1, "--batch", 10)
        tidemark = self.managed_tidemark(org)
        points = {}
        for life in range(lives):
            at = draw.randrange(1, 60)
            program = tidemark.run(env={"TIDEMARK_KILL_AT": str(at)} if life % 4 else None, name="tidemark")
            self.started.append(program)
            if life % 4:
                waiting.until(lambda: not program.running() or len(org.ledger()) >= count, program.tail, 60)
            else:
                waiting.pause(draw.uniform(0.1, 0.6))
            if program.running():
                program.kill()
                continue
            point = program.err.rsplit("killpoint ", 1)[1].split()[0]
            points[point] = points.get(point, 0) + 1
        print("# " + ", ".join(f"{name} x {number}" for name, number in sorted(points.items())))
        org.wait_published(count, 60)
        self.expect(tidemark.run_until_idle(), 0)
        self.check(org, tidemark)
        self.assertEqual(self.sub(tidemark)["replay_id"], self.service(org)["committed"])
        self.assertEqual(self.service(org)["refused"], 0)

    def test_latest_has_no_hole(self):
        """nothing is committed and the service begins at its latest: what came while the daemon was away is there"""
        org = self.managed_org("--prefill", 40, "--count", 0, "--keepalive", 600, definition="")
        tidemark = self.managed_tidemark(org)
        program = self.run_daemon(tidemark)
        waiting.until(lambda: self.service(org)["open"] and self.sub(tidemark)["state"] == "live", program.tail)
        program.kill()
        self.assertEqual((self.service(org)["committed"], tidemark.lines()), (None, []))
        before = len(org.ledger())
        self.publish(org, 40)
        self.expect(tidemark.run_until_idle(), 0)
        wanted = sorted(verdict.expected(org.ledger()[before:], orgs.ACCOUNTS))
        got = sorted(verdict.identity(line) for line in tidemark.lines())
        self.assertTrue(wanted)
        self.assertEqual([each for each in wanted if each not in got], [])
        self.assertEqual(len(got), len(set(got)))
        verdict.check_accounts(tidemark.status())

    def test_slot_is_held(self):
        """another client has the slot: said, waited out, and nothing is missing when it is free"""
        org = self.managed_org("--prefill", 50, "--count", 0)
        tidemark = self.managed_tidemark(org)
        self.order(org, slot="taken")
        program = self.run_daemon(tidemark)

        def waits():
            self.assertTrue(program.running(), program.tail())
            done = tidemark.call("status", "--json")
            subs = json.loads(done.out)["subscriptions"] if done.status == 0 else []
            return subs and subs[0]["state"] == "backing_off" and f"of the managed subscription {NAME} is open" in subs[0]["reason"]
        waiting.until(waits, program.tail)
        self.assertEqual(tidemark.lines(), [])
        self.order(org, slot="free")
        waiting.until(lambda: len(tidemark.lines()) == len(verdict.expected(org.ledger(), orgs.ACCOUNTS)), program.tail, 60)
        self.assertEqual(program.terminate(), 0, program.tail())
        self.check(org, tidemark)

    def test_slot_lingers(self):
        """killed: the service frees the slot only after a while; the next life waits for it"""
        org = self.managed_org("--prefill", 100, "--count", 0, "--managed-release", 3600)
        tidemark = self.managed_tidemark(org)
        program = self.run_daemon(tidemark)
        waiting.until(lambda: len(tidemark.lines()) > 20, program.tail)
        program.kill()
        waiting.until(lambda: not self.service(org)["open"], "the service has noticed")
        self.publish(org, 100)
        program = self.run_daemon(tidemark)
        waiting.until(lambda: "another stream of the managed subscription" in program.err, program.tail)
        self.order(org, slot="free")
        waiting.until(lambda: len(tidemark.lines()) == len(verdict.expected(org.ledger(), orgs.ACCOUNTS)), program.tail, 60)
        self.assertEqual(program.terminate(), 0, program.tail())
        self.check(org, tidemark)

    def test_store_is_lost(self):
        """an empty store: what the service has committed is read beside (start: earliest), each event once"""
        org = self.managed_org("--prefill", 200, "--count", 0)
        tidemark = self.managed_tidemark(org, start="earliest")
        self.expect(tidemark.run_until_idle(), 0)
        self.check(org, tidemark)
        shutil.rmtree(tidemark.store)
        tidemark.output.unlink()
        self.expect(tidemark.run_until_idle(), 0, "beside the managed stream, a plain one from earliest", "have met")
        self.check(org, tidemark, in_order=False)

    def test_store_is_older(self):
        """a store from a backup: the service is ahead of it; what lies between is read again, once"""
        org = self.managed_org("--prefill", 100, "--count", 0)
        tidemark = self.managed_tidemark(org)
        program = self.run_daemon(tidemark)
        before = len(verdict.expected(org.ledger(), orgs.ACCOUNTS))
        waiting.until(lambda: len(tidemark.lines()) == before, program.tail)
        self.expect(tidemark.call("backup", self.folder / "backup"), 0)
        self.publish(org, 150)
        wanted = len(verdict.expected(org.ledger(), orgs.ACCOUNTS))
        waiting.until(lambda: len(tidemark.lines()) == wanted, program.tail)
        self.assertEqual(program.terminate(), 0, program.tail())
        self.check(org, tidemark)
        committed = self.service(org)["committed"]
        shutil.rmtree(tidemark.store)
        self.expect(tidemark.call("restore", self.folder / "backup"), 0)
        self.assertNotEqual(self.sub(tidemark)["replay_id"], committed)
        self.expect(tidemark.call("sink", "reset", "log"), 0)
        self.expect(tidemark.run_until_idle(), 0)
        verdict.check_accounts(tidemark.status())
        self.assertEqual(self.sub(tidemark)["journaled"], wanted)

    def test_service_forgets(self):
        """its position is reset to LATEST while the daemon is away, and again while it runs: nothing is lost"""
        org = self.managed_org("--rate", 100, "--count", 600, definition="")
        tidemark = self.managed_tidemark(org)
        program = self.run_daemon(tidemark)
        waiting.until(lambda: len(tidemark.lines()) > 20, program.tail)
        first = verdict.identity(tidemark.lines()[0])
        program.kill()
        self.order(org, state="STOP")
        org.wait_published(200)
        self.order(org, state="RUN")
        program = self.run_daemon(tidemark)
        waiting.until(lambda: self.service(org)["committed"], program.tail)
        self.order(org, state="STOP")
        waiting.until(lambda: not self.service(org)["open"], program.tail)
        org.wait_published(300)
        self.order(org, state="RUN")
        self.assertEqual(program.terminate(), 0, program.tail())
        org.wait_published(600, 60)
        self.expect(tidemark.run_until_idle(), 0)
        wanted = verdict.expected(org.ledger(), orgs.ACCOUNTS)
        wanted = sorted(wanted[wanted.index(first):])
        self.assertIsNone(verdict.difference(wanted, sorted(verdict.identity(line) for line in tidemark.lines())))
        verdict.check_accounts(tidemark.status())

    def test_replay(self):
        """an ordered replay is read beside the managed stream: everything once more, marked; the service's position stands"""
        org = self.managed_org("--prefill", 120, "--rate", 50, "--count", 60)
        tidemark = self.managed_tidemark(org)
        program = self.run_daemon(tidemark)
        org.wait_published(180)
        wanted = verdict.expected(org.ledger(), orgs.ACCOUNTS)
        waiting.until(lambda: len(tidemark.lines()) == len(wanted), program.tail)
        waiting.until(lambda: self.sub(tidemark)["replay_id"] == self.head(org) == self.service(org)["committed"], program.tail)
        committed = self.head(org)
        name = tidemark.config["subscriptions"][0]["name"]
        self.expect(tidemark.call("replay", "--subscription", name, "--from", "earliest"), 0)
        waiting.until(lambda: len(tidemark.lines()) >= 2 * len(wanted), program.tail)
        again = [line for line in tidemark.lines() if line.get("replay") == 1]
        self.assertEqual([verdict.identity(line) for line in again], wanted)
        self.assertEqual(program.terminate(), 0, program.tail())
        self.assertEqual(len(tidemark.lines()), 2 * len(wanted))
        verdict.check_accounts(tidemark.status())
        self.assertEqual(self.service(org)["committed"], committed)

    def test_commits_are_refused(self):
        """refused commits are counted and shown; the stream goes on, and so do commits"""
        org = self.managed_org("--prefill", 60, "--rate", 50, "--count", 100)
        self.order(org, refuse=1000000)
        tidemark = self.managed_tidemark(org)
        program = self.run_daemon(tidemark)
        org.wait_published(160)
        wanted = len(verdict.expected(org.ledger(), orgs.ACCOUNTS))
        waiting.until(lambda: len(tidemark.lines()) == wanted, program.tail)
        waiting.until(lambda: self.sub(tidemark)["managed"]["commits_refused"] > 1, program.tail)
        managed = self.sub(tidemark)["managed"]
        self.assertIn("internal reason", managed["commit_error"])
        self.assertIsNone(managed["acknowledged_replay_id"])
        self.assertIn("internal reason", tidemark.call("status").out)
        port = waiting.until(lambda: re.search(r"listening on http://127\.0\.0\.1:(\d+)", program.err), program.tail).group(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
            metrics = page.read().decode()
        for outcome, count in (("refused", r"[1-9]\d*"), ("accepted", "0")):
            self.assertRegex(metrics, rf'(?m)^tidemark_managed_commits_total{{subscription="\w+",outcome="{outcome}"}} {count}$')
        self.order(org, refuse=0)
        self.assertEqual(self.service(org)["streams"], 1)
        self.assertEqual(program.terminate(), 0, program.tail())
        self.expect(tidemark.run_until_idle(), 0)
        self.assertEqual(self.service(org)["committed"], self.sub(tidemark)["replay_id"])
        self.check(org, tidemark)

    def test_quiet(self):
        """keepalives are committed: with nothing more to come, the service stands at the head of the bus"""
        org = self.managed_org("--prefill", 30, "--count", 0)
        tidemark = self.managed_tidemark(org)
        program = self.run_daemon(tidemark)
        waiting.until(lambda: self.service(org)["committed"] == self.head(org), program.tail)
        began = self.service(org)["commits"]
        self.publish(org, 40)
        waiting.until(lambda: self.service(org)["committed"] == self.head(org), program.tail)
        self.assertGreater(self.service(org)["commits"], began)
        service = self.service(org)
        self.assertEqual((service["streams"], service["open"]), (1, True))
        self.assertEqual(program.terminate(), 0, program.tail())
        self.check(org, tidemark)


if __name__ == "__main__":
    tap_print.main()

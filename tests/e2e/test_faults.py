#!/usr/bin/python3
# suite: timeout=600 takes=60
"""A source that fails and comes back: dropped streams, dead tokens, slow schemas, cut connections, a full journal.

Nobody repairs anything by hand; each published event is in the file once, in order, and I9 holds.
"""
import json
import os
import random
import signal
import urllib.request

from lib import case, org as orgs, programs, verdict, waiting
from lib.relay import Relay
import tap_print

EVENTS = 400


class Faults(case.Case):
    def live(self, *options, rate=150, count=EVENTS, topics=(orgs.ACCOUNTS, orgs.ORDERS), **more):
        """An org that publishes while the daemon runs."""
        self.bus = self.org("--seed", 31, "--rate", rate, "--count", count, "--auth-delay", 0.1, *options)
        return self.tidemark(self.bus, topics=topics, **more)

    def tell_sim(self, action):
        with urllib.request.urlopen(f"{self.bus.login_url}/sim/{action}", data=b"", timeout=10) as answer:
            return answer.status

    def complete(self, tidemark, program, count=EVENTS, seconds=60):
        """Everything published is in the file; the daemon ends well; the accounts add up."""
        self.bus.wait_published(count, 60)
        wanted = sum(len(verdict.expected(self.bus.ledger(), topic)) for topic in tidemark.topics)
        waiting.until(lambda: len(tidemark.lines()) >= wanted, lambda: f"{wanted} lines, {len(tidemark.lines())} there\n"
                      + program.tail(), seconds)
        self.assertEqual(program.terminate(), 0, program.tail())
        verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)
        verdict.check_sequence(tidemark.lines())
        verdict.check_accounts(tidemark.status())

    def test_dropped_streams(self):
        """streams that end with UNAVAILABLE, ten times: it goes on from the resume point"""
        tidemark = self.live("--batch", 7)
        program = self.run_daemon(tidemark)
        for _ in range(10):
            before = len(tidemark.lines())
            waiting.until(lambda: len(tidemark.lines()) > before + 5 or len(self.bus.ledger()) == EVENTS, program.tail)
            self.tell_sim("drop")
        self.complete(tidemark, program)
        self.assertRegex(program.err, "UNAVAILABLE")

    def test_revoked_tokens(self):
        """tokens that die: the next stream is refused, one login, and it goes on"""
        tidemark = self.live()
        program = self.run_daemon(tidemark)
        for _ in range(2):
            before = len(tidemark.lines())
            waiting.until(lambda: len(tidemark.lines()) > before + 5, program.tail, 60)
            self.tell_sim("revoke")
            self.tell_sim("drop")
        self.complete(tidemark, program, seconds=120)

    def test_cut_connections(self):
        """connections reset at random moments"""
        tidemark = self.live("--duplicates", 0.05, "--shared-replay", 0.1, "--batch", 9)
        relay = Relay(self.bus.grpc)
        self.started.append(relay)
        tidemark.config["orgs"][0]["pubsub_endpoint"] = f"127.0.0.1:{relay.port}"
        tidemark.write()
        program, draw, cuts = self.run_daemon(tidemark), random.Random(5), 0
        tries = 0
        while tries < 12 or (cuts < 3 and tries < 1000):
            waiting.pause(draw.uniform(0.05, 0.4))
            cuts += relay.cut()
            tries += 1
        self.assertGreater(cuts, 2)
        self.complete(tidemark, program)

    def test_slow_schema(self):
        """a schema that takes a second: the stream waits, nothing is lost, one fetch per schema"""
        tidemark = self.live("--schema-delay", 1, "--verbose", topics=[orgs.CHANGES])
        program = self.run_daemon(tidemark)
        self.complete(tidemark, program)
        with urllib.request.urlopen(f"{self.bus.login_url}/sim/stats", timeout=10) as answer:
            json.load(answer)
        schemas = {entry["schema_id"] for entry in self.bus.ledger() if verdict.on_topic(entry, orgs.CHANGES)}
        asked = self.bus.program.err.count("GetSchema")
        self.assertTrue(0 < asked <= len(schemas) + 1, f"{asked} calls for {len(schemas)} schemas")

    def test_server_away(self):
        """the org is away when the daemon starts and comes later"""
        first = self.org("--seed", 31, "--count", 0)
        tidemark = self.tidemark(first)
        first.stop()
        program = self.run_daemon(tidemark)
        waiting.until(lambda: "refused" in program.err or "connect" in program.err, program.tail)
        self.bus = self.org("--seed", 31, "--prefill", 100, "--count", 0, listen=first.endpoint, http=f"127.0.0.1:{first.http}",
                            name="sim-later")
        self.complete(tidemark, program, 100)

    def test_full_journal(self):
        """a sink that cannot write and a journal that fills up: paused_full, then everything, once"""
        count = 110000
        self.bus = self.org("--bench", "full", "--count", count)
        tidemark = self.tidemark(self.bus, store={"max_size": "64MiB"},
                                 sinks=[{"name": "log", "file": {"path": str(self.folder / "later/out.ndjson")}}])
        tidemark.output = self.folder / "later/out.ndjson"
        program = self.run_daemon(tidemark)

        def state():
            return [sub["state"] for sub in tidemark.status()["subscriptions"]]
        waiting.until(lambda: "paused_full" in state(), lambda: f"{state()}\n{program.tail()}", 60)
        status = tidemark.status()
        verdict.check_accounts(status, settled=False)
        self.assertTrue(0 < status["journal"]["head"] < count)
        tidemark.output.parent.mkdir()
        waiting.until(lambda: tidemark.status()["sinks"][0]["cursor"] == count, lambda: f"{tidemark.status()}\n{program.tail()}", 90)
        self.assertEqual(program.terminate(), 0)
        ids = [line["id"] for line in tidemark.lines()]
        self.assertEqual((len(ids), len(set(ids))), (count, count))
        verdict.check_sequence(tidemark.lines())
        verdict.check_accounts(tidemark.status())

    def test_oversized_live(self):
        """an oversized event within max_message passes"""
        tidemark = self.live("--oversize", 5 << 20, "--oversize-at", 30, rate=200, topics=[orgs.CHANGES, orgs.ORDERS])
        program = self.run_daemon(tidemark)
        self.complete(tidemark, program)

    def test_secrets_stay_secret(self):
        """neither the log at its most verbose, nor status, nor the store holds secret or token"""
        tidemark = self.live("--static-token", "00Dxx!TOP-SECRET-TOKEN", rate=400)
        program = self.run_daemon(tidemark, "-v")
        self.complete(tidemark, program)
        texts = program.err + program.out + tidemark.call("status", "--json").out + tidemark.call("check", "--print").out
        stored = b"".join(path.read_bytes() for path in tidemark.store.iterdir() if path.is_file())
        for secret in (orgs.CLIENT_SECRET, "00Dxx!"):
            self.assertNotIn(secret, texts)
            self.assertNotIn(secret.encode(), stored)

    def test_log_json(self):
        """--log-format json: every line of stderr is an object"""
        tidemark = self.live(rate=400)
        program = self.run_daemon(tidemark, "--log-format", "json")
        self.complete(tidemark, program)
        for line in program.err.splitlines():
            self.assertIsInstance(json.loads(line), dict)

    def test_tail_ends(self):
        """tail ends at once at SIGINT (130), and quietly when nobody reads any more"""
        tidemark = self.live(rate=200)
        tail = self.program(tidemark, "tail", orgs.ACCOUNTS, "--from", "earliest", "--json")
        waiting.until(lambda: tail.out.count("\n") > 3, tail.tail)
        tail.signal(signal.SIGINT)
        self.assertEqual(tail.wait(10), 130, tail.tail())
        done = self.shell(tidemark.command("tail", orgs.ACCOUNTS, "--from", "earliest", "--json"), "head -n 2", tidemark.env)
        self.assertEqual(done.out.count("\n"), 2, str(done))
        self.assertNotRegex(done.err, r"(?i)signal|broken|error", str(done))

    def program(self, tidemark, *words):
        started = programs.Program("tail", tidemark.command(*words), self.folder, tidemark.env)
        self.started.append(started)
        return started

    @staticmethod
    def shell(command, reader, env):
        quoted = " ".join(f"'{word}'" for word in command)
        return programs.call(["bash", "-c", f"set -o pipefail; {quoted} | {reader}"], 30, {**os.environ, **env})


if __name__ == "__main__":
    tap_print.main()

#!/usr/bin/python3
# suite: timeout=1200 takes=75
"""A soak: 500 events/s over three subscriptions, under random faults, seeded.

First half: kill -9, cut connections, dropped streams, revoked tokens, calls that fail, a wire that breaks, a frozen
service. Second half: the same without kills, so that one process lives long enough to be watched. It begins with some
seconds to catch up with, more than any fault costs later, so that buffers are in use. From its first minute on the floor of
its memory stays flat (what a burst takes is given back), and it leaks neither descriptors nor threads. The verdict is the accounting: each published event in the file
once, in order; I9 holds.

TIDEMARK_SOAK_SECONDS (default 60) and TIDEMARK_SOAK_SEED say how long and which.
"""
import os
import random
import signal
import time
import urllib.request

from lib import case, org as orgs, verdict, waiting
from lib.relay import Relay
import tap_print

SECONDS = int(os.environ.get("TIDEMARK_SOAK_SECONDS", "60"))
SEED = int(os.environ.get("TIDEMARK_SOAK_SEED", "20260506"))
RATE = 500
TOPICS = [orgs.ACCOUNTS, orgs.CONTACTS, orgs.ORDERS]


class Soak(case.Case):
    def post(self, path):
        urllib.request.urlopen(urllib.request.Request(self.bus.login_url + path, method="POST"), timeout=10).read()

    def order(self, line):
        urllib.request.urlopen(self.bus.login_url + "/faults", data=line.encode(), timeout=10).read()

    def drop_streams(self):
        self.post("/sim/drop")

    def revoke_tokens(self):
        """Not too often: a token that is refused soon after its login is followed by a pause of up to 30 s."""
        if time.monotonic() - self.revoked > 40:
            self.revoked = time.monotonic()
            self.post("/sim/revoke")
            self.drop_streams()

    def fail_calls(self):
        method = self.rng.choice(["Subscribe", "GetTopic", "GetSchema"])
        status, code = self.rng.choice([("UNAVAILABLE", "service.unavailable"), ("INTERNAL", "subscription.internal.error"),
                                        ("RESOURCE_EXHAUSTED", "service.protection.triggered"), ("UNAVAILABLE", "")])
        self.post("/sim/call-fault?status=NONE")  # what no call has met by now would pile up: schemas are asked for once
        self.post(f"/sim/call-fault?method={method}&status={status}&code={code}&count=2")
        self.drop_streams()

    def break_wire(self):
        """What meets the next stream, after some responses."""
        kind = self.rng.choice(["rst_stream code=NO_ERROR", "rst_stream code=INTERNAL_ERROR", "goaway code=NO_ERROR",
                                "goaway code=ENHANCE_YOUR_CALM debug=too_many_pings", "close", "garble", "silence seconds=0.7",
                                "drip bytes=3000"])
        self.order(f"wire {kind} after={self.rng.randrange(4)} count={self.rng.randrange(1, 3)}")
        self.drop_streams()

    def cut_connections(self):
        self.relay.cut()

    def freeze_service(self):
        os.kill(self.bus.program.pid, signal.SIGSTOP)
        try:
            waiting.pause(self.rng.uniform(0.2, 1.0))  # an outage has to last
        finally:
            os.kill(self.bus.program.pid, signal.SIGCONT)

    def kill_daemon(self, away=0):
        self.program.kill()
        waiting.pause(away)  # what is published meanwhile has to be caught up with
        self.program = self.run_daemon(self.tm)

    def figures(self):
        """(anonymous KiB, descriptors, threads) of the daemon."""
        with open(f"/proc/{self.program.pid}/status", encoding="ascii") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["RssAnon"].split()[0]), len(os.listdir(f"/proc/{self.program.pid}/fd")), int(fields["Threads"])

    def watch(self):
        self.samples.append((time.monotonic() - self.started_at, self.figures()[0]))

    def floor(self, since, until):
        """The least anonymous memory (KiB) in this time: what bursts take for a while is given back."""
        return min(memory for at, memory in self.samples if since <= at <= until)

    def faults_until(self, deadline, kinds):
        while time.monotonic() < deadline:
            self.assertTrue(self.program.running(), self.program.tail())
            self.watch()
            fault = self.rng.choice(kinds)
            self.counts[fault.__name__] = self.counts.get(fault.__name__, 0) + 1
            fault()
            waiting.pause(self.rng.uniform(0.3, 1.5))  # the schedule of the faults

    def test_soak(self):
        """random faults at 500 events/s over three subscriptions: nothing lost or repeated, memory flat, no leak"""
        self.rng, self.counts, self.revoked = random.Random(SEED), {}, 0.0
        published = RATE * SECONDS
        self.bus = self.org("--seed", SEED % 1000, "--rate", RATE, "--count", published, "--hold", "--duplicates", 0.02,
                            "--shared-replay", 0.03, "--auth-delay", 1, "--relay")
        self.relay = Relay(self.bus.grpc)
        self.addCleanup(self.relay.stop)
        self.tm = self.tidemark(self.bus, topics=TOPICS, org_changes={"pubsub_endpoint": f"127.0.0.1:{self.relay.port}"})
        self.program = self.run_daemon(self.tm)
        started = self.started_at = time.monotonic()
        self.samples = []
        calm = [self.drop_streams, self.revoke_tokens, self.fail_calls, self.cut_connections, self.break_wire,
                self.freeze_service]
        self.faults_until(started + SECONDS * 0.45, [*calm, self.kill_daemon, self.kill_daemon])
        self.kill_daemon(away=min(45, SECONDS * 0.1))
        begin = time.monotonic() + min(60, SECONDS * 0.1)
        self.faults_until(begin, calm)
        early = self.settled_figures()
        self.faults_until(started + SECONDS, calm)
        late = self.settled_figures()
        first, half, last = begin - started, (begin - started + SECONDS) / 2, self.samples[-1][0]
        floors = self.floor(first, half), self.floor(half, last)
        print(f"# seed {SEED}: {self.counts}; least anonymous {floors[0]} -> {floors[1]} KiB, descriptors {early[1]} -> "
              f"{late[1]}, threads {early[2]} -> {late[2]}")
        print(f"# on the way, (seconds, anonymous KiB): {[(round(at), memory) for at, memory in self.samples[::20]]}")
        self.bus.wait_published(published, 60)
        self.assertEqual(self.program.terminate(60), 0, self.program.tail())
        self.expect(self.tm.run_until_idle(2, 60, seconds=180), 0)
        verdict.check_output(self.bus.ledger(), self.tm.lines(), TOPICS)
        verdict.check_accounts(self.tm.status())
        young = 1024 if SECONDS < 180 else 0  # KiB: what is used for the first time in the first minutes
        self.assertLess(floors[1], floors[0] * 1.05 + young, "memory grows")
        self.assertLessEqual(late[1], early[1] + 2, "descriptors leak")
        self.assertLessEqual(late[2], early[2] + 1, "threads leak")

    def settled_figures(self):
        """Once all three streams are open again."""
        def up():
            self.watch()
            states = [s["state"] for s in self.tm.status()["subscriptions"]]
            return len(states) == 3 and all(state in ("live", "catching_up") for state in states)

        waiting.until(up, lambda: f"{self.tm.status()['subscriptions']}\n{self.program.tail()}", 60)
        return self.figures()


if __name__ == "__main__":
    tap_print.main()

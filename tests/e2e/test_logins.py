#!/usr/bin/python3
"""Failed logins are remembered: no crash loop locks an account, and a person who has mended it says so with one command."""
import json
import time
import urllib.request

from lib import case, org as orgs, verdict, waiting
import tap_print

EVENTS = 30
PAUSE_S = 30  # after the first refusal
FAST = {"TIDEMARK_TEST_CLOCK_SCALE": "1000"}  # a quarter of an hour passes in a second


class Logins(case.Case):
    def setUp(self):
        super().setUp()
        self.runs = 0
        self.bus = self.org("--seed", 71, "--prefill", EVENTS, "--count", 0, "--auth-delay", 0.1)

    def post(self, what):
        with urllib.request.urlopen(f"{self.bus.login_url}/sim/{what}", data=b"", timeout=10) as answer:
            return answer.read()

    def requests(self):
        with urllib.request.urlopen(f"{self.bus.login_url}/sim/stats", timeout=10) as answer:
            return json.load(answer)["token_requests"]

    def start(self, tidemark, reason, env=None):
        """The daemon, until its org's reason says so (a regular expression)."""
        self.runs += 1
        program = self.run_daemon(tidemark, env=env, name=f"run-{self.runs}")  # a log of its own
        program.wait_for(reason)
        return program

    def org_of(self, tidemark):
        return tidemark.status()["orgs"][0]

    def delivers(self, tidemark):
        wanted = len(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS))
        waiting.until(lambda: len(tidemark.lines()) >= wanted, lambda: str(tidemark.status()["orgs"]))
        verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)

    def test_crash_loop(self):
        """refused, killed, started again, many times: one login; another secret ends the pause"""
        tidemark = self.tidemark(self.bus)
        tidemark.env = {**tidemark.env, "TIDEMARK_TEST_SECRET": "wrong"}
        began = time.monotonic()
        self.start(tidemark, "next try in").kill()
        for _ in range(5):
            if time.monotonic() - began > PAUSE_S / 2:
                break  # a slow machine: the pause would be over
            program = self.start(tidemark, "before this start: .*refused the login")
            waiting.until(lambda: "before this start" in (tidemark.status()["subscriptions"][0]["reason"] or ""), program.tail)
            program.kill()
        self.assertEqual(self.requests(), 1)
        self.assertIsNotNone(self.org_of(tidemark)["next_login_at"])
        tidemark.env["TIDEMARK_TEST_SECRET"] = orgs.CLIENT_SECRET
        self.expect(tidemark.run_until_idle(), 0)
        self.delivers(tidemark)
        self.assertEqual(self.requests(), 2)

    def test_login_command(self):
        """tidemark login: refused again is exit 4 and says why; mended, the daemon is in at once"""
        self.post("token-fault?kind=inactive_user&count=0")
        tidemark = self.tidemark(self.bus)
        program = self.start(tidemark, "must activate the user.*next try in")
        self.expect(tidemark.call("login"), 4, "must activate the user")
        self.assertEqual(self.requests(), 2)
        self.expect(tidemark.call("login", "nobody"), 2, "no org 'nobody'")
        self.post("token-fault?kind=none")
        self.expect(tidemark.call("login", "main"), 0, "main: logged in")
        self.delivers(tidemark)
        self.expect(tidemark.call("login", "main"), 0, "main: logged in")
        self.assertEqual(self.requests(), 3)
        self.assertEqual(self.org_of(tidemark)["state"], "ready")
        self.assertEqual(program.terminate(), 0)
        self.assertIsNone(self.org_of(tidemark)["next_login_at"])

    def test_daemon_down(self):
        """tidemark login with the daemon down: the next start tries at once"""
        self.post("token-fault?kind=invalid_client&count=0")
        tidemark = self.tidemark(self.bus)
        self.start(tidemark, "next try in").kill()
        self.post("token-fault?kind=none")
        self.start(tidemark, "before this start").kill()
        self.expect(tidemark.call("login"), 0, "the daemon is down; its next start logs in at once")
        self.expect(tidemark.call("login"), 0, "no pause is kept")
        self.expect(tidemark.run_until_idle(), 0)
        self.delivers(tidemark)

    def test_wrong_password(self):
        """a wrong password is tried twice in all, through kills and restarts; then a person decides"""
        auth = {"client_credentials": None,
                "password": {"client_id": "demo", "client_secret": "${TIDEMARK_TEST_SECRET}", "username": "integration@demo.example",
                             "password": "wrong-password", "security_token": "demo-token"}}
        tidemark = self.tidemark(self.bus, org_changes={"auth": auth})
        self.start(tidemark, "next try in").kill()
        self.start(tidemark, "before this start.*next try in").kill()
        self.assertEqual(self.requests(), 1)
        self.start(tidemark, "no further login", FAST).kill()
        for _ in range(3):
            self.start(tidemark, "before this start.*no further login", FAST).kill()
        for command in (["topics"], ["schema", orgs.ACCOUNTS], ["tail", "-n", "1"], ["doctor"]):
            self.expect(tidemark.call(*command), 4, "no further login, or the account would be locked")
        self.assertEqual(self.requests(), 2)
        self.assertEqual(self.org_of(tidemark)["next_login_at"], "never")
        self.run_daemon(tidemark).wait_for("running: ")
        self.expect(tidemark.call("login"), 4, "authentication failure")
        self.assertEqual(self.requests(), 3)

    def test_killed_before_the_answer(self):
        """killed again and again while a login waits for its answer: after four of them a pause"""
        self.post("token-fault?kind=slow&count=0&seconds=30")
        tidemark = self.tidemark(self.bus)
        for number in range(1, 5):
            program = self.run_daemon(tidemark)
            waiting.until(lambda n=number: self.requests() == n, program.tail)
            program.kill()
        self.assertNotIn("in a row", program.err)  # of all four
        self.start(tidemark, "4 logins in a row were begun by a process that ended before the answer.*next try in")
        self.assertEqual(self.requests(), 4)
        self.post("token-fault?kind=none")
        self.expect(tidemark.call("login"), 0, "logged in")
        self.delivers(tidemark)


if __name__ == "__main__":
    tap_print.main()

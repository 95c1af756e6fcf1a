#!/usr/bin/python3
"""How much of an org's API allowance is used up: in status and metrics; not knowing it harms nothing."""
import json
import re
import urllib.request

from lib import case, org as orgs, verdict, waiting
import tap_print

EVENTS = 30


class Usage(case.Case):
    def start(self, **limits):
        self.bus = self.org("--seed", 95, "--prefill", EVENTS, "--count", 0, "--auth-delay", 0.1)
        self.order(**limits)
        self.tm = self.tidemark(self.bus)
        self.program = self.run_daemon(self.tm)
        self.program.wait_for("running: ")

    def order(self, **limits):
        words = "&".join(f"{key}={value}" for key, value in limits.items())
        with urllib.request.urlopen(f"{self.bus.login_url}/sim/limits?{words}", data=b"", timeout=10) as answer:
            answer.read()

    def org_status(self):
        return self.tm.status()["orgs"][0]

    def ratio(self):
        port = re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.program.err).group(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            found = re.search(r'^tidemark_api_usage_ratio{org="main"} (\S+)$', answer.read().decode(), re.M)
        return float(found.group(1)) if found else None

    def delivers(self):
        wanted = len(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS))
        waiting.until(lambda: len(self.tm.lines()) >= wanted, self.program.tail)
        verdict.check_output(self.bus.ledger(), self.tm.lines(), self.tm.topics)

    def test_known(self):
        """asked once a token is held, and not again soon; used and max in status, their ratio in metrics"""
        self.start(used=11999, max=20000)
        found = waiting.until(lambda: self.org_status() if self.org_status()["api_max"] else None, self.program.tail)
        self.assertEqual((found["api_used"], found["api_max"], found["api_usage_reason"]), (12000, 20000, ""))
        self.assertEqual(self.ratio(), 0.6)
        self.delivers()
        with urllib.request.urlopen(f"{self.bus.login_url}/sim/stats", timeout=10) as answer:
            self.assertEqual(json.load(answer)["limits_requests"], 1)
        self.assertEqual(self.program.terminate(), 0)

    def test_failing(self):
        """an org that does not say: why is in status, there is no sample, and the stream does not care"""
        self.start(status=503)
        waiting.until(lambda: "HTTP 503, SERVER_UNAVAILABLE" in self.org_status()["api_usage_reason"], self.program.tail)
        self.assertIsNone(self.ratio())
        self.delivers()
        status = self.tm.status()
        self.assertEqual((status["orgs"][0]["state"], status["orgs"][0]["logins"]), ("ready", 1))
        self.assertEqual(status["subscriptions"][0]["reconnects"], 0)
        self.assertEqual(self.program.terminate(), 0)


if __name__ == "__main__":
    tap_print.main()

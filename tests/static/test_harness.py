#!/usr/bin/python3
"""The tests' own judges, tried on what they must refuse: silence is no success, one lost line is seen."""
import pathlib
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/harness"), str(ROOT / "tests/e2e"), str(ROOT / "tests/interop")]
import expected  # noqa: E402
import tap  # noqa: E402
import tap_print  # noqa: E402
from lib import verdict  # noqa: E402


def judged(text, status=0, late=False):
    outcome = tap.judge(tap.read(text.splitlines()), status, late, 10)
    return len(outcome.passed), len(outcome.failed), len(outcome.skipped)


class Tap(unittest.TestCase):
    def test_counts(self):
        """ok, not ok, skipped in every spelling, several plans"""
        self.assertEqual(judged("1..4\nok 1 - a\nnot ok 2 - b\nok 3 # SKIP why\nnot ok 4 # SKIP c", 1), (1, 1, 2))
        self.assertEqual(judged("1..1\nok 1 - a\n# note\n1..1\nok 1 - b"), (2, 0, 0))
        self.assertEqual(judged("1..0 # skip no network"), (0, 0, 1))

    def test_silence(self):
        """no plan, too few lines, death, a limit, a bad exit status: failed"""
        self.assertEqual(judged(""), (0, 1, 0))
        self.assertEqual(judged("1..3\nok 1\nok 2"), (2, 1, 0))
        self.assertEqual(judged("1..1\nok 1 - a", -11), (1, 1, 0))
        self.assertEqual(judged("1..1\nok 1 - a", -9, late=True), (1, 1, 0))
        self.assertEqual(judged("1..1\nok 1 - a", 3), (1, 1, 0))

    def test_printer(self):
        """the printer says one line per case, also when the cleanup fails too"""
        program = ("import sys, unittest; sys.path.insert(0, %r); import tap_print\n"
                   "class T(unittest.TestCase):\n"
                   "  def test_a(self): pass\n"
                   "  def test_b(self): self.addCleanup(lambda: 1 / 0); self.fail('b')\n"
                   "  def test_c(self): self.skipTest('why')\n"
                   "tap_print.main()") % str(ROOT / "tests/harness")
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        self.assertEqual([line for line in done.stdout.splitlines() if not line.startswith("#")],
                         ["1..3", "ok 1 - T.test_a", "not ok 2 - T.test_b", "ok 3 - T.test_c # SKIP why"])
        self.assertEqual(done.returncode, 1)


def entry(number, topic="/data/AccountChangeEvent"):
    return {"topic": topic, "event_id": f"e{number}", "record_ids": [f"r{number}"], "replay_id": f"{number:020x}"}


def line(number, seq):
    return {"topic": "/data/AccountChangeEvent", "id": f"e{number}", "record_ids": [f"r{number}"], "kind": "platform_event", "seq": seq}


class Verdict(unittest.TestCase):
    topics = ["/data/AccountChangeEvent"]

    def refused(self, ledger, lines, words):
        with self.assertRaisesRegex(AssertionError, words):
            verdict.check_output(ledger, lines, self.topics)

    def test_output(self):
        """lost, repeated, foreign and disordered lines are seen; a publish retry counts once"""
        ledger = [entry(1), entry(2), entry(2), entry(3), entry(9, "/event/Order__e")]
        verdict.check_output(ledger, [line(1, 1), line(2, 2), line(3, 3)], self.topics)
        self.refused(ledger, [line(1, 1), line(3, 2)], "1 lost")
        self.refused(ledger, [line(1, 1), line(2, 2), line(2, 3), line(3, 4)], "1 repeated")
        self.refused(ledger, [line(1, 1), line(2, 2), line(3, 3), line(4, 4)], "1 never published")
        self.refused(ledger, [line(1, 1), line(3, 2), line(2, 3)], "out of order")
        with self.assertRaises(AssertionError):
            verdict.check_sequence([line(1, 1), line(2, 1)])

    def test_accounts(self):
        """accounts that do not add up are seen"""
        sub = {"name": "a", "received": 10, "duplicates": 2, "before_start": 1, "journaled": 7}
        sink = {"name": "s", "cursor": 7, "lag": 0, "delivered": 6, "superseded": 0, "filtered": 0, "parked": 1}
        status = {"subscriptions": [sub], "sinks": [sink], "journal": {"head": 7}}
        self.assertEqual(verdict.check_accounts(status), 7)
        for wrong in ({**status, "subscriptions": [{**sub, "received": 11}]}, {**status, "sinks": [{**sink, "delivered": 5}]},
                      {**status, "journal": {"head": 8}}, {**status, "sinks": [{**sink, "delivered": 5, "lag": 1}]}):
            with self.assertRaises(AssertionError):
                verdict.check_accounts(wrong)


class Expected(unittest.TestCase):
    def test_difference(self):
        """values, types, missing members and their order are seen"""
        wanted = {"a": 1, "b": {"c": [True, None, 2**63 - 1, 0.5]}}
        self.assertIsNone(expected.difference(wanted, {"a": 1, "b": {"c": [True, None, 2**63 - 1, 0.5]}}))
        for got in ({"b": wanted["b"], "a": 1}, {"a": "1", "b": wanted["b"]}, {"a": 1}, {"a": 1, "b": {"c": [1, None, 2**63 - 1, 0.5]}},
                    {"a": 1, "b": {"c": [True, None, 2**63, 0.5]}}, {"a": 1, "b": {"c": [True, None, 2**63 - 1]}}):
            self.assertIsNotNone(expected.difference(wanted, got), got)


if __name__ == "__main__":
    tap_print.main()

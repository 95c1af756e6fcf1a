#!/usr/bin/python3
"""The tests' own judges, tried on what they must refuse: silence is no success, one lost line is seen."""
import argparse
import contextlib
import io
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/harness"), str(ROOT / "tests/e2e"), str(ROOT / "tests/interop")]
import expected  # noqa: E402
import run_suites  # noqa: E402
import suites  # noqa: E402
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


class Again(unittest.TestCase):
    """What is run again, and what that forgives: suites are shell scripts that count how often they ran."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def suite(self, name, first, second):
        """A suite that says one thing when it runs first, and another from then on."""
        count = self.folder / (name.replace("/", ".") + ".count")
        script = f"echo x >>{count}; echo 1..1; if [ $(wc -l <{count}) -eq 1 ]; then {first}; else {second}; fi"
        return suites.Suite(name, ["sh", "-c", script], 60)

    def runs(self, suite):
        return len((self.folder / (suite.name.replace("/", ".") + ".count")).read_text(encoding="ascii").split())

    def round(self, *chosen):
        """(cases passed, cases failed, suites forgiven), and what was printed."""
        arguments = argparse.Namespace(build=self.folder, preset="dev")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            results = [run_suites.run(suite, arguments, self.folder) for suite in chosen]
            outcomes, forgiven = run_suites.run_again(list(chosen), results, arguments, self.folder)
        return (sum(len(o.passed) for o in outcomes), sum(len(o.failed) for o in outcomes), forgiven), said.getvalue()

    def test_forgiven(self):
        """a suite that passes when run again: counted so, told loudly, its first log kept; others are not run again"""
        good, flaky = self.suite("e2e/good", "echo ok 1", "echo not ok 1"), self.suite("e2e/flaky", "echo '# too late'; echo not ok 1", "echo ok 1")
        figures, said = self.round(good, flaky)
        self.assertEqual((figures, self.runs(good), self.runs(flaky)), ((2, 0, 1), 1, 2))
        self.assertRegex(said, r"(?s)e2e/flaky PASSED ONLY WHEN RUN AGAIN.*too late")
        self.assertIn("too late", (self.folder / "e2e.flaky.first.log").read_text(encoding="ascii"))

    def test_not_forgiven(self):
        """what fails twice, findings, and checks of the source stay failures"""
        figures, _ = self.round(self.suite("e2e/bad", "echo not ok 1", "echo not ok 1"))
        self.assertEqual(figures, (0, 1, 0))
        for name, first in (("e2e/leak", "echo '# ERROR: LeakSanitizer: leaks'; echo not ok 1"), ("fuzz/x", "echo not ok 1"),
                            ("static/x", "echo not ok 1"), ("unit/crash", "kill -SEGV $$"),
                            ("e2e/lost", "echo '# 9 published, 8 in the file; 1 lost: [7]'; echo not ok 1")):
            suite = self.suite(name, first, "echo ok 1")
            figures, _ = self.round(suite)
            self.assertEqual((figures, self.runs(suite)), ((0, 1, 0), 1), name)

    def test_too_many(self):
        """more failures than an accident has: none is forgiven"""
        flaky = [self.suite(f"e2e/x{i}", "echo not ok 1", "echo ok 1") for i in range(run_suites.MOST_FORGIVEN + 1)]
        self.assertEqual(self.round(*flaky)[0], (0, len(flaky), 0))
        again = [self.suite(f"e2e/y{i}", "echo not ok 1", "echo ok 1") for i in range(run_suites.MOST_FORGIVEN)]
        self.assertEqual(self.round(*again)[0], (len(again), 0, len(again)))


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

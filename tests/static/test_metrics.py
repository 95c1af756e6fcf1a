#!/usr/bin/python3
"""The alert rules pass promtool and their own tests, and code, documentation and rules speak of the same metrics."""
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/harness"))
import tap_print  # noqa: E402

RULES = ROOT / "config/prometheus/tidemark.rules.yml"
RULES_TEST = ROOT / "config/prometheus/tidemark.rules.test.yml"
DOCUMENT = ROOT / "docs/metrics.md"
NAME = re.compile(r"\btidemark_[a-z_]+\b")


def known():
    """The families that the program writes."""
    return set(re.findall(r'"(tidemark_[a-z_]+)"', (ROOT / "src/admin/metrics.c").read_text(encoding="utf-8")))


def without_suffix(name):
    return re.sub(r"_(bucket|sum|count)$", "", name)


class Metrics(unittest.TestCase):
    def promtool(self, *words):
        done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_rules(self):
        """promtool check rules"""
        self.assertIn("SUCCESS", self.promtool("check", "rules", RULES))

    def test_rules_tests(self):
        """promtool test rules: each alert fires in time, and only then"""
        self.promtool("test", "rules", RULES_TEST)

    def test_each_alert_is_tested(self):
        """each alert is seen firing by a test, and stands in the documentation"""
        alerts = re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))
        tests, document = RULES_TEST.read_text(encoding="utf-8"), DOCUMENT.read_text(encoding="utf-8")
        self.assertEqual(len(alerts), len(set(alerts)))
        for alert in alerts:
            seen = re.search(rf'alertname="{alert}".*\n\s*eval_time: .*\n\s*exp_samples: \[\{{labels', tests)
            self.assertTrue(seen, f"no test sees {alert} firing")
            self.assertIn(f"| `{alert}` |", document)
        self.assertEqual(set(re.findall(r"\bTidemark[A-Z]\w+", document)), set(alerts))

    def test_rules_know_their_metrics(self):
        """rules speak of metrics that exist"""
        unknown = set(NAME.findall(RULES.read_text(encoding="utf-8"))) - known()
        self.assertEqual(unknown, set())

    def test_documentation(self):
        """docs/metrics.md has a row for each metric, and none for others"""
        text = DOCUMENT.read_text(encoding="utf-8")
        self.assertEqual(set(re.findall(r"^\| `(tidemark_[a-z_]+)` \|", text, re.MULTILINE)), known())
        self.assertEqual({without_suffix(name) for name in NAME.findall(text)} - known(), set())


if __name__ == "__main__":
    tap_print.main()

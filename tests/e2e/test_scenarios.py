#!/usr/bin/python3
# suite: timeout=1200 takes=40
"""Every file of scenarios/: what the service does, and that each published event is accounted for.

Two scenarios are played at a time; each has an org, a daemon and a store of its own.
"""
import concurrent.futures
import pathlib
import unittest

from lib import scenario
import tap_print

FOLDER = pathlib.Path(__file__).resolve().parent / "scenarios"
AT_A_TIME = 2


class Scenarios(unittest.TestCase):
    """One method per file; load_tests starts those that were chosen."""
    played = {}


def add(path):
    def method(self):
        self.played[path].result()
    method.__doc__ = f"{path.stem}: {scenario.Scenario(path).text['what']}"
    setattr(Scenarios, "test_" + path.stem.replace("-", "_"), method)
    method.path = path


for each in sorted(FOLDER.glob("*.yaml")):
    add(each)


def load_tests(_loader, tests, _pattern):
    pool = concurrent.futures.ThreadPoolExecutor(AT_A_TIME)
    for suite in tests:
        for test in suite:
            path = getattr(test, test._testMethodName).path
            Scenarios.played[path] = pool.submit(scenario.Scenario(path).play)
    return tests


if __name__ == "__main__":
    tap_print.main()

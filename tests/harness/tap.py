"""TAP, read: the lines a suite printed become cases.

One case is one "ok"/"not ok" line. A plan may stand anywhere and more than once (cmocka prints one per
group); the plans add up. "# SKIP" (any case) makes a case one that was not run, whatever stands before it.
"""
import re

PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*skip\S*\s*(.*))?$", re.IGNORECASE)
CASE = re.compile(r"^(not )?ok\b\s*(\d+)?\s*(?:-\s*)?(.*)$")
SKIP = re.compile(r"#\s*skip\S*\s*(.*)$", re.IGNORECASE)


class Outcome:
    """What one suite said: names by result, and why the suite as a whole is not to be believed."""

    def __init__(self):
        self.passed, self.failed, self.skipped = [], [], []
        self.planned = None

    @property
    def seen(self):
        return len(self.passed) + len(self.failed) + len(self.skipped)


def read(lines):
    outcome = Outcome()
    for line in lines:
        line = line.rstrip("\n")
        plan = PLAN.match(line)
        if plan:
            outcome.planned = (outcome.planned or 0) + int(plan.group(1))
            if int(plan.group(1)) == 0:
                outcome.planned += 1
                outcome.skipped.append(plan.group(2) or "whole suite")
            continue
        case = CASE.match(line)
        if not case:
            continue
        name = case.group(3).strip()
        skip = SKIP.search(name)
        if skip:
            # cmocka prints the name behind the word, everybody else a reason.
            said = f"{name[:skip.start()].strip()}: {skip.group(1)}".strip(": ")
            outcome.skipped.append(said)
        elif case.group(1):
            outcome.failed.append(name)
        else:
            outcome.passed.append(name)
    return outcome


def judge(outcome, exit_status, timed_out, seconds):
    """Adds a failed case for everything that the lines alone do not say: death, silence, a missing plan."""
    if timed_out:
        outcome.failed.append(f"(suite) still running after {seconds} s")
    elif exit_status < 0:
        outcome.failed.append(f"(suite) died of signal {-exit_status}")
    elif outcome.planned is None:
        outcome.failed.append(f"(suite) printed no plan, exit status {exit_status}")
    elif outcome.seen < outcome.planned:
        outcome.failed.append(f"(suite) {outcome.seen} of {outcome.planned} cases reported, exit status {exit_status}")
    elif exit_status != 0 and not outcome.failed:
        outcome.failed.append(f"(suite) every case passed, yet exit status {exit_status}")
    return outcome

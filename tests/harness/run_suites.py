#!/usr/bin/python3
"""Runs suites, a few at a time, and says what happened. Called by scripts/test after the build.

Each suite gets a process group of its own and a time limit; at its end, or at the limit, that group and
nothing else is killed. The whole output of a suite is kept in BUILD/test-logs/KIND.NAME.log.

A suite that failed is run once more at the end of the round, with nothing beside it: a machine that stood still
for a minute fails a deadline of a test, and says nothing about the program. What passes then counts as passed, is
told loudly with what it said the first time (kept in KIND.NAME.first.log), and has a figure of its own. What says
something about the program whenever it is seen is never forgiven: a sanitizer's finding, a crash, an event lost,
repeated or out of order, a check of the source text, a fuzz finding. Nor are more than MOST_FORGIVEN suites of a
round: that many are a cause, not an accident.
"""
import argparse
import concurrent.futures
import fnmatch
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import suites
import tap

SANITIZERS = suites.ROOT / "tests/harness/sanitizers"
ENVIRONMENT = {
    # Leaks count; what a library of the distribution leaks is listed. detect_stack_use_after_return stays off:
    # GCC 12 places variables that want 64 bytes (the state of XXH3) at 32 then, and UBSan rightly complains.
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=0:exitcode=86",
    "LSAN_OPTIONS": f"suppressions={SANITIZERS}/leaks.txt:print_suppressions=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=86",
    # Debian's gRPC is not instrumented: without this TSan reports hand-overs inside it. It would also sleep for a second
    # at every exit, and some suites are hundreds of processes.
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1:halt_on_error=0:second_deadlock_stack=1:exitcode=66:atexit_sleep_ms=50",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
}
TAIL_LINES = 40
MOST_FORGIVEN = 3
FORGIVABLE_KINDS = ("unit", "contract", "interop", "e2e", "container", "soak")
FINDING = re.compile(r"Sanitizer\b|runtime error: |\bBUG at |died of signal|\d+ (lost|repeated|never published): |"
                     r"out of order from line|received is not duplicates|accounted for, \d+ journaled")
screen = threading.Lock()


def kill_group(leader):
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


def wide_randomisation():
    """TSan of clang 14 finds no room for its shadow under the address randomisation of newer kernels."""
    try:
        return int(pathlib.Path("/proc/sys/vm/mmap_rnd_bits").read_text(encoding="ascii")) > 28
    except OSError:
        return False


def run(suite, arguments, logs):
    """One suite, from start to a judged outcome."""
    command = list(suite.command)
    if arguments.preset == "tsan" and wide_randomisation():
        command = ["setarch", platform.machine(), "-R"] + command
    env = {**os.environ, **ENVIRONMENT, "TIDEMARK_BUILD": str(arguments.build), "TIDEMARK_PRESET": arguments.preset,
           **suite.env}
    log = logs / (suite.name.replace("/", ".") + ".log")
    started, timed_out = time.monotonic(), False
    with open(log, "wb") as sink:
        try:
            process = subprocess.Popen(command, cwd=suite.cwd, env=env, stdin=subprocess.DEVNULL, stdout=sink,
                                       stderr=subprocess.STDOUT, start_new_session=True)
            try:
                status = process.wait(suite.timeout)
            except subprocess.TimeoutExpired:
                timed_out, status = True, -signal.SIGKILL
            kill_group(process.pid)
            process.wait()
        except OSError as error:
            sink.write(f"cannot start {command[0]}: {error}\n".encode())
            status = 127
    text = log.read_text(encoding="utf-8", errors="replace")
    outcome = tap.judge(tap.read(text.splitlines()), status, timed_out, suite.timeout)
    report(suite, outcome, time.monotonic() - started, log, text)
    return outcome, text


def may_be_forgiven(suite, outcome, text):
    """Whether what this failed suite said can be the machine's doing."""
    return suite.kind in FORGIVABLE_KINDS and not FINDING.search("\n".join([text, *outcome.failed]))


def run_again(chosen, results, arguments, logs):
    """The suites that failed, each alone. Returns the outcomes that count, and how many were forgiven."""
    failed = [at for at, (outcome, _) in enumerate(results) if outcome.failed]
    outcomes, forgiven = [outcome for outcome, _ in results], 0
    if len(failed) > MOST_FORGIVEN:
        print(f"-- {len(failed)} suites failed: too many to be an accident, none is run again")
        return outcomes, 0
    for at in failed:
        suite, (first, text) = chosen[at], results[at]
        if not may_be_forgiven(suite, first, text):
            print(f"-- {suite.name} failed: a finding, not run again")
            continue
        print(f"-- {suite.name} failed: once more, alone")
        log, kept = (logs / (suite.name.replace("/", ".") + end) for end in (".log", ".first.log"))
        shutil.copyfile(log, kept)
        second, _ = run(suite, arguments, logs)
        if second.failed:
            continue
        outcomes[at], forgiven = second, forgiven + 1
        print(f"!! {suite.name} PASSED ONLY WHEN RUN AGAIN. The first time, {kept}:")
        for name in first.failed:
            print(f"!!   FAILED: {name}")
        for line in text.splitlines()[-TAIL_LINES:]:
            print(f"!!   | {line[:400]}")
    sys.stdout.flush()
    return outcomes, forgiven


def report(suite, outcome, seconds, log, text):
    words = [f"{len(outcome.passed)} passed"]
    if outcome.failed:
        words.append(f"{len(outcome.failed)} FAILED")
    if outcome.skipped:
        words.append(f"{len(outcome.skipped)} not run")
    with screen:
        print(f"{suite.name:<28} {', '.join(words)}  ({seconds:.1f} s)")
        for line in text.splitlines():
            if line.startswith("# measured: "):
                print(f"    {line[2:]}")
        for name in outcome.skipped:
            print(f"    not run: {name}")
        if outcome.failed:
            for name in outcome.failed:
                print(f"    FAILED: {name}")
            print(f"    the last lines of {log}:")
            for line in text.splitlines()[-TAIL_LINES:]:
                print(f"    | {line[:400]}")
        sys.stdout.flush()


def tasks(chosen):
    """What runs one after another, as lists of places in chosen: the longest first. Containers share one engine."""
    alone = [[at] for at, suite in enumerate(chosen) if suite.kind != "container"]
    together = [at for at, suite in enumerate(chosen) if suite.kind == "container"]
    return sorted(alone + ([together] if together else []), key=lambda task: -sum(chosen[at].takes for at in task))


def run_all(chosen, arguments, logs):
    """(outcome, text) of each, in the order of chosen."""
    results = [None] * len(chosen)

    def work(task):
        for at in task:
            results[at] = run(chosen[at], arguments, logs)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(work, tasks(chosen)))
    return results


def selected(suite, patterns):
    return not patterns or any(
        fnmatch.fnmatch(suite.name, pattern) or fnmatch.fnmatch(suite.name, f"*/{pattern}") or
        fnmatch.fnmatch(suite.name, f"{pattern}/*") for pattern in patterns)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--jobs", type=int, default=3)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--fuzz-seconds", type=int, default=60)
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("kinds", nargs="+")
    arguments = parser.parse_args()
    arguments.build = arguments.build.resolve()

    chosen = [suite for suite in suites.find(arguments.kinds, arguments.build, arguments.preset,
                                             arguments.fuzz_seconds) if selected(suite, arguments.only)]
    if arguments.list:
        print("\n".join(suite.name for suite in chosen))
        return
    logs = arguments.build / "test-logs"
    logs.mkdir(parents=True, exist_ok=True)
    print(f"-- {arguments.preset}: {len(chosen)} suites")
    results = run_all(chosen, arguments, logs)
    outcomes, forgiven = run_again(chosen, results, arguments, logs)
    counts = [sum(len(getattr(outcome, name)) for outcome in outcomes) for name in ("passed", "failed", "skipped")]
    counts.append(forgiven)
    if arguments.results:
        with open(arguments.results, "a", encoding="ascii") as out:
            print(*counts, file=out)


if __name__ == "__main__":
    main()

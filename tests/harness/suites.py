"""Which suites there are, and how each is run.

  static/NAME    tests/static/test_NAME.py: checks of the source text
  tidy/NAME      tests/static/tidy_NAME.py: the same with clang, minutes long
  unit/NAME      every test that CTest knows (tests/unit, tests/contract)
  interop/NAME   tests/interop/test_NAME.py
  e2e/NAME       tests/e2e/test_NAME.py
  soak/NAME      tests/e2e/soak_NAME.py: random faults, for TIDEMARK_SOAK_SECONDS
  container/NAME tests/container/test_NAME.py: builds and runs images, needs root
  fuzz/NAME      BUILD/**/NAME_fuzz, for a bounded time, with the corpus in tests/fuzz/corpus/NAME

A Python suite says in a comment of its first lines how long it may take, how long it takes about (the long ones are
begun first) and whether ThreadSanitizer runs it: "# suite: timeout=600 takes=40 tsan".
"""
import json
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
UNIT_SECONDS = 300
SCRIPT_SECONDS = 600
TAKES = 5
# Instrumented programs, and two suites on two cores, are slower.
SLOWER = {"asan": 3, "tsan": 5}


class Suite:
    def __init__(self, name, command, timeout, env=None, cwd=ROOT, tsan=True, takes=TAKES):
        self.name, self.command, self.timeout, self.cwd, self.tsan = name, command, timeout, cwd, tsan
        self.env, self.takes = env or {}, takes

    @property
    def kind(self):
        return self.name.split("/")[0]


def _scripts(kind, folder, prefix):
    for path in sorted((ROOT / folder).glob(f"{prefix}*.py")):
        head = path.read_text(encoding="utf-8")[:2000]
        marks = re.search(r"^# suite:(.*)$", head, re.MULTILINE)
        marks = marks.group(1).split() if marks else []
        numbers = dict(mark.split("=") for mark in marks if "=" in mark)
        yield Suite(f"{kind}/{path.stem[len(prefix):]}", [PYTHON, str(path)], int(numbers.get("timeout", SCRIPT_SECONDS)),
                    tsan="tsan" in marks, takes=int(numbers.get("takes", TAKES)))


def _ctest(build):
    listing = subprocess.run(["ctest", "--test-dir", str(build), "--show-only=json-v1"],
                             capture_output=True, text=True, check=True).stdout
    for test in json.loads(listing)["tests"]:
        properties = {p["name"]: p["value"] for p in test.get("properties", [])}
        label = (properties.get("LABELS") or ["unit"])[0]
        env = dict(pair.split("=", 1) for pair in properties.get("ENVIRONMENT", []))
        yield Suite(f"{label}/{test['name']}", test.get("command") or ["false"],
                    int(properties.get("TIMEOUT", UNIT_SECONDS)), env,
                    properties.get("WORKING_DIRECTORY", str(build)))


def _fuzz(build, seconds):
    """A fuzz target is one case: it ran its time and found nothing."""
    driver = str(ROOT / "tests/harness/run_fuzz.py")
    for program in sorted(build.rglob("*_fuzz")):
        if program.is_file() and os.access(program, os.X_OK):
            name = program.name[: -len("_fuzz")]
            yield Suite(f"fuzz/{name}", [PYTHON, driver, str(program), str(ROOT / "tests/fuzz/corpus" / name),
                                         str(seconds)], seconds + 120)


def find(kinds, build, preset, fuzz_seconds):
    found = []
    for kind in kinds:
        if kind == "static":
            found += _scripts("static", "tests/static", "test_")
        elif kind == "tidy":
            found += _scripts("tidy", "tests/static", "tidy_")
        elif kind == "unit":
            found += _ctest(build)
        elif kind in ("e2e", "interop", "container"):
            found += _scripts(kind, f"tests/{kind}", "test_")
        elif kind == "soak":
            found += _scripts("soak", "tests/e2e", "soak_")
        elif kind == "fuzz":
            found += _fuzz(build, fuzz_seconds)
        else:
            raise ValueError(f"unknown kind of suite: {kind}")
    if preset == "tsan":
        found = [suite for suite in found if suite.tsan]
    if preset != "fuzz":
        for suite in found:
            suite.timeout *= SLOWER.get(preset, 1)
    return found

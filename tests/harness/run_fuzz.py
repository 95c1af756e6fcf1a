#!/usr/bin/python3
"""run_fuzz PROGRAM CORPUS SECONDS: one libFuzzer target for a bounded time, told as one TAP case.

New inputs go to a folder of the build tree (kept from run to run); the committed corpus is only read. What
breaks the target is kept beside it and named.
"""
import pathlib
import re
import subprocess
import sys


def main():
    program, corpus, seconds = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    grown = program.parent / f"{program.name}.corpus"
    findings = program.parent / f"{program.name}.findings"
    grown.mkdir(exist_ok=True)
    findings.mkdir(exist_ok=True)
    folders = [str(grown)] + ([str(corpus)] if corpus.is_dir() else [])
    print("1..1", flush=True)
    process = subprocess.run(
        [str(program), f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
         f"-artifact_prefix={findings}/", *folders], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = process.stdout.decode("utf-8", "replace")
    print(*(f"# {line}" for line in text.splitlines()[-60:]), sep="\n")
    runs = re.search(r"number_of_executed_units: (\d+)", text)
    name = f"{program.name}: {seconds} s, {runs.group(1) if runs else '?'} inputs"
    if process.returncode == 0 and runs and int(runs.group(1)) > 0:
        print(f"ok 1 - {name}")
        return 0
    print(f"not ok 1 - {name}, exit status {process.returncode}; what broke it is in {findings}")
    return 1


if __name__ == "__main__":
    sys.exit(main())

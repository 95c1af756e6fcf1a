#!/usr/bin/python3
# suite: timeout=2400 takes=300
"""clang-tidy over src, with the project's .clang-tidy. One case per folder."""
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main():
    build = pathlib.Path(os.environ.get("TIDEMARK_BUILD", ROOT / "build/dev"))
    units = {pathlib.Path(unit["file"]) for unit in json.loads((build / "compile_commands.json").read_text())}
    folders = {}
    for unit in sorted(units):
        if ROOT / "src" in unit.parents:
            folders.setdefault(unit.relative_to(ROOT / "src").parts[0], []).append(str(unit))
    print(f"1..{len(folders)}", flush=True)

    def tidy(unit):
        # Options of gcc that clang does not know are no findings.
        done = subprocess.run(["clang-tidy", "-p", str(build), "--quiet", "--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-w", unit],
                              cwd=ROOT, capture_output=True, text=True, check=False)
        # What it finds inside a header of the system, for lack of that library's source, is nothing of ours.
        ours = re.search(rf"^{re.escape(str(ROOT))}/.*: (error|warning): ", done.stdout, re.MULTILINE)
        broken = done.returncode != 0 and " error: " not in done.stdout
        return bool(ours or broken), done.stdout + (done.stderr if broken else "")
    bad = False
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for number, (folder, files) in enumerate(folders.items(), 1):
            failing = [text for bad_unit, text in pool.map(tidy, files) if bad_unit]
            for text in failing:
                print(*(f"# {line}" for line in text.splitlines()), sep="\n")
            print(f"{'not ok' if failing else 'ok'} {number} - clang-tidy: src/{folder}, {len(files)} files", flush=True)
            bad |= bool(failing)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""What the text of the source must not do: banned functions, includes against the arrows, loose ends."""
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/harness"))
import tap_print  # noqa: E402

SRC = ROOT / "src"
# Unbounded, locale-dependent, thread-unsafe, or blind to errors. The second half names the replacement.
BANNED = {
    "strcpy": "buf", "strcat": "buf", "stpcpy": "buf", "sprintf": "snprintf or buf", "vsprintf": "vsnprintf",
    "gets": "getline", "atoi": "text", "atol": "text", "atoll": "text", "atof": "text", "strtok": "span",
    "alloca": "arena", "strncpy": "memcpy with a known length", "strncat": "buf", "scanf": "text",
    "fscanf": "text", "tmpnam": "mkstemp", "mktemp": "mkstemp", "system": "no shell",
    "popen": "no shell", "rand": "random", "srand": "random", "localtime": "clock", "gmtime": "gmtime_r",
    "asctime": "clock", "ctime": "clock",
}


def c_files(*folders):
    for folder in folders:
        yield from sorted(p for p in (ROOT / folder).rglob("*.[ch]"))


def code_of(path):
    """The text with comments and string literals blanked, line numbers kept."""
    text = path.read_text(encoding="utf-8")
    blank = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
    return blank.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def folder_uses():
    """{folder: set of folders it may include}, read from the CMakeLists of each folder."""
    uses = {}
    for listing in sorted(SRC.glob("*/CMakeLists.txt")):
        text = re.sub(r"#[^\n]*", "", listing.read_text(encoding="utf-8"))
        for call in re.findall(r"tidemark_folder\(([^)]*)\)", text):
            words = call.split()
            part, used = None, set()
            for word in words[1:]:
                if word in ("SOURCES", "USES", "LIBS"):
                    part = word
                elif part == "USES":
                    used.add(word)
            uses[words[0]] = used
    return uses


class Source(unittest.TestCase):
    def complain(self, findings, what):
        if findings:
            self.fail(f"{what}:\n" + "\n".join(findings))

    @staticmethod
    def find(pattern, files, text_of=code_of):
        return [f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
                for path in files
                for number, line in enumerate(text_of(path).split("\n"), 1)
                if re.search(pattern, line)]

    def test_banned_functions(self):
        """no banned function in src and tests"""
        pattern = r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\("
        self.complain(self.find(pattern, c_files("src", "tests")), "banned functions")

    def test_no_sleeping_tests(self):
        """no sleep as synchronisation in tests"""
        found = self.find(r"\b(sleep|usleep|nanosleep)\s*\(", c_files("tests"))
        scripts = [p for p in sorted((ROOT / "tests").rglob("*.py"))
                   if p.name != "waiting.py" and p.parent.name not in ("static", "bench")]
        found += self.find(r"time\.sleep\(|\bsleep\(", scripts, lambda path: path.read_text(encoding="utf-8"))
        self.complain(found, "wait for a condition with a deadline (tests/e2e/lib/waiting.py) instead")

    def test_includes_by_folder(self):
        """headers are included as folder/header.h, never through .."""
        self.complain(self.find(r'#\s*include\s+"\.\./', c_files("src", "tests"), lambda p: p.read_text(encoding="utf-8")),
                      "includes that climb")

    def test_arrows(self):
        """a folder includes only what its CMakeLists.txt declares"""
        uses, found = folder_uses(), []
        self.assertIn("base", uses)
        for path in c_files("src"):
            folder = path.relative_to(SRC).parts[0]
            if folder not in uses:
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
                match = re.match(r'\s*#\s*include\s+"(\w+)/', line)
                if match and match.group(1) != folder and (SRC / match.group(1)).is_dir() \
                        and match.group(1) not in uses[folder]:
                    found.append(f"{path.relative_to(ROOT)}:{number}: {folder} does not declare {match.group(1)}")
        self.complain(found, "includes against the arrows")

    def test_acyclic(self):
        """the folders' arrows form no circle"""
        uses, done, path = folder_uses(), set(), []

        def visit(folder):
            if folder in done:
                return
            self.assertNotIn(folder, path, "circle: " + " -> ".join(path + [folder]))
            path.append(folder)
            for used in uses.get(folder, ()):
                visit(used)
            path.pop()
            done.add(folder)
        for folder in uses:
            visit(folder)

    def test_nothing_includes_the_simulator(self):
        """nothing uses sim"""
        self.complain([folder for folder, used in folder_uses().items() if "sim" in used], "folders that use sim")

    def test_no_promises(self):
        """no TODO, FIXME, XXX in src, tests and scripts"""
        files = [p for folder in ("src", "tests", "scripts") for p in sorted((ROOT / folder).rglob("*"))
                 if p.is_file() and p.suffix in (".c", ".h", ".py", ".sh", "") and p != pathlib.Path(__file__).resolve()
                 and "corpus" not in p.parts]
        self.complain(self.find(r"\b(TODO|FIXME|XXX)\b", files, lambda p: p.read_text(encoding="utf-8", errors="replace")),
                      "words that promise work")

    def test_headers_say_their_contract(self):
        """every header of src opens with a comment and has a guard"""
        found = []
        for path in sorted(SRC.rglob("*.h")):
            text = path.read_text(encoding="utf-8")
            if not text.startswith("/*"):
                found.append(f"{path.relative_to(ROOT)}: does not open with a comment")
            if not re.search(r"^#ifndef \w+_H\n#define \w+_H$", text, re.MULTILINE):
                found.append(f"{path.relative_to(ROOT)}: no include guard")
        self.complain(found, "headers")


class Scripts(unittest.TestCase):
    def test_shellcheck(self):
        """shellcheck has nothing to say about the scripts"""
        scripts = []
        for folder in ("scripts", ".ci", "docker", "tests"):
            for path in sorted((ROOT / folder).rglob("*")):
                if path.is_file() and (path.suffix == ".sh" or (path.suffix == "" and "corpus" not in path.parts and
                                                                re.match(rb"#!.*\b(ba)?sh\b", path.read_bytes()[:64]))):
                    scripts.append(str(path))
        self.assertTrue(scripts)
        done = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_python_compiles(self):
        """every Python file of the tests compiles"""
        for path in sorted((ROOT / "tests").rglob("*.py")):
            compile(path.read_text(encoding="utf-8"), str(path), "exec")


if __name__ == "__main__":
    tap_print.main()

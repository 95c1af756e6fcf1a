#!/usr/bin/python3
"""docs/mirror.md: its commands run as they stand there, and its words are those of the configuration."""
import os
import re
import sqlite3

from lib import case, place, programs
import tap_print

PAGE = place.ROOT / "docs/mirror.md"


class Page(case.Case):
    def test_commands(self):
        """the page's commands, one after the other in one shell, end in the tables it describes"""
        script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
        self.assertIn("tidemark run", script)
        path = os.pathsep.join([str(place.BUILD), os.environ["PATH"]])
        done = programs.call(["bash", "-euc", f"trap 'kill $sim 2>/dev/null' EXIT\n{script}"], 120, {"PATH": path}, cwd=self.folder)
        self.expect(done, 0)
        self.assertRegex(done.out, r"(?m)^001\w{15}\|")
        self.assertIn("sink mirror, table account: one row", done.out)
        tables = (self.folder / "first.sql").read_text(encoding="utf-8")
        self.assertIn('CREATE TABLE "account" ("id" TEXT PRIMARY KEY', tables)
        self.assertIn('CREATE TABLE "order__e" ("event_id" TEXT NOT NULL', tables)
        with sqlite3.connect(self.folder / "mirror.db") as database:
            columns = [row[1] for row in database.execute("PRAGMA table_info(account)")]
            ours = {row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type='table'")}
        self.assertTrue({"branch", "address", "phone", "_version", "_seq", "_state", "_incomplete", "_deleted"} <= set(columns))
        self.assertFalse({"rating", "industry", "billing_address_city"} & set(columns))
        self.assertTrue({"_tidemark_sinks", "_tidemark_fields", "_tidemark_tombstones"} <= ours)

    def test_words(self):
        """each word the page explains is one the configuration takes"""
        page = PAGE.read_text(encoding="utf-8")
        reference = (place.ROOT / "docs/configuration.md").read_text(encoding="utf-8")
        words = {"conflict": re.findall(r"^\| `(\w+)` \| (?:keeps|is)", page, re.MULTILINE),
                 "on_delete": re.findall(r"`(hard|soft|archive|ignore)`: ", page)}
        self.assertEqual(len(words["conflict"]), 4)
        self.assertEqual(len(words["on_delete"]), 4)
        for key, used in words.items():
            row = re.search(rf"^\| `sinks\[\]\.{key}` \| (.*?) \|", reference, re.MULTILINE).group(1)
            self.assertEqual(row, ", ".join(f"`{word}`" for word in used))


if __name__ == "__main__":
    tap_print.main()

#!/usr/bin/python3
"""docs/simulator.md: its commands run as they stand there, and every order it lists is one."""
import os
import re

from lib import case, place, programs
import tap_print

PAGE = place.ROOT / "docs/simulator.md"


class Page(case.Case):
    def test_commands(self):
        """the page's commands, one after the other in one shell, deliver each event once"""
        script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
        self.assertIn("tidemark run", script)
        path = os.pathsep.join([str(place.BUILD), os.environ["PATH"]])
        ended = f"trap 'kill $sim 2>/dev/null' EXIT\n{script}"
        done = programs.call(["bash", "-euc", ended], 120, {"PATH": path}, cwd=self.folder)
        self.expect(done, 0)
        published, delivered = (int(line) for line in done.out.split())
        self.assertTrue(published == delivered > 0, str(done))
        self.assertGreaterEqual((self.folder / "sim.log").read_text(encoding="utf-8").count("a fault as ordered: reset"), 2)

    def test_orders(self):
        """every order of the tables is taken; a wrong one is not, and says what there is"""
        bus = self.org("--count", 0, "--relay")
        rows = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        orders = [row for row in rows if not re.match(r"wire$|wire KIND|token KIND|METHOD", row)]
        self.assertGreater(len(orders), 14)
        wires = ("reset", "close", "rst_stream", "goaway", "silence", "mute", "drip", "garble", "refuse")
        samples = {"N": "3", "S": "0.5", "NAME": "INTERNAL_ERROR", "WORD": "word", "URL": "http://localhost:1"}
        for row in orders:
            order = re.sub(r"[\[\]…]", "", ("wire " if row.startswith(wires) else "") + row)
            self.assertEqual(self.post(bus, re.sub(r"\b(N|S|NAME|WORD|URL)\b", lambda m: samples[m.group()], order)), "204", order)
        for method in ("Subscribe", "ManagedSubscribe", "GetTopic", "GetSchema"):
            for status in ("UNAVAILABLE code=service.unavailable count=2 seconds=0.1", "STALL", "OK"):
                self.assertEqual(self.post(bus, f"{method} {status}"), "204")
        for wrong, says in (("token nothing", "rate_limit"), ("wire cut", "goaway"), ("publish", "publish N"), ("dorp", "revoke"),
                            ("drop\nSubscribe", "line 2"), ("wire goaway code=CALM", "ENHANCE_YOUR_CALM"), ("drop count=2", "count")):
            answer = self.post(bus, wrong)
            self.assertTrue(answer.endswith("400") and says in answer, f"{wrong}: {answer}")

    @staticmethod
    def post(bus, order):
        """What was answered, and the HTTP status behind it."""
        words = ["curl", "-sS", "--write-out", "%{http_code}", "--data-binary", order, f"{bus.login_url}/faults"]
        return programs.call(words, 30).out


if __name__ == "__main__":
    tap_print.main()

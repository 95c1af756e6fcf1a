#!/usr/bin/python3
# suite: timeout=600
"""I5: unsettled events may fill the journal; then the stream is closed, and nothing is lost."""
import os

from lib import case, waiting
import tap_print

EVENTS = 200_000  # about 75 MiB of journal


class Space(case.Case):
    def test_paused_full(self):
        """a sink that does not keep up: paused_full, position kept; when it goes on everything arrives once"""
        bus = self.org("--bench", "update", "--count", EVENTS)
        output = self.folder / "later" / "out.ndjson"  # its folder is missing: the sink waits
        tidemark = self.tidemark(bus, store={"max_size": "64MiB"}, sinks=[{"name": "log", "file": {"path": str(output)}}])
        program = self.run_daemon(tidemark)
        def subscription():
            return (tidemark.status()["subscriptions"] or [{"state": "no store yet"}])[0]

        waiting.until(lambda: subscription()["state"] == "paused_full", lambda: f"{subscription()}\n{program.tail()}", 120)
        status = tidemark.status()
        self.assertRegex(status["subscriptions"][0]["reason"], r"max_size")
        self.assertLess(status["journal"]["file_bytes"], 80 << 20)
        self.assertGreater(status["sinks"][0]["lag"], 100_000)
        self.assertEqual(tidemark.call("health").status, 4)
        output.parent.mkdir()
        waiting.until(lambda: tidemark.status()["sinks"][0]["cursor"] >= EVENTS,
                      lambda: f"{tidemark.status()}\n{program.tail()}", 120)
        self.assertEqual(program.terminate(), 0, program.tail())
        ids = set()
        with open(output, "rb") as lines:
            for number, line in enumerate(lines, 1):
                self.assertIn(b'"seq":%d,' % number, line[:400])
                ids.add(line[:50])
        self.assertEqual(len(ids), EVENTS)
        os.unlink(output)


if __name__ == "__main__":
    tap_print.main()

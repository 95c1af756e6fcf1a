#!/usr/bin/python3
"""tidemark sink reset and forget: what a person decides about a file, and about a sink that is gone; and SIGHUP."""
import os
import re
import signal

from lib import case, verdict, waiting
import tap_print

EVENTS = 100
THEIRS = "somebody else's line\n"


class Sink(case.Case):
    def done_once(self):
        self.bus = self.org("--seed", 23, "--prefill", EVENTS, "--count", 0)
        self.bus.wait_published(EVENTS)
        tidemark = self.tidemark(self.bus)
        self.expect(tidemark.run_until_idle(), 0)
        return tidemark

    def publish_more(self):
        """The same past, and a future."""
        self.bus.stop()
        self.bus = self.org("--seed", 23, "--prefill", 2 * EVENTS, "--count", 0,
                            listen=self.bus.endpoint, http=f"127.0.0.1:{self.bus.http}")
        self.bus.wait_published(2 * EVENTS)

    def test_reset(self):
        """a foreign tail stops the sink; after reset it goes on behind it, and nothing is lost or repeated"""
        tidemark = self.done_once()
        with open(tidemark.output, "a", encoding="utf-8") as out:
            out.write(THEIRS)
        self.publish_more()
        self.gives_up(tidemark, 5, "sink reset log")
        self.expect(tidemark.call("sink", "reset", "log"), 0, re.escape(str(tidemark.output)))
        self.expect(tidemark.run_until_idle(), 0)
        text = tidemark.output.read_text(encoding="utf-8")
        self.assertEqual(text.count(THEIRS), 1)
        tidemark.output.write_text(text.replace(THEIRS, ""), encoding="utf-8")
        verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)
        verdict.check_accounts(tidemark.status())

    def test_moved_away(self):
        """the other way: the foreign file is moved away, and a new one is begun"""
        tidemark = self.done_once()
        with open(tidemark.output, "a", encoding="utf-8") as out:
            out.write(THEIRS)
        self.publish_more()
        self.gives_up(tidemark, 5, "move the file away")
        old = self.folder / "old.ndjson"
        text = tidemark.output.read_text(encoding="utf-8")
        os.rename(tidemark.output, old)
        old.write_text(text.replace(THEIRS, ""), encoding="utf-8")
        self.expect(tidemark.run_until_idle(), 0)
        verdict.check_output(self.bus.ledger(), tidemark.lines(old) + tidemark.lines(), tidemark.topics)

    def test_needs_the_daemon_stopped(self):
        """with the daemon running: exit 3, and why; nothing changes. Without a store that is not the reason"""
        done = self.tidemark(folder=self.folder / "empty").call("sink", "reset", "log")
        self.assertNotIn("daemon stopped", self.expect(done, 3, "no store here").err)
        tidemark = self.done_once()
        program = self.run_daemon(tidemark)
        waiting.until(lambda: tidemark.status()["daemon"]["running"], program.tail)
        self.expect(tidemark.call("sink", "reset", "log"), 3, "daemon stopped")
        self.assertEqual(program.terminate(), 0)
        self.expect(tidemark.run_until_idle(), 0)
        verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)

    def test_forget(self):
        """a sink is forgotten only when the configuration has it no more"""
        tidemark = self.done_once()
        self.expect(tidemark.call("sink", "forget", "log"), 2, "is in the configuration")
        tidemark.config["sinks"] = [{"name": "other", "file": {"path": str(self.folder / "other.ndjson")}}]
        tidemark.write()
        self.expect(tidemark.call("sink", "forget", "log"), 0, f"seq {len(tidemark.lines())}")
        self.expect(tidemark.call("sink", "forget", "log"), 2, "knows no sink 'log'")
        self.expect(tidemark.call("sink", "reset", "nobody"), 2, "knows no sink 'nobody'")
        self.assertNotIn("log", [sink["name"] for sink in tidemark.status()["sinks"]])

    def test_usage(self):
        """wrong words: exit 2"""
        tidemark = self.tidemark()
        for words in ((), ("reset",), ("drop", "log"), ("reset", "log", "more")):
            self.expect(tidemark.call("sink", *words), 2)

    def test_hangup(self):
        """SIGHUP after a rename: the old file ends with a whole line, the next line goes to a new one"""
        bus = self.org("--seed", 29, "--rate", 200, "--count", 1000)
        tidemark = self.tidemark(bus)
        program = self.run_daemon(tidemark)
        files = []
        for number in range(3):
            waiting.until(lambda: len(tidemark.lines()) > 20, program.tail)
            files.append(self.folder / f"old.{number}")
            os.rename(tidemark.output, files[-1])
            program.signal(signal.SIGHUP)
            waiting.until(tidemark.output.exists, program.tail)
        bus.wait_published(1000)
        self.assertEqual(program.terminate(), 0, program.tail())
        self.expect(tidemark.run_until_idle(), 0)
        lines = sum(map(tidemark.lines, files), []) + tidemark.lines()
        verdict.check_output(bus.ledger(), lines, tidemark.topics)
        verdict.check_sequence(lines)
        for file in files:
            self.assertTrue(file.read_bytes().endswith(b"\n"))


if __name__ == "__main__":
    tap_print.main()

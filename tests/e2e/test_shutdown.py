#!/usr/bin/python3
"""The daemon ends when it is told to, also where a target holds it up: drained, cut by the deadline, or at once."""
import os
import signal

from lib import case
import tap_print

EVENTS = 2000  # more lines than a pipe takes


class Shutdown(case.Case):
    def stuck(self, drain, name="tidemark"):
        """A daemon whose standard output nobody reads: its sink hangs in write(2)."""
        bus = self.org("--prefill", EVENTS)
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        tidemark = self.tidemark(bus, sinks=[{"name": "out", "stdout": {}}], shutdown={"drain": drain})
        program = self.run_daemon(tidemark, name=name, preexec=lambda: os.dup2(writer, 1))
        os.close(writer)
        program.wait_for("live", 30)
        return program

    def test_deadline(self):
        """a target that hangs does not outlive the drain time: exit 143"""
        program = self.stuck("1s")
        self.assertEqual(program.terminate(20), 143, program.tail())

    def test_second_signal(self):
        """the second signal cuts, whatever is waited for: exit 130 and 143"""
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            program = self.stuck("10m", f"tidemark-{status}")
            program.signal(number)
            program.wait_for("draining")
            program.signal(number)  # the drain time is ten minutes: what ends before that was cut
            self.assertEqual(program.wait(), status, program.tail())


if __name__ == "__main__":
    tap_print.main()

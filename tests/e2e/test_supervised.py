#!/usr/bin/python3
"""What a supervisor hears from the daemon over $NOTIFY_SOCKET, and when it hears nothing more."""
import os
import pathlib
import shutil
import signal
import socket
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "harness"))
import tap_print  # noqa: E402
from lib import case, place, programs, waiting  # noqa: E402

WATCHDOG_S = 2.0


class Ear:
    """The supervisor's socket: what was said, and when."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.heard = []

    def listen(self):
        """Everything so far: (monotonic time, line)."""
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                return self.heard
            self.heard += [(time.monotonic(), line) for line in text.splitlines()]

    def lines(self):
        return [line for _, line in self.listen()]

    def count(self, line):
        return self.lines().count(line)

    def stop(self):
        self.socket.close()


class Supervised(case.Case):
    def setUp(self):
        super().setUp()
        self.ear = Ear(self.folder / "notify")
        self.started.append(self.ear)
        self.env = {"NOTIFY_SOCKET": str(self.ear.path), "WATCHDOG_USEC": str(int(WATCHDOG_S * place.slowness() * 1e6))}

    def test_ready_alive_stopping(self):
        """READY once it runs, WATCHDOG while it does, STOPPING when it drains, and exit 0"""
        org = self.org("--rate", "50")
        tidemark = self.tidemark(org)
        daemon = self.run_daemon(tidemark, env=self.env)
        waiting.until(lambda: "READY=1" in self.ear.lines(), "READY")
        self.assertEqual(self.ear.lines()[0], "READY=1")
        self.assertTrue(tidemark.status()["daemon"]["running"])
        waiting.until(lambda: self.ear.count("WATCHDOG=1") >= 3, "three WATCHDOG", 10)
        self.assertNotIn("STOPPING=1", self.ear.lines())
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual((self.ear.count("READY=1"), self.ear.count("STOPPING=1")), (1, 1))

    def test_never_ready(self):
        """a daemon that cannot start never says READY"""
        org = self.org("--rate", "50")
        tidemark = self.tidemark(org, store={"path": "/proc/nowhere"})
        self.assertNotEqual(tidemark.call("run", env=self.env).status, 0)
        self.assertEqual(self.ear.lines(), [])

    def test_trouble_is_not_a_hang(self):
        """a service that is away and a target that fails do not set the watchdog off"""
        tidemark = self.tidemark(None, sinks=[{"name": "log", "file": {"path": "/dev/full/nowhere"}}])
        self.run_daemon(tidemark, env=self.env)
        waiting.until(lambda: self.ear.count("WATCHDOG=1") >= 3, lambda: f"three WATCHDOG: {self.ear.lines()}", 10)

    def test_hanging_fsync(self):
        """an fsync that hangs ends the messages, although the process answers"""
        if not shutil.which("strace"):
            self.fail("needs strace")
        if place.PRESET in ("asan", "tsan"):
            self.skipTest("sanitizers and strace do not go together")
        org = self.org("--rate", "50")
        tidemark = self.tidemark(org)
        # The daemon runs for a while; the 40th fdatasync, of the store or of the file, takes a minute.
        traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e",
                  "inject=fdatasync:delay_enter=60000000:when=40", *tidemark.command("run")]
        daemon = programs.Program("tidemark", traced, self.folder, {**tidemark.env, **self.env})
        self.addCleanup(self.end_traced, daemon)
        waiting.until(lambda: "READY=1" in self.ear.lines(), lambda: f"READY\n{daemon.tail()}")

        def silent():
            heard = self.ear.listen()
            return time.monotonic() - heard[-1][0] > 1.5 * WATCHDOG_S
        waiting.until(silent, lambda: f"silence\n{daemon.tail()}", 30)
        self.assertTrue(daemon.running())
        self.assertTrue(tidemark.status()["daemon"]["running"])

    @staticmethod
    def end_traced(strace):
        """kill -9 to the daemon, the only child of strace, which would see its delay to the end itself."""
        children = pathlib.Path(f"/proc/{strace.pid}/task/{strace.pid}/children").read_text(encoding="ascii").split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        strace.kill()


if __name__ == "__main__":
    tap_print.main()

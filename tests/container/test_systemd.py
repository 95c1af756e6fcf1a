#!/usr/bin/python3
"""config/tidemark.service under a real systemd: ready, sandboxed, restarted, watched, stopped."""
# suite: timeout=1500 takes=150
import json
import os
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/harness"))
import tap_print  # noqa: E402
import engine  # noqa: E402
from lib import programs, waiting  # noqa: E402

UNIT = "/usr/lib/systemd/system/tidemark.service"
MOST_EXPOSURE = 20  # tenths
CONFIG = {
    "orgs": [{"name": "main", "login_url": "http://127.0.0.1:7480", "pubsub_endpoint": "127.0.0.1:7443",
              "auth": {"client_credentials": {"client_id": "${SF_CLIENT_ID}", "client_secret_file": "/etc/tidemark/sf_client_secret"}},
              "tls": {"plaintext": True}, "backoff": {"initial": "100ms", "max": "1s"}}],
    "subscriptions": [{"name": "accounts", "org": "main", "topic": "/data/AccountChangeEvent", "start": "earliest"}],
    "sinks": [{"name": "log", "file": {"path": "/var/lib/tidemark/out.ndjson"}}],
    "store": {"path": "/var/lib/tidemark/store", "max_size": "256MiB"},
}
# Only times differ from the unit that ships: nobody waits two minutes for a watchdog.
FASTER = "[Service]\nRestartSec=100ms\nWatchdogSec=3\nTimeoutAbortSec=1\n"


def setUpModule():
    if engine.why_not():
        return
    engine.prepare()
    unittest.addModuleCleanup(engine.take_turns().close)
    engine.make_base()
    for name, target in (("tidemark", "tidemark"), ("tidemark-sim", "sim")):
        engine.build(f"{name}:latest", target)
    engine.build("tidemark-machine:latest", "machine", file="tests/container/Dockerfile.systemd")


class Offline(unittest.TestCase):
    def test_exposure(self):
        """systemd-analyze security: the unit is exposed to little"""
        done = programs.call(["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE}",
                              ROOT / "config/tidemark.service"])
        level = re.search(r"exposure level for .*: ([\d.]+)", done.out)
        self.assertEqual(done.status, 0, str(done))
        print(f"# measured: systemd-analyze security: {level.group(1)} of 10")


@unittest.skipIf(engine.why_not(), engine.why_not())
class Unit(unittest.TestCase):
    """One machine. Cases run in the order of their names."""

    @classmethod
    def setUpClass(cls):
        cls.name = f"tidemark-machine-{os.getpid()}"
        cls.addClassCleanup(engine.quiet_remove, "rm", "-f", "-v", "-t", "1", cls.name)
        # systemd builds its sandboxes with mounts: only this container needs the right to.
        engine.podman("run", "-d", "--systemd=always", "--cap-add", "SYS_ADMIN", "--name", cls.name,
                      "localhost/tidemark-machine:latest")
        waiting.until(lambda: cls.inside("systemctl", "is-system-running", "--wait").out.strip() == "running",
                      lambda: str(cls.inside("systemctl", "--failed")), 60)
        cls.write("/etc/tidemark/tidemark.yaml", json.dumps(CONFIG))
        cls.write("/etc/tidemark/environment", "SF_CLIENT_ID=demo\n")
        engine.podman("exec", cls.name, "install", "-m", "0640", "-g", "tidemark", "/dev/null", "/etc/tidemark/sf_client_secret")
        cls.write("/etc/tidemark/sf_client_secret", "demo-secret\n")
        engine.podman("exec", "-d", cls.name, "tidemark-sim", "--rate", "50")

    @classmethod
    def inside(cls, *words, **more):
        return engine.call("podman", "exec", cls.name, *words, **more)

    def systemctl(self, *words):
        done = self.inside("systemctl", *words)
        self.assertEqual(done.status, 0, f"{done}\n{self.journal()}")
        return done.out.strip()

    @classmethod
    def write(cls, path, text):
        engine.must("podman", "exec", "-i", cls.name, "tee", path, stdin=text)

    def show(self, *names):
        lines = self.systemctl("show", "tidemark", "-p", ",".join(names)).splitlines()
        values = dict(line.split("=", 1) for line in lines)
        # 0 would be a whole group to those who send signals to it.
        self.assertNotEqual(values.get("MainPID") if "ActiveState" not in names else None, "0", self.journal())
        return [values[name] for name in names]

    def journal(self):
        return self.inside("journalctl", "-u", "tidemark", "--no-pager", "-n", "40").out

    def wait_restarted(self, before, seconds=30):
        """Until another process is active and ready."""
        def restarted():
            state, pid = self.show("ActiveState", "MainPID")
            return state == "active" and pid not in ("0", before)
        waiting.until(restarted, lambda: f"another process\n{self.journal()}", seconds)

    def count(self):
        done = self.inside("sh", "-c", "cat /var/lib/tidemark/out.ndjson 2>/dev/null | wc -l")
        return int(done.out)

    def wait_more_lines(self):
        before = self.count()
        waiting.until(lambda: self.count() > before, lambda: f"more than {before} lines\n{self.journal()}", 30)

    def test_1_verify(self):
        """systemd-analyze verify has nothing to say"""
        done = self.inside("systemd-analyze", "verify", UNIT)
        self.assertEqual((done.status, done.out, done.err), (0, "", ""))

    def test_2_ready(self):
        """systemctl start returns once the daemon has said that it is ready"""
        self.systemctl("start", "tidemark")
        state, status, kind = self.show("ActiveState", "StatusText", "Type")
        self.assertEqual((state, kind), ("active", "notify"))
        self.assertRegex(status, "^Running")
        self.wait_more_lines()

    def test_3_sandbox(self):
        """the sandbox is in force, and everything works inside it"""
        pid = self.show("MainPID")[0]
        status = self.inside("cat", f"/proc/{pid}/status").out
        for line in (r"CapBnd:\s+0+", r"CapEff:\s+0+", r"NoNewPrivs:\s+1", r"Seccomp:\s+2"):
            self.assertRegex(status, rf"(?m)^{line}$")
        self.assertNotRegex(status, r"(?m)^Uid:\s+0\s")
        mounts = {fields[1]: fields[3].split(",") for fields in
                  (line.split() for line in self.inside("cat", f"/proc/{pid}/mounts").out.splitlines())}
        self.assertIn("ro", mounts["/"])
        self.assertIn("rw", mounts["/var/lib/tidemark"])
        self.assertEqual(self.inside("stat", "-c", "%a %U", "/var/lib/tidemark").out.strip(), "700 tidemark")
        self.assertRegex(self.inside("stat", "-c", "%a", "/var/lib/tidemark/out.ndjson").out, r"^6[04]0$")

    def test_4_reload(self):
        """systemctl reload: the same process goes on"""
        before = self.show("MainPID")
        self.systemctl("reload", "tidemark")
        self.wait_more_lines()
        self.assertEqual(self.show("MainPID"), before)

    def test_5_kill_9(self):
        """kill -9: restarted, and it carries on"""
        engine.podman("exec", self.name, "mkdir", "-p", "/etc/systemd/system/tidemark.service.d")
        self.write("/etc/systemd/system/tidemark.service.d/faster.conf", FASTER)
        self.systemctl("daemon-reload")
        self.systemctl("restart", "tidemark")
        pid = self.show("MainPID")[0]
        self.inside("sh", "-c", f"kill -9 {pid}")
        self.wait_restarted(pid)
        self.wait_more_lines()

    def test_6_watchdog(self):
        """a daemon that moves is left alone; one that does not is ended by the watchdog and started again"""
        pid, count = self.show("MainPID", "NRestarts")
        waiting.pause(7)  # two periods and more
        self.assertEqual(self.show("MainPID", "NRestarts"), [pid, count])
        self.inside("sh", "-c", f"kill -s STOP {pid}")
        self.wait_restarted(pid)
        self.assertIn("Watchdog timeout", self.journal())
        self.wait_more_lines()

    def test_7_stop(self):
        """systemctl stop drains: success, exit status 0"""
        self.systemctl("stop", "tidemark")
        self.assertEqual(self.show("ActiveState", "Result", "ExecMainStatus"), ["inactive", "success", "0"])
        self.assertIn("SIGTERM: draining", self.journal())

    def test_8_wrong_configuration(self):
        """a wrong configuration is said once, not tried for ever"""
        self.write("/etc/tidemark/tidemark.yaml", "orgs: []\n")
        self.assertNotEqual(self.inside("systemctl", "start", "tidemark").status, 0)
        waiting.pause(1)  # time to restart ten times
        self.assertEqual(self.show("ActiveState", "ExecMainStatus"), ["failed", "2"])


if __name__ == "__main__":
    tap_print.main()

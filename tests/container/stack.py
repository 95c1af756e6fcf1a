"""docker/compose.yaml, brought up by podman-compose under a project name of its own."""
import json
import os
import pathlib
import signal
import time

import engine
from lib import waiting

COMPOSE = engine.ROOT / "docker/compose.yaml"


class Stack:
    """Calling order: Stack(...) -> up("sim") -> up("tidemark") -> ... -> remove()."""

    def __init__(self, **environment):
        self.project = f"tidemark-test-{os.getpid()}"
        self.environment = {name: str(value) for name, value in environment.items()}

    def compose(self, *words, seconds=90):
        # Without it podman puts writable folders over a root that is said to be read-only; Docker does not.
        return engine.must("podman-compose", "-p", self.project, "-f", COMPOSE,
                           "--podman-run-args=--read-only-tmpfs=false", *words, seconds=seconds, env=self.environment)

    def name(self, service):
        return f"{self.project}_{service}_1"

    def up(self, service):
        """One service, as `depends_on: service_healthy` has it: the next one after this one is healthy."""
        self.compose("up", "-d", "--no-build", service)
        engine.wait_healthy(self.name(service))

    def remove(self):
        for service in ("tidemark", "sim"):
            engine.quiet_remove("rm", "-f", "-t", "2", self.name(service))
        for volume in ("store", "tls"):
            engine.quiet_remove("volume", "rm", "-f", f"{self.project}_{volume}")
        engine.quiet_remove("network", "rm", "-f", f"{self.project}_default")

    # --- the daemon -------------------------------------------------------------------------------

    def tidemark(self, *words, seconds=30):
        """`podman exec CONTAINER tidemark …`, to its end."""
        return engine.call("podman", "exec", self.name("tidemark"), "tidemark", *words, seconds=seconds)

    def status(self):
        done = self.tidemark("status", "--json")
        if done.status != 0:
            raise AssertionError(str(done))
        return json.loads(done.out)

    def init_pid(self):
        """The host's number of the container's process 1; 0 when it does not run."""
        return int(engine.inspect(self.name("tidemark"))["State"]["Pid"])

    def daemon_pid(self):
        """The host's number of the daemon itself, the child of the container's init; None when it does not run."""
        init = self.init_pid()
        try:
            children = pathlib.Path(f"/proc/{init}/task/{init}/children").read_text(encoding="ascii").split()
        except OSError:
            return None
        return int(children[0]) if init and children else None

    def kill_daemon(self):
        """kill -9 to the daemon itself."""
        os.kill(self.daemon_pid(), signal.SIGKILL)

    def log(self, service="tidemark"):
        done = engine.call("podman", "logs", self.name(service))
        return done.out + done.err

    def stop_daemon(self):
        """SIGTERM, as the engine sends it; exit code and seconds."""
        started = time.monotonic()
        self.compose("stop", "tidemark")
        seconds = time.monotonic() - started
        return engine.inspect(self.name("tidemark"))["State"]["ExitCode"], seconds

    # --- accounts ---------------------------------------------------------------------------------

    def store(self):
        """The store's volume, as the host sees it."""
        volume = json.loads(engine.podman("volume", "inspect", f"{self.project}_store"))[0]
        return pathlib.Path(volume["Mountpoint"])

    def output(self):
        return self.store() / "out.ndjson"

    def lines(self):
        path = self.output()
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def wait_lines(self, count, seconds=60):
        waiting.until(lambda: self.lines() >= count, lambda: f"{count} lines, there are {self.lines()}\n{self.log()[-3000:]}",
                      seconds)

    def ledger(self):
        """What the simulator has published, as text."""
        return engine.podman("exec", self.name("sim"), "cat", "/tmp/ledger")

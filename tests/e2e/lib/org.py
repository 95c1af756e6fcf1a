"""A simulated org: tidemark-sim on ports of its own, and what it has published."""
import json
import urllib.error
import urllib.request

from . import place, programs, waiting

CLIENT_ID, CLIENT_SECRET = "demo", "demo-secret"
ACCOUNTS = "/data/AccountChangeEvent"
CONTACTS = "/data/ContactChangeEvent"
CHANGES = "/data/ChangeEvents"
ORDERS = "/event/Order__e"


class Org:
    """Calling order: Org(folder, options...) -> ready ports; ledger() at any time; stop()."""

    def __init__(self, folder, *options, name="sim", tls=None, listen="127.0.0.1:0", http="127.0.0.1:0"):
        self.ledger_path = folder / f"{name}.ledger"
        self.tls = tls
        ports = folder / f"{name}.ports"
        ports.unlink(missing_ok=True)
        arguments = [place.SIM, "--listen", listen, "--http", http, "--ports-file", ports,
                     "--ledger", self.ledger_path, "--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET]
        if tls:
            arguments += ["--tls", tls]
        self.program = programs.Program(name, [*arguments, *options], folder)

        def ready():
            if not self.program.running():
                raise AssertionError(f"the simulator ended\n{self.program.tail()}")
            return ports.exists()
        waiting.until(ready, lambda: f"the simulator listens\n{self.program.tail()}")
        numbers = dict(line.split("=") for line in ports.read_text(encoding="ascii").split())
        self.grpc, self.http = int(numbers["grpc"]), int(numbers["http"])

    @property
    def login_url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.http}"

    @property
    def endpoint(self):
        return f"127.0.0.1:{self.grpc}"

    def ledger(self):
        """Every event on the bus, in bus order, as it was published (a publish retry is an event of its own)."""
        if not self.ledger_path.exists():
            return []
        text = self.ledger_path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def wait_published(self, count, seconds=30):
        waiting.until(lambda: len(self.ledger()) >= count, f"{count} events published", seconds)

    def order(self, line):
        """What the simulator is to do (docs/simulator.md)."""
        request = urllib.request.Request(f"{self.login_url}/faults", data=line.encode(), method="POST")
        try:
            urllib.request.urlopen(request, timeout=30).read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"order {line!r}: {error.read().decode()}") from None

    def stop(self):
        self.program.terminate()

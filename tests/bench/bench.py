#!/usr/bin/python3
"""Benchmark: what an event costs on its way from the stream to a durable line, beside the floor.

Rows, for each payload kind (full: a create of about 610 bytes of Avro; update: about 280 bytes), 100 events a
response, medians of several runs:

  floor    a client on the same gRPC library that receives and discards
  intake   tidemark with a null sink: received, deduplicated, journaled, synced; decoded, not written
  file     the whole path: the same, and NDJSON lines with fdatasync
  raw      a loop that writes and fdatasyncs the same bytes (journal and file) in the same lumps

Then (--only) latency: at 100 events/s, from the simulator's send to the line in the file; start: from the daemon's start to
its first line, with an empty store and with a full one; catchup: the service was away and comes back with --events
events, at what share of the intake rate beside it they come in; reconnect: from a cut of the connection to the first line of
an event that was published after it. CPU is user + sys of all threads of the
process, per event; wall figures depend on what else the machine does, so quote ratios within one run.
"""
import argparse
import json
import os
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e/lib"))
import mirror_bench  # noqa: E402
import relay  # noqa: E402

PARTS = ["throughput", "latency", "start", "catchup", "reconnect"]  # and "mirror", when it is asked for
# The same in every run: a store that meets another instance has lost its position, and begins with EARLIEST.
INSTANCE = "https://bench.my.salesforce.com"
POLL_S = 0.1  # each look costs the daemon a status answer
TICK = os.sysconf("SC_CLK_TCK")


def until(condition, what, seconds=120.0, pause=0.02):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: waited {seconds} s for {what}")
        time.sleep(pause)


class Program:
    def __init__(self, arguments, log):
        self.log = open(log, "ab")
        self.started = time.time()
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def cpu(self):
        """User + sys seconds of all threads."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def anonymous_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) / 1024
        return 0.0


class Sim(Program):
    def __init__(self, bench, *options, ports_of=None):
        """ports_of: a simulator that has ended, whose place this one takes."""
        grpc, http = (ports_of.grpc, ports_of.http) if ports_of else (0, 0)
        ports = os.path.join(bench.folder, "ports")
        if os.path.exists(ports):
            os.unlink(ports)
        tls = ["--tls", os.path.join(bench.folder, "tls")] if bench.tls else []
        super().__init__([os.path.join(bench.build, "tidemark-sim"), "--listen", f"127.0.0.1:{grpc}",
                          "--http", f"127.0.0.1:{http}", "--ports-file", ports, "--static-token", "bench-token",
                          "--instance-url", INSTANCE, *tls, *options],
                         os.path.join(bench.folder, "sim.log"))
        until(lambda: os.path.exists(ports), "the simulator")
        with open(ports, encoding="ascii") as lines:
            found = dict(line.strip().split("=") for line in lines)
        self.grpc, self.http = int(found["grpc"]), int(found["http"])


class Daemon(Program):
    def __init__(self, bench, sim, sink, topic="/data/AccountChangeEvent", start="earliest"):
        self.store = bench.store
        path = os.path.join(bench.folder, "bench.yaml")
        scheme = "https" if bench.tls else "http"
        tls = {"ca_file": os.path.join(bench.folder, "tls", "ca.pem")} if bench.tls else {"plaintext": True}
        config = {
            "orgs": [{"name": "bench", "login_url": f"{scheme}://localhost:{sim.http}",
                      "pubsub_endpoint": f"localhost:{sim.grpc}", "tls": tls,
                      "auth": {"client_credentials": {"client_id": "demo", "client_secret": "demo-secret"}}}],
            "subscriptions": [{"name": "accounts", "org": "bench", "topic": topic, "start": start}],
            "sinks": [sink],
            "store": {"path": self.store, "max_size": "64GiB"},
            "admin": {"listen": False},
            "log": {"level": "warn"},
        }
        with open(path, "w", encoding="utf-8") as out:
            json.dump(config, out, indent=1)  # JSON is YAML
        super().__init__([os.path.join(bench.build, "tidemark"), "run", "-c", path], os.path.join(bench.folder, "tidemark.log"))

    def status(self):
        """The daemon's own figures, over its socket; None while it is not there."""
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.connect(os.path.join(self.store, "admin.sock"))
            s.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            parts = []
            while chunk := s.recv(65536):
                parts.append(chunk)
            return json.loads(b"".join(parts).split(b"\r\n\r\n", 1)[1])
        except (OSError, ValueError, IndexError):
            return None
        finally:
            s.close()

    def cursor(self, sink):
        status = self.status()
        if status is None:
            if self.process.poll() is not None:
                raise SystemExit(f"bench: the daemon ended with {self.process.returncode}; see its log")
            return None, None
        return next(s["cursor"] for s in status["sinks"] if s["name"] == sink), status


class Bench:
    def __init__(self, arguments):
        self.build = arguments.build
        self.events = arguments.events
        self.runs = arguments.runs
        self.tls = False
        self.folder = arguments.folder or tempfile.mkdtemp(prefix="tidemark-bench-")
        os.makedirs(self.folder, exist_ok=True)
        self.store = os.path.join(self.folder, "store")
        self.first = 1

    def take(self, count):
        first, self.first = self.first, self.first + count
        return first

    def floor(self, kind):
        sim = Sim(self, "--bench", kind, "--count", str(self.events))
        try:
            command = [os.path.join(self.build, "tests/bench/floor_client"), f"localhost:{sim.grpc}",
                       "/data/AccountChangeEvent", str(self.events), "--json", "--instance-url", INSTANCE]
            if self.tls:
                command += ["--ca", os.path.join(self.folder, "tls", "ca.pem")]
            figures = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=300).stdout)
        finally:
            sim.stop()
        return {"rate": figures["events_per_s"], "cpu": figures["cpu_us_per_event"], "anon": figures.get("rss_anon_mib", 0)}

    def through(self, kind, sink_kind, count=None):
        """Run `count` events through the daemon; figures between the first and the last settled event."""
        count = count or self.events
        out = os.path.join(self.folder, "out.ndjson")
        if os.path.exists(out):
            os.unlink(out)
        name = f"{sink_kind}{self.first}"  # a new sink each time: it begins at the journal's end
        sink = {"name": name, "start": "now"}
        sink[sink_kind] = {"path": out} if sink_kind == "file" else {}
        sim = Sim(self, "--bench", kind, "--bench-first", str(self.take(count)), "--count", str(count))
        daemon = Daemon(self, sim, sink)
        try:
            _, status = until(lambda: (lambda c: c if c[0] is not None else None)(daemon.cursor(name)), "the daemon")
            base = next(s["base"] for s in status["sinks"] if s["name"] == name)
            target = base + count
            points, anon, deadline = [], 0.0, time.monotonic() + 900
            now = base
            while now < target:
                if time.monotonic() > deadline:
                    raise SystemExit("bench: 900 s were not enough")
                time.sleep(POLL_S)
                now, status = daemon.cursor(name)
                anon = max(anon, daemon.anonymous_mib())
                if base < now:
                    points.append((now, time.monotonic(), daemon.cpu(), status["journal"]["commits"]))
            # Between the first and the last look at a running stream: connecting and the idle end do not count.
            began, ended = points[0], points[-2 if len(points) > 2 else -1]
            if began == ended:
                raise SystemExit("bench: too few events for a figure")
        finally:
            daemon.stop()
            sim.stop()
        n = ended[0] - began[0]
        wall = max(ended[1] - began[1], 1e-6)
        return {"rate": n / wall, "cpu": (ended[2] - began[2]) / n * 1e6, "anon": anon, "syncs": (ended[3] - began[3]) / wall,
                "file_bytes": os.path.getsize(out) / count if sink_kind == "file" else 0}

    def raw(self, bytes_per_event):
        """Write and fdatasync the same bytes, 1,000 events at a time."""
        lump = os.urandom(1 << 16) * (int(bytes_per_event * 1000) // (1 << 16) + 1)
        lump = lump[: int(bytes_per_event * 1000)]
        path = os.path.join(self.folder, "raw")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        cpu, wall = time.process_time(), time.monotonic()
        for _ in range(self.events // 1000):
            left = memoryview(lump)
            while left:
                left = left[os.write(fd, left):]
            os.fdatasync(fd)
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
        os.close(fd)
        os.unlink(path)
        return {"rate": self.events / wall, "cpu": cpu / self.events * 1e6, "anon": 0}

    def live(self, rate, seconds, meanwhile=None):
        """A live stream: {replay id: when its line was there}, {replay id: when it was published}; wall clock, seconds.

        meanwhile(line, second) is called between looks at the file; line is the relay the stream then goes through."""
        out, ledger = os.path.join(self.folder, "latency.ndjson"), os.path.join(self.folder, "ledger")
        for path in (out, ledger):
            if os.path.exists(path):
                os.unlink(path)
        store, self.store = self.store, os.path.join(self.folder, "live-store")
        shutil.rmtree(self.store, ignore_errors=True)
        sim = Sim(self, "--rate", str(rate), "--count", str(rate * seconds), "--hold", "--ledger", ledger)
        line = relay.Relay(sim.grpc) if meanwhile else None
        if line:
            sim.grpc = line.port
        daemon = Daemon(self, sim, {"name": "log", "file": {"path": out}}, topic="/data/ChangeEvents")
        seen = {}
        try:
            until(lambda: os.path.exists(out), "the file")
            with open(out, "rb") as lines:
                begun = time.monotonic()
                deadline = begun + seconds + 5
                rest = b""
                while time.monotonic() < deadline:
                    if meanwhile:
                        meanwhile(line, time.monotonic() - begun)
                    data = lines.read()
                    if not data:
                        time.sleep(0.0003)
                        continue
                    now = time.time()
                    *whole, rest = (rest + data).split(b"\n")
                    for text in whole:
                        at = text.index(b'"replay_id":"') + 13
                        seen[text[at:text.index(b'"', at)].decode()] = now
        finally:
            daemon.stop()
            if line:
                line.stop()
            sim.stop()
            self.store = store
        published = {}
        with open(ledger, encoding="utf-8") as entries:
            for entry in map(json.loads, entries):
                published.setdefault(entry["replay_id"], entry["published_at_us"] / 1e6)
        return seen, published

    def latency(self):
        """From the simulator's send to the line in the file, ms, sorted."""
        seen, published = self.live(100, 15)
        return sorted((seen[key] - published[key]) * 1e3 for key in seen if key in published)

    def reconnect(self, cuts=11, every_s=3.0):
        """From a cut of the connection (a TCP reset) to the first line of an event that was published after it; ms, sorted."""
        at = []

        def cut(line, second):
            if len(at) < cuts and second > every_s * (len(at) + 1):
                line.cut()
                at.append(time.time())
        seen, published = self.live(100, int(every_s * (cuts + 2)), meanwhile=cut)
        return sorted(min(seen[key] - moment for key in seen if published.get(key, 0) >= moment) * 1e3 for moment in at)

    def catch_up(self, kind):
        """The service goes away from a running daemon and comes back with so many events: (journaled/s, in the file/s)."""
        out = os.path.join(self.folder, "catchup.ndjson")
        if os.path.exists(out):
            os.unlink(out)
        name = f"catchup{self.first}"
        sim = Sim(self, "--bench", kind, "--bench-first", str(self.take(1000)), "--count", "1000")
        daemon = Daemon(self, sim, {"name": name, "start": "now", "file": {"path": out}})

        def now():
            cursor, status = daemon.cursor(name)
            return (time.monotonic(), status["journal"]["head"], cursor) if status else None
        try:
            _, status = until(lambda: (lambda c: c if c[0] is not None else None)(daemon.cursor(name)), "the daemon")
            base = next(s["base"] for s in status["sinks"] if s["name"] == name) + 1000
            until(lambda: (now() or (0, 0, 0))[2] == base, "the events before the outage")
            sim.stop()
            sim = Sim(self, "--bench", kind, "--bench-first", str(self.take(self.events)), "--count", str(self.events), ports_of=sim)
            first = until(lambda: (lambda look: look if look and look[1] > base else None)(now()), "the first event behind the outage")
            journaled = until(lambda: (lambda look: look if look[1] == base + self.events else None)(now()), "the journal", 900)
            filed = until(lambda: (lambda look: look if look[2] == base + self.events else None)(now()), "the file", 900)
        finally:
            daemon.stop()
            sim.stop()
        return tuple((self.events - (first[at] - base)) / (last[0] - first[0]) for at, last in ((1, journaled), (2, filed)))

    def first_event(self, fresh):
        """From the daemon's start to its first line, ms."""
        out = os.path.join(self.folder, "first.ndjson")
        if os.path.exists(out):
            os.unlink(out)
        store = self.store
        if fresh:
            self.store = os.path.join(self.folder, "fresh-store")
            shutil.rmtree(self.store, ignore_errors=True)
        first = 1 if fresh else self.take(1000)
        sim = Sim(self, "--bench", "full", "--bench-first", str(first), "--count", "1000")
        sink = {"name": f"first{time.monotonic_ns()}", "start": "now", "file": {"path": out}}
        warm(self.store)
        started = time.monotonic()
        daemon = Daemon(self, sim, sink)
        try:
            until(lambda: os.path.exists(out) and os.path.getsize(out) > 0, "the first line", pause=0.0005)
            took = (time.monotonic() - started) * 1e3
        finally:
            daemon.stop()
            sim.stop()
            self.store = store
        return took


def warm(folder):
    """Read what is there once: where the host gives this machine each page when it is first touched, that is not our time."""
    for root, _, names in os.walk(folder):
        for name in names:
            if not name.endswith(".sock"):
                with open(os.path.join(root, name), "rb") as data:
                    while data.read(1 << 22):
                        pass


def median_row(rows):
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} processors, Linux {platform.release()}"


def versions(bench):
    own = subprocess.run([os.path.join(bench.build, "tidemark"), "--version"], capture_output=True, text=True, check=True).stdout
    listed = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}, ", "libgrpc29", "libprotobuf-c1", "liblmdb0"],
                            capture_output=True, text=True, check=False).stdout
    return f"{own.strip()}; {listed.rstrip(', ')}"


def print_table(title, rows, floor):
    print(f"\n{title}\n  {'':8} {'events/s':>12} {'CPU us/event':>13} {'x floor':>8} {'RssAnon MiB':>12} {'commits/s':>10}")
    for name, row in rows:
        ratio = f"{row['cpu'] / floor['cpu']:8.1f}" if floor else f"{'':8}"
        syncs = f"{row['syncs']:10.0f}" if "syncs" in row else f"{'':10}"
        anon = f"{row['anon']:12.1f}" if row["anon"] else f"{'':12}"
        print(f"  {name:8} {row['rate']:12,.0f} {row['cpu']:13.2f} {ratio} {anon} {syncs}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", help="folder with the programs (scripts/bench gives it)")
    parser.add_argument("--folder", help="where to work (default: a temporary folder on the same disk as $TMPDIR)")
    parser.add_argument("--events", type=int, default=1_000_000, help="events per run")
    parser.add_argument("--runs", type=int, default=5, help="runs per row; the median is printed")
    parser.add_argument("--held", type=int, default=10_000_000, help="identities held, and events journaled, before")
    parser.add_argument("--kinds", default="full,update")
    parser.add_argument("--transports", default="plaintext,tls")
    parser.add_argument("--records", type=int, default=100_000, help="records that the events of mirrors are about")
    parser.add_argument("--only", default=",".join(PARTS), help="which parts, of: " + ", ".join(PARTS) + "; also: mirror")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    parts = arguments.only.split(",")
    if set(parts) - {*PARTS, "mirror"}:
        parser.error(f"--only takes {', '.join(PARTS)}, mirror")
    print(f"machine   {machine()}\nversions  {versions(bench)}\nruns      {bench.runs} of {bench.events:,} events; "
          f"{arguments.held:,} identities held before")
    try:
        if arguments.held and {"throughput", "start", "catchup"} & set(parts):
            filled = bench.through("update", "null", arguments.held)
            print(f"filled    at {filled['rate']:,.0f} events/s, {filled['cpu']:.2f} us of CPU each")
        if "throughput" in parts:
            for transport in arguments.transports.split(","):
                bench.tls = transport == "tls"
                for kind in arguments.kinds.split(","):
                    floors, intakes, files = [], [], []
                    for _ in range(bench.runs):
                        floors.append(bench.floor(kind))
                        intakes.append(bench.through(kind, "null"))
                        files.append(bench.through(kind, "file"))
                    floor, whole = median_row(floors), median_row(files)
                    payload = {"full": 700, "update": 370}[kind]  # what the journal keeps of an event
                    raw = median_row([bench.raw(whole["file_bytes"] + payload) for _ in range(bench.runs)])
                    print_table(f"{kind}, {transport} ({whole['file_bytes']:.0f} bytes a line)",
                                [("floor", floor), ("intake", median_row(intakes)), ("file", whole), ("raw", raw)], floor)
                    sys.stdout.flush()
            bench.tls = False
        if "latency" in parts:
            times = bench.latency()
            print(f"\nlatency at 100 events/s, send to line in the file, fsync on: median {statistics.median(times):.1f} ms, "
                  f"p99 {times[int(len(times) * 0.99)]:.1f} ms, {len(times)} events")
        if "start" in parts:
            fresh = statistics.median(bench.first_event(True) for _ in range(bench.runs))
            held = statistics.median(bench.first_event(False) for _ in range(bench.runs))
            print(f"start to first line: {fresh:.0f} ms with an empty store, {held:.0f} ms with {arguments.held:,} journaled events")
        if "catchup" in parts:
            for kind in arguments.kinds.split(","):
                pairs = [(bench.through(kind, "null")["rate"], bench.catch_up(kind)) for _ in range(bench.runs)]
                beside, journal, lines = (statistics.median(values) for values in zip(*((i, *both) for i, both in pairs)))
                shares = (statistics.median(both[at] / i for i, both in pairs) * 100 for at in (0, 1))
                print("catch-up after an outage of {:,} {} events: journaled at {:,.0f}/s, in the file at {:,.0f}/s: {:.0f} % and {:.0f} % of the "
                      "intake beside it ({:,.0f}/s)".format(bench.events, kind, journal, lines, *shares, beside))
                sys.stdout.flush()
        if "reconnect" in parts:
            times = bench.reconnect()
            print(f"reconnect: from a cut to the first new event's line: median {statistics.median(times):.0f} ms, longest {times[-1]:.0f} ms, "
                  f"{len(times)} cuts")
        if "mirror" in parts:
            mirror_bench.run(bench, sys.modules[__name__], arguments.records)
    finally:
        if not arguments.folder:
            shutil.rmtree(bench.folder, ignore_errors=True)


if __name__ == "__main__":
    main()

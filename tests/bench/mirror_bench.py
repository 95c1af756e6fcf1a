"""Benchmark of mirrors: change events over a number of records, the whole daemon into SQLite and PostgreSQL, beside floors.

The first events create the records, the others update some six percent of some seventy columns. Floors, in the same
run: for SQLite one prepared upsert of whole rows, 1,000 a transaction (mirror_floor); for PostgreSQL COPY of as many
whole rows, which is what each update writes there, into a table of the same columns without a key. Databases are on
the disk of $TMPDIR and sync. PostgreSQL has, for both, a cache that holds the table and room for the run's log, as a
server that is set up for its machine has; its defaults are those of a machine of long ago.
"""
import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from lib import postgres  # noqa: E402

SERVER = {"fsync": "on", "shared_buffers": "1GB", "max_wal_size": "8GB"}


def through(bench, tools, sink, records, count, server=None):
    """
    count events through the daemon into one sink, from an empty store; events/s, and CPU per event: of the daemon, and of
    the target's server where there is one.
    """
    store, bench.store = bench.store, os.path.join(bench.folder, f"store-{sink['name']}-{time.monotonic_ns()}")
    sim = tools.Sim(bench, "--bench", "update", "--bench-records", str(records), "--count", str(count))
    daemon = tools.Daemon(bench, sim, {**sink, "on_delete": "soft"})
    try:
        points, deadline = [], time.monotonic() + 3600
        while not points or points[-1][0] < count:
            if time.monotonic() > deadline:
                raise SystemExit("bench: an hour was not enough")
            time.sleep(tools.POLL_S)
            now, status = daemon.cursor(sink["name"])
            if now:
                points.append((now, time.monotonic(), daemon.cpu(), server.cpu() if server else 0))
                if next(s["parked"] for s in status["sinks"]):
                    raise SystemExit("bench: events were parked")
        began, ended = points[0], points[-1]
        if began[0] == ended[0]:
            raise SystemExit("bench: too few events for a figure")
    finally:
        daemon.stop()
        sim.stop()
        bench.store = store
    n = ended[0] - began[0]
    return {"rate": n / (ended[1] - began[1]), "cpu": (ended[2] - began[2]) / n * 1e6,
            "server": (ended[3] - began[3]) / n * 1e6}


def sqlite_floor(bench, path, count):
    done = subprocess.run([os.path.join(bench.build, "tests/bench/mirror_floor"), path, "account", str(count),
                           os.path.join(bench.folder, "floor.db")], check=True, capture_output=True)
    return json.loads(done.stdout)["events_per_s"]


def postgres_floor(server, database, records, count):
    """Rows/s, and CPU of the server per row."""
    rows = server.folder / "rows.copy"
    server.sql(f"COPY account TO '{rows}'; CREATE TABLE floor (LIKE account); CHECKPOINT", database)
    began, cpu, n = time.monotonic(), server.cpu(), count // records * records
    for _ in range(count // records):
        server.sql(f"COPY floor FROM '{rows}'", database)
    return n / (time.monotonic() - began), (server.cpu() - cpu) / n * 1e6


def run(bench, tools, records):
    """tools: the module with Sim and Daemon."""
    count = max(bench.events, 2 * records) // records * records
    table = []
    path = os.path.join(bench.folder, "mirror.db")
    row = through(bench, tools, {"name": "sqlite", "sqlite": {"path": path}}, records, count)
    table.append(("SQLite", row, sqlite_floor(bench, path, count), None))
    if postgres.programs():
        server = postgres.Postgres(**SERVER)
        try:
            database = server.create()
            sink = {"name": "postgres", "postgres": {"dsn": server.dsn(database)}}
            row = through(bench, tools, sink, records, count, server)
            table.append(("PostgreSQL", row, *postgres_floor(server, database, records, count)))
        finally:
            server.stop()
    else:
        print("PostgreSQL: not installed here")
    print(f"\nmirrors: {count:,} change events over {records:,} records; "
          f"PostgreSQL: {', '.join(f'{name} {value}' for name, value in SERVER.items())}\n"
          f"  {'':10} {'events/s':>12} {'CPU us/event':>13} {'floor rows/s':>13} {'of floor':>9}")
    for name, row, floor, cpu in table:
        print(f"  {name:10} {row['rate']:12,.0f} {row['cpu']:13.2f} {floor:13,.0f} {row['rate'] / floor:9.0%}")
        if cpu:  # on a busy machine it tells more than rates
            print(f"  {'':10} CPU of the server: {row['server']:.2f} us/event; of the floor {cpu:.2f} us/row")

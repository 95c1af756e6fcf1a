"""A PostgreSQL of Debian's package in a temporary folder: a Unix socket, a port where asked for, gone with its test."""
import glob
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

from . import waiting


def programs():
    """The folder with initdb and postgres of the newest version installed, or None."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    return pathlib.Path(found[-1]).parent if found else None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """Calling order: Postgres() -> dsn() -> (kill() -> start())* -> stop(). As root it runs as another user, as it demands."""

    def __init__(self, tcp=False, certificate=None, wal=None, **settings):
        """settings: of postgresql.conf, by name; a test needs none. tcp: on 127.0.0.1, too, and self.port is where.
        certificate: a folder with server.pem and server.key, for TLS. wal: a folder for the log (1 MiB a file)."""
        self.settings = {"fsync": "off", "shared_buffers": "128MB", **settings}
        self.port = free_port() if tcp else 5432
        if tcp:
            self.settings |= {"listen_addresses": "127.0.0.1", "port": self.port}
        self.bin = programs()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-pg-"))
        self.data, self.log = self.folder / "data", self.folder / "log"
        self.user = None
        if os.geteuid() == 0:
            self.user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
            shutil.chown(self.folder, self.user)
        self.process = None
        self.databases = 0
        if certificate:
            self.settings |= {"ssl": "on", "ssl_cert_file": self.own(certificate / "server.pem"),
                              "ssl_key_file": self.own(certificate / "server.key")}
        where = ["--waldir", self.own_folder(wal), "--wal-segsize", "1"] if wal else []
        self.call("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", *where)
        self.start()

    def own(self, path):
        """A copy of a file that is the server's alone."""
        copy = self.folder / path.name
        shutil.copy(path, copy)
        copy.chmod(0o600)
        if self.user:
            shutil.chown(copy, self.user)
        return copy

    def own_folder(self, folder):
        """An empty folder that the server may write."""
        folder.mkdir()
        if self.user:
            shutil.chown(folder, self.user)
        return folder

    def environment(self):
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

    def call(self, name, *words):
        subprocess.run([self.bin / name, *words], cwd=self.folder, env=self.environment(), user=self.user, check=True,
                       stdout=subprocess.DEVNULL)

    def start(self):
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            settings = {"unix_socket_directories": self.folder, "listen_addresses": "", **self.settings}
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.data, *(f"--{name}={value}" for name, value in settings.items())],
                cwd=self.folder, env=self.environment(), user=self.user, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

        def ready():
            assert self.process.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
            path = self.data / "postmaster.pid"
            return path.exists() and "\nready" in path.read_text(encoding="ascii")
        waiting.until(ready, "PostgreSQL listens", 60)

    def create(self):
        """The name of a new database."""
        self.databases += 1
        self.sql(f"CREATE DATABASE t{self.databases}", "postgres")
        return f"t{self.databases}"

    def dsn(self, database, user="postgres"):
        return f"host={self.folder} port={self.port} user={user} dbname={database}"

    def sql(self, statement, database):
        """What psql prints, without headings; an error of the server is one of the test."""
        done = subprocess.run([self.bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(database)],
                              input=statement.encode(), capture_output=True, env=self.environment(), check=False)
        assert done.returncode == 0, f"{statement}\n{done.stderr.decode(errors='replace')}"
        return done.stdout.decode("utf-8")

    def rows(self, query, database):
        """The rows of a query, as dictionaries."""
        return json.loads(self.sql(f"SELECT coalesce(json_agg(q), '[]') FROM ({query}) q", database))

    def kill(self):
        """kill -9, its children included: they hold the shared memory that the next one wants."""
        self.process.send_signal(signal.SIGSTOP)
        waiting.until(lambda: self.state_of(self.process.pid) == "T", "PostgreSQL stops")
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = [int(word) for word in path.read_text(encoding="ascii").split()]
        self.process.kill()
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        waiting.until(lambda: all(self.state_of(child) in "ZX" for child in children), "PostgreSQL's processes are gone", 60)

    def cpu(self):
        """User + sys seconds of the server, of all its processes, those that have ended included."""
        def fields(pid):
            return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(") ", 1)[1].split()
        ticks = sum(int(field) for field in fields(self.process.pid)[11:15])
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for child in path.read_text(encoding="ascii").split():
            try:
                ticks += sum(int(field) for field in fields(child)[11:13])
            except (FileNotFoundError, ProcessLookupError):
                pass  # it ends just now, and counts as one that has ended with the next look
        return ticks / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def state_of(pid):
        """R, S, T, Z …; X: no such process."""
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(") ", 1)[1][0]
        except (FileNotFoundError, ProcessLookupError):
            return "X"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

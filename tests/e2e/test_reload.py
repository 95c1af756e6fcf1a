#!/usr/bin/python3
"""SIGHUP: the configuration is read again; what changed is changed, nothing is lost or repeated, a wrong file changes nothing."""
import concurrent.futures
import contextlib
import copy
import pathlib
import re
import shutil
import signal
import threading
import urllib.error
import urllib.request

from lib import case, mirrors, org as orgs, verdict, waiting
import tap_print

ACCOUNTS, CONTACTS = "data_accountchangeevent", "data_contactchangeevent"


class Reload(case.Case):
    def start(self, *options, **changes):
        self.bus = self.org("--seed", 61, "--auth-delay", 0.1, *options)
        self.tm = self.tidemark(self.bus, **changes)
        self.program = self.run_daemon(self.tm)
        self.program.wait_for("running: ")

    def sink(self, name, **more):
        return {"name": name, "file": {"path": str(self.folder / f"{name}.ndjson")}, **more}

    def lines(self, name):
        return self.tm.lines(self.folder / f"{name}.ndjson")

    def answers(self):
        return len(re.findall(r"read again|not reloaded", self.program.err))

    def reload(self):
        """Writes the configuration, sends SIGHUP, and waits for what the daemon says. Returns that."""
        before = self.answers()
        self.tm.write()
        self.program.signal(signal.SIGHUP)
        waiting.until(lambda: self.answers() > before, self.program.tail)
        return [line for line in self.program.err.splitlines() if re.search("read again|not reloaded", line)][-1]

    def state(self, kind, name):
        return next(item for item in self.tm.status()[kind] if item["name"] == name)

    def fetch(self, path, method="GET", token=None):
        port = re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.program.err).group(1)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def success(self):
        return int(re.search(r"^tidemark_config_reload_success (\d)$", self.fetch("/metrics")[1], re.M).group(1))

    @contextlib.contextmanager
    def load(self):
        """Events come as long as the body takes."""
        over = threading.Event()

        def publish():
            while not over.wait(0.05):
                urllib.request.urlopen(f"{self.bus.login_url}/faults", b"publish 8", timeout=60).close()
        with concurrent.futures.ThreadPoolExecutor(1) as beside:
            publishing = beside.submit(publish)
            try:
                yield
            finally:
                over.set()
        publishing.result()

    def settle(self, topics):
        """Until everything published is journaled; then the daemon ends."""
        wanted = sum(len(verdict.expected(self.bus.ledger(), topic)) for topic in topics)
        waiting.until(lambda: self.tm.status()["journal"]["head"] == wanted, self.program.tail, 40)
        self.assertEqual(self.program.terminate(), 0)

    def change_sinks_and_subscriptions(self):
        sinks, subs = self.tm.config["sinks"], self.tm.config["subscriptions"]
        waiting.until(lambda: len(self.tm.lines()) > 20, self.program.tail)
        sinks.append(self.sink("second"))
        self.assertRegex(self.reload(), "sink second added")
        subs.append({"name": CONTACTS, "org": "main", "topic": orgs.CONTACTS, "start": "earliest"})
        said = self.reload()
        self.assertRegex(said, f"subscription {CONTACTS} added")
        self.assertRegex(said, "sink log changed")  # it takes all subscriptions
        waiting.until(lambda: any(line["topic"] == orgs.CONTACTS for line in self.lines("second")), self.program.tail)
        sinks[0]["batch"] = {"events": 3}
        self.assertRegex(self.reload(), "sink log changed$")
        subs[1]["watchdog"] = "200s"
        self.assertRegex(self.reload(), f"subscription {CONTACTS} changed$")
        third = self.sink("third", subscriptions=[CONTACTS])
        sinks.append(third)
        self.reload()
        sinks.remove(third)
        self.assertRegex(self.reload(), "sink third removed$")
        self.assertRegex(self.reload(), "nothing has changed$")

    def test_under_load(self):
        """sinks, subscriptions and settings come, change and go under load: each event once, other streams stay open"""
        self.start("--count", 0)
        with self.load():
            self.change_sinks_and_subscriptions()
        self.assertEqual(self.state("subscriptions", ACCOUNTS)["reconnects"], 0)
        self.assertEqual(self.state("sinks", "third")["state"], "retired")
        topics = [orgs.ACCOUNTS, orgs.CONTACTS]
        self.settle(topics)
        for lines in (self.tm.lines(), self.lines("second")):
            verdict.check_output(self.bus.ledger(), lines, topics)
            verdict.check_sequence(lines)

    def test_wrong_file(self):
        """a file with a mistake, or that changes what is fixed, changes nothing, and says why until it is mended"""
        self.start("--rate", 40)
        good = copy.deepcopy(self.tm.config)
        self.assertEqual(self.success(), 1)
        self.tm.config["sinks"][0]["colour"] = "blue"
        self.assertRegex(self.reload(), "not reloaded, everything goes on as before: .*unknown key")
        self.assertEqual(self.success(), 0)
        self.assertIn("unknown key", self.fetch("/")[1])
        for key, value, path in (("store", {"path": str(self.folder / "elsewhere")}, "store.path"),
                                 ("store", {"max_size": "512MiB"}, "store.max_size"),
                                 ("admin", {"listen": "127.0.0.1:1"}, "admin.listen")):
            self.tm.config = copy.deepcopy(good)
            self.tm.config[key].update(value)
            self.tm.config["sinks"].append(self.sink("second"))
            self.assertRegex(self.reload(), f"not reloaded.*: {re.escape(path)} cannot change while the daemon runs")
        self.assertFalse((self.folder / "elsewhere").exists())
        self.tm.config = copy.deepcopy(good)
        self.tm.config["sinks"][0]["name"] = "other"
        self.tm.config["sinks"][0]["renamed_from"] = "nobody"
        self.assertRegex(self.reload(), "not reloaded.*renamed_from names 'nobody'")
        self.tm.config = good
        before = len(self.tm.lines())
        waiting.until(lambda: len(self.tm.lines()) > before, self.program.tail)
        self.assertRegex(self.reload(), "nothing has changed")
        self.assertEqual(self.success(), 1)
        self.assertEqual([sink["name"] for sink in self.tm.status()["sinks"]], ["log"])
        self.assertEqual(self.state("subscriptions", ACCOUNTS)["reconnects"], 0)

    def test_sink_renamed(self):
        """renamed_from carries the cursor over while the daemon runs"""
        self.start("--rate", 100, "--count", 300)
        waiting.until(lambda: len(self.tm.lines()) > 20, self.program.tail)
        self.tm.config["sinks"][0].update({"name": "archive", "renamed_from": "log"})
        self.assertRegex(self.reload(), "sink archive added, sink log removed")
        self.bus.wait_published(300)
        self.settle([orgs.ACCOUNTS])
        verdict.check_output(self.bus.ledger(), self.tm.lines(), self.tm.topics)

    def test_orgs(self):
        """an org is added and set differently; the stream of the other stays open, and no event is lost or repeated"""
        self.start("--rate", 60, "--count", 400)
        other = self.org("--seed", 62, "--rate", 60, "--count", 200, "--org-id", "00DSM0000000002", name="other")
        connection = {**copy.deepcopy(self.tm.config["orgs"][0]), "name": "other", "login_url": other.login_url,
                      "pubsub_endpoint": other.endpoint}
        self.tm.config["orgs"].append(connection)
        self.tm.config["subscriptions"].append({"name": "others", "org": "other", "topic": orgs.ACCOUNTS, "start": "earliest"})
        self.tm.config["sinks"] += [self.sink("others", subscriptions=["others"]), self.sink("first", subscriptions=[ACCOUNTS])]
        self.assertRegex(self.reload(), "org other added, subscription others added, ")
        waiting.until(lambda: len(self.lines("others")) > 5, self.program.tail)
        connection["keepalive"] = "50s"
        self.assertRegex(self.reload(), "org other changed, subscription others changed$")
        connection["auth"]["client_credentials"]["client_secret"] = "wrong"
        self.reload()
        waiting.until(lambda: self.state("subscriptions", "others")["state"] == "refused", self.program.tail)
        connection["auth"]["client_credentials"]["client_secret"] = orgs.CLIENT_SECRET
        self.reload()
        other.wait_published(200)
        self.bus.wait_published(400)
        wanted = len(verdict.expected(other.ledger(), orgs.ACCOUNTS))
        waiting.until(lambda: len(self.lines("others")) >= wanted, self.program.tail, 30)
        self.assertEqual(self.state("subscriptions", ACCOUNTS)["reconnects"], 0)
        del self.tm.config["orgs"][1], self.tm.config["subscriptions"][1], self.tm.config["sinks"][1]
        self.assertRegex(self.reload(), "org other removed")
        wanted = len(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS))
        waiting.until(lambda: len(self.lines("first")) >= wanted, self.program.tail, 30)
        self.assertEqual(self.program.terminate(), 0)
        verdict.check_output(other.ledger(), self.lines("others"), [orgs.ACCOUNTS])
        verdict.check_output(self.bus.ledger(), self.lines("first"), [orgs.ACCOUNTS])

    def change_mirror_and_managed(self, target, managed):
        sub, sinks = self.tm.config["subscriptions"][0], self.tm.config["sinks"]
        sinks.append(target.sink(on_delete="hard"))
        self.assertRegex(self.reload(), "sink sqlite added$")
        waiting.until(lambda: target.rows("account"), self.program.tail)
        sub["managed"] = managed
        self.assertRegex(self.reload(), f"subscription {ACCOUNTS} changed$")
        accepted = lambda: (self.state("subscriptions", ACCOUNTS)["managed"] or {}).get("commits_accepted", 0)
        waiting.until(lambda: accepted() > 0, self.program.tail)
        sinks[1]["batch"] = {"events": 20}
        sub["watchdog"] = "200s"
        self.assertRegex(self.reload(), f"subscription {ACCOUNTS} changed, sink sqlite changed$")
        waiting.until(lambda: accepted() > 0, self.program.tail)  # of a stream of its own
        del sub["managed"]
        self.reload()
        self.assertIsNone(self.state("subscriptions", ACCOUNTS)["managed"])
        sinks[1]["batch"] = {"events": 300}
        self.assertRegex(self.reload(), "sink sqlite changed$")
        sub["managed"] = managed
        self.reload()
        waiting.until(lambda: accepted() > 0, self.program.tail)

    def test_mirror_and_managed(self):
        """a mirror and a managed subscription change under load, which then is managed no more, and is again: each event once"""
        managed, target = "Account_feed", mirrors.Sqlite(self.folder / "mirror.db")
        self.start("--count", 0, "--managed", f"{managed}={orgs.ACCOUNTS},earliest",
                   "--managed-commit-delay", 0.05, "--keepalive", 0.3)
        with self.load():
            self.change_mirror_and_managed(target, managed)
        wanted = sorted(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS))
        waiting.until(lambda: all(sink["lag"] == 0 for sink in self.tm.status()["sinks"]) and
                      len(self.tm.lines()) >= len(wanted), self.program.tail, 40)
        self.assertEqual(self.program.terminate(), 0)
        self.assertIsNone(verdict.difference(wanted, sorted(verdict.identity(line) for line in self.tm.lines())))
        verdict.check_accounts(self.tm.status())
        state = {"Account": mirrors.org_state(self.bus)["Account"]}
        self.assertEqual(mirrors.differences(state, target), "")

    def held(self):
        """What the daemon holds: its threads by name (gRPC keeps a pool of its own), and how many descriptors."""
        proc = pathlib.Path(f"/proc/{self.program.pid}")
        names = [task.joinpath("comm").read_text(encoding="ascii").strip() for task in proc.joinpath("task").iterdir()]
        return (sorted(name for name in names if re.match("sink-|(intake|usage|auth|pubsub|MHD-single)$", name)),
                len(list(proc.joinpath("fd").iterdir())))

    def test_nothing_is_left(self):
        """an org, its subscription and the sinks change again and again: no thread and no descriptor is left behind"""
        self.start("--prefill", 50, "--count", 0)
        orgs_, sinks = self.tm.config["orgs"], self.tm.config["sinks"]
        sinks.append(mirrors.Sqlite(self.folder / "mirror.db").sink(on_delete="hard"))

        def look():
            """While everything runs and nothing is on its way."""
            self.reload()
            waiting.until(lambda: self.state("subscriptions", ACCOUNTS)["state"] in ("catching_up", "live") and
                          all(sink["state"] == "running" and sink["lag"] == 0 for sink in self.tm.status()["sinks"]),
                          self.program.tail, 40)
            return self.held()
        threads, descriptors = look()
        for i in range(6):
            orgs_[0]["keepalive"] = f"{70 + i}s"
            for sink in sinks:
                sink["batch"] = {"events": 10 + i}
            look()
        waiting.until(lambda: self.held()[0] == threads and self.held()[1] <= descriptors + 4, lambda: str(self.held()))
        self.assertEqual(self.program.terminate(), 0)

    def test_files_change_in_place(self):
        """the authorities and the client secret are replaced in their files, which the configuration names as before"""
        tls, ca, secret = self.folder / "tls", self.folder / "ca.pem", self.folder / "secret"

        def renew(number, *options):
            """The org has other certificates, and wants another secret."""
            ports = {"listen": self.bus.endpoint, "http": f"127.0.0.1:{self.bus.http}"} if number else {}
            self.bus = self.org("--seed", 61, "--prefill", 20, "--count", 0, "--auth-delay", 0.1, *options,
                                name=f"sim{number}", tls=pathlib.Path(f"{tls}{number}"), **ports)

        def is_up():
            known = self.tm.status()["subscriptions"]  # none before the first login
            return known and self.state("subscriptions", ACCOUNTS)["state"] in ("catching_up", "live") and self.fetch("/readyz")[0] == 200
        renew(0)
        shutil.copy(self.bus.tls / "ca.pem", ca)
        secret.write_text(orgs.CLIENT_SECRET, encoding="ascii")
        self.tm = self.tidemark(self.bus, org_changes={"tls": {"ca_file": str(ca)}, "auth": {"client_credentials": {
            "client_secret": None, "client_secret_file": str(secret)}}})
        self.program = self.run_daemon(self.tm)
        self.program.wait_for("running: ")
        waiting.until(is_up, self.program.tail)
        self.bus.stop()
        renew(1, "--client-secret", "the-next-one")
        waiting.until(lambda: re.search("certificate", self.state("subscriptions", ACCOUNTS)["reason"] or ""), self.program.tail)
        shutil.copy(self.bus.tls / "ca.pem", ca)
        self.assertRegex(self.reload(), f"read again: org main changed, subscription {ACCOUNTS} changed$")
        waiting.until(lambda: "invalid_client" in (self.state("subscriptions", ACCOUNTS)["reason"] or ""), self.program.tail)
        secret.write_text("the-next-one", encoding="ascii")
        self.assertRegex(self.reload(), f"read again: org main changed, subscription {ACCOUNTS} changed$")
        waiting.until(is_up, self.program.tail)
        self.assertRegex(self.reload(), "nothing has changed$")
        self.assertEqual(self.program.terminate(), 0)

    def test_token(self):
        """the admin token and the log change in place"""
        self.start("--rate", 40, admin={"token": "old-token"})
        path = f"/replay?subscription={ACCOUNTS}&from=earliest&dry_run=1"
        waiting.until(lambda: self.fetch(path, "POST", "old-token")[0] == 200, self.program.tail)
        self.tm.config["admin"]["token"] = "new-token"
        self.assertRegex(self.reload(), "admin.token changed$")
        self.assertEqual(self.fetch(path, "POST", "old-token")[0], 403)
        self.assertEqual(self.fetch(path, "POST", "new-token")[0], 200)
        self.assertNotIn("new-token", self.program.err)
        self.tm.config["log"] = {"format": "json"}
        self.assertRegex(self.reload(), '^{.*log.format changed"}$')


if __name__ == "__main__":
    tap_print.main()

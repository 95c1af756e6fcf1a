#!/usr/bin/python3
# suite: timeout=600 takes=40
"""What operators watch: /metrics is valid and adds up, also after kill -9; /readyz turns false in time and names the cause."""
import json
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

from lib import case, disks, org as orgs, place, programs, verdict, waiting
import tap_print

EVENTS = 300
NAME = "data_accountchangeevent"
SAMPLE = re.compile(r'^(\w+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse(text):
    """{(name, frozenset of labels): value}"""
    samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.match(line).groups()
        key = name, frozenset(LABEL.findall(labels or ""))
        assert key not in samples, f"twice: {line}"
        samples[key] = float(value)
    return samples


class Scrape:
    def __init__(self, text):
        self.text, self.samples = text, parse(text)

    def get(self, name, **labels):
        return self.samples[name, frozenset(labels.items())]

    def sum(self, name, **labels):
        found = [value for (other, has), value in self.samples.items() if other == name and set(labels.items()) <= has]
        assert found, f"no sample of {name} {labels}"
        return sum(found)

    def totals(self):
        """What a restart must not change."""
        kept = ("tidemark_events_", "tidemark_sink_events_total", "tidemark_sink_cursor", "tidemark_journal_head", "tidemark_dead",
                "tidemark_incidents")
        return {key: value for key, value in self.samples.items() if key[0].startswith(kept)}


class Metrics(case.Case):
    def start(self, *options, topics=(orgs.ACCOUNTS,), name="tidemark", env=None, **changes):
        if options:
            self.bus = self.org("--seed", 31, "--auth-delay", 0.1, *options)
        self.tm = self.tidemark(self.bus, topics=topics, **changes)
        return self.go_on(name, env)

    def go_on(self, name="tidemark", env=None):
        program = self.run_daemon(self.tm, name=name, env=env)
        found = waiting.until(lambda: re.search(r"listening on http://127\.0\.0\.1:(\d+)", program.err), program.tail)
        self.port = int(found.group(1))
        return program

    def fetch(self, path, accept="*/*"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers["Content-Type"], answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, "", error.read().decode()

    def scrape(self):
        status, _, text = self.fetch("/metrics")
        self.assertEqual(status, 200)
        return Scrape(text)

    def ready(self):
        return self.fetch("/readyz")[0] == 200

    def until_ready(self, program):
        """/readyz says so, and the metric as well."""
        waiting.until(lambda: self.ready() and self.scrape().get("tidemark_ready") == 1,
                      lambda: self.fetch("/readyz")[2] + program.tail())

    def until_not_ready(self, program, *texts):
        """/readyz is 503 and says these things; health and the metric say the same.

        Each is asked until it says so: between two tries of a source that is gone the words may be others. How soon
        they must turn is what unit/status tests, with a clock of its own."""
        def says(words):
            return all(re.search(text, words) for text in texts)

        def told():
            status, _, text = self.fetch("/readyz")
            return status == 503 and says(text) and self.scrape().get("tidemark_ready") == 0

        def health():
            done = self.tm.call("health")
            return done.status == 4 and says(done.out + done.err)
        waiting.until(told, lambda: f"{texts} in: {self.fetch('/readyz')[2]}\n{program.tail()}")
        waiting.until(health, lambda: f"{texts} in: {self.tm.call('health')}\n{program.tail()}")

    def settled(self, program, count):
        def done():
            now = self.scrape()
            return now.get("tidemark_journal_head_seq") >= count and now.sum("tidemark_sink_lag_events") == 0
        waiting.until(done, program.tail, 60)

    def check_sums(self, scrape):
        """I9, in one scrape."""
        journaled = 0
        for name in (self.tm.name_of(topic) for topic in self.tm.topics):
            part = {what: scrape.get(f"tidemark_events_{what}_total", subscription=name)
                    for what in ("received", "duplicates", "before_start", "journaled")}
            self.assertEqual(part["received"], part["duplicates"] + part["before_start"] + part["journaled"], name)
            journaled += part["journaled"]
        self.assertEqual(scrape.get("tidemark_journal_head_seq"), journaled)
        for sink in self.tm.config["sinks"]:
            settled = scrape.sum("tidemark_sink_events_total", sink=sink["name"])
            self.assertEqual(settled + scrape.get("tidemark_sink_lag_events", sink=sink["name"]), journaled)
            self.assertEqual(scrape.get("tidemark_sink_cursor_seq", sink=sink["name"]), settled)

    # What is told.

    def promtool(self, text):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""), text)

    def test_format(self):
        """promtool check metrics is clean, before the first login and after events; OpenMetrics parses"""
        self.bus = self.org("--seed", 31, "--prefill", EVENTS, "--count", 0)
        program = self.start(topics=(orgs.ACCOUNTS, orgs.ORDERS), org_changes={"login_url": "http://127.0.0.1:9"})
        self.promtool(self.scrape().text)
        program.kill()
        program = self.start(topics=(orgs.ACCOUNTS, orgs.ORDERS), name="second")
        self.settled(program, 1)
        self.until_ready(program)
        self.promtool(self.scrape().text)
        _, kind, text = self.fetch("/metrics", "application/openmetrics-text; version=1.0.0")
        self.assertRegex(kind, "^application/openmetrics-text")
        self.check_openmetrics(text)

    def check_openmetrics(self, text):
        """Families in one piece, each introduced; counters' samples end in _total; # EOF at the end."""
        lines = text.split("\n")
        self.assertEqual(lines[-2:], ["# EOF", ""])
        family, kind, seen = None, None, set()
        suffixes = {"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_sum", "_count"}}
        for line in lines[:-2]:
            words = line.split(" ")
            if words[:2] == ["#", "TYPE"]:
                family, kind = words[2:]
                self.assertNotIn(family, seen)
                seen.add(family)
            elif words[0] != "#":
                name, labels, _ = SAMPLE.match(line).groups()
                self.assertTrue(name.startswith(family), line)
                self.assertIn(name[len(family):], suffixes[kind], line)
                if name.endswith("_bucket"):
                    self.assertRegex(labels, r'le="(\d+\.\d+|\+Inf)"$')

    def prometheus(self):
        """A real Prometheus that scrapes this daemon, with our rules. Returns a function that asks its API."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        (self.folder / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(place.ROOT / "config/prometheus/tidemark.rules.yml")],
            "scrape_configs": [{"job_name": "tidemark", "static_configs": [{"targets": [f"127.0.0.1:{self.port}"]}]}],
        }), encoding="ascii")
        server = programs.Program("prometheus", ["prometheus", f"--config.file={self.folder}/prometheus.yml", "--log.level=warn",
                                                 f"--storage.tsdb.path={self.folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"],
                                  self.folder)
        self.started.append(server)

        def ask(path):
            self.assertTrue(server.running(), server.tail())
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=10) as answer:
                    return json.load(answer)["data"]
            except OSError:
                return None
        return ask

    def test_scraped(self):
        """a real Prometheus takes every scrape, as OpenMetrics, and evaluates the alert rules without an error"""
        program = self.start("--prefill", EVENTS, "--count", 0, "--keepalive", 0.5)
        self.until_ready(program)
        ask = self.prometheus()

        def value(query):
            found = ask("query?query=" + urllib.parse.quote(query))
            return float(found["result"][0]["value"][1]) if found and found["result"] else None
        waiting.until(lambda: value('up{job="tidemark"}') is not None, "a first scrape")
        self.assertEqual(value('up{job="tidemark"}'), 1.0)
        now = self.scrape()
        waiting.until(lambda: value("tidemark_delivery_seconds_count") == now.sum("tidemark_delivery_seconds_count"), program.tail)
        self.assertIsNotNone(value("histogram_quantile(0.99, sum by (sink, le) (tidemark_delivery_seconds_bucket))"))

        def rules():
            found = ask("rules")
            return [rule for group in found["groups"] for rule in group["rules"]] if found else []
        waiting.until(lambda: rules() and all(rule["health"] == "ok" for rule in rules()), lambda: str(rules()))
        self.assertEqual([rule["name"] for rule in rules() if rule["state"] != "inactive"], [])
        (target,) = ask("targets")["activeTargets"]
        self.assertEqual((target["health"], target["lastError"]), ("up", ""))

    def test_latencies(self):
        """the histograms count each settled event once and rise to their count"""
        begun = time.monotonic()
        program = self.start("--rate", 200, "--count", EVENTS, topics=(orgs.ACCOUNTS, orgs.ORDERS))
        self.bus.wait_published(EVENTS)
        wanted = sum(len(verdict.expected(self.bus.ledger(), topic)) for topic in self.tm.topics)
        self.settled(program, wanted)
        now = self.scrape()
        for name in ("tidemark_delivery_seconds", "tidemark_commit_delay_seconds"):
            bounds = sorted((float(dict(labels)["le"]), value) for (other, labels), value in now.samples.items()
                            if other == f"{name}_bucket")
            counts = [value for _, value in bounds]
            self.assertEqual(counts, sorted(counts))
            self.assertEqual(counts[-1], wanted, name)
            self.assertEqual(now.sum(f"{name}_count"), wanted)
        # The sum cannot be less than nothing, nor more than if each had waited since the case began (and seconds of rounding).
        self.assertGreaterEqual(now.sum("tidemark_delivery_seconds_sum"), 0)
        self.assertLessEqual(now.sum("tidemark_delivery_seconds_sum"), wanted * (time.monotonic() - begun + 10))

    def test_kill(self):
        """totals survive kill -9 and add up in every scrape; only what is since the start begins anew"""
        program = self.start("--rate", 150, "--count", EVENTS, topics=(orgs.ACCOUNTS, orgs.ORDERS))
        before = self.scrape()
        for life in range(4):
            enough = before.get("tidemark_journal_head_seq") + 20
            wait = lambda: self.scrape().get("tidemark_journal_head_seq") >= enough or len(self.bus.ledger()) >= EVENTS  # noqa: E731
            waiting.until(wait, program.tail, 60)
            before = self.scrape()
            self.check_sums(before)
            program.kill()
            program = self.go_on(f"life-{life}")
            now = self.scrape()
            self.check_sums(now)
            for key, value in before.totals().items():
                if key[0] not in ("tidemark_dead_letters", "tidemark_incidents_open"):
                    self.assertGreaterEqual(now.samples[key], value, key)
        self.bus.wait_published(EVENTS)
        self.settled(program, sum(len(verdict.expected(self.bus.ledger(), topic)) for topic in self.tm.topics))
        last = self.scrape()
        program.kill()
        program = self.go_on("last")
        now = self.scrape()
        # duplicates that the service repeats after the restart are new ones: received and duplicates rise together
        changed = {key: value for key, value in now.totals().items() if value != last.samples[key]}
        self.assertEqual({key[0] for key in changed} - {"tidemark_events_received_total", "tidemark_events_duplicates_total"}, set())
        self.check_sums(now)
        self.assertEqual(program.terminate(), 0)
        verdict.check_output(self.bus.ledger(), self.tm.lines(), self.tm.topics)
        verdict.check_accounts(self.tm.status())

    def test_logins_and_ends(self):
        """logins and ended streams are counted, with the reason"""
        program = self.start("--prefill", 20, "--count", 0, "--keepalive", 0.5)
        self.until_ready(program)
        before = self.scrape()
        self.assertEqual(before.get("tidemark_token_refreshes_total", org="main"), 1)
        self.assertEqual(before.get("tidemark_subscription_up", subscription=NAME), 1)
        # stored with a response that is no longer the first
        waiting.until(lambda: "tidemark_position_age_seconds{" in self.scrape().text, program.tail)
        before = self.scrape()
        self.assertLess(before.get("tidemark_position_age_seconds", subscription=NAME), 7200 + 600)
        self.assertGreater(before.get("tidemark_position_expires_seconds", subscription=NAME), 60 * 3600)
        for action in ("revoke", "drop"):
            urllib.request.urlopen(f"{self.bus.login_url}/sim/{action}", data=b"", timeout=10).close()
        waiting.until(lambda: self.scrape().get("tidemark_token_refreshes_total", org="main") == 2, program.tail, 40)
        self.until_ready(program)
        now = self.scrape()
        self.assertEqual(now.get("tidemark_reconnects_total", subscription=NAME, reason="dropped"), 1)
        # GetTopic notices first, and the stream is closed for that: no trouble of the network
        self.assertEqual(now.get("tidemark_reconnects_total", subscription=NAME, reason="token"), 1)

    # Readiness: in each case the deadline, and the cause by name.

    def quick(self):
        """Deadlines that a test can wait for."""
        return {"org_changes": {"keepalive": "1s"},
                "subscriptions": [{"name": NAME, "org": "main", "topic": orgs.ACCOUNTS, "start": "earliest", "watchdog": "3s"}]}

    def test_source_gone(self):
        """the service is gone: not ready at once; ready again when it is back"""
        program = self.start("--prefill", 20, "--count", 0, "--keepalive", 0.5)
        self.until_ready(program)
        self.bus.program.kill()
        # also while the next try is under way
        self.until_not_ready(program, rf"subscription {NAME}: \w+ since 20\S+: .*{self.bus.endpoint}")
        self.bus = self.org("--seed", 31, "--auth-delay", 0.1, "--prefill", 20, "--count", 0, "--keepalive", 0.5, listen=self.bus.endpoint,
                            http=f"127.0.0.1:{self.bus.http}", name="sim-later")
        self.until_ready(program)

    def test_source_frozen(self):
        """the service is frozen and its connections stay open: not ready within the watchdog"""
        program = self.start("--prefill", 20, "--count", 0, "--keepalive", 0.5, **self.quick())
        self.until_ready(program)
        self.bus.program.signal(signal.SIGSTOP)
        try:
            self.until_not_ready(program, f"subscription {NAME}: .*(ping|response|sign of life|answered)")
        finally:
            self.bus.program.signal(signal.SIGCONT)
        self.until_ready(program)

    def test_source_silent(self):
        """streams open and stay silent while the service answers all else: not ready, and not for a moment again"""
        program = self.start("--count", 0, "--keepalive", 600, **self.quick())
        self.until_ready(program)
        self.until_not_ready(program, f"subscription {NAME}: ")
        # From now on, through several reconnects, it must not look ready: each time an alert would begin to wait anew.
        ends = self.reconnects()

        def cut_twice():
            self.assertFalse(self.ready(), "a silent stream was ready again")
            return self.reconnects() >= ends + 2
        waiting.until(cut_twice, program.tail)
        self.until_not_ready(program, f"subscription {NAME}: .*no sign of life")

    def test_schema_away(self):
        """events arrive, but no schema: not ready within the watchdog, though the service is heard, and the schema is named"""
        def schemas(status, count):
            url = f"{self.bus.login_url}/sim/call-fault?method=GetSchema&status={status}&count={count}"
            urllib.request.urlopen(url, data=b"", timeout=10).close()
        self.bus = self.org("--seed", 31, "--auth-delay", 0.1, "--prefill", EVENTS, "--count", 0, "--keepalive", 0.5)
        schemas("UNAVAILABLE", 1000000)
        program = self.start(**self.quick())
        self.until_not_ready(program, f"subscription {NAME}: .*waiting for schema .*UNAVAILABLE")
        self.assertEqual(self.scrape().get("tidemark_journal_head_seq"), 0)
        schemas("NONE", 1)
        self.until_ready(program)
        self.settled(program, len(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS)))
        self.check_sums(self.scrape())

    def reconnects(self):
        return self.scrape().sum("tidemark_reconnects_total", subscription=NAME)

    def test_login_hangs(self):
        """a login server that does not answer: not ready, and said where the login waits, before it is given up"""
        self.bus = self.org("--seed", 31, "--count", 0)
        urllib.request.urlopen(f"{self.bus.login_url}/sim/token-fault?kind=slow&count=9&seconds=600", data=b"", timeout=10).close()
        program = self.start()
        self.until_not_ready(program, f"subscription {NAME}: connecting since 20.*logging in at {self.bus.login_url}")

    def test_tokens_refused(self):
        """logins work, and no stream takes their tokens: not ready, and said that the two do not fit, and when the next login is"""
        self.bus = self.org("--seed", 31, "--count", 0)
        url = f"{self.bus.login_url}/sim/call-fault?method=Subscribe&status=UNAUTHENTICATED&code=service.auth.error&count=1000"
        urllib.request.urlopen(url, data=b"", timeout=10).close()
        program = self.start()
        self.until_not_ready(program, f"subscription {NAME}: refused since 20.*service refused its token.*next login at 20")
        self.assertEqual(self.scrape().get("tidemark_token_refreshes_total", org="main"), 2)

    def test_credentials_refused(self):
        """credentials are refused: not ready, and the service's words are told, but no secret"""
        program = self.start("--count", 0, env={"TIDEMARK_TEST_SECRET": "not-the-secret"})
        self.until_not_ready(program, f"subscription {NAME}: refused since 20.*invalid_client")
        self.assertNotIn("not-the-secret", self.fetch("/readyz")[2] + self.scrape().text + program.err)
        self.assertEqual(self.scrape().get("tidemark_subscription_up", subscription=NAME), 0)
        self.assertEqual(self.scrape().get("tidemark_token_refreshes_total", org="main"), 0)

    def test_sink_refused(self):
        """a target that cannot be opened: not ready, with its path; ready once it can"""
        (self.folder / "out.ndjson").mkdir()
        program = self.start("--prefill", EVENTS, "--count", 0, "--keepalive", 0.5)
        self.until_not_ready(program, r"sink log: refused since 20.*out\.ndjson is a folder")
        now = self.scrape()
        self.assertEqual(now.get("tidemark_sink_breaker_state", sink="log"), 1)
        waiting.until(lambda: self.scrape().get("tidemark_sink_lag_events", sink="log") > 0, program.tail)
        waiting.until(lambda: self.scrape().get("tidemark_sink_lag_seconds", sink="log") > 0.5, program.tail)
        (self.folder / "out.ndjson").rmdir()
        self.until_ready(program)
        self.settled(program, 1)
        now = self.scrape()
        self.assertEqual(now.get("tidemark_sink_lag_seconds", sink="log"), 0)
        self.assertEqual(now.get("tidemark_sink_breaker_state", sink="log"), 0)
        self.check_sums(now)

    def test_sink_full(self):
        """a disk that fills up under the target: not ready, and why; afterwards everything is there once"""
        if not disks.can_mount(self.folder):
            self.skipTest("needs root and mount")
        disk = disks.Disk(self.folder / "disk", 1 << 20)
        self.started.insert(0, disk)
        program = self.start("--rate", 100, "--count", EVENTS, "--keepalive", 0.5,
                             sinks=[{"name": "log", "file": {"path": str(self.folder / "disk/out.ndjson"), "format": "json"}}])
        self.tm.output = self.folder / "disk/out.ndjson"
        waiting.until(lambda: len(self.tm.lines()) > 5, program.tail)
        disk.fill()
        self.until_not_ready(program, r"sink log: backing_off since 20.*(full|space)")
        disk.make_room()
        self.bus.wait_published(EVENTS)
        self.settled(program, len(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS)))
        self.until_ready(program)
        self.check_sums(self.scrape())
        self.assertEqual(program.terminate(), 0)
        verdict.check_output(self.bus.ledger(), self.tm.lines(), self.tm.topics)


if __name__ == "__main__":
    tap_print.main()

#!/usr/bin/python3
# suite: timeout=600 takes=40 tsan
"""The first whole path: stream to journal to file, and what a user sees on the way."""
import base64
import json
import os
import re
import signal
import urllib.error
import urllib.request

from lib import case, daemon, org as orgs, place, programs, verdict, waiting
import tap_print

EVENTS = 400
COMMANDS = ["run", "check", "init", "tail", "status", "health", "schema", "topics", "dlq", "replay", "incidents", "sink"]


class FirstPath(case.Case):
    """A bus with EVENTS events on it, nothing more to come."""

    def ready_org(self, *options, count=EVENTS, **more):
        return self.org("--seed", 7, "--prefill", count, "--count", 0, *options, **more)

    def finish(self, tidemark, **more):
        return self.expect(tidemark.run_until_idle(**more), 0)

    def check(self, org, tidemark):
        lines = tidemark.lines()
        self.assertTrue(tidemark.last_line_is_whole())
        verdict.check_output(org.ledger(), lines, tidemark.topics)
        verdict.check_sequence(lines)
        return verdict.check_accounts(tidemark.status())

    def caught_up(self, tidemark):
        """The daemon, with everything that is on the bus in its file."""
        program = self.run_daemon(tidemark)
        wanted = len(verdict.expected(self.bus.ledger(), tidemark.topics[0]))
        waiting.until(lambda: len(tidemark.lines()) >= wanted > 0, lambda: f"{wanted} lines\n{program.tail()}", 30)
        return program

    def one_topic(self):
        self.bus = self.ready_org()
        self.bus.wait_published(EVENTS)
        return self.tidemark(self.bus)

    def test_until_idle(self):
        """run --until-idle: every event of a topic in the file, once and in order; exit 0"""
        tidemark = self.one_topic()
        self.finish(tidemark)
        self.assertGreater(self.check(self.bus, tidemark), 50)

    def test_second_run(self):
        """a second run changes nothing"""
        tidemark = self.one_topic()
        self.finish(tidemark)
        before, data = verdict.totals(tidemark.status()), tidemark.output.read_bytes()
        self.finish(tidemark)
        self.assertEqual(tidemark.output.read_bytes(), data)
        self.assertEqual(verdict.totals(tidemark.status()), before)

    def test_several_subscriptions(self):
        """several subscriptions, the multi-entity channel among them, into one file"""
        self.bus = self.ready_org("--batch", 7)
        self.bus.wait_published(EVENTS)
        tidemark = self.tidemark(self.bus, topics=[orgs.ACCOUNTS, orgs.CONTACTS, orgs.ORDERS, orgs.CHANGES])
        self.finish(tidemark)
        self.check(self.bus, tidemark)

    def test_two_sinks(self):
        """two file sinks with different subscriptions each get theirs"""
        self.bus = self.ready_org()
        self.bus.wait_published(EVENTS)
        files = [self.folder / "accounts.ndjson", self.folder / "orders.ndjson"]
        topics = [orgs.ACCOUNTS, orgs.ORDERS]
        names = [daemon.Tidemark.name_of(topic) for topic in topics]
        tidemark = self.tidemark(self.bus, topics=topics, sinks=[
            {"name": name, "subscriptions": [name], "file": {"path": str(path)}} for name, path in zip(names, files)])
        self.finish(tidemark)
        for topic, path in zip(topics, files):
            lines = tidemark.lines(path)
            self.assertEqual({line["topic"] for line in lines}, {topic})
            verdict.check_output(self.bus.ledger(), lines, [topic])

    def test_tls(self):
        """the same over TLS with a private authority"""
        self.bus = self.ready_org(tls=self.folder / "tls")
        self.bus.wait_published(EVENTS)
        tidemark = self.tidemark(self.bus)
        self.finish(tidemark)
        self.check(self.bus, tidemark)

    def test_static_token(self):
        """auth: static needs no login"""
        self.bus = self.ready_org("--static-token", "00Dxx!static")
        self.bus.wait_published(EVENTS)
        settings = self.tidemark(self.bus).call("topics")
        org_id = re.search(r"\b00D\w{15}\b", settings.out + self.bus.program.err + self.bus.program.out)
        self.assertTrue(org_id, str(settings))
        tidemark = self.tidemark(self.bus, org_changes={"login_url": None, "auth": {"client_credentials": None, "static": {
            "access_token": "00Dxx!static", "instance_url": self.bus.login_url, "tenant_id": org_id.group(0)}}})
        self.finish(tidemark)
        self.check(self.bus, tidemark)

    def test_duplicates(self):
        """publish retries and shared replay ids: each event once"""
        self.bus = self.ready_org("--duplicates", 0.1, "--shared-replay", 0.1, "--batch", 5)
        self.bus.wait_published(EVENTS)
        tidemark = self.tidemark(self.bus, topics=[orgs.ACCOUNTS, orgs.ORDERS])
        self.finish(tidemark)
        self.check(self.bus, tidemark)
        duplicates = sum(sub["duplicates"] for sub in tidemark.status()["subscriptions"])
        published = [verdict.identity(entry) for entry in self.bus.ledger() if entry["topic"] in tidemark.topics]
        self.assertGreaterEqual(duplicates, len(published) - len(set(published)))
        self.assertGreater(duplicates, 0)

    def test_live_and_drain(self):
        """run: events arrive while they are published; SIGTERM drains, exit 0; the next run goes on"""
        self.bus = self.org("--seed", 3, "--rate", 200, "--count", 600)
        tidemark = self.tidemark(self.bus)
        program = self.run_daemon(tidemark)
        waiting.until(lambda: len(tidemark.lines()) > 30, program.tail, 30)
        self.assertEqual(program.terminate(), 0, program.tail())
        self.assertTrue(tidemark.last_line_is_whole())
        self.bus.wait_published(600)
        self.finish(tidemark)
        self.check(self.bus, tidemark)

    def test_interrupted_until_idle(self):
        """an interrupted --until-idle exits 130 or 143"""
        self.one_topic()
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            tidemark = self.tidemark(self.bus, folder=self.folder / str(status))
            program = self.run_daemon(tidemark, "--until-idle", "30")
            waiting.until(lambda: len(tidemark.lines()) > 5, program.tail)
            program.signal(number)
            self.assertEqual(program.wait(), status, program.tail())

    def test_start_latest(self):
        """start: latest leaves out what was on the bus, and nothing published later"""
        self.bus = self.org("--seed", 5, "--prefill", 200, "--rate", 100, "--count", 300)
        tidemark = self.tidemark(self.bus, start="latest")
        self.finish(tidemark)
        lines = tidemark.lines()
        verdict.check_accounts(tidemark.status())
        wanted = verdict.expected(self.bus.ledger(), orgs.ACCOUNTS)
        got = [verdict.identity(line) for line in lines]
        self.assertTrue(0 < len(got) < len(wanted), f"{len(got)} of {len(wanted)}")
        self.assertEqual(got, wanted[-len(got):], "not the last events of the bus")

    def test_keepalive_position(self):
        """keepalives move the stored position past other topics' events"""
        self.bus = self.ready_org("--keepalive", 0.2)
        self.bus.wait_published(EVENTS)
        tidemark = self.tidemark(self.bus, topics=[orgs.CONTACTS])
        self.finish(tidemark)
        last = [entry for entry in self.bus.ledger() if entry["topic"] == orgs.CONTACTS][-1]["replay_id"]
        self.assertGreater(int(tidemark.status()["subscriptions"][0]["replay_id"], 16), int(last, 16) - 1)
        self.check(self.bus, tidemark)

    def test_reconnect(self):
        """a stalled and a lost connection: the stream goes on by itself"""
        self.bus = self.org("--seed", 11, "--rate", 100, "--count", 300)
        tidemark = self.tidemark(self.bus)
        program = self.run_daemon(tidemark)
        waiting.until(lambda: len(tidemark.lines()) > 10, program.tail)
        self.bus.program.signal(signal.SIGSTOP)
        before = len(tidemark.lines())
        waiting.pause(0.3)
        self.bus.program.signal(signal.SIGCONT)
        self.bus.wait_published(300)
        wanted = len(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS))
        self.assertGreater(wanted, before)
        waiting.until(lambda: len(tidemark.lines()) == wanted, program.tail, 30)
        self.assertEqual(program.terminate(), 0)
        self.check(self.bus, tidemark)

    def test_rotation_by_signal(self):
        """mv and SIGHUP: the file is opened anew at a batch boundary, nothing lost between the two"""
        self.bus = self.org("--seed", 13, "--rate", 150, "--count", 450)
        tidemark = self.tidemark(self.bus)
        program = self.run_daemon(tidemark)
        waiting.until(lambda: len(tidemark.lines()) > 10, program.tail)
        rotated = self.folder / "out.1.ndjson"
        os.rename(tidemark.output, rotated)
        program.signal(signal.SIGHUP)
        waiting.until(tidemark.output.exists, program.tail)
        self.bus.wait_published(450)
        wanted = len(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS))
        waiting.until(lambda: len(tidemark.lines(rotated)) + len(tidemark.lines()) >= wanted, program.tail, 30)
        self.assertEqual(program.terminate(), 0)
        verdict.check_output(self.bus.ledger(), tidemark.lines(rotated) + tidemark.lines(), tidemark.topics)
        self.finish(tidemark)
        verdict.check_output(self.bus.ledger(), tidemark.lines(rotated) + tidemark.lines(), tidemark.topics)

    def test_stdout_sink(self):
        """sink stdout: the lines go to stdout, the log to stderr"""
        self.bus = self.ready_org()
        self.bus.wait_published(EVENTS)
        tidemark = self.tidemark(self.bus, sinks=[{"name": "out", "stdout": {}}])
        done = self.finish(tidemark)
        verdict.check_output(self.bus.ledger(), [json.loads(line) for line in done.out.splitlines()], tidemark.topics)
        verdict.check_accounts(tidemark.status())

    # Looking at a stream.

    def test_tail_json(self):
        """tail --json -n N: N events, no seq, no trace left; exit 0"""
        tidemark = self.one_topic()
        done = self.expect(tidemark.call("tail", orgs.ACCOUNTS, "--from", "earliest", "--json", "-n", "25"), 0)
        lines = [json.loads(line) for line in done.out.splitlines()]
        self.assertEqual([verdict.identity(line) for line in lines],
                         verdict.expected(self.bus.ledger(), orgs.ACCOUNTS)[:25])
        self.assertTrue(all("seq" not in line for line in lines))
        self.assertFalse(tidemark.store.exists())

    def test_tail_readable(self):
        """tail: one readable line per change, without colours when it is no terminal"""
        tidemark = self.one_topic()
        done = self.expect(tidemark.call("tail", orgs.ACCOUNTS, "--from", "earliest", "-n", "10"), 0)
        self.assertEqual(len(done.out.splitlines()), 10, str(done))
        self.assertNotIn("\033", done.out)

    def test_tail_from_replay_id(self):
        """tail --from REPLAY-ID: from the event after it, in hex, base64: and int: form"""
        tidemark = self.one_topic()
        entries = [entry for entry in self.bus.ledger() if entry["topic"] == orgs.ACCOUNTS]
        # An id that the entry before and the one after do not share.
        index = next(i for i in range(5, len(entries)) if entries[i]["replay_id"] != entries[i + 1]["replay_id"])
        raw = bytes.fromhex(entries[index]["replay_id"])
        for form in (raw.hex(), "base64:" + base64.b64encode(raw).decode(), f"int:{int.from_bytes(raw[:8], 'big')}"):
            done = self.expect(tidemark.call("tail", orgs.ACCOUNTS, "--from", form, "--json", "-n", "1"), 0)
            self.assertEqual(json.loads(done.out)["id"], entries[index + 1]["event_id"], form)
        self.expect(tidemark.call("tail", orgs.ACCOUNTS, "--from", "xyz", "-n", "1"), 2)

    def test_tail_journal(self):
        """tail --journal: what the journal holds, with seq, the daemon up or down"""
        tidemark = self.one_topic()
        self.finish(tidemark)
        done = self.expect(tidemark.call("tail", "--journal", "--from", "earliest", "--json", "-n", "30"), 0)
        self.assertEqual([json.loads(line) for line in done.out.splitlines()], tidemark.lines()[:30])
        program = self.caught_up(tidemark)
        done = self.expect(tidemark.call("tail", "--journal", "--from", "earliest", "--json", "-n", "30"), 0)
        self.assertEqual([json.loads(line) for line in done.out.splitlines()], tidemark.lines()[:30])
        self.assertEqual(program.terminate(), 0)

    def drop_streams(self):
        request = urllib.request.Request(f"http://127.0.0.1:{self.bus.http}/sim/drop", method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def test_tail_dropped(self):
        """tail over streams that drop within groups of one replay id: each event once, in order"""
        self.bus = self.org("--seed", 7, "--rate", 300, "--batch", 3, "--shared-replay", 0.4, "--keepalive", 0.3)
        tidemark = self.tidemark(self.bus)
        tail = programs.Program("tail", tidemark.command("tail", orgs.ACCOUNTS, "--from", "earliest", "--json", "-n", "400"),
                                self.folder, tidemark.env)
        self.started.append(tail)
        shown = 0
        while tail.running():
            shown += 40
            waiting.until(lambda: len(tail.out.splitlines()) >= shown or not tail.running(), tail.tail, 30)
            self.drop_streams()
        self.assertEqual(tail.wait(), 0, tail.tail())
        self.assertIn("reconnecting", tail.err)
        lines = [json.loads(line) for line in tail.out.splitlines()]
        self.assertIsNone(verdict.difference(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS)[:400],
                                             [verdict.identity(line) for line in lines]))

    def test_schema_and_topics(self):
        """schema TOPIC, schema ID, topics"""
        tidemark = self.one_topic()
        by_topic = self.expect(tidemark.call("schema", orgs.ACCOUNTS), 0)
        schema = json.loads(by_topic.out)
        self.assertEqual((schema["type"], schema["name"]), ("record", "AccountChangeEvent"))
        identity = [entry for entry in self.bus.ledger() if entry["topic"] == orgs.ACCOUNTS][-1]["schema_id"]
        self.assertEqual(json.loads(self.expect(tidemark.call("schema", "--", identity), 0).out), schema)
        topics = self.expect(tidemark.call("topics"), 0)
        self.assertIn(orgs.ACCOUNTS, topics.out)
        self.expect(tidemark.call("schema", "/data/Nothing__ChangeEvent"), 4, "Nothing__ChangeEvent")

    # Status and health.

    def test_status(self):
        """status and status --json, the daemon down and up"""
        tidemark = self.one_topic()
        self.finish(tidemark)
        status = tidemark.status()
        self.assertFalse(status["daemon"]["running"])
        self.assertEqual(list(status), ["version", "daemon", "subscriptions", "journal", "sinks", "dead_letters", "incidents", "orgs"])
        for key in ("name", "org", "topic", "state", "reason", "generation", "replay_id", "position_age_s",
                    "last_response_at", "received", "duplicates", "before_start", "journaled"):
            self.assertIn(key, status["subscriptions"][0])
        for key in ("name", "kind", "state", "cursor", "lag", "delivered", "superseded", "filtered", "parked", "retries", "redelivered"):
            self.assertIn(key, status["sinks"][0])
        for key in ("head", "oldest", "events", "bytes", "max_bytes"):
            self.assertIn(key, status["journal"])
        self.expect(tidemark.call("status"), 0, "data_accountchangeevent", "log")
        program = self.caught_up(tidemark)
        status = waiting.until(lambda: self.running_status(tidemark), program.tail)
        self.assertEqual(status["daemon"]["pid"], program.pid)
        self.expect(tidemark.call("status"), 0, "data_accountchangeevent", "log")
        self.assertEqual(program.terminate(), 0)

    @staticmethod
    def running_status(tidemark):
        status = tidemark.status()
        return status if status["daemon"]["running"] else None

    def test_status_before_anything(self):
        """status without a store exits 0 and says so"""
        self.bus = self.ready_org(count=1)
        self.expect(self.tidemark(self.bus).call("status"), 0)

    def get(self, port, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def test_health(self):
        """/healthz, /readyz, /status, /metrics; health exits 0, and 4 without a daemon"""
        self.bus = self.ready_org("--keepalive", 0.3)
        self.bus.wait_published(EVENTS)
        tidemark = self.tidemark(self.bus)
        self.expect(tidemark.call("health"), 4)
        program = self.caught_up(tidemark)
        port = int(waiting.until(lambda: re.search(r"(?:127\.0\.0\.1|localhost):(\d{4,5})", program.err), program.tail).group(1))
        waiting.until(lambda: self.get(port, "/readyz")[0] == 200, program.tail)
        self.assertEqual(self.get(port, "/healthz")[0], 200)
        status, text = self.get(port, "/status")
        self.assertEqual(status, 200)
        self.assertEqual(json.loads(text)["daemon"]["pid"], program.pid)
        status, text = self.get(port, "/metrics")
        self.assertEqual(status, 200)
        self.assertRegex(text, r'(?m)^tidemark_events_journaled_total\{subscription="data_accountchangeevent"\} \d+$')
        self.assertEqual(self.get(port, "/nothing")[0], 404)
        self.expect(tidemark.call("health"), 0)
        self.assertEqual(program.terminate(), 0)
        self.expect(tidemark.call("health"), 4)

    def test_not_ready(self):
        """/readyz says which subscription is not moving, and health exits 4, while the source is away"""
        self.bus = self.ready_org()
        tidemark = self.tidemark(self.bus, org_changes={"login_url": "http://127.0.0.1:9"})
        program = self.run_daemon(tidemark)
        done = waiting.until(lambda: self.unhealthy(tidemark), program.tail)
        self.assertRegex(done.out + done.err, "data_accountchangeevent")
        self.assertTrue(program.running(), program.tail())
        self.assertEqual(program.terminate(), 0)

    @staticmethod
    def unhealthy(tidemark):
        done = tidemark.call("health")
        return done if done.status == 4 and "data_accountchangeevent" in done.out + done.err else None

    # Commands that need nobody.

    def test_check(self):
        """check: a good configuration exits 0; --print shows defaults and no secret"""
        tidemark = self.tidemark()
        self.expect(tidemark.call("check"), 0)
        done = self.expect(tidemark.call("check", "--print"), 0, "retention: *96h", "fsync: *true")
        self.assertNotIn(orgs.CLIENT_SECRET, done.out + done.err)

    def test_init(self):
        """init prints a configuration that check accepts once its variables are set"""
        done = self.expect(programs.call([place.TIDEMARK, "init"]), 0)
        path = self.folder / "init.yaml"
        path.write_text(done.out, encoding="utf-8")
        names = re.findall(r"^[^#\n]*\$\{(\w+)\}", done.out, re.MULTILINE)
        self.assertTrue(names)
        env = {name: "https://acme.my.salesforce.com" if "URL" in name else "x" for name in names}
        self.expect(programs.call([place.TIDEMARK, "check", "-c", path], env=env), 0)

    def test_help(self):
        """--help of every command, exit 0, to stdout; --version"""
        self.expect(programs.call([place.TIDEMARK, "--version"]), 0, r"\d+\.\d+\.\d+")
        general = self.expect(programs.call([place.TIDEMARK, "--help"]), 0)
        for command in COMMANDS:
            self.assertIn(command, general.out)
            done = self.expect(programs.call([place.TIDEMARK, command, "--help"]), 0)
            self.assertIn(command, done.out)
            self.assertGreater(len(done.out.splitlines()), 3, str(done))

    def test_usage(self):
        """wrong usage exits 2 and says so on stderr"""
        tidemark = self.tidemark()
        for words in ([], ["nonsense"], ["run", "--nonsense"], ["run", "surplus"], ["run", "--until-idle"],
                      ["run", "--until-idle", "0.5"], ["run", "--until-idle", "1x"], ["tail", "-n", "0"],
                      ["tail", "-n", "5x"], ["schema"], ["dlq"], ["dlq", "nonsense"]):
            done = programs.call([place.TIDEMARK, *words[:1], *(["-c", tidemark.config_path] if words else []), *words[1:]])
            self.assertEqual(done.status, 2, str(done))
            self.assertTrue(done.err, str(done))
            self.assertFalse(done.out, str(done))

    def test_dlq_empty(self):
        """dlq list with nothing in it exits 0; dlq show of nothing does not"""
        tidemark = self.one_topic()
        self.finish(tidemark)
        self.expect(tidemark.call("dlq", "list"), 0)
        self.assertNotEqual(tidemark.call("dlq", "show", "log", "1").status, 0)


if __name__ == "__main__":
    tap_print.main()

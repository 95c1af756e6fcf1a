#!/usr/bin/python3
# suite: timeout=900 takes=50
"""Bad configuration: every mistake is told at once, with its place, before anything opens; exit 2."""
import json
import os
import socket

from lib import case, org as orgs, place, programs, verdict, waiting
import tap_print

GOOD = """\
orgs:
  - name: main
    login_url: http://127.0.0.1:9
    pubsub_endpoint: 127.0.0.1:9
    auth: { client_credentials: { client_id: me, client_secret: x } }
    tls: { plaintext: true }
subscriptions:
  - { name: accounts, org: main, topic: /data/AccountChangeEvent }
sinks:
  - name: log
    file: { path: FOLDER/out.ndjson }
store: { path: FOLDER/store }
admin: { listen: "127.0.0.1:0" }
"""


class Configuration(case.Case):
    @classmethod
    def setUpClass(cls):
        if not place.TIDEMARK.exists():
            raise AssertionError(f"{place.TIDEMARK} is not built")

    def yaml(self, *changes, text=GOOD):
        """GOOD with (old, new) replacements, in a file."""
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        self.path = self.folder / "tidemark.yaml"
        self.path.write_text(text.replace("FOLDER", str(self.folder)), encoding="utf-8")
        return self.path

    def refused(self, *messages, env=None):
        """check and run both refuse, with all messages, on stderr, and nothing was opened."""
        for command in (["check"], ["run"]):
            done = programs.call([place.TIDEMARK, *command, "-c", self.path], env=env)
            self.assertEqual(done.status, 2, str(done))
            for message in messages:
                self.assertRegex(done.err, message, str(done))
            self.assertEqual(done.out, "")
        self.assertFalse((self.folder / "store").exists(), "the store was opened")
        self.assertFalse((self.folder / "out.ndjson").exists(), "the output was opened")
        return done

    def accepted(self, env=None):
        done = programs.call([place.TIDEMARK, "check", "-c", self.path], env=env)
        self.assertEqual(done.status, 0, str(done))

    def test_good(self):
        """the configuration these cases start from is accepted"""
        self.yaml()
        self.accepted()

    def test_unknown_key(self):
        """an unknown key: FILE:LINE:COL: PATH, and the nearest valid key"""
        self.yaml(("topic: /data", "topik: /data"))
        self.refused(r"tidemark\.yaml:8:\d+: subscriptions\[0\]\.?.*topik.*did you mean '?topic")

    def test_all_mistakes_at_once(self):
        """four mistakes: four lines"""
        self.yaml(("org: main,", "org: mine,"), ("store: {", "store: { retention: 96 parsecs,"), ("name: log", "name: log\n    fsink: 1"),
                  ("login_url: http://127.0.0.1:9", "login_url: nowhere"))
        done = self.refused(r":8:\d+: .*mine", r"96 parsecs|retention", r"fsink", r"login_url")
        self.assertGreaterEqual(len(done.err.splitlines()), 4)

    def test_duplicate_key(self):
        """a duplicate key"""
        self.yaml(("    tls: {", "    name: twice\n    tls: {"))
        self.refused(r":6:\d+: .*(twice|duplicate|already)")

    def test_second_document(self):
        """a second document"""
        self.yaml(text=GOOD + "---\nmore: 1\n")
        self.refused(r"document")

    def test_empty_file(self):
        """an empty file"""
        self.yaml(text="# nothing\n")
        self.refused(r"tidemark\.yaml")

    def test_not_yaml(self):
        """text that is no YAML: the place where it stops being so"""
        self.yaml(text="orgs: [ {\n  name: x\nsinks: }\n")
        self.refused(r"tidemark\.yaml:\d+:\d+")

    def test_binary_file(self):
        """a binary file"""
        self.yaml()
        self.path.write_bytes(os.urandom(4096))
        self.refused(r"tidemark\.yaml")

    def test_no_file(self):
        """a missing file"""
        self.path = self.folder / "nothing.yaml"
        self.refused(r"nothing\.yaml")

    def test_trailing_characters(self):
        """trailing characters in a number, a bare number where a size is wanted, a word where a boolean is"""
        self.yaml(("file: { path: FOLDER/out.ndjson }", "file: { path: FOLDER/out.ndjson, fsync: maybe }\n    batch: { events: 10x }"),
                  ("store: {", "store: { max_size: 10Gb,"))
        self.refused(r"events.*10x|10x.*", r"max_size.*10Gb|10Gb", r"fsync.*maybe|maybe")

    def test_two_kinds(self):
        """a sink with two kinds, and one with none"""
        self.yaml(("    file: { path: FOLDER/out.ndjson }", "    file: { path: FOLDER/out.ndjson }\n    stdout: {}\n  - name: none"))
        self.refused(r"sinks\[0\].*", r"sinks\[1\].*")

    def test_same_path(self):
        """a path used by two sinks"""
        self.yaml(("    file: { path: FOLDER/out.ndjson }",
                   "    file: { path: FOLDER/out.ndjson }\n  - name: other\n    file: { path: FOLDER/out.ndjson }"))
        self.refused(r"out\.ndjson|path")

    def test_same_name(self):
        """two subscriptions of one name"""
        self.yaml(("subscriptions:\n", "subscriptions:\n  - { name: accounts, org: main, topic: /data/ContactChangeEvent }\n"))
        self.refused(r"accounts")

    def test_topic(self):
        """a topic without /event/ or /data/, a wrong start"""
        self.yaml(("topic: /data/AccountChangeEvent", "topic: AccountChangeEvent, start: soonest"))
        self.refused(r"AccountChangeEvent|topic", r"soonest|start")

    def test_missing_variable(self):
        """a secret from a variable that is not set"""
        self.yaml(("client_secret: x", 'client_secret: "${TIDEMARK_NO_SUCH}"'))
        self.refused(r":5:\d+: .*TIDEMARK_NO_SUCH")
        self.accepted(env={"TIDEMARK_NO_SUCH": "now it is"})

    def test_missing_secret_file(self):
        """a secret's file that is not there"""
        self.yaml(("client_secret: x", "client_secret_file: FOLDER/no-such-secret"))
        self.refused(r":5:\d+: .*no-such-secret")
        (self.folder / "no-such-secret").write_text("now\n", encoding="utf-8")
        self.accepted()

    def test_no_secret_at_all(self):
        """client_credentials without a secret"""
        self.yaml(("client_id: me, client_secret: x", "client_id: me"))
        self.refused(r"client_secret")

    def test_secret_is_not_printed(self):
        """a mistake beside a secret does not print the secret"""
        self.yaml(("client_secret: x", "client_secret: S3CRET-VALUE, clent_secret: S3CRET-OTHER"))
        done = self.refused(r"clent_secret")
        self.assertNotIn("S3CRET", done.err)

    def test_insecure(self):
        """plaintext and http:// to a host that is not this one"""
        self.yaml(("pubsub_endpoint: 127.0.0.1:9", "pubsub_endpoint: 192.0.2.1:7443"))
        self.refused(r"plaintext|loopback")
        self.yaml(("login_url: http://127.0.0.1:9", "login_url: http://192.0.2.1"))
        self.refused(r"login_url")

    def test_garbage_pem(self):
        """garbage in a PEM file; a PEM file that is not there"""
        self.yaml(("tls: { plaintext: true }", "tls: { ca_file: FOLDER/ca.pem }"), ("http://127", "https://127"))
        self.refused(r"ca\.pem")
        for text in ("not a certificate\n", "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n", ""):
            (self.folder / "ca.pem").write_text(text, encoding="utf-8")
            done = programs.call([place.TIDEMARK, "run", "-c", self.path])
            self.assertEqual(done.status, 2, str(done))
            self.assertRegex(done.err, r"ca\.pem")
            self.assertFalse((self.folder / "store").exists())

    def test_admin_port_in_use(self):
        """an admin port in use"""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.yaml(("127.0.0.1:0", f"127.0.0.1:{port}"))
            done = programs.call([place.TIDEMARK, "run", "-c", self.path])
        self.assertEqual(done.status, 2, str(done))
        self.assertRegex(done.err, str(port))

    def test_dedupe_window(self):
        """a dedupe window shorter than the service's retention"""
        self.yaml(("store: {", "store: { dedupe_window: 24h,"))
        self.refused(r"dedupe_window.*73h")

    def test_default_in_variable(self):
        """${NAME:-default} and a variable inside a value"""
        self.yaml(("FOLDER/store", '"FOLDER/${TIDEMARK_NO_SUCH:-store}"'))
        self.accepted()


class Source(case.Case):
    """A source that refuses or is not there: the daemon stays and says so; --until-idle exits 4."""

    def quick(self, tidemark, *texts):
        return self.gives_up(tidemark, 4, *texts)

    def stays(self, tidemark, text):
        """run does not exit for it, and shows it."""
        program = self.run_daemon(tidemark)
        waiting.until(lambda: text in json.dumps(tidemark.status()["subscriptions"]).lower() or None, program.tail)
        self.assertTrue(program.running(), program.tail())
        self.assertEqual(program.terminate(), 0, program.tail())

    def test_unreachable_login(self):
        """an unreachable login host: exit 4 with --until-idle and for topics; run stays and shows it"""
        org = self.org("--count", 10)
        tidemark = self.tidemark(org, org_changes={"login_url": "http://127.0.0.1:9"})
        self.quick(tidemark, r"127\.0\.0\.1:9")
        self.expect(tidemark.call("topics"), 4, r"127\.0\.0\.1:9")
        self.expect(tidemark.call("tail", orgs.ACCOUNTS, "-n", "1"), 4)
        self.stays(tidemark, "127.0.0.1:9")

    def test_refused_credentials(self):
        """refused credentials: exit 4, the reason, and never the secret"""
        org = self.org("--count", 10)
        tidemark = self.tidemark(org, org_changes={"auth": {"client_credentials": {"client_secret": "wrong-S3CRET"}}})
        done = self.quick(tidemark, r"invalid_client|credentials")
        self.assertNotIn("wrong-S3CRET", done.err)
        self.expect(tidemark.call("topics"), 4, r"invalid_client|credentials")

    def test_unreachable_service(self):
        """an unreachable Pub/Sub endpoint: exit 4"""
        org = self.org("--count", 10)
        tidemark = self.tidemark(org, org_changes={"pubsub_endpoint": "127.0.0.1:9"})
        self.quick(tidemark, r"127\.0\.0\.1:9: |refused")

    def test_unknown_topic(self):
        """an unknown topic stops that subscription alone: the other is settled, exit 4"""
        org = self.org("--seed", 1, "--prefill", 100, "--count", 0)
        org.wait_published(100)
        tidemark = self.tidemark(org, topics=[orgs.ACCOUNTS, "/data/Nothing__ChangeEvent"])
        self.quick(tidemark, r"(?i)nothing__changeevent.*not found")
        verdict.check_output(org.ledger(), tidemark.lines(), [orgs.ACCOUNTS])
        self.stays(tidemark, "not found")

    def test_no_permission(self):
        """no permission for a topic: exit 4, and the topic's name"""
        org = self.org("--count", 10, "--deny", orgs.CONTACTS)
        self.quick(self.tidemark(org, topics=[orgs.CONTACTS]), r"(?i)permission|not allowed|cannot subscribe")

    def test_other_host(self):
        """a TLS certificate of another host: exit 4, nothing sent"""
        org = self.org("--count", 10, "--tls-name", "elsewhere.example", tls=self.folder / "tls")
        tidemark = self.tidemark(org)
        self.quick(tidemark, r"(?i)certificate|ssl|tls")
        self.expect(tidemark.call("topics"), 4, r"(?i)certificate|ssl|tls")

    def test_other_authority(self):
        """a certificate of an authority that is not ours: exit 4"""
        org = self.org("--count", 10, tls=self.folder / "tls")
        other = self.folder / "other"
        other.mkdir()
        self.org("--count", 1, name="sim2", tls=other)
        tidemark = self.tidemark(org, org_changes={"tls": {"ca_file": str(other / "ca.pem")}})
        self.quick(tidemark, r"(?i)certificate|ssl|tls")


class Stream(case.Case):
    """What the stream brings and nobody can use: parked whole, the stream goes on."""

    def parked(self, tidemark, status):
        self.assertEqual(sum(sink["parked"] for sink in status["sinks"]), sum(letter["count"] for letter in status["dead_letters"]))
        return [json.loads(line) for line in self.expect(tidemark.call("dlq", "list", "--json"), 0).out.splitlines()]

    def finish(self, org, tidemark, **more):
        self.expect(tidemark.run_until_idle(**more), 0)
        status = tidemark.status()
        verdict.check_accounts(status)
        ids = {line["id"] for line in tidemark.lines()}
        letters = self.parked(tidemark, status)
        published = {entry["event_id"] for entry in org.ledger() if verdict.on_topic(entry, tidemark.topics[0])}
        self.assertEqual(published - ids, {letter["id"] for letter in letters}, "lost without a record")
        self.assertTrue(letters, "nothing was parked")
        return letters

    def test_undecodable(self):
        """undecodable events are parked with their bytes and the reason; the stream goes on"""
        org = self.org("--seed", 2, "--prefill", 300, "--count", 0, "--undecodable", 0.05)
        org.wait_published(300)
        tidemark = self.tidemark(org)
        letter = self.finish(org, tidemark)[0]
        shown = self.expect(tidemark.call("dlq", "show", str(letter["sink"]), str(letter["seq"])), 0)
        self.assertRegex(shown.out, letter["id"])
        self.assertRegex(shown.out, r"(?i)payload")
        self.assertRegex(shown.out, r"byte \d+")

    def test_refused_schema(self):
        """a schema the service finally refuses: after three tries over 30 s its events are parked"""
        org = self.org("--seed", 2, "--prefill", 60, "--count", 0, "--refuse-schema", "ContactChangeEvent")
        org.wait_published(60)
        tidemark = self.tidemark(org, topics=[orgs.CHANGES])
        letters = self.finish(org, tidemark, idle=35, deadline=90, seconds=150)
        self.assertRegex(letters[0]["reason"], r"schema")

    def test_oversized(self):
        """an oversized message: shown with its size and the key to raise, exit 4; raised, nothing was lost"""
        org = self.org("--seed", 2, "--prefill", 60, "--count", 0, "--oversize", 6 << 20)
        org.wait_published(60)
        tidemark = self.tidemark(org, org_changes={"max_message": "4MiB"})
        self.gives_up(tidemark, 4, r"max_message", deadline=4)
        tidemark.config["orgs"][0]["max_message"] = "16MiB"
        tidemark.write()
        self.expect(tidemark.run_until_idle(), 0)
        verdict.check_output(org.ledger(), tidemark.lines(), tidemark.topics)


if __name__ == "__main__":
    tap_print.main()

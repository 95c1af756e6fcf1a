#!/usr/bin/python3
# suite: timeout=600
"""tidemark against a server that is not ours; each decoded line against the decoding of python-avro.

Over TLS, with a login. Captured events (TIDEMARK_FIXTURES) and events made here.
"""
import base64
import json
import pathlib
import shutil
import sys
import tempfile
import unittest

import expected
import made
import service

sys.path.insert(0, str(service.ROOT / "tests/e2e"))
from lib import daemon, place, verdict, waiting  # noqa: E402
import certificates  # noqa: E402
import tap_print  # noqa: E402

WIDGETS, ORDERS, ACCOUNTS = "/data/Widget__ChangeEvent", "/event/Order__e", "/data/AccountChangeEvent"
MADE = 1000


class Interop(unittest.TestCase):
    def setUp(self):
        self.assertTrue(place.TIDEMARK.exists(), f"{place.TIDEMARK} is not built")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-interop-"))
        self.addCleanup(shutil.rmtree, self.folder)
        certificates.make(self.folder)
        self.service = service.Service(self.folder, self.folder)
        self.schemas, self.events = {}, {}

    def serve(self, topic, events, schemas, topic_schema=""):
        """Puts events on a topic; schemas: {id: text}."""
        for identity, text in schemas.items():
            self.service.add_schema(identity, text)
            self.schemas[identity] = expected.parse_schema(text)
        self.service.add_topic(topic, events, topic_schema)
        self.events[topic] = events

    def start(self):
        self.service.start()
        self.addCleanup(self.service.stop)
        self.tidemark = daemon.Tidemark(self.folder, topics=list(self.events), orgs=[{
            "name": "main", "login_url": self.service.login_url, "pubsub_endpoint": self.service.endpoint,
            "auth": {"client_credentials": {"client_id": service.CLIENT_ID, "client_secret": service.CLIENT_SECRET}},
            "tls": {"ca_file": str(self.folder / "ca.pem")}}])

    def serve_made(self):
        maker = made.Maker(20260506)
        self.serve(WIDGETS, [maker.change_event(number) for number in range(MADE)],
                   {maker.change_id: json.dumps(made.change_schema())}, maker.change_id)
        self.serve(ORDERS, [maker.platform_event(number) for number in range(MADE)],
                   {maker.platform_id: json.dumps(made.platform_schema())}, maker.platform_id)

    def serve_captures(self):
        folder = place.fixtures()
        if not folder:
            self.skipTest("TIDEMARK_FIXTURES is not set")
        events, schemas = [], {}
        for path in sorted((folder / "payloads").glob("Account*.json")):
            for capture in json.loads(path.read_text(encoding="utf-8"))["events"]:
                schemas[capture["schema_id"]] = (folder / capture["schema_file"]).read_text(encoding="utf-8")
                events.append(service.Event(capture["schema_id"], base64.b64decode(capture["payload_b64"]),
                                            bytes.fromhex(capture["replay_id_hex"]), capture["event_id"]))
        made_from = json.loads((folder / "payloads/SYNTHETIC_edge_cases.json").read_text(encoding="utf-8"))
        schemas[made_from["schema_id"]] = (folder / made_from["schema_file"]).read_text(encoding="utf-8")
        events.sort(key=lambda event: event.replay_id)
        last = int.from_bytes(events[-1].replay_id, "big")
        events += [service.Event(made_from["schema_id"], base64.b64decode(event["payload_b64"]),
                                 (last + ((number + 1) << 16)).to_bytes(10, "big"))
                   for number, event in enumerate(made_from["events"])]
        self.serve(ACCOUNTS, events, schemas, events[-1].schema_id)

    def check_line(self, topic, event, text, with_seq):
        wanted = expected.line(self.schemas[event.schema_id], event.payload)
        got, envelope = expected.from_kind(text)
        self.assertIsNone(expected.difference(wanted, got), f"event {event.event_id}\n{text}")
        self.assertEqual((envelope["id"], envelope["org"], envelope["topic"], envelope["replay_id"], envelope["schema_id"]),
                         (event.event_id, service.ORG_ID, topic, event.replay_id.hex(), event.schema_id))
        keys = ["id", "org", "topic", "replay_id", "schema_id"] + (["seq"] if with_seq else []) + ["received_at"]
        self.assertEqual(list(envelope), keys)

    def check_lines(self, text, with_seq):
        """Every event of every topic is there once, in order, and says what python-avro read."""
        by_topic = {topic: [] for topic in self.events}
        for line in text.splitlines():
            by_topic[json.loads(line)["topic"]].append(line)
        for topic, lines in by_topic.items():
            self.assertEqual(len(lines), len(self.events[topic]), topic)
            for event, line in zip(self.events[topic], lines):
                self.check_line(topic, event, line, with_seq)
        self.assertEqual(self.service.problems, [])

    def tail(self):
        count = sum(len(events) for events in self.events.values())
        done = self.tidemark.call("tail", *self.events, "--from", "earliest", "--json", "-n", str(count), seconds=60)
        self.assertEqual(done.status, 0, str(done))
        self.check_lines(done.out, with_seq=False)

    def run_to_file(self):
        done = self.tidemark.run_until_idle()
        self.assertEqual(done.status, 0, str(done))
        self.check_lines(self.tidemark.output.read_text(encoding="utf-8"), with_seq=True)
        verdict.check_accounts(self.tidemark.status())

    def test_captures_tail(self):
        """tail: captured events decode as python-avro decodes them"""
        self.serve_captures()
        self.start()
        self.tail()

    def test_captures_run(self):
        """run: captured events reach the file, once and in order"""
        self.serve_captures()
        self.start()
        self.run_to_file()

    def test_made_tail(self):
        """tail: 2,000 made events decode as python-avro decodes them"""
        self.serve_made()
        self.start()
        self.tail()

    def test_made_run(self):
        """run: 2,000 made events reach the file, once and in order"""
        self.serve_made()
        self.start()
        self.run_to_file()

    def test_readable(self):
        """tail without --json names entity, change and record on one line per change"""
        self.serve_made()
        self.start()
        done = self.tidemark.call("tail", WIDGETS, "--from", "earliest", "-n", "20", seconds=60)
        self.assertEqual(done.status, 0, str(done))
        lines = done.out.splitlines()
        self.assertEqual(len(lines), 20, done.out)
        for event, line in zip(self.events[WIDGETS], lines):
            wanted = expected.line(self.schemas[event.schema_id], event.payload)
            for word in (wanted["entity"], wanted["change_type"], wanted["record_ids"][0]):
                self.assertIn(word, line)

    def test_resume(self):
        """a second run goes on after the first and repeats nothing"""
        self.serve_made()
        later = {topic: events[MADE // 2:] for topic, events in self.events.items()}
        for topic in later:
            self.service.topics[topic] = self.events[topic][:MADE // 2]
        self.start()
        done = self.tidemark.run_until_idle()
        self.assertEqual(done.status, 0, str(done))
        for topic, events in self.events.items():
            self.service.topics[topic] = events
        self.service.requests.clear()
        self.run_to_file()
        firsts = [request for request in self.service.requests if request.topic_name and request.replay_id]
        self.assertTrue(firsts, "the second run did not use a stored position")

    def test_live(self):
        """the daemon asks again before its credit is used up"""
        self.serve_made()
        self.start()
        program = self.tidemark.run()
        try:
            waiting.until(lambda: len(self.tidemark.lines()) == 2 * MADE, "all lines written", 60)
        finally:
            status = program.terminate()
        self.assertEqual(status, 0, program.tail())
        self.assertEqual(self.service.problems, [])

    def test_other_host(self):
        """a server whose certificate names another host is refused, exit 4"""
        self.serve_made()
        certificates.make(self.folder, names=("DNS:elsewhere.example",))
        self.service = service.Service(self.folder, self.folder)
        self.start()
        done = self.tidemark.call("topics")
        self.assertEqual(done.status, 4, str(done))
        self.assertRegex(done.err.lower(), r"certificate|tls|ssl")


if __name__ == "__main__":
    tap_print.main()

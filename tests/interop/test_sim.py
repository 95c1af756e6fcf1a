#!/usr/bin/python3
# suite: timeout=600
"""The simulator, tried with Python's gRPC client and decoded with Python's Avro: what it promises its users."""
import base64
import io
import json
import pathlib
import queue
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import avro.io
import avro.schema
import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/harness")]
from lib import case, org as orgs, place, programs  # noqa: E402
import service  # noqa: E402
import tap_print  # noqa: E402

PREFIX = "sfdc.platform.eventbus.grpc."
SLOW = place.slowness()


class Stream:
    """One Subscribe call: ask() when you like, next() for a response; counts what is owed."""

    def __init__(self, client, session=None, **first):
        self.pb, self.requests, self.owed = client.pb, queue.Queue(), 0
        self.call = client.subscribe(iter(self.requests.get, None), metadata=session or client.session, timeout=90 * SLOW)
        self.ask(first.pop("num_requested", 100), **first)

    def ask(self, count, **more):
        self.owed = min(100, self.owed + max(0, count))
        self.requests.put(self.pb.FetchRequest(num_requested=count, **more))

    def next(self):
        response = next(self.call)
        self.owed -= len(response.events)
        if response.pending_num_requested != self.owed:
            raise AssertionError(f"owed {self.owed}, and the simulator says {response.pending_num_requested}")
        if response.events and response.latest_replay_id != response.events[-1].replay_id:
            raise AssertionError("latest_replay_id is not the last event's")
        return response

    def take(self, count):
        """The next count events. Asks only when nothing is owed: else a response could cross the request."""
        events = []
        while len(events) < count:
            if self.owed == 0:
                self.ask(100)
            events += self.next().events
        return events

    def half_close(self):
        self.requests.put(None)

    def cancel(self):
        self.half_close()
        self.call.cancel()


class Client:
    def __init__(self, org, folder):
        self.org, self.pb = org, service.messages(folder)
        self.context = ssl.create_default_context(cafile=str(org.tls / "ca.pem")) if org.tls else None
        options = [("grpc.max_receive_message_length", -1)]
        if org.tls:
            roots = grpc.ssl_channel_credentials((org.tls / "ca.pem").read_bytes())
            self.channel = grpc.secure_channel(org.endpoint, roots, options)
        else:
            self.channel = grpc.insecure_channel(org.endpoint, options)
        name = "/eventbus.v1.PubSub/"

        def serialize(message):
            return message.SerializeToString()
        self._topic = self.channel.unary_unary(name + "GetTopic", serialize, self.pb.TopicInfo.FromString)
        self._schema = self.channel.unary_unary(name + "GetSchema", serialize, self.pb.SchemaInfo.FromString)
        self.unknown = self.channel.unary_unary(name + "Publish")
        self.subscribe = self.channel.stream_stream(name + "Subscribe", serialize, self.pb.FetchResponse.FromString)
        self.session, self.schemas = None, {}

    def http(self, path, form=None, headers=None):
        data = None if form is None else urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(self.org.login_url + path, data, headers or {})
        try:
            with urllib.request.urlopen(request, context=self.context) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers

    def login(self, **changes):
        form = {"grant_type": "client_credentials", "client_id": orgs.CLIENT_ID, "client_secret": orgs.CLIENT_SECRET}
        status, body, headers = self.http("/services/oauth2/token", {**form, **changes})
        return status, json.loads(body), headers

    def open(self):
        status, token, _ = self.login()
        assert status == 200, token
        self.session = (("accesstoken", token["access_token"]), ("instanceurl", token["instance_url"]),
                        ("tenantid", token["id"].split("/")[-2]))
        return self

    def topic(self, name, session=None):
        return self._topic(self.pb.TopicRequest(topic_name=name), metadata=session or self.session, timeout=60 * SLOW)

    def schema(self, schema_id):
        return self._schema(self.pb.SchemaRequest(schema_id=schema_id), metadata=self.session, timeout=60 * SLOW)

    def decode(self, event):
        if event.schema_id not in self.schemas:
            self.schemas[event.schema_id] = avro.schema.parse(self.schema(event.schema_id).schema_json)
        data = io.BytesIO(event.payload)
        value = avro.io.DatumReader(self.schemas[event.schema_id]).read(avro.io.BinaryDecoder(data))
        if data.read():
            raise AssertionError("bytes are left over")
        return value


class Sim(case.Case):
    def client(self, *options, **more):
        client = Client(self.org(*options, **more), self.folder)
        self.addCleanup(client.channel.close)
        return client.open()

    def refused(self, call, status, code, least=0.0):
        """call() ends with this status, error code and an rpc-id, not before `least` seconds."""
        began = time.monotonic()
        with self.assertRaises(grpc.RpcError) as failure:
            call()
        error = failure.exception
        trailers = dict(error.trailing_metadata() or ())
        self.assertEqual((error.code().name, trailers.get("error-code")), (status, code and PREFIX + code), error.details())
        self.assertEqual("rpc-id" in trailers, bool(code))
        self.assertGreaterEqual(time.monotonic() - began, least)

    def refused_stream(self, client, status, code, least=0.0, **first):
        self.refused(lambda: Stream(client, topic_name=first.pop("topic_name", orgs.ACCOUNTS), **first).next(), status, code, least)

    def test_login(self):
        """the token endpoint answers and refuses as the real one"""
        client = self.client("--count", 1)
        status, token, headers = client.login()
        self.assertEqual(status, 200)
        self.assertIn("Date", headers)
        self.assertEqual(headers["Cache-Control"], "no-store")
        self.assertTrue(token["issued_at"].isdigit())
        self.assertEqual(token["access_token"].split("!")[0], token["id"].split("/")[-2][:15])
        self.assertEqual([client.login(**wrong)[0] for wrong in ({"client_secret": "x"}, {"client_id": "x"})], [400, 400])
        self.assertEqual(client.login(client_secret="x")[1]["error"], "invalid_client")
        self.assertEqual(client.login(client_id="x")[1]["error"], "invalid_client_id")
        self.assertEqual(client.login(grant_type="x")[1]["error"], "unsupported_grant_type")
        basic = base64.b64encode(f"{orgs.CLIENT_ID}:{orgs.CLIENT_SECRET}".encode()).decode()
        status = client.http("/services/oauth2/token", {"grant_type": "client_credentials"}, {"Authorization": "Basic " + basic})[0]
        self.assertEqual(status, 200)
        self.assertEqual(client.http("/nowhere")[0], 404)
        self.assertEqual(client.http("/services/oauth2/token", {"x": "y" * 100000})[0], 413)

    def test_topics_and_schemas(self):
        """GetTopic and GetSchema: blank ids of channels, unknown, blank, refused, denied"""
        client = self.client("--count", 1, "--deny-topic", orgs.CONTACTS, "--refuse-schema", "Order__e", "--schema-delay", 0.2)
        self.assertEqual(client.topic(orgs.CHANGES).schema_id, "")
        self.assertTrue(client.topic(orgs.ORDERS).can_publish)
        self.assertFalse(client.topic(orgs.ACCOUNTS).can_publish)
        schema = client.schema(client.topic(orgs.ACCOUNTS).schema_id)
        self.assertEqual(json.loads(schema.schema_json)["name"], "AccountChangeEvent")
        self.assertEqual(list(json.loads(schema.schema_json)), ["type", "name", "namespace", "fields"])
        for name, status, code in (("/data/Nothing__ChangeEvent", "NOT_FOUND", "topic.not.found"),
                                   ("accounts", "PERMISSION_DENIED", "topic.meta.permission"),
                                   ("", "INVALID_ARGUMENT", "topic.validation.empty"),
                                   (orgs.CONTACTS, "PERMISSION_DENIED", "topic.meta.permission")):
            self.refused(lambda name=name: client.topic(name), status, code)
        refused = client.topic(orgs.ORDERS).schema_id
        for name, status in ((refused, "INVALID_ARGUMENT"), ("", "INVALID_ARGUMENT"), ("x" * 22, "NOT_FOUND")):
            self.refused(lambda name=name: client.schema(name), status, "schema.validation.failed", 0.2)
        with self.assertRaises(grpc.RpcError) as failure:
            client.unknown(b"", timeout=60 * SLOW)
        self.assertEqual(failure.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_session(self):
        """a bad token is refused at once on unary calls and late on streams; a revoked one leaves open streams alone"""
        client = self.client("--count", 1, "--auth-delay", 1, "--keepalive", 0.2)
        others = [(("accesstoken", "other"),) + client.session[1:],
                  (client.session[0], ("instanceurl", "https://elsewhere.example")) + client.session[2:],
                  client.session[:2] + (("tenantid", "00Dxx0000001gEREAY"),)]
        for session in others:
            self.refused(lambda session=session: client.topic(orgs.ACCOUNTS, session), "UNAUTHENTICATED", "service.auth.error")
        self.refused_stream(client, "UNAUTHENTICATED", "service.auth.error", 1, session=others[0])
        self.refused(lambda: client.topic(orgs.ACCOUNTS, client.session[:2]), "UNAUTHENTICATED", "service.auth.headers.invalid")
        stream = Stream(client, topic_name=orgs.ACCOUNTS)
        stream.next()
        client.http("/sim/revoke", {})
        stream.next()
        self.refused(lambda: client.topic(orgs.ACCOUNTS), "UNAUTHENTICATED", "service.auth.error")
        client.open().topic(orgs.ACCOUNTS)

    def test_bad_requests(self):
        """what a Subscribe must not ask"""
        client = self.client("--count", 20, "--deny-topic", orgs.CONTACTS, "--keepalive", 0.2)
        for status, code, first in (
                ("NOT_FOUND", "topic.not.found", {"topic_name": "/data/Nothing__ChangeEvent"}),
                ("PERMISSION_DENIED", "topic.meta.permission", {"topic_name": "accounts"}),
                ("PERMISSION_DENIED", "subscription.topic.cannot.subscribe", {"topic_name": orgs.CONTACTS}),
                ("INVALID_ARGUMENT", "subscription.fetch.requested.events.invalid", {"num_requested": 0}),
                ("INVALID_ARGUMENT", "subscription.fetch.requested.events.invalid", {"num_requested": -1}),
                ("INVALID_ARGUMENT", "subscription.fetch.replayid.validation.failed", {"replay_preset": "CUSTOM"}),
                ("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted", {"replay_preset": "CUSTOM", "replay_id": b"12345"}),
                ("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted", {"replay_preset": "CUSTOM", "replay_id": bytes(10)}),
                ("INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted",
                 {"replay_preset": "CUSTOM", "replay_id": b"\0\0\0\0\7\0\0\0\0\0"})):
            self.refused_stream(client, status, code, **first)
        stream = Stream(client, topic_name=orgs.ACCOUNTS)
        stream.ask(1, topic_name=orgs.ORDERS)
        self.refused(lambda: [stream.next() for _ in range(20)], "INVALID_ARGUMENT", "subscription.fetch.topic.mismatch")

    def test_flow(self):
        """batches of any size add up to what was asked, capped at 100; what comes is the ledger, in order"""
        client = self.client("--prefill", 600, "--count", 0, "--duplicates", 0.1, "--shared-replay", 0.1, "--keepalive", 0.3)
        published = [(line["event_id"], line["replay_id"]) for line in client.org.ledger() if line["topic"].startswith("/data/")]
        stream = Stream(client, topic_name=orgs.CHANGES, replay_preset="EARLIEST", num_requested=25)
        first = []
        while stream.owed:
            first += stream.next().events
        began = time.monotonic()  # before the last events are sent: the quiet begins later
        stream.ask(200)
        self.assertEqual(stream.owed, 100)
        events = first + stream.take(len(published) - len(first))
        self.assertEqual([(event.event.id, event.replay_id.hex()) for event in events], published)
        if stream.owed == 0:
            stream.ask(1)
        quiet = [stream.next() for _ in range(2)]
        self.assertGreaterEqual(time.monotonic() - began, 0.5)
        self.assertEqual([list(response.events) for response in quiet], [[], []])
        self.assertEqual(quiet[0].latest_replay_id.hex(), client.org.ledger()[-1]["replay_id"])
        stream.cancel()

    def test_replay(self):
        """CUSTOM goes on behind an id of 8 or 10 bytes; LATEST brings what comes later; an id group is not cut open"""
        client = self.client("--prefill", 300, "--count", 100, "--rate", 50, "--hold", "--shared-replay", 0.2)
        lines = [line for line in client.org.ledger() if line["topic"] == orgs.ACCOUNTS]
        for length in (8, 10):
            for index in (3, len(lines) // 2):
                stream = Stream(client, topic_name=orgs.ACCOUNTS, replay_preset="CUSTOM",
                                replay_id=bytes.fromhex(lines[index]["replay_id"])[:length])
                later = next(line for line in lines if line["replay_id"] > lines[index]["replay_id"])
                self.assertEqual(stream.next().events[0].event.id, later["event_id"])
                stream.cancel()
        new = Stream(client, topic_name=orgs.CHANGES).take(1)[0]
        self.assertGreater(new.replay_id.hex(), lines[-1]["replay_id"])

    def test_ends(self):
        """a stream that owes nothing is closed; a half-close and a drop end it"""
        client = self.client("--prefill", 50, "--count", 0, "--pending-zero", 0.5)
        began = time.monotonic()
        stream = Stream(client, topic_name=orgs.ACCOUNTS, replay_preset="EARLIEST", num_requested=1)
        stream.next()
        self.assertRaises(StopIteration, stream.next)
        self.assertGreaterEqual(time.monotonic() - began, 0.5)
        self.assertEqual(stream.call.code(), grpc.StatusCode.OK)
        stream = Stream(client, topic_name=orgs.ACCOUNTS)
        stream.half_close()
        self.assertRaises(StopIteration, stream.next)
        stream = Stream(client, topic_name=orgs.ACCOUNTS, replay_preset="EARLIEST")
        stream.next()
        client.http("/sim/drop", {})
        self.refused(lambda: [stream.next() for _ in range(100)], "UNAVAILABLE", None)

    def test_faults(self):
        """calls fail as scripted, and only those"""
        client = self.client("--prefill", 300, "--count", 0)
        client.http("/sim/call-fault?method=GetSchema&status=UNAVAILABLE&code=service.unavailable&count=2", {})
        client.http("/sim/call-fault?method=Subscribe&status=INTERNAL&events=7", {})
        client.http("/sim/call-fault?method=GetTopic&status=STALL", {})
        with self.assertRaises(grpc.RpcError) as stalled:
            client._topic(client.pb.TopicRequest(topic_name=orgs.ACCOUNTS), metadata=client.session, timeout=2 * SLOW)
        self.assertEqual(stalled.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        schema_id = client.topic(orgs.ACCOUNTS).schema_id
        for _ in range(2):
            self.refused(lambda: client.schema(schema_id), "UNAVAILABLE", "service.unavailable")
        client.schema(schema_id)
        stream, events = Stream(client, topic_name=orgs.ACCOUNTS, replay_preset="EARLIEST"), []

        def read():
            while True:
                events.extend(stream.next().events)
        self.refused(read, "INTERNAL", None)
        self.assertEqual(len(events), 7)
        self.assertEqual(len(Stream(client, topic_name=orgs.ACCOUNTS, replay_preset="EARLIEST").take(60)) >= 60, True)
        status, body, _ = client.http("/sim/call-fault?method=Nothing&status=INTERNAL", {})
        self.assertEqual(status, 400)
        self.assertIn("method=", body)

    def order(self, client, line):
        request = urllib.request.Request(client.org.login_url + "/faults", line.encode())
        with urllib.request.urlopen(request) as answer:
            self.assertEqual(answer.status, 204)

    def test_relay(self):
        """through the relay: every byte, a response of 5 MiB among them, also in drips and after a stall"""
        client = self.client("--prefill", 150, "--count", 0, "--relay", "--oversize", 5 << 20, "--oversize-at", 60, "--batch", 20)
        wanted = [line["event_id"] for line in client.org.ledger() if line["topic"].startswith("/data/")]

        def everything():
            stream = Stream(client, topic_name=orgs.CHANGES, replay_preset="EARLIEST")
            events = stream.take(len(wanted))
            self.assertEqual([event.event.id for event in events], wanted)
            self.assertGreater(max(len(event.event.payload) for event in events), 5 << 20)
            stream.cancel()
        everything()
        self.order(client, "wire silence after=1 seconds=0.2")
        everything()
        self.order(client, "wire drip bytes=20000 after=1")
        everything()

    def test_wire_faults(self):
        """faults of the wire, as gRPC for Python sees them; a stream that is reset leaves its connection as it was"""
        client = self.client("--prefill", 200, "--count", 0, "--relay", "--batch", 5)

        def read(responses):
            stream = Stream(client, topic_name=orgs.ACCOUNTS, replay_preset="EARLIEST")
            for _ in range(responses):
                stream.next()

        def fails(line, *codes):
            self.order(client, line)
            with self.assertRaises(grpc.RpcError) as failed:
                read(40)
            self.assertIn(failed.exception.code().name, codes, line)
        beside = Stream(client, topic_name=orgs.CHANGES, replay_preset="EARLIEST", num_requested=10)
        beside.take(10)
        fails("wire rst_stream code=INTERNAL_ERROR after=2", "INTERNAL")
        fails("wire rst_stream code=REFUSED_STREAM", "UNAVAILABLE")
        fails("wire rst_stream code=ENHANCE_YOUR_CALM after=1", "RESOURCE_EXHAUSTED")
        fails("wire garble after=1", "INTERNAL")
        beside.take(10)  # the same connection
        fails("wire reset after=1", "UNAVAILABLE")
        self.assertRaises(grpc.RpcError, beside.take, 50)
        for line in ("wire close after=1", "wire goaway code=ENHANCE_YOUR_CALM debug=too_many_pings after=1"):
            fails(line, "UNAVAILABLE")
        self.order(client, "wire mute after=1")
        read(1)
        with self.assertRaises(grpc.RpcError) as mute:
            client._topic(client.pb.TopicRequest(topic_name=orgs.ACCOUNTS), metadata=client.session, timeout=0.5)
        self.assertEqual(mute.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        _, body, _ = client.http("/sim/stats")
        self.assertEqual(json.loads(body)["wire_faults"], 8)

    def test_bus_orders(self):
        """what is published, expires, or counts anew when it is ordered"""
        client = self.client("--count", 0)
        self.order(client, "publish 20")
        first = Stream(client, topic_name=orgs.CHANGES, replay_preset="EARLIEST").take(10)
        old = {"topic_name": orgs.CHANGES, "replay_preset": "CUSTOM", "replay_id": first[-1].replay_id}
        self.order(client, "expire")
        self.refused(lambda: Stream(client, **old).next(), "INVALID_ARGUMENT", "subscription.fetch.replayid.corrupted")
        self.order(client, "publish 20")
        fresh = Stream(client, topic_name=orgs.CHANGES, replay_preset="EARLIEST").take(10)
        self.assertFalse({event.event.id for event in first} & {event.event.id for event in fresh})
        self.assertGreater(fresh[0].replay_id, first[-1].replay_id)
        self.order(client, "reuse")
        self.order(client, "publish 20")
        again = Stream(client, topic_name=orgs.CHANGES, replay_preset="EARLIEST").take(10)
        self.assertLess(again[0].replay_id, fresh[0].replay_id)
        self.assertFalse({event.event.id for event in fresh} & {event.event.id for event in again})
        self.order(client, "migrate")
        self.refused(lambda: client.topic(orgs.ACCOUNTS), "UNAUTHENTICATED", "service.auth.error")
        before = dict(client.session)["instanceurl"]
        client.open()
        self.assertNotEqual(dict(client.session)["instanceurl"], before)
        client.topic(orgs.ACCOUNTS)

    def test_decodes(self):
        """every event of a workload with all specialities decodes with Avro for Python, by its own schema"""
        client = self.client("--prefill", 900, "--count", 0, "--gaps", 0.1, "--diffs", 0.1, "--shared-replay", 0.05,
                             "--schema-change-at", 400)
        lines = client.org.ledger()
        kinds = set()
        for event, line in zip(Stream(client, topic_name=orgs.CHANGES, replay_preset="EARLIEST").take(700),
                               (line for line in lines if line["topic"].startswith("/data/"))):
            header = client.decode(event.event)["ChangeEventHeader"]
            self.assertEqual((header["entityName"], header["changeType"], header["recordIds"]),
                             (line["entity"], line["change_type"], line["record_ids"]))
            kinds.add(header["changeType"])
        self.assertGreaterEqual(kinds, {"CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_UPDATE", "GAP_OVERFLOW"})
        self.assertEqual(len({line["schema_id"] for line in lines if line["entity"] == "Account"}), 2)

    def test_tls(self):
        """TLS on both ports, with a certificate for this machine and no other; a message over 4 MiB"""
        client = self.client("--count", 50, "--oversize", 5 << 20, tls=self.folder / "tls")
        events = Stream(client, topic_name=orgs.CHANGES, replay_preset="EARLIEST").take(40)
        self.assertGreater(max(len(event.event.payload) for event in events), 5 << 20)
        self.assertEqual((self.folder / "tls/server.key").stat().st_mode & 0o777, 0o600)
        elsewhere = Client(self.org("--count", 1, "--tls-name", "elsewhere.example", name="other", tls=self.folder / "other"),
                           self.folder)
        self.addCleanup(elsewhere.channel.close)
        with self.assertRaises(urllib.error.URLError) as failure:
            elsewhere.login()
        self.assertIn("CERTIFICATE_VERIFY_FAILED", str(failure.exception))

    def test_rate(self):
        """at a rate, nothing is published before its time, and events come as they are published, not at the end"""
        client = self.client("--rate", 200, "--count", 1000, "--hold")
        began = time.time()
        stream = Stream(client, topic_name=orgs.CHANGES)
        first = stream.next().events
        self.assertTrue(first)
        self.assertLess(len(client.org.ledger()), 1000, "the first response waited for the last event")
        client.org.wait_published(1000)
        ledger = client.org.ledger()
        for number, line in enumerate(ledger, 1):
            # A transaction is published whole, at the time of its first event.
            self.assertGreaterEqual(line["published_at_us"] / 1e6 - began, (number - 50) / 200)
        published = {line["event_id"]: line["published_at_us"] / 1e6 for line in ledger}
        for event in first:
            self.assertLessEqual(published[event.event.id], time.time())

    def test_ports_in_use(self):
        """a port that is taken: exit 4, and the message names it"""
        org = self.org("--count", 1)
        for option, address in (("--listen", org.endpoint), ("--http", f"127.0.0.1:{org.http}")):
            other = {"--listen": "--http", "--http": "--listen"}[option]
            program = programs.Program("second" + option, [place.SIM, option, address, other, "127.0.0.1:0"], self.folder)
            self.assertEqual(program.wait(20), 4)
            self.assertIn(address, program.err)

    def test_help(self):
        """--help, --version, --list and mistakes"""
        def run(*words):
            program = programs.Program("sim-" + "".join(words).strip("-"), [place.SIM, *words], self.folder)
            return program.wait(20), program.out, program.err
        status, out, _ = run("--help")
        self.assertEqual(status, 0)
        for word in ("--listen", "--ledger", "--bench", "payload_b64", "/sim/state"):
            self.assertIn(word, out)
        self.assertEqual(run("--version")[0], 0)
        self.assertIn(orgs.ACCOUNTS, run("--list")[1])
        status, _, err = run("--keepalife", "1")
        self.assertEqual((status, "--keepalive" in err), (2, True))


if __name__ == "__main__":
    tap_print.main()

"""A Pub/Sub service that is not ours: Debian's grpcio and protobuf, TLS, and a token endpoint beside it.

It shares no code with Tidemark or its simulator but the message definitions in proto/. It serves a fixed list
of events per topic, checks what a client must get right, and keeps what the client got wrong in `problems`.
"""
import base64
import hashlib
import http.server
import importlib
import json
import pathlib
import random
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from concurrent import futures

import grpc

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIENT_ID, CLIENT_SECRET = "3MVG9.interop", "s3cr+t/with=signs&"
ORG_ID, USER_ID = "00Dxx0000001gEREAY", "005xx000001SwiUAAS"
TOKEN = "00Dxx0000001gER!AQEAQ.interop_token"
MOST_OUTSTANDING = 100
PREFIX = "sfdc.platform.eventbus.grpc."


def messages(folder):
    """The generated message module; protoc runs at test time, so that nothing generated is kept."""
    name = "pubsub_api_pb2"
    if name not in sys.modules:
        subprocess.run(["protoc", f"--python_out={folder}", f"-I{ROOT / 'proto'}", str(ROOT / "proto/pubsub_api.proto")],
                       check=True)
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
    return importlib.import_module(name)


def schema_id(canonical_form):
    digest = hashlib.md5(canonical_form.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def own_host():
    """The certificate's name, so that names are checked too; its address where nothing knows the name."""
    try:
        return "localhost" if socket.getaddrinfo("localhost", None) else "127.0.0.1"
    except OSError:
        return "127.0.0.1"


class Event:
    def __init__(self, schema, payload, replay_id, event_id=None):
        self.schema_id, self.payload, self.replay_id = schema, payload, replay_id
        self.event_id = event_id or str(uuid.uuid4())


class Failure(Exception):
    def __init__(self, status, code, text):
        super().__init__(text)
        self.status, self.code = status, code


class Credit:
    """What one stream still owes its client. The reader adds, the sender takes."""

    def __init__(self, service):
        self.service, self.outstanding, self.ended = service, 0, False
        self.changed = threading.Condition()

    def add(self, requested):
        with self.changed:
            if self.outstanding + requested > MOST_OUTSTANDING:
                self.service.problem(f"asked for {requested} with {self.outstanding} outstanding")
            self.outstanding = min(self.outstanding + requested, MOST_OUTSTANDING)
            self.changed.notify_all()

    def end(self):
        with self.changed:
            self.ended = True
            self.changed.notify_all()


class Service:
    """Calling order: Service(folder, certificates) -> add_schema(), add_topic() -> start() -> ... -> stop()."""

    def __init__(self, folder, certificates, keepalive=0.5, seed=1):
        self.pb = messages(folder)
        self.keepalive, self.random = keepalive, random.Random(seed)
        self.schemas, self.topics, self.topic_schema = {}, {}, {}
        self.problems, self.calls, self.requests = [], [], []
        self.lock = threading.Lock()
        key, chain = (certificates / "server.key").read_bytes(), (certificates / "server.pem").read_bytes()
        self.server = grpc.server(futures.ThreadPoolExecutor(16))
        self.port = self.server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)]))
        self.server.add_generic_rpc_handlers((self.handlers(),))
        self.web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.token_endpoint())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        self.web.socket = context.wrap_socket(self.web.socket, server_side=True)
        host = own_host()
        self.login_url = f"https://{host}:{self.web.server_address[1]}"
        self.endpoint = f"{host}:{self.port}"
        self.instance_url = self.login_url

    def start(self):
        self.server.start()
        self.web_thread = threading.Thread(target=self.web.serve_forever, daemon=True)
        self.web_thread.start()
        return self

    def stop(self):
        self.server.stop(0).wait()
        self.web.shutdown()
        self.web.server_close()
        self.web_thread.join()

    def problem(self, text):
        with self.lock:
            self.problems.append(text)

    def add_schema(self, identity, text):
        self.schemas[identity] = text

    def add_topic(self, name, events, schema=""):
        self.topics[name] = list(events)
        self.topic_schema[name] = schema

    # The calls.

    def handlers(self):
        pb = self.pb

        def unary(name, request, answer):
            return grpc.unary_unary_rpc_method_handler(self.guarded(name, answer), request.FromString,
                                                       lambda message: message.SerializeToString())
        return grpc.method_handlers_generic_handler("eventbus.v1.PubSub", {
            "GetTopic": unary("GetTopic", pb.TopicRequest, self.get_topic),
            "GetSchema": unary("GetSchema", pb.SchemaRequest, self.get_schema),
            "Subscribe": grpc.stream_stream_rpc_method_handler(
                self.guarded("Subscribe", self.subscribe, stream=True), pb.FetchRequest.FromString,
                lambda message: message.SerializeToString()),
        })

    def guarded(self, name, answer, stream=False):
        """Checks the session first; turns a Failure into status and trailers, as the service does."""
        def fail(context, failure):
            context.set_trailing_metadata((("error-code", PREFIX + failure.code), ("rpc-id", str(uuid.uuid4()))))
            context.abort(failure.status, str(failure))

        def enter(context):
            with self.lock:
                self.calls.append(name)
            self.check_session(dict(context.invocation_metadata()))

        def one(request, context):
            try:
                enter(context)
                return answer(request, context)
            except Failure as failure:
                return fail(context, failure)

        def many(requests, context):
            try:
                enter(context)
                yield from answer(requests, context)
            except Failure as failure:
                fail(context, failure)
        return many if stream else one

    def check_session(self, metadata):
        wanted = {"accesstoken": TOKEN, "instanceurl": self.instance_url, "tenantid": ORG_ID}
        for key, value in wanted.items():
            if metadata.get(key) != value:
                self.problem(f"metadata {key} is {metadata.get(key)!r}")
                raise Failure(grpc.StatusCode.UNAUTHENTICATED, "service.auth.error",
                              "An authentication exception occurred. Provide valid authentication via metadata headers.")

    def get_topic(self, request, context):
        del context
        if request.topic_name not in self.topics:
            raise Failure(grpc.StatusCode.NOT_FOUND, "topic.not.found",
                          f"The topic information for org CORE/prod/{ORG_ID} and topic {request.topic_name} not found.")
        return self.pb.TopicInfo(topic_name=request.topic_name, tenant_guid=f"core/prod/{ORG_ID}", can_publish=False,
                                 can_subscribe=True, schema_id=self.topic_schema[request.topic_name],
                                 rpc_id=str(uuid.uuid4()))

    def get_schema(self, request, context):
        del context
        if request.schema_id not in self.schemas:
            raise Failure(grpc.StatusCode.INVALID_ARGUMENT, "schema.validation.failed",
                          "Schema validation failed. The schema ID can't be blank.")
        return self.pb.SchemaInfo(schema_json=self.schemas[request.schema_id], schema_id=request.schema_id,
                                  rpc_id=str(uuid.uuid4()))

    def start_position(self, first, events):
        if first.replay_preset == self.pb.LATEST:
            return len(events)
        if first.replay_preset == self.pb.EARLIEST:
            return 0
        if len(first.replay_id) not in (8, 10):
            raise Failure(grpc.StatusCode.INVALID_ARGUMENT, "subscription.fetch.replayid.corrupted",
                          "The Replay ID validation failed. Ensure that the Replay ID is valid")
        return next((index for index, event in enumerate(events) if event.replay_id > first.replay_id), len(events))

    def read_requests(self, requests, topic, credit):
        """The rest of a client's requests: each adds to what it is owed."""
        try:
            for request in requests:
                with self.lock:
                    self.requests.append(request)
                if request.topic_name not in ("", topic):
                    self.problem(f"topic {request.topic_name} on a stream of {topic}")
                if request.num_requested <= 0:
                    self.problem(f"num_requested {request.num_requested}")
                credit.add(request.num_requested)
        except Exception:  # pylint: disable=broad-except  # grpcio raises a plain Exception when the call is over
            pass
        finally:
            credit.end()

    def subscribe(self, requests, context):
        first = next(requests)
        with self.lock:
            self.requests.append(first)
        events = self.topics.get(first.topic_name)
        if events is None:
            raise Failure(grpc.StatusCode.NOT_FOUND, "topic.not.found", f"topic {first.topic_name} not found.")
        position = self.start_position(first, events)
        credit = Credit(self)
        credit.add(first.num_requested)
        reader = threading.Thread(target=self.read_requests, args=(requests, first.topic_name, credit), daemon=True)
        reader.start()
        context.add_callback(credit.end)
        latest = events[position - 1].replay_id if position else bytes(10)
        last_sent = time.monotonic()
        while True:
            with credit.changed:
                credit.changed.wait_for(lambda: credit.ended or (credit.outstanding and position < len(events)),
                                        max(0.0, last_sent + self.keepalive - time.monotonic()))
                if credit.ended:
                    return
                count = min(credit.outstanding, len(events) - position)
                if count:
                    count = self.random.randint(1, count)
                elif time.monotonic() < last_sent + self.keepalive or not credit.outstanding:
                    last_sent = max(last_sent, time.monotonic() - self.keepalive + 0.01)
                    continue
                credit.outstanding -= count
                pending = credit.outstanding
            batch = events[position:position + count]
            position += count
            latest = batch[-1].replay_id if batch else latest
            last_sent = time.monotonic()
            yield self.pb.FetchResponse(
                events=[self.pb.ConsumerEvent(event=self.pb.ProducerEvent(id=event.event_id, schema_id=event.schema_id,
                                                                          payload=event.payload),
                                              replay_id=event.replay_id) for event in batch],
                latest_replay_id=latest, rpc_id=str(uuid.uuid4()), pending_num_requested=pending)

    # Login.

    def token_endpoint(service):  # pylint: disable=no-self-argument
        """The handler class of POST /services/oauth2/token, client_credentials only."""
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format, *args):  # pylint: disable=redefined-builtin
                pass

            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json;charset=UTF-8")
                self.send_header("Cache-Control", "no-store")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self):  # pylint: disable=invalid-name
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                form = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
                if self.path != "/services/oauth2/token":
                    return self.answer(404, {"error": "not_found"})
                if self.headers.get_content_type() != "application/x-www-form-urlencoded":
                    service.problem(f"login with content type {self.headers.get_content_type()}")
                basic = self.headers.get("Authorization", "")
                if basic.startswith("Basic "):
                    identity, _, secret = base64.b64decode(basic[6:]).decode().partition(":")
                    form.update(client_id=identity, client_secret=secret)
                if form.get("grant_type") != "client_credentials":
                    return self.answer(400, {"error": "unsupported_grant_type", "error_description": "grant type not supported"})
                if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
                    return self.answer(400, {"error": "invalid_client", "error_description": "invalid client credentials"})
                return self.answer(200, {
                    "access_token": TOKEN, "signature": "c2lnbmF0dXJl", "scope": "api", "token_type": "Bearer",
                    "instance_url": service.instance_url, "id": f"https://login.salesforce.com/id/{ORG_ID}/{USER_ID}",
                    "issued_at": str(int(time.time() * 1000)), "api_instance_url": "https://api.salesforce.com"})
        return Handler

#!/usr/bin/python3
"""The interop server itself, tried with Python's gRPC client: it refuses and counts as the real service does."""
import json
import pathlib
import shutil
import ssl
import sys
import tempfile
import threading
import unittest
import urllib.error
import urllib.parse
import urllib.request

import made
import service

sys.path.insert(0, str(service.ROOT / "tests/harness"))
import certificates  # noqa: E402
import grpc  # noqa: E402
import tap_print  # noqa: E402


class Turns:
    """Hands the request iterator its turn."""

    def __init__(self):
        self.semaphore = threading.Semaphore(0)

    def turn(self):
        self.semaphore.release()

    def wait_for_turn(self):
        self.semaphore.acquire()


class ServiceTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-interop-"))
        self.addCleanup(shutil.rmtree, self.folder)
        certificates.make(self.folder)
        self.service = service.Service(self.folder, self.folder, keepalive=0.2)
        maker = made.Maker(3)
        self.events = [maker.platform_event(number) for number in range(250)]
        self.service.add_schema(maker.platform_id, str(maker.platform))
        self.service.add_topic("/event/Order__e", self.events, maker.platform_id)
        self.service.start()
        self.addCleanup(self.service.stop)
        self.pb = self.service.pb
        roots = (self.folder / "ca.pem").read_bytes()
        channel = grpc.secure_channel(self.service.endpoint, grpc.ssl_channel_credentials(roots))
        self.addCleanup(channel.close)
        name = "/eventbus.v1.PubSub/"

        def serialize(message):
            return message.SerializeToString()
        self.get_topic = channel.unary_unary(name + "GetTopic", serialize, self.pb.TopicInfo.FromString)
        self.get_schema = channel.unary_unary(name + "GetSchema", serialize, self.pb.SchemaInfo.FromString)
        self.subscribe = channel.stream_stream(name + "Subscribe", serialize, self.pb.FetchResponse.FromString)
        self.session = (("accesstoken", service.TOKEN), ("instanceurl", self.service.instance_url), ("tenantid", service.ORG_ID))

    def read(self, wanted, first, step=50):
        """Reads wanted events with a client that asks for step at a time."""
        more = [first]

        def requests():
            while more:
                yield more.pop()
                done.wait_for_turn()
        done = Turns()
        got = []
        stream = self.subscribe(requests(), metadata=self.session)
        for response in stream:
            got += response.events
            self.assertLessEqual(response.pending_num_requested, service.MOST_OUTSTANDING)
            if response.pending_num_requested == 0 and len(got) < wanted:
                more.append(self.pb.FetchRequest(num_requested=step))
                done.turn()
            if len(got) >= wanted:
                done.turn()
                stream.cancel()
                return got
        return got

    def test_login(self):
        """the token endpoint knows one secret"""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

        def login(secret):
            form = {"grant_type": "client_credentials", "client_id": service.CLIENT_ID, "client_secret": secret}
            request = urllib.request.Request(self.service.login_url + "/services/oauth2/token",
                                             urllib.parse.urlencode(form).encode())
            return json.load(urllib.request.urlopen(request, context=context))
        self.assertEqual(login(service.CLIENT_SECRET)["access_token"], service.TOKEN)
        with self.assertRaises(urllib.error.HTTPError) as refused:
            login("wrong")
        self.assertEqual(refused.exception.code, 400)
        refused.exception.close()

    def test_session(self):
        """a call without the three metadata keys is refused, with an error code in the trailers"""
        with self.assertRaises(grpc.RpcError) as refused:
            self.get_topic(self.pb.TopicRequest(topic_name="/event/Order__e"), metadata=self.session[:2])
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
        self.assertIn(("error-code", "sfdc.platform.eventbus.grpc.service.auth.error"),
                      [tuple(pair) for pair in refused.exception.trailing_metadata()])
        self.assertTrue(self.service.problems)

    def test_topic_and_schema(self):
        """GetTopic and GetSchema answer"""
        info = self.get_topic(self.pb.TopicRequest(topic_name="/event/Order__e"), metadata=self.session)
        text = self.get_schema(self.pb.SchemaRequest(schema_id=info.schema_id), metadata=self.session).schema_json
        self.assertEqual(json.loads(text)["name"], "Order__e")

    def test_earliest(self):
        """EARLIEST brings every event once, in order"""
        got = self.read(250, self.pb.FetchRequest(topic_name="/event/Order__e", replay_preset=self.pb.EARLIEST, num_requested=100))
        self.assertEqual([event.event.id for event in got], [event.event_id for event in self.events])
        self.assertEqual(self.service.problems, [])

    def test_custom(self):
        """CUSTOM begins after the id"""
        first = self.pb.FetchRequest(topic_name="/event/Order__e", replay_preset=self.pb.CUSTOM,
                                     replay_id=self.events[99].replay_id, num_requested=100)
        got = self.read(150, first)
        self.assertEqual([event.event.id for event in got], [event.event_id for event in self.events[100:]])

    def test_asking_too_much(self):
        """more than 100 outstanding is kept as a problem"""
        self.read(10, self.pb.FetchRequest(topic_name="/event/Order__e", replay_preset=self.pb.EARLIEST, num_requested=101))
        self.assertTrue(self.service.problems)


if __name__ == "__main__":
    tap_print.main()

#!/usr/bin/python3
# suite: timeout=120
"""The simulator's managed subscriptions, tried with Python's gRPC client: the slot, commits, and what refuses them."""
import json
import pathlib
import queue
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/harness"), str(ROOT / "tests/interop")]
from lib import case, org as orgs, waiting  # noqa: E402
import test_sim  # noqa: E402
import tap_print  # noqa: E402

NAME = "Account_feed"
MANAGED = ("--managed", f"{NAME}={orgs.ACCOUNTS},earliest", "--managed-commit-delay", 0.05)


class Stream:
    """One ManagedSubscribe call: say() a request, next() response, events() until there are so many."""

    def __init__(self, client, num_requested=100, **first):
        self.pb, self.requests = client.pb, queue.Queue()
        call = client.channel.stream_stream("/eventbus.v1.PubSub/ManagedSubscribe", lambda m: m.SerializeToString(),
                                            self.pb.ManagedFetchResponse.FromString)
        self.call = call(iter(self.requests.get, None), metadata=client.session, timeout=60 * test_sim.SLOW)
        self.say(num_requested=num_requested, **(first or {"developer_name": NAME}))

    def say(self, **fields):
        self.requests.put(self.pb.ManagedFetchRequest(**fields))

    def next(self):
        return next(self.call)

    def events(self, count):
        got = []
        while len(got) < count:
            got += self.next().events
        return got

    def commit(self, number, replay_id):
        self.say(commit_replay_id_request=self.pb.CommitReplayRequest(commit_request_id=str(number), replay_id=replay_id))

    def answer(self, number):
        """The answer to this commit; events that come before it are dropped."""
        while True:
            response = self.next()
            if response.HasField("commit_response") and response.commit_response.commit_request_id == str(number):
                return response.commit_response

    def close(self):
        self.requests.put(None)
        self.call.cancel()


class Managed(case.Case):
    def open(self, *options):
        client = test_sim.Client(self.org("--seed", 5, "--prefill", 60, "--count", 0, *MANAGED, *options), self.folder).open()
        self.addCleanup(client.channel.close)
        return client

    def stats(self, client):
        return json.loads(client.http("/sim/stats")[1])["managed"][NAME]

    refused = test_sim.Sim.refused

    def refused_first(self, client, status, code, **first):
        self.refused(lambda: Stream(client, **first).next(), status, code)

    def order(self, client, **words):
        self.assertEqual(client.http("/sim/managed?" + "&".join(f"{k}={v}" for k, v in {"name": NAME, **words}.items()), form={})[0], 204)

    def freed(self, client):
        waiting.until(lambda: not self.stats(client)["open"], "the slot is free")

    def test_position(self):
        """what is committed is where the next stream begins; the same id again is accepted"""
        client = self.open()
        stream = Stream(client)
        events = stream.events(10)
        stream.commit(1, events[4].replay_id)
        self.assertFalse(stream.answer(1).HasField("error"))
        stream.commit(2, events[4].replay_id)
        self.assertFalse(stream.answer(2).HasField("error"))
        stream.close()
        self.freed(client)
        again = Stream(client, developer_name=NAME)
        self.assertEqual([e.replay_id for e in again.events(5)[:5]], [e.replay_id for e in events[5:10]])
        self.assertEqual(self.stats(client)["committed"], events[4].replay_id.hex())
        again.close()

    def test_grouped(self):
        """commits that come together are answered once, by the newest"""
        client = self.open("--managed-commit-delay", 1.5)
        stream = Stream(client)
        events = stream.events(4)
        for number in range(4):
            stream.commit(number + 1, events[number].replay_id)
        answer = stream.answer(4)
        self.assertEqual((answer.commit_request_id, answer.replay_id), ("4", events[3].replay_id))
        self.assertLess(self.stats(client)["commits"], 4)
        stream.close()

    def test_refused_commits(self):
        """older, not delivered, no id, on order: refused, and the stream goes on"""
        client = self.open("--batch", 5)
        stream = Stream(client, num_requested=5, developer_name=NAME)
        events = stream.events(5)
        stream.commit(1, events[2].replay_id)
        self.assertFalse(stream.answer(1).HasField("error"))
        head = bytes.fromhex(json.loads(client.http("/sim/stats")[1])["replay_id"])
        for number, replay_id in ((2, events[1].replay_id), (3, head), (4, b"abc"), (5, b"")):
            stream.commit(number, replay_id)
            self.assertEqual(stream.answer(number).error.code, self.pb_commit(client))
        self.order(client, refuse=1)
        stream.commit(6, events[4].replay_id)
        self.assertTrue(stream.answer(6).HasField("error"))
        stream.commit(7, events[4].replay_id)
        self.assertFalse(stream.answer(7).HasField("error"))
        stream.say(num_requested=5)
        self.assertEqual(len(stream.events(1)) > 0, True)
        stream.close()

    @staticmethod
    def pb_commit(client):
        return client.pb.ErrorCode.Value("COMMIT")

    def test_slot(self):
        """one stream at a time; free once it is over, or when whoever has it lets go"""
        client = self.open()
        first = Stream(client)
        first.events(1)
        self.refused_first(client, "ALREADY_EXISTS", "managed.subscription.already.active")
        first.close()
        self.freed(client)
        self.order(client, slot="taken")
        self.refused_first(client, "ALREADY_EXISTS", "managed.subscription.already.active")
        self.order(client, slot="free")
        Stream(client).events(1)

    def test_first_requests(self):
        """what the first request must not be"""
        client = self.open()
        commit = client.pb.CommitReplayRequest(commit_request_id="1", replay_id=b"12345678")
        prefix = "managed.subscription."
        for status, code, first in (
                ("INVALID_ARGUMENT", "id.or.developer.name.empty", {"developer_name": ""}),
                ("INVALID_ARGUMENT", "id.or.developer.name.empty", {"developer_name": NAME, "subscription_id": "18x"}),
                ("INVALID_ARGUMENT", "subscription.id.invalid", {"subscription_id": "18x"}),
                ("NOT_FOUND", "subscription.id.not.found", {"subscription_id": "18xSM0000009999"}),
                ("NOT_FOUND", "developer.name.not.found", {"developer_name": "Nobody"}),
                ("INVALID_ARGUMENT", "fetch.request.commit.request.restricted", {"developer_name": NAME, "commit_replay_id_request": commit}),
                ("INVALID_ARGUMENT", "fetch.request.events.invalid", {"developer_name": NAME, "num_requested": -1}),
                ("INVALID_ARGUMENT", "fetch.request.invalid", {"developer_name": NAME, "num_requested": 0})):
            self.refused_first(client, status, prefix + code, **first)
        by_id = Stream(client, subscription_id="18xSM0000000001")
        self.assertEqual(len(by_id.events(1)) > 0, True)

    def test_stop(self):
        """STOP ends the stream and forgets the position; RUN begins where the definition says"""
        client = self.open()
        stream = Stream(client)
        events = stream.events(8)
        stream.commit(1, events[7].replay_id)
        stream.answer(1)
        self.order(client, state="STOP")
        self.refused(lambda: stream.events(1000), "FAILED_PRECONDITION", "managed.subscription.config.stopped")
        self.refused_first(client, "FAILED_PRECONDITION", "managed.subscription.config.stopped")
        self.order(client, state="RUN")
        self.freed(client)
        self.assertEqual(Stream(client).events(1)[0].replay_id, events[0].replay_id)

    def test_deadline(self):
        """a stream that commits nothing is ended"""
        client = self.open("--managed-deadline", 0.3)
        self.refused(lambda: Stream(client).events(1000), "DEADLINE_EXCEEDED", None)


if __name__ == "__main__":
    tap_print.main()

#!/usr/bin/python3
# suite: timeout=600 takes=20
"""A position that means nothing any more: an incident, then the policy; never silent, never a loop."""
import json
import urllib.request

from lib import case, verdict
import tap_print

EVENTS = 300
CORRUPTED = "subscription.fetch.replayid.corrupted"


class LostPosition(case.Case):
    def settled(self, policy):
        self.bus = self.org("--seed", 21, "--prefill", EVENTS, "--count", 0)
        self.bus.wait_published(EVENTS)
        tidemark = self.tidemark(self.bus)
        tidemark.config["subscriptions"][0]["on_lost_position"] = policy
        tidemark.write()
        self.expect(tidemark.run_until_idle(), 0)
        self.first = tidemark.output.read_bytes()
        return tidemark

    def refuse_next_subscribe(self):
        url = f"{self.bus.login_url}/sim/call-fault?method=Subscribe&status=INVALID_ARGUMENT&code={CORRUPTED}&count=1"
        urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=10).read()

    def incidents(self, tidemark):
        return [json.loads(line) for line in tidemark.call("incidents", "list", "--json").out.splitlines()]

    def check_incident(self, tidemark, policy):
        incidents = self.incidents(tidemark)
        self.assertEqual([(i["kind"], i["state"], i["policy"]) for i in incidents], [("lost_position", "open", policy)])
        self.assertTrue(incidents[0]["old_replay_id"])
        self.assertIsNotNone(incidents[0]["since"])
        self.assertEqual(tidemark.status()["incidents"][-1]["state"], "open")

    def test_repair(self):
        """repair: EARLIEST with dedupe: nothing lost, nothing repeated, one incident, and no loop"""
        tidemark = self.settled("repair")
        self.refuse_next_subscribe()
        self.expect(tidemark.run_until_idle(), 0)
        self.check_incident(tidemark, "repair")
        self.assertEqual(tidemark.output.read_bytes(), self.first)
        verdict.check_accounts(tidemark.status())
        self.expect(tidemark.run_until_idle(), 0)
        self.check_incident(tidemark, "repair")
        self.assertEqual(tidemark.output.read_bytes(), self.first)

    def test_latest(self):
        """latest: goes on from now, and says what may be missing"""
        tidemark = self.settled("latest")
        self.refuse_next_subscribe()
        self.expect(tidemark.run_until_idle(), 0)
        self.check_incident(tidemark, "latest")
        self.assertEqual(tidemark.output.read_bytes(), self.first)

    def test_stop(self):
        """stop: the subscription waits for a person, across restarts; an ordered replay sets it going"""
        tidemark = self.settled("stop")
        self.refuse_next_subscribe()
        self.gives_up(tidemark, 4, "tidemark replay")
        self.check_incident(tidemark, "stop")
        self.gives_up(tidemark, 4, "tidemark replay")
        self.check_incident(tidemark, "stop")
        name = tidemark.config["subscriptions"][0]["name"]
        self.expect(tidemark.call("replay", "--subscription", name, "--from", "earliest"), 0)
        self.expect(tidemark.run_until_idle(), 0)
        self.assertEqual(len(tidemark.lines()), 2 * len(self.first.splitlines()))

    def test_instance_changed(self):
        """another instance: an incident even where the old id would be accepted; dedupe drops what is held"""
        tidemark = self.settled("repair")
        self.bus.stop()
        self.bus = self.org("--seed", 21, "--prefill", EVENTS, "--count", 0, name="moved")  # other ports, another instance URL
        self.bus.wait_published(EVENTS)
        tidemark.config["orgs"][0].update(login_url=self.bus.login_url, pubsub_endpoint=self.bus.endpoint)
        tidemark.write()
        self.expect(tidemark.run_until_idle(), 0, "instance changed")
        self.check_incident(tidemark, "repair")
        self.assertEqual(tidemark.output.read_bytes(), self.first)

    def test_org_changed(self):
        """another org id under the same name is refused: exit 4, nothing touched"""
        tidemark = self.settled("repair")
        self.bus.stop()
        self.bus = self.org("--seed", 21, "--prefill", EVENTS, "--count", 0, "--org-id", "00DSM0000000002", name="other")
        self.bus.wait_published(EVENTS)
        tidemark.config["orgs"][0].update(login_url=self.bus.login_url, pubsub_endpoint=self.bus.endpoint)
        tidemark.write()
        self.expect(tidemark.run_until_idle(), 4, "use another org name")
        self.assertEqual(tidemark.output.read_bytes(), self.first)


if __name__ == "__main__":
    tap_print.main()

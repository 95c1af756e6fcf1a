#!/usr/bin/python3
"""Several orgs in one daemon: each keeps its word whatever becomes of the others, and its streams share one connection."""
import copy
import signal
import socket
import urllib.request

from lib import case, org as orgs, relay, verdict, waiting
import tap_print

TOPICS = [orgs.ACCOUNTS, orgs.CONTACTS, orgs.ORDERS]


class SeveralOrgs(case.Case):
    def setUp(self):
        super().setUp()
        self.buses, self.ended = {}, []
        self.tm = self.tidemark(None, sinks=[])
        self.pattern = self.tm.config["orgs"][0]
        self.tm.config.update({"orgs": [], "subscriptions": [], "sinks": []})

    def add(self, name, *options, topics=TOPICS, endpoint=None, **changes):
        """An org with its simulator, a subscription for each topic, and a sink of its own."""
        number = len(self.buses) + 1
        bus = self.org("--seed", 80 + number, "--auth-delay", 0.1, "--org-id", f"00DSM00000000{number:02}", *options, name=name)
        self.buses[name] = bus
        self.tm.config["orgs"].append({**copy.deepcopy(self.pattern), "name": name, "login_url": bus.login_url,
                                       "pubsub_endpoint": endpoint(bus) if endpoint else bus.endpoint, **changes})
        names = [f"{name}-{self.tm.name_of(topic)}" for topic in topics]
        self.tm.config["subscriptions"] += [{"name": sub, "org": name, "topic": topic, "start": "earliest"}
                                            for sub, topic in zip(names, topics)]
        self.tm.config["sinks"].append({"name": name, "subscriptions": names, "file": {"path": str(self.output(name))}})
        return bus

    def output(self, name):
        return self.folder / f"{name}.ndjson"

    def start(self):
        self.tm.write()
        self.program = self.run_daemon(self.tm)
        self.program.wait_for("running: ")

    def states(self, name):
        return {sub["state"] for sub in self.tm.status()["subscriptions"] if sub["org"] == name}

    def reconnects(self, name):
        return sum(sub["reconnects"] for sub in self.tm.status()["subscriptions"] if sub["org"] == name)

    def wanted(self, name, topics=TOPICS):
        return sum(len(verdict.expected(self.buses[name].ledger(), topic)) for topic in topics)

    def delivered(self, name, count, topics=TOPICS, seconds=40):
        """Each event of this org exactly once, in order."""
        self.buses[name].wait_published(count, 60)
        wanted = self.wanted(name, topics)
        waiting.until(lambda: len(self.tm.lines(self.output(name))) >= wanted, self.program.tail, seconds)
        verdict.check_output(self.buses[name].ledger(), self.tm.lines(self.output(name)), topics)

    def relay_to(self, bus):
        cut = relay.Relay(bus.grpc)
        self.started.append(cut)
        self.ended.append(cut)
        return f"127.0.0.1:{cut.port}"

    def test_one_connection_each(self):
        """two orgs, three streams each: one connection an org, one again after it was cut, and no event crosses over"""
        for name in ("north", "south"):
            self.add(name, "--rate", 80, "--count", 300, endpoint=self.relay_to)
        self.start()
        waiting.until(lambda: all(self.wanted(name) and self.tm.lines(self.output(name)) for name in self.buses), self.program.tail)
        self.assertEqual([len(one.pairs) for one in self.ended], [1, 1])
        self.ended[0].cut()
        for name in self.buses:
            self.delivered(name, 300)
        waiting.until(lambda: self.reconnects("north") >= len(TOPICS) and self.states("north") == {"live"}, self.program.tail)
        self.assertLess(len(self.ended[0].pairs), len(TOPICS))
        self.assertEqual(self.reconnects("south"), 0)
        self.assertEqual(self.program.terminate(), 0)
        tenants = {name: {line["org"] for line in self.tm.lines(self.output(name))} for name in self.buses}
        self.assertEqual([len(found) for found in tenants.values()], [1, 1])
        self.assertNotEqual(tenants["north"], tenants["south"])
        verdict.check_accounts({**self.tm.status(), "sinks": []})

    def test_one_fails(self):
        """logins refused and slow, a port that says nothing, a service that hangs in mid-stream: the org beside them delivers"""
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        few = [orgs.ACCOUNTS]
        self.add("good", "--rate", 100, "--count", 500)
        self.add("refused", "--prefill", 50, "--count", 0, topics=few)
        self.add("slow", "--prefill", 50, "--count", 0, topics=few)
        self.add("deaf", "--prefill", 50, "--count", 0, topics=few, endpoint=lambda bus: f"127.0.0.1:{silent.getsockname()[1]}")
        self.add("hangs", "--rate", 60, "--count", 200, topics=few)
        self.fault("refused", "inactive_user")
        self.fault("slow", "slow", "&seconds=30")
        self.start()
        waiting.until(lambda: self.tm.lines(self.output("hangs")), self.program.tail)
        self.buses["hangs"].program.signal(signal.SIGSTOP)
        waiting.until(lambda: self.states("refused") == {"refused"}, self.program.tail)
        self.delivered("good", 500)
        waiting.until(lambda: self.states("good") == {"live"}, self.program.tail)
        for name in ("refused", "slow", "deaf"):
            self.assertEqual(self.tm.lines(self.output(name)), [], name)
        self.buses["hangs"].program.signal(signal.SIGCONT)
        self.delivered("hangs", 200, few)
        self.fault("refused", "none")
        self.expect(self.tm.call("login", "refused"), 0, "refused: logged in")
        self.delivered("refused", 50, few)
        # The drain does not wait for a login or a connection that hangs.
        self.assertEqual(self.program.terminate(), 0)

    def fault(self, name, kind, more=""):
        url = f"{self.buses[name].login_url}/sim/token-fault?kind={kind}&count=0{more}"
        with urllib.request.urlopen(url, data=b"", timeout=10) as answer:
            answer.read()


if __name__ == "__main__":
    tap_print.main()

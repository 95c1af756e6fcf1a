#!/usr/bin/python3
"""tidemark status --explain: which events touch a record, and where they stand with each sink; daemon up and down."""
import json

from lib import case, org as orgs, verdict, waiting
import tap_print

EVENTS = 200
ACCOUNTS, CONTACTS = "data_accountchangeevent", "data_contactchangeevent"


class Explain(case.Case):
    def explained(self, record, *words):
        return json.loads(self.expect(self.tm.call("status", "--json", "--explain", record, *words), 0).out)

    def standing(self, event):
        return {sink["name"]: sink["status"] for sink in event["sinks"]}

    def settled(self, *names):
        """Everything is journaled, and these sinks have nothing left to do."""
        status, ledger = self.tm.status(), self.bus.ledger()
        wanted = sum(len(verdict.expected(ledger, topic)) for topic in self.tm.topics)
        return status["journal"]["head"] == wanted and \
            all(sink["lag"] == 0 for sink in status["sinks"] if sink["name"] in names)

    def busiest(self):
        """The record that most events touch, and these events' ids, in order."""
        by_record = {}
        for entry in self.bus.ledger():
            if entry["topic"] == orgs.ACCOUNTS:
                for record in entry.get("record_ids") or ():
                    by_record.setdefault(record, []).append(verdict.identity(entry)[0])
        return max(by_record.items(), key=lambda item: len(item[1]))

    def test_where_it_stands(self):
        """delivered, filtered, waiting and not given, the same with the daemon up and down"""
        self.bus = self.org("--seed", 91, "--prefill", EVENTS, "--count", 0)
        self.bus.wait_published(EVENTS)
        sinks = [{"name": "log", "file": {"path": str(self.folder / "out.ndjson")}},
                 {"name": "contacts", "subscriptions": [CONTACTS], "file": {"path": str(self.folder / "contacts.ndjson")}},
                 {"name": "stuck", "file": {"path": str(self.folder / "nowhere" / "out.ndjson")}}]
        self.tm = self.tidemark(self.bus, topics=(orgs.ACCOUNTS, orgs.CONTACTS), sinks=sinks)
        record, ids = self.busiest()
        self.assertGreater(len(ids), 1)
        program = self.run_daemon(self.tm)
        program.wait_for("running: ")
        waiting.until(lambda: self.settled("log", "contacts"), program.tail)
        up = self.explained(record)
        self.assertEqual(program.terminate(), 143)  # a sink is stuck
        self.tm.config["sinks"].append({"name": "later", "start": "now", "file": {"path": str(self.folder / "later.ndjson")}})
        self.tm.write()
        down = self.explained(record)
        for told in (up, down):
            self.assertEqual(list(dict.fromkeys(event["id"] for event in told["events"])), list(dict.fromkeys(ids)))
            for event in told["events"]:
                standing = self.standing(event)
                self.assertEqual((standing["log"], standing["contacts"], standing["stuck"]), ("delivered", "filtered", "waiting"))
        self.assertEqual({self.standing(event)["later"] for event in down["events"]}, {"not_given"})
        text = self.expect(self.tm.call("status", "--explain", record[:15], "--sink", "log"), 0).out
        self.assertEqual(text.count("    log: delivered"), len(up["events"]))
        self.assertNotIn("stuck", text)
        self.assertIn(up["events"][0]["entity"], text)

    def test_parked(self):
        """parked and why, also where only the header decodes; what does not decode at all is counted"""
        self.bus = self.org("--seed", 92, "--prefill", EVENTS, "--count", 0, "--undecodable", 0.1)
        self.bus.wait_published(EVENTS)
        self.tm = self.tidemark(self.bus)
        self.expect(self.tm.run_until_idle(), 0)
        dead = [json.loads(line) for line in self.tm.call("dlq", "list", "--json").out.splitlines()]
        records = {verdict.identity(entry)[0]: entry["record_ids"] for entry in self.bus.ledger() if entry.get("record_ids")}
        seqs, unknown = {letter["seq"] for letter in dead}, self.explained("001000000000000AAA")
        self.assertEqual(unknown["events"], [])
        found = set()
        for record in {ids[0] for ids in records.values()}:
            for event in self.explained(record)["events"]:
                if event["seq"] in seqs:
                    self.assertEqual(self.standing(event), {"log": "parked"})
                    self.assertRegex(event["sinks"][0]["detail"], "final, undecodable: .")
                    found.add(event["seq"])
        self.assertTrue(found)
        self.assertEqual(len(found) + unknown["undecodable"], len(seqs))

    def test_mistakes(self):
        """no record id, no such sink, no store: exit 2 and 3"""
        self.tm = self.tidemark(None)
        for words in (("--explain", "x"), ("--explain", "001SM000000000"), ("--sink", "log"),
                      ("--explain", "001SM0000000001", "--sink", "nobody")):
            self.expect(self.tm.call("status", *words), 2)
        self.expect(self.tm.call("status", "--explain", "001SM0000000001"), 3, "no store")


if __name__ == "__main__":
    tap_print.main()

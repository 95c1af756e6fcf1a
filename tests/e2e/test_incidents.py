#!/usr/bin/python3
"""tidemark incidents: what needs a person, and that a person has dealt with it."""
import json

from lib import case, waiting
import tap_print

EVENTS = 20
NOTE = 'looked at it: nothing lost & "fine" – 100 % +1'


class Incidents(case.Case):
    def setUp(self):
        super().setUp()
        self.bus = self.org("--seed", 31, "--prefill", EVENTS, "--count", 0)
        self.bus.wait_published(EVENTS)
        self.tm = self.tidemark(self.bus)
        self.expect(self.tm.run_until_idle(), 0)
        self.expect(self.tm.call("replay", "--subscription", "data_accountchangeevent", "--from", "ffffffffffffffffff"), 0)
        self.expect(self.tm.run_until_idle(), 0)
        self.number = self.listed()[0]["id"]

    def listed(self, *words):
        return [json.loads(line) for line in self.expect(self.tm.call("incidents", "list", "--json", *words), 0).out.splitlines()]

    def close(self, *words, status=0):
        return self.expect(self.tm.call("incidents", "close", *map(str, words)), status)

    def check_closed(self, by):
        self.assertEqual(self.listed(), [])
        found = [i for i in self.listed("--all") if i["id"] == self.number][0]
        self.assertEqual((found["state"], found["note"]), ("closed", NOTE))
        self.assertRegex(found["closed_by"], by)
        self.assertGreaterEqual(found["closed_at"], found["opened_at"])
        self.assertIn(NOTE, self.tm.call("incidents", "list", "--all").out)
        self.assertEqual([i["state"] for i in self.tm.status()["incidents"] if i["id"] == self.number], ["closed"])

    def test_daemon_down(self):
        """daemon down: closed in the store; a second time changes nothing; it stays closed"""
        self.assertEqual([i["state"] for i in self.listed()], ["open"])
        self.assertIn("closed", self.close(self.number, "--note", NOTE).out)
        self.assertRegex(self.close(self.number, "--note", "another").out, r"was closed already, 20.* by uid \d+, daemon down")
        self.check_closed(r"^uid \d+, daemon down$")
        self.expect(self.tm.run_until_idle(), 0)
        self.check_closed(r"^uid \d+, daemon down$")

    def test_daemon_up(self):
        """daemon up: closed by it, at once; what it then shows survives a kill"""
        program = self.run_daemon(self.tm)
        waiting.until(lambda: self.tm.status()["daemon"]["running"], program.tail)
        self.assertIn("closed", self.close(self.number, "--note", NOTE).out)
        self.check_closed(r"^uid \d+$")
        self.assertRegex(self.close(self.number).out, r"was closed already")
        self.close(self.number + 77, status=2)
        program.kill()
        self.check_closed(r"^uid \d+$")

    def test_recorded_closed(self):
        """what was recorded closed says so"""
        replay = [i for i in self.listed("--all") if i["kind"] == "replay"][0]
        self.assertRegex(self.close(replay["id"]).out, "recorded closed")

    def test_check_warns(self):
        """tidemark check says that one is open, as a warning, with the daemon up and down"""
        self.assertRegex(self.expect(self.tm.call("check"), 0).err, "warning: 1 open incident: see 'tidemark incidents list'")
        program = self.run_daemon(self.tm)
        waiting.until(lambda: self.tm.status()["daemon"]["running"], program.tail)
        self.assertRegex(self.expect(self.tm.call("check"), 0).err, "warning: 1 open incident:")
        self.close(self.number)
        self.assertEqual(self.expect(self.tm.call("check"), 0).err, "")

    def test_mistakes(self):
        """no such incident, no number, a note of two lines or too long, words out of place: exit 2, nothing closed"""
        for words in ((77,), (0,), ("one",), (), (self.number, 2), (self.number, "--note", "two\nlines"),
                      (self.number, "--note", "x" * 400), (self.number, "--json")):
            self.close(*words, status=2)
        self.expect(self.tm.call("incidents", "list", "--note", "x"), 2)
        self.expect(self.tm.call("incidents"), 2)
        self.assertEqual(len(self.listed()), 1)


if __name__ == "__main__":
    tap_print.main()

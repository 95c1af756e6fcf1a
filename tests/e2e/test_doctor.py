#!/usr/bin/python3
"""tidemark doctor: each thing that can be wrong is found, said with what to do, and has its exit code."""
import json
import os

from lib import case, org as orgs, waiting
import tap_print


class Doctor(case.Case):
    def setUp(self):
        super().setUp()
        self.bus = self.org("--prefill", 10, "--count", 0, "--deny-topic", orgs.CONTACTS)

    def findings(self, tidemark, status, **more):
        """What it found, by check; the text form says the same with the same status."""
        done = self.expect(tidemark.call("doctor", "--json", **more), status)
        found = [json.loads(line) for line in done.out.splitlines()]
        text = self.expect(tidemark.call("doctor", **more), status).out
        for finding in found:
            self.assertEqual(finding["level"] == "ok", finding["advice"] is None, finding)
            self.assertEqual(finding["level"] == "bad", finding["exit_code"] != 0, finding)
            self.assertIn(f"{finding['subject']}: {finding['text']}"[:60], text)
        self.assertNotIn(orgs.CLIENT_SECRET, done.out + text)
        return found

    def bad(self, tidemark, status, check, pattern, **more):
        """Exactly one thing is bad: this one."""
        found = [finding for finding in self.findings(tidemark, status, **more) if finding["level"] == "bad"]
        self.assertEqual([(finding["check"], finding["exit_code"]) for finding in found], [(check, status)], found)
        self.assertRegex(found[0]["text"], pattern)

    def test_all_well(self):
        """all is well: exit 0, before the first start and beside a running daemon; it leaves no trace"""
        tidemark = self.tidemark(self.bus)
        found = self.findings(tidemark, 0)
        self.assertEqual({finding["level"] for finding in found}, {"ok"}, found)
        self.assertEqual({finding["check"] for finding in found}, {"store", "sink", "proxy", "login", "clock", "topic"})
        self.assertFalse(tidemark.store.exists() or tidemark.output.exists())
        program = self.run_daemon(tidemark)
        waiting.until(lambda: len(tidemark.lines()) > 0, program.tail)
        self.assertEqual({finding["level"] for finding in self.findings(tidemark, 0)}, {"ok"})

    def test_source(self):
        """wrong secret, nobody there, a topic that does not exist, one without permission: exit 4"""
        tidemark = self.tidemark(self.bus)
        self.bad(tidemark, 4, "login", "invalid_client|refused", env={"TIDEMARK_TEST_SECRET": "wrong"})
        self.bad(self.tidemark(self.bus, topics=["/data/NoSuchChangeEvent"]), 4, "topic", "NoSuch")
        self.bad(self.tidemark(self.bus, topics=[orgs.CONTACTS]), 4, "topic", ".")
        self.bad(self.tidemark(self.bus, org_changes={"login_url": "http://127.0.0.1:9"}), 4, "login", "127.0.0.1")

    def test_another_org(self):
        """the name stood for another org: exit 4, naming both"""
        tidemark = self.tidemark(self.bus)
        self.expect(tidemark.run_until_idle(), 0)
        other = self.org("--prefill", 10, "--count", 0, "--org-id", "00DSM0000000099", name="other")
        self.bad(self.tidemark(other), 4, "login", "00DSM0000000099.*00DSM0000000001")

    def test_store(self):
        """a store whose folder is no folder, a damaged one, one others may read: exit 3, 3, and a warning"""
        (self.folder / "file").write_text("x", encoding="utf-8")
        found = self.findings(self.tidemark(self.bus, store={"path": str(self.folder / "file")}), 3)
        self.assertIn("is no folder", "".join(finding["text"] for finding in found))
        tidemark = self.tidemark(self.bus)
        tidemark.store.mkdir(mode=0o755)
        os.chmod(tidemark.store, 0o755)
        found = [finding for finding in self.findings(tidemark, 0) if finding["level"] == "warning"]
        self.assertRegex(found[0]["text"], "mode 755")
        os.chmod(tidemark.store, 0o700)
        (tidemark.store / "data.mdb").write_bytes(b"something else" * 1000)
        self.bad(tidemark, 3, "store", "data.mdb|store")

    def test_incidents(self):
        """open incidents are a warning"""
        tidemark = self.tidemark(self.bus)
        self.expect(tidemark.run_until_idle(), 0)
        self.expect(tidemark.call("backup", str(self.folder / "backup")), 0)
        self.expect(tidemark.call("restore", str(self.folder / "backup"), "--force"), 0)
        found = [finding for finding in self.findings(tidemark, 0) if finding["level"] == "warning"]
        self.assertEqual([finding["text"] for finding in found], ["open incidents: 1"])

    def test_sink(self):
        """an output in a folder that is not there, one that is a folder: exit 5; with a store that is bad, too: 3"""
        def sinks(path):
            return [{"name": "log", "file": {"path": str(path)}}]
        self.bad(self.tidemark(self.bus, sinks=sinks(self.folder / "none" / "out")), 5, "sink", "cannot make")
        self.bad(self.tidemark(self.bus, sinks=sinks(self.folder)), 5, "sink", "is no regular file")
        (self.folder / "file").write_text("x", encoding="utf-8")
        self.findings(self.tidemark(self.bus, sinks=sinks(self.folder), store={"path": str(self.folder / "file")}), 3)

    def test_proxy(self):
        """a proxy that cannot be used: exit 2, and its password is not shown"""
        tidemark = self.tidemark(self.bus, org_changes={"login_url": "https://login.example.com"})
        found = self.findings(tidemark, 2, env={"HTTPS_PROXY": "socks5://somebody:hidden-word@127.0.0.1:9"})
        self.assertIn("proxy", [finding["check"] for finding in found if finding["exit_code"] == 2])
        self.assertNotIn("hidden-word", json.dumps(found))


if __name__ == "__main__":
    tap_print.main()

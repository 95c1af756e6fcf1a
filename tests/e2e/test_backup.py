#!/usr/bin/python3
# suite: timeout=600 takes=25
"""tidemark backup and restore: an older store under a newer file, and nothing lost, repeated or left unsaid."""
import os
import shutil
import unittest

from lib import case, org as orgs, place, programs, verdict, waiting
import tap_print

EVENTS = 400
KILLED = 99


class Backup(case.Case):
    def setUp(self):
        super().setUp()
        self.backup = self.folder / "backup"

    def filled(self, events=EVENTS, **more):
        """A store and a file that hold so many events; nobody runs."""
        self.bus = self.org("--seed", 41, "--prefill", events, "--count", 0)
        self.bus.wait_published(events)
        tidemark = self.tidemark(self.bus, **more)
        self.expect(tidemark.run_until_idle(), 0)
        return tidemark

    def publish_more(self, events):
        """The same past, and a future."""
        self.bus.stop()
        self.bus = self.org("--seed", 41, "--prefill", events, "--count", 0,
                            listen=self.bus.endpoint, http=f"127.0.0.1:{self.bus.http}")
        self.bus.wait_published(events)

    def check(self, tidemark, lines=None):
        lines = lines if lines is not None else tidemark.lines()
        verdict.check_output(self.bus.ledger(), lines, tidemark.topics)
        verdict.check_accounts(tidemark.status())

    def restored(self, tidemark):
        return [i for i in tidemark.status()["incidents"] if i["kind"] == "restored"]

    def test_under_load(self):
        """backup under load, kill -9, restore, go on: each event in the file once, the cut is said, an incident is open"""
        published = 1500
        self.bus = self.org("--seed", 43, "--rate", 300, "--count", published)
        tidemark = self.tidemark(self.bus, topics=[orgs.ACCOUNTS, orgs.CONTACTS])
        program = self.run_daemon(tidemark)
        waiting.until(lambda: len(tidemark.lines()) > 200, program.tail)
        made = self.expect(tidemark.call("backup", str(self.backup)), 0, r"seq 1 to \d+, the newest received 20")
        self.assertEqual(sorted(os.listdir(self.backup)), ["data.mdb"])
        head = int(made.out.split(" to ")[1].split(",")[0])
        waiting.until(lambda: len(tidemark.lines()) > head + 200, program.tail)
        program.kill()
        delivered = len(tidemark.lines())
        self.expect(tidemark.call("restore", str(self.backup), "--force"), 0, "the old store is in .*/replaced-20")
        self.assertEqual(tidemark.status()["journal"]["head"], head)
        self.assertEqual([i["state"] for i in self.restored(tidemark)], ["open"])
        self.bus.wait_published(published)
        done = self.expect(tidemark.run_until_idle(), 0, r"cut back from \d+ to \d+ bytes")
        self.assertGreater(delivered, head, str(done))
        self.check(tidemark)
        verdict.check_sequence(tidemark.lines())
        data = tidemark.output.read_bytes()
        self.expect(tidemark.run_until_idle(), 0)
        self.assertEqual(tidemark.output.read_bytes(), data)

    def test_other_order(self):
        """what comes again under other seqs, in another order of topics: still each event once"""
        tidemark = self.filled(events=200, topics=[orgs.ACCOUNTS, orgs.CONTACTS])
        self.expect(tidemark.call("backup", str(self.backup)), 0)
        self.publish_more(2 * EVENTS)
        self.expect(tidemark.run_until_idle(), 0)
        before = [verdict.identity(line) for line in tidemark.lines()]
        subscriptions = tidemark.config["subscriptions"]
        self.expect(tidemark.call("restore", str(self.backup), "--force"), 0)
        came_first = tidemark.lines()[tidemark.status()["journal"]["head"]]["topic"]
        tidemark.config["subscriptions"] = [sub for sub in subscriptions if sub["topic"] != came_first]
        tidemark.write()
        self.expect(tidemark.run_until_idle(), 0)
        tidemark.config["subscriptions"] = subscriptions
        tidemark.write()
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)
        verdict.check_sequence(tidemark.lines())
        after = [verdict.identity(line) for line in tidemark.lines()]
        self.assertTrue(after != before and sorted(after) == sorted(before))

    def test_lost_folder(self):
        """the store's folder is gone: restored without --force, it goes on; the restored store backs up, too"""
        tidemark = self.filled()
        self.expect(tidemark.call("backup", str(self.backup)), 0)
        shutil.rmtree(tidemark.store)
        done = self.expect(tidemark.call("restore", str(self.backup)), 0)
        self.assertNotIn("old store", done.out)
        self.publish_more(2 * EVENTS)
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)
        self.expect(tidemark.call("backup", str(self.folder / "second")), 0)

    def test_rotated_since(self):
        """the file was rotated after the backup: said, nothing lost; the old file holds what comes again"""
        tidemark = self.filled(events=200)
        self.expect(tidemark.call("backup", str(self.backup)), 0)
        kept = len(tidemark.lines())
        old = self.folder / "old.ndjson"
        os.rename(tidemark.output, old)
        self.publish_more(EVENTS)
        self.expect(tidemark.run_until_idle(), 0)
        self.expect(tidemark.call("restore", str(self.backup), "--force"), 0)
        self.expect(tidemark.run_until_idle(), 0, "another file than before")
        lines = tidemark.lines()
        self.assertEqual(len(lines), 2 * (len(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS)) - kept))
        self.check(tidemark, tidemark.lines(old) + lines[len(lines) // 2:])

    def test_refusals(self):
        """a folder that is not empty, no backup, a cut one, a store that is there, a daemon that runs: said, nothing changed"""
        tidemark = self.filled(events=50)
        self.expect(tidemark.call("backup", str(self.backup)), 0)
        before = verdict.totals(tidemark.status())
        self.expect(tidemark.call("backup", str(self.backup)), 2, "is not empty .it has 'data.mdb'")
        self.expect(tidemark.call("restore", str(self.backup)), 2, "--force")
        self.expect(tidemark.call("restore", str(tidemark.store), "--force"), 2, "is the store itself")
        self.expect(tidemark.call("restore", str(self.folder / "nothing"), "--force"), 2, "is no backup")
        self.expect(tidemark.call("restore"), 2)
        self.expect(tidemark.call("backup"), 2)
        cut = self.folder / "cut"
        cut.mkdir()
        data = (self.backup / "data.mdb").read_bytes()
        for what in (data[:len(data) // 2], b"", b"something else" * 1000):
            (cut / "data.mdb").write_bytes(what)
            self.expect(tidemark.call("restore", str(cut), "--force"), 3)
        program = self.run_daemon(tidemark)
        waiting.until(lambda: tidemark.status()["daemon"]["running"], program.tail)
        self.expect(tidemark.call("restore", str(self.backup), "--force"), 3, "in use by another process")
        self.assertEqual(program.terminate(), 0)
        self.assertEqual(verdict.totals(tidemark.status()), before)
        self.assertEqual([name for name in os.listdir(tidemark.store) if "replaced" in name or "partial" in name], [])

    def test_no_store(self):
        """nothing to back up: exit 3, and no folder that looks like a backup"""
        tidemark = self.tidemark()
        self.expect(tidemark.call("backup", str(self.backup)), 3, "no store here")
        self.assertFalse(self.backup.exists())

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to be two users")
    def test_as_root(self):
        """root restores and looks at the store of a daemon that is not root, which then goes on; others are told"""
        daemon, stranger = 65534, 65533
        program = shutil.copy(place.TIDEMARK, self.folder / "tidemark")
        tidemark = self.filled(events=80)
        os.chown(self.folder, daemon, daemon)
        for path in self.folder.rglob("*"):
            os.chown(path, daemon, daemon)

        def as_user(user, *words, seconds=60):
            return programs.call([program, *tidemark.command(*words)[1:]], seconds, tidemark.env,
                                 user=user, group=user, extra_groups=[])
        self.expect(as_user(daemon, "backup", self.backup), 0)
        for word in ("lock.mdb", "tidemark.lock"):
            (tidemark.store / word).unlink()
        self.expect(tidemark.call("status"), 0)
        self.expect(tidemark.call("replay", "--subscription", tidemark.name_of(orgs.ACCOUNTS), "--from", "latest"), 0)
        self.expect(tidemark.call("restore", str(self.backup), "--force"), 0)
        self.expect(tidemark.call("status"), 0)
        owners = {str(path.relative_to(self.folder)): path.stat().st_uid for path in [*tidemark.store.rglob("*"), self.backup]}
        self.assertEqual(set(owners.values()), {daemon}, owners)
        self.publish_more(160)
        self.expect(as_user(daemon, "run", "--until-idle", "1"), 0)
        self.check(tidemark)
        os.chmod(self.folder, 0o711)
        for words in (["status"], ["incidents", "list"], ["replay", "--subscription", tidemark.name_of(orgs.ACCOUNTS), "--from", "latest"],
                      ["backup", str(self.folder / "other")]):
            self.expect(as_user(stranger, *words), 3, "this user may not look into it")
        self.expect(as_user(stranger, "restore", self.backup), 2, "this user may not look into it")

    def test_killed(self):
        """killed at any point: the backup is whole or not there, the store is the old one or the new; then it works"""
        tidemark = self.filled(events=100)
        died = 0
        for number in range(1, 10):
            done = tidemark.call("backup", str(self.backup), env={"TIDEMARK_KILL_AT": str(number)})
            if done.status != KILLED:
                self.expect(done, 0)
                break
            died += 1
            if (self.backup / "data.mdb").exists():
                shutil.rmtree(self.backup)
        self.assertEqual(died, 3)
        head = tidemark.status()["journal"]["head"]
        self.publish_more(200)
        self.expect(tidemark.run_until_idle(), 0)
        newer = tidemark.status()["journal"]["head"]
        died = 0
        for number in range(1, 30):
            done = tidemark.call("restore", str(self.backup), "--force", env={"TIDEMARK_KILL_AT": str(number)})
            if done.status != KILLED:
                self.expect(done, 0)
                break
            died += 1
            self.assertIn(tidemark.status()["journal"]["head"], (head, newer), f"killed at visit {number}")
        self.assertGreater(died, 5)
        self.assertEqual((tidemark.status()["journal"]["head"], len(self.restored(tidemark))), (head, 1))
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)


if __name__ == "__main__":
    tap_print.main()

#!/usr/bin/python3
# suite: timeout=900 takes=70
"""Stores and output files that are damaged, foreign, full, read-only or taken: refused with reason, nothing lost."""
import os
import random
import re
import shutil
import stat
import subprocess

from lib import case, disks, org as orgs, programs, verdict, waiting
import tap_print

EVENTS = 200


class Disk(case.Case):
    def ready(self, **config):
        """An org with EVENTS events, and a configuration."""
        self.bus = self.org("--seed", 17, "--prefill", EVENTS, "--count", 0)
        self.bus.wait_published(EVENTS)
        return self.tidemark(self.bus, **config)

    def done_once(self, **config):
        """... whose events are in the file already."""
        tidemark = self.ready(**config)
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)
        return tidemark

    def check(self, tidemark):
        verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)
        verdict.check_accounts(tidemark.status())

    def small_disk(self, size, name="disk"):
        if not disks.can_mount(self.folder):
            self.skipTest("needs root and mount")
        disk = disks.Disk(self.folder / name, size)
        self.started.append(disk)
        return disk

    def publish_more(self):
        """A second org with the same past and a future: the same seed, more events."""
        self.bus.stop()
        past = self.bus.ledger()
        self.bus = self.org("--seed", 17, "--prefill", 2 * EVENTS, "--count", 0, name="sim-later",
                            listen=self.bus.endpoint, http=f"127.0.0.1:{self.bus.http}")
        self.bus.wait_published(2 * EVENTS)
        # The simulator completes no transaction past its last event, so the pasts may part there; not on our topic.
        now = [entry for entry in self.bus.ledger() if verdict.on_topic(entry, orgs.ACCOUNTS)]
        then = [entry for entry in past if verdict.on_topic(entry, orgs.ACCOUNTS)]
        self.assertEqual([verdict.identity(entry) for entry in now[:len(then)]], [verdict.identity(entry) for entry in then])
        self.assertGreater(now[len(then)]["replay_id"], past[-1]["replay_id"], "choose another seed")


class Store(Disk):
    def refused(self, tidemark, *texts):
        """Exit 3, the store's path and the reason; nothing changed in the output."""
        data = tidemark.output.read_bytes() if tidemark.output.exists() else None
        done = self.expect(tidemark.run_until_idle(), 3, re.escape(str(tidemark.store)), *texts)
        self.assertEqual(tidemark.output.read_bytes() if tidemark.output.exists() else None, data)
        return done

    def data_file(self, tidemark):
        return tidemark.store / "data.mdb"

    def test_future_version(self):
        """a store from a future version is refused, and left as it is"""
        tidemark = self.done_once()
        raw = self.data_file(tidemark).read_bytes()
        # The layout's number lies behind its key in the meta table.
        place = [match.start() for match in re.finditer(rb"layout", raw)]
        self.assertTrue(place)
        changed = bytearray(raw)
        for start in place:
            self.assertIn(changed[start + 6], (1, 0))
            offset = start + 6 + (changed[start + 6] == 0)
            changed[offset:offset + 4] = (99).to_bytes(4, "little")
        self.data_file(tidemark).write_bytes(changed)
        self.refused(tidemark, r"(?i)layout|version", "99")
        self.expect(tidemark.call("status"), 3, "99")
        self.assertEqual(self.data_file(tidemark).read_bytes(), bytes(changed))

    def damaged(self, tidemark, damage):
        """Damage the file, run: exit 3 or, where the damage hit nothing in use, a right result. Never a crash."""
        done = tidemark.run_until_idle()
        self.assertIn(done.status, (0, 3), f"{damage}: {done}")
        if done.status == 0:
            self.check(tidemark)
        else:
            self.assertRegex(done.err, re.escape(str(tidemark.store)), damage)
        return done.status

    def test_damaged_head(self):
        """a store whose first pages are garbage"""
        tidemark = self.done_once()
        path = self.data_file(tidemark)
        with open(path, "r+b") as data:
            data.write(os.urandom(8192))
        self.refused(tidemark, r"(?i)damaged|not an LMDB|invalid|version")

    def test_truncated(self):
        """a store cut in half"""
        tidemark = self.done_once()
        path = self.data_file(tidemark)
        os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)
        self.assertEqual(self.damaged(tidemark, "cut in half"), 3)

    def test_empty(self):
        """a store whose file was emptied is no new store: exit 3"""
        tidemark = self.done_once()
        os.truncate(self.data_file(tidemark), 0)
        self.refused(tidemark)

    def test_damaged_somewhere(self):
        """single damaged pages, 12 of them: exit 3 with the path, or no harm; never a crash or a wrong line"""
        tidemark = self.done_once()
        raw = self.data_file(tidemark).read_bytes()
        draw, output = random.Random(23), tidemark.output.read_bytes()
        for _ in range(12):
            page = draw.randrange(2, len(raw) // 4096)
            changed = bytearray(raw)
            changed[page * 4096:page * 4096 + 4096] = draw.randbytes(4096)
            self.data_file(tidemark).write_bytes(changed)
            tidemark.output.write_bytes(output)
            status = tidemark.run_until_idle().status
            self.assertIn(status, (0, 3, 5), f"page {page}")
            self.assertTrue(tidemark.output.read_bytes().startswith(output), f"page {page}: what was written is gone")

    def test_locked(self):
        """a second daemon on the same store: exit 3, and the pid of the first"""
        tidemark = self.done_once(admin={"listen": "127.0.0.1:0"})
        program = self.run_daemon(tidemark)
        waiting.until(lambda: tidemark.status()["daemon"]["running"], program.tail)
        self.refused(tidemark, str(program.pid))
        self.assertEqual(program.terminate(), 0)

    def test_read_only(self):
        """a read-only store: exit 3; status still reads it"""
        disk = self.small_disk(64 << 20)
        tidemark = self.done_once(store={"path": str(disk.folder / "store"), "max_size": "64MiB"})
        tidemark.store = disk.folder / "store"
        disk.read_only()
        self.refused(tidemark, r"(?i)read-only")
        self.expect(tidemark.call("status"), 0)
        verdict.check_accounts(tidemark.status())
        disk.read_only(False)
        self.publish_more()
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)

    def test_not_ours_to_write(self):
        """a folder this user may not write: exit 3 or 2, with the path"""
        tidemark = self.ready(store={"path": "/proc/tidemark-store", "max_size": "64MiB"})
        done = tidemark.run_until_idle()
        self.assertIn(done.status, (2, 3), str(done))
        self.assertIn("/proc/tidemark-store", done.err)

    def test_full_disk(self):
        """a full disk under the store: exit 3, path and free bytes; with room again nothing is lost"""
        disk = self.small_disk(8 << 20)
        self.bus = self.org("--seed", 17, "--prefill", 10 * EVENTS, "--count", 0)
        self.bus.wait_published(10 * EVENTS)
        tidemark = self.tidemark(self.bus, topics=[orgs.CHANGES], store={"path": str(disk.folder / "store"), "max_size": "64MiB"})
        tidemark.store = disk.folder / "store"
        disk.fill(leave=400 << 10)
        done = self.expect(tidemark.run_until_idle(), 3, re.escape(str(tidemark.store)), r"\d+ bytes")
        self.assertRegex(done.err, r"(?i)no space|full")
        disk.make_room()
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)

    def test_full_disk_while_running(self):
        """the disk fills up while the daemon runs: it stops with exit 3, and goes on from what is true"""
        disk = self.small_disk(8 << 20)
        self.bus = self.org("--seed", 19, "--rate", 100, "--count", 400)
        tidemark = self.tidemark(self.bus, store={"path": str(disk.folder / "store"), "max_size": "64MiB"})
        program = self.run_daemon(tidemark)
        waiting.until(lambda: len(tidemark.lines()) > 10, program.tail)
        disk.fill()
        self.assertEqual(program.wait(30), 3, program.tail())
        self.assertRegex(program.err, r"\d+ bytes")
        disk.make_room()
        self.bus.wait_published(400)
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)

    def test_store_mode(self):
        """the store's folder is made with mode 0700, its socket with 0600"""
        tidemark = self.done_once()
        self.assertEqual(stat.S_IMODE(tidemark.store.stat().st_mode), 0o700)
        program = self.run_daemon(tidemark)
        waiting.until(lambda: tidemark.status()["daemon"]["running"], program.tail)
        sockets = [path for path in tidemark.store.iterdir() if path.is_socket()]
        self.assertEqual([stat.S_IMODE(path.stat().st_mode) for path in sockets], [0o600])
        self.assertEqual(program.terminate(), 0)


class Output(Disk):
    def stopped(self, tidemark, *texts):
        """--until-idle exits 5 with the file's path and the reason; what is in the journal waits."""
        return self.gives_up(tidemark, 5, re.escape(str(tidemark.output)), *texts)

    def test_no_folder(self):
        """an output in a folder that is not there: exit 5; made, everything arrives"""
        folder = self.folder / "later"
        tidemark = self.ready(sinks=[{"name": "log", "file": {"path": str(folder / "out.ndjson")}}])
        tidemark.output = folder / "out.ndjson"
        self.stopped(tidemark)
        folder.mkdir()
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)

    def test_is_a_folder(self):
        """an output that is a folder: exit 5"""
        tidemark = self.ready()
        tidemark.output.mkdir()
        self.stopped(tidemark)
        tidemark.output.rmdir()
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)

    def test_run_stays(self):
        """run does not exit for an output it cannot write; it goes on when it can"""
        folder = self.folder / "later"
        tidemark = self.ready(sinks=[{"name": "log", "file": {"path": str(folder / "out.ndjson")}}])
        tidemark.output = folder / "out.ndjson"
        program = self.run_daemon(tidemark)

        def lag():
            return [sink["lag"] for sink in tidemark.status()["sinks"]]
        waiting.until(lambda: lag() not in ([], [0]), program.tail)
        self.assertTrue(program.running(), program.tail())
        folder.mkdir()
        waiting.until(lambda: lag() == [0], program.tail, 60)
        self.assertEqual(program.terminate(), 0)
        self.check(tidemark)

    def test_full_disk(self):
        """a full disk under the output: no torn line stays, and with room again nothing is lost or repeated"""
        disk = self.small_disk(1 << 20)
        tidemark = self.ready(sinks=[{"name": "log", "file": {"path": str(disk.folder / "out.ndjson")}}])
        tidemark.output = disk.folder / "out.ndjson"
        disk.fill(leave=20 << 10)
        self.stopped(tidemark, r"(?i)no space")
        disk.make_room()
        self.expect(tidemark.run_until_idle(), 0)
        self.assertTrue(tidemark.last_line_is_whole())
        self.check(tidemark)

    def rotated(self, tidemark, before):
        """After the past went elsewhere: the new events come, once, into the file as it is."""
        self.publish_more()
        done = self.expect(tidemark.run_until_idle(), 0)
        self.assertRegex(done.err, r"(?i)rotat|shorter|replaced|truncat|another file|new file", str(done))
        verdict.check_output(self.bus.ledger(), before + tidemark.lines(), tidemark.topics)

    def test_rotated(self):
        """a rotated file: its successor begins where the old one ended, and the log says so"""
        tidemark = self.done_once()
        before = tidemark.lines()
        os.rename(tidemark.output, self.folder / "old.ndjson")
        self.rotated(tidemark, before)

    def test_truncated(self):
        """a truncated file (copytruncate): the same"""
        tidemark = self.done_once()
        before = tidemark.lines()
        os.truncate(tidemark.output, 0)
        self.rotated(tidemark, before)

    def doubts(self, tidemark):
        return [i for i in tidemark.status()["incidents"] if i["kind"] == "output_differs" and i["state"] == "open"]

    def test_older_copy(self):
        """an older copy of the file is put in its place: said in an incident, and the replay it names brings what is missing"""
        tidemark = self.done_once()
        before = tidemark.lines()
        older = b"".join(tidemark.output.read_bytes().splitlines(keepends=True)[:10])
        self.replace(tidemark.output, older)
        self.publish_more()
        self.expect(tidemark.run_until_idle(), 0, "is an older copy: it ends with seq 10")
        self.assertEqual([i["subscription"] for i in self.doubts(tidemark)], ["log"])
        new = [verdict.identity(line) for line in tidemark.lines()[10:]]
        self.assertEqual(new, verdict.expected(self.bus.ledger(), orgs.ACCOUNTS)[len(before):])
        words = re.search(r"`tidemark (replay --sink log --from \w+)`", self.doubts(tidemark)[0]["text"]).group(1).split()
        self.expect(tidemark.call(*words), 0)
        self.expect(tidemark.run_until_idle(), 0)
        held = [verdict.identity(line) for line in tidemark.lines()]
        self.assertEqual(set(held), set(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS)))
        self.assertEqual(len(self.doubts(tidemark)), 1)

    @staticmethod
    def replace(path, data):
        """Another file in its place. It is written beside it first: the number of one that is gone may come again."""
        copy = path.with_suffix(".copy")
        copy.write_bytes(data)
        copy.replace(path)

    def test_same_copy(self):
        """a copy of the file as it was: gone on in, without an incident"""
        tidemark = self.done_once()
        data = tidemark.output.read_bytes()
        self.replace(tidemark.output, data)
        self.publish_more()
        self.expect(tidemark.run_until_idle(), 0, "another file than before")
        self.assertEqual(self.doubts(tidemark), [])
        self.check(tidemark)

    def test_lost_store(self):
        """the store is deleted under a living file: nothing is cut, and an incident says what is in it twice"""
        tidemark = self.done_once()
        before = tidemark.output.read_bytes()
        shutil.rmtree(tidemark.store)
        self.expect(tidemark.run_until_idle(), 0, "holds \\d+ bytes already", "written under another store")
        self.assertTrue(tidemark.output.read_bytes().startswith(before))
        self.assertEqual(len(self.doubts(tidemark)), 1)
        self.assertEqual(len(tidemark.lines()), 2 * len(verdict.expected(self.bus.ledger(), orgs.ACCOUNTS)))

    def test_foreign_tail(self):
        """a foreign tail: the sink stops, the file is not touched, exit 5"""
        tidemark = self.done_once()
        with open(tidemark.output, "ab") as out:
            out.write(b"somebody else's line\n")
        data = tidemark.output.read_bytes()
        self.stopped(tidemark)
        self.publish_more()
        self.stopped(tidemark)
        self.assertEqual(tidemark.output.read_bytes(), data)
        with open(tidemark.output, "r+b") as out:
            out.truncate(len(data) - len(b"somebody else's line\n"))
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)

    def test_changed_line(self):
        """a file whose last line was edited: the sink stops, exit 5"""
        tidemark = self.done_once()
        data = tidemark.output.read_bytes()
        tidemark.output.write_bytes(data[:-20] + b"X" * 19 + b"\n")
        self.publish_more()
        changed = tidemark.output.read_bytes()
        self.stopped(tidemark)
        self.assertEqual(tidemark.output.read_bytes(), changed, "a foreign file was cut")

    def test_foreign_file(self):
        """a file full of somebody else's text at a new sink's path is never overwritten: our lines come behind it"""
        tidemark = self.ready()
        tidemark.output.write_bytes(b"precious\n")
        self.expect(tidemark.run_until_idle(), 0, re.escape(str(tidemark.output)))
        data = tidemark.output.read_bytes()
        self.assertTrue(data.startswith(b"precious\n"))
        tidemark.output.write_bytes(data[len(b"precious\n"):])
        verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)

    def test_foreign_half_line(self):
        """a new sink's path that ends in somebody's half line: the sink stops, exit 5"""
        tidemark = self.ready()
        tidemark.output.write_bytes(b"precious, and no end of line")
        self.stopped(tidemark)
        self.assertEqual(tidemark.output.read_bytes(), b"precious, and no end of line")

    def test_torn_line(self):
        """a half line of our own at the end is cut back, and comes again whole"""
        tidemark = self.done_once()
        self.publish_more()
        entry = tidemark.output.read_bytes().splitlines()[-1]
        with open(tidemark.output, "ab") as out:
            out.write(entry[:len(entry) // 2])
        self.expect(tidemark.run_until_idle(), 0, "cut back")
        self.check(tidemark)

    def test_lost_commit(self):
        """lines whose commit was lost (the store is older than the file): cut back, and written once"""
        tidemark = self.done_once()
        older = self.folder / "older"
        shutil.copytree(tidemark.store, older, ignore=shutil.ignore_patterns("*.sock", "*.lock", "lock.mdb"))
        self.publish_more()
        self.expect(tidemark.run_until_idle(), 0)
        for path in older.iterdir():
            shutil.copyfile(path, tidemark.store / path.name)
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)

    def test_taken(self):
        """a file another daemon holds: exit 5"""
        tidemark = self.done_once()
        program = self.run_daemon(tidemark)
        waiting.until(lambda: tidemark.status()["daemon"]["running"], program.tail)
        other = self.tidemark(self.bus, folder=self.folder / "second")
        other.config["sinks"][0]["file"]["path"] = str(tidemark.output)
        other.output = tidemark.output
        other.write()
        self.gives_up(other, 5, re.escape(str(tidemark.output)))
        self.assertEqual(program.terminate(), 0)
        self.check(tidemark)

    def test_failing_fsync(self):
        """fdatasync that fails: the lines are not counted as delivered; the next run writes what is missing"""
        if subprocess.run(["which", "strace"], capture_output=True, check=False).returncode != 0:
            self.skipTest("needs strace")
        tidemark = self.ready()
        command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-P", str(tidemark.output), "-e", "inject=fdatasync:error=EIO",
                   *tidemark.command("run", "--until-idle", "1", "--deadline")]
        # LeakSanitizer cannot work under strace.
        options = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "detect_leaks=0"]))
        for deadline in (4, 20, 100):  # by then the service must have answered, too
            done = programs.call([*command, deadline], deadline + 90, {**tidemark.env, "ASAN_OPTIONS": options})
            if done.status in (3, 5):
                break
        self.assertIn(done.status, (3, 5), str(done))
        self.expect(tidemark.run_until_idle(), 0)
        self.check(tidemark)


if __name__ == "__main__":
    tap_print.main()

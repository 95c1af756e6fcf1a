#!/usr/bin/python3
# suite: timeout=1200 takes=75
"""Dying anywhere: kill points one after another, and kill -9 from outside at random moments.

The verdict is always the same signature: each published event in the file exactly once and in order, the
accounts add up (I9), and a second restart changes nothing. TIDEMARK_CRASH_LIMIT (scripts/test --crash N)
bounds both loops; the everyday bounds are below. A failing run prints its seed.
"""
import os
import random
import time

from lib import case, org as orgs, place, verdict, waiting
import tap_print

LIMIT = int(os.environ.get("TIDEMARK_CRASH_LIMIT", "0"))
# What the everyday run may spend on one loop; a longer loop then goes on in growing steps.
EVERYDAY_SECONDS = 150
KILLED = 99
SEED = int(os.environ.get("TIDEMARK_CRASH_SEED", "20260506"))


class Crash(case.Case):
    def check(self, org, tidemark):
        self.assertTrue(tidemark.last_line_is_whole(), "the file ends in a torn line")
        lines = tidemark.lines()
        verdict.check_output(org.ledger(), lines, tidemark.topics)
        verdict.check_sequence(lines)
        verdict.check_accounts(tidemark.status())

    def finish(self, org, tidemark, name):
        """Restart after a death, without kill points, until the file holds everything and the sink is settled."""
        wanted = sum(len(verdict.expected(org.ledger(), topic)) for topic in tidemark.topics)
        program = self.run_daemon(tidemark, name=name)

        def settled():
            self.assertTrue(program.running(), program.tail())
            status = tidemark.status()
            return len(tidemark.lines()) >= wanted and status["daemon"]["running"] and status["sinks"][0]["lag"] == 0
        waiting.until(settled, lambda: f"{wanted} lines, {len(tidemark.lines())} there\n{program.tail()}", 30)
        self.assertEqual(program.terminate(), 0, program.tail())

    def unchanged_by_restart(self, tidemark):
        before, data = verdict.totals(tidemark.status()), tidemark.output.read_bytes()
        self.expect(tidemark.run_until_idle(), 0)
        self.assertEqual(tidemark.output.read_bytes(), data, "a second restart changed the file")
        self.assertEqual(verdict.totals(tidemark.status()), before, "a second restart changed the totals")

    def die_at(self, org, number, **config):
        """One life with TIDEMARK_KILL_AT=number, in a folder of its own. False when it ended untouched."""
        tidemark = self.tidemark(org, folder=self.folder / f"at-{number}", **config)
        done = tidemark.run_until_idle(env={"TIDEMARK_KILL_AT": str(number)})
        if done.status != KILLED:
            self.expect(done, 0)
            self.check(org, tidemark)
            return False
        self.assertRegex(done.err, r"killpoint \S+", str(done))
        point = done.err.rsplit("killpoint ", 1)[1].split()[0]
        try:
            self.finish(org, tidemark, f"after-{number}")
            self.check(org, tidemark)
            if number % 10 == 1:
                self.unchanged_by_restart(tidemark)
        except AssertionError as error:
            raise AssertionError(f"killed at visit {number}, {point}: {error}") from error
        self.points[point] = self.points.get(point, 0) + 1
        return True

    def loop(self, org, **config):
        """N = 1, 2, 3 … until a run ends untouched, or the bound is reached."""
        self.points, number, step, untouched = {}, 1, 1, False
        started = time.monotonic()
        while not untouched:
            untouched = not self.die_at(org, number, **config)
            if LIMIT and number >= LIMIT:
                break
            if not LIMIT and time.monotonic() - started > EVERYDAY_SECONDS:
                step = step * 2
            number += step
        print(f"# {'the whole loop' if untouched and step == 1 else 'a part of the loop'}, up to visit {number}: "
              + ", ".join(f"{name} x {count}" for name, count in sorted(self.points.items())))
        self.assertTrue(self.points, "no kill point was met: is this a build with TIDEMARK_KILLPOINTS?")

    def test_kill_points_first_run(self):
        """killed at visit N = 1, 2, 3 … of a first run: nothing lost, nothing repeated"""
        org = self.org("--seed", SEED, "--prefill", 90, "--count", 0, "--batch", 20)
        org.wait_published(90)
        self.loop(org, topics=[orgs.ACCOUNTS])

    def test_kill_points_shared_replay_ids(self):
        """the same with publish retries, shared replay ids and small batches"""
        org = self.org("--seed", SEED + 1, "--prefill", 60, "--count", 0, "--batch", 3, "--duplicates", 0.1,
                       "--shared-replay", 0.2, "--keepalive", 0.2)
        org.wait_published(60)
        self.loop(org, topics=[orgs.ACCOUNTS], sinks=[
            {"name": "log", "file": {"path": str(self.folder / "unused")}, "batch": {"events": 4}}])

    def tidemark(self, *arguments, **more):
        tidemark = super().tidemark(*arguments, **more)
        tidemark.config["sinks"][0]["file"]["path"] = str(tidemark.output)
        tidemark.write()
        return tidemark

    def test_kill_points_on_one_store(self):
        """one store, 60 lives that each end at a random kill point, recoveries among them"""
        draw = random.Random(SEED + 2)
        lives = LIMIT or 60
        count = lives * 12
        org = self.org("--seed", SEED + 2, "--rate", 150, "--count", count, "--duplicates", 0.05, "--shared-replay", 0.1,
                       "--batch", 10, "--keepalive", 0.1)
        tidemark = self.tidemark(org, topics=[orgs.ACCOUNTS, orgs.ORDERS])
        points = {}
        for life in range(lives):
            at = draw.randrange(1, 40)
            program = tidemark.run(env={"TIDEMARK_KILL_AT": str(at)}, name="tidemark")
            self.started.append(program)
            # Keepalives and events make visits; a life that waits for events of the bus's end is ended from outside.
            waiting.until(lambda: not program.running() or len(org.ledger()) >= count, program.tail, 60)
            if program.running():
                program.kill()
                continue
            self.assertEqual(program.wait(), KILLED, f"life {life}, killed at visit {at}\n{program.tail()}")
            point = program.err.rsplit("killpoint ", 1)[1].split()[0]
            points[point] = points.get(point, 0) + 1
        print("# " + ", ".join(f"{name} x {number}" for name, number in sorted(points.items())))
        org.wait_published(count, 60)
        self.expect(tidemark.run_until_idle(), 0)
        self.check(org, tidemark)
        self.unchanged_by_restart(tidemark)

    def test_kill_from_outside(self):
        """kill -9 at random moments, 50 times, on one store"""
        draw = random.Random(SEED)
        kills = LIMIT or 50
        count = kills * 60
        org = self.org("--seed", SEED, "--rate", 250, "--count", count, "--duplicates", 0.05, "--shared-replay", 0.05,
                       "--batch", 30)
        tidemark = self.tidemark(org, topics=[orgs.ACCOUNTS, orgs.ORDERS])
        before, stretch = 0, place.slowness()
        for number in range(kills):
            program = tidemark.run(name="tidemark")
            self.started.append(program)
            waiting.pause(draw.choice([draw.uniform(0.005, 0.1), draw.uniform(0.05, 0.5)]) * stretch)
            self.assertTrue(program.running(), f"ended by itself before kill {number}\n{program.tail()}")
            program.kill()
            before = len(tidemark.lines())
            if before == 0 and number % 10 == 9:  # a machine on which no life comes so far
                stretch *= 2
        print(f"# {kills} kills, {before} lines at the last one, seed {SEED}")
        org.wait_published(count, 120)
        self.expect(tidemark.run_until_idle(seconds=180), 0)
        self.check(org, tidemark)
        self.unchanged_by_restart(tidemark)
        self.assertGreater(before, 0, "no life was long enough to write a line")


if __name__ == "__main__":
    tap_print.main()

"""One scenario: a YAML file that says what the service does, and what must come of it.

    what: one line                             # what happens, for people; the case's name
    service: --batch 5 --keepalive 0.3         # options of tidemark-sim beside the usual ones
    subscribe: [/data/ChangeEvents]            # the default
    subscription: {on_lost_position: repair}   # laid over each subscription
    org: {backoff: {max: 1s}}                  # laid over the org
    config: {}                                 # laid over the whole configuration
    clock: 100                                 # the daemon's clock runs so many times faster
    each: {CODE: [a, b]}                       # the steps are done for each value, which stands in them as $CODE
    steps: [publish 30, start, ...]
    says: [text]                               # regular expressions, each in the daemon's log
    incidents: [lost_position]                 # kinds, in order; none when missing
    dead_letters: true                         # all that nobody can decode are there; none when missing

A step is an order to the simulator (docs/simulator.md), or one of these:

    start | stop | kill         the daemon: run, SIGTERM and exit 0, kill -9
    delivered [TOPIC]           everything published so far is in the file, but for dead letters and what is gone
    state NAME [TEXT]           `status` shows this state of each subscription, with TEXT in its reason
    one-state NAME [TEXT]       ... of at least one
    unready TEXT                /readyz says no, and TEXT (`tidemark health`, exit 4)
    ready                       /readyz says yes
    streams N                   the service has been asked for N streams in all
    logins N                    ... for N tokens
    says TEXT                   the daemon's log says so (again, if it was waited for before)
    struck N                    N faults of the wire have struck
    wait-for-keepalive          each subscription has heard from the service once more
    incident KIND               an open incident of this kind is listed
    before-start                what is published was committed before the subscription began: it must not come
    gone                        what is published and not delivered cannot be had any more: an incident must name it
    undecodable ENTITY          from here on, events of this entity are dead letters
    configure PATH=VALUE        another configuration for the next start: orgs.0.max_message=16MiB
    command WORDS               a command of tidemark, exit 0

The verdict is the accounting, whatever the steps were: each published event is in the file exactly once, in order,
or a dead letter, or (gone) in the interval that an incident of its subscription names; `status` adds up (I9); the
daemon ends well.
"""
import datetime
import functools
import json
import re
import shlex
import urllib.request

import yaml

from . import case, org as orgs, verdict, waiting

KEYS = {"what", "service", "subscribe", "subscription", "org", "config", "clock", "each", "steps", "says", "incidents",
        "dead_letters"}
USUAL = ["--seed", "11", "--count", "0", "--auth-delay", "0.2", "--relay"]
ORDER = re.compile(r"[A-Z]|(token|wire|publish|drop|revoke|expire|reuse|migrate|none)\b")


class Scenario(case.Case):
    """Calling order: Scenario(path) -> play(), which raises what was wrong. Thread: any, one scenario each."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.text = yaml.safe_load(path.read_text(encoding="utf-8"))
        unknown = set(self.text) - KEYS
        if unknown:
            raise ValueError(f"{path.name}: unknown keys {unknown}")

    def runTest(self):
        """Played by play()."""

    def play(self):
        self.setUp()
        try:
            self.prepare()
            for step in self.steps():
                self.step(step)
            self.judge()
        except AssertionError as error:
            raise AssertionError(f"{self.path.name}: {error}\n{self.program.tail(40) if self.program else ''}\n"
                                 f"{self.bus.program.tail(15) if self.bus else ''}") from error
        finally:
            self.clean()

    def prepare(self):
        self.bus, self.program, self.heard_to, self.gone, self.refused = None, None, 0, set(), set()
        self.before_start = set()
        self.bus = self.org(*USUAL, *shlex.split(self.text.get("service", "")))
        org = {"backoff": {"initial": "20ms", "max": "200ms"}, **self.text.get("org", {})}
        config = self.text.get("config", {})
        if "clock" in self.text:  # its 25 seconds would be a moment
            config = {"shutdown": {"drain": "1h"}, **config}
        self.tm = self.tidemark(self.bus, topics=self.text.get("subscribe", [orgs.CHANGES]), org_changes=org,
                                **config)
        for subscription in self.tm.config["subscriptions"]:
            subscription.update(self.text.get("subscription", {}))
        self.tm.write()

    # --- steps

    def steps(self):
        (name, values), = self.text.get("each", {"": [""]}).items()
        for value in values:
            for step in self.text["steps"]:
                yield step.replace(f"${name}", value) if name else step

    def step(self, step):
        word, _, rest = step.partition(" ")
        if ORDER.match(step):
            self.bus.order(step)
            return
        do = getattr(self, "do_" + word.replace("-", "_"), None)
        if not do:
            raise ValueError(f"{self.path.name}: unknown step {step!r}")
        do(rest)

    def do_start(self, _):
        scale = self.text.get("clock")
        if self.program:
            self.heard_to = len(self.program.err)
        self.program = self.run_daemon(self.tm, env={"TIDEMARK_TEST_CLOCK_SCALE": str(scale)} if scale else None)
        waiting.until(lambda: self.alive() and "running:" in self.program.err[self.heard_to:], "the daemon runs", 40)

    def do_stop(self, _):
        status = self.program.terminate()
        if status != 0:
            raise AssertionError(f"the daemon ended with {status}")

    def do_kill(self, _):
        self.program.kill()

    def do_delivered(self, topic):
        topics = [topic] if topic else self.tm.topics
        wanted = [key for key in self.wanted() if key[0] in topics]

        def count():
            return sum(line["topic"] in topics for line in self.tm.lines())
        waiting.until(lambda: self.alive() and count() >= len(wanted), lambda: f"{len(wanted)} lines wanted, {count()} there", 40)
        letters = self.letters_wanted() if not topic else None
        if letters:
            waiting.until(lambda: self.alive() and self.letters() == letters,
                          lambda: f"dead letters {letters} wanted, {self.letters()} there", 40)

    def do_state(self, rest, of=all):
        name, _, text = rest.partition(" ")
        seen = []

        def there():
            self.alive()
            seen[:] = [(sub["state"], sub["reason"] or "") for sub in self.tm.status()["subscriptions"]]
            return seen and of(state == name and text in reason for state, reason in seen)
        waiting.until(there, lambda: f"state {rest}; status shows {seen}", 40)

    def do_one_state(self, rest):
        self.do_state(rest, any)

    def do_unready(self, text):
        said = []

        def no():
            self.alive()
            done = self.tm.call("health")
            said[:] = [done.status, done.out + done.err]
            return done.status == 4 and text in said[1]
        waiting.until(no, lambda: f"not ready, {text}: {said}", 40)

    def do_ready(self, _):
        waiting.until(lambda: self.alive() and self.tm.call("health").status == 0, "ready", 40)

    def until_stats(self, name, count):
        waiting.until(lambda: self.alive() and self.stats()[name] >= int(count), lambda: f"{name} {count}: {self.stats()}", 40)

    def do_streams(self, count):
        self.until_stats("streams", count)

    def do_logins(self, count):
        self.until_stats("token_requests", count)
        self.assertEqual(self.stats()["token_requests"], int(count))

    def do_says(self, text):
        def there():
            self.alive()
            found = re.compile(text).search(self.program.err, self.heard_to)
            if found:
                self.heard_to = found.end()
            return found
        waiting.until(there, lambda: f"the log says {text!r}", 40)

    def do_struck(self, count):
        self.until_stats("wire_faults", count)

    def do_wait_for_keepalive(self, _):
        def heard():
            self.alive()
            return [sub["last_response_at"] for sub in self.tm.status()["subscriptions"]]
        before = heard()
        waiting.until(lambda: all(now and now != then for now, then in zip(heard(), before)), "another response", 40)

    def do_incident(self, kind):
        waiting.until(lambda: self.alive() and kind in [i["kind"] for i in self.incidents()],
                      lambda: f"incident {kind}; there are {self.incidents()}", 40)

    def do_before_start(self, _):
        self.before_start |= {verdict.identity(entry) for entry in self.bus.ledger()}

    def do_gone(self, _):
        delivered = {verdict.identity(line) for line in self.tm.lines()}
        self.gone |= {verdict.identity(entry) for entry in self.bus.ledger()} - delivered

    def do_undecodable(self, entity):
        self.refused.add(entity)

    def do_configure(self, setting):
        path, _, value = setting.partition("=")
        *names, last = (int(name) if name.isdigit() else name for name in path.split("."))
        functools.reduce(lambda at, name: at[name], names, self.tm.config)[last] = value
        self.tm.write()

    def do_command(self, words):
        self.expect(self.tm.call(*shlex.split(words)), 0)

    # --- what is there

    def alive(self):
        if not self.program.running():
            raise AssertionError(f"the daemon ended with {self.program.process.returncode}")
        return True

    def stats(self):
        with urllib.request.urlopen(f"{self.bus.login_url}/sim/stats", timeout=30) as answer:
            return json.load(answer)

    def incidents(self):
        return [json.loads(line) for line in self.tm.call("incidents", "list", "--json").out.splitlines()]

    def parked(self):
        """Identities that no client can decode."""
        return {verdict.identity(entry) for entry in self.bus.ledger()
                if entry.get("undecodable") or entry["entity"] in self.refused}

    def letters(self):
        return {json.loads(line)["id"] for line in self.tm.call("dlq", "list", "--json").out.splitlines()}

    def letters_wanted(self):
        ledger, parked = self.bus.ledger(), self.parked()
        return {entry["event_id"] for entry in ledger for topic in self.tm.topics
                if verdict.on_topic(entry, topic) and verdict.identity(entry) in parked}

    def wanted(self):
        """(topic, identity) of what has to be in the file."""
        ledger, without = self.bus.ledger(), self.parked() | self.gone | self.before_start
        return [(topic, key) for topic in self.tm.topics for key in verdict.expected(ledger, topic) if key not in without]

    # --- the verdict

    def judge(self):
        if self.program.running():
            self.do_delivered("")
            self.do_stop("")
        ledger, lines, status = self.bus.ledger(), self.tm.lines(), self.tm.status()
        incidents = self.incidents()
        self.check_lost(ledger, lines, incidents)
        left_out = self.parked() | self.before_start | (self.gone - {verdict.identity(line) for line in lines})
        verdict.check_output([e for e in ledger if verdict.identity(e) not in left_out], lines, self.tm.topics)
        verdict.check_sequence(lines)
        verdict.check_accounts(status)
        self.assertEqual([i["kind"] for i in incidents], self.text.get("incidents", []), incidents)
        self.check_dead_letters()
        for text in self.text.get("says", []):
            self.assertRegex(self.program.err, text)

    def check_dead_letters(self):
        self.assertEqual(self.letters(), self.letters_wanted())
        self.assertEqual(bool(self.letters()), bool(self.text.get("dead_letters")))

    def check_lost(self, ledger, lines, incidents):
        """What is missing was published inside an interval that an incident of its subscription names."""
        for topic in self.tm.topics:
            there = {verdict.identity(line) for line in lines if line["topic"] == topic}
            mine = [i for i in incidents if i["subject"] == self.tm.name_of(topic)]
            for entry in ledger:
                if verdict.on_topic(entry, topic) and verdict.identity(entry) in self.gone - there:
                    at = entry["published_at_us"] / 1e6
                    if not any(seconds(i["since"]) <= at <= seconds(i["until"]) + 1 for i in mine):
                        raise AssertionError(f"{entry['event_id']} is missing, and no incident names its time: {mine}")


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else float("-inf")

#!/usr/bin/python3
# suite: timeout=900 takes=110
"""Signing in: every flow against the simulated org, what goes wrong there, what must stay secret; and proxies."""
import json
import os
import re
import signal
import subprocess
import time
import urllib.request

from lib import case, proxy, verdict, waiting
import tap_print

EVENTS = 40
USER, PASSWORD, SECURITY_TOKEN = "integration@demo.example", "demo-password", "demo-token"
# The daemon's clocks run so many times as fast, so that a quarter of an hour passes in a second.
FAST = 1000
TOPICS = ["/data/AccountChangeEvent", "/data/ContactChangeEvent", "/data/OpportunityChangeEvent"]


class Tokens(case.Case):
    def start_org(self, *options, **more):
        self.bus = self.org("--seed", 41, "--prefill", EVENTS, "--count", 0, "--auth-delay", 0.1, *options, **more)
        return self.bus

    def auth(self, topics=TOPICS, tidemark_changes=None, **kinds):
        """A configuration that signs in with one of the kinds."""
        changes = {"auth": {"client_credentials": None, **kinds}, **(tidemark_changes or {})}
        return self.tidemark(self.bus, topics=topics, org_changes=changes)

    def run_fast(self, tidemark, scale=FAST, name="tidemark"):
        """The daemon with clocks that run fast, and a watchdog that waits as long as ever."""
        for sub in tidemark.config["subscriptions"]:
            sub["watchdog"] = "24h"
        tidemark.write()
        return self.run_daemon(tidemark, env={"TIDEMARK_TEST_CLOCK_SCALE": str(scale)}, name=name)

    def post(self, what):
        with urllib.request.urlopen(f"{self.bus.login_url}/sim/{what}", data=b"", timeout=10) as answer:
            return answer.read()

    def stats(self):
        with urllib.request.urlopen(f"{self.bus.login_url}/sim/stats", timeout=10) as answer:
            return json.load(answer)

    def delivers_all(self, tidemark):
        self.expect(tidemark.run_until_idle(1), 0)
        verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)

    def reason(self, tidemark, text, state=None):
        """Until each subscription's reason says text."""
        def said():
            subs = tidemark.status()["subscriptions"]
            return all(re.search(text, sub["reason"] or "") and state in (None, sub["state"]) for sub in subs) and subs
        return waiting.until(said, lambda: f"{text!r}: {tidemark.status()['subscriptions']}")

    # --- jwt_bearer

    def keys(self, name="key"):
        private, public = self.folder / f"{name}.pem", self.folder / f"{name}.pub"
        subprocess.run(["openssl", "genrsa", "-out", str(private), "2048"], check=True, capture_output=True)
        subprocess.run(["openssl", "rsa", "-in", str(private), "-pubout", "-out", str(public)], check=True,
                       capture_output=True)
        return private, public

    def jwt(self, private, **more):
        return {"jwt_bearer": {"client_id": "demo", "username": USER, "private_key_file": str(private), **more}}

    def test_jwt(self):
        """jwt_bearer: signed with the key the org knows, one login for three subscriptions"""
        private, public = self.keys()
        self.start_org("--jwt-key", public)
        tidemark = self.auth(**self.jwt(private))
        self.delivers_all(tidemark)
        self.assertEqual(self.stats()["token_requests"], 1)

    def test_jwt_wrong_key(self):
        """another key, another user: refused, exit 4, and what to do"""
        _, public = self.keys()
        other, _ = self.keys("other")
        self.start_org("--jwt-key", public)
        done = self.auth(**self.jwt(other)).run_until_idle(1)
        self.expect(done, 4, "invalid assertion.*upload the certificate")
        self.assertEqual(self.stats()["token_requests"], 1)

    def test_jwt_audience(self):
        """an org that wants the other audience gets it with the second request; a configured one is not changed"""
        private, public = self.keys()
        self.start_org("--jwt-key", public, "--jwt-audience", "https://test.salesforce.com")
        self.delivers_all(self.auth(**self.jwt(private)))
        self.assertEqual(self.stats()["token_requests"], 2)
        wrong = self.auth(**self.jwt(private, audience="https://login.salesforce.com"))
        self.expect(wrong.run_until_idle(1), 4, "audience is invalid.*set auth.jwt_bearer.audience")

    def test_jwt_slow_clock(self):
        """a login server whose clock is ten minutes ahead: signed again by its Date, and the log says so"""
        private, public = self.keys()
        self.start_org("--jwt-key", public, "--clock-ahead", 600)
        tidemark = self.auth(**self.jwt(private))
        done = self.expect(tidemark.run_until_idle(1), 0, r"differs from its clock by (59\d|6\d\d) s")
        verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)
        self.assertEqual(self.stats()["token_requests"], 2, str(done))

    def test_jwt_bad_key_file(self):
        """a key that cannot sign is found by check, before anything opens"""
        self.start_org()
        key = self.folder / "bad.pem"
        key.write_text("-----BEGIN PRIVATE KEY-----\nU0VDUkVU\n-----END PRIVATE KEY-----\n", encoding="ascii")
        tidemark = self.auth(**self.jwt(key))
        for command in ("check", "run"):
            done = self.expect(tidemark.call(command), 2, r"private_key_file: holds a private key that is damaged")
            self.assertNotIn("U0VDUkVU", done.out + done.err)
        self.assertEqual(self.stats()["token_requests"], 0)

    # --- refresh_token

    def refresh(self, token="demo-refresh"):
        path = self.folder / "grant" / "refresh_token"
        path.parent.mkdir(exist_ok=True)
        path.write_text(token + "\n", encoding="ascii")
        path.chmod(0o600)
        return path, {"refresh_token": {"client_id": "demo", "refresh_token_file": str(path)}}

    def test_refresh(self):
        """refresh_token without rotation: the file stays as it is"""
        self.start_org()
        path, kind = self.refresh()
        before = path.stat()
        self.delivers_all(self.auth(**kind))
        after = path.stat()
        self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))

    def next_token(self, path, seen):
        waiting.until(lambda: path.read_text(encoding="ascii") not in seen, "the next refresh token on disk")
        seen.add(path.read_text(encoding="ascii"))

    def test_rotation(self):
        """rotation: each token is used once, through revocations, kill -9 and restarts; nothing lost, nothing twice"""
        self.bus = self.org("--seed", 43, "--rate", 200, "--count", 1200, "--hold", "--auth-delay", 0.1, "--rotate-refresh")
        path, kind = self.refresh()
        tidemark = self.auth(**kind)
        seen = {path.read_text(encoding="ascii")}
        for ending in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            daemon = self.run_daemon(tidemark, name=f"tidemark-{len(seen)}")
            self.next_token(path, seen)
            count = len(tidemark.lines())
            waiting.until(lambda: len(tidemark.lines()) > count, "more events")
            self.post("revoke")
            self.post("drop")
            self.next_token(path, seen)
            # Between two rotations: what the org handed out is on disk, whatever ends us.
            self.assertEqual(self.stats()["tokens"], len(seen) - 1)
            daemon.signal(ending)
            daemon.process.wait()
        self.bus.wait_published(1200)
        self.delivers_all(tidemark)
        stats = self.stats()
        self.assertEqual(stats["token_refusals"], 0, stats)
        self.assertNotIn("came again", self.bus.program.err)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([p.name for p in path.parent.iterdir()], ["refresh_token"])

    def test_used_token(self):
        """a token that was used already: the grant is over; a new one in the file is taken without a restart"""
        self.start_org("--rotate-refresh")
        path, kind = self.refresh("used-long-ago")
        tidemark = self.auth(**kind)
        self.run_fast(tidemark)
        self.reason(tidemark, "grant access again, and put the new refresh token into refresh_token_file", "refused")
        path.write_text("demo-refresh\n", encoding="ascii")
        waiting.until(lambda: tidemark.lines() and len(tidemark.lines()) >= 10, "events after the new grant")
        self.assertNotEqual(path.read_text(encoding="ascii"), "demo-refresh\n")

    # --- password

    def password(self, password=PASSWORD):
        return {"password": {"client_id": "demo", "client_secret": "${TIDEMARK_TEST_SECRET}", "username": USER,
                             "password": password, "security_token": SECURITY_TOKEN}}

    def test_password(self):
        """password: with the security token behind it"""
        self.start_org()
        self.delivers_all(self.auth(**self.password()))

    def test_wrong_password(self):
        """a wrong password is tried twice, then never again: the account is not locked by us"""
        self.start_org()
        tidemark = self.auth(**self.password("wrong-password"))
        daemon = self.run_fast(tidemark)
        self.reason(tidemark, "authentication failure.*no further login, or the account would be locked", "refused")
        waiting.pause(1.5)  # half an hour to the daemon
        self.assertEqual(self.stats()["token_requests"], 2)
        self.assertTrue(daemon.running())
        self.assertNotIn("wrong-password", daemon.err + tidemark.call("status", "--json").out)

    # --- what goes wrong at the token endpoint

    FAULTS = [("500", "HTTP 500"), ("503", "HTTP 503"), ("html", "not JSON"), ("empty", "not JSON"),
              ("empty_token", "no access_token"), ("redirect", "redirects"), ("not_found", "no token endpoint"),
              ("server_error", "fault of its own"), ("too_many", "busy"), ("rate_limit", "too many logins.*next login at"),
              ("login_rate", "too many logins.*next login at"), ("invalid_client", "check client_id.*next login at"),
              ("inactive_user", "must activate the user"), ("domain", "My Domain"), ("slow", "no answer in time")]

    def test_faults(self):
        """each fault shows with its reason, ends by itself, and costs no event"""
        self.start_org()
        for kind, text in self.FAULTS:
            with self.subTest(kind):
                # The half minute that a login waits for its answer is one of the real clock.
                late = "&seconds=32" if kind == "slow" else ""
                self.post(f"token-fault?kind={kind}&count=0{late}")
                tidemark = self.tidemark(self.bus, topics=TOPICS, folder=self.folder / f"run-{kind}")
                daemon = self.run_fast(tidemark, 100, f"tidemark-{kind}")
                waiting.until(lambda: (self.folder / f"run-{kind}" / "store").exists(), "the store is open")
                self.reason_slowly(tidemark, text)
                self.assertTrue(daemon.running())
                self.post("token-fault?kind=none")
                waiting.until(lambda: len(tidemark.lines()) >= len(self.expected(tidemark)), f"recovery from {kind}", 60)
                self.assertEqual(daemon.terminate(), 0)
                verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)

    def reason_slowly(self, tidemark, text):
        waiting.until(lambda: tidemark.call("status", "--json").status == 0, "status")
        def said():
            return all(re.search(text, sub["reason"] or "") for sub in tidemark.status()["subscriptions"])
        waiting.until(said, lambda: f"{text!r}: {tidemark.status()['subscriptions']}", 45)

    def expected(self, tidemark):
        ledger = self.bus.ledger()
        return [key for topic in tidemark.topics for key in verdict.expected(ledger, topic)]

    def test_cap(self):
        """refused for hours: six logins in any hour, and no more"""
        self.start_org()
        self.post("token-fault?kind=invalid_client&count=0")
        tidemark = self.tidemark(self.bus, topics=TOPICS)
        began = time.monotonic()
        self.run_fast(tidemark)
        self.reason(tidemark, "invalid_client")
        waiting.pause(9)  # two and a half hours to the daemon
        waiting.until(lambda: self.stats()["token_requests"] >= 6, "six logins")
        requests = self.stats()["token_requests"]
        hours = (time.monotonic() - began) * FAST / 3600
        self.assertLessEqual(requests, 6 * (int(hours) + 1), f"in {hours:.2f} hours")

    def test_revoked_while_streaming(self):
        """tokens that die under open streams: one new login for all of them, and every event once"""
        self.bus = self.org("--seed", 44, "--rate", 300, "--count", 900, "--hold", "--auth-delay", 0.1)
        tidemark = self.tidemark(self.bus, topics=TOPICS)
        daemon = self.run_daemon(tidemark)
        waiting.until(lambda: len(tidemark.lines()) > 50, "events")
        self.post("revoke")
        self.post("drop")
        waiting.until(lambda: self.stats()["tokens"] == 2, "the second token")
        self.assertEqual(daemon.terminate(), 0)
        self.bus.wait_published(900)
        self.delivers_all(tidemark)
        self.assertEqual(self.stats()["token_requests"], 3)  # one of them by the run that ended it

    # --- secrets

    def test_secrets(self):
        """no secret in the process list, the log at its loudest, status, check --print, or the store; no core dump"""
        private, public = self.keys()
        self.start_org("--jwt-key", public, "--rotate-refresh")
        path, refresh = self.refresh()
        key_lines = [line for line in private.read_text(encoding="ascii").splitlines() if "-----" not in line]
        kinds = [(self.jwt(private), key_lines), (refresh, ["demo-refresh", "5Aep861"]),
                 (self.password(), ["demo-secret", PASSWORD, SECURITY_TOKEN])]
        for kind, secrets in kinds:
            with self.subTest(next(iter(kind))):
                folder = self.folder / next(iter(kind))
                changes = {"auth": {"client_credentials": None, **kind}}
                tidemark = self.tidemark(self.bus, topics=TOPICS, org_changes=changes, folder=folder, log={"level": "debug"})
                daemon = self.run_daemon(tidemark, name=f"tidemark-{folder.name}")
                waiting.until(lambda: len(tidemark.lines()) >= len(self.expected(tidemark)), "events")
                self.post("token-fault?kind=500&count=1")
                self.post("revoke")
                self.post("drop")
                daemon.wait_for("HTTP 500")
                waiting.until(lambda: all(s["state"] in ("catching_up", "live") for s in tidemark.status()["subscriptions"]),
                              "a new login")
                places = {
                    "process list": open(f"/proc/{daemon.pid}/cmdline", "rb").read(),
                    "status": (tidemark.call("status", "--json").out + tidemark.call("status").out).encode(),
                    "check --print": tidemark.call("check", "--print").out.encode(),
                }
                with open(f"/proc/{daemon.pid}/limits", encoding="ascii") as limits:
                    self.assertRegex(limits.read(), r"Max core file size\s+1\s+1\s")
                self.assertEqual(daemon.terminate(), 0)
                places["log"] = (daemon.err + daemon.out).encode()
                places["store"] = b"".join(p.read_bytes() for p in tidemark.store.iterdir() if p.is_file())
                issued = re.findall(r'access_token":"([^"]+)', self.bus.program.err)
                self.assertEqual(issued, [], "the simulator's log shows tokens")
                for secret in [*secrets, path.read_text(encoding="ascii").strip(), "00DSM0000000001!"]:
                    for where, data in places.items():
                        self.assertFalse(secret.encode() in data, f"a secret in the {where}")

    def test_core_on_request(self):
        """TIDEMARK_CORE=1: the system's own limit stays"""
        self.start_org()
        tidemark = self.tidemark(self.bus)
        daemon = self.run_daemon(tidemark, env={"TIDEMARK_CORE": "1"})
        daemon.wait_for("running")
        with open(f"/proc/{daemon.pid}/limits", encoding="ascii") as ours, \
                open(f"/proc/{os.getpid()}/limits", encoding="ascii") as parents:
            core = re.compile(r"Max core file size .*")
            self.assertEqual(core.search(ours.read()).group(0), core.search(parents.read()).group(0))

    # --- proxies: the org's name is known to the proxy alone

    HOST = "org.tidemark.invalid"

    def proxied(self, **more):
        self.start_org("--tls-name", self.HOST, tls=self.folder / "tls")
        proxies = proxy.Proxy({self.HOST: "127.0.0.1"}, **more)
        self.started.append(proxies)
        tidemark = self.tidemark(self.bus, topics=TOPICS, org_changes={
            "login_url": f"https://{self.HOST}:{self.bus.http}", "pubsub_endpoint": f"{self.HOST}:{self.bus.grpc}"})
        clean = {name: "" for name in ("https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "ALL_PROXY")}
        for name in clean:
            os.environ.pop(name, None)
        return tidemark, proxies

    def through(self, tidemark, env):
        return tidemark.run_until_idle(1, env=env)

    def not_through(self, tidemark, env, *texts):
        return self.gives_up(tidemark, 4, *texts, deadline=2, env=env)

    def test_proxy(self):
        """HTTPS_PROXY, either case: login and streams go through it, and the name is resolved there"""
        tidemark, proxies = self.proxied()
        self.expect(self.through(tidemark, {"HTTPS_PROXY": proxies.url}), 0)
        verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)
        self.assertEqual(set(proxies.asked), {f"{self.HOST}:{self.bus.http}", f"{self.HOST}:{self.bus.grpc}"})
        self.assertNotIn("Proxy-Authorization", "".join(proxies.headers))
        before = len(proxies.asked)
        # What would fit the name's end by letters alone does not fit.
        self.expect(self.through(tidemark, {"https_proxy": f"127.0.0.1:{proxies.port}", "NO_PROXY": "mark.invalid, x"}), 0)
        self.assertGreater(len(proxies.asked), before)

    def test_proxy_with_password(self):
        """user and password in the URL, with characters that must be escaped; without them: 407 is said, and no secret"""
        tidemark, proxies = self.proxied(user="me:p@ss:w%rd")
        url = proxies.url.replace("//", "//me:p%40ss%3Aw%25rd@")
        done = self.expect(self.through(tidemark, {"HTTPS_PROXY": url}), 0)
        verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)
        for text in ("p%40ss", "p@ss"):
            self.assertNotIn(text, done.out + done.err)
        wrong = proxies.url.replace("//", "//me:S3CRET@")
        done = self.not_through(tidemark, {"HTTPS_PROXY": wrong}, r"wants other credentials \(HTTP 407\)")
        self.assertNotIn("S3CRET", done.out + done.err)

    def test_proxy_that_refuses(self):
        """a proxy that lets nobody through, none there, and one of a kind that is not supported"""
        tidemark, proxies = self.proxied(refuse="403 Forbidden")
        self.not_through(tidemark, {"HTTPS_PROXY": proxies.url}, "does not let us through", "403")
        self.not_through(tidemark, {"HTTPS_PROXY": "http://127.0.0.1:9"}, "through the proxy http://127.0.0.1:9")
        self.expect(self.through(tidemark, {"HTTPS_PROXY": "socks5://me:S3CRET@127.0.0.1:9"}), 2,
                    "only http:// proxies are supported")

    def test_stream_behind_refusing_proxy(self):
        """a proxy that serves the login alone: the stream's reason names the proxy"""
        tidemark, proxies = self.proxied()
        grpc = f"{self.HOST}:{self.bus.grpc}"
        judge = proxies._judge
        proxies._judge = lambda method, words: "403 Forbidden" if f"CONNECT {grpc}" in words else judge(method, words)
        self.run_daemon(tidemark, env={"HTTPS_PROXY": proxies.url})
        waiting.until(lambda: tidemark.call("status", "--json").status == 0, "status")
        self.reason(tidemark, rf"{re.escape(grpc)}, through the proxy {re.escape(proxies.url)}: it does not let us through")

    def test_no_proxy(self):
        """NO_PROXY by name and by domain: nobody asks the proxy"""
        tidemark, proxies = self.proxied()
        for value in (self.HOST, ".tidemark.invalid", "*"):
            self.not_through(tidemark, {"HTTPS_PROXY": proxies.url, "NO_PROXY": value}, "does not resolve")
        self.assertEqual(proxies.asked, [])

    def test_loopback(self):
        """loopback never takes a proxy, TLS or not"""
        for tls in (None, self.folder / "tls"):
            with self.subTest(tls=bool(tls)):
                folder = self.folder / f"loop-{bool(tls)}"
                self.start_org(tls=tls, name=f"sim-{bool(tls)}")
                tidemark = self.tidemark(self.bus, topics=TOPICS, folder=folder)
                self.expect(self.through(tidemark, {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}), 0)
                verdict.check_output(self.bus.ledger(), tidemark.lines(), tidemark.topics)


if __name__ == "__main__":
    tap_print.main()

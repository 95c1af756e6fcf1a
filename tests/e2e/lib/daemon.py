"""tidemark: a configuration, the daemon, and the commands beside it."""
import json
import os
import pathlib

from . import org as orgs
from . import place, programs

SECRET_VARIABLE = "TIDEMARK_TEST_SECRET"


def merge(base, changes):
    """base with changes laid over it; None removes a key."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


class Tidemark:
    """One configuration in one folder. JSON is YAML, so the configuration is written as JSON."""

    def __init__(self, folder, org=None, topics=(orgs.ACCOUNTS,), start="earliest", org_changes=None, sinks=None, **changes):
        self.folder = pathlib.Path(folder)
        self.store = self.folder / "store"
        self.output = self.folder / "out.ndjson"
        self.config_path = self.folder / "tidemark.yaml"
        self.topics = list(topics)
        self.env = {SECRET_VARIABLE: orgs.CLIENT_SECRET}
        connection = {
            "name": "main",
            "login_url": org.login_url if org else "http://127.0.0.1:9",
            "pubsub_endpoint": org.endpoint if org else "127.0.0.1:9",
            "auth": {"client_credentials": {"client_id": orgs.CLIENT_ID, "client_secret": "${%s}" % SECRET_VARIABLE}},
            "tls": {"ca_file": str(org.tls / "ca.pem")} if org and org.tls else {"plaintext": True},
            "backoff": {"initial": "50ms", "max": "1s"},
        }
        self.config = merge({
            "orgs": [merge(connection, org_changes or {})],
            "subscriptions": [{"name": self.name_of(topic), "org": "main", "topic": topic, "start": start} for topic in topics],
            "sinks": sinks or [{"name": "log", "file": {"path": str(self.output), "format": "json"}}],
            "store": {"path": str(self.store), "max_size": "256MiB"},
            "admin": {"listen": "127.0.0.1:0"},
            "shutdown": {"drain": "10s"},
        }, changes)
        self.write()

    @staticmethod
    def name_of(topic):
        return topic.strip("/").replace("/", "_").lower()

    def write(self):
        self.config_path.write_text(json.dumps(self.config, indent=1), encoding="utf-8")

    def command(self, *words):
        return [place.TIDEMARK, words[0], "-c", self.config_path, *words[1:]]

    def call(self, *words, seconds=30, env=None, **more):
        """A command, to its end."""
        return programs.call(self.command(*words), seconds, {**self.env, **(env or {})}, **more)

    def run(self, *words, env=None, name="tidemark", **more):
        """The daemon, started."""
        return programs.Program(name, self.command("run", *words), self.folder, {**self.env, **(env or {})},
                                runs="running: ", **more)

    def run_until_idle(self, idle=1.0, deadline=60, seconds=180, env=None):
        """The daemon, until nothing new comes; deadline: how long it bears with what does not answer."""
        scale = place.slowness()
        return self.call("run", "--until-idle", f"{idle:g}", "--deadline", f"{deadline * scale:g}", seconds=seconds, env=env)

    def status(self):
        done = self.call("status", "--json")
        assert done.status == 0, str(done)
        return json.loads(done.out)

    def lines(self, path=None):
        """The output file's complete lines, decoded; a half line at the end is not there yet."""
        path = path or self.output
        if not os.path.exists(path):
            return []
        text = pathlib.Path(path).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def last_line_is_whole(self):
        data = self.output.read_bytes() if self.output.exists() else b""
        return not data or data.endswith(b"\n")

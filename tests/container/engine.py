"""buildah and podman in a storage of their own, under build/container-base: nobody else's images are touched."""
import fcntl
import hashlib
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from lib import programs, waiting  # noqa: E402

HOME = ROOT / "build/container-base"
RUN = pathlib.Path("/run") / f"tidemark-containers-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
BASE = "docker.io/library/debian:bookworm-slim"
BASE_LAST_BUILT = HOME / "base.imported"

# Sizes and limits that hold where this runs, no system bus, no journal.
CONTAINERS_CONF = f"""[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{RUN}/libpod"
volume_path = "{HOME}/volumes"
[network]
network_backend = "netavark"
network_config_dir = "{HOME}/networks"
"""
STORAGE_CONF = f"""[storage]
driver = "overlay"
graphroot = "{HOME}/storage"
runroot = "{RUN}/storage"
"""
ENVIRONMENT = {"CONTAINERS_CONF": str(HOME / "containers.conf"), "CONTAINERS_STORAGE_CONF": str(HOME / "storage.conf"),
               "XDG_RUNTIME_DIR": str(RUN)}


def why_not():
    """Why containers cannot be run here, or None."""
    if os.geteuid() != 0:
        return "containers need root"
    return None


def prepare():
    for folder in (HOME, RUN):
        folder.mkdir(parents=True, exist_ok=True)
    (HOME / "containers.conf").write_text(CONTAINERS_CONF, encoding="ascii")
    (HOME / "storage.conf").write_text(STORAGE_CONF, encoding="ascii")
    os.environ.update(ENVIRONMENT)


def take_turns():
    """One suite at a time builds and runs; close what this returns when done."""
    lock = open(HOME / "lock", "wb")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def call(*words, seconds=60, **more):
    return programs.call(words, seconds, **more)


def must(*words, seconds=60, **more):
    """A command that has to succeed; its standard output."""
    done = call(*words, seconds=seconds, **more)
    if done.status != 0:
        raise AssertionError(str(done))
    return done.out.strip()


def podman(*words, **more):
    return must("podman", *words, **more)


def make_base():
    """debian:bookworm-slim, made here unless it is there."""
    tar = HOME / "base.tar"
    must(ROOT / "tests/container/base-image", tar, seconds=300)
    stamp = str(tar.stat().st_mtime_ns)
    there = call("podman", "image", "exists", BASE).status == 0
    if not there or not BASE_LAST_BUILT.exists() or BASE_LAST_BUILT.read_text(encoding="ascii") != stamp:
        podman("import", "--quiet", tar, BASE)
        BASE_LAST_BUILT.write_text(stamp, encoding="ascii")


def build(tag, target, file="docker/Dockerfile", **arguments):
    """An image from a Dockerfile. `--format docker`: the other format has no HEALTHCHECK."""
    words = ["buildah", "bud", "--format", "docker", "--isolation", "chroot", "--pull-never", "--layers",
             "--build-arg", "BASE_IMAGE=debian:bookworm-slim", "--target", target, "-t", f"localhost/{tag}", "-f", file]
    for name, value in arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    return must(*words, ".", seconds=600, cwd=ROOT)


def inspect(thing, kind="container"):
    return json.loads(podman("inspect", "--type", kind, thing))[0]


def exit_code(container, seconds=30):
    """Waits until the container has ended."""
    return int(podman("wait", container, seconds=seconds))


def is_healthy(container):
    return call("podman", "healthcheck", "run", container).status == 0


def wait_healthy(container, seconds=60):
    waiting.until(lambda: is_healthy(container),
                  lambda: f"{container} is healthy\n{call('podman', 'logs', container)}", seconds)


def quiet_remove(*words):
    subprocess.run(["podman", *words], capture_output=True, check=False, timeout=120)

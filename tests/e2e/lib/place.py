"""Where the built programs are, and what kind of build it is."""
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("TIDEMARK_BUILD", ROOT / "build/dev"))
PRESET = os.environ.get("TIDEMARK_PRESET", "dev")
TIDEMARK = BUILD / "tidemark"
SIM = BUILD / "tidemark-sim"


def slowness():
    """How many times longer than in a plain build things may take."""
    return {"asan": 3.0, "tsan": 8.0}.get(PRESET, 1.0)


def fixtures():
    """The folder of captured events, or None."""
    folder = os.environ.get("TIDEMARK_FIXTURES")
    return pathlib.Path(folder) if folder else None

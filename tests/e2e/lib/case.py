"""The base of end-to-end cases: a folder of its own, and everything started in it ended with it."""
import os
import pathlib
import re
import shutil
import tempfile
import unittest

from . import daemon, org, place


class Case(unittest.TestCase):
    """self.folder is fresh; self.org() and self.tidemark() start things; TIDEMARK_KEEP=1 keeps the folder."""

    @classmethod
    def setUpClass(cls):
        for program in (place.TIDEMARK, place.SIM):
            if not program.exists():
                raise AssertionError(f"{program} is not built")

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-test-"))
        self.started = []
        self.addCleanup(self.clean)

    def clean(self):
        errors = []
        for thing in reversed(self.started):
            try:
                thing.stop()
            except AssertionError as error:
                errors.append(error)
        if not os.environ.get("TIDEMARK_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
        if errors:
            raise errors[0]

    def org(self, *options, **more):
        started = org.Org(self.folder, *options, **more)
        self.started.append(started)
        return started

    def tidemark(self, *arguments, **more):
        """A configuration in self.folder (or folder=)."""
        folder = more.pop("folder", self.folder)
        folder.mkdir(exist_ok=True)
        return daemon.Tidemark(folder, *arguments, **more)

    def run_daemon(self, tidemark, *words, **more):
        program = tidemark.run(*words, **more)
        self.started.append(program)
        return program

    def gives_up(self, tidemark, status, *texts, deadline=3, env=None):
        """A run until idle that ends at its deadline with this status, and has said these things.

        On a machine with other work it may not have come so far by then: it is run again with a longer deadline."""
        for longer in (1, 5, 25):
            done = tidemark.run_until_idle(1, deadline * longer, seconds=deadline * longer + 60, env=env)
            if done.status == status and all(re.search(text, done.out + done.err) for text in texts):
                break
        return self.expect(done, status, *texts)

    def expect(self, done, status, *texts):
        """A finished command has this exit status and says these things (regular expressions, any stream)."""
        self.assertEqual(done.status, status, str(done))
        for text in texts:
            self.assertRegex(done.out + done.err, text, str(done))
        return done

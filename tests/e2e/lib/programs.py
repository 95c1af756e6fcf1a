"""One started program: its output in files, its end by pid, nobody else's."""
import os
import re
import signal
import subprocess

from . import waiting

# What a sanitizer prints when it has found something.
SANITIZER = re.compile(r"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error: ")


class Program:
    """A started program. `with` it, or call stop(): it does not outlive its test."""

    def __init__(self, name, arguments, folder, env=None, stdin=None, preexec=None, runs=None):
        """runs: what its log says once it takes signals; before that, SIGTERM ends it as it ends any program."""
        self.name, self.runs = name, runs
        self.out_path = folder / f"{name}.out"
        self.err_path = folder / f"{name}.err"
        self.arguments = [str(word) for word in arguments]
        with open(self.out_path, "ab") as out, open(self.err_path, "ab") as err:
            self.err_from = err.tell()  # lives of one name follow each other in one file
            self.process = subprocess.Popen(self.arguments, stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=err,
                                            env={**os.environ, **(env or {})}, preexec_fn=preexec)

    @property
    def pid(self):
        return self.process.pid

    @property
    def out(self):
        return self.out_path.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self):
        return self.err_path.read_text(encoding="utf-8", errors="replace")

    def running(self):
        return self.process.poll() is None

    def wait(self, seconds=60):
        """Its exit status. One that does not end in time is killed and is a failure."""
        try:
            status = self.process.wait(waiting.patience(seconds))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {waiting.patience(seconds):.0f} s\n{self.tail()}") from None
        self.check_sanitizers()
        return status

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def terminate(self, seconds=30):
        """SIGTERM, and its exit status."""
        if self.runs:
            waiting.until(lambda: not self.running() or self.runs.encode() in self.err_path.read_bytes()[self.err_from:],
                          lambda: f"{self.name} runs\n{self.tail()}")
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self):
        """kill -9, and gone when this returns."""
        if self.running():
            self.process.kill()
        self.process.wait()

    def wait_for(self, text, seconds=20):
        """Until text (a regular expression) stands in what it wrote to stderr or stdout."""
        def there():
            if re.search(text, self.err) or re.search(text, self.out):
                return True
            if not self.running():
                raise AssertionError(f"{self.name} ended with {self.process.returncode} before {text!r}\n{self.tail()}")
            return False
        waiting.until(there, lambda: f"{text!r} from {self.name}\n{self.tail()}", seconds)

    def tail(self, lines=25):
        return "\n".join(f"{self.name}| {line}" for line in (self.out[-4000:] + self.err).splitlines()[-lines:])

    def check_sanitizers(self):
        found = SANITIZER.search(self.err)
        if found:
            raise AssertionError(f"{self.name}: {found.group(0)}\n{self.err[found.start():][:6000]}")

    def stop(self):
        self.kill()
        self.check_sanitizers()


class Finished:
    """A command that has ended: status, out, err."""

    def __init__(self, arguments, status, out, err):
        self.arguments, self.status, self.out, self.err = arguments, status, out, err

    def __str__(self):
        return f"{' '.join(self.arguments)}\nexit {self.status}\n--- stdout\n{self.out[-3000:]}\n--- stderr\n{self.err[-3000:]}"


def call(arguments, seconds=30, env=None, stdin="", **more):
    """Runs a command to its end."""
    words = [str(word) for word in arguments]
    environment = {**os.environ, **(env or {})}
    try:
        done = subprocess.run(words, input=stdin.encode(), capture_output=True, check=False,
                              timeout=waiting.patience(seconds), env=environment, **more)
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{' '.join(words)}: still running after {waiting.patience(seconds):.0f} s\n"
                             f"{(late.stdout or b'').decode(errors='replace')[-2000:]}\n"
                             f"{(late.stderr or b'').decode(errors='replace')[-2000:]}") from None
    finished = Finished(words, done.returncode, done.stdout.decode("utf-8", "replace"),
                        done.stderr.decode("utf-8", "replace"))
    if SANITIZER.search(finished.err):
        raise AssertionError(str(finished))
    return finished

"""TAP, printed: runs unittest cases and says each as one TAP line.

Use at the end of a suite:  if __name__ == "__main__": tap_print.main()
Arguments: -k PATTERN (only cases whose name contains it), -v (tracebacks are always printed, as comments).
A case's line is its docstring's first line, else its name. subTest() failures fail their case. A comment says how long a
case took that took long.
"""
import sys
import time
import traceback
import unittest


LONG_S = 4.0


class TapResult(unittest.TestResult):
    """One line per case, whatever happens to it: what fails after a failure (a cleanup) is only told."""

    def __init__(self, total):
        super().__init__()
        self.number, self.bad, self.said = 0, False, set()
        self.begun = 0.0
        print(f"1..{total}", flush=True)

    def startTest(self, test):
        self.begun = time.monotonic()
        super().startTest(test)

    def line(self, test, good, note=""):
        if test.id() in self.said:
            return
        self.said.add(test.id())
        self.number += 1
        self.bad |= not good
        title = (test.shortDescription() or test.id().split(".", 1)[-1]).replace("#", "no.")
        print(f"{'ok' if good else 'not ok'} {self.number} - {title}{note}", flush=True)
        if time.monotonic() - self.begun >= LONG_S:
            print(f"# took {time.monotonic() - self.begun:.1f} s", flush=True)

    def failed(self, test, error, where=""):
        text = where + "".join(traceback.format_exception(*error))
        print(*(f"# {line}" for line in text.splitlines()), sep="\n")
        self.line(test, False)

    def addSuccess(self, test):
        self.line(test, True)

    def addError(self, test, err):
        self.failed(test, err)

    def addFailure(self, test, err):
        self.failed(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.failed(test, err, f"in {subtest}\n")

    def addSkip(self, test, reason):
        self.line(test, True, f" # SKIP {reason}")

    def addUnexpectedSuccess(self, test):
        self.line(test, False, " (expected to fail, and did not)")


def main(module="__main__"):
    loader = unittest.TestLoader()
    arguments = sys.argv[1:]
    if "-k" in arguments:
        loader.testNamePatterns = [f"*{arguments[arguments.index('-k') + 1]}*"]
    suite = loader.loadTestsFromModule(sys.modules[module])
    result = TapResult(suite.countTestCases())
    suite.run(result)
    sys.exit(1 if result.bad else 0)

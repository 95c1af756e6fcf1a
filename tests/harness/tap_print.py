"""TAP, printed: runs unittest cases and says each as one TAP line.

Use at the end of a suite:  if __name__ == "__main__": tap_print.main()
Arguments: -k PATTERN (only cases whose name contains it), -v (tracebacks are always printed, as comments).
A case's line is its docstring's first line, else its name. subTest() failures fail their case.
"""
import sys
import traceback
import unittest


class TapResult(unittest.TestResult):
    def __init__(self, total):
        super().__init__()
        self.number, self.bad = 0, False
        self.broken = {}
        print(f"1..{total}", flush=True)

    @staticmethod
    def title(test):
        return (test.shortDescription() or test.id().split(".", 1)[-1]).replace("#", "no.")

    def line(self, test, good, note=""):
        self.number += 1
        self.bad |= not good
        print(f"{'ok' if good else 'not ok'} {self.number} - {self.title(test)}{note}", flush=True)

    def tell(self, error):
        for line in "".join(traceback.format_exception(*error)).splitlines():
            print(f"# {line}")

    def addSuccess(self, test):
        if not self.broken.pop(test.id(), False):
            self.line(test, True)

    def addError(self, test, err):
        self.tell(err)
        self.line(test, False)

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err is not None:
            print(f"# in {subtest}")
            self.tell(err)
            if not self.broken.get(test.id()):
                self.broken[test.id()] = True
                self.line(test, False)

    def addSkip(self, test, reason):
        self.line(test, True, f" # SKIP {reason}")

    def addExpectedFailure(self, test, err):
        self.line(test, False, " (an expected failure is not a result)")

    def addUnexpectedSuccess(self, test):
        self.line(test, True)


def main(module="__main__"):
    loader = unittest.TestLoader()
    arguments = sys.argv[1:]
    if "-k" in arguments:
        loader.testNamePatterns = [f"*{arguments[arguments.index('-k') + 1]}*"]
    suite = loader.loadTestsFromModule(sys.modules[module])
    result = TapResult(suite.countTestCases())
    suite.run(result)
    sys.exit(1 if result.bad else 0)

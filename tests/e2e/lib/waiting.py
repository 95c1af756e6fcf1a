"""Waiting for a condition, with a deadline: the only place of the tests that sleeps."""
import time

from . import place

STEP = 0.02
# How long a condition may take at the least, where a case asks for less. Waiting costs nothing when it comes true, and a
# machine with other work stands still for seconds: only what never happens is to be found.
PATIENCE = 60


class TooLate(AssertionError):
    """A condition did not come true in time."""


def patience(seconds=0):
    """The deadline that stands for seconds on a machine of its own: never short, and longer with slow builds."""
    return max(seconds, PATIENCE) * place.slowness()


def until(condition, what, seconds=0):
    """Calls condition until it returns something true, and returns that; TooLate after patience(seconds)."""
    limit = time.monotonic() + patience(seconds)
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > limit:
            raise TooLate(f"not within {patience(seconds):.0f} s: {what() if callable(what) else what}")
        time.sleep(STEP)


def pause(seconds):
    """Lets real time pass, where time itself is what is tested (a random moment to kill at)."""
    time.sleep(seconds)

"""Waiting for a condition, with a deadline: the only place of the tests that sleeps."""
import time

from . import place

STEP = 0.02


class TooLate(AssertionError):
    """A condition did not come true in time."""


def until(condition, what, seconds=20):
    """Calls condition until it returns something true, and returns that. Deadlines stretch with slow builds."""
    limit = time.monotonic() + seconds * place.slowness()
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > limit:
            raise TooLate(f"not within {seconds * place.slowness():.0f} s: {what() if callable(what) else what}")
        time.sleep(STEP)


def pause(seconds):
    """Lets real time pass, where time itself is what is tested (a random moment to kill at)."""
    time.sleep(seconds)

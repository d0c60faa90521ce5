"""Wait until something has happened: a test never waits for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["retry", "until"]

Held = TypeVar("Held")
#: Seconds: a machine may be many times slower than the one on which a test was written.
SHORTEST = 60.0


def until(
    condition: Callable[[], Held],
    seconds: float = 120,
    *,
    every: float = 0.05,
    not_yet: type[Exception] | tuple[type[Exception], ...] = (),
    problem: Callable[[], object] | None = None,
) -> Held:
    """Return what a condition gives, as soon as that is true; look again after `every` seconds.

    The limit guards against hanging alone, so it is at least a minute. After it AssertionError is raised,
    with what `problem` says. An exception of `not_yet` means that the condition does not hold yet; where it
    can never hold any more (its process has ended) it raises another one.
    """
    if seconds < SHORTEST:
        raise ValueError(f"a limit of {seconds:g} s fails on a slow machine: at least {SHORTEST:g} s")
    end = time.monotonic() + seconds
    while True:
        try:
            held = condition()
        except not_yet:
            pass
        else:
            if held:
                return held
        if time.monotonic() > end:
            reason = "" if problem is None else f": {problem()}"
            raise AssertionError(f"it did not happen within {seconds:g} s{reason}")
        time.sleep(every)


def retry(
    action: Callable[[], Held],
    not_yet: type[Exception] | tuple[type[Exception], ...],
    *,
    every: float = 0.05,
    problem: Callable[[], object] | None = None,
) -> Held:
    """Return what an action returns, as soon as it raises no exception of `not_yet` any more."""
    return until(lambda: [action()], every=every, not_yet=not_yet, problem=problem)[0]

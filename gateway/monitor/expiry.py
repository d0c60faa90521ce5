"""Tells in time whose certificates end: in words, for the log and for `gateway check`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from gateway.store.coverage import WARNING, Coverage, Span, coverage, spans
from gateway.store.engine import reading

__all__ = ["Ending", "ending_soon", "endings", "log_endings"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """Somebody whose last certificate ends soon, or has ended (`over`), in words."""

    over: bool
    owner: str
    words: str


def endings(engine: Engine, at: datetime, ours: Sequence[Span] = ()) -> tuple[Ending, ...]:
    """Return whose certificates end within 30 days and are followed by no other, the soonest first."""
    with reading(engine) as conn:
        found = spans(conn)
    return ending_soon([*ours, *found], at)


def ending_soon(found: Sequence[Span], at: datetime) -> tuple[Ending, ...]:
    """Return which of these end within 30 days and are followed by no other, the soonest first."""
    return tuple(_ending(one, at) for one in coverage(found, at) if one.ends - at < WARNING)


def _ending(found: Coverage, at: datetime) -> Ending:
    over = found.ends <= at
    days = abs(found.days(at))
    when = f"{days:.0f} days ago" if over else f"in {days:.0f} days"
    verb = "ended" if over else "ends"
    words = (
        f"the last {found.use} certificate of {found.owner} {verb} {when}, at {found.ends:%Y-%m-%dT%H:%M:%SZ}"
    )
    return Ending(over, found.owner, f"{words}: {found.subject[:120]}")


def log_endings(engine: Engine, at: datetime, ours: Sequence[Span] = ()) -> int:
    """Write a line to the log for each of them; return how many."""
    found = endings(engine, at, ours)
    for one in found:
        _log.log(logging.ERROR if one.over else logging.WARNING, "%s", one.words)
    return len(found)

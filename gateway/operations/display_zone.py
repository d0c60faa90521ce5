"""Shows times in the time zone of the hub, always with the offset from UTC.

A verb that reads settings sets the zone of ``hub.time_zone``; the other verbs show UTC.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

__all__ = ["format_moment", "get_display_zone", "keep_display_zone", "restate_times", "set_display_zone"]

_zone: ContextVar[tzinfo] = ContextVar("display_zone", default=UTC)
#: A time in UTC as the sentences of other packages state it.
_UTC_TIME: Final = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)(?!\d)")


def set_display_zone(name: str) -> None:
    """Show times in the zone of this name from now on."""
    _zone.set(ZoneInfo(name))


def get_display_zone() -> tzinfo:
    """Return the zone in which times are shown."""
    return _zone.get()


@contextmanager
def keep_display_zone() -> Iterator[None]:
    """Show UTC inside the block until a zone is set; restore the zone of before at its end."""
    before = _zone.set(UTC)
    try:
        yield
    finally:
        _zone.reset(before)


def format_moment(moment: datetime, *, precision: str = "seconds") -> str:
    """Return a time in the zone of the hub with its offset, as RFC 3339; a time without zone is unchanged."""
    shown = moment.astimezone(_zone.get()) if moment.tzinfo is not None else moment
    return shown.isoformat(timespec=precision).replace("+00:00", "Z")


def restate_times(words: str) -> str:
    """Return a sentence with each of its times in UTC restated in the zone of the hub."""
    return _UTC_TIME.sub(lambda found: _restate_one_time(found[0]), words)


def _restate_one_time(text: str) -> str:
    try:
        return format_moment(datetime.fromisoformat(text))
    except ValueError:
        return text

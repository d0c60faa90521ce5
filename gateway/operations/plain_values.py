"""Values in words, and times in the zone of the operator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.wire import convert_to_zone

_zone: ContextVar[tzinfo] = ContextVar("display_zone", default=UTC)
#: A time in UTC as the sentences of other packages state it.
_UTC_TIME: Final = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)(?!:?\d)")


def set_display_zone(name: str) -> None:
    """Show times in the zone of this name from now on."""
    _zone.set(ZoneInfo(name))


def get_display_zone() -> tzinfo:
    """Return the zone in which times are shown."""
    return _zone.get()


@contextmanager
def keep_display_zone() -> Iterator[None]:
    """Show UTC inside the block until a zone is set; restore the previous zone at its end."""
    token = _zone.set(UTC)
    try:
        yield
    finally:
        _zone.reset(token)


def format_moment(moment: datetime, *, precision: str = "seconds") -> str:
    """Return a time in the zone of the hub with its offset, as RFC 3339; a time without zone is unchanged."""
    local_moment = convert_to_zone(moment, _zone.get()) if moment.tzinfo is not None else moment
    return local_moment.isoformat(timespec=precision).replace("+00:00", "Z")


def restate_times(text: str) -> str:
    """Return a sentence with each of its times in UTC restated in the zone of the hub."""
    return _UTC_TIME.sub(lambda time_match: _restate_time(time_match[0]), text)


def _restate_time(time_text: str) -> str:
    try:
        return format_moment(datetime.fromisoformat(time_text))
    except ValueError:
        return time_text


def format_value(value: Any) -> Any:
    """Return a value in a form that JSON supports; a time is RFC 3339 in the zone of the hub."""
    if isinstance(value, datetime):
        return format_moment(value, precision="milliseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return f"{len(value)} octets"
    return value


def make_json_value(value: Any) -> Any:
    """Return a value as JSON has it; a type that JSON lacks becomes text."""
    if isinstance(value, Mapping):
        return {str(name): make_json_value(member) for name, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [make_json_value(member) for member in value]
    if isinstance(value, datetime):
        # A time in evidence does not depend on the time zone of the reader.
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    formatted = format_value(value)
    return formatted if formatted is None or isinstance(formatted, str | int) else str(formatted)


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 delivery``, ``3 deliveries``."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def shorten_text(text: str, max_length: int | None) -> str:
    """Return a sentence on one line, cut to at most `max_length` characters (None: not cut)."""
    line = " ".join(text.split())
    return line if max_length is None or len(line) <= max_length else f"{line[: max_length - 1]}…"

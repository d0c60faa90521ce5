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
    """Show UTC inside the block until a zone is set; restore the zone of before at its end."""
    before = _zone.set(UTC)
    try:
        yield
    finally:
        _zone.reset(before)


def format_moment(moment: datetime, *, precision: str = "seconds") -> str:
    """Return a time in the zone of the hub with its offset, as RFC 3339; a time without zone is unchanged."""
    local_moment = convert_to_zone(moment, _zone.get()) if moment.tzinfo is not None else moment
    return local_moment.isoformat(timespec=precision).replace("+00:00", "Z")


def restate_times(sentence: str) -> str:
    """Return a sentence with each of its times in UTC restated in the zone of the hub."""
    return _UTC_TIME.sub(lambda found: _restate_one_time(found[0]), sentence)


def _restate_one_time(text: str) -> str:
    try:
        return format_moment(datetime.fromisoformat(text))
    except ValueError:
        return text


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


def make_plain(value: Any) -> Any:
    """Return a value as JSON has it; a type that JSON lacks becomes text."""
    if isinstance(value, Mapping):
        return {str(name): make_plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [make_plain(inner) for inner in value]
    if isinstance(value, datetime):
        # A time in evidence does not depend on the time zone of the reader.
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    formatted = format_value(value)
    return formatted if formatted is None or isinstance(formatted, str | int) else str(formatted)


def count_things(number: int, noun: str, many: str = "") -> str:
    """Return a number with its noun: ``1 delivery``, ``3 deliveries``."""
    return f"{number} {noun if number == 1 else many or f'{noun}s'}"


def shorten_sentence(sentence: str, longest: int | None) -> str:
    """Return a sentence on one line, cut to at most `longest` characters (None: not cut)."""
    line = " ".join(sentence.split())
    return line if longest is None or len(line) <= longest else f"{line[: longest - 1]}…"

"""Forms of values: for JSON, for the audit, and for sentences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from gateway.operations.display_zone import format_moment

__all__ = ["count_things", "format_value", "make_plain", "shorten_sentence"]


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
    """Return a value as JSON has it; what JSON lacks becomes text."""
    if isinstance(value, Mapping):
        return {str(name): make_plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [make_plain(inner) for inner in value]
    if isinstance(value, datetime):
        # What is kept as evidence does not depend on the zone of the reader.
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = format_value(value)
    return told if told is None or isinstance(told, str | int) else str(told)


def count_things(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 delivery``, ``3 deliveries``."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def shorten_sentence(sentence: str, longest: int | None) -> str:
    """Return a sentence on one line; where `longest` is given, only its beginning of so many characters."""
    line = " ".join(sentence.split())
    return line if longest is None or len(line) <= longest else f"{line[: longest - 1]}…"

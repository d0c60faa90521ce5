"""The types of columns that both databases store alike: times, and free-form values as JSON.

Every time is UTC and is read as an aware datetime. Free-form values are JSON text with sorted keys,
so that both databases return what was stored.

The types convert by one function each, which is given every value of such a column: between it and the
driver nothing else has to be done, so none of what SQLAlchemy puts there for other types is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, DateTime, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

__all__ = ["Instant", "Json", "check_zone", "count_microseconds"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# Made once: json.dumps makes an encoder for each value.
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode
_decode: Final = json.JSONDecoder().raw_decode


class Instant(TypeDecorator[datetime]):
    """A time in UTC: ``timestamptz`` on PostgreSQL, microseconds since 1970 on SQLite."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column type of the dialect."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(BigInteger())

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any]:
        """Return what makes the value to store; it raises ValueError for a time without a zone."""
        return check_zone if dialect.name == "postgresql" else count_microseconds

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], datetime | None]:  # noqa: ARG002
        """Return what makes an aware datetime in UTC of a stored value."""
        return _read_datetime if dialect.name == "postgresql" else _read_microseconds


def check_zone(value: datetime | None) -> datetime | None:
    """Return a time as it is; raises ValueError for one without a zone."""
    if value is not None and value.tzinfo is None:
        raise ValueError(f"a time without a zone: {value.isoformat()}")
    return value


def count_microseconds(value: datetime | None) -> int | None:
    """Return the microseconds from 1970 to a time; raises ValueError for one without a zone."""
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError(f"a time without a zone: {value.isoformat()}")
    return (value - _EPOCH) // _MICROSECOND


def _read_datetime(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(UTC)


def _read_microseconds(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + timedelta(microseconds=value)


class Json(TypeDecorator[Any]):
    """A JSON value stored as text, with sorted keys and no blanks."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:  # noqa: ARG002
        """Return what makes the text of a value."""
        return _write_json

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[str | None], Any]:  # noqa: ARG002
        """Return what makes the value of a text."""
        return _read_json


def _write_json(value: Any) -> str | None:
    return None if value is None else _encode(value)


def _read_json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        value, end = _decode(text)
    except ValueError:
        end = -1
    # What was stored by `_write_json` has no blanks around it.
    return value if end == len(text) else json.loads(text)

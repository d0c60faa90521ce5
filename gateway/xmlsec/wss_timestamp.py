"""The Timestamp of WS-Security: Created and Expires in UTC with at most milliseconds, within a window."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from lxml import etree

from gateway import errors
from gateway.wire import WSU
from gateway.xmlsec.strict_reader import check_attributes, list_children, raise_signature_error, read_text

__all__ = [
    "DEFAULT_WINDOW",
    "TimestampWindow",
    "check_timestamp",
    "is_within_window",
    "write_moment",
]

_ID: Final = f"{{{WSU}}}Id"
_PARTS: Final = [f"{{{WSU}}}Created", f"{{{WSU}}}Expires"]
# BSP 1.1 R3220, R3213: UTC and no more than milliseconds
_MOMENT: Final = re.compile(
    r"(\d{4}-(?:0[1-9]|1[0-2])-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d{1,3}))?(?:Z|\+00:00)"
)


@dataclass(frozen=True, slots=True)
class TimestampWindow:
    """The limits on the age, the clock difference and the lifetime of a Timestamp.

    The ages are WSS4J's defaults; ``lifetime`` is the longest accepted time from Created to
    Expires. A Timestamp written by the gateway expires ``validity`` after its creation.
    """

    age: timedelta = timedelta(seconds=300)
    ahead: timedelta = timedelta(seconds=60)
    lifetime: timedelta = timedelta(hours=24)
    validity: timedelta = timedelta(seconds=300)


DEFAULT_WINDOW: Final = TimestampWindow()


def check_timestamp(timestamp: etree._Element, now: datetime, window: TimestampWindow) -> None:
    """Raise GW211 for a Timestamp that is malformed, or outside the window at `now`."""
    check_attributes(timestamp, optional=(_ID,))
    parts = list_children(timestamp)
    if [part.tag for part in parts] != _PARTS:
        raise_signature_error("a Timestamp holds Created and Expires", timestamp, errors.TIMESTAMP_REFUSED)
    created, expires = (_read_instant(part) for part in parts)
    reason = _find_window_fault(created, expires, now, window)
    if reason is not None:
        detail = f"the Timestamp is outside the window: {reason}"
        raise_signature_error(detail, timestamp, errors.TIMESTAMP_REFUSED)


def is_within_window(created: str, expires: str, now: datetime, window: TimestampWindow) -> bool:
    """Return whether a Timestamp with these texts passes `check_timestamp`; white space is not read."""
    try:
        moments = _parse_moment(created), _parse_moment(expires)
    except ValueError:
        return False
    begin, end = moments
    return begin is not None and end is not None and _find_window_fault(begin, end, now, window) is None


def write_moment(moment: datetime) -> str:
    """Return a moment as it is written in a Timestamp."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _find_window_fault(
    created: datetime, expires: datetime, now: datetime, window: TimestampWindow
) -> str | None:
    if created > now + window.ahead:
        return "it was created in the future"
    if created < now - window.age:
        return f"it was created more than {window.age.total_seconds():.0f} seconds ago"
    if expires <= now:
        return "it has expired"
    if not timedelta(0) < expires - created <= window.lifetime:
        return "its life is not of a sensible length"
    return None


def _read_instant(element: etree._Element) -> datetime:
    check_attributes(element)
    try:
        moment = _parse_moment(read_text(element).strip(" \t\r\n"))
    except ValueError:
        raise_signature_error("not a date", element, errors.TIMESTAMP_REFUSED)
    if moment is None:
        raise_signature_error(
            "not a time in UTC with at most milliseconds", element, errors.TIMESTAMP_REFUSED
        )
    return moment


def _parse_moment(text: str) -> datetime | None:
    """Return the moment that a text is; None for another form, ValueError for a day that no month has."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    return moment + timedelta(milliseconds=int((match[2] or "0").ljust(3, "0")))

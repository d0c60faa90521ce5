"""Formats of values on pages: times in the zone of the hub, ages, and octets."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from jinja2 import Environment
from markupsafe import Markup

__all__ = ["add_page_formats", "format_age", "format_time", "format_written_time"]

#: A time as documents write it. The year is one that every zone can show.
_INSTANT: Final = re.compile(r"(19[7-9]|2[0-8])[0-9-]{7,8}T[0-9:]{5,8}(\.[0-9]{1,6})?Z", re.ASCII)


def add_page_formats(environment: Environment, time_zone: str) -> None:
    """Add the filters `time`, `age` and `octets` to the templates."""
    zone = ZoneInfo(time_zone)
    environment.filters["time"] = lambda value: format_time(value, zone)
    environment.filters["age"] = format_age
    environment.filters["local"] = lambda value: format_written_time(value, zone)
    environment.filters["octets"] = _format_octets


def format_time(value: datetime | None, zone: ZoneInfo) -> Markup:
    """Return a `time` element with the time in the zone, to the minute, with its offset."""
    if value is None:
        return Markup("")
    local = value.astimezone(zone)
    shown = f"{local:%Y-%m-%d %H:%M} {local:%Z}"
    element = Markup('<time datetime="{}">{}</time>')
    return element.format(local.isoformat(timespec="seconds"), shown)


def format_written_time(text: str, zone: ZoneInfo) -> Markup:
    """Return a value of a document: a time in UTC in the zone, with what is written; any other as it is."""
    if not _INSTANT.fullmatch(text):
        return Markup("{}").format(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return Markup("{}").format(text)
    return Markup('{} <span class="hint">{}</span>').format(format_time(moment, zone), text)


def format_age(value: timedelta | None) -> str:
    """Return a span of time in its two largest units, for example ``2 d 3 h``."""
    if value is None:
        return ""
    seconds = max(int(value.total_seconds()), 0)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _format_octets(value: int) -> str:
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value} octets"

"""The days that a page of statistics shows, as its URL names them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from flask import request

from gateway.web.console.form_numbers import read_day

__all__ = ["read_days"]

_USUAL_DAYS: Final = 30
_MOST_DAYS: Final = 366


def read_days(today: date) -> tuple[date, date] | None:
    """Return the first and the last day: at most a year, up to today; None in the wrong order.

    Where the URL names no day, or none that is one, they are the last 30.
    """
    until = min(_read_day("until", today), today)
    since = _read_day("since", until - timedelta(days=_USUAL_DAYS - 1))
    if since > until:
        return None
    return max(since, until - timedelta(days=_MOST_DAYS - 1)), until


def _read_day(name: str, otherwise: date) -> date:
    return read_day(request.args.get(name, "")) or otherwise

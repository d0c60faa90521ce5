"""Reads the conditions of a list from the URL, and writes the URL of its next page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import abort, request

from gateway.store import LIST_COUNT_LIMIT, ListFilter, ListPage, read_row_number
from gateway.web.console.csv_answers import LARGEST_CSV
from gateway.web.console.form_numbers import read_moment

__all__ = ["PAGE", "build_next_url", "describe_more", "is_csv_wanted", "read_list_request", "read_text"]

#: Rows of a page.
PAGE: Final = 50
_LONGEST: Final = 200


def read_text(name: str) -> str:
    """Return a parameter of the URL without spaces around it."""
    return request.args.get(name, "").strip()[:_LONGEST]


def is_csv_wanted() -> bool:
    """Return whether the list is wanted as CSV."""
    return request.args.get("format") == "csv"


def read_list_request(zone: str, states: Sequence[str] = (), **more: Any) -> ListFilter:
    """Return the conditions of the URL: ``state``, ``since``, ``until`` and ``after``; answer 400 to others.

    A state that is none of `states` is no condition.
    """
    state = read_text("state")
    return ListFilter(
        states=(state,) if state in states else (),
        since=_read_moment("since", zone),
        until=_read_moment("until", zone),
        after=_read_cursor(),
        limit=LARGEST_CSV if is_csv_wanted() else PAGE,
        **more,
    )


def _read_moment(name: str, zone: str) -> datetime | None:
    text = read_text(name)
    if not text:
        return None
    moment = read_moment(text, ZoneInfo(zone))
    if moment is None:
        abort(HTTPStatus.BAD_REQUEST, "A time is written as 2026-07-01T08:30.")
    return moment


def _read_cursor() -> int | None:
    text = read_text("after")
    if not text:
        return None
    number = read_row_number(text)
    if number is None:
        abort(HTTPStatus.BAD_REQUEST, "The link to the next page is not complete.")
    return number


def build_next_url(page: ListPage) -> str | None:
    """Return the URL of the next page, with the same conditions; None where this is the last one."""
    if not page.more or not page.rows:
        return None
    kept = {name: value for name, value in request.args.items() if name not in ("after", "format") and value}
    return f"{request.path}?{urlencode(kept | {'after': page.rows[-1]['id']})}"


def describe_more(page: ListPage) -> str:
    """Return how many rows follow; above the limit of counting, that there are more than that."""
    return f"> {LIST_COUNT_LIMIT:,}" if page.more >= LIST_COUNT_LIMIT else f"{page.more:,}"

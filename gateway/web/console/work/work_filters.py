"""The list of work that a URL asks for: its tab, filters, order, and where it goes on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy import Row

from gateway.store import WorkFilter, WorkPlace, WorkTab, read_row_number

__all__ = ["ORDERS", "build_list_url", "format_place", "read_words", "read_work_filter"]

#: The orders of a list: oldest first, newest first, by deadline.
ORDERS: Final = ("old", "new", "due")
_KEPT: Final = ("tab", "hs", "applicant", "law", "document", "order")
_HS: Final = re.compile(r"[0-9]{2,10}")
_LONGEST: Final = 100
#: Digits of an HS heading: a list that grows for ever is searched by no fewer.
_HEADING: Final = 4
_NO_OFFSET: Final = "%Y%m%dT%H%M%S.%f"


def read_work_filter(
    arguments: Mapping[str, str], agency: str, account: int, now: datetime, limit: int
) -> WorkFilter:
    """Return the list that a URL asks for; a value that is not known is as if it were not there."""
    tab = arguments.get("tab", WorkTab.NEW)
    order = arguments.get("order", "")
    chosen = WorkTab(tab) if tab in set(WorkTab) else WorkTab.NEW
    hs = re.sub(r"[ .]", "", arguments.get("hs", ""))
    grows = chosen in (WorkTab.DECIDED, WorkTab.ALL)
    usual = "new" if grows else "old"
    return WorkFilter(
        agency,
        chosen,
        account,
        now,
        hs=hs if _HS.fullmatch(hs) and (not grows or len(hs) >= _HEADING) else "",
        applicant=read_words(arguments, "applicant", _LONGEST),
        law=read_words(arguments, "law", _LONGEST),
        document=read_words(arguments, "document", _LONGEST),
        order=order if order in ORDERS else usual,
        limit=limit,
        after=_read_place(arguments.get("after", "")),
    )


def read_words(arguments: Mapping[str, str], name: str, longest: int) -> str:
    """Return a text that a URL says, without characters that nobody can read; databases refuse some."""
    said = "".join(sign for sign in arguments.get(name, "") if sign.isprintable())
    return said.strip()[:longest]


def build_list_url(arguments: Mapping[str, str], **changes: str) -> str:
    """Return the path of a list with the filters of this one, some of them changed; a new list begins."""
    kept = {name: arguments[name] for name in _KEPT if arguments.get(name)}
    words = {name: value for name, value in (kept | changes).items() if value}
    return "/console/work" + (f"?{urlencode(words)}" if words else "")


def format_place(row: Row[Any], wanted: WorkFilter) -> str:
    """Return where the list goes on behind a row."""
    if row.due_at is None or (wanted.order != "due" and wanted.tab is not WorkTab.OVERDUE):
        return str(row.id)
    return f"{row.id}~{row.due_at.astimezone(UTC).strftime(_NO_OFFSET)}"


def _read_place(text: str) -> WorkPlace | None:
    written, _, due = text.partition("~")
    number = read_row_number(written)
    if number is None:
        return None
    try:
        return WorkPlace(number, datetime.strptime(due, _NO_OFFSET).replace(tzinfo=UTC) if due else None)
    except ValueError:
        return None

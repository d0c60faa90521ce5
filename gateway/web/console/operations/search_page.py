"""Search by what an operator is told on the telephone: a number, a reference, an id, a party, an error."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, render_template
from sqlalchemy import Connection

from gateway.accounts import Right
from gateway.cases import normalize_hub_number
from gateway.errors import PROBLEMS
from gateway.store import ListFilter, exact_searches, lanes, read_transaction, register_searches
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.operations.list_requests import read_text
from gateway.web.console.page_guards import require_right

__all__ = ["add_search_page"]

#: A shorter text would be found in nearly every sentence.
_SHORTEST: Final = 3
_MOST_PARTIES: Final = 10


def add_search_page(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the page."""

    @pages.get("/search")
    @require_right(Right.OBSERVE)
    def show_search() -> str:
        text = read_text("q")
        found: dict[str, Any] = {}
        if text:
            with read_transaction(services.engine) as conn:
                found = _search(conn, text)
        return render_template(
            "operations/search.html",
            text=text,
            found=found,
            nothing=not any(found.values()),
            window=exact_searches.RECENT,
            shortest=_SHORTEST,
        )


def _search(conn: Connection, text: str) -> dict[str, Any]:
    """Return what has exactly this id or number, and what contains the text among few or recent rows."""
    number = normalize_hub_number(text)
    found: dict[str, Any] = {
        "cases": exact_searches.find_cases(conn, text) or exact_searches.find_cases(conn, number),
        "messages": exact_searches.find_messages(conn, text),
        "deliveries": exact_searches.find_deliveries(conn, text),
        "problem": PROBLEMS.get(text.upper()),
        "parties": [],
        "lanes": [],
        "failed": [],
        "refusals": [],
    }
    if len(text) >= _SHORTEST:
        wanted = ListFilter(text=text, limit=_MOST_PARTIES)
        found["parties"] = register_searches.search_parties(conn, wanted).rows
        found["lanes"] = list(lanes.find_lanes(conn, (text, text.upper(), f"msh:{text}")))
        found["failed"] = exact_searches.search_failed_deliveries(conn, text)
        found["refusals"] = exact_searches.search_refusals(conn, text)
    return found

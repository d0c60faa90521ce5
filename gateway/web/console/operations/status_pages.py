"""The public status page: notices, and agencies that are away; without a sign-in, cheap, and limited.

It says of an agency only its name and since when. It is made anew every few seconds, whatever the number
of readers, and has a limit of requests of its own, which the console process counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, g, make_response, render_template
from werkzeug.wrappers import Response

from gateway.operations import AwayPartner, list_away_agencies
from gateway.store import read_transaction, status_notices
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.operations.request_limit import RequestLimit
from gateway.web.console.operations.timed_value import TimedValue

__all__ = ["build_status_pages"]

_FRESH: Final = timedelta(seconds=15)
_PAST: Final = timedelta(days=7)
#: Requests in a second that this process answers with a page.
_MOST: Final = 50


@dataclass(frozen=True, slots=True)
class _Status:
    at: datetime
    current: Sequence[Any]
    planned: Sequence[Any]
    past: Sequence[Any]
    away: Sequence[AwayPartner]


def build_status_pages(services: ConsoleServices) -> Blueprint:
    """Return the page."""
    pages = Blueprint("status", __name__, url_prefix="/console")
    status = TimedValue(lambda: _read_status(services), _FRESH, services.clock)
    limit = RequestLimit(_MOST, services.clock)

    @pages.get("/status")
    def show_status() -> Response:
        if not limit.admit_request():
            answer = make_response("busy", HTTPStatus.SERVICE_UNAVAILABLE)
            answer.headers["Retry-After"] = "2"
            return answer
        answer = make_response(render_template("operations/public_status.html", status=status.get()))
        if g.visitor is None:
            answer.headers["Cache-Control"] = f"public, max-age={int(_FRESH.total_seconds())}"
            answer.headers["Vary"] = "Accept-Language, Cookie"
        return answer

    return pages


def _read_status(services: ConsoleServices) -> _Status:
    now = services.clock()
    with read_transaction(services.engine) as conn:
        notices = status_notices.list_current_notices(conn, now)
        return _Status(
            now,
            [one for one in notices if one.starts_at <= now],
            [one for one in notices if one.starts_at > now],
            status_notices.list_past_notices(conn, now - _PAST, now),
            list_away_agencies(conn, services.settings, now),
        )

"""The public status page: whether messages are accepted, notices, and agencies that do not answer properly.

It needs no sign-in. Of an agency it shows only the name and the time since when. Threads of their own collect
the content once a second, for any number of readers. The requests of each network are limited.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, g, make_response, redirect, render_template, request
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.errors import GatewayError
from gateway.operations import (
    Act,
    AgencyStatus,
    DatabaseChange,
    open_change,
    read_agency_status,
)
from gateway.store import NewStatusAnnouncement, StatusAnnouncementRow, operator_acts, read_transaction
from gateway.web.console.page_formats import read_moment, translate
from gateway.web.console.page_guards import (
    COOKIE,
    ConsoleServices,
    get_network,
    leave_session_unread,
    require_right,
    services,
    store_flash_message,
    visitor,
)
from gateway.web.hub_readiness import TimedVerdict

pages: Final = Blueprint("notices", __name__)


class RequestLimit:
    """A limit of requests of one network in each second of the clock; safe for many threads."""

    def __init__(self, max_per_second: int, clock: Callable[[], datetime]) -> None:
        self._max_per_second = max_per_second
        self._clock = clock
        self._guard = threading.Lock()
        self._second = 0
        self._counts: Counter[str] = Counter()

    def admit_request(self, network: str) -> bool:
        """Return whether one more request of a network is admitted now."""
        second = int(self._clock().timestamp())  # bounded: a clock
        with self._guard:
            if second != self._second:
                self._second, self._counts = second, Counter()
            self._counts[network] += 1
            return self._counts[network] <= self._max_per_second


#: Seconds for which browsers and proxies keep the page.
_FRESH_SECONDS: Final = 2
_PAST: Final = timedelta(days=7)
#: Requests of one network in a second that this process answers with a page.
_MOST: Final = 50


@dataclass(frozen=True, slots=True)
class _StoredStatus:
    """The content from the database: notices, and agencies that do not answer properly."""

    is_read: bool = False
    current: Sequence[StatusAnnouncementRow] = ()
    planned: Sequence[StatusAnnouncementRow] = ()
    past: Sequence[StatusAnnouncementRow] = ()
    agencies: AgencyStatus = field(default_factory=AgencyStatus)


def build_status_pages(services: ConsoleServices) -> Blueprint:
    """Return the blueprint with the public status page."""
    pages = Blueprint("status", __name__, url_prefix="/console")
    stored_status = TimedVerdict("the status page", lambda: _read_stored_status(services))
    limit = RequestLimit(_MOST, services.clock)

    @pages.get("/status")
    @leave_session_unread
    def show_status() -> Response:
        """Answer the public status page; 503 when the network has reached its limit of requests per second.

        Only the answer to a browser without a session cookie may be cached.
        """
        if not limit.admit_request(get_network()):
            answer = make_response("busy", HTTPStatus.SERVICE_UNAVAILABLE)
            answer.headers["Retry-After"] = "2"
            return answer
        search = services.readiness.begin_search()
        stored = stored_status.find_verdict() or _StoredStatus()
        # A database that cannot be read is one that takes no messages.
        is_ready = services.readiness.find_verdict(search).problem is None and stored.is_read
        page = render_template(
            "operations/public_status.html",
            at=services.clock(),
            is_ready=is_ready,
            status=stored,
        )
        answer = make_response(page)
        if COOKIE not in request.cookies:
            answer.headers["Cache-Control"] = f"public, max-age={_FRESH_SECONDS}"
            answer.headers["Vary"] = "Accept-Language, Cookie"
        return answer

    return pages


def _read_stored_status(services: ConsoleServices) -> _StoredStatus:
    """Read the announcements and the agencies with problems; return an empty status if the database fails."""
    now = services.clock()
    try:
        with read_transaction(services.engine) as conn:
            announcements = operator_acts.list_current_announcements(conn, now)
            return _StoredStatus(
                is_read=True,
                current=[announcement for announcement in announcements if announcement.starts_at <= now],
                planned=[announcement for announcement in announcements if announcement.starts_at > now],
                past=operator_acts.list_past_announcements(conn, now - _PAST, now),
                agencies=read_agency_status(conn, services.settings, now),
            )
    except GatewayError:  # the log and the readiness report it
        return _StoredStatus()


_KINDS: Final = ("incident", "planned")
_TEXTS: Final = {"title_en": 120, "title_ko": 120, "text_en": 2000, "text_ko": 2000}
_ANNOUNCEMENT_PAST: Final = timedelta(days=30)


@pages.post("/status")
@require_right(Right.PUBLISH_STATUS)
def publish_announcement() -> Response | tuple[str, int]:
    """Publish a notice."""
    new, problems = _read_announcement()
    if new is None:
        return list_announcements(problems), HTTPStatus.UNPROCESSABLE_ENTITY
    after = {
        "kind": new.kind,
        "title_en": new.title_en,
        "starts_at": new.starts_at,
        "ends_at": new.ends_at,
    }
    with _open_change("publish") as change:
        number = operator_acts.insert_status_announcement(change.conn, new, change.at, change.actor)
        change.record_change(f"notice {number}", after=after)
    store_flash_message(translate("The notice is published."))
    return redirect("/console/operations/status")


@pages.post("/status/<int:number>/end")
@require_right(Right.PUBLISH_STATUS)
def end_announcement(number: int) -> Response:
    """End a notice."""
    with read_transaction(services.engine) as conn:
        if operator_acts.find_status_announcement(conn, number) is None:
            abort(HTTPStatus.NOT_FOUND)
    with _open_change("end") as change:
        if operator_acts.end_status_announcement(change.conn, number, change.at):
            change.record_change(f"notice {number}", after={"ends_at": change.at})
        else:
            change.leave_unchanged()
    store_flash_message(translate("The notice has ended."))
    return redirect("/console/operations/status")


def _open_change(verb: str) -> AbstractContextManager[DatabaseChange]:
    """Run the block, a change of the notices, in one transaction with its row in the audit log."""
    act = Act(f"status {verb}", visitor.name, remote=g.network)
    return open_change(services.engine, services.settings, act, "console.status", services.clock())


@pages.get("/status")
@require_right(Right.OBSERVE)
def list_announcements(problems: Mapping[str, str] | None = None) -> str:
    """Show the notices of the public status page; `problems` are those of the fields of a new one."""
    now = services.clock()
    with read_transaction(services.engine) as conn:
        current = operator_acts.list_current_announcements(conn, now)
        past = operator_acts.list_past_announcements(conn, now - _ANNOUNCEMENT_PAST, now)
    return render_template(
        "operations/status_notices.html",
        current=current,
        past=past,
        given=request.form,
        problems=problems or {},
        zone=services.settings.hub.time_zone,
    )


def _read_announcement() -> tuple[NewStatusAnnouncement | None, dict[str, str]]:
    """Return the notice of the form, or the error of each wrong field."""
    form, problems = request.form, {}
    texts = {name: form.get(name, "").strip() for name in _TEXTS}
    for name, longest in _TEXTS.items():
        if not texts[name] or len(texts[name]) > longest:
            problems[name] = translate("Write this text in both languages; it may not be too long.")
    zone = ZoneInfo(services.settings.hub.time_zone)
    starts, ends = (read_moment(form.get(name, ""), zone) for name in ("starts_at", "ends_at"))
    if starts is None:
        problems["starts_at"] = translate("Give the date and the time at which it begins.")
    if form.get("ends_at") and (ends is None or (starts is not None and ends <= starts)):
        problems["ends_at"] = translate("The end is after the beginning, or empty.")
    kind = form.get("kind", "")
    if problems or starts is None or kind not in _KINDS:
        return None, problems
    return NewStatusAnnouncement(kind, **texts, starts_at=starts, ends_at=ends), {}

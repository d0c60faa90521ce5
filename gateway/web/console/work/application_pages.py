"""The page of one application: its form, files, history and earlier ones of the same applicant.

Everything on it comes from the call that this agency was sent, and from this agency's own notices.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, abort, render_template
from sqlalchemy import Connection, Row

from gateway.accounts import Right
from gateway.hub import ApplicationForm, SentAttachment, list_application_history, refresh_summaries
from gateway.store import accounts, application_summaries, cases, decisions, read_transaction, work_lists
from gateway.web.console.page_downloads import make_download
from gateway.web.console.page_guards import get_visitor, require_right
from gateway.web.console.work.act_desk import WorkDesk, label_pointers, list_possible_acts, load_application
from gateway.web.officers import ApplicationView, list_act_records

__all__ = ["add_application_pages"]

_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")


def add_application_pages(pages: Blueprint, work: WorkDesk) -> None:
    """Add the page of an application, and its files."""

    @pages.get("/applications/<number>")
    @require_right(Right.READ_APPLICATIONS)
    def show_application(number: str) -> str:
        return _render_application(work, number)

    @pages.get("/applications/<number>/files/<int:position>")
    @require_right(Right.READ_APPLICATIONS)
    def send_file(number: str, position: int) -> Response:
        with read_transaction(work.services.engine) as conn:
            files = load_application(work.services, conn, number).attachments
        if not 1 <= position <= len(files):
            abort(HTTPStatus.NOT_FOUND)
        return _answer_file(files[position - 1], position)


@dataclass(frozen=True, slots=True)
class _Background:
    """What stands around the form: the case, the summary, earlier applications."""

    case: Row[Any]
    summary: Row[Any] | None
    previous: tuple[Row[Any], ...]


def _render_application(work: WorkDesk, number: str) -> str:
    services = work.services
    with read_transaction(services.engine) as conn:
        found = load_application(services, conn, number)
        refresh_summaries(services.hub, conn, [found.request.id])
    with read_transaction(services.engine) as conn:
        around = _load_background(conn, found)
        history = list_application_history(services.hub, conn, found.request)
        records = list_act_records(conn, found.request.id)
        decided = [
            row for row in decisions.list_by_request(conn, found.request.id) if row.superseded_by is None
        ]
    view = work.desk.read_application(found.request.agency, number)
    return render_template(
        "work/application.html",
        application=found,
        view=view,
        acts=list_possible_acts(view),
        colleagues=_list_colleagues(work, view),
        around=around,
        history=history,
        records=records,
        decided={(row.item, row.law): row for row in decided},
        pointers=label_pointers(found),
        now=services.clock(),
    )


def _load_background(conn: Connection, found: ApplicationForm) -> _Background:
    request = found.request
    case = cases.find_by_id(conn, request.case_id)
    assert case is not None, "a request belongs to a case"
    summary = application_summaries.find_summary(conn, request.id)
    if summary is None or not summary.applicant_id or not summary.heading:
        return _Background(case, summary, ())
    previous = work_lists.list_previous_applications(
        conn, request.agency, request.id, applicant_id=summary.applicant_id, heading=summary.heading
    )
    return _Background(case, summary, tuple(previous))


def _list_colleagues(work: WorkDesk, view: ApplicationView | None) -> Sequence[Row[Any]]:
    """Return to whom the visitor may hand an application over."""
    visitor = get_visitor()
    if view is None or view.claim is None:
        return ()
    if view.claim.account != visitor.account and not visitor.may(Right.ASSIGN_WORK):
        return ()
    with read_transaction(work.services.engine) as conn:
        found = accounts.list_accounts(conn, "agency", visitor.organisation.code)
    return [row for row in found if row.status == "ACTIVE" and row.id != view.claim.account]


def _answer_file(file: SentAttachment, position: int) -> Response:
    """Return a file of the applicant: never drawn, whatever the applicant says that it is."""
    name = _ODD.sub("_", file.content_id)[:80].strip("._") or f"file-{position}"
    return make_download(f"{name}.bin", file.content)

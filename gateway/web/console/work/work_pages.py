"""Pages of an officer's queue: filters, claims, and the application."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, redirect, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response as AnyResponse

from gateway.accounts import Right
from gateway.cases import CaseCustody
from gateway.errors import GatewayError, find_resource_problem
from gateway.hub import ApplicationForm, SentAttachment, list_application_history, refresh_summaries
from gateway.operations import load_request_custodies
from gateway.store import (
    AccountRow,
    ApplicationSummaryRow,
    CaseRow,
    WorkCursor,
    WorkFilter,
    WorkRow,
    WorkTab,
    accounts,
    agency_requests,
    cases,
    decisions,
    read_position,
    read_row_number,
    read_transaction,
    work_lists,
)
from gateway.web.case_bundle import clean_file_name
from gateway.web.console.page_formats import (
    LARGEST_CSV,
    answer_csv,
    is_csv_wanted,
    make_download,
    read_search_text,
    translate,
)
from gateway.web.console.page_guards import (
    require_right,
    services,
    store_flash_message,
    visitor,
)
from gateway.web.console.work.act_pages import (
    describe_refusal,
    get_officer,
    label_pointers,
    list_possible_acts,
    load_application,
)
from gateway.web.officers import ApplicationView, list_act_views

_log = logging.getLogger(__name__)

pages: Final = Blueprint("work", __name__, url_prefix="/console")

#: The orders of a list: oldest first, newest first, by deadline.
ORDERS: Final = ("old", "new", "due")
_FILTERS: Final = ("tab", "hs", "applicant", "law", "document", "order")
_HS: Final = re.compile(r"[0-9]{2,10}")
#: Digits of an HS heading: a search by fewer digits would match too much of a growing list.
_HEADING: Final = 4
_NO_OFFSET: Final = "%Y%m%dT%H%M%S.%f"


def read_work_filter(limit: int) -> WorkFilter:
    """Return the list of the visitor's agency that the URL asks for.

    A value that is not known is as if it were not there; a text that is too long is answered by 400.
    """
    arguments = request.args
    tab = arguments.get("tab", WorkTab.NEW)
    order = arguments.get("order", "")
    chosen = WorkTab(tab) if tab in set(WorkTab) else WorkTab.NEW
    hs = re.sub(r"[ .]", "", arguments.get("hs", ""))
    grows = chosen in (WorkTab.DECIDED, WorkTab.ALL)
    usual = "new" if grows else "old"
    return WorkFilter(
        visitor.organisation.code,
        chosen,
        visitor.account,
        services.clock(),
        hs=hs if _HS.fullmatch(hs) and (not grows or len(hs) >= _HEADING) else "",
        applicant=read_search_text("applicant"),
        law=read_search_text("law"),
        document=read_search_text("document"),
        order=order if order in ORDERS else usual,
        limit=limit,
        after=_read_work_cursor(arguments.get("after", "")),
    )


def build_list_url(**changes: str) -> str:
    """Return the path of the work list with the present filters and these `changes`, from its first page."""
    filters = {name: request.args[name] for name in _FILTERS if request.args.get(name)}
    parameters = {name: value for name, value in (filters | changes).items() if value}
    return "/console/work" + (f"?{urlencode(parameters)}" if parameters else "")


def format_work_cursor(row: WorkRow, criteria: WorkFilter) -> str:
    """Return the cursor with which the list continues after a row."""
    if row.due_at is None or (criteria.order != "due" and criteria.tab is not WorkTab.OVERDUE):
        return str(row.id)
    due_at = row.due_at.astimezone(UTC)
    # A year before 1000 is not padded by %Y, which does not read it then.
    return f"{row.id}~{due_at.year:04}{due_at:%m%dT%H%M%S.%f}"


def _read_work_cursor(text: str) -> WorkCursor | None:
    """Return the cursor in the text ``number~due time``; None if it is malformed."""
    written, _, due = text.partition("~")
    number = read_row_number(written)
    if number is None:
        return None
    try:
        # bounded: a form of our own
        return WorkCursor(number, datetime.strptime(due, _NO_OFFSET).replace(tzinfo=UTC) if due else None)
    except ValueError:
        return None


_PAGE: Final = 50
#: Lists whose applications may be decided together.
_TO_DECIDE: Final = (WorkTab.NEW, WorkTab.MINE)
_CSV: Final = (
    *(
        "number",
        "case",
        "document",
        "state",
        "applicant_id",
        "applicant",
        "hs",
        "goods",
        "item_count",
        "laws",
    ),
    *("opened_at", "due_at", "decided_at", "receipt_number", "officer"),
)


@pages.get("/work")
@require_right(Right.READ_APPLICATIONS)
def show_work() -> AnyResponse | str:
    """Show the list of work, or the results of a search for a number."""
    search_text = read_search_text("q")
    return _answer_search(search_text) if search_text else _answer_list()


@pages.get("/work/mark")
@require_right(Right.READ_APPLICATIONS)
def show_mark() -> Response:
    """Return the mark by which a browser learns that the list has changed."""
    with read_transaction(services.engine) as conn:
        mark = work_lists.compute_work_list_version(conn, visitor.organisation.code)
    return Response(mark, content_type="text/plain; charset=utf-8")


def _answer_search(search_text: str) -> AnyResponse | str:
    """Answer a search by number: one application is shown at once."""
    agency = visitor.organisation.code
    with read_transaction(services.engine) as conn:
        numbers = work_lists.find_application_numbers(conn, agency, search_text)
        if len(numbers) == 1:
            return redirect(f"/console/applications/{numbers[0]}")
        criteria = WorkFilter(
            agency, WorkTab.ALL, visitor.account, services.clock(), numbers=numbers, order="new"
        )
        rows = _list_rows(conn, criteria) if numbers else []
        return _render_list(conn, criteria, rows, search_text=search_text)


def _answer_list() -> AnyResponse | str:
    """Return the work list that the URL selects, as a page or as CSV."""
    as_csv = is_csv_wanted()
    criteria = read_work_filter(LARGEST_CSV if as_csv else _PAGE)
    with read_transaction(services.engine) as conn:
        if as_csv:
            rows = work_lists.list_work(conn, criteria)[: criteria.limit]
            return answer_csv("applications", _CSV, [_make_csv_row(row) for row in rows])
        rows = _list_rows(conn, criteria)
        return _render_list(conn, criteria, rows)


def _list_rows(conn: Connection, criteria: WorkFilter) -> Sequence[WorkRow]:
    """Return the rows of a page; the summaries that are missing are read from the calls first.

    Where the octets of calls are not reached now, their rows are shown without summaries.
    """
    rows = work_lists.list_work(conn, criteria)
    try:
        has_new_summaries = refresh_summaries(services.hub, conn, [row.id for row in rows]) > 0
    except GatewayError as problem:
        if find_resource_problem(problem) is None:
            raise
        _log.warning("the work list lacks summaries: %s", problem)
        has_new_summaries = True
    if has_new_summaries:
        with read_transaction(services.engine) as later:
            rows = work_lists.list_work(later, criteria)
    return rows


def _render_list(
    conn: Connection, criteria: WorkFilter, rows: Sequence[WorkRow], search_text: str = ""
) -> str:
    """Return the page of the work list; `rows` has one row more than `criteria.limit` if a page follows."""
    page_rows = rows[: criteria.limit]
    goes_on = format_work_cursor(page_rows[-1], criteria) if len(rows) > criteria.limit else ""
    documents = services.hub.rules.bundle.documents
    acts = services.desk.is_at_console(criteria.agency)
    own_documents = [document for document in documents.values() if document.organisation == criteria.agency]
    return render_template(
        "work/work.html",
        wanted=criteria,
        rows=page_rows,
        said=search_text,
        counts=work_lists.count_work(conn, criteria.agency, visitor.account, criteria.now),
        mark=work_lists.compute_work_list_version(conn, criteria.agency),
        most=work_lists.COUNT_LIMIT,
        own_documents=own_documents,
        laws=sorted({law for document in own_documents for law in document.laws}),
        list_url=build_list_url,
        next_url=build_list_url(after=goes_on) if goes_on else "",
        can_claim=acts and visitor.may(Right.WORK_ON_APPLICATIONS),
        can_batch=acts and criteria.tab in _TO_DECIDE and visitor.may(Right.PROPOSE_DECISIONS),
        csv_url=build_list_url(format="csv"),
    )


def _make_csv_row(row: WorkRow) -> list[Any]:
    return [
        *(row.number, row.case_number, row.document, row.state, row.applicant_id, row.applicant, row.hs),
        *(row.goods, row.item_count, row.laws, row.opened_at, row.due_at, row.decided_at, row.receipt_number),
        row.holder_name,
    ]


@pages.post("/work/claims")
@require_right(Right.WORK_ON_APPLICATIONS)
def change_claim() -> AnyResponse:
    """Change the officer who works on an application."""
    act, _, rest = request.form.get("claim", "").partition(" ")
    number, _, position = rest.partition(" ")
    version = read_position(position)
    if act not in _ACTS or version is None or not (number.isascii() and number.isalnum()):
        abort(HTTPStatus.BAD_REQUEST)
    store_flash_message(_perform_claim_act(act, number, version))
    return redirect("/console/work" if act == "take" else f"/console/applications/{number}")


_ACTS = ("take", "open", "release", "give")


def _perform_claim_act(act: str, application_number: str, version: int) -> str:
    """Change a claim; return the sentence about it, also of a refusal."""
    officer = get_officer()
    try:
        if act in ("take", "open"):
            services.desk.claim_application(officer, application_number, version)
            return translate("You work on {number} now.").format(number=application_number)
        if act == "release":
            services.desk.release_application(officer, application_number, version)
            return translate("{number} is free again.").format(number=application_number)
        to = read_row_number(request.form.get("to", ""))
        if to is None:
            return translate("Choose an officer.")
        claim = services.desk.hand_over_application(officer, application_number, to, version)
        return translate("{number} was handed to {name}.").format(
            number=application_number, name=claim.name or ""
        )
    except GatewayError as problem:
        return describe_refusal(problem)


@pages.get("/applications/<number>/files/<position:position>")
@require_right(Right.READ_APPLICATIONS)
def send_file(number: str, position: int) -> Response:
    """Return a file of an application."""
    with read_transaction(services.engine) as conn:
        files = load_application(conn, number).attachments
    if not 1 <= position <= len(files):
        abort(HTTPStatus.NOT_FOUND)
    return _answer_file(files[position - 1], position)


@dataclass(frozen=True, slots=True)
class _Background:
    """The information beside the form: the case, the summary, earlier applications."""

    case: CaseRow
    summary: ApplicationSummaryRow | None
    previous: tuple[WorkRow, ...]
    tasks: tuple[CaseCustody, ...]


@pages.get("/applications/<number>")
@require_right(Right.READ_APPLICATIONS)
def show_application(number: str) -> str:
    """Show an application."""
    with read_transaction(services.engine) as conn:
        application = load_application(conn, number)
        refresh_summaries(services.hub, conn, [application.request.id])
    with read_transaction(services.engine) as conn:
        background = _load_background(conn, application)
        history = list_application_history(services.hub, conn, application.request)
        records = list_act_views(conn, application.request.id)
        decided = [
            row
            for row in decisions.list_by_request(conn, application.request.id)
            if row.superseded_by is None
        ]
    view = services.desk.read_application(application.request.agency, number)
    return render_template(
        "work/application.html",
        application=application,
        view=view,
        acts=list_possible_acts(view),
        colleagues=_list_colleagues(view),
        around=background,
        history=history,
        records=records,
        decided={(row.item, row.law): row for row in decided},
        pointers=label_pointers(application),
        now=services.clock(),
    )


def _load_background(conn: Connection, application: ApplicationForm) -> _Background:
    """Return the case, the summary, the tasks that are due, and the previous applications.

    The previous applications are those of the same applicant and heading.
    """
    request = application.request
    case = cases.find_by_id(conn, request.case_id)
    assert case is not None, "a request belongs to a case"
    rows = agency_requests.list_by_case(conn, case.id)
    tasks = load_request_custodies(conn, [row for row in rows if row.id == request.id])[request.id]
    summary = work_lists.find_summary(conn, request.id)
    if summary is None or not summary.applicant_id or not summary.heading:
        return _Background(case, summary, (), tasks)
    previous = work_lists.list_previous_applications(
        conn, request.agency, request.id, applicant_id=summary.applicant_id, heading=summary.heading
    )
    return _Background(case, summary, tuple(previous), tasks)


def _list_colleagues(view: ApplicationView | None) -> Sequence[AccountRow]:
    """Return the accounts of the colleagues to which the visitor may hand an application over."""
    if view is None or view.claim is None:
        return ()
    if view.claim.account != visitor.account and not visitor.may(Right.ASSIGN_WORK):
        return ()
    with read_transaction(services.engine) as conn:
        members = accounts.list_accounts(conn, "agency", visitor.organisation.code)
    return [row for row in members if row.status == "ACTIVE" and row.id != view.claim.account]


def _answer_file(file: SentAttachment, position: int) -> Response:
    """Return a file of the applicant, of any type, as a download, which a browser never displays."""
    name = clean_file_name(file.content_id, f"file-{position}")
    return make_download(f"{name}.bin", file.content)

"""The work queue of an agency: its lists, the search by number, and who works on what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, redirect, render_template, request
from sqlalchemy import Connection, Row
from werkzeug.wrappers import Response as AnyResponse

from gateway.accounts import Right
from gateway.hub import refresh_summaries
from gateway.store import WorkFilter, WorkTab, read_transaction, work_lists
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.csv_answers import LARGEST_CSV, answer_csv
from gateway.web.console.page_guards import get_visitor, require_right
from gateway.web.console.work.act_desk import WorkDesk
from gateway.web.console.work.work_filters import build_list_url, format_place, read_words, read_work_filter

if TYPE_CHECKING:
    from gateway.web.console.visitor_session import Visitor

__all__ = ["add_work_pages"]

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


def add_work_pages(pages: Blueprint, work: WorkDesk) -> None:
    """Add the list of work, and the mark by which a browser learns that it has changed."""
    services = work.services

    @pages.get("/work")
    @require_right(Right.READ_APPLICATIONS)
    def show_work() -> AnyResponse | str:
        said = read_words(request.args, "q", 128)
        return _answer_search(work, get_visitor(), said) if said else _answer_list(work, get_visitor())

    @pages.get("/work/mark")
    @require_right(Right.READ_APPLICATIONS)
    def show_mark() -> Response:
        with read_transaction(services.engine) as conn:
            mark = work_lists.compute_work_mark(conn, get_visitor().organisation.code)
        return Response(mark, content_type="text/plain; charset=utf-8")


def _answer_search(work: WorkDesk, visitor: Visitor, said: str) -> AnyResponse | str:
    """Answer a search by number: one application is shown at once."""
    services, agency = work.services, visitor.organisation.code
    with read_transaction(services.engine) as conn:
        found = work_lists.find_application_numbers(conn, agency, said)
        if len(found) == 1:
            return redirect(f"/console/applications/{found[0]}")
        wanted = WorkFilter(
            agency, WorkTab.ALL, visitor.account, services.clock(), numbers=found, order="new"
        )
        rows = _list_rows(services, conn, wanted) if found else []
        return _render_list(work, conn, visitor, (wanted, rows), said=said)


def _answer_list(work: WorkDesk, visitor: Visitor) -> AnyResponse | str:
    services = work.services
    as_csv = request.args.get("format") == "csv"
    wanted = read_work_filter(
        request.args,
        visitor.organisation.code,
        visitor.account,
        services.clock(),
        LARGEST_CSV if as_csv else _PAGE,
    )
    with read_transaction(services.engine) as conn:
        if as_csv:
            rows = work_lists.list_work(conn, wanted)[: wanted.limit]
            return answer_csv("applications", _CSV, [_make_csv_row(row) for row in rows])
        rows = _list_rows(services, conn, wanted)
        return _render_list(work, conn, visitor, (wanted, rows))


def _list_rows(services: ConsoleServices, conn: Connection, wanted: WorkFilter) -> Sequence[Row[Any]]:
    """Return the rows of a page; the summaries that are missing are read from the calls first."""
    rows = work_lists.list_work(conn, wanted)
    if refresh_summaries(services.hub, conn, [row.id for row in rows]):
        with read_transaction(services.engine) as later:
            rows = work_lists.list_work(later, wanted)
    return rows


def _render_list(
    work: WorkDesk,
    conn: Connection,
    visitor: Visitor,
    listed: tuple[WorkFilter, Sequence[Row[Any]]],
    said: str = "",
) -> str:
    wanted, rows = listed
    shown = rows[: wanted.limit]
    goes_on = format_place(shown[-1], wanted) if len(rows) > wanted.limit else ""
    documents = work.services.hub.rules.bundle.documents
    acts = work.desk.is_at_console(wanted.agency)
    own = [one for one in documents.values() if one.organisation == wanted.agency]
    return render_template(
        "work/work.html",
        wanted=wanted,
        rows=shown,
        said=said,
        counts=work_lists.count_work(conn, wanted.agency, visitor.account, wanted.now),
        mark=work_lists.compute_work_mark(conn, wanted.agency),
        most=work_lists.COUNT_LIMIT,
        documents=documents,
        own_documents=own,
        laws=sorted({law for one in own for law in one.laws}),
        list_url=lambda **changes: build_list_url(request.args, **changes),
        next_url=build_list_url(request.args, after=goes_on) if goes_on else "",
        can_claim=acts and visitor.may(Right.WORK_ON_APPLICATIONS),
        can_batch=acts and wanted.tab in _TO_DECIDE and visitor.may(Right.PROPOSE_DECISIONS),
        csv_url=build_list_url(request.args, format="csv"),
    )


def _make_csv_row(row: Row[Any]) -> list[Any]:
    return [
        *(row.number, row.case_number, row.document, row.state, row.applicant_id, row.applicant, row.hs),
        *(row.goods, row.item_count, row.laws, row.opened_at, row.due_at, row.decided_at, row.receipt_number),
        row.holder_name,
    ]

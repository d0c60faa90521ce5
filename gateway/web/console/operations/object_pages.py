"""Pages that show what operators look into: objects, deliveries, searches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.errors import GatewayError
from gateway.message_model import JoinedBody
from gateway.operations import (
    add_case_waiting,
    add_delivery_waiting,
    add_message_waiting,
    describe_delivery_waiting,
    describe_destination,
    find_case,
    is_resting_submission,
    list_case_trail,
    list_lane_reports,
    list_possible_acts,
    load_destinations,
    read_case_report,
    read_custody_times,
    read_delivery_report,
    read_message_report,
)
from gateway.state_machines import CASE, DELIVERY, MESSAGE
from gateway.store import (
    LIST_COUNT_LIMIT,
    CaseRow,
    ListFilter,
    ListPage,
    MessageRow,
    cases,
    deliveries,
    delivery_leases,
    list_searches,
    messages,
    officer_work,
    parties,
    read_row_number,
    read_transaction,
    transitions,
    verdicts,
)
from gateway.web.console.page_formats import (
    LARGEST_CSV,
    answer_row_csv,
    is_csv_wanted,
    make_download,
    read_moment,
    read_search_text,
)
from gateway.web.console.page_guards import require_right, services

pages: Final = Blueprint("objects", __name__)

#: Rows of a page.
PAGE: Final = 50


def read_list_filter(states: Sequence[str] = (), **conditions: Any) -> ListFilter:
    """Return the conditions of the URL: ``state``, ``since``, ``until`` and ``after``; answer 400 to others.

    A state that is none of `states` is no condition.
    """
    state = read_search_text("state")
    return ListFilter(
        states=(state,) if state in states else (),
        since=_read_moment("since"),
        until=_read_moment("until"),
        after=_read_cursor(),
        limit=LARGEST_CSV if is_csv_wanted() else PAGE,
        **conditions,
    )


def _read_moment(name: str) -> datetime | None:
    """Return the time in the URL parameter `name`, None if it is empty; answer 400 to other text."""
    text = read_search_text(name)
    if not text:
        return None
    moment = read_moment(text, ZoneInfo(services.settings.hub.time_zone))
    if moment is None:
        abort(HTTPStatus.BAD_REQUEST, "A time is written as 2026-07-01T08:30.")
    return moment


def _read_cursor() -> int | None:
    """Return the row number in the URL parameter ``after``, None if it is empty; answer 400 to other text."""
    text = read_search_text("after")
    if not text:
        return None
    number = read_row_number(text)
    if number is None:
        abort(HTTPStatus.BAD_REQUEST, "The link to the next page is not complete.")
    return number


def answer_list(name: str, page: ListPage, columns: Sequence[str], **context: Any) -> str | Response:
    """Return a page of a list: its template with the context, or these columns as CSV."""
    if is_csv_wanted():
        return answer_row_csv(name, columns, page.rows)
    return render_template(
        f"operations/{name}.html",
        page=page,
        more=_format_remaining(page),
        next_url=_build_next_url(page),
        **context,
    )


def _build_next_url(page: ListPage) -> str | None:
    """Return the URL of the next page, with the same conditions; None where this is the last one."""
    if not page.remaining or not page.rows:
        return None
    arguments = {
        name: value for name, value in request.args.items() if name not in ("after", "format") and value
    }
    return f"{request.path}?{urlencode(arguments | {'after': page.rows[-1]['id']})}"


def _format_remaining(page: ListPage) -> str:
    """Return how many rows follow; above the limit of counting, that there are more than that."""
    return f"> {LIST_COUNT_LIMIT:,}" if page.remaining >= LIST_COUNT_LIMIT else f"{page.remaining:,}"


_MESSAGE_COLUMNS: Final = (
    *("id", "direction", "from_party", "to_party", "action", "state", "received_at"),
    *("case_number", "problem", "waits_for", "message_id"),
)
_CASE_COLUMNS: Final = (
    *("number", "functional_reference", "declarant", "applicant", "state", "outcome"),
    *("opened_at", "closed_at", "waits_for"),
)
_DIRECTIONS: Final = ("in", "out")


@pages.get("/messages")
@require_right(Right.OBSERVE)
def list_messages() -> str | Response:
    """List messages."""
    direction = read_search_text("direction")
    equal = [("direction", direction)] if direction in _DIRECTIONS else []
    criteria = read_list_filter(MESSAGE.states, party=read_search_text("party"), equal=equal)
    with read_transaction(services.engine) as conn:
        page = list_searches.search_messages(conn, criteria, resting=read_search_text("mailbox") == "yes")
        add_message_waiting(conn, page.rows, services.clock())
    return answer_list("messages", page, _MESSAGE_COLUMNS, states=tuple(MESSAGE.states))


@pages.get("/cases")
@require_right(Right.OBSERVE)
def list_cases() -> str | Response:
    """List cases."""
    with read_transaction(services.engine) as conn:
        criteria = read_list_filter(CASE.states)
        page = list_searches.search_cases(conn, criteria)
        add_case_waiting(conn, page.rows, services.clock())
    return answer_list("cases", page, _CASE_COLUMNS, states=tuple(CASE.states))


@pages.get("/messages/<int:number>")
@require_right(Right.OBSERVE)
def show_message(number: int) -> str:
    """Show a message."""
    with read_transaction(services.engine) as conn:
        report = _read_message(conn, number)
        add_delivery_waiting(conn, report["deliveries"], services.clock())
    return render_template("operations/message.html", report=report)


@pages.get("/messages/<int:number>/octets")
@require_right(Right.OBSERVE)
def download_message(number: int) -> Response:
    """Return the octets of a message."""
    with read_transaction(services.engine) as conn:
        _require_message(conn, number)
        headers, body = messages.open_parcel(conn, number)
    head = _write_head(headers)
    whole = head + body if isinstance(body, bytes) else JoinedBody([head, body])
    return make_download(f"message-{number}.http", whole)


@pages.get("/messages/<int:number>/answer")
@require_right(Right.OBSERVE)
def download_answer(number: int) -> Response:
    """Return the answer that a message got."""
    with read_transaction(services.engine) as conn:
        _require_message(conn, number)
        answer = messages.find_response(conn, number)
    if answer is None:
        abort(HTTPStatus.NOT_FOUND)
    start = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n".encode()
    return make_download(f"answer-{number}.http", start + _write_head(answer.headers) + answer.body)


@pages.get("/messages/<int:number>/parts/<position:position>")
@require_right(Right.OBSERVE)
def download_part(number: int, position: int) -> Response:
    """Return one payload of a message."""
    with read_transaction(services.engine) as conn:
        part = messages.load_part(conn, number, position)
    if part is None:
        abort(HTTPStatus.NOT_FOUND)
    return make_download(f"message-{number}-part-{position}.bin", part.octets)


@pages.get("/cases/<number>")
@require_right(Right.OBSERVE)
def show_case(number: str) -> str:
    """Show a case."""
    with read_transaction(services.engine) as conn:
        report = _read_case(conn, number)
        case = find_case(conn, report["number"])
        report["custody"] = [] if case is None else _read_custody(conn, case)
        add_case_waiting(conn, [report], services.clock())
        add_delivery_waiting(conn, report["deliveries"], services.clock())
    return render_template("operations/case.html", report=report)


def _read_custody(conn: Connection, case: CaseRow) -> list[dict[str, Any]]:
    """Return the records of who has the next move, with the working time of each holder as a timedelta."""
    timetable = services.hub.timetable.read_timetable(conn)
    read = read_custody_times(conn, case, timetable, services.clock())
    custody = [period for period in read if period["holder"] is not None]
    for period in custody:
        spent = period["working_seconds"] or {}
        period["spent"] = [(holder, timedelta(seconds=seconds)) for holder, seconds in spent.items()]
    return custody


def _require_message(conn: Connection, message_id: int) -> MessageRow:
    row = messages.find_by_id(conn, message_id)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    return row


def _read_message(conn: Connection, message_id: int) -> dict[str, Any]:
    """Return a message as `gateway message show` does, with its case, its signer and the verdict on it."""
    row = _require_message(conn, message_id)
    report = read_message_report(conn, row)
    signer = row.signer_sha256
    certificates = parties.list_certificate_rows(conn, signer) if signer else ()
    return report | {
        "case": cases.find_by_id(conn, row.case_id) if row.case_id else None,
        "is_resting_submission": is_resting_submission(conn, row),
        "signer": certificates[0] if certificates else None,
        "verdict": verdicts.find_verdict_in_force(conn, signer, "signing", row.received_at)
        if signer
        else None,
        "evidence": [leaf | {"facts": _flatten_values(leaf["data"])} for leaf in report["evidence"]],
    }


def _flatten_values(data: Any, before: str = "") -> list[tuple[str, str]]:
    """Return nested values as pairs of a dotted name, such as ``admitted.mode``, and a text; omit None."""
    named_texts: list[tuple[str, str]] = []
    for name, value in data.items() if isinstance(data, Mapping) else ():
        if isinstance(value, Mapping):
            named_texts += _flatten_values(value, f"{before}{name}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            named_texts.append((f"{before}{name}", text))
    return named_texts


def _read_case(conn: Connection, number: str) -> dict[str, Any]:
    """Return the report of a case with its messages and audit trail; answer 404 if there is no such case."""
    try:
        row = find_case(conn, number[:80])
    except GatewayError:
        row = None
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    report = read_case_report(conn, row)
    return report | {
        "messages": messages.list_messages(conn, case_id=row.id),
        "trail": list_case_trail(conn, row, report),
    }


def _write_head(headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{lines}\r\n".encode()


#: The states of a list; a delivery that is done is found by its case, its message, or its number.
_STATES: Final = tuple(state for state in DELIVERY.states if state not in DELIVERY.final_states)
_COLUMNS: Final = (
    *("id", "case_number", "lane", "partner", "state", "attempt", "waits_for", "problem"),
    *("last_sentence", "theirs", "created_at", "due_at"),
)


@pages.get("/deliveries")
@require_right(Right.OBSERVE)
def list_deliveries() -> str | Response:
    """List the deliveries that are not done."""
    lane = read_search_text("lane")
    with read_transaction(services.engine) as conn:
        page = _read_delivery_page(conn, lane)
    return answer_list("deliveries", page, _COLUMNS, states=_STATES, lane=lane)


@pages.get("/deliveries/<int:number>")
@require_right(Right.OBSERVE)
def show_delivery(number: int) -> str:
    """Show a delivery."""
    with read_transaction(services.engine) as conn:
        report = _read_delivery(conn, number)
    return render_template(
        "operations/delivery.html", report=report, acts=list_possible_acts(report["state"])
    )


@pages.get("/lanes/<id:name>")
@require_right(Right.OBSERVE)
def show_lane(name: str) -> str:
    """Show a lane, and the deliveries in it."""
    with read_transaction(services.engine) as conn:
        lane_reports = list_lane_reports(conn, services.settings)
        lane = next((report for report in lane_reports if report.name == name), None)
        if lane is None:
            abort(HTTPStatus.NOT_FOUND)
        page = _read_delivery_page(conn, name)
        switch = officer_work.find_switch(conn, name)
    agency = services.settings.agency.get(name)
    return render_template(
        "operations/lane.html",
        lane=lane,
        page=page,
        switch=switch,
        is_agency=agency is not None and not agency.console,
    )


def _read_delivery_page(conn: Connection, lane: str) -> ListPage:
    """Return the page of deliveries that the URL selects, each with its partner and why it waits."""
    equal = [("lane", lane)] if lane else []
    criteria = read_list_filter(_STATES, equal=equal)
    page = list_searches.search_deliveries(conn, criteria)
    destinations = load_destinations(conn, services.settings)
    last_words = delivery_leases.list_last_answer_texts(
        conn, [row["id"] for row in page.rows if row["problem"]]
    )
    now = services.clock()
    for row in page.rows:
        row["partner"] = describe_destination(destinations, row).name
        row["waits_for"] = describe_delivery_waiting(row, now)
        row["theirs"] = last_words.get(row["id"])
    return page


def _read_delivery(conn: Connection, delivery_id: int) -> dict[str, Any]:
    """Return a delivery as `gateway queue show` does, with its partner and the number of its case."""
    row = deliveries.find_by_id(conn, delivery_id)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    report = read_delivery_report(conn, row)
    add_delivery_waiting(conn, [report], services.clock())
    case = cases.find_by_id(conn, row.case_id) if row.case_id else None
    steps = transitions.list_transitions(conn, DELIVERY, row.id)
    partner = describe_destination(load_destinations(conn, services.settings), report)
    return report | {"case": case, "transitions": steps, "partner": partner}

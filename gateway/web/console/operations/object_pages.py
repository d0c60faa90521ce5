"""Messages and cases: lists, one message with its evidence and octets, one case with its whole trail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, abort, render_template
from sqlalchemy import Connection, Row
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.errors import GatewayError
from gateway.message_model import JoinedBody
from gateway.operations import (
    add_case_waiting,
    add_delivery_waiting,
    add_message_waiting,
    find_case,
    list_case_trail,
    read_case_report,
    read_custody_times,
    read_message_report,
)
from gateway.state_machines import CASE, MESSAGE
from gateway.store import (
    ListPage,
    cases,
    list_searches,
    messages,
    parties,
    read_transaction,
    verdicts,
)
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.csv_answers import answer_csv
from gateway.web.console.operations.list_requests import (
    build_next_url,
    describe_more,
    is_csv_wanted,
    read_list_request,
    read_text,
)
from gateway.web.console.page_downloads import make_download
from gateway.web.console.page_guards import require_right

__all__ = ["add_object_pages"]

_MESSAGE_COLUMNS: Final = (
    *("id", "direction", "from_party", "to_party", "action", "state", "received_at"),
    *("case_number", "problem", "waits_for", "message_id"),
)
_CASE_COLUMNS: Final = (
    *("number", "functional_reference", "declarant", "applicant", "state", "outcome"),
    *("opened_at", "closed_at", "waits_for"),
)
_DIRECTIONS: Final = ("in", "out")


def add_object_pages(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the pages."""

    @pages.get("/messages")
    @require_right(Right.OBSERVE)
    def list_messages() -> str | Response:
        with read_transaction(services.engine) as conn:
            page = _read_messages(conn, services)
        return _answer_list("messages", page, _MESSAGE_COLUMNS, MESSAGE.states)

    @pages.get("/cases")
    @require_right(Right.OBSERVE)
    def list_cases() -> str | Response:
        with read_transaction(services.engine) as conn:
            wanted = read_list_request(services.settings.hub.time_zone, CASE.states)
            page = list_searches.search_cases(conn, wanted)
            add_case_waiting(conn, page.rows, services.clock())
        return _answer_list("cases", page, _CASE_COLUMNS, CASE.states)

    @pages.get("/messages/<int:number>")
    @require_right(Right.OBSERVE)
    def show_message(number: int) -> str:
        with read_transaction(services.engine) as conn:
            report = _read_message(conn, number)
            add_delivery_waiting(conn, report["deliveries"], services.clock())
        return render_template("operations/message.html", report=report)

    @pages.get("/messages/<int:number>/octets")
    @require_right(Right.OBSERVE)
    def download_message(number: int) -> Response:
        with read_transaction(services.engine) as conn:
            _require_message(conn, number)
            headers, body = messages.open_parcel(conn, number)
        head = _write_head(headers)
        whole = head + body if isinstance(body, bytes) else JoinedBody([head, body])
        return make_download(f"message-{number}.http", whole)

    @pages.get("/messages/<int:number>/answer")
    @require_right(Right.OBSERVE)
    def download_answer(number: int) -> Response:
        with read_transaction(services.engine) as conn:
            _require_message(conn, number)
            answer = messages.find_response(conn, number)
        if answer is None:
            abort(HTTPStatus.NOT_FOUND)
        start = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n".encode()
        return make_download(f"answer-{number}.http", start + _write_head(answer.headers) + answer.body)

    @pages.get("/messages/<int:number>/parts/<int:position>")
    @require_right(Right.OBSERVE)
    def download_part(number: int, position: int) -> Response:
        with read_transaction(services.engine) as conn:
            part = messages.load_part(conn, number, position)
        if part is None:
            abort(HTTPStatus.NOT_FOUND)
        return make_download(f"message-{number}-part-{position}.bin", part.octets)

    @pages.get("/cases/<number>")
    @require_right(Right.OBSERVE)
    def show_case(number: str) -> str:
        with read_transaction(services.engine) as conn:
            report = _read_case(conn, number)
            case = find_case(conn, report["number"])
            report["custody"] = [] if case is None else _read_custody(conn, case, services)
            add_case_waiting(conn, [report], services.clock())
            add_delivery_waiting(conn, report["deliveries"], services.clock())
        return render_template("operations/case.html", report=report)


def _read_custody(conn: Connection, case: Row[Any], services: ConsoleServices) -> list[dict[str, Any]]:
    """Return who has the next move, with the working time of each holder as a span."""
    timetable = services.hub.timetable.read_timetable(conn)
    read = read_custody_times(conn, case, timetable, services.clock())
    found = [one for one in read if one["holder"] is not None]
    for one in found:
        spent = one["working_seconds"] or {}
        one["spent"] = [(holder, timedelta(seconds=seconds)) for holder, seconds in spent.items()]
    return found


def _answer_list(name: str, page: ListPage, columns: tuple[str, ...], states: Any) -> str | Response:
    if is_csv_wanted():
        return answer_csv(name, columns, ([row[one] for one in columns] for row in page.rows))
    return render_template(
        f"operations/{name}.html",
        page=page,
        states=tuple(states),
        more=describe_more(page),
        next_url=build_next_url(page),
    )


def _read_messages(conn: Connection, services: ConsoleServices) -> ListPage:
    direction = read_text("direction")
    equal = [("direction", direction)] if direction in _DIRECTIONS else []
    wanted = read_list_request(
        services.settings.hub.time_zone, MESSAGE.states, party=read_text("party"), equal=equal
    )
    page = list_searches.search_messages(conn, wanted)
    add_message_waiting(conn, page.rows, services.clock())
    return page


def _require_message(conn: Connection, number: int) -> Any:
    row = messages.find_by_id(conn, number)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    return row


def _read_message(conn: Connection, number: int) -> dict[str, Any]:
    """Return a message as `gateway message show` does, with its case, its signer and the verdict on it."""
    row = _require_message(conn, number)
    report = read_message_report(conn, row)
    signer = row.signer_sha256
    known = parties.list_certificate_rows(conn, signer) if signer else ()
    return report | {
        "case": cases.find_by_id(conn, row.case_id) if row.case_id else None,
        "signer": known[0] if known else None,
        "verdict": verdicts.find_verdict_in_force(conn, signer, "signing", row.received_at)
        if signer
        else None,
        "evidence": [one | {"facts": _flatten_facts(one["data"])} for one in report["evidence"]],
    }


def _flatten_facts(data: Any, before: str = "") -> list[tuple[str, str]]:
    """Return nested values as names and texts: ``admitted.mode``."""
    found: list[tuple[str, str]] = []
    for name, value in data.items() if isinstance(data, Mapping) else ():
        if isinstance(value, Mapping):
            found += _flatten_facts(value, f"{before}{name}.")
        elif value is not None:
            told = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            found.append((f"{before}{name}", told))
    return found


def _read_case(conn: Connection, number: str) -> dict[str, Any]:
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

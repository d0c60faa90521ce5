"""The pages on which a party follows its cases: the list, a case, and its downloads."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, abort, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response as AnyResponse

from gateway.accounts import Right
from gateway.cases import CaseCustody, CustodyHolder, find_case_custody, normalize_hub_number
from gateway.evidence import EvidenceReader
from gateway.harmonize import MappingBundle
from gateway.message_model import Body
from gateway.operations import load_request_custodies
from gateway.state_machines import CASE
from gateway.store import (
    CaseRow,
    MessageRow,
    PartyCaseFilter,
    PartyCasePage,
    RequestWithFeesRow,
    agency_requests,
    case_searches,
    messages,
    payloads,
    read_row_number,
    read_transaction,
)
from gateway.web.case_bundle import clean_file_name, make_case_bundle
from gateway.web.console.following.case_signatures import (
    StateWords,
    describe_case_state,
    describe_custody,
    list_agency_statements,
)
from gateway.web.console.following.case_view import read_case_view
from gateway.web.console.page_formats import (
    LARGEST_CSV,
    answer_csv,
    is_csv_wanted,
    make_download,
    name_agency,
    name_document,
    read_day,
    read_search_text,
    translate,
)
from gateway.web.console.page_guards import require_right, services, visitor
from gateway.wire import begin_day, convert_to_zone, end_day

pages: Final = Blueprint("following", __name__, url_prefix="/console/cases")

_PAGE: Final = 50
_CSV_PORTION: Final = 1000
#: The choices of the filter by state; each stands for states of cases. A case with an open fee is open, too.
_STATES: Final = {
    "open": tuple(state for state in CASE.states if state not in CASE.final_states),
    "ended": tuple(state for state in CASE.states if state in CASE.final_states),
    "refused": ("REFUSED",),
}
_PARAMETERS: Final = ("state", "reference", "agency", "text", "since", "until")


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task that is due on a case; the deadline is that of the applicant's own tasks."""

    sentence: str
    deadline: datetime | None


@dataclass(frozen=True, slots=True)
class CaseLine:
    """One case of the list."""

    number: str
    reference: str
    opened_at: datetime
    documents: tuple[str, ...]
    state: StateWords
    tasks: tuple[TaskLine, ...]
    is_own: bool
    age: timedelta


@pages.get("")
@require_right(Right.READ_CASES)
def list_cases() -> str | AnyResponse:
    """Show the list that the URL asks for."""
    zone = ZoneInfo(services.settings.hub.time_zone)
    parameters = {name: read_search_text(name) for name in _PARAMETERS}
    criteria = _read_filter(parameters, zone)
    if is_csv_wanted():
        return _answer_csv(criteria)
    with read_transaction(services.engine) as conn:
        page = case_searches.search_party_cases(conn, criteria)
        lines = _make_lines(conn, page.rows)
    bundle = services.hub.rules.bundle
    agencies = {code: name_agency(bundle, code) for code in _list_agencies(bundle)}
    filters = {name: value for name, value in parameters.items() if value}
    return render_template(
        "following/cases.html",
        lines=lines,
        now=services.clock(),
        given=parameters,
        agencies=agencies,
        page=page,
        csv=_make_url(filters | {"format": "csv"}),
        following=None if page.next_after is None else _make_url(filters | {"after": str(page.next_after)}),
        first=_make_url(filters) if criteria.after is not None else None,
        filtered=bool(filters),
    )


def _make_url(parameters: Mapping[str, str]) -> str:
    return f"/console/cases?{urlencode(parameters)}" if parameters else "/console/cases"


def _list_agencies(bundle: MappingBundle) -> list[str]:
    """Return the agencies that a document of the mappings goes to."""
    return sorted({document.organisation for document in bundle.documents.values()})


def _read_filter(parameters: Mapping[str, str], zone: ZoneInfo) -> PartyCaseFilter:
    """Return the conditions of the URL; a value that cannot be read is no condition."""
    after = request.args.get("after", "")
    reference = parameters["reference"]
    return PartyCaseFilter(
        party=visitor.organisation.code,
        states=_STATES.get(parameters["state"], ()),
        or_owes_fee=parameters["state"] == "open",
        reference=reference,
        number=normalize_hub_number(reference),
        agency=parameters["agency"],
        text=parameters["text"],
        since=_read_day(parameters["since"], zone),
        until=_read_day(parameters["until"], zone, is_end=True),
        limit=_PAGE,
        after=read_row_number(after),
    )


def _read_day(text: str, zone: ZoneInfo, *, is_end: bool = False) -> datetime | None:
    """Return the begin of a day in the zone, or with `is_end` its last microsecond; None for other text."""
    day = read_day(text)
    if day is None:
        return None
    return end_day(day, zone) - timedelta(microseconds=1) if is_end else begin_day(day, zone)


def _make_lines(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> list[CaseLine]:
    """Return the lines of the list of cases; read the requests of all cases by one query."""
    if not rows:
        return []
    requests = case_searches.list_case_requests(conn, [row["id"] for row in rows])
    custodies = load_request_custodies(conn, requests)
    requests_by_case: dict[int, list[RequestWithFeesRow]] = defaultdict(list)
    for request_row in requests:
        requests_by_case[request_row.case_id].append(request_row)
    return [_make_line(row, requests_by_case[row["id"]], custodies) for row in rows]


def _make_line(
    case: Mapping[str, Any],
    requests: Sequence[RequestWithFeesRow],
    request_custodies: Mapping[int, Sequence[CaseCustody]],
) -> CaseLine:
    """Return one line of the list of cases; `is_own` tells whether the applicant must act."""
    bundle = services.hub.rules.bundle
    case_hold = (case["detail"] or {}).get("held")
    due_tasks = itertools.chain.from_iterable(request_custodies[request_row.id] for request_row in requests)
    custody = find_case_custody(case["state"], due_tasks, case_hold)
    task_lines = (
        TaskLine(
            describe_custody(case_custody, bundle),
            case_custody.deadline if case_custody.holder is CustodyHolder.APPLICANT else None,
        )
        for case_custody in custody
    )
    return CaseLine(
        number=case["number"],
        reference=case["functional_reference"],
        opened_at=case["opened_at"],
        documents=tuple(
            dict.fromkeys(name_document(bundle, request_row.document) for request_row in requests)
        ),
        state=describe_case_state(case["state"], case["outcome"], case_hold),
        tasks=tuple(dict.fromkeys(task_lines)),
        is_own=any(case_custody.holder is CustodyHolder.APPLICANT for case_custody in custody),
        age=(case["closed_at"] or services.clock()) - case["opened_at"],
    )


def _format_task(task: TaskLine, zone: ZoneInfo) -> str:
    """Return a task in one cell of the list as CSV, with its deadline."""
    if task.deadline is None:
        return task.sentence
    written = convert_to_zone(task.deadline, zone).isoformat(" ", "minutes")
    return f"{task.sentence} ({translate('Deadline')}: {written})"


def _answer_csv(criteria: PartyCaseFilter) -> AnyResponse:
    """Return the whole list, up to 10,000 cases; a longer one goes on at the link of its header."""
    zone = ZoneInfo(services.settings.hub.time_zone)
    lines: list[CaseLine] = []
    page = PartyCasePage((), criteria.after)
    while len(lines) < LARGEST_CSV:
        part = replace(criteria, after=page.next_after, limit=_CSV_PORTION)
        with read_transaction(services.engine) as conn:
            page = case_searches.search_party_cases(conn, part)
            lines += _make_lines(conn, page.rows)
        if page.next_after is None or page.searched_until is not None:
            break
    columns = (
        translate("Case"),
        translate("Reference"),
        translate("Opened"),
        translate("Documents"),
        translate("State"),
        translate("Waits for"),
        translate("Deadline"),
    )
    rows = (
        (
            line.number,
            line.reference,
            line.opened_at,
            "; ".join(line.documents),
            line.state.label,
            "; ".join(_format_task(task, zone) for task in line.tasks),
            min((task.deadline for task in line.tasks if task.deadline is not None), default=None),
        )
        for line in lines
    )
    answer = answer_csv("cases", columns, rows)
    if page.next_after is not None:
        filters = {name: request.args[name] for name in _PARAMETERS if request.args.get(name)}
        following = _make_url(filters | {"format": "csv", "after": str(page.next_after)})
        answer.headers["Link"] = f'<{following}>; rel="next"'
    return answer


@pages.get("/<number>")
@require_right(Right.READ_CASES)
def show_case(number: str) -> str:
    """Show a case."""
    with read_transaction(services.engine, acknowledges_data=True) as conn:
        view = read_case_view(conn, find_case(conn, number))
    return render_template("following/case.html", view=view, now=services.clock())


def find_case(conn: Connection, number: str) -> CaseRow:
    """Return a case of the person's party; any other number is not found."""
    party = visitor.organisation.code
    case_row = case_searches.find_party_case(conn, party, normalize_hub_number(number[:64]))
    if case_row is None:
        abort(HTTPStatus.NOT_FOUND)
    return case_row


@pages.get("/<number>/messages/<int:message>/<part>")
@require_right(Right.READ_CASES)
def fetch_part(number: str, message: int, part: str) -> Response:
    """Return octets of a message of the case.

    The part is ``document`` (the first payload), ``receipt`` (the stored response to a received message),
    ``message`` (the whole message), or the position of an attachment.
    """
    with read_transaction(services.engine, acknowledges_data=True) as conn:
        case = find_case(conn, number)
        row = messages.find_by_id(conn, message)
        if row is None or row.case_id != case.id:
            abort(HTTPStatus.NOT_FOUND)
        named_part = _find_part(conn, row, part)
        if named_part is None:
            abort(HTTPStatus.NOT_FOUND)
        name, content = named_part
        return make_attachment(f"{case.number}-{message}-{name}", content)


def _find_part(conn: Connection, row: MessageRow, part_name: str) -> tuple[str, bytes | Body] | None:
    """Return the file name and octets of the named part of a message; None if it has no such part."""
    if part_name == "receipt":
        response = messages.find_response(conn, row.id) if row.direction == "in" else None
        return None if response is None else ("receipt.xml", response.body)
    if part_name == "message":
        return "message.bin", messages.open_parcel(conn, row.id)[1]
    parts = messages.load_payloads(conn, row.id)
    index = 0 if part_name == "document" else read_row_number(part_name)
    if index is None or index >= len(parts) or (part_name != "document" and index == 0):
        return None
    name = f"{row.action.lower()}.xml" if index == 0 else parts[index].content_id
    return name, parts[index].octets


@pages.get("/<number>/statements/<int:leaf>")
@require_right(Right.READ_CASES)
def fetch_statement(number: str, leaf: int) -> Response:
    """Return the signed octets in which an agency said something about an application of the case."""
    with read_transaction(services.engine, acknowledges_data=True) as conn:
        case = find_case(conn, number)
        statements = [
            (request_row.agency, statement.digest)
            for request_row in agency_requests.list_by_case(conn, case.id)
            for statement in list_agency_statements(conn, request_row.id)
            if statement.leaf == leaf
        ]
        if not statements:
            abort(HTTPStatus.NOT_FOUND)
        agency, digest = statements[0]
        return make_attachment(
            f"{case.number}-{agency}-{leaf}.xml", payloads.get_payload_octets(conn, digest)
        )


@pages.get("/<number>/evidence")
@require_right(Right.READ_CASES)
def fetch_evidence(number: str) -> Response:
    """Return a ZIP file: the proofs of the case, as `gateway evidence prove` writes them, and its octets."""
    with read_transaction(services.engine, acknowledges_data=True) as conn:
        case = find_case(conn, number)
        reader = EvidenceReader(visitor.organisation.code)
        return make_attachment(f"{case.number}-evidence.zip", make_case_bundle(conn, case, reader))


def make_attachment(name: str, content: bytes | Body) -> Response:
    """Return octets as a download, with a file name that is safe in every file system."""
    return make_download("-".join(clean_file_name(part) for part in name.split("-")), content)

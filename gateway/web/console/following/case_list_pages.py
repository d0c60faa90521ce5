"""The list of a party's cases, as a page and as CSV; every condition is in the URL."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.cases import (
    CaseCustody,
    CustodyHolder,
    find_case_custody,
    normalize_hub_number,
)
from gateway.harmonize import MappingBundle
from gateway.operations import read_request_custody
from gateway.state_machines import CASE
from gateway.store import PartyCaseFilter, PartyCasePage, party_cases, read_row_number, read_transaction
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.csv_answers import LARGEST_CSV, answer_csv
from gateway.web.console.following.case_words import (
    StateWords,
    describe_case_state,
    describe_custody,
    name_agency,
    name_document,
)
from gateway.web.console.form_numbers import read_day
from gateway.web.console.page_guards import get_visitor
from gateway.web.console.page_translations import translate

__all__ = ["CaseLine", "answer_case_list"]

_PAGE: Final = 50
_CSV_PORTION: Final = 1000
_LONGEST: Final = 100
#: What a person chooses among; each stands for states of cases.
_STATES: Final = {
    "open": tuple(state for state in CASE.states if state not in CASE.final),
    "ended": tuple(state for state in CASE.states if state in CASE.final),
    "refused": ("REFUSED",),
}
_PARAMETERS: Final = ("state", "reference", "agency", "text", "since", "until")


@dataclass(frozen=True, slots=True)
class CaseLine:
    """One case of the list."""

    number: str
    reference: str
    opened_at: datetime
    documents: tuple[str, ...]
    state: StateWords
    custody: tuple[str, ...]
    mine: bool
    deadline: datetime | None
    age: timedelta


def answer_case_list(services: ConsoleServices) -> str | Response:
    """Return the list that the URL asks for."""
    zone = ZoneInfo(services.settings.hub.time_zone)
    given = {name: request.args.get(name, "").strip()[:_LONGEST] for name in _PARAMETERS}
    wanted = _read_filter(given, zone)
    if request.args.get("format") == "csv":
        return _answer_csv(services, wanted)
    with read_transaction(services.engine) as conn:
        page = party_cases.search_party_cases(conn, wanted)
        lines = _make_lines(conn, services, page.rows)
    bundle = services.hub.rules.bundle
    agencies = {code: name_agency(bundle, code) for code in _list_agencies(bundle)}
    kept = {name: value for name, value in given.items() if value}
    return render_template(
        "following/cases.html",
        lines=lines,
        given=given,
        agencies=agencies,
        page=page,
        csv=_make_url(kept | {"format": "csv"}),
        following=None if page.following is None else _make_url(kept | {"after": str(page.following)}),
        first=_make_url(kept) if wanted.after is not None else None,
        filtered=bool(kept),
    )


def _make_url(parameters: Mapping[str, str]) -> str:
    return f"/console/cases?{urlencode(parameters)}" if parameters else "/console/cases"


def _list_agencies(bundle: MappingBundle) -> list[str]:
    """Return the agencies that a document of the mappings goes to."""
    return sorted({document.organisation for document in bundle.documents.values()})


def _read_filter(given: Mapping[str, str], zone: ZoneInfo) -> PartyCaseFilter:
    """Return the conditions of the URL; what cannot be read is no condition."""
    after = request.args.get("after", "")
    reference = given["reference"]
    return PartyCaseFilter(
        party=get_visitor().organisation.code,
        states=_STATES.get(given["state"], ()),
        reference=reference,
        number=normalize_hub_number(reference),
        agency=given["agency"],
        text=given["text"],
        since=_read_day(given["since"], zone),
        until=_read_day(given["until"], zone, end=True),
        limit=_PAGE,
        after=read_row_number(after),
    )


def _read_day(text: str, zone: ZoneInfo, *, end: bool = False) -> datetime | None:
    day = read_day(text)
    if day is None:
        return None
    begin = datetime.combine(day, time.min, zone)
    return begin + timedelta(days=1, microseconds=-1) if end else begin


def _make_lines(
    conn: Connection, services: ConsoleServices, rows: Sequence[Mapping[str, Any]]
) -> list[CaseLine]:
    bundle, now = services.hub.rules.bundle, services.clock()
    asked: dict[int, list[Any]] = defaultdict(list)
    if rows:
        for one in party_cases.list_case_requests(conn, [row["id"] for row in rows]):
            asked[one.case_id].append(one)
    return [_make_line(row, asked[row["id"]], bundle, now) for row in rows]


def _make_line(
    case: Mapping[str, Any], requests: Iterable[Any], bundle: MappingBundle, now: datetime
) -> CaseLine:
    requests = tuple(requests)
    held = [read_request_custody(one) for one in requests]
    hold = (case["detail"] or {}).get("held")
    custody: tuple[CaseCustody, ...] = find_case_custody(case["state"], held, hold)
    own = [one for one in custody if one.holder is CustodyHolder.APPLICANT]
    return CaseLine(
        number=case["number"],
        reference=case["functional_reference"],
        opened_at=case["opened_at"],
        documents=tuple(dict.fromkeys(name_document(bundle, one.document) for one in requests)),
        state=describe_case_state(case["state"], case["outcome"], hold),
        custody=tuple(dict.fromkeys(describe_custody(one, bundle) for one in custody)),
        mine=bool(own),
        deadline=min((one.deadline for one in own if one.deadline is not None), default=None),
        age=(case["closed_at"] or now) - case["opened_at"],
    )


def _answer_csv(services: ConsoleServices, wanted: PartyCaseFilter) -> Response:
    """Return the whole list, up to 10,000 cases; a longer one goes on at the link of its header."""
    lines: list[CaseLine] = []
    page = PartyCasePage((), wanted.after)
    while len(lines) < LARGEST_CSV:
        part = replace(wanted, after=page.following, limit=_CSV_PORTION)
        with read_transaction(services.engine) as conn:
            page = party_cases.search_party_cases(conn, part)
            lines += _make_lines(conn, services, page.rows)
        if page.following is None or page.searched_until is not None:
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
            one.number,
            one.reference,
            one.opened_at,
            "; ".join(one.documents),
            one.state.words,
            "; ".join(one.custody),
            one.deadline,
        )
        for one in lines
    )
    answer = answer_csv("cases", columns, rows)
    if page.following is not None:
        given = {name: request.args[name] for name in _PARAMETERS if request.args.get(name)}
        following = _make_url(given | {"format": "csv", "after": str(page.following)})
        answer.headers["Link"] = f'<{following}>; rel="next"'
    return answer

"""Searches the cases of one party: those that it declares, and those that it sent for another.

A party may have a million cases. They are read in the order of their numbers by the indexes of
declarant and applicant, a few hundred at a time, until a page is full. A condition that few cases
meet does not make a page wait: after a limited number of cases the page ends, and says where the
search goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    exists,
    literal,
    or_,
    select,
    text,
    union,
    union_all,
)

from gateway.state_machines import CASE
from gateway.store.agency_requests import OPEN_FEES, RequestWithFeesRow, agency_requests
from gateway.store.cases import CaseRow, build_reference_condition, cases, select_referenced_cases
from gateway.store.fees import fees
from gateway.store.list_filters import SearchedText
from gateway.store.message_rows import MessageRow
from gateway.store.messages import COLUMNS_WITHOUT_BODIES, messages
from gateway.store.table_types import read_columns
from gateway.store.transitions import EvidenceRow, evidence

_PORTION: Final = 500
_MOST_PORTIONS: Final = 10
#: Cases that are opened at the same time may get their numbers in another order than their times.
_OUT_OF_ORDER: Final = 1000
_PARTIES: Final = (cases.c.declarant, cases.c.applicant)
#: As the index of open fees has it.
_OWING_CASES: Final = select(fees.c.case_id).where(text("fees.state IN ('LEVIED', 'ORDERED')"))

#: The conditions of a list, by the names of their values: fields of `PartyCaseFilter`, and bounds of the id.
_CONDITIONS: Final = {
    "agency": exists().where(
        agency_requests.c.case_id == cases.c.id, agency_requests.c.agency == bindparam("agency")
    ),
    "text": or_(
        *(
            SearchedText(column).icontains(bindparam("text"), escape="/")
            for column in (cases.c.number, cases.c.functional_reference, cases.c.ucr)
        )
    ),
    "functional_reference": cases.c.functional_reference == bindparam("functional_reference"),
    "goods_reference": build_reference_condition(bindparam("goods_reference"), cases.c.ucr),
    "outcome": cases.c.outcome == bindparam("outcome"),
    "since": cases.c.opened_at >= bindparam("since"),
    "until": cases.c.opened_at <= bindparam("until"),
    "lowest": cases.c.id >= bindparam("lowest"),
    "below": cases.c.id < bindparam("below"),
}


@dataclass(frozen=True, slots=True)
class PartyCaseFilter:
    """The conditions of a search of the cases of `party`; `after` is the id of the last case shown.

    `agency` is the code of an agency that has a request of the case. `reference` is the whole reference of
    the declarant, number of the case, or reference of its goods, and `number` the same text in the form of a
    case number. `text` is a part of the declarant's reference, of the case number or of the UCR. With
    `or_owes_fee` a case of which a fee is open is found in any state.
    `functional_reference` is the whole reference of the declarant, `goods_reference` the whole UCR or other
    reference of the goods.
    """

    party: str
    states: Sequence[str] = ()
    or_owes_fee: bool = False
    reference: str = ""
    number: str = ""
    agency: str = ""
    text: str = ""
    functional_reference: str | None = None
    goods_reference: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    after: int | None = None


@dataclass(frozen=True, slots=True)
class PartyCasePage:
    """One page of a search: its rows, newest first, and `next_after`, the `after` of the next page.

    `searched_until` is set when the search ended before the page was full: it is the opening time of the
    last case that was searched; older cases are searched for the next page.
    """

    rows: Sequence[dict[str, Any]]
    next_after: int | None = None
    searched_until: datetime | None = None


def find_party_case(conn: Connection, party: str, number: str) -> CaseRow | None:
    """Return the case of this number if the party is declarant or applicant of it, else None."""
    query = select(cases).where(cases.c.number == number, _build_party_condition(party))
    return conn.execute(query).first()


def _build_party_condition(party: str) -> ColumnElement[bool]:
    return or_(*(column == party for column in _PARTIES))


def list_party_cases(conn: Connection, criteria: PartyCaseFilter) -> Sequence[CaseRow]:
    """Return the party's cases that meet the criteria, newest first, at most `criteria.limit`."""
    bounds = _find_bounds(conn, criteria)
    if bounds is None:
        return ()
    ids = _list_ids(conn, criteria, criteria.limit, bounds | _make_condition_values(criteria))
    return _load_rows(conn, ids, {})


def search_party_cases(conn: Connection, criteria: PartyCaseFilter) -> PartyCasePage:
    """Return a page of the party's cases, newest first."""
    if criteria.reference:
        return _search_reference(conn, criteria)
    bounds = _find_bounds(conn, criteria)
    if bounds is None:
        return PartyCasePage(())
    rows: list[dict[str, Any]] = []
    values = _make_condition_values(criteria)
    portion_size = _PORTION if values else criteria.limit + 1
    for _ in range(_MOST_PORTIONS):
        ids = _list_ids(conn, criteria, portion_size, bounds)
        rows += [read_columns(row) for row in _load_rows(conn, ids, values)]
        if len(rows) > criteria.limit:
            page_rows = rows[: criteria.limit]
            return PartyCasePage(page_rows, int(page_rows[-1]["id"]))
        if len(ids) < portion_size:
            return PartyCasePage(rows)
        bounds["below"] = ids[-1]
    opened = conn.execute(select(cases.c.opened_at).where(cases.c.id == ids[-1])).scalar_one()
    return PartyCasePage(rows, ids[-1], opened)


def _search_reference(conn: Connection, criteria: PartyCaseFilter) -> PartyCasePage:
    """Return the page of cases that have `criteria.reference` as number or reference, by an index of each."""
    c = cases.c
    numbers = {criteria.reference, criteria.number} - {""}
    has_reference = c.id.in_(
        union_all(
            select(c.id).where(c.number.in_(numbers)),
            *(select(c.id).where(column == criteria.reference) for column in (c.functional_reference, c.ucr)),
            select_referenced_cases(criteria.reference),
        )
    )
    values = _make_condition_values(criteria)
    if criteria.after is not None:
        values["below"] = criteria.after
    query = select(cases).where(
        has_reference, _build_party_condition(criteria.party), *_list_conditions(values)
    )
    if criteria.states:
        is_owing = [c.id.in_(_OWING_CASES)] if criteria.or_owes_fee else []
        query = query.where(or_(c.state.in_(criteria.states), *is_owing))
    rows = conn.execute(query.order_by(c.id.desc()).limit(criteria.limit + 1), values).all()
    page_rows = [read_columns(row) for row in rows[: criteria.limit]]
    return PartyCasePage(page_rows, int(page_rows[-1]["id"]) if len(rows) > criteria.limit else None)


def _make_condition_values(criteria: PartyCaseFilter) -> dict[str, Any]:
    """Return the values of the conditions that are set and that no index of the party answers."""
    names = ("functional_reference", "goods_reference", "outcome", "since", "until")
    values = {name: getattr(criteria, name) for name in names if getattr(criteria, name) is not None}
    if criteria.agency:
        values["agency"] = criteria.agency
    if criteria.text:
        values["text"] = re.sub("[/%_]", r"/\g<0>", criteria.text)
    return values


def _list_conditions(names: Iterable[str]) -> list[ColumnElement[bool]]:
    return [_CONDITIONS[name] for name in names]


def _find_bounds(conn: Connection, criteria: PartyCaseFilter) -> dict[str, Any] | None:
    """Return the bounds of the ids to search, under the keys `lowest` and `below`; an open end has no key.

    Return None when no case is as young as the criteria require.
    """
    c = cases.c
    bounds = {} if criteria.after is None else {"below": criteria.after}
    if criteria.since is not None:
        first = select(c.id).where(c.opened_at >= criteria.since).order_by(c.opened_at).limit(1)
        case_id = conn.execute(first).scalar()
        if case_id is None:
            return None
        bounds["lowest"] = int(case_id) - _OUT_OF_ORDER
    if criteria.until is not None:
        later = select(c.id).where(c.opened_at > criteria.until).order_by(c.opened_at).limit(1)
        case_id = conn.execute(later).scalar()
        if case_id is not None:
            highest = int(case_id) + _OUT_OF_ORDER
            bounds["below"] = min(bounds.get("below", highest), highest)
    return bounds


def _list_ids(
    conn: Connection, criteria: PartyCaseFilter, limit: int, values: Mapping[str, Any]
) -> list[int]:
    """Return the next ids of the party's cases, newest first, that meet the conditions of these values."""
    states = tuple(criteria.states) or CASE.states
    query = _build_id_query(states, tuple(values), or_owes_fee=criteria.or_owes_fee)
    return [*conn.execute(query, {**values, "party": criteria.party, "limit": limit}).scalars()]


@lru_cache(maxsize=128)
def _build_id_query(states: Sequence[str], names: Sequence[str], *, or_owes_fee: bool) -> Select[Any]:
    """Return the statement of `_list_ids`: case ids in these states, the highest first, up to a limit.

    It reads each state of each side (declarant, applicant) from an index in this order, without a sort. A
    case of which the party is both declarant and applicant is found twice, and returned once. The cases
    that owe a fee (`or_owes_fee`) are read from the open fees of all parties.
    """
    ordered_conditions: list[tuple[ColumnElement[bool], ColumnElement[int]]] = [
        (cases.c.state == state, cases.c.id) for state in states
    ]
    # The sum keeps the planner from reading all cases in the order of the key.
    ordered_conditions += [(cases.c.id.in_(_OWING_CASES), cases.c.id + literal(0))] if or_owes_fee else []
    parts = [
        select(cases.c.id)
        .where(column == bindparam("party"), condition, *_list_conditions(names))
        .order_by(order.desc())
        .limit(bindparam("limit"))
        .subquery()
        for column in _PARTIES
        for condition, order in ordered_conditions
    ]
    ids = union(*(select(part.c.id) for part in parts)).subquery()
    return select(ids.c.id).order_by(ids.c.id.desc()).limit(bindparam("limit"))


def _load_rows(conn: Connection, ids: Sequence[int], values: Mapping[str, Any]) -> Sequence[CaseRow]:
    query = select(cases).where(cases.c.id.in_(ids), *_list_conditions(values)).order_by(cases.c.id.desc())
    return conn.execute(query, values).all() if ids else ()


def list_case_requests(conn: Connection, case_ids: Sequence[int]) -> Sequence[RequestWithFeesRow]:
    """Return the requests of these cases, in their order, each with the number of its `open_fees`."""
    r = agency_requests.c
    query = select(agency_requests, OPEN_FEES).where(r.case_id.in_(case_ids))
    return conn.execute(query.order_by(r.case_id, r.sequence, r.id)).all()


def find_own_message(conn: Connection, party: str, message_id: str) -> MessageRow | None:
    """Return the message with this MessageId that a party sent or received, without the octets of its answer.

    If both exist, the sent one is returned.
    """
    direction_conditions = (
        ((messages.c.direction == "in") & (messages.c.from_party == party)),
        ((messages.c.direction == "out") & (messages.c.to_party == party)),
    )
    for direction_condition in direction_conditions:
        row = conn.execute(
            select(*COLUMNS_WITHOUT_BODIES).where(messages.c.message_id == message_id, direction_condition)
        ).first()
        if row is not None:
            return row
    return None


def list_case_documents(conn: Connection, case_id: int, action: str) -> Sequence[MessageRow]:
    """Return the messages of an action about a case that were made for its applicant, oldest first."""
    query = select(*COLUMNS_WITHOUT_BODIES).where(
        messages.c.case_id == case_id,
        messages.c.direction == "out",
        messages.c.action == action,
    )
    return conn.execute(query.order_by(messages.c.id)).all()


def list_case_evidence(conn: Connection, case_id: int) -> Sequence[EvidenceRow]:
    """Return the evidence about a case, its messages and its applications, oldest first."""
    message_ids = conn.execute(select(messages.c.id).where(messages.c.case_id == case_id)).scalars()
    request_ids = conn.execute(
        select(agency_requests.c.id).where(agency_requests.c.case_id == case_id)
    ).scalars()
    subjects = [("case", [case_id]), ("message", [*message_ids]), ("request", [*request_ids])]
    rows: list[Row[Any]] = []
    for subject_type, ids in subjects:
        if ids:
            of_subjects = (evidence.c.subject_type == subject_type) & evidence.c.subject_id.in_(
                [str(subject_id) for subject_id in ids]
            )
            rows += conn.execute(select(evidence).where(of_subjects)).all()
    return sorted(rows, key=lambda row: int(row.id))

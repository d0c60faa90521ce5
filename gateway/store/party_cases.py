"""Searches the cases of one party: those that it declares, and those that it sent for another.

A party may have a million cases. They are read in the order of their numbers by the indexes of
declarant and applicant, a few hundred at a time, until a page is full. A condition that few cases
meet does not make a page wait: after a limited number of cases the page ends, and says where the
search goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, exists, or_, select, union_all

from gateway.state_machines import CASE
from gateway.store.agency_requests import OPEN_FEES
from gateway.store.list_filters import build_text_condition
from gateway.store.tables import agency_requests, cases

__all__ = [
    "PartyCaseFilter",
    "PartyCasePage",
    "find_party_case",
    "list_case_requests",
    "search_party_cases",
]

_PORTION: Final = 500
_MOST_PORTIONS: Final = 10
#: Cases that are opened at the same time may get their numbers in another order than their times.
_OUT_OF_ORDER: Final = 1000
_PARTIES: Final = (cases.c.declarant, cases.c.applicant)


@dataclass(frozen=True, slots=True)
class PartyCaseFilter:
    """The cases of `party` that meet every condition that is given; `after` is the id of the last one shown.

    `agency` has a request of the case. `reference` is the reference of the declarant or the number of
    the case, in full, and `number` the same as a number is written; `text` is a part of one of them, or
    of the UCR.
    """

    party: str
    states: Sequence[str] = ()
    reference: str = ""
    number: str = ""
    agency: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    after: int | None = None


@dataclass(frozen=True, slots=True)
class PartyCasePage:
    """The rows of one page, newest first, and after which id the next page goes on.

    `searched_until` is set when the page ended before it was full: the cases opened before that time
    were not searched yet.
    """

    rows: Sequence[dict[str, Any]]
    following: int | None = None
    searched_until: datetime | None = None


def find_party_case(conn: Connection, party: str, number: str) -> Row[Any] | None:
    """Return the case of this number when it is one of the party."""
    found = select(cases).where(cases.c.number == number, _build_party_condition(party))
    return conn.execute(found).first()


def _build_party_condition(party: str) -> ColumnElement[bool]:
    return or_(*(column == party for column in _PARTIES))


def search_party_cases(conn: Connection, wanted: PartyCaseFilter) -> PartyCasePage:
    """Return a page of the party's cases, newest first."""
    if wanted.reference:
        return _search_reference(conn, wanted)
    bounds = _find_bounds(conn, wanted)
    if bounds is None:
        return PartyCasePage(())
    lowest, place = bounds
    rows: list[dict[str, Any]] = []
    conditions = _build_conditions(wanted)
    portion = _PORTION if conditions else wanted.limit + 1
    for _ in range(_MOST_PORTIONS):
        ids = _list_ids(conn, wanted, (lowest, place), portion)
        rows += _load_rows(conn, ids, conditions)
        if len(rows) > wanted.limit:
            shown = rows[: wanted.limit]
            return PartyCasePage(shown, int(shown[-1]["id"]))
        if len(ids) < portion:
            return PartyCasePage(rows)
        place = ids[-1]
    opened = conn.execute(select(cases.c.opened_at).where(cases.c.id == place)).scalar_one()
    return PartyCasePage(rows, place, opened)


def _search_reference(conn: Connection, wanted: PartyCaseFilter) -> PartyCasePage:
    """Return the cases of a number or a reference: few, by the indexes of both."""
    c = cases.c
    numbers = {wanted.reference, wanted.number} - {""}
    named = or_(c.number.in_(numbers), c.functional_reference == wanted.reference)
    found = select(cases).where(named, _build_party_condition(wanted.party), *_build_conditions(wanted))
    if wanted.states:
        found = found.where(c.state.in_(wanted.states))
    if wanted.after is not None:
        found = found.where(c.id < wanted.after)
    rows = conn.execute(found.order_by(c.id.desc()).limit(wanted.limit + 1)).all()
    shown = [dict(row._mapping) for row in rows[: wanted.limit]]
    return PartyCasePage(shown, int(shown[-1]["id"]) if len(rows) > wanted.limit else None)


def _build_conditions(wanted: PartyCaseFilter) -> list[ColumnElement[bool]]:
    """Return the conditions that no index of the party answers."""
    c, r = cases.c, agency_requests.c
    found: list[ColumnElement[bool]] = []
    if wanted.agency:
        found.append(exists().where(r.case_id == c.id, r.agency == wanted.agency))
    if wanted.text:
        found.append(build_text_condition(wanted.text, c.number, c.functional_reference, c.ucr))
    if wanted.since is not None:
        found.append(c.opened_at >= wanted.since)
    if wanted.until is not None:
        found.append(c.opened_at <= wanted.until)
    return found


def _find_bounds(conn: Connection, wanted: PartyCaseFilter) -> tuple[int, int | None] | None:
    """Return the lowest id, and the id below which the search begins; None when no case is so young."""
    c = cases.c
    lowest, place = 0, wanted.after
    if wanted.since is not None:
        first = select(c.id).where(c.opened_at >= wanted.since).order_by(c.opened_at).limit(1)
        found = conn.execute(first).scalar()
        if found is None:
            return None
        lowest = max(int(found) - _OUT_OF_ORDER, 0)
    if wanted.until is not None:
        later = select(c.id).where(c.opened_at > wanted.until).order_by(c.opened_at).limit(1)
        found = conn.execute(later).scalar()
        if found is not None:
            above = int(found) + _OUT_OF_ORDER
            place = above if place is None else min(place, above)
    return lowest, place


def _list_ids(
    conn: Connection, wanted: PartyCaseFilter, bounds: tuple[int, int | None], limit: int
) -> list[int]:
    """Return the next ids of the party's cases, newest first, by the indexes of declarant and applicant."""
    lowest, place = bounds
    parts = [
        _build_id_query(column == wanted.party, state, lowest, place).limit(limit).subquery()
        for column in _PARTIES
        for state in wanted.states or CASE.states
    ]
    found = union_all(*(select(part.c.id) for part in parts)).subquery()
    # A case of which the party is both declarant and applicant is found twice.
    rows = conn.execute(select(found.c.id).distinct().order_by(found.c.id.desc()).limit(limit))
    return [int(row.id) for row in rows]


def _build_id_query(party: ColumnElement[bool], state: str, lowest: int, place: int | None) -> Any:
    c = cases.c
    found = select(c.id).where(party, c.state == state)
    if lowest:
        found = found.where(c.id >= lowest)
    if place is not None:
        found = found.where(c.id < place)
    return found.order_by(c.id.desc())


def _load_rows(
    conn: Connection, ids: Sequence[int], conditions: Sequence[ColumnElement[bool]]
) -> list[dict[str, Any]]:
    if not ids:
        return []
    found = select(cases).where(cases.c.id.in_(ids), *conditions).order_by(cases.c.id.desc())
    return [dict(row._mapping) for row in conn.execute(found)]


def list_case_requests(conn: Connection, case_ids: Sequence[int]) -> Sequence[Row[Any]]:
    """Return the requests of these cases, in their order, each with the number of its `open_fees`."""
    r = agency_requests.c
    found = select(agency_requests, OPEN_FEES).where(r.case_id.in_(case_ids))
    return conn.execute(found.order_by(r.case_id, r.sequence, r.id)).all()

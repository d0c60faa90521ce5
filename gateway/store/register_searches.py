"""Searches parties and agreements for the lists of operators, one page at a time."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, or_, select

from gateway.store.list_filters import ListFilter, ListPage, build_text_condition, fetch_page
from gateway.store.tables import agreements, parties, party_ids, pmodes

__all__ = ["search_agreements", "search_parties"]


def search_parties(conn: Connection, wanted: ListFilter) -> ListPage:
    """Return parties, by id; the text is in the id, the name, the role or an identifier."""
    p = parties.c
    found = _build_conditions(p.status, wanted)
    found += [p[name] == value for name, value in wanted.equal]
    if wanted.text:
        named = select(party_ids.c.party_id).where(build_text_condition(wanted.text, party_ids.c.value))
        found.append(or_(build_text_condition(wanted.text, p.id, p.name, p.role, p.status), p.id.in_(named)))
    return fetch_page(conn, tuple(p), parties, found, wanted, p.id, rising=True)


def search_agreements(conn: Connection, wanted: ListFilter) -> ListPage:
    """Return agreements without their source, by id; the party is named by one of the identifiers it has."""
    a = agreements.c
    found = _build_conditions(a.status, wanted)
    if wanted.party:
        known = select(party_ids.c.value).where(party_ids.c.party_id == wanted.party)
        sides = (pmodes.c.from_party, pmodes.c.to_party)
        between = select(pmodes.c.agreement_id).where(
            or_(*(side.in_(known) for side in sides), *(side == wanted.party for side in sides))
        )
        found.append(a.id.in_(between))
    if wanted.text:
        found.append(build_text_condition(wanted.text, a.id, a.kind, a.status, a.loaded_by))
    columns = tuple(column for column in a if column is not a.source)
    return fetch_page(conn, columns, agreements, found, wanted, a.id, rising=True)


def _build_conditions(status: ColumnElement[str], wanted: ListFilter) -> list[ColumnElement[bool]]:
    return [status.in_(wanted.states)] if wanted.states else []

"""Stores the names by which a reply finds its case: message ids, conversations, receipt numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from gateway.errors import DECISION_CONFLICT, GatewayError
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.tables import correlations

__all__ = [
    "SCHEMES",
    "ensure_correlation",
    "find_correlation",
    "insert_correlation",
    "insert_correlations",
    "list_by_case",
]

SCHEMES = ("wsa", "ebms-conversation", "ebms-message", "agency-receipt", "ucr")

_INSERT = InsertIfAbsent(correlations, ("scheme", "value"), "value")
_FIND = select(correlations.c.case_id, correlations.c.request_id).where(
    correlations.c.scheme == bindparam("wanted_scheme"), correlations.c.value == bindparam("wanted")
)


def insert_correlation(
    conn: Connection, scheme: str, value: str, case_id: int, request_id: int | None = None
) -> None:
    """Store a name of the case; raises GW702 when it belongs to another case already."""
    insert_correlations(conn, scheme, [(value, request_id)], case_id)


def insert_correlations(
    conn: Connection, scheme: str, names: Sequence[tuple[str, int | None]], case_id: int
) -> None:
    """Store names of the case, each with its request (row id) or none, as `insert_correlation` does."""
    if not names:
        return
    stored = _INSERT.insert_keyed(conn, _make_rows(scheme, names, case_id), "value")
    for value, request in names:
        known = None if value in stored else find_correlation(conn, scheme, value)
        if value not in stored and (known is None or tuple(known) != (case_id, request)):
            raise GatewayError(DECISION_CONFLICT, f"{scheme} {value[:80]} names another case already")


def ensure_correlation(conn: Connection, scheme: str, value: str, case_id: int, request: int) -> None:
    """Store a name of the case, unless it names a case already."""
    _INSERT.insert_one(conn, _make_rows(scheme, [(value, request)], case_id)[0])


def _make_rows(scheme: str, names: Sequence[tuple[str, int | None]], case_id: int) -> list[dict[str, Any]]:
    if scheme not in SCHEMES:
        raise ValueError(f"no scheme of correlation: {scheme}")
    return [
        {"scheme": scheme, "value": value, "case_id": case_id, "request_id": request}
        for value, request in names
    ]


def find_correlation(conn: Connection, scheme: str, value: str) -> Row[Any, Any] | None:
    """Return (case_id, request_id) of the name."""
    return conn.execute(_FIND, {"wanted_scheme": scheme, "wanted": value}).first()


def list_by_case(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return every name of a case."""
    found = select(correlations).where(correlations.c.case_id == case_id)
    return conn.execute(found.order_by(correlations.c.scheme, correlations.c.value)).all()

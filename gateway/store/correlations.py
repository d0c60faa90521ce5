"""Stores the names by which a reply finds its case: message ids, conversations, receipt numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from gateway.errors import DECISION_CONFLICT, GatewayError
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.tables import correlations

__all__ = ["SCHEMES", "find_correlation", "insert_correlation", "list_by_case"]

SCHEMES = ("wsa", "ebms-conversation", "ebms-message", "agency-receipt", "ucr")

_INSERT = InsertIfAbsent(correlations, ("scheme", "value"), "case_id")
_FIND = select(correlations.c.case_id, correlations.c.request_id).where(
    correlations.c.scheme == bindparam("wanted_scheme"), correlations.c.value == bindparam("wanted")
)


def insert_correlation(
    conn: Connection, scheme: str, value: str, case_id: int, request_id: int | None = None
) -> None:
    """Store a name of the case; raises GW702 when it belongs to another case already."""
    if scheme not in SCHEMES:
        raise ValueError(f"no scheme of correlation: {scheme}")
    row = {"scheme": scheme, "value": value, "case_id": case_id, "request_id": request_id}
    if _INSERT.insert_one(conn, row) is not None:
        return
    known = find_correlation(conn, scheme, value)
    if known is None or (known.case_id, known.request_id) != (case_id, request_id):
        raise GatewayError(DECISION_CONFLICT, f"{scheme} {value[:80]} names another case already")


def find_correlation(conn: Connection, scheme: str, value: str) -> Row[Any, Any] | None:
    """Return (case_id, request_id) of the name."""
    return conn.execute(_FIND, {"wanted_scheme": scheme, "wanted": value}).first()


def list_by_case(conn: Connection, case_id: int) -> Sequence[Row[Any]]:
    """Return every name of a case."""
    found = select(correlations).where(correlations.c.case_id == case_id)
    return conn.execute(found.order_by(correlations.c.scheme, correlations.c.value)).all()

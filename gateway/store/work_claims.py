"""Stores who works on an application; each change names the version that the person saw."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from gateway.store.officer_tables import work_claims
from gateway.store.prepared_statements import InsertIfAbsent

__all__ = ["change_claim", "find_claim"]

_INSERT = InsertIfAbsent(work_claims, ("request_id",), "request_id")


def find_claim(conn: Connection, request: int) -> Row[Any] | None:
    """Return the claim on an application, also a released one (without account); None before the first."""
    return conn.execute(select(work_claims).where(work_claims.c.request_id == request)).first()


def change_claim(
    conn: Connection, request: tuple[int, str], account: int | None, version: int, at: datetime
) -> bool:
    """Give an application (row id, agency) to an account, or to nobody.

    Return False when the claim has another version than the person saw; 0 is an application that
    nobody has claimed yet.
    """
    number, agency = request
    values = {"account_id": account, "since": at, "version": version + 1}
    if version == 0:
        return _INSERT.insert_one(conn, {"request_id": number, "agency": agency, **values}) is not None
    standing = (work_claims.c.request_id == number, work_claims.c.version == version)
    return conn.execute(update(work_claims).where(*standing).values(values)).rowcount == 1

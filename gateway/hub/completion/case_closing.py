"""Closes a case when all its deliveries are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row

from gateway.evidence import record_evidence
from gateway.state_machines import REQUEST
from gateway.store import (
    StateEvent,
    agency_requests,
    cases,
    deliveries,
    has_single_writer,
    write_transaction,
)

__all__ = ["close_case_when_done", "closing_transaction", "lock_delivery_case"]


def lock_delivery_case(conn: Connection, delivery: int) -> Row[Any] | None:
    """Lock and return the case that a delivery belongs to; None when it belongs to no case."""
    row = deliveries.find_by_id(conn, delivery)
    if row is None or row.case_id is None:
        return None
    return cases.lock_case(conn, row.case_id)


@contextmanager
def closing_transaction(
    engine: Engine, name: str, delivery: int, now: datetime, *, case_id: int | None = None
) -> Iterator[Connection]:
    """Run the block in the transaction `name`, which may end a delivery that its case waits for.

    The case is locked before the block. It is closed after the block when none of its deliveries is
    left. `case_id` is the case of the delivery, where the caller knows it.
    """
    with write_transaction(engine, name) as conn:
        if case_id is None:
            case = lock_delivery_case(conn, delivery)
            case_id = None if case is None else int(case.id)
        else:
            cases.hold_case(conn, case_id)
        yield conn
        if case_id is not None:
            _close_after_delivery(conn, case_id, now)


def _close_after_delivery(conn: Connection, case_id: int, now: datetime) -> None:
    """Close a case when none of its deliveries is left: most deliveries leave others of their case.

    That takes one statement where no row was locked.
    """
    left = None
    if has_single_writer(conn):
        found = deliveries.find_remainder(conn, case_id)
        if found is None:
            return
        left = () if not found else None
    close_case_when_done(conn, cases.lock_case(conn, case_id), now, left)


def close_case_when_done(
    conn: Connection, case: Row[Any] | None, now: datetime, left: Sequence[Row[Any]] | None = None
) -> None:
    """Close a decided, locked case when none of its deliveries is left; `left` are those, if known."""
    if case is None or case.state != "DECIDED":
        return
    left = deliveries.list_unfinished(conn, case.id) if left is None else left
    if left and not _is_remainder_moot(conn, case.id, left):
        return
    step = StateEvent("relayed", now, "relay")
    cases.apply_event(conn, case.id, step, before=case.state, closed_at=now)
    record_evidence(
        conn, "closed", "case", case.id, None, {"number": case.number, "outcome": case.outcome}, now
    )


def _is_remainder_moot(conn: Connection, case: int, left: Sequence[Row[Any]]) -> bool:
    """Return whether all deliveries that are left have failed and no longer matter.

    These are the calls for a request that is decided anyway, and the notices to the applicant: the
    result repeats the content of the notices.
    """
    if any(row.state != "FAILED" for row in left):
        return False
    ended = {str(row.id) for row in agency_requests.list_by_case(conn, case) if row.state in REQUEST.final}
    return all(_is_notice_delivery(row) or _is_request_delivery(row, ended) for row in left)


def _is_notice_delivery(row: Row[Any]) -> bool:
    return bool(row.agent == "msh" and row.parameters.get("action") == "Notice")


def _is_request_delivery(row: Row[Any], asked: set[str]) -> bool:
    return bool(row.subject_type == "request" and row.subject_id in asked)

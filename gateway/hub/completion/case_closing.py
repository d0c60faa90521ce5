"""Closes a case when all its deliveries are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from gateway.evidence import record_evidence
from gateway.hub.completion.standing_demands import list_open_levies, read_demands
from gateway.notice_order import order_notice
from gateway.state_machines import REQUEST
from gateway.store import (
    AgencyRequestRow,
    CaseRow,
    DeliveryRow,
    NoticeRow,
    NoticeSummary,
    StateEvent,
    agency_requests,
    cases,
    decisions,
    deliveries,
    fees,
    has_single_writer,
    notices,
    requirement_quantities,
    requirement_results,
    run_in_group_commit,
    write_transaction,
)

_Result = TypeVar("_Result")


def lock_delivery_case(conn: Connection, delivery: int) -> CaseRow | None:
    """Lock and return the case that a delivery belongs to; None when it belongs to no case."""
    row = deliveries.find_by_id(conn, delivery)
    if row is None or row.case_id is None:
        return None
    return cases.lock_case(conn, row.case_id)


class TaskHub(Protocol):
    """The parts of a hub that the transaction of a task needs."""

    engine: Engine
    clock: Callable[[], datetime]


@contextmanager
def case_transaction(
    hub: TaskHub, name: str, case_id: int, end_lease: Callable[[Connection], None]
) -> Iterator[tuple[Connection, CaseRow]]:
    """Begin the transaction `name` of a task about a case (row id); yield its connection and the locked case.

    Behind the block the lease of the task ends, and the case is closed when none of its deliveries is left.
    """
    with write_transaction(hub.engine, name) as conn:
        yield conn, cases.lock_case(conn, case_id)
        end_lease(conn)
        close_case_when_done(conn, cases.lock_case(conn, case_id), hub.clock())


def run_closing_commit(
    engine: Engine,
    name: str,
    delivery: int,
    now: datetime,
    work: Callable[[Connection], _Result],
    *,
    case_id: int | None = None,
) -> _Result:
    """Run the callable `work` in a transaction with the name `name`, and return its result.

    The work may end a delivery for which its case waits.

    The case is locked before the work. It is closed after the work when none of its deliveries is
    left. `case_id` is the case of the delivery, where the caller knows it. `work` may run twice, as in each
    commit that threads share.
    """

    def work_and_close(conn: Connection) -> _Result:
        closing_case_id = case_id
        if closing_case_id is None:
            case = lock_delivery_case(conn, delivery)
            closing_case_id = None if case is None else int(case.id)
        else:
            cases.lock_case_only(conn, closing_case_id)
        result = work(conn)
        if closing_case_id is not None:
            _close_after_delivery(conn, closing_case_id, now)
        return result

    return run_in_group_commit(engine, name, work_and_close)


def _close_after_delivery(conn: Connection, case_id: int, now: datetime) -> None:
    """Close a case when none of its deliveries is left: most deliveries leave others of their case.

    That takes one statement where no row was locked.
    """
    unfinished = None
    if has_single_writer(conn):
        remainder = cases.find_whether_delivery_failed(conn, case_id)
        if remainder is None:
            return
        unfinished = () if not remainder else None
    close_case_when_done(conn, cases.lock_case(conn, case_id), now, unfinished)


def close_case_when_done(
    conn: Connection, case: CaseRow | None, now: datetime, unfinished: Sequence[DeliveryRow] | None = None
) -> None:
    """Close a decided, locked case when none of its deliveries is left; `unfinished` are those, if known."""
    if case is None or case.state != "DECIDED":
        return
    unfinished = deliveries.list_unfinished(conn, case.id) if unfinished is None else unfinished
    if unfinished and not _is_remainder_moot(conn, case.id, unfinished):
        return
    step = StateEvent("relayed", now, "relay")
    cases.apply_event(conn, case.id, step, before=case.state, closed_at=now)
    record_evidence(
        conn, "closed", "case", case.id, None, {"number": case.number, "outcome": case.outcome}, now
    )


def _is_remainder_moot(conn: Connection, case: int, unfinished: Sequence[DeliveryRow]) -> bool:
    """Return whether all deliveries that are left have failed and no longer matter.

    These are the calls for a request that is decided anyway, and the notices to the applicant: the
    result repeats the content of the notices.
    """
    if any(row.state != "FAILED" for row in unfinished):
        return False
    ended = {
        str(row.id) for row in agency_requests.list_by_case(conn, case) if row.state in REQUEST.final_states
    }
    return all(_is_notice_delivery(row) or _is_request_delivery(row, ended) for row in unfinished)


def _is_notice_delivery(row: DeliveryRow) -> bool:
    return bool(row.agent == "msh" and row.parameters.get("action") == "Notice")


def _is_request_delivery(row: DeliveryRow, request_ids: set[str]) -> bool:
    return bool(row.subject_type == "request" and row.subject_id in request_ids)


def find_status_notice(
    conn: Connection, request: int, request_notices: Iterable[NoticeRow | NoticeSummary], amended_after: int
) -> NoticeRow | NoticeSummary | None:
    """Return the last issued of the notices about a request (row id) that count; None without one.

    One with decisions counts as long as one of them does. Another one counts until the request is amended
    (`amended_after` is the row id of the last notice before that), or as long as the fee is open that it
    levied.
    """
    decided = {row.notice_no for row in decisions.list_all_by_request(conn, request)}
    counted = {row.notice_no for row in decisions.list_by_request(conn, request)}
    levied = {levy.number for levy in list_open_levies(fees.list_by_request(conn, request))}
    counting = [
        notice
        for notice in request_notices
        if notice.number in counted
        or (notice.number not in decided and (notice.id > amended_after or notice.number in levied))
    ]
    return max(
        counting, key=lambda notice: (order_notice(notice.issued_at, notice.number), notice.id), default=None
    )


def renew_status_code(conn: Connection, request: AgencyRequestRow) -> None:
    """Show the status code of the last notice that counts about a request that was amended; others stay."""
    demands = read_demands(request)
    if not demands.amended_after:
        return
    request_notices = notices.list_by_request(conn, request.id)
    status_notice = find_status_notice(conn, request.id, request_notices, demands.amended_after)
    code = None if status_notice is None else status_notice.status_code
    if code != request.status_code:
        agency_requests.set_status_code(conn, request.id, code)


#: Where a case keeps which numbers its last Result says that it waits for.
AWAITED_KEY: Final = "awaited"


@dataclass(frozen=True, slots=True)
class AwaitedNumber:
    """A number that an item waits for: the ledger does not know it, or nothing of it is free."""

    number: str
    agency: str
    item: int
    pointer: str
    has_certificate: bool


def list_awaited_numbers(conn: Connection, case_id: int) -> tuple[AwaitedNumber, ...]:
    """Return each number that an item of a case waits for, once, in the order of the declaration."""
    waiting = requirement_results.list_awaited_uses(conn, case_id)
    there = {row.number for row in waiting if row.in_ledger}
    requirements = requirement_quantities.find_requirements(conn, there)
    certificate_numbers = {
        row.number for row in requirement_quantities.select_certificates(conn, requirements)
    }
    places: dict[tuple[str, str, int], str] = {}
    for row in waiting:
        places.setdefault((row.number, row.agency or "", row.item), row.pointer)
    return tuple(
        AwaitedNumber(number, agency, item, pointer, number in certificate_numbers)
        for (number, agency, item), pointer in places.items()
    )


def describe_awaited_numbers(awaited: tuple[AwaitedNumber, ...]) -> list[list[Any]]:
    """Return the numbers that a case waits for, in the form in which the case keeps them from its Result."""
    return sorted(
        [awaited_number.number, awaited_number.agency, awaited_number.item, awaited_number.has_certificate]
        for awaited_number in awaited
    )


def get_reported_numbers(case: CaseRow) -> list[list[Any]]:
    """Return the awaited numbers in the last Result of a case."""
    return list((case.detail or {}).get(AWAITED_KEY, ()))

"""Reports of a case for operators: decisions, times, releases, requirements and fees."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection

from gateway.calendars import Timetable, WorkingCalendar
from gateway.cases import (
    APPROVING,
    CaseCustody,
    CaseOutcome,
    DecisionCode,
    FeeMovement,
    RequirementBalance,
    compute_left_quantity,
    find_case_custody,
    find_request_custody,
    format_left_quantity,
    select_current_decisions,
    select_current_results,
)
from gateway.errors import APPLICATION_CANCELLED, GatewayError
from gateway.harmonize import UnitTable, format_decimal, load_unit_table
from gateway.hub import (
    list_cancelled_above,
    list_outside_decisions,
    list_outside_requests,
    list_told_decisions,
    load_requirement_balances,
    load_requirement_results,
    open_active_mappings,
    read_movement_money,
)
from gateway.state_machines import CASE, FEE, REQUEST
from gateway.store import (
    CaseRow,
    DeadlineRow,
    DecisionWithTextRow,
    FeeOfCaseRow,
    FeeRow,
    MovementOfFeeRow,
    ReleaseFromParentRow,
    ReleaseToChildRow,
    RequestWithFeesRow,
    RequirementRow,
    agency_requests,
    cases,
    deadlines,
    decisions,
    fee_searches,
    fees,
    item_releases,
    read_columns,
    requirement_quantities,
    transitions,
)
from gateway.wire import begin_day, end_day, find_day


class NoEffect(StrEnum):
    """Why a stored decision does not count for its case."""

    SUPERSEDED = "superseded"
    CANCELLED = "the application is cancelled"
    WITHDRAWN = "the declaration is withdrawn"


def describe_decisions(
    conn: Connection, case: CaseRow, applications: Sequence[RequestWithFeesRow]
) -> list[dict[str, Any]]:
    """Return the decisions on the applications of a case: `counts`, and why not (`no_effect`)."""
    requests = {row.id: row for row in applications}
    described = []
    for row in decisions.list_by_case(conn, case.id):
        why = explain_no_effect(case, requests[row.request_id], row)
        reason = f"{APPLICATION_CANCELLED.id} {why}" if why is NoEffect.CANCELLED else why
        effect = {"request": requests[row.request_id].number, "counts": why is None, "no_effect": reason}
        described.append(read_columns(row) | effect)
    return described


def explain_no_effect(
    case: CaseRow, request: RequestWithFeesRow, decision: DecisionWithTextRow
) -> NoEffect | None:
    """Return why a stored decision does not count for its case; None where it counts.

    The decision was superseded, its application was cancelled (GW410), or it approves items of a withdrawn
    case.
    """
    if decision.superseded_by is not None:
        return NoEffect.SUPERSEDED
    if request.state == "CANCELLED":
        return NoEffect.CANCELLED
    if case.outcome == CaseOutcome.WITHDRAWN and DecisionCode(decision.decision) in APPROVING:
        return NoEffect.WITHDRAWN
    return None


def read_case_deadlines(conn: Connection, case_id: int) -> list[dict[str, Any]]:
    """Return the deadlines of a case in the order in which they began, with application and agency."""
    return [read_columns(row) for row in deadlines.list_by_case(conn, case_id)]


def read_custody_times(
    conn: Connection, case: CaseRow, timetable: Timetable, now: datetime
) -> list[dict[str, Any]]:
    """Return the holder of each application, its task and since when, and the working seconds of each holder.

    Working time is that of the organisation. It is None where the calendar of the organisation does not know
    a day. A held case has one line without application: its declarant has to file a missing document or the
    whole case again, or its parent has to be decided.
    """
    if case.state == "HELD":
        return [_describe_hold(conn, case)]
    custody_times = []
    for request in agency_requests.list_by_case(conn, case.id):
        steps = [(row.at, row.to_state) for row in transitions.list_transitions(conn, REQUEST, request.id)]
        custody = read_request_custody(request)
        calendar = timetable.get_calendar(request.agency)
        owed_times = _list_owed_times(conn, request, now)
        periods = list(_list_periods([(case.opened_at, REQUEST.initial), *steps], owed_times, now))
        custody_times.append(
            {
                "application": request.number,
                "agency": request.agency,
                "holder": None if custody is None else custody.holder.value,
                "task": None if custody is None else custody.task.value,
                "since": None if custody is None else _find_beginning(periods),
                "due_at": request.due_at,
                "working_seconds": _measure(calendar, periods),
            }
        )
    return custody_times


def read_request_custody(request: RequestWithFeesRow) -> CaseCustody | None:
    """Return the holder of a request and its task; the request was read with the number of its `open_fees`.

    While its agency is asked whether it cancels, open fees do not count: the agency has to answer first.
    """
    owes = bool(request.open_fees) and request.cancellation != "ASKED"
    return find_request_custody(request.state, request.agency, request.due_at, owes_fee=owes)


def _list_owed_times(
    conn: Connection, request: RequestWithFeesRow, now: datetime
) -> Sequence[tuple[datetime, datetime]]:
    """Return the beginning and the end of the time in which each fee of a request was open."""
    if request.cancellation == "ASKED":
        return ()
    owed_times = []
    for fee in fees.list_by_request(conn, request.id):
        steps = transitions.list_transitions(conn, FEE, fee.id)
        ends = [row.at for row in steps if row.to_state not in ("LEVIED", "ORDERED")]
        owed_times.append((fee.levied_at, min(ends, default=now)))
    return owed_times


def _describe_hold(conn: Connection, case: CaseRow) -> dict[str, Any]:
    (custody,) = find_case_custody(case.state, (), case.detail["held"])
    held = [row.at for row in transitions.list_transitions(conn, CASE, case.id) if row.to_state == "HELD"]
    return {
        "application": None,
        "agency": None,
        "holder": custody.holder.value,
        "task": custody.task.value,
        "since": min(held, default=case.opened_at),
        "due_at": custody.deadline,
        "working_seconds": None,
    }


def _find_beginning(periods: Sequence[tuple[str, datetime, datetime]]) -> datetime | None:
    """Return when the holder of the last period began, without a break since; None without periods."""
    since = None
    for holder, start, end in reversed(periods):
        if holder != periods[-1][0] or (since is not None and end != since):
            break
        since = start
    return since


def _list_periods(
    steps: list[tuple[datetime, str]], owed_times: Sequence[tuple[datetime, datetime]], now: datetime
) -> Iterator[tuple[str, datetime, datetime]]:
    """Yield holder, beginning and end of each period; a decided application has no holder.

    `steps` are the states of the application, each with its time, the first one first. `owed_times` are the
    periods in which a fee was open.
    """
    ends = [at for at, _ in steps[1:]] + [now]
    for (at, state), end in zip(steps, ends, strict=True):
        cuts = sorted({at, end, *(moment for pair in owed_times for moment in pair if at < moment < end)})
        for start, stop in itertools.pairwise(cuts) if len(cuts) > 1 else [(at, end)]:
            owes = any(first <= start < last for first, last in owed_times)
            custody = find_request_custody(state, "", owes_fee=owes)
            # A state that began and ended in one transaction has no holder.
            if custody is not None and (start < stop or stop == now):
                yield custody.holder.value, start, stop


def _measure(
    calendar: WorkingCalendar, periods: Iterable[tuple[str, datetime, datetime]]
) -> dict[str, int] | None:
    times: dict[str, timedelta] = {}
    try:
        for holder, start, end in periods:
            spent = calendar.measure_working_time(start, end)
            times[holder] = times.get(holder, timedelta()) + spent
    except GatewayError:
        return None
    return {holder: int(spent.total_seconds()) for holder, spent in times.items()}


def describe_releases(conn: Connection, case: CaseRow) -> dict[str, Any]:
    """Return `released` (the releases to children, also those given back), `stays`, `taken`, and more.

    `stays` has the rest of each measure of an item of which a part was released. `taken` has the releases
    that a child holds of its parent, and `inherited` the decisions of the parent that count for the child.
    `inherited_cancellations` has the cancelled applications of the parent, or of a case above it
    (`parent`), with the items that are not approved any more. `removed` has the items that amendments took
    out of the declaration, each with the reason.
    """
    released = item_releases.list_releases_from(conn, case.id)
    taken_items = item_releases.list_releases_into(conn, case.id)
    units = load_unit_table(open_active_mappings(conn, case.opened_at)) if released else UnitTable()
    return {
        "released": [read_columns(row) for row in released],
        "stays": list(_compute_rest(released, units).values()),
        "removed": list((case.detail or {}).get("removed_items", ())),
        "taken": [read_columns(row) for row in taken_items],
        "inherited": _list_inherited(conn, case, taken_items),
        "inherited_cancellations": [
            {
                "application": row.number,
                "agency": row.agency,
                "document": row.document,
                "items": sorted(items),
                "parent": _find_number(conn, row.case_id),
            }
            for row, items in list_cancelled_above(conn, case.id)
        ],
    }


def _find_number(conn: Connection, case: int) -> str | None:
    parent = cases.find_by_id(conn, case)
    return None if parent is None else str(parent.number)


def _list_inherited(
    conn: Connection, case: CaseRow, taken_items: Sequence[ReleaseFromParentRow]
) -> list[dict[str, Any]]:
    """Return the decisions on applications of other cases that count for a child, each with its parent."""
    if not taken_items:
        return []
    parents = {row.item: row.parent for row in taken_items}
    outside_decisions = [
        outside for outside in list_outside_decisions(conn, case.id) if outside.request.startswith("parent:")
    ]
    outside_requests = list_outside_requests(outside_decisions)
    return [
        {
            "item": outside.decision.item,
            "law": outside.decision.law,
            "decision": outside.decision.decision.value,
            "number": outside.decision.number,
            "agency": outside_requests[outside.request].organisation,
            "document": outside_requests[outside.request].document,
            "parent": parents[outside.decision.item],
        }
        for outside in sorted(outside_decisions, key=lambda outside: outside.subject[1:])
    ]


def _compute_rest(
    released: Sequence[ReleaseToChildRow], units: UnitTable
) -> dict[tuple[int, str], dict[str, Any]]:
    gone: dict[tuple[int, str], Fraction] = {}
    rest = {}
    for row in released:
        key = (row.item, row.measure)
        if row.returned_at is None:
            amount = Fraction(Decimal(row.quantity))
            same = row.unit == row.whole_unit
            converted = amount if same else units.convert_quantity(amount, row.unit, row.whole_unit)
            gone[key] = gone.get(key, Fraction(0)) + (converted or 0)
        rest_quantity = format_decimal(Fraction(Decimal(row.whole)) - gone.get(key, Fraction(0)))
        rest[key] = {
            "item": row.item,
            "measure": row.measure,
            "quantity": rest_quantity,
            "unit": row.whole_unit,
        }
    return rest


def describe_requirements(
    conn: Connection, rows: Sequence[RequirementRow], units: UnitTable
) -> list[dict[str, Any]]:
    """Return requirements with the quantities that are granted, used, and left in each granted unit.

    `left` names one unit of each dimension: a quantity left in kilograms is left in tonnes as well.
    """
    balances = load_requirement_balances(conn, rows, units)
    return [_describe_one(row, balance, units) for row, balance in zip(rows, balances, strict=True)]


def _describe_one(row: RequirementRow, balance: RequirementBalance, units: UnitTable) -> dict[str, Any]:
    granted: dict[str, Decimal] = {}
    for grant in balance.granted:
        granted[grant.unit] = granted.get(grant.unit, Decimal(0)) + grant.quantity
    return {
        "id": row.id,
        "number": row.number,
        "agency": row.agency,
        "source": "decision" if row.registered_at is None else "registered",
        "holder": row.holder,
        "granted": _write_amounts(granted),
        "used": _write_amounts(balance.used),
        "left": _write_left(balance, granted, units),
        "valid_until": row.valid_until,
        "laws": row.laws or [],
        "revoked": balance.revoked,
        "suspended": balance.suspended,
        "reopened": balance.reopened,
        "added_at": row.added_at,
    }


def _write_amounts(amounts: Mapping[str, Decimal]) -> list[dict[str, str]]:
    return [{"quantity": f"{quantity:f}", "unit": unit} for unit, quantity in amounts.items()]


def _write_left(
    balance: RequirementBalance, granted: Iterable[str], units: UnitTable
) -> list[dict[str, str]]:
    amounts_left: dict[str, dict[str, str]] = {}
    for unit in granted:
        unit_row = units.get(unit)
        amount = compute_left_quantity(balance.granted, balance.used, unit, units)
        if amount is not None:
            quantity = {"quantity": format_left_quantity(amount), "unit": unit}
            amounts_left.setdefault(unit if unit_row is None else unit_row.dimension, quantity)
    return list(amounts_left.values())


def describe_requirement_uses(conn: Connection, requirement: int) -> list[dict[str, Any]]:
    """Return the last 50 uses of a requirement (row id), the newest first."""
    return [
        {
            "case": row.case_number,
            "item": row.item,
            "quantity": row.quantity,
            "unit": row.unit,
            "pointer": row.pointer,
            "used_at": row.used_at,
            "returned_at": row.returned_at,
            "return_reason": row.return_reason,
        }
        for row in requirement_quantities.list_uses(conn, requirement)
    ]


def describe_requirement_results(conn: Connection, requirement: int) -> list[dict[str, Any]]:
    """Return the agency's results for a requirement (row id) without an application, as received.

    Of the results about one item and law, the `current` result counts.
    """
    results = load_requirement_results(conn, [requirement])
    current = select_current_results(results)
    return [
        {
            "notice": decision_result.notice_number,
            "issued_at": decision_result.issued_at,
            "item": decision_result.decision.item,
            "law": decision_result.decision.law,
            "decision": decision_result.decision.decision.value,
            "date": decision_result.decision.date,
            "quantity": None
            if decision_result.decision.quantity is None
            else f"{decision_result.decision.quantity:f}",
            "unit": decision_result.decision.unit,
            "conditions": list(decision_result.decision.conditions),
            "current": decision_result in current,
        }
        for decision_result in results
    ]


def describe_case_results(conn: Connection, case: CaseRow) -> list[dict[str, Any]]:
    """Return the decisions of results without an application on the items of a case.

    `quantity` is the amount that is written off for the case, as the Result and the messages to customs state
    it; None where nothing is written off, or where it is written off for the parent of a child declaration.
    """
    outside = list_outside_decisions(conn, case.id)
    current_decisions = select_current_decisions(
        outside for outside in outside if outside.request.startswith("requirement:")
    )
    if not current_decisions:
        return []
    outside_requests = list_outside_requests(current_decisions)
    numbers = {
        (outside.request, outside.decision.item, outside.decision.law): outside.decision.number
        for outside in current_decisions
    }
    units = load_unit_table(open_active_mappings(conn, case.opened_at))
    return [
        {
            "item": outside.decision.item,
            "law": outside.decision.law,
            "decision": outside.decision.decision.value,
            "agency": outside_requests[outside.request].organisation,
            # The Result has no number for an approval without a quantity written off; this report has it.
            "number": numbers[outside.request, outside.decision.item, outside.decision.law],
            "quantity": None if outside.decision.quantity is None else f"{outside.decision.quantity:f}",
            "unit": outside.decision.unit,
            "conditions": list(outside.decision.conditions),
            "notice": outside.notice_number,
            "issued_at": outside.issued_at,
        }
        for outside in list_told_decisions(current_decisions, units)
    ]


_COLUMNS = (
    *("id", "number", "application", "case_number", "agency", "kind", "gate", "state", "amount", "currency"),
    *("due_on", "payment_notice", "refundable", "levied_at", "ordered_at", "paid_at", "told_at", "address"),
)
_MOVED = (
    *("kind", "reference", "state", "amount", "currency", "reason", "at", "moved_at", "payment"),
    "provider_reference",
)


def describe_fees(conn: Connection, rows: Sequence[FeeOfCaseRow]) -> list[dict[str, Any]]:
    """Return fees as plain values, each with the time (`due_at`) and the state (`deadline`) of its deadline.

    Both are None for a fee that has no deadline or an unknown one.
    """
    last = find_fee_deadlines(conn, rows)
    return [
        {name: getattr(row, name) for name in _COLUMNS} | _describe_deadline(last.get(row.number))
        for row in rows
    ]


def find_fee_deadlines(conn: Connection, rows: Sequence[FeeRow]) -> dict[str, DeadlineRow]:
    """Return the last deadline of each fee that has one, by the number of the fee."""
    if not rows:
        return {}
    fee_deadlines = deadlines.list_of_fees(conn, {row.case_id for row in rows})
    fee_numbers = {(row.request_id, row.number): row.number for row in rows}
    numbered = (
        (fee_numbers.get((deadline.request_id, deadline.cause)), deadline) for deadline in fee_deadlines
    )
    return {number: deadline for number, deadline in numbered if number is not None}


def _describe_deadline(row: DeadlineRow | None) -> dict[str, Any]:
    return {"due_at": None if row is None else row.due_at, "deadline": None if row is None else row.state}


def describe_movements(conn: Connection, fee: int) -> list[dict[str, Any]]:
    """Return the payments and refunds of a fee (row id), oldest first."""
    return [{name: getattr(row, name) for name in _MOVED} for row in fees.list_movements(conn, fee)]


def describe_case_fees(conn: Connection, case: int) -> list[dict[str, Any]]:
    """Return the fees of a case (row id) with the payments and refunds of each, oldest first."""
    return [
        fee | {"movements": describe_movements(conn, fee["id"])}
        for fee in describe_fees(conn, fee_searches.list_by_case(conn, case))
    ]


def list_recorded_movements(
    conn: Connection, first: date, last: date, zone: tzinfo
) -> tuple[FeeMovement, ...]:
    """Return the payments and refunds at the provider from the first day to the last one, both in a zone."""
    since, until = begin_day(first, zone), end_day(last, zone)
    return tuple(_make_movement(row, zone) for row in fees.list_movements_between(conn, since, until))


def _make_movement(row: MovementOfFeeRow, zone: tzinfo) -> FeeMovement:
    assert row.moved_at is not None, "a movement in a period has a time"
    return FeeMovement(
        row.kind,
        row.provider_reference or row.reference,
        row.fee_number,
        read_movement_money(row),
        find_day(row.moved_at, zone),
        reason=row.reason if row.state == "NOT_COUNTED" else "",
    )

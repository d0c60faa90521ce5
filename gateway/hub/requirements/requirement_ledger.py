"""Writes off the quantities that declarations use of requirements, and gives them back.

The functions run in the transaction that admits, withdraws or decides a case. The case is locked
first, then the requirements in the order of their rows. So of two declarations that use one
requirement at the same instant the second sees the first, and nothing is used twice. Each use and
each return is a row of evidence about the case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import (
    APPROVING_CODES,
    CertificateUsability,
    DecisionCode,
    DeclaredUses,
    FormerUse,
    GrantedQuantity,
    RequirementBalance,
    RequirementResult,
    RequirementUse,
    ValidatedUses,
    add_used_quantity,
    list_covered_uses,
    select_current_results,
    select_granted_quantities,
    select_law_results,
    subtract_former_uses,
    validate_amended_uses,
    validate_declared_uses,
)
from gateway.evidence import record_evidence
from gateway.harmonize import UnitTable
from gateway.hub.completion.outside_decisions import list_counting_uses, load_requirement_results
from gateway.hub.outbox.local_tasks import enqueue_task
from gateway.hub.requirements.granted_certificates import list_granted_certificates
from gateway.store import (
    CaseRow,
    GrantingDecisionRow,
    NewAwaitedUse,
    NewRequirementUse,
    RequirementRow,
    UseOfRequirementRow,
    decisions,
    item_releases,
    requirement_quantities,
    requirement_results,
)
from gateway.wire import find_type_direction

_REJECTED: Final = "rejected"
#: The last day of a certificate was judged when the declaration arrived; its correction may come later.
_ARRIVED_IN_TIME: Final = date.min


def load_requirement_balances(
    conn: Connection, rows: Sequence[RequirementRow], units: UnitTable
) -> tuple[RequirementBalance, ...]:
    """Return requirements as values: the grants by decisions in force, or else the registered results.

    A decision on an application replaces the results that its agency gave under the number without an
    application. So does an application to which these results have been applied.
    """
    results: dict[int, list[RequirementResult]] = defaultdict(list)
    for result in load_requirement_results(conn, [row.id for row in rows]):
        results[result.requirement_id].append(result)
    granting: dict[tuple[str, str], list[tuple[GrantingDecisionRow, CertificateUsability]]] = defaultdict(
        list
    )
    for grant in list_granted_certificates(conn, {row.number for row in rows}):
        granting[grant[0].number, grant[0].agency].append(grant)
    for row in rows:
        if row.applied_since is not None:
            results[row.id] = []
    return tuple(_make_balance(row, granting[row.number, row.agency], results[row.id], units) for row in rows)


def _make_balance(
    row: RequirementRow,
    grants: Sequence[tuple[GrantingDecisionRow, CertificateUsability]],
    results: Sequence[RequirementResult],
    units: UnitTable,
) -> RequirementBalance:
    """Return the balance of a requirement: the granted and used quantities, and whether it can be used now.

    Granted is the first of these that there is: the usable approvals in `grants`, the approving results
    without an application in `results`, the quantity that was registered.
    """
    granted = select_granted_quantities(
        (
            (
                (decision_row.request_id, decision_row.item),
                GrantedQuantity(Decimal(decision_row.quantity), decision_row.unit or ""),
            )
            for decision_row, state in grants
            if state is CertificateUsability.USABLE
        ),
        units,
    )
    approving_results = [
        result for result in select_current_results(results) if result.decision.decision in APPROVING_CODES
    ]
    decided = [result.decision.decision for result in select_law_results(results)]
    if not granted:
        granted = select_granted_quantities(_list_said_quantities(approving_results), units)
    if not granted and not results and row.registered_at is not None and row.revoked_at is None:
        assert row.quantity is not None, "a registered requirement has a quantity"
        assert row.unit is not None, "the quantity of a registered requirement has a unit"
        granted = (GrantedQuantity(Decimal(row.quantity), row.unit),)
    # A usable grant does not wait for the suspended or reopened ones.
    waiting_states = set() if granted or approving_results else {state for _, state in grants}
    suspended = CertificateUsability.SUSPENDED in waiting_states
    reopened = CertificateUsability.REOPENED in waiting_states and not suspended
    return RequirementBalance(
        agency=row.agency,
        number=row.number,
        granted=granted,
        used={unit: Decimal(quantity) for unit, quantity in row.used.items()},
        holder=row.holder,
        valid_until=row.valid_until,
        revoked=not (granted or approving_results or suspended or reopened),
        suspended=suspended,
        requirement_id=row.id,
        unlimited=not granted and bool(approving_results),
        reopened=reopened,
        rejects=DecisionCode.REJECTED in decided,
        direction=_find_direction(grants, results),
    )


def _find_direction(
    grants: Sequence[tuple[GrantingDecisionRow, CertificateUsability]], results: Iterable[RequirementResult]
) -> str | None:
    """Return the direction of a certificate, None where it is not known or there are several.

    It is that of the declarations whose applications were approved, and of the agency's documents about it: a
    later correction need not state it again.
    """
    directions = {find_type_direction(decision_row.declaration_type) for decision_row, _ in grants}
    directions |= {result.direction for result in results}
    directions.discard(None)
    return directions.pop() if len(directions) == 1 else None


def _list_said_quantities(
    allowed: Iterable[RequirementResult],
) -> Iterator[tuple[tuple[int, int], GrantedQuantity]]:
    """Yield the quantities granted by results without an application, with requirement and item."""
    for result in allowed:
        if result.decision.quantity is not None:
            granted = GrantedQuantity(result.decision.quantity, result.decision.unit or "")
            yield (result.requirement_id, result.decision.item), granted


def lock_case_requirements(
    conn: Connection, case_id: int, numbers: Collection[str]
) -> Sequence[RequirementRow]:
    """Lock the requirements that a locked case uses, and those of these numbers, in the order of their rows.

    Return the locked rows. Call it before a transaction changes some of them and then others: locked step by
    step, two cases that use the same requirements could wait for each other.
    """
    used = {row.requirement_id for row in requirement_quantities.list_uses_of_case(conn, case_id)}
    numbered = {row.id for row in requirement_quantities.find_requirements(conn, numbers)}
    return requirement_quantities.lock_requirements(conn, used | numbered)


def lock_and_judge_uses(
    conn: Connection,
    declared_uses: DeclaredUses,
    units: UnitTable,
    *,
    rejected_items: Collection[int] = (),
    former: Sequence[FormerUse] = (),
) -> ValidatedUses:
    """Lock the requirements that a declaration uses, and judge whether enough is left of each.

    Items in `rejected_items` are rejected by other agencies. `former` are the uses of an amended declaration
    before, which it has given back.
    """
    if not declared_uses.uses:
        return ValidatedUses((), (), ())
    rows = requirement_quantities.lock_requirements_by_number(
        conn, {use.number for use in declared_uses.uses}
    )
    balances = load_requirement_balances(conn, _select_certificates(conn, rows, former), units)
    return validate_amended_uses(
        declared_uses, former, balances, _get_day(declared_uses), units, rejected_items
    )


def _get_day(declared_uses: DeclaredUses) -> date:
    """Return the day on which the declaration with these uses arrived, in the zone of the hub."""
    assert declared_uses.day is not None
    return declared_uses.day


def list_former_uses(conn: Connection, case_id: int, rejected: Collection[int]) -> tuple[FormerUse, ...]:
    """Return the uses of a case's declaration, also those that an item gave back because it was rejected.

    `rejected` are the items that are rejected before the amendment. Awaited uses are included where the
    ledger has the number.
    """
    had = tuple(
        FormerUse(
            row.item,
            row.requirement_id,
            Decimal(row.quantity),
            row.unit,
            is_written_off=row.returned_at is None,
            is_lost=row.returned_at is not None and row.item not in rejected,
        )
        for row in list_counting_uses(conn, case_id)
    )
    return (*had, *_list_awaited_before(conn, case_id))


def _list_awaited_before(conn: Connection, case_id: int) -> Iterator[FormerUse]:
    """Yield the uses that a case waits for, for each requirement in the ledger that has their number."""
    waiting = [row for row in requirement_results.list_awaited_uses(conn, case_id) if row.in_ledger]
    requirements = requirement_quantities.find_requirements(conn, {row.number for row in waiting})
    for row in waiting:
        for requirement in requirements:
            if requirement.number == row.number and row.agency in (None, requirement.agency):
                yield FormerUse(
                    row.item,
                    requirement.id,
                    Decimal(row.quantity),
                    row.unit,
                    is_written_off=False,
                    is_waiting=True,
                )


def inspect_requirements(
    conn: Connection,
    declared_uses: DeclaredUses,
    units: UnitTable,
    day: date,
    former: Sequence[FormerUse] = (),
    rejected_items: Collection[int] = (),
    rows: Sequence[RequirementRow] | None = None,
) -> ValidatedUses:
    """Judge the uses of certificates by a declaration on a day; nothing is changed.

    `former` are its present uses, if it is to be amended; items in `rejected_items` are rejected by other
    agencies. `rows` are the requirements of its numbers, where the caller has read them.
    """
    if rows is None:
        rows = requirement_quantities.find_requirements(conn, {use.number for use in declared_uses.uses})
    usable_rows = _select_certificates(conn, rows, former)
    balances = subtract_former_uses(load_requirement_balances(conn, usable_rows, units), former)
    return validate_amended_uses(declared_uses, former, balances, day, units, rejected_items)


def _select_certificates(
    conn: Connection, rows: Sequence[RequirementRow], former: Iterable[FormerUse]
) -> list[RequirementRow]:
    """Return the requirements that a declaration may use, and those that it used before its amendment."""
    before = {use.requirement_id for use in former}
    usable_ids = {row.id for row in requirement_quantities.select_certificates(conn, rows)}
    return [row for row in rows if row.id in usable_ids | before]


def write_off_requirements(
    conn: Connection,
    case_id: int,
    judged_uses: Iterable[tuple[RequirementUse, RequirementBalance]],
    at: datetime,
) -> None:
    """Write off uses that `lock_and_judge_uses` has found good in the same transaction."""
    chosen = tuple(judged_uses)
    used: dict[int, dict[str, str]] = {}
    for use, balance in chosen:
        used_before = used.get(balance.requirement_id) or {
            unit: f"{sum_:f}" for unit, sum_ in balance.used.items()
        }
        used[balance.requirement_id] = add_used_quantity(used_before, use.unit, use.quantity)
        data = _describe_use(use, balance.agency)
        record_evidence(conn, "written_off", "case", case_id, None, data, at)
    for key, quantities in used.items():
        requirement_quantities.set_used_quantities(conn, key, quantities)
    new = [
        NewRequirementUse(
            balance.requirement_id, case_id, use.item, use.pointer, f"{use.quantity:f}", use.unit
        )
        for use, balance in chosen
    ]
    requirement_quantities.insert_uses(conn, new, at)


def keep_rejected_uses(
    conn: Connection,
    case_id: int,
    declared_uses: DeclaredUses,
    unwritten_uses: Sequence[RequirementUse],
    units: UnitTable,
    at: datetime,
    former: Sequence[FormerUse] = (),
) -> None:
    """Store the uses that are not written off, as given back; `apply_decided_items` may take them later.

    Whether enough is left is judged at that later time. A use that its requirement never allows is not
    stored, unless it was there before the amendment (`former`).
    """
    if not unwritten_uses:
        return
    uses = tuple(unwritten_uses)
    rows = requirement_quantities.find_requirements(conn, {use.number for use in uses})
    full = [replace(balance, used={}) for balance in load_requirement_balances(conn, rows, units)]
    idle_uses = replace(declared_uses, uses=uses)
    former_lines = dict(list_covered_uses(idle_uses, former, full, units))
    new = []
    for position, use in enumerate(uses):
        judged = validate_declared_uses(
            replace(declared_uses, uses=(use,)), full, _get_day(declared_uses), units
        )
        if position in former_lines:
            judged = ValidatedUses(((use, former_lines[position]),), (), ())
        new += [
            _make_rejected_use(case_id, use, balance.requirement_id, at)
            for use, balance in judged.usable_uses
        ]
    requirement_quantities.insert_uses(conn, new, at)


def keep_rejected_use(
    conn: Connection, case_id: int, use: RequirementUse, requirement: int, at: datetime
) -> None:
    """Store a use of a requirement (row id) by which its agency rejects the item, as given back."""
    requirement_quantities.insert_uses(conn, [_make_rejected_use(case_id, use, requirement, at)], at)


def _make_rejected_use(
    case_id: int, use: RequirementUse, requirement: int, at: datetime
) -> NewRequirementUse:
    """Return the row of a use of a requirement (row id) that was given back because the item is rejected."""
    return NewRequirementUse(
        requirement,
        case_id,
        use.item,
        use.pointer,
        f"{use.quantity:f}",
        use.unit,
        returned_at=at,
        return_reason=_REJECTED,
    )


def _describe_use(use: RequirementUse, agency: str) -> dict[str, Any]:
    """Return a use of a certificate as values for evidence."""
    return {
        "agency": agency,
        "requirement": use.number,
        "item": use.item,
        "quantity": f"{use.quantity:f}",
        "unit": use.unit,
    }


def give_back_requirements(
    conn: Connection, case_id: int, reason: str, at: datetime, items: Collection[int] | None = None
) -> int:
    """Give back the uses that a locked case has written off, of all items or of `items`; return their number.

    Cases that wait for the same numbers check again. A use that was given back before is not given back
    again. When the whole case gives back, the use of a rejected item is not written off again, even if the
    agency approves it later, and the case, if it is a child, states no use any more of certificates of its
    parent.
    """
    numbers: set[str] = set()
    if items is None:
        # Another child that waits may name the numbers that this one named.
        numbers |= {row.number for row in requirement_quantities.list_stated_uses(conn, [case_id])}
        requirement_quantities.close_returned_uses(conn, case_id, _REJECTED, reason)
    returning = [
        row
        for row in requirement_quantities.list_uses_of_case(conn, case_id)
        if row.returned_at is None and (items is None or row.item in items)
    ]
    locked = _lock_used_requirements(conn, returning)
    for row in returning:
        if requirement_quantities.return_use(conn, row.id, reason, at):
            _add_used_quantity(conn, locked, row, -Decimal(row.quantity))
            data = _describe_use_row(row) | {"reason": reason}
            record_evidence(conn, "given_back", "case", case_id, None, data, at)
            numbers.add(row.number)
    join_waiting_cases(conn, numbers, f"back:{case_id}:{at.isoformat()}", at)
    return len(returning)


def join_waiting_cases(conn: Connection, numbers: Iterable[str], cause: str, now: datetime) -> None:
    """Let every case that waits for one of these numbers check again: the ledger has more of it now."""
    for case in requirement_results.list_waiting_cases(conn, numbers):
        enqueue_task(conn, "join", "case", case, f"known:{cause}:{case}", now)


def offer_kept_certificates(conn: Connection, request: int, cause: str, now: datetime) -> None:
    """Let waiting cases check again: the agency does not cancel the approvals of a request."""
    stored_decisions = decisions.list_all_by_request(conn, request)
    numbers = sorted({row.number for row in stored_decisions if row.number and row.quantity is not None})
    join_waiting_cases(conn, numbers, cause, now)


def apply_decided_items(
    conn: Connection, case: CaseRow, rejected: Collection[int], units: UnitTable, at: datetime
) -> bool:
    """Give back the uses of the rejected items of a decided, locked case, and write off those of the others.

    An agency may correct a rejection after the quantity was given back. If too little is left by then,
    nothing is written off, and evidence says so. The decision on an application is valid nevertheless. A
    result without an application then approves nothing, and the case waits for its number again. Return
    whether any quantity was written off.
    """
    case_id, direction = int(case.id), find_type_direction(case.document)
    if not item_releases.may_have_outside_decisions(conn, case_id):
        return False
    uses = requirement_quantities.list_uses_of_case(conn, case_id)
    if not uses:
        return False
    # All at once, in the order of their rows: another case may use several of them as well.
    _lock_used_requirements(conn, uses)
    give_back_requirements(conn, case_id, _REJECTED, at, rejected)
    reopened = [row for row in uses if row.return_reason == _REJECTED and row.item not in rejected]
    locked, has_taken = _lock_used_requirements(conn, reopened), False
    answered = _list_uses_with_results(conn, case_id) if reopened else set()
    for row in reopened:
        (balance,) = load_requirement_balances(conn, [locked[row.requirement_id]], units)
        use = RequirementUse(row.item, row.number, Decimal(row.quantity), row.unit, row.pointer)
        judged = validate_declared_uses(
            DeclaredUses((use,), importer=balance.holder, direction=direction),
            [balance],
            _ARRIVED_IN_TIME,
            units,
        )
        if not judged.usable_uses:
            data = _describe_use_row(row) | {"problem": judged.problems[0].problem.id}
            record_evidence(conn, "not_left", "case", case_id, None, data, at)
            if row.id in answered:
                requirement_quantities.close_lost_use(conn, row.id)
                requirement_results.insert_awaited_uses(conn, [await_again(row)], at)
        elif requirement_quantities.write_off_use_again(conn, row.id):
            _add_used_quantity(conn, locked, row, Decimal(row.quantity))
            record_evidence(conn, "written_off", "case", case_id, None, _describe_use_row(row), at)
            has_taken = True
    return has_taken


def _list_uses_with_results(conn: Connection, case_id: int) -> set[int]:
    """Return the uses (row ids) of a case by which results without an application decide about it."""
    uses = list_counting_uses(conn, case_id)
    answered = {
        result.requirement_id
        for result in load_requirement_results(conn, {row.requirement_id for row in uses})
    }
    return {int(row.id) for row in uses if row.requirement_id in answered}


def await_again(use: UseOfRequirementRow) -> NewAwaitedUse:
    """Return the awaited use for a use that a case had before: the number of the same agency."""
    return NewAwaitedUse(use.case_id, use.number, use.item, use.pointer, use.quantity, use.unit, use.agency)


def has_lost_uses(conn: Connection, case_id: int, rejected: Collection[int]) -> bool:
    """Return whether an item of a case has lost its uses by a rejection, and is not rejected any more.

    A rejected item gives its uses back: their quantities are not written off then. `rejected` are the items
    that are rejected now.
    """
    return any(
        row.return_reason == _REJECTED and row.item not in rejected
        for row in requirement_quantities.list_uses_of_case(conn, case_id)
    )


def _lock_used_requirements(
    conn: Connection, uses: Iterable[UseOfRequirementRow]
) -> dict[int, RequirementRow]:
    rows = requirement_quantities.lock_requirements(conn, {row.requirement_id for row in uses})
    return {row.id: row for row in rows}


def _add_used_quantity(
    conn: Connection, locked: dict[int, RequirementRow], use: UseOfRequirementRow, quantity: Decimal
) -> None:
    """Add a quantity, which may be negative, to the used quantity of a locked requirement.

    Replaces the row of the requirement in `locked` by the new one.
    """
    key = use.requirement_id
    requirement_quantities.set_used_quantities(
        conn, key, add_used_quantity(locked[key].used, use.unit, quantity)
    )
    locked |= {row.id: row for row in requirement_quantities.lock_requirements(conn, [key])}


def _describe_use_row(row: UseOfRequirementRow) -> dict[str, Any]:
    use = RequirementUse(row.item, row.number, Decimal(row.quantity), row.unit)
    return _describe_use(use, row.agency)


def make_awaited_use(case_id: int, use: RequirementUse) -> NewAwaitedUse:
    """Return an awaited use: a quantity under a number, of any agency unless the line names one."""
    quantity, agency = f"{use.quantity:f}", use.agency or None
    return NewAwaitedUse(case_id, use.number, use.item, use.pointer, quantity, use.unit, agency)

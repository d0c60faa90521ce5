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

from sqlalchemy import Connection, Row

from gateway.cases import (
    APPROVING,
    CertificateStanding,
    ClaimedRequirements,
    DecisionCode,
    FormerUse,
    GrantedQuantity,
    JudgedClaim,
    RequirementBalance,
    RequirementResult,
    RequirementUse,
    add_used_quantity,
    free_former_uses,
    judge_amended_claim,
    judge_requirement_claim,
    list_former_lines,
    select_current_results,
    select_granted_quantities,
    select_law_results,
)
from gateway.evidence import record_evidence
from gateway.harmonize import UnitTable
from gateway.hub.completion import list_counting_uses, load_requirement_results
from gateway.hub.granted_certificates import list_granted_certificates
from gateway.hub.outbox import enqueue_task
from gateway.store import (
    NewAwaitedUse,
    NewRequirementUse,
    decisions,
    item_releases,
    requirement_quantities,
    requirement_results,
)

__all__ = [
    "apply_decided_items",
    "await_again",
    "claim_requirements",
    "give_back_requirements",
    "has_lost_uses",
    "inspect_requirements",
    "join_waiting_cases",
    "keep_rejected_use",
    "keep_rejected_uses",
    "list_former_uses",
    "load_requirement_balances",
    "lock_case_requirements",
    "make_awaited_use",
    "offer_kept_certificates",
    "write_off_requirements",
]

_REJECTED: Final = "rejected"
#: The last day of a certificate was judged when the declaration arrived; its correction may come later.
_ARRIVED_IN_TIME: Final = date.min


def load_requirement_balances(
    conn: Connection, rows: Sequence[Row[Any]], units: UnitTable
) -> tuple[RequirementBalance, ...]:
    """Return requirements as values: what the decisions in force grant, or else what was registered.

    A decision on an application replaces what its agency said of the number without one. So does one that
    what was said counts for.
    """
    said: dict[int, list[RequirementResult]] = defaultdict(list)
    for result in load_requirement_results(conn, [row.id for row in rows]):
        said[result.subject].append(result)
    granting: dict[tuple[str, str], list[tuple[Row[Any], CertificateStanding]]] = defaultdict(list)
    for one in list_granted_certificates(conn, {row.number for row in rows}):
        granting[one[0].number, one[0].agency].append(one)
    for row in rows:
        if row.applied_since is not None:
            said[row.id] = []
    return tuple(_make_balance(row, granting[row.number, row.agency], said[row.id], units) for row in rows)


def _make_balance(
    row: Row[Any],
    granting: Sequence[tuple[Row[Any], CertificateStanding]],
    said: Sequence[RequirementResult],
    units: UnitTable,
) -> RequirementBalance:
    granted = select_granted_quantities(
        (
            ((one.request_id, one.item), GrantedQuantity(Decimal(one.quantity), one.unit or ""))
            for one, standing in granting
            if standing is CertificateStanding.USABLE
        ),
        units,
    )
    allowed = [one for one in select_current_results(said) if one.decision.decision in APPROVING]
    decided = [one.decision.decision for one in select_law_results(said)]
    if not granted:
        granted = select_granted_quantities(_list_said_quantities(allowed), units)
    if not granted and not said and row.registered_at is not None and row.revoked_at is None:
        granted = (GrantedQuantity(Decimal(row.quantity), row.unit),)
    # What can be used does not wait for the rest.
    waits = set() if granted or allowed else {standing for _, standing in granting}
    suspended = CertificateStanding.SUSPENDED in waits
    reopened = CertificateStanding.REOPENED in waits and not suspended
    return RequirementBalance(
        agency=row.agency,
        number=row.number,
        granted=granted,
        used={unit: Decimal(quantity) for unit, quantity in row.used.items()},
        holder=row.holder,
        valid_until=row.valid_until,
        revoked=not (granted or allowed or suspended or reopened),
        suspended=suspended,
        key=row.id,
        unlimited=not granted and bool(allowed),
        reopened=reopened,
        rejects=DecisionCode.REJECTED in decided,
    )


def _list_said_quantities(
    allowed: Iterable[RequirementResult],
) -> Iterator[tuple[tuple[int, int], GrantedQuantity]]:
    """Yield what results without an application grant, each with its requirement and item."""
    for one in allowed:
        if one.decision.quantity is not None:
            granted = GrantedQuantity(one.decision.quantity, one.decision.unit or "")
            yield (one.subject, one.decision.item), granted


def lock_case_requirements(conn: Connection, case_id: int, numbers: Collection[str]) -> Sequence[Row[Any]]:
    """Lock what a locked case uses, and what has these numbers, all at once in the order of their rows.

    Return the locked rows.

    It comes before a transaction changes some of them and then others: locked step by step, two cases
    that use the same requirements could wait for each other.
    """
    used = {row.requirement_id for row in requirement_quantities.list_uses_of_case(conn, case_id)}
    named = {row.id for row in requirement_quantities.find_requirements(conn, numbers)}
    return requirement_quantities.lock_requirements(conn, used | named)


def claim_requirements(
    conn: Connection,
    claim: ClaimedRequirements,
    units: UnitTable,
    at: datetime,
    *,
    without: Collection[int] = (),
    former: Sequence[FormerUse] = (),
) -> JudgedClaim:
    """Lock the requirements that a declaration uses, and judge whether enough is left of each.

    Items in `without` are rejected by others. `former` is what an amended declaration used, and has given
    back.
    """
    if not claim.uses:
        return JudgedClaim((), (), ())
    rows = requirement_quantities.lock_requirements_by_number(conn, {use.number for use in claim.uses})
    balances = load_requirement_balances(conn, _select_certificates(conn, rows, former), units)
    return judge_amended_claim(claim, former, balances, claim.day or at.date(), units, without)


def list_former_uses(conn: Connection, case_id: int, rejected: Collection[int]) -> tuple[FormerUse, ...]:
    """Return what the declaration of a case uses, also what an item gave back because it was rejected.

    `rejected` are the items that are rejected before the amendment. What the case waits for is among them
    where the ledger has the number.
    """
    had = tuple(
        FormerUse(
            row.item,
            row.requirement_id,
            Decimal(row.quantity),
            row.unit,
            stands=row.returned_at is None,
            lost=row.returned_at is not None and row.item not in rejected,
        )
        for row in list_counting_uses(conn, case_id)
    )
    return (*had, *_list_awaited_before(conn, case_id))


def _list_awaited_before(conn: Connection, case_id: int) -> Iterator[FormerUse]:
    waiting = [row for row in requirement_results.list_awaited_uses(conn, case_id) if row.in_ledger]
    known = requirement_quantities.find_requirements(conn, {row.number for row in waiting})
    for row in waiting:
        for one in known:
            if one.number == row.number and row.agency in (None, one.agency):
                yield FormerUse(row.item, one.id, Decimal(row.quantity), row.unit, stands=False, waits=True)


def inspect_requirements(
    conn: Connection,
    claim: ClaimedRequirements,
    units: UnitTable,
    on: date,
    former: Sequence[FormerUse] = (),
    without: Collection[int] = (),
    known: Sequence[Row[Any]] | None = None,
) -> JudgedClaim:
    """Judge what a declaration would use on a day; nothing is changed.

    `former` is what it uses now, if it is to be amended, and items in `without` are rejected by others.
    `known` are the requirements of its numbers, where the caller has read them.
    """
    rows = known
    if rows is None:
        rows = requirement_quantities.find_requirements(conn, {use.number for use in claim.uses})
    mine = _select_certificates(conn, rows, former)
    balances = free_former_uses(load_requirement_balances(conn, mine, units), former)
    return judge_amended_claim(claim, former, balances, on, units, without)


def _select_certificates(
    conn: Connection, rows: Sequence[Row[Any]], former: Iterable[FormerUse]
) -> list[Row[Any]]:
    """Return the requirements that a declaration may use, and those that it used before its amendment."""
    before = {one.key for one in former}
    known = {row.id for row in requirement_quantities.select_certificates(conn, rows)}
    return [row for row in rows if row.id in known | before]


def write_off_requirements(
    conn: Connection,
    case_id: int,
    taken: Iterable[tuple[RequirementUse, RequirementBalance]],
    at: datetime,
) -> None:
    """Write off uses that `claim_requirements` has found good in the same transaction."""
    chosen = tuple(taken)
    used: dict[int, dict[str, str]] = {}
    for use, balance in chosen:
        known = used.get(balance.key) or {unit: f"{sum_:f}" for unit, sum_ in balance.used.items()}
        used[balance.key] = add_used_quantity(known, use.unit, use.quantity)
        data = _describe_use(use, balance.agency)
        record_evidence(conn, "written_off", "case", case_id, None, data, at)
    for key, quantities in used.items():
        requirement_quantities.set_used_quantities(conn, key, quantities)
    new = [
        NewRequirementUse(one.key, case_id, use.item, use.pointer, f"{use.quantity:f}", use.unit)
        for use, one in chosen
    ]
    requirement_quantities.insert_uses(conn, new, at)


def keep_rejected_uses(
    conn: Connection,
    case_id: int,
    claim: ClaimedRequirements,
    idle: Sequence[RequirementUse],
    units: UnitTable,
    at: datetime,
    former: Sequence[FormerUse] = (),
) -> None:
    """Store the uses that are not written off, as given back: `apply_decided_items` takes what becomes good.

    Whether enough is left is judged then. A use that its requirement never allows is not stored, unless
    it was there before the amendment (`former`).
    """
    if not idle:
        return
    uses = tuple(idle)
    rows = requirement_quantities.find_requirements(conn, {use.number for use in uses})
    full = [replace(one, used={}) for one in load_requirement_balances(conn, rows, units)]
    mine = replace(claim, uses=uses)
    kept = dict(list_former_lines(mine, former, full, units))
    new = []
    for place, use in enumerate(uses):
        judged = judge_requirement_claim(replace(claim, uses=(use,)), full, claim.day or at.date(), units)
        if place in kept:
            judged = JudgedClaim(((use, kept[place]),), (), ())
        new += [_make_rejected_use(case_id, use, one.key, at) for use, one in judged.taken]
    requirement_quantities.insert_uses(conn, new, at)


def keep_rejected_use(
    conn: Connection, case_id: int, use: RequirementUse, requirement: int, at: datetime
) -> None:
    """Store a use of a requirement (row id) by which its agency rejects the item, as given back."""
    requirement_quantities.insert_uses(conn, [_make_rejected_use(case_id, use, requirement, at)], at)


def _make_rejected_use(
    case_id: int, use: RequirementUse, requirement: int, at: datetime
) -> NewRequirementUse:
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
    """Give back what a locked case has written off, of all items or of these; return the number of uses.

    Cases that wait for it look again. What was given back before is not given back again. When the whole
    case gives back, what a rejected item gave back is not taken again, whatever the agency decides later,
    and a child states nothing any more of what is written off above it.
    """
    numbers: set[str] = set()
    if items is None:
        # Another child that waits may name what this one named.
        numbers |= {row.number for row in requirement_quantities.list_stated_uses(conn, [case_id])}
        requirement_quantities.close_returned_uses(conn, case_id, _REJECTED, reason)
    wanted = [
        row
        for row in requirement_quantities.list_uses_of_case(conn, case_id)
        if row.returned_at is None and (items is None or row.item in items)
    ]
    locked = _lock_used(conn, wanted)
    for row in wanted:
        if requirement_quantities.return_use(conn, row.id, reason, at):
            _change_used(conn, locked, row, -Decimal(row.quantity))
            data = _describe_row(row) | {"reason": reason}
            record_evidence(conn, "given_back", "case", case_id, None, data, at)
            numbers.add(row.number)
    join_waiting_cases(conn, numbers, f"back:{case_id}:{at.isoformat()}", at)
    return len(wanted)


def join_waiting_cases(conn: Connection, numbers: Iterable[str], cause: str, now: datetime) -> None:
    """Let every case that waits for one of these numbers look again: the ledger has more of it now."""
    for case in requirement_results.list_waiting_cases(conn, numbers):
        enqueue_task(conn, "join", ("case", case), f"known:{cause}:{case}", now)


def offer_kept_certificates(conn: Connection, request: int, cause: str, now: datetime) -> None:
    """Let cases that wait look again: the agency does not cancel what it approved in a request."""
    kept = decisions.list_all_by_request(conn, request)
    numbers = sorted({row.number for row in kept if row.number and row.quantity is not None})
    join_waiting_cases(conn, numbers, cause, now)


def apply_decided_items(
    conn: Connection, case_id: int, rejected: Collection[int], units: UnitTable, at: datetime
) -> bool:
    """Give back what the rejected items of a decided, locked case use, and take again what others do.

    An agency may correct a rejection after the quantity was given back. When too little is left by then,
    nothing is taken, and evidence says so. The decision of an application holds all the same. A result
    without an application approves nothing then, and the case waits for its number anew. Return whether
    something was taken.
    """
    if not item_releases.may_have_outside_decisions(conn, case_id):
        return False
    uses = requirement_quantities.list_uses_of_case(conn, case_id)
    if not uses:
        return False
    # All at once, in the order of their rows: another case may use several of them as well.
    _lock_used(conn, uses)
    give_back_requirements(conn, case_id, _REJECTED, at, rejected)
    again = [row for row in uses if row.return_reason == _REJECTED and row.item not in rejected]
    locked, taken = _lock_used(conn, again), False
    answered = _list_answered(conn, case_id) if again else set()
    for row in again:
        (balance,) = load_requirement_balances(conn, [locked[row.requirement_id]], units)
        use = RequirementUse(row.item, row.number, Decimal(row.quantity), row.unit, row.pointer)
        judged = judge_requirement_claim(
            ClaimedRequirements((use,), importer=balance.holder), [balance], _ARRIVED_IN_TIME, units
        )
        if not judged.taken:
            data = _describe_row(row) | {"problem": judged.problems[0].problem.id}
            record_evidence(conn, "not_left", "case", case_id, None, data, at)
            if row.id in answered:
                requirement_quantities.close_lost_use(conn, row.id)
                requirement_results.insert_awaited_uses(conn, [await_again(row)], at)
        elif requirement_quantities.take_use_again(conn, row.id):
            _change_used(conn, locked, row, Decimal(row.quantity))
            record_evidence(conn, "written_off", "case", case_id, None, _describe_row(row), at)
            taken = True
    return taken


def _list_answered(conn: Connection, case_id: int) -> set[int]:
    """Return the uses (row ids) of a case by which results without an application decide about it."""
    uses = list_counting_uses(conn, case_id)
    said = {one.subject for one in load_requirement_results(conn, {row.requirement_id for row in uses})}
    return {int(row.id) for row in uses if row.requirement_id in said}


def await_again(use: Row[Any]) -> NewAwaitedUse:
    """Return what a case waits for that had it before: the number of the same agency."""
    return NewAwaitedUse(use.case_id, use.number, use.item, use.pointer, use.quantity, use.unit, use.agency)


def has_lost_uses(conn: Connection, case_id: int, rejected: Collection[int]) -> bool:
    """Return whether items that are not rejected have given back what they used."""
    return any(
        row.return_reason == _REJECTED and row.item not in rejected
        for row in requirement_quantities.list_uses_of_case(conn, case_id)
    )


def _lock_used(conn: Connection, uses: Iterable[Row[Any]]) -> dict[int, Row[Any]]:
    rows = requirement_quantities.lock_requirements(conn, {row.requirement_id for row in uses})
    return {row.id: row for row in rows}


def _change_used(conn: Connection, locked: dict[int, Row[Any]], use: Row[Any], quantity: Decimal) -> None:
    """Add to what is used of a locked requirement, or take from it by a negative quantity."""
    key = use.requirement_id
    requirement_quantities.set_used_quantities(
        conn, key, add_used_quantity(locked[key].used, use.unit, quantity)
    )
    locked |= {row.id: row for row in requirement_quantities.lock_requirements(conn, [key])}


def _describe_row(row: Row[Any]) -> dict[str, Any]:
    use = RequirementUse(row.item, row.number, Decimal(row.quantity), row.unit)
    return _describe_use(use, row.agency)


def make_awaited_use(case_id: int, use: RequirementUse) -> NewAwaitedUse:
    """Return what a case waits for: a quantity under a number, of any agency unless the line names one."""
    quantity, agency = f"{use.quantity:f}", use.agency or None
    return NewAwaitedUse(case_id, use.number, use.item, use.pointer, quantity, use.unit, agency)

"""Compares fees, and the payments and refunds of each, with the steps of the fee that evidence proves.

Each step of a fee has a leaf about its application. It has the digest of the terms of the fee, and that of
the payment or refund that the step has stored or changed. The state of a fee follows from its steps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection, select

from gateway.evidence.rows.row_digests import FIXED_COLUMNS, STORED
from gateway.evidence.rows.row_findings import (
    ComparedTable,
    Leaf,
    RowFindings,
    list_leaves_by_subject,
)
from gateway.state_machines import FEE
from gateway.store import FeeMovementRow, FeeRow, agency_requests, fees

_FEES: Final = "fees"
_MOVEMENTS: Final = "fee_movements"
COMPARED: Final[tuple[ComparedTable, ...]] = (
    ComparedTable(
        _FEES,
        (*FIXED_COLUMNS[_FEES], "state", "paid_at", "told_at"),
        "`fee`: each step; the state follows from all steps, `paid_at` from the payment",
    ),
    ComparedTable(_MOVEMENTS, FIXED_COLUMNS[_MOVEMENTS], "`fee`: the last step of the payment or refund"),
)
#: The events of a fee by the steps that evidence proves; the other steps change no state, or as below.
_EVENTS: Final = {
    "ordered": "order",
    "paid": "pay",
    "confirmed": "confirm",
    "cancelled": "cancel",
    "replaced": "replace",
}
#: Why a payment is given back that came for a fee that was paid before: it changes no state.
_EXCESS: Final = "paid twice"
#: The effect of such a payment, and that of a payment that counts.
_EXCESS_EFFECT: Final = "excess"
_COUNTED: Final = "counted"
#: The steps after which a refund has no row, and those that store or change one.
_DROPPED: Final = "refund_dropped"
_REFUND_STEPS: Final = frozenset({"refund_kept", _DROPPED, "refund_ordered", "refunded"})


def compare_fees(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare the fees of cases (row ids), their payments and refunds with evidence; add to `findings`."""
    requests = agency_requests.agency_requests
    of_cases = select(requests.c.id).where(requests.c.case_id.in_(ids))
    request_ids = conn.execute(of_cases).scalars().all()
    leaves: dict[str, list[Leaf]] = defaultdict(list)
    for about_request in list_leaves_by_subject(conn, "request", request_ids, findings).values():
        for leaf in about_request:
            if leaf.kind == "fee":
                leaves[leaf.data["fee"]].append(leaf)
    rows: Sequence[FeeRow] = conn.execute(
        select(fees.fees).where(fees.fees.c.request_id.in_(request_ids))
    ).all()
    chosen = fees.fee_movements.c.fee_id.in_([row.id for row in rows])
    movements: dict[int, list[FeeMovementRow]] = defaultdict(list)
    for movement in conn.execute(select(fees.fee_movements).where(chosen).order_by(fees.fee_movements.c.id)):
        movements[movement.fee_id].append(movement)
    rows_by_number = {row.number: row for row in rows}
    for number, steps in leaves.items():
        if number not in rows_by_number:
            findings.add_difference(_FEES, number, f"evidence row {steps[-1].id} (fee) has no row of it")
    for number, row in rows_by_number.items():
        findings.compared[_FEES] += 1
        if number not in leaves:
            findings.add_difference(_FEES, number, "there is no evidence of it")
        else:
            _compare_fee(row, leaves[number], movements[row.id], findings)
        _compare_movements(number, leaves.get(number, ()), movements[row.id], findings)


def _compare_fee(
    row: FeeRow, steps: Sequence[Leaf], movements: Iterable[FeeMovementRow], findings: RowFindings
) -> None:
    """Compare a fee with its steps: the terms, the state, and when it was paid."""
    # The call that tells the agency of a payment states no terms.
    stating = [leaf for leaf in steps if "amount" in leaf.data]
    before = findings.difference_count
    if stating:
        last = stating[-1]
        findings.compare_value(_FEES, row.number, "agency", row.agency, last, last.data["agency"])
        findings.compare_value(_FEES, row.number, "kind", row.kind, last, last.data["kind"])
        if not _is_outdated(last):
            stored = None if row.amount is None else f"{row.amount} {row.currency}"
            findings.compare_value(_FEES, row.number, "amount", stored, last, last.data["amount"])
    state = _derive_state(steps)
    if state is not None:
        findings.compare_value(_FEES, row.number, "state", row.state, steps[-1], state)
    counted = [each for each in movements if each.kind == "payment" and each.state == "COUNTED"]
    paid_at = counted[0].moved_at if counted else None
    if row.paid_at != paid_at:
        findings.add_difference(_FEES, row.number, f"paid_at is {row.paid_at}; its payment says {paid_at}")
    told_steps = [leaf for leaf in steps if leaf.data["step"] == "told"]
    told_at = told_steps[-1].at if told_steps else None
    if told_steps or row.told_at is not None:
        findings.compare_value(_FEES, row.number, "told_at", row.told_at, (told_steps or steps)[-1], told_at)
    with_digest = [leaf for leaf in stating if leaf.data.get(STORED)]
    if findings.difference_count == before:
        findings.compare_digest(_FEES, row.number, [row], (with_digest or steps)[-1])


def _is_outdated(leaf: Leaf) -> bool:
    """Return whether a leaf states the amount before its step: earlier versions did so of a late levy."""
    return "notice" in leaf.data and leaf.data["step"] == "levied" and STORED not in leaf.data


def _derive_state(steps: Sequence[Leaf]) -> str | None:
    """Return the state of a fee after its steps; None if a step does not fit, so that nothing follows."""
    state: str | None = FEE.initial_state
    paid_amount, refunded_amount = Decimal(0), Decimal(0)
    ordered_refunds: set[str] = set()
    for leaf in steps:
        step, event = leaf.data["step"], _EVENTS.get(leaf.data["step"])
        if step == "paid" and leaf.data["effect"] != _EXCESS_EFFECT:
            paid_amount += _read_amount(leaf.data["amount"])
        elif step == "refund_ordered" and leaf.data["by"] != _EXCESS:
            ordered_refunds.add(leaf.data["refund"])
            event = "refund"
        elif step == "refunded" and leaf.data["refund"] in ordered_refunds:
            ordered_refunds.remove(leaf.data["refund"])
            refunded_amount += _read_amount(leaf.data["given"])
        if step == "refunded" and state == "REFUNDING" and not ordered_refunds:
            event = "refunded" if refunded_amount >= paid_amount else "partly_refunded"
        if event is not None:
            state = FEE.transitions.get(state or "", {}).get(event)
    return state


def _read_amount(money: str) -> Decimal:
    return Decimal(money.partition(" ")[0])


def _compare_movements(
    fee: str, steps: Iterable[Leaf], rows: Iterable[FeeMovementRow], findings: RowFindings
) -> None:
    """Compare the payments and refunds of a fee with the last step about each of them."""
    last_steps = _find_last_steps(steps)
    rows_by_key = {f"{row.kind} {row.reference}": row for row in rows}
    for key, leaf in last_steps.items():
        if leaf.data["step"] != _DROPPED and key not in rows_by_key:
            detail = f"evidence row {leaf.id} (fee) has no row of it"
            findings.add_difference(_MOVEMENTS, f"{fee} {key}", detail)
    for key, row in rows_by_key.items():
        findings.compared[_MOVEMENTS] += 1
        last = last_steps.get(key)
        if last is None or last.data["step"] == _DROPPED:
            findings.add_difference(_MOVEMENTS, f"{fee} {key}", "there is no evidence of it")
            continue
        before = findings.difference_count
        if "effect" in last.data:
            state = "COUNTED" if last.data["effect"] == _COUNTED else "NOT_COUNTED"
            findings.compare_value(_MOVEMENTS, f"{fee} {key}", "state", row.state, last, state)
        if findings.difference_count == before:
            findings.compare_digest(_MOVEMENTS, f"{fee} {key}", [row], last)


def _find_last_steps(steps: Iterable[Leaf]) -> Mapping[str, Leaf]:
    """Return the last step about each payment and refund, by its kind and number."""
    last_steps = {}
    for leaf in steps:
        if leaf.data["step"] == "paid":
            last_steps[f"payment {leaf.data['payment']}"] = leaf
        elif leaf.data["step"] in _REFUND_STEPS:
            last_steps[f"refund {leaf.data['refund']}"] = leaf
    return last_steps

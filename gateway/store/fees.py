"""Stores fees, and the payments and refunds of each; the case of a fee is locked before it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    union,
    update,
)

from gateway.state_machines import FEE
from gateway.store import transitions
from gateway.store.deadline_tables import deadlines
from gateway.store.fee_tables import fee_movements, fees
from gateway.store.list_filters import LIST_COUNT_LIMIT
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.tables import agency_requests, cases
from gateway.store.transitions import StateEvent

__all__ = [
    "NewFee",
    "NewMovement",
    "OverdueTime",
    "apply_event",
    "build_overdue_times",
    "change_fee",
    "count_by_request",
    "count_fees",
    "drop_kept_refund",
    "end_refund",
    "find_by_id",
    "find_by_number",
    "find_movement",
    "insert_fee",
    "insert_movement",
    "list_by_case",
    "list_by_request",
    "list_fees",
    "list_movements",
    "list_movements_between",
    "rename_kept_refund",
    "take_kept_refund",
]

_OF_REQUEST: Final = select(fees).where(fees.c.request_id == bindparam("wanted")).order_by(fees.c.id)
_NUMBERED: Final = (
    select(fees, agency_requests.c.number.label("application"), cases.c.number.label("case_number"))
    .join(agency_requests, agency_requests.c.id == fees.c.request_id)
    .join(cases, cases.c.id == fees.c.case_id)
)
_DUE: Final = text("fees.state IN ('LEVIED', 'ORDERED')")
_D: Final = deadlines.c
#: A deadline of a fee has its number as cause, or that of its notice where earlier code began it.
_IS_ABOUT: Final = and_(
    _D.request_id == fees.c.request_id, _D.kind == "pay", _D.cause.in_((fees.c.number, fees.c.notice))
)
_NEW_MOVEMENT: Final = InsertIfAbsent(fee_movements, ("kind", "reference"), "id")


@dataclass(frozen=True, slots=True)
class OverdueTime:
    """A moment, and the day of the hub on which it is."""

    now: datetime
    today: date


@dataclass(frozen=True, slots=True)
class NewFee:
    """A fee of a request (row id); `amount` in plain digits, None for one that is paid elsewhere.

    `notice` is the number of the notice that levied it, `due_at` the time that this notice states.
    """

    number: str
    request_id: int
    case_id: int
    agency: str
    kind: str
    gate: str
    amount: str | None
    currency: str | None
    due_on: date | None
    payment_notice: str
    refundable: bool
    levied_at: datetime
    due_at: datetime | None = None
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class NewMovement:
    """Money of a fee (row id) that was paid, or that is to be given back."""

    fee_id: int
    kind: str
    reference: str
    state: str
    amount: str
    currency: str
    reason: str
    at: datetime
    payment: str | None = None
    moved_at: datetime | None = None


def insert_fee(conn: Connection, new: NewFee) -> int:
    """Store a fee that is levied; return its row id."""
    done = conn.execute(insert(fees).values(**asdict(new), state=FEE.initial))
    found = done.inserted_primary_key
    assert found is not None
    return int(found[0])


def apply_event(conn: Connection, fee: int, what: StateEvent, **values: Any) -> str:
    """Apply an event to a fee, set `values`, record the transition; return the new state."""
    return transitions.apply_event(conn, fees, FEE, fee, what, **values)


def change_fee(conn: Connection, fee: int, **values: Any) -> None:
    """Set values of a fee that change no state."""
    conn.execute(update(fees).where(fees.c.id == fee).values(**values))


def find_by_id(conn: Connection, fee: int) -> Row[Any] | None:
    """Return the fee of this row id."""
    return conn.execute(select(fees).where(fees.c.id == fee)).first()


def find_by_number(conn: Connection, number: str) -> Row[Any] | None:
    """Return the fee of this number."""
    return conn.execute(select(fees).where(fees.c.number == number)).first()


def list_by_request(conn: Connection, request: int) -> Sequence[Row[Any]]:
    """Return the fees of a request, oldest first."""
    return conn.execute(_OF_REQUEST, {"wanted": request}).all()


def count_by_request(conn: Connection, request: int) -> int:
    """Return how many fees a request has, in whatever state."""
    found = select(func.count()).select_from(fees).where(fees.c.request_id == request)
    return int(conn.execute(found).scalar_one())


def list_fees(
    conn: Connection,
    *,
    limit: int = 50,
    before: int | None = None,
    number: str | None = None,
    state: str | None = None,
    overdue: OverdueTime | None = None,
) -> Sequence[Row[Any]]:
    """Return fees with the numbers of application and case, newest first, with a row id below `before`.

    With `overdue` only those that are not paid, and whose deadline has passed.
    """
    found = _NUMBERED.order_by(fees.c.id.desc()).limit(limit)
    if number is not None:
        found = found.where(fees.c.number == number)
    if state is not None:
        found = found.where(fees.c.state == state)
    if overdue is not None:
        found = found.where(_is_overdue(overdue))
    return conn.execute(found.where(fees.c.id < before) if before else found).all()


def list_by_case(conn: Connection, case: int) -> Sequence[Row[Any]]:
    """Return the fees of a case with the numbers of application and case, oldest first."""
    found = _NUMBERED.where(agency_requests.c.case_id == case)
    return conn.execute(found.order_by(fees.c.id)).all()


def _is_overdue(at: OverdueTime) -> ColumnElement[bool]:
    """Return the condition that a fee is due and its deadline has passed, each part by an index of its own.

    The deadline is OVERDUE, or the clockwork has not looked at it yet. A fee that never had a deadline with
    a known time goes by its last day.
    """
    # One that has ended is in another state, and nobody has to look at it.
    told = _by_deadline(_D.state == "OVERDUE")
    passed = _by_deadline(_D.next_at < at.now, _D.due_at < at.now)
    known = select(_D.id).where(_D.case_id == fees.c.case_id, _IS_ABOUT, _D.due_at.is_not(None))
    unknown = select(fees.c.id).where(fees.c.due_on < at.today, _DUE, ~known.exists())
    return fees.c.id.in_(union(told, passed, unknown))


def _by_deadline(*wanted: ColumnElement[bool]) -> Select[tuple[int]]:
    """Return the fees that are due and whose deadline is as wanted."""
    return select(fees.c.id).join(deadlines, _IS_ABOUT).where(*wanted, _DUE)


def build_overdue_times(agency: str, now: datetime) -> Select[tuple[int, datetime]]:
    """Return the applications (row ids) of an agency that owe a fee whose deadline has passed, and that time.

    Of several fees it is the first one. A fee whose deadline has no known time is not among them.
    """
    each = select(fees.c.request_id, _D.due_at).join(deadlines, _IS_ABOUT)
    each = each.where(fees.c.agency == agency, _DUE, _D.due_at < now)
    passed = union(each.where(_D.state == "OVERDUE"), each.where(_D.next_at < now)).subquery()
    return select(passed.c.request_id, func.min(passed.c.due_at)).group_by(passed.c.request_id)


def count_fees(
    conn: Connection, *, before: int, state: str | None = None, overdue: OverdueTime | None = None
) -> int:
    """Return how many fees of `list_fees` have a row id below `before`, counted up to LIST_COUNT_LIMIT."""
    rest = select(fees.c.id).where(fees.c.id < before).limit(LIST_COUNT_LIMIT)
    if state is not None:
        rest = rest.where(fees.c.state == state)
    if overdue is not None:
        rest = rest.where(_is_overdue(overdue))
    return int(conn.execute(select(func.count()).select_from(rest.subquery())).scalar_one())


def insert_movement(conn: Connection, new: NewMovement) -> bool:
    """Store a payment or refund; return False when its kind and reference are stored already."""
    row = asdict(new) | {"provider_reference": None}
    return _NEW_MOVEMENT.insert_one(conn, row) is not None


def find_movement(conn: Connection, kind: str, reference: str) -> Row[Any] | None:
    """Return the payment or refund with this reference."""
    one = (fee_movements.c.kind == kind, fee_movements.c.reference == reference)
    return conn.execute(select(fee_movements).where(*one)).first()


def take_kept_refund(conn: Connection, movement: int, payment: str) -> None:
    """Let a refund (row id) that was kept be ordered of a payment (its reference)."""
    one = update(fee_movements).where(fee_movements.c.id == movement)
    conn.execute(one.values(state="ORDERED", payment=payment))


def rename_kept_refund(conn: Connection, movement: int, reason: str) -> None:
    """Let a refund (row id) that is kept have another reason."""
    one = update(fee_movements).where(fee_movements.c.id == movement)
    conn.execute(one.values(reason=reason))


def drop_kept_refund(conn: Connection, movement: int) -> None:
    """Remove a refund (row id) that was kept and is about another fee; one that was ordered stays."""
    m = fee_movements.c
    conn.execute(delete(fee_movements).where(m.id == movement, m.state == "NOT_COUNTED", m.kind == "refund"))


def end_refund(conn: Connection, reference: str, provider_reference: str, at: datetime) -> bool:
    """Store that the provider has given money back; return False when it is stored already."""
    m = fee_movements.c
    done = conn.execute(
        update(fee_movements)
        .where(m.kind == "refund", m.reference == reference, m.state == "ORDERED")
        .values(state="DONE", provider_reference=provider_reference, moved_at=at)
    )
    return done.rowcount == 1


def list_movements(conn: Connection, fee: int) -> Sequence[Row[Any]]:
    """Return the payments and refunds of a fee, oldest first."""
    found = select(fee_movements).where(fee_movements.c.fee_id == fee)
    return conn.execute(found.order_by(fee_movements.c.id)).all()


def list_movements_between(conn: Connection, since: datetime, until: datetime) -> Sequence[Row[Any]]:
    """Return payments, and refunds that are done, between two times, with the number of the fee."""
    moved = fee_movements.c.moved_at
    found = (
        select(fee_movements, fees.c.number.label("fee_number"))
        .join(fees, fees.c.id == fee_movements.c.fee_id)
        .where(moved >= since, moved < until)
        .order_by(moved, fee_movements.c.id)
    )
    return conn.execute(found).all()

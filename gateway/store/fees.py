"""Stores fees, and the payments and refunds of each; the case of a fee is locked before it changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Date,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    select,
    update,
)

from gateway.state_machines import FEE
from gateway.store import transitions
from gateway.store.prepared_statements import InsertIfAbsent, insert_row
from gateway.store.table_types import (
    CODE_TEXT,
    NUMBER_TEXT,
    Instant,
    PartialIndex,
    make_identity_column,
    make_required_column,
    make_state_constraint,
    metadata,
)
from gateway.store.transitions import StateEvent

# A fee that is due; written out, so that both databases know their index by it.
_DUE = "state IN ('LEVIED', 'ORDERED')"

# A fee of an application. `number` is ours: the key of its order at the payment provider. A fee without an
# amount is paid elsewhere, and its agency confirms it.
fees = Table(
    "fees",
    metadata,
    make_identity_column(),
    make_required_column("number", NUMBER_TEXT),
    make_required_column("request_id", BigInteger, ForeignKey("agency_requests.id")),
    make_required_column("case_id", BigInteger, ForeignKey("cases.id")),
    make_required_column("agency"),
    make_required_column("kind"),
    make_required_column("gate"),
    make_required_column("state"),
    Column("amount", Text),  # plain digits, as many decimals as the currency has
    Column("currency", Text),
    Column("due_on", Date),
    Column("due_at", Instant),  # the time in the notice that levied it, where that states one
    Column("notice", Text),  # number of the notice that levied it
    make_required_column("payment_notice"),
    make_required_column("refundable", Boolean),
    make_required_column("levied_at", Instant),
    Column("ended_at", Instant),  # issue time of the notice that cancelled or confirmed it
    Column("ended_by", Text),  # number of that notice; NULL for an end by an operator or the hub
    Column("address", Text),
    Column("ordered_at", Instant),
    Column("paid_at", Instant),
    Column("told_at", Instant),  # when the agency took the call that it was paid
    UniqueConstraint("number"),
    CheckConstraint("gate IN ('forwarding', 'result')", name="gate"),
    make_state_constraint(FEE.states),
    Index("ix_fees_request_id", "request_id", "id"),
    PartialIndex("ix_fees_due", "due_on", "id", where=_DUE),
)


class FeeRow(Protocol):
    """A row of the table `fees`."""

    id: int
    number: str
    request_id: int
    case_id: int
    agency: str
    kind: str
    gate: str
    state: str
    amount: str | None
    currency: str | None
    due_on: date | None
    due_at: datetime | None
    notice: str | None
    payment_notice: str
    refundable: bool
    levied_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    address: str | None
    ordered_at: datetime | None
    paid_at: datetime | None
    told_at: datetime | None


# Money that moved at the payment provider. `reference` is the provider's number of it, or ours of a refund
# that is not done yet.
fee_movements = Table(
    "fee_movements",
    metadata,
    make_identity_column(),
    make_required_column("fee_id", BigInteger, ForeignKey("fees.id")),
    make_required_column("kind", CODE_TEXT),
    make_required_column("reference", NUMBER_TEXT),
    make_required_column("state"),
    make_required_column("amount"),
    make_required_column("currency"),
    make_required_column("reason"),
    make_required_column("at", Instant),
    Column("payment", Text),  # of a refund: the payment that is given back
    Column("provider_reference", Text),  # of a refund that is done: the provider's number
    Column("moved_at", Instant),  # by the provider's clock; empty: the refund is not done yet
    UniqueConstraint("kind", "reference"),
    CheckConstraint("kind IN ('payment', 'refund')", name="kind"),
    CheckConstraint("state IN ('COUNTED', 'NOT_COUNTED', 'ORDERED', 'DONE')", name="state"),
    Index("ix_fee_movements_fee_id", "fee_id", "id"),
    Index("ix_fee_movements_moved", "moved_at", "id"),
)


class FeeMovementRow(Protocol):
    """A row of the table `fee_movements`."""

    id: int
    fee_id: int
    kind: str
    reference: str
    state: str
    amount: str
    currency: str
    reason: str
    at: datetime
    payment: str | None
    provider_reference: str | None
    moved_at: datetime | None


_OF_REQUEST: Final = select(fees).where(fees.c.request_id == bindparam("wanted")).order_by(fees.c.id)
_NEW_MOVEMENT: Final = InsertIfAbsent(fee_movements, ("kind", "reference"), "id")


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
    provider_reference: str | None = None


def insert_fee(conn: Connection, new: NewFee) -> int:
    """Store a fee that is levied; return its row id."""
    return insert_row(conn, fees, asdict(new) | {"state": FEE.initial_state})


def apply_event(conn: Connection, fee: int, event: StateEvent, **values: Any) -> str:
    """Apply an event to a fee, set `values`, record the transition; return the new state."""
    return transitions.apply_event(conn, fees, FEE, fee, event, **values)


def change_fee(conn: Connection, fee: int, **values: Any) -> None:
    """Set values of a fee that change no state."""
    conn.execute(update(fees).where(fees.c.id == fee).values(**values))


def find_by_id(conn: Connection, fee: int) -> FeeRow | None:
    """Return the fee of this row id."""
    return conn.execute(select(fees).where(fees.c.id == fee)).first()


def find_by_number(conn: Connection, number: str) -> FeeRow | None:
    """Return the fee of this number."""
    return conn.execute(select(fees).where(fees.c.number == number)).first()


def list_by_request(conn: Connection, request: int) -> Sequence[FeeRow]:
    """Return the fees of a request, oldest first."""
    return conn.execute(_OF_REQUEST, {"wanted": request}).all()


def list_open(conn: Connection, request_ids: Collection[int]) -> Sequence[FeeRow]:
    """Return the fees of these requests that are due, oldest first."""
    is_open = fees.c.state.in_(("LEVIED", "ORDERED"))
    query = select(fees).where(fees.c.request_id.in_(request_ids), is_open)
    return conn.execute(query.order_by(fees.c.id)).all()


def count_by_request(conn: Connection, request: int) -> int:
    """Return the number of fees of a request, in any state."""
    query = select(func.count()).select_from(fees).where(fees.c.request_id == request)
    return int(conn.execute(query).scalar_one())


def insert_movement(conn: Connection, new: NewMovement) -> bool:
    """Store a payment or refund; return False when its kind and reference are stored already."""
    return _NEW_MOVEMENT.insert_one(conn, asdict(new)) is not None


def find_movement(conn: Connection, kind: str, reference: str) -> FeeMovementRow | None:
    """Return the payment or refund with this reference."""
    conditions = (fee_movements.c.kind == kind, fee_movements.c.reference == reference)
    return conn.execute(select(fee_movements).where(*conditions)).first()


def mark_kept_refund_ordered(conn: Connection, movement_id: int, payment: str) -> None:
    """Mark a kept refund (row id) as ordered, from the payment with this reference."""
    statement = update(fee_movements).where(fee_movements.c.id == movement_id)
    conn.execute(statement.values(state="ORDERED", payment=payment))


def rename_kept_refund(conn: Connection, movement_id: int, reason: str) -> None:
    """Set the reason of a kept refund (row id), which is not ordered yet."""
    statement = update(fee_movements).where(fee_movements.c.id == movement_id)
    conn.execute(statement.values(reason=reason))


def drop_kept_refund(conn: Connection, movement_id: int) -> None:
    """Remove a kept refund (row id) that belongs to another fee; an ordered refund stays."""
    m = fee_movements.c
    conn.execute(
        delete(fee_movements).where(m.id == movement_id, m.state == "NOT_COUNTED", m.kind == "refund")
    )


def end_refund(conn: Connection, reference: str, provider_reference: str, at: datetime) -> bool:
    """Store that the provider has given money back; return False when it is stored already."""
    m = fee_movements.c
    updated = conn.execute(
        update(fee_movements)
        .where(m.kind == "refund", m.reference == reference, m.state == "ORDERED")
        .values(state="DONE", provider_reference=provider_reference, moved_at=at)
    )
    return updated.rowcount == 1


def list_movements(conn: Connection, fee: int) -> Sequence[FeeMovementRow]:
    """Return the payments and refunds of a fee, oldest first."""
    query = select(fee_movements).where(fee_movements.c.fee_id == fee)
    return conn.execute(query.order_by(fee_movements.c.id)).all()


class MovementOfFeeRow(FeeMovementRow, Protocol):
    """A payment or a refund, with the number of its fee."""

    fee_number: str


def list_movements_between(conn: Connection, since: datetime, until: datetime) -> Sequence[MovementOfFeeRow]:
    """Return payments, and refunds that are done, between two times, with the number of the fee."""
    moved = fee_movements.c.moved_at
    query = (
        select(fee_movements, fees.c.number.label("fee_number"))
        .join(fees, fees.c.id == fee_movements.c.fee_id)
        .where(moved >= since, moved < until)
        .order_by(moved, fee_movements.c.id)
    )
    return conn.execute(query).all()

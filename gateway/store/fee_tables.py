"""The tables of fees: what agencies and the hub levy, and what was paid and given back of it."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.state_machines import FEE
from gateway.store.column_types import Instant
from gateway.store.table_types import (
    PartialIndex,
    make_identity_column,
    make_required_column,
    make_state_constraint,
    metadata,
)

__all__ = ["fee_movements", "fees"]

# A fee that is due; written out, so that both databases know their index by it.
_DUE = "state IN ('LEVIED', 'ORDERED')"

# A fee of an application. `number` is ours: the key of its order at the payment provider. A fee without an
# amount is paid elsewhere, and its agency confirms it.
fees = Table(
    "fees",
    metadata,
    make_identity_column(),
    make_required_column("number"),
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
    Column("ended_by", Text),  # number of that notice; NULL for what an operator or the hub has ended
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

# Money that moved at the payment provider. `reference` is the provider's number of it, or ours of a refund
# that is not done yet.
fee_movements = Table(
    "fee_movements",
    metadata,
    make_identity_column(),
    make_required_column("fee_id", BigInteger, ForeignKey("fees.id")),
    make_required_column("kind"),
    make_required_column("reference"),
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

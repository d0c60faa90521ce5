"""Stores agreements as loaded, the P-Modes read from them, and rules for messages to other handlers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    delete,
    insert,
    or_,
    select,
    type_coerce,
    update,
)

from gateway.errors import AGREEMENT_UNKNOWN, GatewayError
from gateway.store.payloads import compute_sha256
from gateway.store.prepared_statements import InsertIfAbsent, insert_row
from gateway.store.register_version import increment_register_version
from gateway.store.table_types import (
    ID_TEXT,
    IndexedText,
    Instant,
    Json,
    make_identity_column,
    make_required_column,
    metadata,
)
from gateway.store.transitions import note_changed_row

agreements = Table(
    "agreements",
    metadata,
    Column("id", ID_TEXT, primary_key=True),
    make_required_column("kind"),
    make_required_column("source", LargeBinary),
    make_required_column("sha256"),
    Column("valid_from", Instant),
    Column("valid_until", Instant),
    make_required_column("status"),
    make_required_column("loaded_at", Instant),
    make_required_column("loaded_by"),
    Column("overrides", Json),
    Column("successors", Json),
    CheckConstraint("status IN ('ACTIVE', 'SUSPENDED', 'RETIRED')", name="status"),
    CheckConstraint("kind IN ('cpa', 'pmode')", name="kind"),
)


class AgreementRow(Protocol):
    """A row of the table `agreements`; `overrides` and `successors` are JSON texts, which are not parsed."""

    id: str
    kind: str
    source: bytes
    sha256: str
    valid_from: datetime | None
    valid_until: datetime | None
    status: str
    loaded_at: datetime
    loaded_by: str
    overrides: str | None
    successors: str | None


# Two of an agreement for the same messages are refused when it is read; some differ by their parameters.
pmodes = Table(
    "pmodes",
    metadata,
    Column("agreement_id", ID_TEXT, ForeignKey("agreements.id"), primary_key=True),
    Column("id", ID_TEXT, primary_key=True),
    make_required_column("protocol"),
    make_required_column("from_party", ID_TEXT),
    Column("from_role", Text),
    make_required_column("to_party", ID_TEXT),
    Column("to_role", Text),
    make_required_column("service"),
    make_required_column("action"),
    make_required_column("parameters", Json),
    Index("ix_pmodes_parties", "from_party", "to_party"),
)


class PModeTextRow(Protocol):
    """A P-Mode; `parameters` is a JSON text, which is not parsed: another version may have written it."""

    agreement_id: str
    id: str
    parameters: str


_INSERT_AGREEMENT = InsertIfAbsent(agreements, ("id",), "id")


@dataclass(frozen=True, slots=True)
class NewPMode:
    """One P-Mode of an agreement; `parameters` is the complete P-Mode as JSON."""

    id: str
    protocol: str
    from_party: str
    to_party: str
    service: str
    action: str
    parameters: Mapping[str, Any]
    from_role: str | None = None
    to_role: str | None = None


@dataclass(frozen=True, slots=True)
class NewAgreement:
    """An agreement to be loaded; `source` is the content of its file."""

    id: str
    kind: str
    source: bytes
    valid_from: datetime | None = None
    valid_until: datetime | None = None


def activate_agreement(
    conn: Connection, agreement: NewAgreement, new_pmodes: Sequence[NewPMode], at: datetime, loaded_by: str
) -> None:
    """Activate the agreement with its P-Modes, replacing an earlier one of the same id."""
    values = asdict(agreement) | {
        "sha256": compute_sha256(agreement.source),
        "status": "ACTIVE",
        "loaded_at": at,
        "loaded_by": loaded_by,
    }
    if _INSERT_AGREEMENT.insert_one(conn, values) is None:
        conn.execute(update(agreements).where(agreements.c.id == agreement.id).values(**values))
        conn.execute(delete(pmodes).where(pmodes.c.agreement_id == agreement.id))
    rows = [asdict(mode) | {"agreement_id": agreement.id} for mode in new_pmodes]
    if rows:
        conn.execute(insert(pmodes), rows)
    note_changed_row(conn, "agreements", agreement.id)
    note_changed_row(conn, "pmodes", agreement.id)
    increment_register_version(conn)


def set_agreement_status(conn: Connection, agreement: str, status: str) -> None:
    """Make an agreement ACTIVE, SUSPENDED or RETIRED."""
    changed = conn.execute(update(agreements).where(agreements.c.id == agreement).values(status=status))
    if changed.rowcount != 1:
        raise GatewayError(AGREEMENT_UNKNOWN, f"no agreement is loaded as {agreement[:80]}")
    note_changed_row(conn, "agreements", agreement)
    increment_register_version(conn)


def set_successors(conn: Connection, agreement: str, successors: Sequence[Mapping[str, Any]]) -> None:
    """Store the later versions of an agreement; those that it had are replaced."""
    values = {"successors": list(successors) or None}
    conn.execute(update(agreements).where(agreements.c.id == agreement).values(**values))
    note_changed_row(conn, "agreements", agreement)
    increment_register_version(conn)


def set_overrides(conn: Connection, agreement: str, overrides: Sequence[Mapping[str, Any]]) -> None:
    """Store the overrides of an agreement beside its document; those that it had are replaced."""
    values = {"overrides": list(overrides) or None}
    conn.execute(update(agreements).where(agreements.c.id == agreement).values(**values))
    note_changed_row(conn, "agreements", agreement)
    increment_register_version(conn)


def _select_text(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column of JSON values as text."""
    return type_coerce(column, Text).label(column.name)


_AGREEMENT_TEXTS: Final = (_select_text(agreements.c.overrides), _select_text(agreements.c.successors))
_PMODE_TEXT: Final[tuple[ColumnElement[Any], ...]] = (
    pmodes.c.agreement_id,
    pmodes.c.id,
    _select_text(pmodes.c.parameters),
)


def find_agreement(conn: Connection, agreement: str) -> AgreementRow | None:
    """Return the agreement, with its source."""
    columns = [column for column in agreements.c if column.name not in ("overrides", "successors")]
    query = select(*columns, *_AGREEMENT_TEXTS).where(agreements.c.id == agreement)
    return conn.execute(query).first()


class ActivePModeRow(PModeTextRow, Protocol):
    """A P-Mode, with overrides and successors of its agreement as JSON texts."""

    overrides: str | None
    successors: str | None


def list_active_pmodes(conn: Connection, parties: Collection[str]) -> Sequence[ActivePModeRow]:
    """Return the P-Modes of active agreements between parties with their overrides.

    `parties` are all identifiers of these parties; the columns of a P-Mode have the first identifier of its
    sender and of its receiver. Each row states the period in which it is valid.
    """
    query = (
        select(*_PMODE_TEXT, *_AGREEMENT_TEXTS)
        .join(agreements)
        .where(agreements.c.status == "ACTIVE")
        .where(pmodes.c.from_party.in_(parties), pmodes.c.to_party.in_(parties))
    )
    return conn.execute(query.order_by(pmodes.c.agreement_id, pmodes.c.id)).all()


def list_active_pmode_texts(conn: Connection) -> Sequence[PModeTextRow]:
    """Return the P-Modes of active agreements."""
    query = select(*_PMODE_TEXT).join(agreements).where(agreements.c.status == "ACTIVE")
    return conn.execute(query.order_by(pmodes.c.agreement_id, pmodes.c.id)).all()


class ChangedAgreementRow(Protocol):
    """An agreement that has overrides or successors, as JSON texts."""

    id: str
    overrides: str | None
    successors: str | None


def list_changed_agreements(conn: Connection) -> Sequence[ChangedAgreementRow]:
    """Return id, overrides and successors of the active agreements that have either."""
    changed = or_(agreements.c.overrides.is_not(None), agreements.c.successors.is_not(None))
    query = select(agreements.c.id, *_AGREEMENT_TEXTS)
    return conn.execute(query.where(agreements.c.status == "ACTIVE", changed)).all()


def list_agreement_pmodes(conn: Connection, agreement: str) -> Sequence[PModeTextRow]:
    """Return the P-Modes of an agreement."""
    query = select(*_PMODE_TEXT).where(pmodes.c.agreement_id == agreement)
    return conn.execute(query.order_by(pmodes.c.agreement_id, pmodes.c.id)).all()


# A rule for any service or action has an empty text there, so that the constraint finds two such rules.
forwarding_rules = Table(
    "forwarding_rules",
    metadata,
    make_identity_column(),
    make_required_column("to_value", IndexedText(640)),
    make_required_column("to_type", IndexedText(640)),
    make_required_column("service", IndexedText(640)),
    make_required_column("action", IndexedText(640)),
    make_required_column("next_party", Text, ForeignKey("parties.id")),
    make_required_column("endpoint"),
    make_required_column("senders", Json),
    make_required_column("acknowledgment"),
    make_required_column("sync_reply"),
    make_required_column("retries", Integer),
    make_required_column("retry_interval", Integer),
    make_required_column("created_at", Instant),
    UniqueConstraint("to_value", "to_type", "service", "action"),
)


class ForwardingRuleRow(Protocol):
    """A row of the table `forwarding_rules`."""

    id: int
    to_value: str
    to_type: str
    service: str
    action: str
    next_party: str
    endpoint: str
    senders: Any
    acknowledgment: str
    sync_reply: str
    retries: int
    retry_interval: int
    created_at: datetime


_RULE_KEY: Final = ("to_value", "to_type", "service", "action")


def insert_forwarding_rule(conn: Connection, values: Mapping[str, Any], at: datetime) -> int | None:
    """Store a rule, given by its columns; return its number.

    Return None when there is a rule for the same messages already.
    """
    same = [forwarding_rules.c[name] == values[name] for name in _RULE_KEY]
    if conn.execute(select(forwarding_rules.c.id).where(*same)).first() is not None:
        return None
    rule_id = insert_row(conn, forwarding_rules, {**values, "created_at": at})
    note_changed_row(conn, "forwarding_rules", rule_id)
    increment_register_version(conn)
    return rule_id


def remove_forwarding_rule(conn: Connection, rule_id: int) -> bool:
    """Remove a rule; return False when there is none of this number."""
    deleted = conn.execute(delete(forwarding_rules).where(forwarding_rules.c.id == rule_id))
    note_changed_row(conn, "forwarding_rules", rule_id)
    increment_register_version(conn)
    return deleted.rowcount == 1


def find_forwarding_rule(conn: Connection, rule_id: int) -> ForwardingRuleRow | None:
    """Return the rule of this number."""
    return conn.execute(select(forwarding_rules).where(forwarding_rules.c.id == rule_id)).first()


def list_forwarding_rules(conn: Connection) -> Sequence[ForwardingRuleRow]:
    """Return every rule, oldest first."""
    return conn.execute(select(forwarding_rules).order_by(forwarding_rules.c.id)).all()

"""Stores agreements as loaded, and the P-Modes read from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Text, delete, insert, or_, select, type_coerce, update

from gateway.errors import AGREEMENT_UNKNOWN, GatewayError
from gateway.store.payloads import compute_sha256
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.register_version import increment_register_version
from gateway.store.tables import agreements, pmodes

__all__ = [
    "NewAgreement",
    "NewPMode",
    "activate_agreement",
    "find_agreement",
    "list_active_pmode_texts",
    "list_active_pmodes",
    "list_agreement_pmodes",
    "list_agreements",
    "list_changed_agreements",
    "list_pmodes_in_force",
    "set_agreement_status",
    "set_overrides",
    "set_successors",
]

_INSERT = InsertIfAbsent(agreements, ("id",), "id")


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
    conn: Connection, agreement: NewAgreement, modes: Sequence[NewPMode], at: datetime, by: str
) -> None:
    """Activate the agreement with its P-Modes, replacing an earlier one of the same id."""
    values = asdict(agreement) | {
        "sha256": compute_sha256(agreement.source),
        "status": "ACTIVE",
        "loaded_at": at,
        "loaded_by": by,
    }
    if _INSERT.insert_one(conn, values) is None:
        conn.execute(update(agreements).where(agreements.c.id == agreement.id).values(**values))
        conn.execute(delete(pmodes).where(pmodes.c.agreement_id == agreement.id))
    rows = [asdict(mode) | {"agreement_id": agreement.id} for mode in modes]
    if rows:
        conn.execute(insert(pmodes), rows)
    increment_register_version(conn)


def set_agreement_status(conn: Connection, agreement: str, status: str) -> None:
    """Make an agreement ACTIVE, SUSPENDED or RETIRED."""
    changed = conn.execute(update(agreements).where(agreements.c.id == agreement).values(status=status))
    if changed.rowcount != 1:
        raise GatewayError(AGREEMENT_UNKNOWN, f"no agreement is loaded as {agreement[:80]}")
    increment_register_version(conn)


def set_successors(conn: Connection, agreement: str, successors: Sequence[Mapping[str, Any]]) -> None:
    """Store the later versions of an agreement; those that it had are replaced."""
    values = {"successors": list(successors) or None}
    conn.execute(update(agreements).where(agreements.c.id == agreement).values(**values))
    increment_register_version(conn)


def set_overrides(conn: Connection, agreement: str, overrides: Sequence[Mapping[str, Any]]) -> None:
    """Store the overrides of an agreement beside its document; those that it had are replaced."""
    values = {"overrides": list(overrides) or None}
    conn.execute(update(agreements).where(agreements.c.id == agreement).values(**values))
    increment_register_version(conn)


def find_agreement(conn: Connection, agreement: str) -> Row[Any] | None:
    """Return the agreement, with its source."""
    return conn.execute(select(agreements).where(agreements.c.id == agreement)).first()


def list_agreements(conn: Connection) -> Sequence[Row[Any]]:
    """Return every agreement, without its source."""
    columns = [column for column in agreements.c if column is not agreements.c.source]
    return conn.execute(select(*columns).order_by(agreements.c.id)).all()


def list_pmodes_in_force(conn: Connection, at: datetime) -> Sequence[Row[Any]]:
    """Return the P-Modes of the active agreements that are valid at a given time."""
    begun = or_(agreements.c.valid_from.is_(None), agreements.c.valid_from <= at)
    going = or_(agreements.c.valid_until.is_(None), agreements.c.valid_until > at)
    found = select(pmodes).join(agreements).where(agreements.c.status == "ACTIVE", begun, going)
    return conn.execute(found.order_by(pmodes.c.agreement_id, pmodes.c.id)).all()


def list_active_pmodes(conn: Connection, parties: Collection[str]) -> Sequence[Row[Any]]:
    """Return the P-Modes of active agreements between parties with their overrides.

    `parties` are the identifiers of all of them, of which a P-Mode has its first ones as columns. Each
    row states its own validity.
    """
    found = (
        select(pmodes, agreements.c.overrides, agreements.c.successors)
        .join(agreements)
        .where(agreements.c.status == "ACTIVE")
        .where(pmodes.c.from_party.in_(parties), pmodes.c.to_party.in_(parties))
    )
    return conn.execute(found.order_by(pmodes.c.agreement_id, pmodes.c.id)).all()


def list_active_pmode_texts(conn: Connection) -> Sequence[Row[Any]]:
    """Return agreement, id and `parameters` of the P-Modes of active agreements, as text: none is parsed."""
    text = type_coerce(pmodes.c.parameters, Text).label("parameters")
    columns: list[ColumnElement[Any]] = [pmodes.c.agreement_id, pmodes.c.id, text]
    found = select(*columns).join(agreements).where(agreements.c.status == "ACTIVE")
    return conn.execute(found.order_by(pmodes.c.agreement_id, pmodes.c.id)).all()


def list_changed_agreements(conn: Connection) -> Sequence[Row[Any]]:
    """Return id, overrides and successors of the active agreements that have either."""
    columns: list[ColumnElement[Any]] = [agreements.c.id, agreements.c.overrides, agreements.c.successors]
    changed = or_(agreements.c.overrides.is_not(None), agreements.c.successors.is_not(None))
    return conn.execute(select(*columns).where(agreements.c.status == "ACTIVE", changed)).all()


def list_agreement_pmodes(conn: Connection, agreement: str) -> Sequence[Row[Any]]:
    """Return the P-Modes of an agreement."""
    found = select(pmodes).where(pmodes.c.agreement_id == agreement)
    return conn.execute(found.order_by(pmodes.c.agreement_id, pmodes.c.id)).all()

"""Stores the register: parties, their identifiers and certificates, and mandates to act for another party.

Every change of trust raises the epoch in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    bindparam,
    or_,
    select,
    update,
)

from gateway.errors import PARTY_UNKNOWN, SIGNER_MISMATCH, GatewayError
from gateway.message_model import PartyId
from gateway.store.prepared_statements import InsertIfAbsent, insert_row
from gateway.store.register_version import increment_register_version
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    NAME_TEXT,
    NUMBER_TEXT,
    Instant,
    make_identity_column,
    make_required_column,
    metadata,
)
from gateway.store.transitions import note_changed_row

parties = Table(
    "parties",
    metadata,
    Column("id", NAME_TEXT, primary_key=True),
    make_required_column("name"),
    make_required_column("role"),
    make_required_column("status"),
    make_required_column("created_at", Instant),
    CheckConstraint("status IN ('ACTIVE', 'SUSPENDED', 'RETIRED')", name="status"),
)


class PartyRow(Protocol):
    """A row of the table `parties`."""

    id: str
    name: str
    role: str
    status: str
    created_at: datetime


party_ids = Table(
    "party_ids",
    metadata,
    Column("type", ID_TEXT, primary_key=True),  # empty where the PartyId has no type
    Column("value", ID_TEXT, primary_key=True),
    make_required_column("party_id", Text, ForeignKey("parties.id")),
)

certificates = Table(
    "certificates",
    metadata,
    Column("sha256", CODE_TEXT, primary_key=True),
    Column("use", CODE_TEXT, primary_key=True),
    make_required_column("party_id", NAME_TEXT, ForeignKey("parties.id")),
    make_required_column("subject"),
    make_required_column("issuer"),
    make_required_column("serial"),
    make_required_column("not_before", Instant),
    make_required_column("not_after", Instant),
    make_required_column("status"),
    make_required_column("der", LargeBinary),
    make_required_column("added_at", Instant),
    # Our own bounds within the certificate's validity, start inclusive, end exclusive: for a key change.
    Column("valid_from", Instant),
    Column("valid_until", Instant),
    CheckConstraint("use IN ('signing', 'encryption', 'tls')", name="use"),
    CheckConstraint("status IN ('ACTIVE', 'RETIRED')", name="status"),
    Index("ix_certificates_party_id", "party_id"),
)


class CertificateRow(Protocol):
    """A row of the table `certificates`."""

    sha256: str
    use: str
    party_id: str
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    status: str
    der: bytes
    added_at: datetime
    valid_from: datetime | None
    valid_until: datetime | None


_INSERT = InsertIfAbsent(parties, ("id",), "id")
_INSERT_ID = InsertIfAbsent(party_ids, ("type", "value"), "value")
_INSERT_CERTIFICATE = InsertIfAbsent(certificates, ("sha256", "use"), "sha256")
_GET = select(parties).where(parties.c.id == bindparam("wanted"))
_BY_ID = (
    select(parties)
    .join(party_ids)
    .where(party_ids.c.type == bindparam("id_type"), party_ids.c.value == bindparam("id_value"))
)


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """A certificate to be assigned to a party, as parsed.

    It may be used from `valid_from` on and before `valid_until`, where these are given, within its
    own validity period.
    """

    sha256: str
    use: str
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    der: bytes
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    @property
    def usage_bounds(self) -> dict[str, datetime | None]:
        """Return the two bounds where one is given, else an empty dict."""
        bounds = {"valid_from": self.valid_from, "valid_until": self.valid_until}
        return bounds if any(bounds.values()) else {}


def register_party(
    conn: Connection, party_id: str, name: str, role: str, at: datetime, ids: Sequence[PartyId] = ()
) -> bool:
    """Register a party with its identifiers; return False when it was registered already (ids are added)."""
    row = {"id": party_id, "name": name, "role": role, "status": "ACTIVE", "created_at": at}
    is_new = _INSERT.insert_one(conn, row) is not None
    if is_new:
        note_changed_row(conn, "parties", party_id)
    for identifier in ids:
        add_identifier(conn, party_id, identifier)
    increment_register_version(conn)
    return is_new


def add_identifier(conn: Connection, party: str, identifier: PartyId) -> None:
    """Add an identifier to a party; raises GW302 when it belongs to another party."""
    row = {"type": identifier.type or "", "value": identifier.value, "party_id": _require_party(conn, party)}
    if _INSERT_ID.insert_one(conn, row) is None:
        owner = find_by_identifier(conn, identifier)
        if owner is None or owner.id != party:
            detail = f"identifier {identifier.value[:80]} belongs to another party"
            raise GatewayError(PARTY_UNKNOWN, detail, f"party {party[:40]}")
    else:
        note_changed_row(conn, "party_ids", party)
    increment_register_version(conn)


def add_certificate(conn: Connection, party: str, certificate: NewCertificate, at: datetime) -> None:
    """Assign a certificate to a party; raises GW209 when it belongs to another party.

    A certificate in use keeps its bounds unless new ones are given; a retired one loses its old
    bounds.
    """
    row = asdict(certificate) | {"party_id": _require_party(conn, party), "status": "ACTIVE", "added_at": at}
    if _INSERT_CERTIFICATE.insert_one(conn, row) is None:
        same_certificate = (
            certificates.c.sha256 == certificate.sha256,
            certificates.c.use == certificate.use,
        )
        stored_certificate = conn.execute(
            select(certificates.c.party_id, certificates.c.status).where(*same_certificate)
        ).one()
        if stored_certificate.party_id != party:
            detail = f"certificate {certificate.sha256[:16]} belongs to another party"
            raise GatewayError(SIGNER_MISMATCH, detail, f"party {party[:40]}")
        cleared_bounds = (
            {"valid_from": None, "valid_until": None} if stored_certificate.status != "ACTIVE" else {}
        )
        values = {"status": "ACTIVE", **cleared_bounds, **certificate.usage_bounds}
        conn.execute(update(certificates).where(*same_certificate).values(values))
    note_changed_row(conn, "certificates", certificate.sha256)
    increment_register_version(conn)


def retire_certificate(conn: Connection, sha256: str) -> bool:
    """Retire the certificate; return False when no party uses it."""
    held = (certificates.c.sha256 == sha256, certificates.c.status == "ACTIVE")
    changed = conn.execute(update(certificates).where(*held).values(status="RETIRED"))
    note_changed_row(conn, "certificates", sha256)
    increment_register_version(conn)
    return changed.rowcount > 0


def limit_certificate_use(conn: Connection, sha256: str, at: datetime, use: str | None = None) -> bool:
    """Limit the use of the certificate (for `use`) to the time before `at`; return False when unused."""
    held = [certificates.c.sha256 == sha256, certificates.c.status == "ACTIVE"]
    if use is not None:
        held.append(certificates.c.use == use)
    changed = conn.execute(update(certificates).where(*held).values(valid_until=at))
    note_changed_row(conn, "certificates", sha256)
    increment_register_version(conn)
    return changed.rowcount > 0


def set_party_status(conn: Connection, party: str, status: str) -> None:
    """Make a party ACTIVE, SUSPENDED or RETIRED."""
    changed = conn.execute(update(parties).where(parties.c.id == party).values(status=status))
    if changed.rowcount != 1:
        raise _make_unknown_party_error(party)
    note_changed_row(conn, "parties", party)
    increment_register_version(conn)


def _require_party(conn: Connection, party: str) -> str:
    if find_party(conn, party) is None:
        raise _make_unknown_party_error(party)
    return party


def _make_unknown_party_error(party: str) -> GatewayError:
    return GatewayError(PARTY_UNKNOWN, f"no party is registered as {party[:80]}")


def find_party(conn: Connection, party: str) -> PartyRow | None:
    """Return the party."""
    return conn.execute(_GET, {"wanted": party}).first()


def find_by_identifier(conn: Connection, identifier: PartyId) -> PartyRow | None:
    """Return the party that has the identifier, in any status."""
    return conn.execute(_BY_ID, {"id_type": identifier.type or "", "id_value": identifier.value}).first()


def list_parties(conn: Connection, role: str | None = None) -> Sequence[PartyRow]:
    """Return the parties (of a role), by id."""
    query = select(parties).order_by(parties.c.id)
    return conn.execute(query.where(parties.c.role == role) if role else query).all()


def list_identifiers_by_party(conn: Connection) -> dict[str, tuple[PartyId, ...]]:
    """Return the identifiers of all parties, by party; a party without one is left out."""
    ids_by_party: dict[str, list[PartyId]] = {}
    columns = (party_ids.c.party_id, party_ids.c.type, party_ids.c.value)
    for row in conn.execute(select(*columns).order_by(party_ids.c.type, party_ids.c.value)):
        ids_by_party.setdefault(row.party_id, []).append(PartyId(row.value, row.type or None))
    return {party: tuple(ids) for party, ids in ids_by_party.items()}


def list_identifiers(conn: Connection, party: str) -> tuple[PartyId, ...]:
    """Return the identifiers of a party."""
    query = select(party_ids).where(party_ids.c.party_id == party)
    rows = conn.execute(query.order_by(party_ids.c.type, party_ids.c.value))
    return tuple(PartyId(row.value, row.type or None) for row in rows)


def list_certificates(conn: Connection, party: str, use: str | None = None) -> Sequence[CertificateRow]:
    """Return the certificates that a party may use, the one with the latest end first."""
    query = select(certificates).where(certificates.c.party_id == party, certificates.c.status == "ACTIVE")
    ordered = query.order_by(certificates.c.not_after.desc())
    return conn.execute(ordered.where(certificates.c.use == use) if use else ordered).all()


class CertificateTermRow(Protocol):
    """The periods of an active certificate."""

    party_id: str
    sha256: str
    use: str
    not_before: datetime
    not_after: datetime
    valid_from: datetime | None
    valid_until: datetime | None


def list_certificate_terms(conn: Connection) -> Sequence[CertificateTermRow]:
    """Return party, digest and periods of active certificates; of each party, the latest end first."""
    names = ("party_id", "sha256", "use", "not_before", "not_after", "valid_from", "valid_until")
    query = select(*(certificates.c[name] for name in names)).where(certificates.c.status == "ACTIVE")
    return conn.execute(query.order_by(certificates.c.party_id, certificates.c.not_after.desc())).all()


def list_certificate_rows(conn: Connection, sha256: str) -> Sequence[CertificateRow]:
    """Return the rows of one certificate, retired ones also, by use."""
    query = select(certificates).where(certificates.c.sha256 == sha256)
    return conn.execute(query.order_by(certificates.c.use)).all()


def list_certificates_in_use(conn: Connection) -> Sequence[CertificateRow]:
    """Return the certificates that active parties may use, now or later, by party and end."""
    joined = select(certificates).join(parties)
    query = joined.where(certificates.c.status == "ACTIVE", parties.c.status == "ACTIVE")
    return conn.execute(query.order_by(certificates.c.party_id, certificates.c.not_after)).all()


mandates = Table(
    "mandates",
    metadata,
    make_identity_column(),
    make_required_column("party_id", NAME_TEXT, ForeignKey("parties.id")),
    make_required_column("on_behalf_of", NUMBER_TEXT, ForeignKey("parties.id")),
    make_required_column("scope"),
    make_required_column("valid_from", Instant),
    Column("valid_until", Instant),
    Column("revoked_at", Instant),
    Index("ix_mandates_party_id", "party_id", "on_behalf_of"),
)


class MandateRow(Protocol):
    """A row of the table `mandates`."""

    id: int
    party_id: str
    on_behalf_of: str
    scope: str
    valid_from: datetime
    valid_until: datetime | None
    revoked_at: datetime | None


# The scope of a mandate for everything.
_EVERYTHING: Final = "*"


def insert_mandate(
    conn: Connection,
    party: str,
    on_behalf_of: str,
    valid_from: datetime,
    valid_until: datetime | None = None,
) -> int:
    """Allow `party` to act on behalf of another in everything; return the mandate's id."""
    row = {"party_id": party, "on_behalf_of": on_behalf_of, "scope": _EVERYTHING}
    number = insert_row(conn, mandates, row | {"valid_from": valid_from, "valid_until": valid_until})
    note_changed_row(conn, "mandates", number)
    increment_register_version(conn)
    return number


def revoke_mandate(conn: Connection, mandate: int, at: datetime) -> bool:
    """End the mandate now; return False when it has ended already."""
    conditions = (mandates.c.id == mandate, mandates.c.revoked_at.is_(None))
    changed = conn.execute(update(mandates).where(*conditions).values(revoked_at=at))
    note_changed_row(conn, "mandates", mandate)
    increment_register_version(conn)
    return changed.rowcount == 1


def find_mandate(conn: Connection, number: int) -> MandateRow | None:
    """Return the mandate of this number, whether it has ended or not."""
    return conn.execute(select(mandates).where(mandates.c.id == number)).first()


def list_mandates(conn: Connection) -> Sequence[MandateRow]:
    """Return every mandate, including ended and future ones."""
    return conn.execute(select(mandates).order_by(mandates.c.id)).all()


def list_mandates_of(conn: Connection, party: str) -> Sequence[MandateRow]:
    """Return the mandates that a party holds or has given, including ended ones."""
    involved = or_(mandates.c.party_id == party, mandates.c.on_behalf_of == party)
    return conn.execute(select(mandates).where(involved).order_by(mandates.c.id)).all()

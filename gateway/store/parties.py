"""Stores the register: parties, their identifiers and their certificates.

Every change of trust raises the epoch in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from gateway.errors import PARTY_UNKNOWN, SIGNER_MISMATCH, GatewayError
from gateway.message_model import PartyId
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.register_version import increment_register_version
from gateway.store.tables import certificates, parties, party_ids

__all__ = [
    "NewCertificate",
    "add_certificate",
    "add_identifier",
    "find_by_certificate",
    "find_by_identifier",
    "find_party",
    "limit_certificate_use",
    "list_certificate_rows",
    "list_certificate_terms",
    "list_certificates",
    "list_certificates_in_use",
    "list_identifiers",
    "list_identifiers_by_party",
    "list_parties",
    "register_party",
    "retire_certificate",
    "set_party_status",
]

_INSERT = InsertIfAbsent(parties, ("id",), "id")
_INSERT_ID = InsertIfAbsent(party_ids, ("type", "value"), "value")
_INSERT_CERTIFICATE = InsertIfAbsent(certificates, ("sha256", "use"), "sha256")
_BY_ID = (
    select(parties)
    .join(party_ids)
    .where(party_ids.c.type == bindparam("id_type"), party_ids.c.value == bindparam("id_value"))
)
_BY_CERTIFICATE = (
    select(parties)
    .join(certificates)
    .where(
        certificates.c.sha256 == bindparam("digest"),
        certificates.c.use == bindparam("for_use"),
        certificates.c.status == "ACTIVE",
    )
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
        given = {"valid_from": self.valid_from, "valid_until": self.valid_until}
        return given if any(given.values()) else {}


def register_party(
    conn: Connection, party: str, name: str, role: str, at: datetime, ids: Sequence[PartyId] = ()
) -> bool:
    """Register a party with its identifiers; return False when it was registered already (ids are added)."""
    row = {"id": party, "name": name, "role": role, "status": "ACTIVE", "created_at": at}
    new = _INSERT.insert_one(conn, row) is not None
    for identifier in ids:
        add_identifier(conn, party, identifier)
    increment_register_version(conn)
    return new


def add_identifier(conn: Connection, party: str, identifier: PartyId) -> None:
    """Add an identifier to a party; raises GW302 when it belongs to another party."""
    row = {"type": identifier.type or "", "value": identifier.value, "party_id": _require_party(conn, party)}
    if _INSERT_ID.insert_one(conn, row) is None:
        owner = find_by_identifier(conn, identifier)
        if owner is None or owner.id != party:
            detail = f"identifier {identifier.value[:80]} belongs to another party"
            raise GatewayError(PARTY_UNKNOWN, detail, f"party {party[:40]}")
    increment_register_version(conn)


def add_certificate(conn: Connection, party: str, certificate: NewCertificate, at: datetime) -> None:
    """Assign a certificate to a party; raises GW209 when it belongs to another party.

    A certificate in use keeps its bounds unless new ones are given; a retired one loses its old
    bounds.
    """
    row = asdict(certificate) | {"party_id": _require_party(conn, party), "status": "ACTIVE", "added_at": at}
    if _INSERT_CERTIFICATE.insert_one(conn, row) is None:
        known = (certificates.c.sha256 == certificate.sha256, certificates.c.use == certificate.use)
        held = conn.execute(select(certificates.c.party_id, certificates.c.status).where(*known)).one()
        if held.party_id != party:
            detail = f"certificate {certificate.sha256[:16]} belongs to another party"
            raise GatewayError(SIGNER_MISMATCH, detail, f"party {party[:40]}")
        anew = {"valid_from": None, "valid_until": None} if held.status != "ACTIVE" else {}
        values = {"status": "ACTIVE", **anew, **certificate.usage_bounds}
        conn.execute(update(certificates).where(*known).values(values))
    increment_register_version(conn)


def retire_certificate(conn: Connection, sha256: str) -> bool:
    """Retire the certificate; return False when no party uses it."""
    held = (certificates.c.sha256 == sha256, certificates.c.status == "ACTIVE")
    changed = conn.execute(update(certificates).where(*held).values(status="RETIRED"))
    increment_register_version(conn)
    return changed.rowcount > 0


def limit_certificate_use(conn: Connection, sha256: str, at: datetime, use: str | None = None) -> bool:
    """Limit the use of the certificate (for `use`) to the time before `at`; return False when unused."""
    held = [certificates.c.sha256 == sha256, certificates.c.status == "ACTIVE"]
    if use is not None:
        held.append(certificates.c.use == use)
    changed = conn.execute(update(certificates).where(*held).values(valid_until=at))
    increment_register_version(conn)
    return changed.rowcount > 0


def set_party_status(conn: Connection, party: str, status: str) -> None:
    """Make a party ACTIVE, SUSPENDED or RETIRED."""
    changed = conn.execute(update(parties).where(parties.c.id == party).values(status=status))
    if changed.rowcount != 1:
        raise _make_unknown_party_error(party)
    increment_register_version(conn)


def _require_party(conn: Connection, party: str) -> str:
    if find_party(conn, party) is None:
        raise _make_unknown_party_error(party)
    return party


def _make_unknown_party_error(party: str) -> GatewayError:
    return GatewayError(PARTY_UNKNOWN, f"no party is registered as {party[:80]}")


def find_party(conn: Connection, party: str) -> Row[Any] | None:
    """Return the party."""
    return conn.execute(select(parties).where(parties.c.id == party)).first()


def find_by_identifier(conn: Connection, identifier: PartyId) -> Row[Any] | None:
    """Return the party that has the identifier, whatever its status."""
    return conn.execute(_BY_ID, {"id_type": identifier.type or "", "id_value": identifier.value}).first()


def find_by_certificate(conn: Connection, sha256: str, use: str = "signing") -> Row[Any] | None:
    """Return the party that may use the certificate, whatever the party's status."""
    return conn.execute(_BY_CERTIFICATE, {"digest": sha256, "for_use": use}).first()


def list_parties(conn: Connection, role: str | None = None) -> Sequence[Row[Any]]:
    """Return the parties (of a role), by id."""
    found = select(parties).order_by(parties.c.id)
    return conn.execute(found.where(parties.c.role == role) if role else found).all()


def list_identifiers_by_party(conn: Connection) -> dict[str, tuple[PartyId, ...]]:
    """Return the identifiers of all parties, by party; a party without one is left out."""
    found: dict[str, list[PartyId]] = {}
    columns = (party_ids.c.party_id, party_ids.c.type, party_ids.c.value)
    for row in conn.execute(select(*columns).order_by(party_ids.c.type, party_ids.c.value)):
        found.setdefault(row.party_id, []).append(PartyId(row.value, row.type or None))
    return {party: tuple(ids) for party, ids in found.items()}


def list_identifiers(conn: Connection, party: str) -> tuple[PartyId, ...]:
    """Return the identifiers of a party."""
    found = select(party_ids).where(party_ids.c.party_id == party)
    rows = conn.execute(found.order_by(party_ids.c.type, party_ids.c.value))
    return tuple(PartyId(row.value, row.type or None) for row in rows)


def list_certificates(conn: Connection, party: str, use: str | None = None) -> Sequence[Row[Any]]:
    """Return the certificates that a party may use, the one with the latest end first."""
    found = select(certificates).where(certificates.c.party_id == party, certificates.c.status == "ACTIVE")
    ordered = found.order_by(certificates.c.not_after.desc())
    return conn.execute(ordered.where(certificates.c.use == use) if use else ordered).all()


def list_certificate_terms(conn: Connection) -> Sequence[Row[Any]]:
    """Return who may use which certificate when, without their octets, the latest end of a party first."""
    names = ("party_id", "sha256", "use", "not_before", "not_after", "valid_from", "valid_until")
    found = select(*(certificates.c[name] for name in names)).where(certificates.c.status == "ACTIVE")
    return conn.execute(found.order_by(certificates.c.party_id, certificates.c.not_after.desc())).all()


def list_certificate_rows(conn: Connection, sha256: str) -> Sequence[Row[Any]]:
    """Return the rows of one certificate, retired ones also, by use."""
    found = select(certificates).where(certificates.c.sha256 == sha256)
    return conn.execute(found.order_by(certificates.c.use)).all()


def list_certificates_in_use(conn: Connection) -> Sequence[Row[Any]]:
    """Return the certificates that active parties may use, now or later, by party and end."""
    found = select(certificates).join(parties)
    wanted = found.where(certificates.c.status == "ACTIVE", parties.c.status == "ACTIVE")
    return conn.execute(wanted.order_by(certificates.c.party_id, certificates.c.not_after)).all()

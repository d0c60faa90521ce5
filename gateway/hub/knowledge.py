"""What the hub knows of its partners at one epoch of the register, held in memory.

Everything here was read in one transaction.  A change of the register raises the epoch,
and the transaction that stores a message checks it: what was judged by older knowledge is
judged again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gateway.agreements import AgreementBook, pmode_from_json
from gateway.cases.filing import Register
from gateway.model import PartyId
from gateway.store import agreements, epochs, mandates, parties, revocations

__all__ = ["Knowledge", "load_knowledge"]


@dataclass(frozen=True, slots=True)
class Mandate:
    """`holder` may act for `principal` from `valid_from` until `valid_until`."""

    holder: str
    principal: str
    valid_from: datetime
    valid_until: datetime | None

    def covers(self, holder: str, principal: str, at: datetime) -> bool:
        """Tell whether the mandate lets `holder` act for `principal` at a moment."""
        if (self.holder, self.principal) != (holder, principal) or at < self.valid_from:
            return False
        return self.valid_until is None or at < self.valid_until


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Agreements, parties, certificates, mandates and revocation lists of one epoch; active ones only."""

    epoch: int
    book: AgreementBook
    by_certificate: Mapping[str, str]
    by_id: Mapping[PartyId, str]
    by_value: Mapping[str, frozenset[str]]
    mandates: tuple[Mandate, ...]
    crls: tuple[bytes, ...] = ()

    def register(self, at: datetime) -> Register:
        """Return the register's answers as they are at a moment."""
        return Register(
            owners=lambda value: self.by_value.get(value, frozenset()),
            mandated=lambda holder, principal: any(
                one.covers(holder, principal, at) for one in self.mandates
            ),
        )


def load_knowledge(conn: Connection) -> Knowledge:
    """Read the register as it is."""
    epoch = epochs.current(conn)
    active = {row.id for row in parties.everyone(conn) if row.status == "ACTIVE"}
    by_certificate: dict[str, str] = {}
    by_id: dict[PartyId, str] = {}
    by_value: dict[str, set[str]] = {}
    for party in sorted(active):
        by_certificate.update((row.sha256, party) for row in parties.certificates_of(conn, party, "signing"))
        for one in parties.ids_of(conn, party):
            by_id[one] = party
            by_value.setdefault(one.value, set()).add(party)
    book = AgreementBook((pmode_from_json(row.parameters) for row in agreements.active(conn)), epoch)
    return Knowledge(
        epoch,
        book,
        by_certificate,
        by_id,
        {value: frozenset(owners) for value, owners in by_value.items()},
        tuple(
            Mandate(row.party_id, row.on_behalf_of, row.valid_from, _end(row))
            for row in mandates.standing(conn)
            if row.party_id in active and row.on_behalf_of in active
        ),
        tuple(row.der for row in revocations.latest(conn)),
    )


def _end(row: object) -> datetime | None:
    ends = [end for end in (row.valid_until, row.revoked_at) if end is not None]  # type: ignore[attr-defined]
    return min(ends, default=None)

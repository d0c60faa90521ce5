"""The content of a trusted list in any form: services, their status, and pointers to other lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from gateway.pki import Certificate

__all__ = [
    "VOUCHED",
    "CrossCertificateBridge",
    "EquivalenceRule",
    "Role",
    "Rules",
    "SchemePointer",
    "ServiceKind",
    "ServiceStatus",
    "TrustService",
    "TrustedList",
    "get_levels",
]

#: The status of a signer that another country's gateway vouches for; its kind is the level that the gateway
#: states.
VOUCHED: Final = "vouched"
Role = Literal["list", "voucher"]


@dataclass(frozen=True, slots=True)
class ServiceKind:
    """The type of a service, optionally narrowed by one additional service information (URIs or codes)."""

    type: str
    additional: str = ""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The status of a service from ``since`` on; ``unknown`` names unknown critical extensions."""

    type: str
    status: str
    since: datetime
    additional: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()

    def is_of_kind(self, kind: ServiceKind) -> bool:
        """Return whether the service was of this kind."""
        return self.type == kind.type and (not kind.additional or kind.additional in self.additional)


@dataclass(frozen=True, slots=True)
class TrustService:
    """A trust service: its certificates, and its status history, the newest first.

    ``unread`` has the reasons why certificates of the list are left out: they violate our own
    rules.
    """

    provider: str
    name: str
    certificates: tuple[Certificate, ...]
    standings: tuple[ServiceStatus, ...]
    unread: tuple[str, ...] = ()

    def find_status(self, at: datetime) -> ServiceStatus | None:
        """Return the status of the service at a time; None before its first status."""
        return next((each for each in self.standings if each.since <= at), None)


@dataclass(frozen=True, slots=True)
class EquivalenceRule:
    """One rule of recognition: services of these kinds and statuses have these levels of ours.

    It applies from ``since`` to ``until`` while it is ``enacted``. ``conditions`` are
    requirements on the contents of certificates; they are not evaluated here, so a rule with
    conditions admits no signer. An agreement between other parties gives levels in the terms
    of the pointing party: ``becomes`` are the equivalent services of that party, with
    ``as_statuses``, to which the next rule applies.
    """

    identifier: str
    kinds: frozenset[ServiceKind]
    statuses: frozenset[str]
    levels: frozenset[str]
    since: datetime
    until: datetime | None = None
    enacted: bool = True
    conditions: tuple[str, ...] = ()
    becomes: frozenset[ServiceKind] = frozenset()
    as_statuses: frozenset[str] = frozenset()

    def is_in_force(self, at: datetime) -> bool:
        """Return whether the rule is in force at a time and can be evaluated."""
        ended = self.until is not None and at >= self.until
        return self.enacted and not self.conditions and self.since <= at and not ended

    def covers_status(self, standing: ServiceStatus) -> bool:
        """Return whether a service with this status has the rule's levels."""
        known = not standing.unknown and standing.status in self.statuses
        return known and any(standing.is_of_kind(kind) for kind in self.kinds)

    def translate_status(self, standing: ServiceStatus) -> list[ServiceStatus]:
        """Return the status of the service in the terms of the party that made the rule."""
        return [
            ServiceStatus(
                kind.type,
                status,
                standing.since,
                frozenset({kind.additional} if kind.additional else ()),
            )
            for kind in self.becomes
            for status in self.as_statuses
        ]


Rules = tuple[EquivalenceRule, ...]


@dataclass(frozen=True, slots=True)
class SchemePointer:
    """A pointer of a list to another party: its signers, and the rules for its levels.

    ``list``: the party publishes a trusted list; ``voucher``: its gateway signs documents of
    signers that it has validated. ``rules`` is None where its levels are used unchanged:
    within one community of schemes.
    """

    territory: str
    signers: tuple[Certificate, ...]
    role: Role = "list"
    location: str = ""
    rules: Rules | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CrossCertificateBridge:
    """A cross-certificate, and the levels of the policies that a path over it may have."""

    certificate: Certificate
    policies: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TrustedList:
    """A list with a valid signature of an expected signer.

    ``next_update`` is None for a list that its operator has closed. ``rules`` give the levels
    of the list's own services.
    """

    form: Literal["etsi", "own"]
    operator: str
    territory: str
    sequence: int
    issued: datetime
    next_update: datetime | None
    sha256: str
    signer: Certificate
    services: tuple[TrustService, ...] = ()
    schemes: tuple[SchemePointer, ...] = ()
    bridges: tuple[CrossCertificateBridge, ...] = ()
    rules: Rules = field(default=(), repr=False)

    def find_scheme(self, territory: str, role: Role) -> SchemePointer | None:
        """Return the pointer to the lists or the voucher of a territory, with all entries merged."""
        found = [each for each in self.schemes if each.territory == territory and each.role == role]
        if not found:
            return None
        signers = dict.fromkeys(one for each in found for one in each.signers)
        agreed = [each.rules for each in found if each.rules is not None]
        rules = tuple(rule for each in agreed for rule in each) if agreed else None
        return SchemePointer(territory, tuple(signers), role, found[0].location, rules)


def get_levels(standing: ServiceStatus, chain: Sequence[Rules], at: datetime) -> frozenset[str]:
    """Return the levels that the rules in force at a time give to a service with this status.

    ``chain`` leads from the service's own list to us: it has the rules of every agreement in
    between; each but the last translates a status into the terms of the next.
    """
    standings = [standing]
    for rules in chain[:-1]:
        standings = [
            each
            for one in standings
            for rule in rules
            if rule.is_in_force(at) and rule.covers_status(one)
            for each in rule.translate_status(one)
        ]
    return frozenset(
        level
        for each in standings
        for rule in (chain[-1] if chain else ())
        if rule.is_in_force(at) and rule.covers_status(each)
        for level in rule.levels
    )

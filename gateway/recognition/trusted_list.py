"""What a trusted list says, whatever its form: services, how they stand, and lists of others."""

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

#: The status of what a gateway of another country vouches for; its kind is the level it told.
VOUCHED: Final = "vouched"
Role = Literal["list", "voucher"]


@dataclass(frozen=True, slots=True)
class ServiceKind:
    """The type of a service, perhaps narrowed by one additional service information (both URIs or words)."""

    type: str
    additional: str = ""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What a service was from ``since`` on; ``unknown`` names critical extensions not understood here."""

    type: str
    status: str
    since: datetime
    additional: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = ()

    def is_of_kind(self, kind: ServiceKind) -> bool:
        """Tell whether the service was of this kind."""
        return self.type == kind.type and (not kind.additional or kind.additional in self.additional)


@dataclass(frozen=True, slots=True)
class TrustService:
    """A trust service: its certificates, and its standings, the newest first.

    ``unread`` says why certificates of the list are left out: they break our own rules.
    """

    provider: str
    name: str
    certificates: tuple[Certificate, ...]
    standings: tuple[ServiceStatus, ...]
    unread: tuple[str, ...] = ()

    def find_status(self, at: datetime) -> ServiceStatus | None:
        """Return how the service stood at a moment; None before its first standing."""
        return next((each for each in self.standings if each.since <= at), None)


@dataclass(frozen=True, slots=True)
class EquivalenceRule:
    """One rule of recognition: services of these kinds and statuses are of these levels of ours.

    It holds from ``since`` to ``until`` while it is ``enacted``.  ``conditions`` names demands on the
    contents of certificates; nobody judges them here, so a rule that has some admits nobody.
    An agreement between others says levels in words of the pointing party: ``becomes`` are such
    services of theirs, of ``as_statuses``, for the next rule to say what they are worth to us.
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
        """Tell whether the rule is in force at a moment and can be judged."""
        ended = self.until is not None and at >= self.until
        return self.enacted and not self.conditions and self.since <= at and not ended

    def covers_status(self, standing: ServiceStatus) -> bool:
        """Tell whether a service that stands so is of the rule's levels."""
        known = not standing.unknown and standing.status in self.statuses
        return known and any(standing.is_of_kind(kind) for kind in self.kinds)

    def translate_status(self, standing: ServiceStatus) -> list[ServiceStatus]:
        """Return how the service stands in words of the party that made the rule."""
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
    """Somebody else whom a list points to: who signs for them, and what their words are worth.

    ``list``: they publish a trusted list; ``voucher``: their gateway signs what it has judged.
    ``rules`` is None where their words are taken as they are: within one community of schemes.
    """

    territory: str
    signers: tuple[Certificate, ...]
    role: Role = "list"
    location: str = ""
    rules: Rules | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CrossCertificateBridge:
    """A cross-certificate, and the levels of the policies that a path over it may end up with."""

    certificate: Certificate
    policies: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TrustedList:
    """A list whose signature was found good and whose signer was expected.

    ``next_update`` is None for a list that its operator has closed.  ``rules`` say the levels of
    the list's own services.
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
        """Return what the list says of the lists or the voucher of a territory, all entries as one."""
        found = [each for each in self.schemes if each.territory == territory and each.role == role]
        if not found:
            return None
        signers = dict.fromkeys(one for each in found for one in each.signers)
        agreed = [each.rules for each in found if each.rules is not None]
        rules = tuple(rule for each in agreed for rule in each) if agreed else None
        return SchemePointer(territory, tuple(signers), role, found[0].location, rules)


def get_levels(standing: ServiceStatus, chain: Sequence[Rules], at: datetime) -> frozenset[str]:
    """Return the levels that the rules in force at a moment give to a service that stands so.

    ``chain`` leads from the service's own list to us: the rules of every agreement on the way,
    each but the last translating into words of the next.
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

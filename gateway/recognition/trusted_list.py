"""The content of a trusted list in any form: services, their status, and pointers to other lists.

A missing or malformed element raises GW402 with its XPath.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from lxml import etree

from gateway.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_UNTRUSTED,
    DOCUMENT_INVALID,
    TRUST_STALE,
    GatewayError,
    describe_exception,
    raise_resource_problem,
)
from gateway.pki import Certificate, read_certificate
from gateway.wire import ElementReader, collapse_whitespace, parse_datetime

_MAX_TEXT_CHARACTERS: Final = 4096
_MAX_CERTIFICATE_OCTETS: Final = 1024 * 1024

_READER: Final = ElementReader(DOCUMENT_INVALID, canonical_base64=False)
raise_malformed = _READER.raise_error


def find_optional(element: etree._Element, path: str) -> etree._Element | None:
    """Return the only element of a path below another, or None; raise for two."""
    elements = element.findall(path)
    if len(elements) > 1:
        raise_malformed(elements[1], f"{_format_path(path)} stands here twice")
    return elements[0] if elements else None


def get_element(element: etree._Element, path: str) -> etree._Element:
    """Return the one element of a path below another; raise when it is missing."""
    child = find_optional(element, path)
    if child is None:
        raise_malformed(element, f"{_format_path(path)} is missing")
    return child


def read_visible_text(element: etree._Element) -> str:
    """Return the text of an element without children; control characters are replaced."""
    text = collapse_whitespace(_READER.read_text(element))
    if not text or len(text) > _MAX_TEXT_CHARACTERS:
        raise_malformed(element, "the text is empty or too long")
    return make_visible(text)


def make_visible(text: str) -> str:
    """Return printable text: other characters become U+FFFD, which no compared value contains."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def read_element_text(element: etree._Element, path: str) -> str:
    """Return the text of the one element of a path."""
    return read_visible_text(get_element(element, path))


def read_instant(time_text: str | None, element: etree._Element) -> datetime:
    """Return the time in UTC of a text with a time zone; raise GW402 for other text."""
    try:
        return parse_datetime(time_text or "")
    except ValueError as fault:
        raise_malformed(element, describe_exception(fault))


def read_certificates_below(
    element: etree._Element, tag: str
) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
    """Return the certificates below an element, and the reasons why others there were not accepted."""
    certificates: dict[Certificate, None] = {}
    read_errors = []
    for certificate_element in element.iter(tag):
        try:
            certificates[
                read_certificate(_READER.decode_base64(certificate_element, _MAX_CERTIFICATE_OCTETS))
            ] = None
        except GatewayError as refusal:
            raise_resource_problem(refusal)
            read_errors.append(refusal.detail)
    return tuple(certificates), tuple(read_errors)


def _format_path(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "", path)


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
    status_history: tuple[ServiceStatus, ...]
    unread: tuple[str, ...] = ()

    def find_status(self, at: datetime) -> ServiceStatus | None:
        """Return the status of the service at a time; None before its first status."""
        return next((each for each in self.status_history if each.since <= at), None)


@dataclass(frozen=True, slots=True)
class EquivalenceRule:
    """One rule of recognition: services of these kinds and statuses have these levels of the hub.

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
        has_ended = self.until is not None and at >= self.until
        return self.enacted and not self.conditions and self.since <= at and not has_ended

    def covers_status(self, status: ServiceStatus) -> bool:
        """Return whether a service with this status has the rule's levels."""
        is_readable = not status.unknown and status.status in self.statuses
        return is_readable and any(status.is_of_kind(kind) for kind in self.kinds)

    def translate_status(self, status: ServiceStatus) -> list[ServiceStatus]:
        """Return the equivalent statuses in the terms of the party that made the rule: one for each kind."""
        return [
            ServiceStatus(
                kind.type,
                status_uri,
                status.since,
                frozenset({kind.additional} if kind.additional else ()),
            )
            for kind in self.becomes
            for status_uri in self.as_statuses
        ]


EquivalenceRules = tuple[EquivalenceRule, ...]


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
    rules: EquivalenceRules | None = None
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

    list_format: Literal["etsi", "own"]
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
    rules: EquivalenceRules = field(default=(), repr=False)

    def find_scheme(self, territory: str, role: Role) -> SchemePointer | None:
        """Return the pointer to the lists or the voucher of a territory, with all entries merged."""
        pointers = [each for each in self.schemes if each.territory == territory and each.role == role]
        if not pointers:
            return None
        signers = dict.fromkeys(signer for each in pointers for signer in each.signers)
        agreed_rules = [each.rules for each in pointers if each.rules is not None]
        rules = tuple(rule for each in agreed_rules for rule in each) if agreed_rules else None
        return SchemePointer(territory, tuple(signers), role, pointers[0].location, rules)


def get_levels(status: ServiceStatus, rule_chain: Sequence[EquivalenceRules], at: datetime) -> frozenset[str]:
    """Return the levels that the rules in force at a time give to a service with this status.

    ``rule_chain`` leads from the service's own list to us: it has the rules of every agreement in
    between; each but the last translates a status into the terms of the next.
    """
    statuses = [status]
    for rules in rule_chain[:-1]:
        statuses = [
            each
            for earlier in statuses
            for rule in rules
            if rule.is_in_force(at) and rule.covers_status(earlier)
            for each in rule.translate_status(earlier)
        ]
    return frozenset(
        level
        for each in statuses
        for rule in (rule_chain[-1] if rule_chain else ())
        if rule.is_in_force(at) and rule.covers_status(each)
        for level in rule.levels
    )


def choose_successor(held: TrustedList | None, new: TrustedList, at: datetime) -> TrustedList:
    """Return the list to store: the new one, or the stored one where the new one is the same.

    Raises GW804 for a list that is older than the stored one, for a different list with a
    used sequence number, and for one that is not fresh; the stored list then stays in force.
    """
    check_list_freshness(new, at)
    if held is None or held.sha256 == new.sha256:
        return held or new
    if (held.list_format, held.territory) != (new.list_format, new.territory):
        detail = f"a list of {new.territory[:20]} in the place of one of {held.territory[:20]}"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "territory")
    if new.sequence <= held.sequence:
        detail = f"sequence number {new.sequence}, and {held.sequence} is in hand: nothing is rolled back"
        raise GatewayError(TRUST_STALE, detail, "sequence")
    if new.issued < held.issued:
        detail = f"issued at {new.issued}, before the list in hand ({held.issued})"
        raise GatewayError(TRUST_STALE, detail, "issued")
    return new


def check_list_freshness(trusted_list: TrustedList, at: datetime) -> None:
    """Raise unless a list may be used at a time: issued, not closed, its next update not due.

    The certificate that signed it must have been valid when the list was issued.
    """
    list_name = f"list of {trusted_list.territory[:20]}"
    if at < trusted_list.issued:
        raise GatewayError(TRUST_STALE, f"issued at {trusted_list.issued}, which is in the future", list_name)
    if trusted_list.next_update is None:
        raise GatewayError(TRUST_STALE, "the list was closed by its operator", list_name)
    if at >= trusted_list.next_update:
        raise GatewayError(TRUST_STALE, f"its next update was due at {trusted_list.next_update}", list_name)
    if not trusted_list.signer.not_before <= trusted_list.issued <= trusted_list.signer.not_after:
        detail = (
            f"the certificate of {trusted_list.signer.subject[:120]} was not valid when the list was issued"
        )
        raise GatewayError(CERTIFICATE_EXPIRED, detail, list_name)


def is_fresh_list(trusted_list: TrustedList, at: datetime) -> bool:
    """Return whether a list may be used at a time."""
    try:
        check_list_freshness(trusted_list, at)
    except GatewayError as refusal:
        raise_resource_problem(refusal)
        return False
    return True

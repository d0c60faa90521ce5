"""A CPA as the rules see it: with its actions found, its certificates read, and the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway.agreements.agreement_rules import AgreementFinding, AgreementRule, read_rules
from gateway.agreements.cpa.channel_conversion import BoundAction, ChannelUse, list_bound_actions
from gateway.agreements.cpa.cpa_model import CpaCertificate, CpaDocument, CpaParty, Place
from gateway.errors import GatewayError
from gateway.pki import PATH_RULES, Certificate, read_certificate

_MAX_CHARACTERS = 80

Findings = Iterator[AgreementFinding]

#: Every rule on a CPA by its id.
CPA_RULES: Final[Mapping[str, AgreementRule]] = read_rules("cpa/cpa_rules.toml")


def cite_rule(rule_id: str, location: Place, finding_text: str) -> AgreementFinding:
    """Return the finding that a CPA breaks one of its rules at a place."""
    broken_rule = CPA_RULES[rule_id]
    return AgreementFinding(
        rule_id, broken_rule.severity, str(location), finding_text, location.xpath, broken_rule.clause
    )


def quote_name(name: str) -> str:
    """Return a name of a document for an error text: on one line, cut at 80 characters."""
    return " ".join(name.split())[:_MAX_CHARACTERS] or "(empty)"


@dataclass(frozen=True, slots=True)
class CpaView:
    """A document at the time `at`; `certificates` are those that could be read, by place."""

    document: CpaDocument
    at: datetime
    actions: tuple[BoundAction, ...]
    certificates: dict[str, tuple[Certificate, ...]] = field(default_factory=dict)
    read_errors: dict[str, str] = field(default_factory=dict)

    def find_certificate(self, party: CpaParty, certificate_id: str | None) -> Certificate | None:
        """Return a certificate that a party refers to, None where it cannot be read."""
        cpa_certificate = party.certificates.get(certificate_id) if certificate_id is not None else None
        chain = (
            self.certificates.get(cpa_certificate.location.xpath, ()) if cpa_certificate is not None else ()
        )
        return chain[0] if chain else None

    def find_chain(self, cpa_certificate: CpaCertificate | None) -> tuple[Certificate, ...]:
        """Return a certificate with those that the document puts beside it."""
        return (
            self.certificates.get(cpa_certificate.location.xpath, ()) if cpa_certificate is not None else ()
        )

    def list_channel_uses(self) -> Iterator[tuple[BoundAction, ChannelUse, ChannelUse]]:
        """Yield every action with the channel of its sender and that of its receiver which are used."""
        for action in self.actions:
            sender_use, receiver_use = action.list_channels()[0]
            yield action, sender_use, receiver_use

    def list_used_transports(self, party: CpaParty) -> set[str]:
        """Return the transports of a party by which actions or signals travel."""
        channel_uses = [use for _, *both in self.list_channel_uses() for use in both if use.party is party]
        channel_ids = (
            party.default_channel_id,
            *(override.channel_id for override in party.signal_overrides),
        )
        channels = (
            *(use.channel for use in channel_uses),
            *(party.channels.get(name) for name in channel_ids),
        )
        return {channel.transport_id for channel in channels if channel is not None}


CpaCheck = Callable[[CpaView], Findings]


def build_view(document: CpaDocument, at: datetime) -> CpaView:
    """Return the view of a document that the checks use: its actions and readable certificates at `at`."""
    view = CpaView(document, at, tuple(list_bound_actions(document)))
    for party in document.parties:
        for cpa_certificate in party.certificates.values():
            _read_chain(view, cpa_certificate)
    return view


def _read_chain(view: CpaView, cpa_certificate: CpaCertificate) -> None:
    """Store the certificates of a Certificate element in `view`, or the reason why they cannot be read."""
    if cpa_certificate.read_error is not None:
        view.read_errors[cpa_certificate.location.xpath] = cpa_certificate.read_error
        return
    try:
        view.certificates[cpa_certificate.location.xpath] = tuple(
            read_certificate(octets, PATH_RULES) for octets in cpa_certificate.chain
        )
    except GatewayError as refused:
        view.read_errors[cpa_certificate.location.xpath] = refused.detail

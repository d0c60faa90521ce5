"""A CPA as the rules see it: with its actions found, its certificates read, and the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway.agreements.agreement_rules import AgreementFinding, AgreementRule, read_rules
from gateway.agreements.cpa.channel_conversion import BoundAction, ChannelUse, list_bound_actions
from gateway.agreements.cpa.cpa_model import CertificateHolder, CpaDocument, CpaParty, Place
from gateway.errors import GatewayError
from gateway.pki import PATH_RULES, Certificate, read_certificate

_MOST_CHARACTERS = 80

Findings = Iterator[AgreementFinding]

#: Every rule on a CPA by its id.
CPA_RULES: Final[Mapping[str, AgreementRule]] = read_rules("cpa/cpa_rules.toml")


def cite_rule(rule: str, location: Place, text: str) -> AgreementFinding:
    """Return the finding that a CPA breaks one of its rules at a place."""
    broken_rule = CPA_RULES[rule]
    return AgreementFinding(
        rule, broken_rule.severity, str(location), text, location.xpath, broken_rule.clause
    )


def quote_name(text: str) -> str:
    """Return a name of a document for a sentence: short, and on one line."""
    return " ".join(text.split())[:_MOST_CHARACTERS] or "(empty)"


@dataclass(frozen=True, slots=True)
class CpaView:
    """A document at the time `at`; `certificates` are those that could be read, by place."""

    document: CpaDocument
    at: datetime
    actions: tuple[BoundAction, ...]
    certificates: dict[str, tuple[Certificate, ...]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def find_certificate(self, party: CpaParty, name: str | None) -> Certificate | None:
        """Return a certificate that a party refers to, None where it cannot be read."""
        holder = party.certificates.get(name) if name is not None else None
        chain = self.certificates.get(holder.location.xpath, ()) if holder is not None else ()
        return chain[0] if chain else None

    def find_chain(self, holder: CertificateHolder | None) -> tuple[Certificate, ...]:
        """Return a certificate with those that the document puts beside it."""
        return self.certificates.get(holder.location.xpath, ()) if holder is not None else ()

    def list_uses(self) -> Iterator[tuple[BoundAction, ChannelUse, ChannelUse]]:
        """Yield every action with the channel of its sender and that of its receiver which are used."""
        for action in self.actions:
            ours, theirs = action.list_channels()[0]
            yield action, ours, theirs

    def list_used_transports(self, party: CpaParty) -> set[str]:
        """Return the transports of a party by which actions or signals travel."""
        uses = [use for _, *both in self.list_uses() for use in both if use.party is party]
        names = (party.default_channel, *(override.channel for override in party.overrides))
        channels = (*(use.channel for use in uses), *(party.channels.get(name) for name in names))
        return {channel.transport for channel in channels if channel is not None}


CpaCheck = Callable[[CpaView], Findings]


def build_view(document: CpaDocument, at: datetime) -> CpaView:
    """Return a document as the rules see it."""
    view = CpaView(document, at, tuple(list_bound_actions(document)))
    for party in document.parties:
        for holder in party.certificates.values():
            _read_chain(view, holder)
    return view


def _read_chain(view: CpaView, holder: CertificateHolder) -> None:
    if holder.broken is not None:
        view.unreadable[holder.location.xpath] = holder.broken
        return
    try:
        view.certificates[holder.location.xpath] = tuple(
            read_certificate(octets, PATH_RULES) for octets in holder.chain
        )
    except GatewayError as refused:
        view.unreadable[holder.location.xpath] = refused.detail

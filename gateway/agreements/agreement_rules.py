"""The rules by which an agreement is judged before it is loaded, and what they need to know.

The reader of an agreement gives the P-Modes and the places of their parts; the register gives the
parties. Neither is read here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from gateway.agreements.as4.as4_rules import AS4_RULES
from gateway.agreements.pmode import PMode
from gateway.message_model import PartyId

__all__ = [
    "AGREEMENT_RULES",
    "AgreementDocument",
    "AgreementFinding",
    "AgreementRule",
    "AgreementSurroundings",
    "KnownCertificate",
    "KnownParty",
]


class AgreementRule(NamedTuple):
    """A rule: its severity (error, warning or note), what breaks it, and the clause behind it."""

    severity: str
    meaning: str
    clause: str = ""


#: An error means that messages will be refused or cannot be sent; a warning, that something is
#: probably not meant; a note needs no consent.
AGREEMENT_RULES: Final[Mapping[str, AgreementRule]] = {
    "party-unknown": AgreementRule("error", "an identifier belongs to no registered party"),
    "party-mixed": AgreementRule("error", "the identifiers of one side belong to several parties"),
    "party-retired": AgreementRule("error", "a party of the agreement is retired"),
    "party-suspended": AgreementRule("warning", "a party of the agreement is suspended"),
    "hub-missing": AgreementRule("error", "neither side, or each side, is this hub"),
    "period-ended": AgreementRule("error", "the agreement has ended"),
    "period-later": AgreementRule("note", "the agreement is not in force yet"),
    "protocol-unknown": AgreementRule("error", "the hub does not speak the protocol"),
    "term-unsupported": AgreementRule("error", "the protocol has no such term, or the hub does not do it"),
    "certificate-missing": AgreementRule(
        "error",
        "the partner must sign, and has no certificate that it may use while the agreement is in force",
    ),
    "certificate-later": AgreementRule("warning", "no certificate of the partner may be used yet"),
    "pin-unknown": AgreementRule(
        "warning", "a certificate that the file names is not registered for the partner, or has ended"
    ),
    "own-pin": AgreementRule(
        "warning", "the file names certificates of the hub, but not the one with which the hub signs"
    ),
    "tls-certificate-missing": AgreementRule(
        "error", "mutual_tls is agreed, and the partner has no certificate for TLS"
    ),
    "login-missing": AgreementRule(
        "warning", "the partner wants a name and a password, and the settings have none for its host"
    ),
    "login-impossible": AgreementRule(
        "error", "the partner wants a name and a password by digest only, or without TLS"
    ),
    "login-unchecked": AgreementRule(
        "warning", "the hub would have to ask for a name and a password, which it does not do"
    ),
    "result-missing": AgreementRule(
        "error", "submissions are accepted, and there is no P-Mode for their Result"
    ),
    "case-missing": AgreementRule(
        "warning", "there is a P-Mode for a Result, and none that delivers submissions to a case"
    ),
    "nothing-received": AgreementRule("warning", "no P-Mode lets the partner send anything to the hub"),
    "endpoint-missing": AgreementRule("error", "the hub must send to the partner, which has no endpoint"),
    "endpoint-same": AgreementRule("error", "hub and partner have the same endpoint"),
    "reply-endpoint-missing": AgreementRule(
        "warning", "receipts travel by a POST of their own, to a side without an endpoint"
    ),
    "response-not-sent": AgreementRule(
        "warning", "a business response is agreed for the HTTP answer, and the hub has none"
    ),
    "unsigned": AgreementRule("warning", "messages to the hub need no signature"),
    "retries-without-receipt": AgreementRule(
        "warning", "retries are agreed without receipts: nothing is repeated"
    ),
    "retries-without-elimination": AgreementRule(
        "warning", "retries are agreed without elimination of duplicates: a repeat has a second effect"
    ),
    "order-incomplete": AgreementRule(
        "error", "an order of messages is guaranteed without what it needs: every message is refused"
    ),
    "actor-next": AgreementRule(
        "warning", "the next handler acknowledges: nothing proves that the To party has the message"
    ),
    "same-messages": AgreementRule(
        "note", "another agreement is for the same messages: only the CPAId tells them apart"
    ),
    **{name: AgreementRule(*row) for name, row in AS4_RULES.items()},
}


@dataclass(frozen=True, slots=True)
class AgreementFinding:
    """A rule that an agreement breaks, the place in its file, and a sentence about it."""

    rule: str
    place: str
    text: str
    stated_in: str = ""

    @property
    def severity(self) -> str:
        """Return error, warning or note."""
        return AGREEMENT_RULES[self.rule].severity

    @property
    def clause(self) -> str:
        """Return the clause of a standard or a profile that says so, an empty text where none does."""
        return self.stated_in or AGREEMENT_RULES[self.rule].clause


@dataclass(frozen=True, slots=True)
class AgreementDocument:
    """The P-Modes of one file, and the places of its parts.

    A part is named by its kind and its name: ``("pmode", id)``, ``("party", value)`` for an
    identifier, ``("endpoint", value)`` with the first identifier of the party, ``("certificates",
    value)`` alike, and ``("agreement", "")``, ``("protocol", "")``, ``("valid_from", "")``,
    ``("valid_until", "")``, ``("pmodes", "")``. `findings` are those of the reader.
    """

    pmodes: tuple[PMode, ...]
    name: str
    places: Mapping[tuple[str, str], str] = field(default_factory=dict)
    findings: tuple[AgreementFinding, ...] = ()

    def find_place(self, *parts: tuple[str, str]) -> str:
        """Return the place of the first of these parts that the file has, else the file."""
        return next((self.places[one] for one in parts if one in self.places), self.name)


@dataclass(frozen=True, slots=True)
class KnownCertificate:
    """A registered certificate (SHA-256) and the period in which its party may use it."""

    sha256: str
    use: str
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class KnownParty:
    """A registered party with its identifiers and certificates."""

    name: str
    status: str
    ids: tuple[PartyId, ...]
    certificates: tuple[KnownCertificate, ...] = ()


@dataclass(frozen=True, slots=True)
class AgreementSurroundings:
    """What an agreement meets at a hub at the time `at`.

    `hub` is the name of the hub's own party, `own_certificates` the certificates (SHA-256) with
    which it signs, `own_algorithms` the algorithms (URIs) of their keys, `logins` the hosts (or host:port)
    at which it has a login. `others` are the P-Modes of the other active agreements. `result_action` is
    the action with which the hub answers a submission. `list_unsupported` returns what the hub does not do
    of a P-Mode's terms.
    """

    hub: str
    at: datetime
    parties: tuple[KnownParty, ...]
    others: tuple[PMode, ...] = ()
    own_certificates: frozenset[str] = frozenset()
    own_algorithms: frozenset[str] = frozenset()
    protocols: frozenset[str] = frozenset({"ebms2"})
    result_action: str = "Result"
    logins: frozenset[str] = frozenset()
    list_unsupported: Callable[[PMode], Sequence[str]] = lambda _: ()

    def find_party(self, one: PartyId) -> KnownParty | None:
        """Return the registered party with this identifier, whatever its status."""
        return next((party for party in self.parties if one in party.ids), None)

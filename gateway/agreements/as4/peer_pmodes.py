"""Converts a P-Mode file of Holodeck B2B or phase4 into an agreement of ours.

What the file says and ours can say becomes a term. All else is a finding with its place; nothing is dropped
without a word. What ours need and the file does not say is filled in, and told as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from gateway.agreements.agreement_rules import AgreementDocument, AgreementFinding
from gateway.agreements.as4.peer_leaves import PeerLeaf, find_peer_product, read_peer_leaves
from gateway.agreements.as4.peer_tables import PATHS, UNNEEDED, VALUE_PATHS, VALUES
from gateway.agreements.pmode import GZIP, PMode, is_uri
from gateway.agreements.pmode_index import PModeIndex
from gateway.agreements.pmode_values import (
    Encryption,
    PackagedPart,
    Packaging,
    PullTerms,
    Reliability,
    Security,
    find_endpoint_fault,
)
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway.wire import EB3

__all__ = ["is_peer_pmode", "read_peer_pmode"]

#: How long an agreement is in force whose file says no period.
_PERIOD: Final = timedelta(days=3653)
_GZIP_PACKAGING: Final = Packaging(
    "Compressed", "multipart/related", (PackagedPart("Payload", "application/xml", inside=(GZIP,)),)
)
_UNNAMED_AGREEMENT: Final = "urn:single-window:pmode:"
_SIDES: Final = ("initiator", "responder")
#: How an exchange is said in ours, and the numbers of the legs that are pulled.
_BINDINGS: Final[Mapping[tuple[str, str], tuple[str | None, tuple[int, ...]]]] = {
    ("oneway", "push"): (None, ()),
    ("oneway", "pull"): (None, (1,)),
    ("twoway", "push"): (None, ()),
    ("twoway", "pushandpush"): (None, ()),
    ("twoway", "pushandpull"): ("push-and-pull", (2,)),
    ("twoway", "pullandpush"): ("pull-and-push", (1,)),
}
_NEEDED: Final = ("id", "mep", "binding")


def is_peer_pmode(data: bytes) -> bool:
    """Return whether a file is a P-Mode of Holodeck B2B or phase4."""
    return find_peer_product(data) is not None


@dataclass
class _PeerFile:
    """The terms of a file that have been read, and what is to be told of it."""

    name: str
    product: str
    terms: dict[str, PeerLeaf] = field(default_factory=dict)
    told: list[AgreementFinding] = field(default_factory=list)

    def tell(self, rule: str, place: str, text: str) -> None:
        self.told.append(AgreementFinding(rule, place, text))

    def get(self, term: str) -> str | None:
        leaf = self.terms.get(term)
        return None if leaf is None or not leaf.value else VALUES.get(leaf.value, leaf.value)

    def require(self, term: str) -> str:
        value = self.get(term)
        if value is None:
            raise GatewayError(MISUSE, f"the P-Mode of {self.product} does not say {term}", self.name)
        return value

    def fill(self, term: str, value: str) -> str:
        found = self.get(term)
        if found is not None:
            return found
        self.tell("peer-filled", self.name, f"the file does not say {term}: it is {value}")
        return value

    def get_number(self, term: str) -> int | None:
        value = self.get(term)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 9):
            raise GatewayError(MISUSE, f"{value[:60]!r} is not a whole number", self.terms[term].place)
        return int(value)


def read_peer_pmode(data: bytes, name: str, at: datetime) -> AgreementDocument:
    """Return the P-Modes of a file, in force from `at`, with the findings on what they cannot say.

    Raises GW808 for one that cannot be converted: without parties, or with terms that contradict each other.
    """
    product = find_peer_product(data)
    if product is None:
        raise GatewayError(MISUSE, "this is no P-Mode of Holodeck B2B or phase4", name)
    file = _PeerFile(name, product)
    for leaf in read_peer_leaves(data, name):
        _take_leaf(file, leaf)
    for term in _NEEDED:
        file.require(term)
    pmodes = tuple(_make_pmode(file, leg, at) for leg in _list_legs(file))
    PModeIndex(pmodes)
    file.tell("peer-filled", name, "the file says no period: it is ten years from now")
    file.tell("peer-filled", name, "the file does not say deliver_to: messages to the hub end in the mailbox")
    places = {("pmode", one.id): name for one in pmodes}
    return AgreementDocument(pmodes, name, places, tuple(file.told))


def _take_leaf(file: _PeerFile, leaf: PeerLeaf) -> None:
    """Keep a leaf that is a term; tell every other one."""
    term = PATHS[file.product].get(leaf.path)
    own = "" if term is None else term.rpartition(".")[2]
    if own in VALUE_PATHS:
        if leaf.value and leaf.value != VALUE_PATHS[own]:
            words = f"{leaf.path} is {leaf.value[:80]}; the hub does {VALUE_PATHS[own]} alone"
            file.tell("peer-unsaid", leaf.place, words)
    elif term is not None:
        file.terms[term] = leaf
    # An alias says that there is a key: that alone is what the term needs.
    if term is None or own == "encrypted":
        _tell_leaf(file, leaf)


def _tell_leaf(file: _PeerFile, leaf: PeerLeaf) -> None:
    reason = next((words for part, words in UNNEEDED.items() if part in leaf.path), None)
    if reason is not None:
        # A password in a file is never shown.
        file.tell("peer-unneeded", leaf.place, f"{leaf.path} is not read: {reason}")
    elif leaf.value:
        shown = "" if "assword" in leaf.path else f" ({leaf.value[:80]})"
        file.tell("peer-unsaid", leaf.place, f"{leaf.path}{shown} cannot be said in a P-Mode of this gateway")


def _list_legs(file: _PeerFile) -> list[int]:
    """Return the numbers of the legs; raise GW808 for an exchange that ours cannot say."""
    _find_binding(file)
    return [1, 2] if _normalize(file.require("mep")) == "twoway" else [1]


def _find_binding(file: _PeerFile) -> tuple[str | None, tuple[int, ...]]:
    """Return our word for the binding, and which legs are pulled; raise GW808 where ours cannot say it."""
    mep, binding = (_normalize(file.require(term)) for term in ("mep", "binding"))
    if (mep, binding) not in _BINDINGS:
        detail = f"the exchange {mep[:40]} by {binding[:40]} cannot be said in a P-Mode of this gateway"
        raise GatewayError(MISUSE, detail, file.terms["binding"].place)
    return _BINDINGS[mep, binding]


def _normalize(value: str) -> str:
    return "".join(one for one in value.rpartition("/")[2].lower() if one.isalnum())


def _make_pmode(file: _PeerFile, leg: int, at: datetime) -> PMode:
    binding, pulled_legs = _find_binding(file)
    pulled = leg in pulled_legs
    # The initiator of a pull asks for what the responder sends; the second leg goes the other way.
    sender, receiver = _SIDES if (leg == 1) != (1 in pulled_legs) else _SIDES[::-1]
    endpoint, back = file.get(f"leg{leg}.endpoint"), file.get(f"leg{3 - leg}.endpoint")
    if endpoint is not None and (fault := find_endpoint_fault(endpoint)):
        raise GatewayError(MISUSE, f"the endpoint {fault}", file.terms[f"leg{leg}.endpoint"].place)
    if binding is not None:
        # What is posted and what is pulled goes to the one party that has an address, the responder.
        endpoint = back = endpoint or back
    name = file.require("id")
    return PMode(
        id=name if leg == 1 else f"{name}-2",
        agreement=_get_agreement(file, name, leg),
        agreement_type=file.get("agreement_type"),
        protocol="as4",
        from_party=_make_party(file, sender),
        from_role=_get_role(file, sender, leg),
        to_party=_make_party(file, receiver),
        to_role=_get_role(file, receiver, leg),
        service=file.require(f"leg{leg}.service"),
        service_type=file.get(f"leg{leg}.service_type"),
        action=file.require(f"leg{leg}.action"),
        valid_from=at,
        valid_until=at + _PERIOD,
        security=_make_security(file, sender, leg),
        reliability=_make_reliability(file, leg),
        encryption=_make_encryption(file, receiver, leg),
        packaging=_make_packaging(file, leg),
        endpoint=None if pulled else endpoint,
        reply_endpoint=None if binding is not None and not pulled else back,
        mpc=_drop_default(file.get(f"leg{leg}.mpc")),
        mep="two-way" if _normalize(file.require("mep")) == "twoway" else "one-way",
        reply_pattern=(file.get(f"leg{leg}.reply_pattern") or "response").lower(),
        pull=_make_pull(file, leg) if pulled else None,
        mep_binding=binding,
    )


def _get_agreement(file: _PeerFile, name: str, leg: int) -> str:
    """Return the agreement of a file, or one of the P-Mode's name, as a URI because it has no type."""
    default = name if is_uri(name) else f"{_UNNAMED_AGREEMENT}{quote(name, safe='')}"
    return file.fill("agreement", default) if leg == 1 else file.get("agreement") or default


def _drop_default(mpc: str | None) -> str | None:
    return None if mpc == f"{EB3}defaultMPC" else mpc


def _make_party(file: _PeerFile, side: str) -> tuple[PartyId, ...]:
    return (PartyId(file.require(f"{side}.id"), file.get(f"{side}.type")),)


def _get_role(file: _PeerFile, side: str, leg: int) -> str:
    default = f"{EB3}defaultRole"
    return file.fill(f"{side}.role", default) if leg == 1 else file.get(f"{side}.role") or default


def _make_security(file: _PeerFile, sender: str, leg: int) -> Security:
    """Return how messages of a side are signed; Holodeck says it by party, phase4 by leg."""

    def find(name: str) -> str | None:
        return file.get(f"{sender}.{name}") or file.get(f"leg{leg}.{name}")

    algorithm = find("signature_algorithm")
    if algorithm is None:
        words = f"the file names no signature of leg {leg}: its messages are signed as the policy has it"
        file.tell("peer-filled", file.name, f"{words}, and refused unsigned")
    return Security(
        signature_algorithms=() if algorithm is None else (algorithm,),
        hash_function=find("hash_function"),
        token_reference=find("token_reference"),
    )


def _make_encryption(file: _PeerFile, receiver: str, leg: int) -> Encryption | None:
    cipher = file.get(f"{receiver}.cipher") or file.get(f"leg{leg}.cipher")
    if cipher is None:
        if file.get(f"{receiver}.encrypted") is None:
            return None
        cipher = file.fill(f"{receiver}.cipher", VALUES["aes-128-gcm"])
    transport = file.get(f"{receiver}.key_transport")
    return Encryption("XMLENC", (cipher,) if transport is None else (cipher, transport))


def _make_reliability(file: _PeerFile, leg: int) -> Reliability:
    own: dict[str, Any] = {}
    number = leg if any(one.startswith(f"leg{leg}.retries") for one in file.terms) else 1
    retries, seconds = (file.get_number(f"leg{number}.{one}") for one in ("retries", "seconds"))
    milliseconds = file.get_number(f"leg{number}.milliseconds")
    if milliseconds is not None:
        seconds = max(1, -(-milliseconds // 1000))
    if file.get(f"leg{number}.repeats") == "false":
        retries = 0
    own |= {} if retries is None else {"retries": retries}
    own |= {} if seconds is None else {"retry_interval": seconds}
    if file.get(f"leg{leg}.elimination") == "false":
        own["duplicate_elimination"] = "never"
    made = Reliability(**own)
    return replace(made, persist_duration=max(made.persist_duration, made.time_to_live))


def _make_packaging(file: _PeerFile, leg: int) -> Packaging | None:
    method = file.get(f"leg{leg}.compression") or file.get("leg1.compression")
    if method not in (None, GZIP):
        place = next(leaf.place for term, leaf in file.terms.items() if term.endswith(".compression"))
        file.tell("peer-unsaid", place, f"compression {str(method)[:80]} is not gzip")
    return _GZIP_PACKAGING if method == GZIP else None


def _make_pull(file: _PeerFile, leg: int) -> PullTerms:
    """Return the authorization by certificate, and what a PullRequest appends to the channel."""
    asked, channel = file.get(f"leg{leg}.pull_mpc"), file.get(f"leg{leg}.mpc")
    if asked is None or channel is None or not asked.startswith(f"{channel}/"):
        if asked is not None and asked != channel:
            place = file.terms[f"leg{leg}.pull_mpc"].place
            file.tell("peer-unsaid", place, f"the PullRequest asks for {asked[:80]}, not below {channel}")
        return PullTerms("certificate")
    return PullTerms("certificate", asked.removeprefix(f"{channel}/"))

"""Converts a P-Mode file of Holodeck B2B or phase4 into an agreement document of the hub.

Each setting that an agreement of the hub can express becomes a term. Every other setting is reported as a
finding with its place in the file; none is dropped silently. A term that an agreement of the hub needs and
that the file lacks is filled in, and this is reported as a finding, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote

from gateway.agreements.agreement_rules import AgreementDocument, AgreementFinding, make_finding
from gateway.agreements.as4.peer_tables import (
    DEFAULTS,
    HELD_VALUES,
    NAMED_TERMS,
    PATHS,
    UNNEEDED,
    VALUES,
    PeerLeaf,
    find_peer_product,
    read_peer_leaves,
)
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

#: How long an agreement is in force whose file says no period.
_PERIOD: Final = timedelta(days=3653)
_GZIP_PACKAGING: Final = Packaging(
    "Compressed", "multipart/related", (PackagedPart("Payload", "application/xml", wrapper_types=(GZIP,)),)
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
#: Terms that name a key of the other product's store.
_ALIASES: Final = ("encrypted", "signed", "pull_signed")
_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}
#: What Holodeck B2B does where a key agreement is agreed and the file says no more of it.
_KEY_AGREEMENT: Final = {
    "key_agreement": "http://www.w3.org/2009/xmlenc11#ECDH-ES",
    "key_derivation": "http://www.w3.org/2009/xmlenc11#ConcatKDF",
    "key_wrap": "http://www.w3.org/2001/04/xmlenc#kw-aes128",
}


def is_peer_pmode(data: bytes) -> bool:
    """Return whether a file is a P-Mode of Holodeck B2B or phase4."""
    return find_peer_product(data) is not None


@dataclass
class _PeerFile:
    """The terms that have been read from a file, and the findings to report about it."""

    name: str
    product: str
    leaves: dict[str, PeerLeaf]
    terms: dict[str, PeerLeaf] = field(default_factory=dict)
    findings: list[AgreementFinding] = field(default_factory=list)

    def tell(self, rule: str, location: str, text: str) -> None:
        self.findings.append(make_finding(rule, location, text))

    def get(self, term: str) -> str | None:
        leaf = self.terms.get(term)
        if leaf is None or not leaf.value:
            return None
        return VALUES.get(leaf.value, leaf.value) if term.rpartition(".")[2] in NAMED_TERMS else leaf.value

    def require(self, term: str) -> str:
        value = self.get(term)
        if value is None:
            raise GatewayError(MISUSE, f"the P-Mode of {self.product} does not say {term}", self.name)
        return value

    def fill(self, term: str, value: str) -> str:
        stated_value = self.get(term)
        if stated_value is not None:
            return stated_value
        self.tell("peer-filled", self.name, f"the file does not say {term}: it is {value}")
        return value

    def get_of_leg(self, leg: int, term: str) -> str | None:
        """Return the value of a term of a leg; phase4 says it once for the whole file."""
        return self.get(self._name_of_leg(leg, term))

    def get_number(self, leg: int, term: str) -> int | None:
        value, name = self.get_of_leg(leg, term), self._name_of_leg(leg, term)
        return None if value is None else _read_number(value, self.terms[name].location)

    def get_flag(self, leg: int, term: str) -> bool | None:
        """Return the value of an ``xs:boolean``."""
        value, name = self.get_of_leg(leg, term), self._name_of_leg(leg, term)
        if value is not None and value not in _FLAGS:
            raise GatewayError(MISUSE, f"{value[:60]!r} is not true or false", self.terms[name].location)
        return None if value is None else _FLAGS[value]

    def _name_of_leg(self, leg: int, term: str) -> str:
        return f"leg{leg}.{term}" if f"leg{leg}.{term}" in self.terms else term


def _read_number(value: str, location: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise GatewayError(MISUSE, f"{value[:60]!r} is not a whole number", location)
    return int(value)


def read_peer_pmode(data: bytes, name: str, at: datetime) -> AgreementDocument:
    """Return the P-Modes of a file, in force from `at`, with findings on settings they cannot express.

    Raises GW808 for one that cannot be converted: without parties, or with terms that contradict each other.
    """
    product = find_peer_product(data)
    if product is None:
        raise GatewayError(MISUSE, "this is no P-Mode of Holodeck B2B or phase4", name)
    file = _PeerFile(name, product, {leaf.path: leaf for leaf in read_peer_leaves(data, name)})
    for leaf in file.leaves.values():
        _take_leaf(file, leaf)
    for term in _NEEDED:
        file.require(term)
    pmodes = tuple(_make_pmode(file, leg, at) for leg in _list_legs(file))
    for leg, pmode in enumerate(pmodes, 1):
        _tell_signals(file, leg, pmode)
        if product == "holodeck" and not any(path.startswith(f"Leg{leg}/Receipt") for path in file.leaves):
            no_receipt = f"leg {leg} has no Receipt: the hub gives and wants a signed one for each message"
            file.tell("peer-unsaid", name, no_receipt)
    PModeIndex(pmodes)
    file.tell("peer-filled", name, "the file says no period: it is ten years from now")
    remark = "messages to the hub end in the mailbox, unless `gateway agreement override --deliver-to case`"
    file.tell("peer-filled", name, f"the file does not say deliver_to: {remark}")
    places = {("pmode", made_pmode.id): name for made_pmode in pmodes}
    return AgreementDocument(pmodes, name, places, tuple(file.findings))


def _take_leaf(file: _PeerFile, leaf: PeerLeaf) -> None:
    """Keep a leaf that is a term; report every other leaf."""
    term = PATHS[file.product].get(leaf.path)
    name = "" if term is None else term.rpartition(".")[2]
    if any(leaf.path.endswith(end) and leaf.value == value for end, value in DEFAULTS.items()):
        return
    if name in HELD_VALUES:
        if leaf.value and leaf.value != HELD_VALUES[name]:
            text = f"{leaf.path} is {leaf.value[:80]}; the hub does {HELD_VALUES[name]} alone"
            file.tell("peer-unsaid", leaf.location, text)
    elif term is not None:
        file.terms[term] = leaf
    # The term only records that there is a key; the alias of this key is reported.
    if term is None or name in _ALIASES:
        _tell_leaf(file, leaf)


def _tell_leaf(file: _PeerFile, leaf: PeerLeaf) -> None:
    reason = next((explanation for part, explanation in UNNEEDED.items() if part in leaf.path), None)
    if leaf.path.endswith(("/username", "/password")) and _is_pull_login(file, leaf.path):
        reason = "a login for PullRequests is in the settings of the hub"
    if reason is not None:
        # A password in a file is never shown.
        file.tell("peer-unneeded", leaf.location, f"{leaf.path} is not read: {reason}")
    elif leaf.value:
        value_text = "" if "assword" in leaf.path else f" ({leaf.value[:80]})"
        file.tell(
            "peer-unsaid",
            leaf.location,
            f"{leaf.path}{value_text} cannot be said in a P-Mode of this gateway",
        )


def _is_pull_login(file: _PeerFile, path: str) -> bool:
    """Return whether a name or a password is that of a PullRequest, not of business messages."""
    token = path.rpartition("/")[0]
    target, binding = (file.leaves.get(name) for name in (f"{token}/@target", "mepBinding"))
    pulls = binding is not None and "pull" in _normalize(binding.value)
    return pulls and ("/PullRequestFlow" in path or (target is not None and target.value == "ebms"))


def _list_legs(file: _PeerFile) -> list[int]:
    """Return the numbers of the legs; raise GW808 for an exchange that a P-Mode of the hub cannot express."""
    _find_binding(file)
    return [1, 2] if _normalize(file.require("mep")) == "twoway" else [1]


def _find_binding(file: _PeerFile) -> tuple[str | None, tuple[int, ...]]:
    """Return the hub's name of the binding, and the legs that are pulled; raise GW808 for an unknown one."""
    mep, binding = (_normalize(file.require(term)) for term in ("mep", "binding"))
    if (mep, binding) not in _BINDINGS:
        detail = f"the exchange {mep[:40]} by {binding[:40]} cannot be said in a P-Mode of this gateway"
        raise GatewayError(MISUSE, detail, file.terms["binding"].location)
    return _BINDINGS[mep, binding]


def _normalize(value: str) -> str:
    return "".join(character for character in value.rpartition("/")[2].lower() if character.isalnum())


def _make_pmode(file: _PeerFile, leg: int, at: datetime) -> PMode:
    binding, pulled_legs = _find_binding(file)
    pulled = leg in pulled_legs
    # If the first leg is pulled, the responder sends it; the second leg has the opposite direction.
    sender, receiver = _SIDES if (leg == 1) != (1 in pulled_legs) else _SIDES[::-1]
    endpoint, back = file.get(f"leg{leg}.endpoint"), file.get(f"leg{3 - leg}.endpoint")
    if endpoint is not None and (fault := find_endpoint_fault(endpoint)):
        raise GatewayError(MISUSE, f"the endpoint {fault}", file.terms[f"leg{leg}.endpoint"].location)
    if binding is not None or pulled:
        # Messages are posted to, and pulled from, the only party that has an address: the responder.
        endpoint = back = endpoint or back
    else:
        back = back or file.get(f"leg{leg}.receipts_to")
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
        mpc=_drop_default(_get_channel(file, leg)),
        mep="two-way" if _normalize(file.require("mep")) == "twoway" else "one-way",
        reply_pattern=(file.get(f"leg{leg}.reply_pattern") or "response").lower(),
        pull=_make_pull(file, leg) if pulled else None,
        mep_binding=binding,
    )


def _tell_signals(file: _PeerFile, leg: int, pmode: PMode) -> None:
    """Report each receipt or error address of a leg, or error pattern, that the P-Mode does not follow."""
    for term in ("receipts_to", "errors_to"):
        address = file.get(f"leg{leg}.{term}")
        if address is not None and address != pmode.reply_endpoint:
            leaf = file.terms[f"leg{leg}.{term}"]
            remark = (
                f"{leaf.path} is {address[:80]}; the hub takes {pmode.reply_endpoint or 'the HTTP answer'}"
            )
            file.tell("peer-unsaid", leaf.location, remark)
    errors = file.get(f"leg{leg}.error_pattern")
    if errors is not None and errors.lower() != pmode.reply_pattern and pmode.pull is None:
        leaf = file.terms[f"leg{leg}.error_pattern"]
        remark = f"{leaf.path} is {errors[:80]}; errors go where receipts go, by {pmode.reply_pattern}"
        file.tell("peer-unsaid", leaf.location, remark)


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
    """Return the signature terms of a side; Holodeck states them by party, phase4 by leg."""

    def find(name: str) -> str | None:
        return file.get(f"{sender}.{name}") or file.get(f"leg{leg}.{name}")

    algorithm, reference = find("signature_algorithm"), find("token_reference")
    if algorithm is None:
        text = f"the file names no signature of leg {leg}: its messages are signed as the policy has it"
        file.tell("peer-filled", file.name, f"{text}, and refused unsigned")
    if reference == "X509v3" and _FLAGS.get(find("token_path") or "false"):
        reference = "X509PKIPathv1"
    return Security(
        signature_algorithms=() if algorithm is None else (algorithm,),
        hash_function=find("hash_function"),
        token_reference=reference,
    )


def _make_encryption(file: _PeerFile, receiver: str, leg: int) -> Encryption | None:
    cipher = file.get(f"{receiver}.cipher") or file.get(f"leg{leg}.cipher")
    if cipher is None:
        if file.get(f"{receiver}.encrypted") is None:
            return None
        cipher = file.fill(f"{receiver}.cipher", VALUES["aes-128-gcm"])
    transport = file.get(f"{receiver}.key_transport")
    algorithms = [cipher] if transport is None else [cipher, transport]
    if any(f"{receiver}.{term}" in file.terms for term in _KEY_AGREEMENT):
        algorithms += [file.get(f"{receiver}.{term}") or uri for term, uri in _KEY_AGREEMENT.items()]
    return Encryption("XMLENC", tuple(algorithms))


def _make_reliability(file: _PeerFile, leg: int) -> Reliability:
    terms: dict[str, Any] = {}
    retries, seconds = (file.get_number(leg, term) for term in ("retries", "seconds"))
    intervals = file.get_of_leg(leg, "intervals")
    if intervals is not None:
        location = file.terms[f"leg{leg}.intervals"].location
        waits = [_read_number(wait.strip(), location) for wait in intervals.split(",")]
        retries, seconds = len(waits) - 1, max(1, waits[0])
        if len(set(waits)) > 1:
            remark = f"the intervals {intervals[:80]} differ: the hub repeats every {seconds} seconds"
            file.tell("peer-unsaid", location, remark)
    milliseconds = file.get_number(leg, "milliseconds")
    if milliseconds is not None:
        seconds = max(1, -(-milliseconds // 1000))
    if file.get_flag(leg, "repeats") is False:
        retries = 0
    terms |= {} if retries is None else {"retries": retries}
    terms |= {} if seconds is None else {"retry_interval": seconds}
    if file.get_flag(leg, "elimination") is False:
        terms["duplicate_elimination"] = "never"
    reliability = Reliability(**terms)
    if retries is None:
        repeats = f"{reliability.retries}, every {reliability.retry_interval} seconds"
        file.tell("peer-filled", file.name, f"the file says no repeats of leg {leg}: {repeats}")
    return replace(reliability, persist_duration=max(reliability.persist_duration, reliability.time_to_live))


def _make_packaging(file: _PeerFile, leg: int) -> Packaging | None:
    if file.get_flag(leg, "compressed"):
        return _GZIP_PACKAGING
    method = file.get("compression")
    if method not in (None, GZIP):
        remark = f"compression {str(method)[:80]} is not gzip"
        file.tell("peer-unsaid", file.terms["compression"].location, remark)
    return _GZIP_PACKAGING if method == GZIP else None


def _get_channel(file: _PeerFile, leg: int) -> str | None:
    """Return the channel of the messages of a leg; a file may name only the channel of the PullRequest."""
    return file.get(f"leg{leg}.mpc") or file.get(f"leg{leg}.pull_mpc")


def _make_pull(file: _PeerFile, leg: int) -> PullTerms:
    """Return how a PullRequest of the initiator is authorized, and the sub-channel that it names."""
    targets = (file.get("initiator.login"), file.get("initiator.second_login"))
    login = "ebms" in targets or f"leg{leg}.pull_login" in file.terms
    signed = f"leg{leg}.pull_signed" in file.terms or "initiator.signed" in file.terms
    authorization = ("both" if signed else "username") if login else "certificate"
    requested, channel = file.get(f"leg{leg}.pull_mpc"), _get_channel(file, leg)
    if requested is None or requested == channel:
        return PullTerms(authorization)
    if not requested.startswith(f"{channel}/"):
        location = file.terms[f"leg{leg}.pull_mpc"].location
        file.tell("peer-unsaid", location, f"the PullRequest asks for {requested[:80]}, not below {channel}")
        return PullTerms(authorization)
    return PullTerms(authorization, requested.removeprefix(f"{channel}/"))

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
    DEFAULT_VALUES,
    FIXED_VALUES,
    NAMED_TERMS,
    TERMS_BY_PATH,
    UNNEEDED_REASONS,
    VALUE_BY_NAME,
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
from gateway.agreements.register_lengths import check_pmode_lengths
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway.wire import EB3

#: How long an agreement is in force whose file says no period.
_DEFAULT_PERIOD: Final = timedelta(days=3653)
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
_REQUIRED_TERMS: Final = ("id", "mep", "binding")
#: Terms that name a key of the other product's store.
_KEY_ALIAS_TERMS: Final = ("encrypted", "signed", "pull_signed")
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
#: What Holodeck B2B does where a key agreement is agreed and the file says no more of it.
_KEY_AGREEMENT: Final = {
    "key_agreement": "http://www.w3.org/2009/xmlenc11#ECDH-ES",
    "key_derivation": "http://www.w3.org/2009/xmlenc11#ConcatKDF",
    "key_wrap": "http://www.w3.org/2001/04/xmlenc#kw-aes128",
}


def is_peer_pmode(file_octets: bytes) -> bool:
    """Return whether a file is a P-Mode of Holodeck B2B or phase4."""
    return find_peer_product(file_octets) is not None


@dataclass
class _PeerFile:
    """The terms that have been read from a file, and the findings to report about it."""

    file_name: str
    product: str
    leaf_by_path: dict[str, PeerLeaf]
    leaf_by_term: dict[str, PeerLeaf] = field(default_factory=dict)
    findings: list[AgreementFinding] = field(default_factory=list)

    def report(self, rule: str, location: str, text: str) -> None:
        self.findings.append(make_finding(rule, location, text))

    def get_term(self, term: str) -> str | None:
        """Return the value of `term`, a short name of an algorithm as its URI; None if absent or empty."""
        leaf = self.leaf_by_term.get(term)
        if leaf is None or not leaf.value:
            return None
        return (
            VALUE_BY_NAME.get(leaf.value, leaf.value)
            if term.rpartition(".")[2] in NAMED_TERMS
            else leaf.value
        )

    def get_required_term(self, term: str) -> str:
        value = self.get_term(term)
        if value is None:
            raise GatewayError(MISUSE, f"the P-Mode of {self.product} does not say {term}", self.file_name)
        return value

    def get_or_fill_term(self, term: str, default_value: str) -> str:
        stated_value = self.get_term(term)
        if stated_value is not None:
            return stated_value
        self.report("peer-filled", self.file_name, f"the file does not say {term}: it is {default_value}")
        return default_value

    def get_leg_term(self, leg: int, term: str) -> str | None:
        """Return the value of a term of a leg; phase4 says it once for the whole file."""
        return self.get_term(self._choose_term_name(leg, term))

    def get_number(self, leg: int, term: str) -> int | None:
        value, name = self.get_leg_term(leg, term), self._choose_term_name(leg, term)
        return None if value is None else _read_number(value, self.leaf_by_term[name].location)

    def get_boolean(self, leg: int, term: str) -> bool | None:
        """Return the value of an ``xs:boolean``."""
        value, name = self.get_leg_term(leg, term), self._choose_term_name(leg, term)
        if value is not None and value not in _BOOLEANS:
            raise GatewayError(
                MISUSE, f"{value[:60]!r} is not true or false", self.leaf_by_term[name].location
            )
        return None if value is None else _BOOLEANS[value]

    def _choose_term_name(self, leg: int, term: str) -> str:
        return f"leg{leg}.{term}" if f"leg{leg}.{term}" in self.leaf_by_term else term


def _read_number(value: str, location: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise GatewayError(MISUSE, f"{value[:60]!r} is not a whole number", location)
    return int(value)


def read_peer_pmode(file_octets: bytes, file_name: str, at: datetime) -> AgreementDocument:
    """Return the P-Modes of a file, in force from `at`, with findings on settings they cannot express.

    Raises GW808 for one that cannot be converted: without parties, with terms that contradict each other, or
    with names that are too long.
    """
    product = find_peer_product(file_octets)
    if product is None:
        raise GatewayError(MISUSE, "this is no P-Mode of Holodeck B2B or phase4", file_name)
    file = _PeerFile(
        file_name, product, {leaf.path: leaf for leaf in read_peer_leaves(file_octets, file_name)}
    )
    for leaf in file.leaf_by_path.values():
        _store_leaf(file, leaf)
    for term in _REQUIRED_TERMS:
        file.get_required_term(term)
    pmodes = tuple(_make_pmode(file, leg, at) for leg in _list_legs(file))
    for leg, pmode in enumerate(pmodes, 1):
        check_pmode_lengths(pmode)
        _report_signal_terms(file, leg, pmode)
        if product == "holodeck" and not any(
            path.startswith(f"Leg{leg}/Receipt") for path in file.leaf_by_path
        ):
            no_receipt = f"leg {leg} has no Receipt: the hub gives and wants a signed one for each message"
            file.report("peer-unsaid", file_name, no_receipt)
    PModeIndex(pmodes)
    file.report("peer-filled", file_name, "the file says no period: it is ten years from now")
    remark = "messages to the hub end in the mailbox, unless `gateway agreement override --deliver-to case`"
    file.report("peer-filled", file_name, f"the file does not say deliver_to: {remark}")
    places = {("pmode", made_pmode.id): file_name for made_pmode in pmodes}
    return AgreementDocument(pmodes, file_name, places, tuple(file.findings))


def _store_leaf(file: _PeerFile, leaf: PeerLeaf) -> None:
    """Keep a leaf that is a term; report every other leaf."""
    term = TERMS_BY_PATH[file.product].get(leaf.path)
    term_name = "" if term is None else term.rpartition(".")[2]
    if any(
        leaf.path.endswith(path_end) and leaf.value == value for path_end, value in DEFAULT_VALUES.items()
    ):
        return
    if term_name in FIXED_VALUES:
        if leaf.value and leaf.value != FIXED_VALUES[term_name]:
            text = f"{leaf.path} is {leaf.value[:80]}; the hub does {FIXED_VALUES[term_name]} alone"
            file.report("peer-unsaid", leaf.location, text)
    elif term is not None:
        file.leaf_by_term[term] = leaf
    # The term only records that there is a key; the alias of this key is reported.
    if term is None or term_name in _KEY_ALIAS_TERMS:
        _report_leaf(file, leaf)


def _report_leaf(file: _PeerFile, leaf: PeerLeaf) -> None:
    """Report a value of the file that is not read: as unneeded, or as one that no P-Mode here can express.

    An empty value of the second kind is not reported. The value of a password is never shown.
    """
    reason = next((explanation for part, explanation in UNNEEDED_REASONS.items() if part in leaf.path), None)
    if leaf.path.endswith(("/username", "/password")) and _is_pull_login(file, leaf.path):
        reason = "a login for PullRequests is in the settings of the hub"
    if reason is not None:
        # A password in a file is never shown.
        file.report("peer-unneeded", leaf.location, f"{leaf.path} is not read: {reason}")
    elif leaf.value:
        value_text = "" if "assword" in leaf.path else f" ({leaf.value[:80]})"
        file.report(
            "peer-unsaid",
            leaf.location,
            f"{leaf.path}{value_text} cannot be said in a P-Mode of this gateway",
        )


def _is_pull_login(file: _PeerFile, path: str) -> bool:
    """Return whether a name or a password is that of a PullRequest, not of business messages."""
    token_path = path.rpartition("/")[0]
    target, binding = (file.leaf_by_path.get(name) for name in (f"{token_path}/@target", "mepBinding"))
    has_pull_binding = binding is not None and "pull" in _normalize_name(binding.value)
    return has_pull_binding and (
        "/PullRequestFlow" in path or (target is not None and target.value == "ebms")
    )


def _list_legs(file: _PeerFile) -> list[int]:
    """Return the numbers of the legs; raise GW808 for an exchange that a P-Mode of the hub cannot express."""
    _find_binding(file)
    return [1, 2] if _normalize_name(file.get_required_term("mep")) == "twoway" else [1]


def _find_binding(file: _PeerFile) -> tuple[str | None, tuple[int, ...]]:
    """Return the hub's name of the binding, and the legs that are pulled; raise GW808 for an unknown one."""
    mep, binding = (_normalize_name(file.get_required_term(term)) for term in ("mep", "binding"))
    if (mep, binding) not in _BINDINGS:
        detail = f"the exchange {mep[:40]} by {binding[:40]} cannot be said in a P-Mode of this gateway"
        raise GatewayError(MISUSE, detail, file.leaf_by_term["binding"].location)
    return _BINDINGS[mep, binding]


def _normalize_name(value: str) -> str:
    return "".join(character for character in value.rpartition("/")[2].lower() if character.isalnum())


def _make_pmode(file: _PeerFile, leg: int, at: datetime) -> PMode:
    """Return the P-Mode of leg 1 or 2 of the exchange, valid from `at`; raise GW808 for a wrong endpoint."""
    binding, pulled_legs = _find_binding(file)
    is_pulled = leg in pulled_legs
    # If the first leg is pulled, the responder sends it; the second leg has the opposite direction.
    sender, receiver = _SIDES if (leg == 1) != (1 in pulled_legs) else _SIDES[::-1]
    endpoint, reply_endpoint = file.get_term(f"leg{leg}.endpoint"), file.get_term(f"leg{3 - leg}.endpoint")
    if endpoint is not None and (fault := find_endpoint_fault(endpoint)):
        raise GatewayError(MISUSE, f"the endpoint {fault}", file.leaf_by_term[f"leg{leg}.endpoint"].location)
    if binding is not None or is_pulled:
        # Messages are posted to, and pulled from, the only party that has an address: the responder.
        endpoint = reply_endpoint = endpoint or reply_endpoint
    else:
        reply_endpoint = reply_endpoint or file.get_term(f"leg{leg}.receipts_to")
    pmode_id = file.get_required_term("id")
    return PMode(
        id=pmode_id if leg == 1 else f"{pmode_id}-2",
        agreement=_choose_agreement(file, pmode_id, leg),
        agreement_type=file.get_term("agreement_type"),
        protocol="as4",
        from_party=_make_party(file, sender),
        from_role=_get_role(file, sender, leg),
        to_party=_make_party(file, receiver),
        to_role=_get_role(file, receiver, leg),
        service=file.get_required_term(f"leg{leg}.service"),
        service_type=file.get_term(f"leg{leg}.service_type"),
        action=file.get_required_term(f"leg{leg}.action"),
        valid_from=at,
        valid_until=at + _DEFAULT_PERIOD,
        security=_make_security(file, sender, leg),
        reliability=_make_reliability(file, leg),
        encryption=_make_encryption(file, receiver, leg),
        packaging=_make_packaging(file, leg),
        endpoint=None if is_pulled else endpoint,
        reply_endpoint=None if binding is not None and not is_pulled else reply_endpoint,
        mpc=_drop_default_channel(_get_channel(file, leg)),
        mep="two-way" if _normalize_name(file.get_required_term("mep")) == "twoway" else "one-way",
        reply_pattern=(file.get_term(f"leg{leg}.reply_pattern") or "response").lower(),
        pull=_make_pull(file, leg) if is_pulled else None,
        mep_binding=binding,
    )


def _report_signal_terms(file: _PeerFile, leg: int, pmode: PMode) -> None:
    """Report each receipt or error address of a leg, or error pattern, that the P-Mode does not follow."""
    for term in ("receipts_to", "errors_to"):
        address = file.get_term(f"leg{leg}.{term}")
        if address is not None and address != pmode.reply_endpoint:
            leaf = file.leaf_by_term[f"leg{leg}.{term}"]
            remark = (
                f"{leaf.path} is {address[:80]}; the hub takes {pmode.reply_endpoint or 'the HTTP answer'}"
            )
            file.report("peer-unsaid", leaf.location, remark)
    error_pattern = file.get_term(f"leg{leg}.error_pattern")
    if error_pattern is not None and error_pattern.lower() != pmode.reply_pattern and pmode.pull is None:
        leaf = file.leaf_by_term[f"leg{leg}.error_pattern"]
        remark = f"{leaf.path} is {error_pattern[:80]}; errors go where receipts go, by {pmode.reply_pattern}"
        file.report("peer-unsaid", leaf.location, remark)


def _choose_agreement(file: _PeerFile, pmode_id: str, leg: int) -> str:
    """Return the agreement of a file, or one of the P-Mode's name, as a URI because it has no type."""
    default = pmode_id if is_uri(pmode_id) else f"{_UNNAMED_AGREEMENT}{quote(pmode_id, safe='')}"
    return file.get_or_fill_term("agreement", default) if leg == 1 else file.get_term("agreement") or default


def _drop_default_channel(mpc: str | None) -> str | None:
    return None if mpc == f"{EB3}defaultMPC" else mpc


def _make_party(file: _PeerFile, side: str) -> tuple[PartyId, ...]:
    return (PartyId(file.get_required_term(f"{side}.id"), file.get_term(f"{side}.type")),)


def _get_role(file: _PeerFile, side: str, leg: int) -> str:
    """Return the role of the party on `side`; the default role of ebMS 3.0 is reported once, for leg 1."""
    default = f"{EB3}defaultRole"
    return (
        file.get_or_fill_term(f"{side}.role", default)
        if leg == 1
        else file.get_term(f"{side}.role") or default
    )


def _make_security(file: _PeerFile, sender: str, leg: int) -> Security:
    """Return the signature terms of a side; Holodeck states them by party, phase4 by leg."""

    def find(term_name: str) -> str | None:
        return file.get_term(f"{sender}.{term_name}") or file.get_term(f"leg{leg}.{term_name}")

    signature_algorithm, reference = find("signature_algorithm"), find("token_reference")
    if signature_algorithm is None:
        text = f"the file names no signature of leg {leg}: its messages are signed as the policy has it"
        file.report("peer-filled", file.file_name, f"{text}, and refused unsigned")
    if reference == "X509v3" and _BOOLEANS.get(find("token_path") or "false"):
        reference = "X509PKIPathv1"
    return Security(
        signature_algorithms=() if signature_algorithm is None else (signature_algorithm,),
        hash_function=find("hash_function"),
        token_reference=reference,
    )


def _make_encryption(file: _PeerFile, receiver: str, leg: int) -> Encryption | None:
    """Return the encryption for the party `receiver`; None if the file does not ask for encryption."""
    cipher = file.get_term(f"{receiver}.cipher") or file.get_term(f"leg{leg}.cipher")
    if cipher is None:
        if file.get_term(f"{receiver}.encrypted") is None:
            return None
        cipher = file.get_or_fill_term(f"{receiver}.cipher", VALUE_BY_NAME["aes-128-gcm"])
    key_transport = file.get_term(f"{receiver}.key_transport")
    algorithms = [cipher] if key_transport is None else [cipher, key_transport]
    if any(f"{receiver}.{term}" in file.leaf_by_term for term in _KEY_AGREEMENT):
        algorithms += [file.get_term(f"{receiver}.{term}") or uri for term, uri in _KEY_AGREEMENT.items()]
    return Encryption("XMLENC", tuple(algorithms))


def _make_reliability(file: _PeerFile, leg: int) -> Reliability:
    """Return the reliability of a leg; report unequal intervals, and retries that the file does not state.

    Waiting times of the file in milliseconds are rounded up to seconds, at least one.
    """
    terms: dict[str, Any] = {}
    retries, retry_seconds = (file.get_number(leg, term) for term in ("retries", "seconds"))
    intervals = file.get_leg_term(leg, "intervals")
    if intervals is not None:
        location = file.leaf_by_term[f"leg{leg}.intervals"].location
        wait_seconds = [_read_number(wait.strip(), location) for wait in intervals.split(",")]
        retries, retry_seconds = len(wait_seconds) - 1, max(1, wait_seconds[0])
        if len(set(wait_seconds)) > 1:
            remark = f"the intervals {intervals[:80]} differ: the hub repeats every {retry_seconds} seconds"
            file.report("peer-unsaid", location, remark)
    milliseconds = file.get_number(leg, "milliseconds")
    if milliseconds is not None:
        retry_seconds = max(1, -(-milliseconds // 1000))
    if file.get_boolean(leg, "repeats") is False:
        retries = 0
    terms |= {} if retries is None else {"retries": retries}
    terms |= {} if retry_seconds is None else {"retry_interval": retry_seconds}
    if file.get_boolean(leg, "elimination") is False:
        terms["duplicate_elimination"] = "never"
    reliability = Reliability(**terms)
    if retries is None:
        repeats = f"{reliability.retries}, every {reliability.retry_interval} seconds"
        file.report("peer-filled", file.file_name, f"the file says no repeats of leg {leg}: {repeats}")
    return replace(reliability, persist_duration=max(reliability.persist_duration, reliability.time_to_live))


def _make_packaging(file: _PeerFile, leg: int) -> Packaging | None:
    """Return the gzip packaging, or None; report a compression that is not gzip."""
    if file.get_boolean(leg, "compressed"):
        return _GZIP_PACKAGING
    compression_type = file.get_term("compression")
    if compression_type not in (None, GZIP):
        remark = f"compression {str(compression_type)[:80]} is not gzip"
        file.report("peer-unsaid", file.leaf_by_term["compression"].location, remark)
    return _GZIP_PACKAGING if compression_type == GZIP else None


def _get_channel(file: _PeerFile, leg: int) -> str | None:
    """Return the channel of the messages of a leg; a file may name only the channel of the PullRequest."""
    return file.get_term(f"leg{leg}.mpc") or file.get_term(f"leg{leg}.pull_mpc")


def _make_pull(file: _PeerFile, leg: int) -> PullTerms:
    """Return how a PullRequest of the initiator is authorized, and the sub-channel that it names."""
    targets = (file.get_term("initiator.login"), file.get_term("initiator.second_login"))
    has_login = "ebms" in targets or f"leg{leg}.pull_login" in file.leaf_by_term
    is_signed = f"leg{leg}.pull_signed" in file.leaf_by_term or "initiator.signed" in file.leaf_by_term
    authorization = ("both" if is_signed else "username") if has_login else "certificate"
    requested_channel, channel = file.get_term(f"leg{leg}.pull_mpc"), _get_channel(file, leg)
    if requested_channel is None or requested_channel == channel:
        return PullTerms(authorization)
    if not requested_channel.startswith(f"{channel}/"):
        location = file.leaf_by_term[f"leg{leg}.pull_mpc"].location
        file.report(
            "peer-unsaid", location, f"the PullRequest asks for {requested_channel[:80]}, not below {channel}"
        )
        return PullTerms(authorization)
    return PullTerms(authorization, requested_channel.removeprefix(f"{channel}/"))

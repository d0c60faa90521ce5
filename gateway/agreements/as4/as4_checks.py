"""Finds the contradictions in an agreement by AS4, and its deviations from its profile."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from gateway.agreements.agreement_rules import (
    AgreementDocument,
    AgreementFinding,
    HubView,
    KnownParty,
    make_finding,
)
from gateway.agreements.as4.profile_tables import ADVICE, Profile, ProfileRow, read_profile
from gateway.agreements.pmode import EXCHANGE_BY_BINDING, PMode, is_uri
from gateway.wire import EB3

_MAX_CHARACTERS: Final = 120
#: Key agreement algorithms by the last part of their URI: the first one that an agreement lists counts.
_KEY_AGREEMENTS: Final = ("x25519", "x448", "ecdh-es")


class ProfileDeviation(NamedTuple):
    """A row that a P-Mode does not meet: whether it is only advice, and a sentence."""

    row: ProfileRow
    text: str

    @property
    def is_advice(self) -> bool:
        """Return whether the profile only recommends the demand of the row."""
        return self.row.level == ADVICE


def find_deviations(pmode: PMode, profile: Profile) -> Iterator[ProfileDeviation]:
    """Yield the demands of a profile that a P-Mode does not meet."""
    for row in profile.rows:
        if not row.term:
            continue
        term_value = TERM_READERS[row.term](pmode)
        if not _DEMAND_CHECKS[row.demand](term_value, row):
            text = (
                f"{row.term} is {_describe_value(term_value)}; {profile.name} wants {_describe_demand(row)}"
            )
            yield ProfileDeviation(row, f"P-Mode {pmode.id}: {text}")


def _list_algorithms(pmode: PMode) -> tuple[str, ...] | None:
    return None if pmode.encryption is None else pmode.encryption.algorithms


def _get_message_binding(pmode: PMode) -> str:
    """Return how a message travels: a response in the HTTP answer is another binding (core §2.2.5)."""
    if pmode.pull is not None:
        return "pull"
    return "sync" if pmode.has_response_in_answer else "push"


def _find_key_agreement(pmode: PMode) -> str | None:
    names = {
        _shorten_algorithm(algorithm): algorithm.rpartition("#")[2]
        for algorithm in _list_algorithms(pmode) or ()
    }
    return next((names[name] for name in _KEY_AGREEMENTS if name in names), None)


#: The terms that rows name, as they are read from a P-Mode.
TERM_READERS: Final[Mapping[str, Callable[[PMode], Any]]] = {
    "protocol": lambda one: one.protocol,
    "agreement": lambda one: one.agreement,
    "agreement_type": lambda one: one.agreement_type,
    "mep": lambda one: one.mep,
    "mep_binding": _get_message_binding,
    "mpc": lambda one: one.mpc or "",
    "service": lambda one: one.service,
    "service_type": lambda one: one.service_type,
    "action": lambda one: one.action,
    "from.ids": lambda one: one.from_party,
    "to.ids": lambda one: one.to_party,
    "from.id": lambda one: one.from_party[0].value,
    "to.id": lambda one: one.to_party[0].value,
    "from.type": lambda one: one.from_party[0].type or one.from_party[0].value,
    "to.type": lambda one: one.to_party[0].type or one.to_party[0].value,
    "from.role": lambda one: one.from_role,
    "to.role": lambda one: one.to_role,
    "endpoint": lambda one: one.endpoint,
    "security.sign": lambda one: one.security.sign,
    "security.signature_algorithm": lambda one: next(iter(one.security.signature_algorithms), None),
    "security.hash_function": lambda one: one.security.hash_function,
    "security.token_reference": lambda one: one.security.token_reference,
    "security.mutual_tls": lambda one: one.security.mutual_tls,
    "encryption": lambda one: one.encryption and one.encryption.algorithms,
    "encryption.algorithms": _list_algorithms,
    "encryption.agreement": _find_key_agreement,
    "compression": lambda one: "gzip" if one.compresses_payloads else "none",
    # A P-Mode that splits nothing meets every demand of splitting.
    "splitting.compression": lambda one: "gzip" if one.splitting is None else one.splitting.compression,
    "reply_pattern": lambda one: one.reply_pattern,
    "reliability.ack_requested": lambda one: one.reliability.ack_requested,
    "reliability.ack_signed": lambda one: one.reliability.ack_signed,
    "reliability.duplicate_elimination": lambda one: one.reliability.duplicate_elimination,
    "reliability.retries": lambda one: one.reliability.retries,
}


def _shorten_algorithm(algorithm: str) -> str:
    """Return an algorithm without the namespace of its URI: files may name it either way."""
    return algorithm.rpartition("#")[2].lower()


def _includes(agreed_algorithms: Any, row: ProfileRow) -> bool:
    """Return whether all algorithms of `row` are agreed, and beside them only those that `row` allows."""
    # Without encryption, the row of the term ``encryption`` reports the deviation.
    if agreed_algorithms is None:
        return True
    agreed_names, demanded_names = (
        {_shorten_algorithm(algorithm) for algorithm in agreed_algorithms},
        {_shorten_algorithm(algorithm) for algorithm in row.value},
    )
    return (
        demanded_names
        <= agreed_names
        <= demanded_names | {_shorten_algorithm(algorithm) for algorithm in row.allows}
    )


def _is_among(value: Any, row: ProfileRow) -> bool:
    return value in row.value or (value is None and row.term == "encryption.agreement")


_DEMAND_CHECKS: Final[Mapping[str, Callable[[Any, ProfileRow], bool]]] = {
    "is": lambda value, row: bool(value == row.value),
    "one_of": _is_among,
    "includes": _includes,
    "present": lambda value, _: bool(value),
    "absent": lambda value, _: not value,
    "begins": lambda value, row: value is None or value.startswith(row.value),
    "matches": lambda value, row: re.fullmatch(row.value, value or "") is not None,
    "count": lambda value, row: len(value) == row.value,
    "at_least": lambda value, row: bool(value >= row.value),
}
_DEMAND_PHRASES: Final[Mapping[str, str]] = {
    "is": "{}",
    "one_of": "one of {}",
    "includes": "a list with {}",
    "present": "a value",
    "absent": "none",
    "begins": "a value that begins with {}",
    "matches": "a value like {}",
    "count": "exactly {}",
    "at_least": "at least {}",
}


def _describe_demand(row: ProfileRow) -> str:
    """Return the demand of `row` in words, with the values that may be added to a list."""
    phrase = _DEMAND_PHRASES[row.demand].format(_describe_value(row.value))
    additional = (
        [algorithm for algorithm in row.allows if algorithm not in row.value]
        if row.demand == "includes"
        else []
    )
    return f"{phrase}, and beside it only {_describe_value(additional)}" if additional else phrase


def _describe_value(value: Any) -> str:
    if value is None or value in ((), ""):
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(_describe_value(member) for member in value)
    return str(getattr(value, "value", value))[:_MAX_CHARACTERS]


_AS4: Final = "as4"
_TEST_SERVICE: Final = f"{EB3}service"
_TEST_ACTION: Final = f"{EB3}test"
_DEFAULT_MPC: Final = f"{EB3}defaultMPC"
_CIPHERS: Final = ("gcm", "cbc")
_DERIVATIONS: Final = ("hkdf", "concatkdf")
_KEY_TRANSPORTS: Final = ("rsa-oaep", "rsa-oaep-mgf1p", "rsa-1_5")
_SHORT_SECONDS: Final = 60
#: A hub accepts bodies of 64 MiB by default; the envelope and the MIME headers need a part of that.
_MAX_BODY_OCTETS: Final = 63 * 1024**2
_UNSAID: Final = "no binding that is agreed"
_TWO_LEGS: Final = tuple(name for name, mep in EXCHANGE_BY_BINDING.items() if mep == "two-way")
_OTHER_LEGS: Final = {"request": "reply", "reply": "request"}
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class _BrokenRule:
    """A rule that a P-Mode breaks, and the fact that breaks it."""

    rule_id: str
    text: str


_BrokenRules = Iterator[_BrokenRule]
_Findings = Iterator[AgreementFinding]


def find_as4_problems(agreement: AgreementDocument, _hub_view: HubView) -> _Findings:
    """Yield a finding for each contradiction in or between P-Modes of AS4, with the place of the P-Mode."""
    for pmode in agreement.pmodes:
        for check in _PMODE_CHECKS if pmode.protocol == _AS4 else ():
            for broken_rule in check(pmode):
                location = agreement.find_place(("pmode", pmode.id))
                yield make_finding(broken_rule.rule_id, location, f"P-Mode {pmode.id}: {broken_rule.text}")
    for pmode, opposite in _list_opposites(agreement, lambda candidate: candidate.mep):
        text = f"P-Mode {pmode.id} is {pmode.mep}, and {opposite.id} of the same service is {opposite.mep}"
        yield make_finding("mep-different", agreement.find_place(("pmode", pmode.id)), text)
    for pmode, opposite in _list_opposites(agreement, lambda candidate: candidate.mep_binding or _UNSAID):
        names = (pmode.mep_binding or _UNSAID, opposite.mep_binding or _UNSAID)
        text = f"P-Mode {pmode.id} is by {names[0]}, and {opposite.id} of the same service by {names[1]}"
        yield make_finding("binding-different", agreement.find_place(("pmode", pmode.id)), text)
    for pmode in _list_half_exchanges(agreement):
        text = f"P-Mode {pmode.id}: mep_binding is {pmode.mep_binding}, and no {_describe_missing_leg(pmode)}"
        yield make_finding("binding-half", agreement.find_place(("pmode", pmode.id)), text)


def find_profile_deviations(agreement: AgreementDocument, _hub_view: HubView) -> _Findings:
    """Yield where P-Modes deviate from the profile of their agreement, with its clause."""
    for pmode in agreement.pmodes:
        if pmode.profile is None:
            continue
        location = agreement.find_place(("pmode", pmode.id))
        if pmode.protocol != _AS4:
            text = f"{pmode.profile} is a profile of AS4, and the protocol is {pmode.protocol}"
            yield make_finding("profile-protocol", agreement.find_place(("profile", "")), text)
            return
        profile = read_profile(pmode.profile)
        for deviation in find_deviations(pmode, profile):
            rule = "profile-advice" if deviation.is_advice else "profile-deviation"
            yield make_finding(
                rule,
                location,
                deviation.text,
                _format_clause(profile, deviation.row.clause, deviation.row.parameter),
            )


def _format_clause(profile: Profile, clause: str, parameter: str) -> str:
    return f"{profile.title}, {clause}" + (f": {parameter}" if parameter else "")


def _list_opposites(
    agreement: AgreementDocument, find_term: Callable[[PMode], str]
) -> Iterator[tuple[PMode, PMode]]:
    """Yield each pair of a P-Mode and the opposite one of its service whose values by `find_term` differ.

    Each service is reported once.
    """
    seen_services = set()
    for pmode in agreement.pmodes:
        opposite_pmodes = (
            candidate
            for candidate in agreement.pmodes
            if _is_opposite(pmode, candidate) and find_term(candidate) != find_term(pmode)
        )
        opposite = next(opposite_pmodes, None)
        if (
            opposite is not None
            and pmode.protocol == _AS4
            and (pmode.service, pmode.service_type) not in seen_services
        ):
            seen_services.add((pmode.service, pmode.service_type))
            yield pmode, opposite


def _is_opposite(pmode: PMode, opposite: PMode) -> bool:
    """Return whether `opposite` sends the answers to the submissions that arrive by `pmode`."""
    return (
        (pmode.service, pmode.service_type) == (opposite.service, opposite.service_type)
        and (pmode.from_party, pmode.to_party) == (opposite.to_party, opposite.from_party)
        # Only submissions have answers; a message that is delivered to a mailbox has none.
        and pmode.deliver_to == "case"
    )


def _list_half_exchanges(agreement: AgreementDocument) -> Iterator[PMode]:
    """Yield the P-Modes of two-way exchanges whose other leg the agreement does not have."""
    for pmode in agreement.pmodes:
        if pmode.protocol == _AS4 and pmode.mep_binding in _TWO_LEGS:
            binding_pmodes = (
                candidate for candidate in agreement.pmodes if candidate.mep_binding == pmode.mep_binding
            )
            if not any(_is_other_leg(pmode, candidate) for candidate in binding_pmodes):
                yield pmode


def _is_other_leg(pmode: PMode, candidate: PMode) -> bool:
    """Return whether two P-Modes of one binding are request and reply of one exchange (core §2.2.8)."""
    return (
        (pmode.service, pmode.service_type) == (candidate.service, candidate.service_type)
        and (pmode.from_party, pmode.to_party) == (candidate.to_party, candidate.from_party)
        and (pmode.leg is None or pmode.leg != candidate.leg)
    )


def _describe_missing_leg(pmode: PMode) -> str:
    return "message back is agreed" if pmode.leg is None else f"{_OTHER_LEGS[pmode.leg]} is agreed"


def _check_names(pmode: PMode) -> _BrokenRules:
    """Yield the rules on agreement name, roles, party identifiers and default channel that `pmode` breaks."""
    if pmode.agreement_type is None and not is_uri(pmode.agreement):
        yield _BrokenRule(
            "agreement-untyped", f"the agreement {pmode.agreement[:80]} is no URI and has no agreement_type"
        )
    for side_name, role, party_ids in (
        ("from", pmode.from_role, pmode.from_party),
        ("to", pmode.to_role, pmode.to_party),
    ):
        if role is None:
            yield _BrokenRule("role-missing", f"the {side_name} party has no role")
        if len(party_ids) > 1:
            yield _BrokenRule("party-ids-several", f"the {side_name} party has {len(party_ids)} identifiers")
    if pmode.from_role is not None and pmode.from_role == pmode.to_role:
        yield _BrokenRule("role-equal", f"both parties are {pmode.from_role[:80]}")
    if pmode.mpc == _DEFAULT_MPC:
        yield _BrokenRule("mpc-default-named", "mpc is the default channel")


def _check_pulling(pmode: PMode) -> _BrokenRules:
    """Yield the rules on pulling that `pmode` breaks, and those on channel and callback if it is pushed."""
    if pmode.pull is None:
        if pmode.mpc not in (None, _DEFAULT_MPC):
            yield _BrokenRule("mpc-on-push", f"mpc is {pmode.mpc}, and nothing says pull")
        if pmode.reply_pattern == "callback" and pmode.reply_endpoint is None:
            yield _BrokenRule(
                "callback-endpoint-missing", "reply_pattern is callback, and the from party has no endpoint"
            )
        return
    if pmode.mpc in (None, _DEFAULT_MPC):
        yield _BrokenRule("pull-default-mpc", "pull without an mpc of its own")
    if pmode.mep == "two-way" and pmode.mep_binding is None:
        yield _BrokenRule("pull-two-way", "pull with mep two-way, without mep_binding")
    if pmode.endpoint is not None:
        yield _BrokenRule(
            "pull-endpoint-unused", f"pull, and the receiver has the endpoint {pmode.endpoint[:80]}"
        )
    if pmode.pull.authorization == "username":
        yield _BrokenRule("pull-username", "pull with authorization username")


def _check_splitting(pmode: PMode) -> _BrokenRules:
    """Yield the rules on splitting into fragments that `pmode` breaks; none if it splits no messages."""
    terms = pmode.splitting
    if terms is None:
        return
    if pmode.reply_endpoint is None:
        yield _BrokenRule(
            "splitting-endpoint-missing", "messages are split, and the from party has no endpoint"
        )
    if pmode.has_response_in_answer:
        yield _BrokenRule(
            "splitting-synchronous", f"messages are split, and sync_reply_mode is {pmode.sync_reply_mode}"
        )
    if pmode.reliability.time_to_live > terms.join_interval:
        text = f"join_interval is {terms.join_interval}, and fragments are repeated for longer"
        yield _BrokenRule("splitting-interval-short", f"{text}: {pmode.reliability.time_to_live} seconds")
    if terms.fragment_size > _MAX_BODY_OCTETS:
        yield _BrokenRule("splitting-fragment-large", f"fragment_size is {terms.fragment_size}")
    if terms.message_size <= terms.fragment_size:
        text = f"message_size is {terms.message_size}, and fragment_size is {terms.fragment_size}"
        yield _BrokenRule("splitting-pointless", text)


def _check_test_service(pmode: PMode) -> _BrokenRules:
    if pmode.service == _TEST_SERVICE and pmode.deliver_to == "case":
        yield _BrokenRule("test-service-delivered", "the test service has deliver_to: case")
    if pmode.action == _TEST_ACTION and pmode.service != _TEST_SERVICE:
        yield _BrokenRule("test-action-alone", f"the test action is in service {pmode.service[:80]}")


def _check_reliability(pmode: PMode) -> _BrokenRules:
    """Yield the rules on receipts and retries that `pmode` breaks."""
    terms = pmode.reliability
    if not pmode.security.sign and terms.ack_requested != "never" and terms.ack_signed == "always":
        yield _BrokenRule("receipt-without-signature", "ack_signed is always, and sign is false")
    if terms.retries == 0:
        yield _BrokenRule("retries-none", "retries is 0")
    elif terms.time_to_live <= _SHORT_SECONDS:
        yield _BrokenRule("retries-short", f"all repeats are sent in {terms.time_to_live} seconds")


def _check_signature(pmode: PMode) -> _BrokenRules:
    """Yield the rules on signature algorithm, hash function and pinned certificates that `pmode` breaks."""
    signature_algorithm, hash_function = (
        next(iter(pmode.security.signature_algorithms), ""),
        pmode.security.hash_function or "",
    )
    algorithm_name = _shorten_algorithm_uri(signature_algorithm)
    if algorithm_name.endswith("-sha1") or algorithm_name.endswith("md5"):
        yield _BrokenRule("signature-broken", f"signature_algorithm is {signature_algorithm[:120]}")
    if _shorten_algorithm_uri(hash_function) in ("sha1", "md5"):
        yield _BrokenRule("hash-broken", f"hash_function is {hash_function[:120]}")
    elif (
        hash_function
        and "-sha" in algorithm_name
        and algorithm_name.rpartition("-")[2] != _shorten_algorithm_uri(hash_function)
    ):
        yield _BrokenRule(
            "hash-different",
            f"the signature is {algorithm_name}, the digests are {_shorten_algorithm_uri(hash_function)}",
        )
    shared_pins = set(pmode.security.certificates) & set(pmode.security.reply_certificates)
    if shared_pins:
        yield _BrokenRule("pin-shared", f"certificate {min(shared_pins)[:16]} is of both parties")


def _check_encryption(pmode: PMode) -> _BrokenRules:
    """Yield the rules on payload encryption that `pmode` breaks; none if it encrypts nothing."""
    if pmode.encryption is None:
        return
    algorithm_names = [_shorten_algorithm_uri(algorithm) for algorithm in pmode.encryption.algorithms]
    if not pmode.security.sign:
        yield _BrokenRule("encryption-unsigned", "payloads are encrypted, and sign is false")
    if not any(part in name for name in algorithm_names for part in _CIPHERS):
        yield _BrokenRule("cipher-missing", f"no cipher is among {', '.join(algorithm_names)[:200]}")
    for algorithm_name in algorithm_names:
        if algorithm_name.endswith("-cbc"):
            yield _BrokenRule("cipher-unauthenticated", f"{algorithm_name} is agreed")
        if algorithm_name in ("rsa-1_5", "rsa"):
            yield _BrokenRule("key-transport-weak", f"{algorithm_name} is agreed")
    yield from _check_keys(algorithm_names)


def _check_keys(algorithm_names: list[str]) -> _BrokenRules:
    """Yield the broken rules: key agreement needs a derivation and a key wrap, and no RSA key transport."""
    key_agreements = [name for name in algorithm_names if name in _KEY_AGREEMENTS]
    missing_algorithms = [
        algorithm_kind
        for algorithm_kind, is_agreed in {
            "a derivation (hkdf, ConcatKDF)": any(name in _DERIVATIONS for name in algorithm_names),
            "a key wrap (kw-aes128)": any(name.startswith("kw-") for name in algorithm_names),
        }.items()
        if not is_agreed
    ]
    if key_agreements and missing_algorithms:
        yield _BrokenRule(
            "key-agreement-incomplete", f"{key_agreements[0]} needs {' and '.join(missing_algorithms)}"
        )
    if key_agreements and any(name in _KEY_TRANSPORTS for name in algorithm_names):
        yield _BrokenRule("key-ways-several", f"{key_agreements[0]} is agreed beside a transport by RSA")


def _check_transport(pmode: PMode) -> _BrokenRules:
    """Yield a broken rule if the endpoint is ``http:`` under mutual TLS, or leads to another host."""
    url = pmode.endpoint
    if url is None or not url.startswith("http:"):
        return
    if pmode.security.mutual_tls:
        yield _BrokenRule("mutual-tls-open", f"mutual_tls is agreed, and the endpoint is {url[:80]}")
    elif urlsplit(url).hostname not in _LOOPBACK:
        yield _BrokenRule("endpoint-open", f"the endpoint is {url[:80]}")


def _shorten_algorithm_uri(algorithm: str) -> str:
    return algorithm.rpartition("#")[2].lower()


_PMODE_CHECKS: Final[tuple[Callable[[PMode], _BrokenRules], ...]] = (
    _check_names,
    _check_pulling,
    _check_splitting,
    _check_test_service,
    _check_reliability,
    _check_signature,
    _check_encryption,
    _check_transport,
)


def find_partner_problems(
    agreement: AgreementDocument,
    partner: KnownParty | None,
    hub_view: HubView,
    outgoing_pmodes: Sequence[PMode],
) -> Iterator[AgreementFinding]:
    """Yield a finding for each certificate that the partner lacks, and for each key that the hub lacks."""
    yield from _find_key_problems(agreement, hub_view)
    yield from _find_encryption_problems(agreement, partner, hub_view, outgoing_pmodes)


def _make_finding(agreement: AgreementDocument, pmode: PMode, rule_id: str, text: str) -> AgreementFinding:
    return make_finding(rule_id, agreement.find_place(("pmode", pmode.id)), f"P-Mode {pmode.id}: {text}")


def _find_key_problems(agreement: AgreementDocument, hub_view: HubView) -> Iterator[AgreementFinding]:
    """Yield a finding if the key of the hub cannot sign by an algorithm that the agreement allows."""
    # The hub signs messages in one direction and receipts in the other with the same algorithm: checking
    # one P-Mode is enough.
    own_algorithms = hub_view.own_algorithms
    for pmode in agreement.pmodes[:1]:
        agreed_algorithms = pmode.security.signature_algorithms
        if (
            pmode.protocol == "as4"
            and agreed_algorithms
            and own_algorithms
            and own_algorithms.isdisjoint(agreed_algorithms)
        ):
            text = f"{agreed_algorithms[0]} is agreed, and the hub's key signs by {min(own_algorithms)}"
            yield _make_finding(agreement, pmode, "own-algorithm", text)


def _find_encryption_problems(
    agreement: AgreementDocument,
    partner: KnownParty | None,
    hub_view: HubView,
    outgoing_pmodes: Sequence[PMode],
) -> Iterator[AgreementFinding]:
    """Yield a finding for each AS4 P-Mode that encrypts for `partner` without a usable certificate of it.

    `pin` is the SHA-256 digest of the certificate that the P-Mode names, or None. `usable_digests` are the
    digests of the encryption certificates of `partner` that have not ended.
    """
    for pmode in outgoing_pmodes:
        if partner is None or pmode.encryption is None or pmode.protocol != "as4":
            continue
        certificates = (
            certificate
            for certificate in partner.certificates
            if certificate.use == "encryption" and certificate.ends > hub_view.at
        )
        usable_digests, pin = (
            {certificate.sha256 for certificate in certificates},
            pmode.encryption.certificate,
        )
        if pin is not None and pin not in usable_digests:
            text = f"certificate {pin[:16]} is not one that {partner.name} has for encryption"
            yield _make_finding(agreement, pmode, "encryption-pin-unknown", text)
        elif not usable_digests:
            text = (
                f"its payloads are encrypted for party {partner.name}, which has no certificate for it: "
                f"`gateway party certificate add {partner.name} FILE --use encryption`"
            )
            yield _make_finding(agreement, pmode, "encryption-certificate-missing", text)

"""Finds what contradicts itself in an agreement by AS4, and where it deviates from its profile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.agreements.as4.profile_checks import find_deviations
from gateway.agreements.as4.profile_tables import Profile, read_profile
from gateway.agreements.pmode import BINDINGS, PMode, is_uri
from gateway.wire import EB3

if TYPE_CHECKING:
    from gateway.agreements.agreement_rules import AgreementDocument, AgreementFinding, AgreementSurroundings

__all__ = ["find_as4_problems", "find_profile_deviations"]

_AS4: Final = "as4"
_TEST_SERVICE: Final = f"{EB3}service"
_TEST_ACTION: Final = f"{EB3}test"
_DEFAULT_MPC: Final = f"{EB3}defaultMPC"
_CIPHERS: Final = ("gcm", "cbc")
_DERIVATIONS: Final = ("hkdf", "concatkdf")
_KEY_AGREEMENTS: Final = ("x25519", "x448", "ecdh-es")
_KEY_TRANSPORTS: Final = ("rsa-oaep", "rsa-oaep-mgf1p", "rsa-1_5")
_SHORT_SECONDS: Final = 60
#: A hub takes bodies of 64 MiB by default; what is around a fragment needs some of that.
_LARGEST_BODY: Final = 63 * 1024**2
_UNSAID: Final = "no binding that is agreed"
_TWO_LEGS: Final = tuple(name for name, mep in BINDINGS.items() if mep == "two-way")
_OTHER_LEGS: Final = {"request": "reply", "reply": "request"}
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

_Told = Iterator[tuple[str, str]]
_Found = Iterator["AgreementFinding"]


def find_as4_problems(agreement: AgreementDocument, _known: AgreementSurroundings) -> _Found:
    """Yield what each P-Mode of AS4 contradicts, with the place of the P-Mode."""
    from gateway.agreements.agreement_rules import AgreementFinding

    for pmode in agreement.pmodes:
        for check in _CHECKS if pmode.protocol == _AS4 else ():
            for rule, text in check(pmode):
                place = agreement.find_place(("pmode", pmode.id))
                yield AgreementFinding(rule, place, f"P-Mode {pmode.id}: {text}")
    for pmode, other in _list_opposites(agreement, lambda one: one.mep):
        text = f"P-Mode {pmode.id} is {pmode.mep}, and {other.id} of the same service is {other.mep}"
        yield AgreementFinding("mep-different", agreement.find_place(("pmode", pmode.id)), text)
    for pmode, other in _list_opposites(agreement, lambda one: one.mep_binding or _UNSAID):
        names = (pmode.mep_binding or _UNSAID, other.mep_binding or _UNSAID)
        text = f"P-Mode {pmode.id} is by {names[0]}, and {other.id} of the same service by {names[1]}"
        yield AgreementFinding("binding-different", agreement.find_place(("pmode", pmode.id)), text)
    for pmode in _list_half_exchanges(agreement):
        text = f"P-Mode {pmode.id}: mep_binding is {pmode.mep_binding}, and no {_name_missing_leg(pmode)}"
        yield AgreementFinding("binding-half", agreement.find_place(("pmode", pmode.id)), text)


def find_profile_deviations(agreement: AgreementDocument, _known: AgreementSurroundings) -> _Found:
    """Yield where P-Modes deviate from the profile of their agreement, with its clause."""
    from gateway.agreements.agreement_rules import AgreementFinding

    for pmode in agreement.pmodes:
        if pmode.profile is None:
            continue
        place = agreement.find_place(("pmode", pmode.id))
        if pmode.protocol != _AS4:
            text = f"{pmode.profile} is a profile of AS4, and the protocol is {pmode.protocol}"
            yield AgreementFinding("profile-protocol", agreement.find_place(("profile", "")), text)
            return
        profile = read_profile(pmode.profile)
        for one in find_deviations(pmode, profile):
            rule = "profile-advice" if one.is_advice else "profile-deviation"
            yield AgreementFinding(
                rule, place, one.text, _name_clause(profile, one.row.clause, one.row.parameter)
            )


def _name_clause(profile: Profile, clause: str, parameter: str) -> str:
    return f"{profile.title}, {clause}" + (f": {parameter}" if parameter else "")


def _list_opposites(
    agreement: AgreementDocument, find_term: Callable[[PMode], str]
) -> Iterator[tuple[PMode, PMode]]:
    """Yield a P-Mode and one of its service back that differs in a term; each service once."""
    seen = set()
    for one in agreement.pmodes:
        back = (
            other for other in agreement.pmodes if _is_back(one, other) and find_term(other) != find_term(one)
        )
        found = next(back, None)
        if found is not None and one.protocol == _AS4 and (one.service, one.service_type) not in seen:
            seen.add((one.service, one.service_type))
            yield one, found


def _is_back(one: PMode, other: PMode) -> bool:
    return (
        (one.service, one.service_type) == (other.service, other.service_type)
        and (one.from_party, one.to_party) == (other.to_party, other.from_party)
        # The answers to a submission are asked for; what ends in a mailbox has none.
        and one.deliver_to == "case"
    )


def _list_half_exchanges(agreement: AgreementDocument) -> Iterator[PMode]:
    """Yield the P-Modes of two-way exchanges whose other leg the agreement does not have."""
    for one in agreement.pmodes:
        if one.protocol == _AS4 and one.mep_binding in _TWO_LEGS:
            others = (other for other in agreement.pmodes if other.mep_binding == one.mep_binding)
            if not any(_is_other_leg(one, other) for other in others):
                yield one


def _is_other_leg(one: PMode, other: PMode) -> bool:
    """Return whether two P-Modes of one binding are request and reply of one exchange (core §2.2.8)."""
    return (
        (one.service, one.service_type) == (other.service, other.service_type)
        and (one.from_party, one.to_party) == (other.to_party, other.from_party)
        and (one.leg is None or one.leg != other.leg)
    )


def _name_missing_leg(pmode: PMode) -> str:
    return "message back is agreed" if pmode.leg is None else f"{_OTHER_LEGS[pmode.leg]} is agreed"


def _check_names(pmode: PMode) -> _Told:
    if pmode.agreement_type is None and not is_uri(pmode.agreement):
        yield "agreement-untyped", f"the agreement {pmode.agreement[:80]} is no URI and has no agreement_type"
    for side, role, ids in (
        ("from", pmode.from_role, pmode.from_party),
        ("to", pmode.to_role, pmode.to_party),
    ):
        if role is None:
            yield "role-missing", f"the {side} party has no role"
        if len(ids) > 1:
            yield "party-ids-several", f"the {side} party has {len(ids)} identifiers"
    if pmode.from_role is not None and pmode.from_role == pmode.to_role:
        yield "role-equal", f"both parties are {pmode.from_role[:80]}"
    if pmode.mpc == _DEFAULT_MPC:
        yield "mpc-default-named", "mpc is the default channel"


def _check_pulling(pmode: PMode) -> _Told:
    if pmode.pull is None:
        if pmode.mpc not in (None, _DEFAULT_MPC):
            yield "mpc-on-push", f"mpc is {pmode.mpc}, and nothing says pull"
        if pmode.reply_pattern == "callback" and pmode.reply_endpoint is None:
            yield "callback-endpoint-missing", "reply_pattern is callback, and the from party has no endpoint"
        return
    if pmode.mpc in (None, _DEFAULT_MPC):
        yield "pull-default-mpc", "pull without an mpc of its own"
    if pmode.reply_pattern == "callback":
        yield "pull-callback", "pull with reply_pattern callback"
    if pmode.mep == "two-way" and pmode.mep_binding is None:
        yield "pull-two-way", "pull with mep two-way, without mep_binding"
    if pmode.endpoint is not None:
        yield "pull-endpoint-unused", f"pull, and the receiver has the endpoint {pmode.endpoint[:80]}"
    if pmode.pull.authorization == "username":
        yield "pull-username", "pull with authorization username"


def _check_splitting(pmode: PMode) -> _Told:
    terms = pmode.splitting
    if terms is None:
        return
    if pmode.reply_endpoint is None:
        yield "splitting-endpoint-missing", "messages are split, and the from party has no endpoint"
    if pmode.has_response_in_answer:
        yield "splitting-synchronous", f"messages are split, and sync_reply_mode is {pmode.sync_reply_mode}"
    if pmode.reliability.time_to_live > terms.join_interval:
        text = f"join_interval is {terms.join_interval}, and fragments are repeated for longer"
        yield "splitting-interval-short", f"{text}: {pmode.reliability.time_to_live} seconds"
    if terms.fragment_size > _LARGEST_BODY:
        yield "splitting-fragment-large", f"fragment_size is {terms.fragment_size}"
    if terms.message_size <= terms.fragment_size:
        text = f"message_size is {terms.message_size}, and fragment_size is {terms.fragment_size}"
        yield "splitting-pointless", text


def _check_test_service(pmode: PMode) -> _Told:
    if pmode.service == _TEST_SERVICE and pmode.deliver_to == "case":
        yield "test-service-delivered", "the test service has deliver_to: case"
    if pmode.action == _TEST_ACTION and pmode.service != _TEST_SERVICE:
        yield "test-action-alone", f"the test action is in service {pmode.service[:80]}"


def _check_reliability(pmode: PMode) -> _Told:
    terms = pmode.reliability
    if not pmode.security.sign and terms.ack_requested != "never" and terms.ack_signed == "always":
        yield "receipt-without-signature", "ack_signed is always, and sign is false"
    if terms.retries == 0:
        yield "retries-none", "retries is 0"
    elif terms.time_to_live <= _SHORT_SECONDS:
        yield "retries-short", f"all repeats are sent in {terms.time_to_live} seconds"


def _check_signature(pmode: PMode) -> _Told:
    algorithm, digest = (
        next(iter(pmode.security.signature_algorithms), ""),
        pmode.security.hash_function or "",
    )
    named = _shorten(algorithm)
    if named.endswith("-sha1") or named.endswith("md5"):
        yield "signature-broken", f"signature_algorithm is {algorithm[:120]}"
    if _shorten(digest) in ("sha1", "md5"):
        yield "hash-broken", f"hash_function is {digest[:120]}"
    elif digest and "-sha" in named and named.rpartition("-")[2] != _shorten(digest):
        yield "hash-different", f"the signature is {named}, the digests are {_shorten(digest)}"
    pins = set(pmode.security.certificates) & set(pmode.security.reply_certificates)
    if pins:
        yield "pin-shared", f"certificate {min(pins)[:16]} is of both parties"


def _check_encryption(pmode: PMode) -> _Told:
    if pmode.encryption is None:
        return
    named = [_shorten(one) for one in pmode.encryption.algorithms]
    if not pmode.security.sign:
        yield "encryption-unsigned", "payloads are encrypted, and sign is false"
    if not any(part in one for one in named for part in _CIPHERS):
        yield "cipher-missing", f"no cipher is among {', '.join(named)[:200]}"
    for one in named:
        if one.endswith("-cbc"):
            yield "cipher-unauthenticated", f"{one} is agreed"
        if one in ("rsa-1_5", "rsa"):
            yield "key-transport-weak", f"{one} is agreed"
    yield from _check_keys(named)


def _check_keys(named: list[str]) -> _Told:
    agreed = [one for one in named if one in _KEY_AGREEMENTS]
    lacking = [
        words
        for words, held in {
            "a derivation (hkdf, ConcatKDF)": any(one in _DERIVATIONS for one in named),
            "a key wrap (kw-aes128)": any(one.startswith("kw-") for one in named),
        }.items()
        if not held
    ]
    if agreed and lacking:
        yield "key-agreement-incomplete", f"{agreed[0]} needs {' and '.join(lacking)}"
    if agreed and any(one in _KEY_TRANSPORTS for one in named):
        yield "key-ways-several", f"{agreed[0]} is agreed beside a transport by RSA"


def _check_transport(pmode: PMode) -> _Told:
    url = pmode.endpoint
    if url is None or not url.startswith("http:"):
        return
    if pmode.security.mutual_tls:
        yield "mutual-tls-open", f"mutual_tls is agreed, and the endpoint is {url[:80]}"
    elif urlsplit(url).hostname not in _LOOPBACK:
        yield "endpoint-open", f"the endpoint is {url[:80]}"


def _shorten(algorithm: str) -> str:
    return algorithm.rpartition("#")[2].lower()


_CHECKS: Final[tuple[Callable[[PMode], _Told], ...]] = (
    _check_names,
    _check_pulling,
    _check_splitting,
    _check_test_service,
    _check_reliability,
    _check_signature,
    _check_encryption,
    _check_transport,
)

"""Rules on signatures and encryption: what the business wants, what is described, which algorithms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.agreements.cpa.channel_choice import BoundAction, ChannelUse
from gateway.agreements.cpa.channel_conversion import is_persistent, needs_encryption, needs_signature
from gateway.agreements.cpa.cpa_model import (
    Algorithm,
    CpaParty,
    DigitalEnvelope,
    DocumentBinding,
    NonRepudiation,
)
from gateway.agreements.cpa.cpa_rules import CpaFinding
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Found, quote_name
from gateway.wire import DS, DSIG_MORE, XENC

__all__ = ["SECURITY_CHECKS"]

_WEAK_HASH: Final = re.compile(r"(?i)\bsha-?1\b|#sha1$|md[245]")
_WEAK_SIGNATURE: Final = re.compile(r"(?i)(rsa|dsa|ecdsa|hmac)-?(with-?)?(sha-?1|md[245])\b|#(rsa|dsa)-sha1$")
_KNOWN_SIGNATURE: Final = re.compile(
    r"(?i)(rsa|ecdsa|dsa)-?(with-?)?sha-?(1|224|256|384|512)|sha(1|224|256|384|512)-?(with-?)?(rsa|ecdsa)"
    r"|sha(1|256|384|512)-rsa-MGF1|eddsa-ed25519"
)
_WEAK_CIPHER: Final = re.compile(r"(?i)tripledes|3des|des-?ede|\bdes\b|des-cbc|rc2|rc4|arcfour")
_CBC: Final = re.compile(r"(?i)-cbc\b")
_RSA15: Final = re.compile(r"(?i)rsa-1_5|rsa-?1\.5|rsaes-pkcs1")
_SIGNED_BY_URI: Final = (f"{DS}rsa-sha1", f"{DS}dsa-sha1")


def _find_signature_problems(view: CpaView) -> Found:
    for action, ours, theirs in view.list_uses():
        business, name = action.binding.business, quote_name(action.binding.action)
        signed = ours.sender.non_repudiation if ours.sender is not None else None
        verified = theirs.receiver.non_repudiation if theirs.receiver is not None else None
        wanted = needs_signature(action, ours)
        if wanted and signed is None:
            place = ours.channel.place if ours.channel is not None else action.binding.place
            text = f"{name} must be signed, and the channel of its sender describes no signature"
            yield CpaFinding("signing-undescribed", place, text)
        elif wanted and verified is None:
            place = theirs.channel.place if theirs.channel is not None else action.other.place
            text = f"{name} is signed, and the channel of its receiver describes no verification"
            yield CpaFinding("verification-undescribed", place, text)
        elif not wanted and signed is not None:
            yield CpaFinding(
                "signature-unwanted", business.place, f"{name} needs no signature, and one is described"
            )
        elif not wanted:
            yield CpaFinding("unsigned", business.place, f"{name} is accepted without signature")
        if wanted and signed is not None and verified is not None:
            yield from _compare_signatures(name, signed, verified)


def _compare_signatures(name: str, signed: NonRepudiation, verified: NonRepudiation) -> Found:
    ours, theirs = {one.name for one in signed.algorithms}, {one.name for one in verified.algorithms}
    if ours.isdisjoint(theirs):
        text = f"the sender of {name} signs by {quote_name(min(ours))}, the receiver verifies "
        text += quote_name(min(theirs))
        yield CpaFinding("algorithms-disjoint", verified.place, text)
    if signed.hash_function != verified.hash_function:
        text = f"the sender of {name} hashes by {quote_name(signed.hash_function)}, the receiver by "
        text += quote_name(verified.hash_function)
        yield CpaFinding("hash-different", verified.place, text)


def _list_used_bindings(view: CpaView) -> Iterator[tuple[CpaParty, DocumentBinding]]:
    """Yield each document exchange once, in both directions."""
    for party in view.document.parties:
        for exchange in party.exchanges.values():
            yield from ((party, one) for one in (exchange.sender, exchange.receiver) if one is not None)


def _find_weak_signatures(view: CpaView) -> Found:
    for _, one in _list_used_bindings(view):
        signed = one.non_repudiation
        if signed is None:
            continue
        if _WEAK_HASH.search(signed.hash_function):
            text = f"hash function {quote_name(signed.hash_function)} is broken"
            yield CpaFinding("hash-weak", signed.place, text)
        for algorithm in signed.algorithms:
            yield from _judge_signature_algorithm(algorithm)


def _judge_signature_algorithm(algorithm: Algorithm) -> Found:
    name = algorithm.name
    known = name.startswith((DS, DSIG_MORE, XENC)) or _KNOWN_SIGNATURE.search(name)
    if name in _SIGNED_BY_URI or _WEAK_SIGNATURE.search(name):
        yield CpaFinding(
            "signature-weak", algorithm.place, f"signature algorithm {quote_name(name)} is broken"
        )
    elif not known or not _KNOWN_SIGNATURE.search(name):
        yield CpaFinding("signature-unknown", algorithm.place, f"the hub does not know {quote_name(name)}")


def _find_anchor_problems(view: CpaView) -> Found:
    for action, ours, theirs in view.list_uses():
        signed = ours.sender.non_repudiation if ours.sender is not None else None
        verified = theirs.receiver.non_repudiation if theirs.receiver is not None else None
        if signed is None or verified is None or not needs_signature(action, ours):
            continue
        details = theirs.party.security.get(verified.security) if verified.security is not None else None
        if details is None or not details.anchors:
            if verified.security is None or details is not None:
                text = f"the receiver of {quote_name(action.binding.action)} names no trust anchors"
                yield CpaFinding("anchors-missing", verified.place, text)
        elif not _leads_to_anchor(view, action, theirs, signed, details.anchors):
            text = (
                f"the certificate that signs {quote_name(action.binding.action)} is of no issuer among the "
            )
            text += f"trust anchors {quote_name(details.id)}"
            yield CpaFinding("anchors-unrelated", details.place, text)


def _leads_to_anchor(
    view: CpaView, action: BoundAction, theirs: ChannelUse, signed: NonRepudiation, names: tuple[str, ...]
) -> bool:
    """Return whether an anchor is among the certificates of the signer, or issued the last of them."""
    holder = action.sender.certificates.get(signed.certificate or "")
    chain = view.find_chain(holder)
    anchors = [view.find_certificate(theirs.party, one) for one in names]
    known = [one for one in anchors if one is not None]
    if not chain or len(known) < len(anchors):
        return True  # what cannot be read is told by another rule
    return any(one in chain or chain[-1].issuer_der == one.subject_der for one in known)


def _find_encryption_problems(view: CpaView) -> Found:
    for action, ours, theirs in view.list_uses():
        name, business = quote_name(action.binding.action), action.binding.business
        sender = ours.sender.envelope if ours.sender is not None else None
        receiver = theirs.receiver.envelope if theirs.receiver is not None else None
        if needs_encryption(action, ours, theirs):
            if receiver is None:
                place = theirs.channel.place if theirs.channel is not None else action.other.place
                text = f"{name} must be encrypted, and the channel of its receiver describes no envelope"
                yield CpaFinding("encryption-undescribed", place, text)
            elif sender is not None and _are_incompatible(sender, receiver):
                text = f"{name}: the envelopes of sender and receiver have no algorithm or protocol in common"
                yield CpaFinding("encryption-different", receiver.place, text)
        elif (sender or receiver) is not None and not is_persistent(business.confidential):
            text = f"{name} needs no encryption, and an envelope is described"
            yield CpaFinding("encryption-unwanted", business.place, text)


def _are_incompatible(one: DigitalEnvelope, other: DigitalEnvelope) -> bool:
    return one.protocol != other.protocol or {each.name for each in one.algorithms}.isdisjoint(
        each.name for each in other.algorithms
    )


def _find_weak_encryption(view: CpaView) -> Found:
    for _, one in _list_used_bindings(view):
        for algorithm in one.envelope.algorithms if one.envelope is not None else ():
            told = f"{algorithm.name} {algorithm.text}"
            for rule, pattern, words in (
                ("encryption-rsa15", _RSA15, "can be probed by its padding"),
                ("encryption-weak", _WEAK_CIPHER, "is broken"),
                ("encryption-cbc", _CBC, "does not authenticate what it encrypts"),
            ):
                if pattern.search(told):
                    text = f"encryption algorithm {quote_name(algorithm.name)} {words}"
                    yield CpaFinding(rule, algorithm.place, text)
                    break


SECURITY_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_signature_problems,
    _find_weak_signatures,
    _find_anchor_problems,
    _find_encryption_problems,
    _find_weak_encryption,
)

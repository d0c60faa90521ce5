"""Rules on signatures and encryption: whether they are required, described, and of sound algorithms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from gateway.agreements.cpa.channel_conversion import (
    BoundAction,
    ChannelUse,
    is_persistent,
    needs_encryption,
    needs_signature,
)
from gateway.agreements.cpa.cpa_model import (
    Algorithm,
    CpaCertificate,
    CpaParty,
    DigitalEnvelope,
    NonRepudiation,
)
from gateway.agreements.cpa.cpa_view import CpaCheck, CpaView, Findings, cite_rule, quote_name
from gateway.pki import Certificate
from gateway.wire import DS, DSIG_MORE, XENC, format_instant

_WEAK_HASH: Final = re.compile(r"(?i)\bsha-?1\b|#sha1$|md[245]")
_WEAK_SIGNATURE: Final = re.compile(r"(?i)(rsa|dsa|ecdsa|hmac)-?(with-?)?(sha-?1|md[245])\b|#(rsa|dsa)-sha1$")
_SIGNATURE_NAME_PATTERN: Final = re.compile(
    r"(?i)(rsa|ecdsa|dsa)-?(with-?)?sha-?(1|224|256|384|512)|sha(1|224|256|384|512)-?(with-?)?(rsa|ecdsa)"
    r"|sha(1|256|384|512)-rsa-MGF1|eddsa-ed25519"
)
_WEAK_CIPHER: Final = re.compile(r"(?i)tripledes|3des|des-?ede|\bdes\b|des-cbc|rc2|rc4|arcfour")
_CBC: Final = re.compile(r"(?i)-cbc\b")
_RSA15: Final = re.compile(r"(?i)rsa-1_5|rsa-?1\.5|rsaes-pkcs1")
_WEAK_SIGNATURE_URIS: Final = (f"{DS}rsa-sha1", f"{DS}dsa-sha1")


def _find_signature_problems(view: CpaView) -> Findings:
    """Yield findings on each action whose agreed signature is not described on both sides, or not needed."""
    for action, sender_use, receiver_use in view.list_channel_uses():
        business, name = action.binding.business, quote_name(action.binding.action)
        signature_terms, verification_terms, is_signed = (
            sender_use.signature,
            receiver_use.verification,
            needs_signature(action, sender_use),
        )
        if is_signed and signature_terms is None:
            location = (
                sender_use.channel.location if sender_use.channel is not None else action.binding.location
            )
            text = f"{name} must be signed, and the channel of its sender describes no signature"
            yield cite_rule("signing-undescribed", location, text)
        elif is_signed and verification_terms is None:
            location = (
                receiver_use.channel.location
                if receiver_use.channel is not None
                else action.receiving_binding.location
            )
            text = f"{name} is signed, and the channel of its receiver describes no verification"
            yield cite_rule("verification-undescribed", location, text)
        elif not is_signed and signature_terms is not None:
            yield cite_rule(
                "signature-unwanted", business.location, f"{name} needs no signature, and one is described"
            )
        elif not is_signed:
            yield cite_rule("unsigned", business.location, f"{name} is accepted without signature")
        if is_signed and signature_terms is not None and verification_terms is not None:
            yield from _compare_signatures(name, signature_terms, verification_terms)


def _compare_signatures(
    name: str, signature_terms: NonRepudiation, verification_terms: NonRepudiation
) -> Findings:
    """Yield findings if the sender of `name` signs or hashes by other algorithms than are verified."""
    signing_algorithms, verifying_algorithms = (
        {algorithm.name for algorithm in signature_terms.algorithms},
        {algorithm.name for algorithm in verification_terms.algorithms},
    )
    if signing_algorithms.isdisjoint(verifying_algorithms):
        text = f"the sender of {name} signs by {quote_name(min(signing_algorithms))}, the receiver verifies "
        text += quote_name(min(verifying_algorithms))
        yield cite_rule("algorithms-disjoint", verification_terms.location, text)
    if signature_terms.hash_function != verification_terms.hash_function:
        text = f"the sender of {name} hashes by {quote_name(signature_terms.hash_function)}, the receiver by "
        text += quote_name(verification_terms.hash_function)
        yield cite_rule("hash-different", verification_terms.location, text)


def _find_weak_signatures(view: CpaView) -> Findings:
    """Yield a finding for each hash function or signature algorithm that is broken or unknown."""
    for binding in view.document.list_document_bindings():
        signature_terms = binding.non_repudiation
        if signature_terms is None:
            continue
        if _WEAK_HASH.search(signature_terms.hash_function):
            text = f"hash function {quote_name(signature_terms.hash_function)} is broken"
            yield cite_rule("hash-weak", signature_terms.location, text)
        for algorithm in signature_terms.algorithms:
            yield from _check_signature_algorithm(algorithm)


def _check_signature_algorithm(algorithm: Algorithm) -> Findings:
    """Yield a finding if `algorithm` is broken, or is not one that the hub knows."""
    name = algorithm.name
    is_standard_algorithm = name.startswith((DS, DSIG_MORE, XENC)) or _SIGNATURE_NAME_PATTERN.search(name)
    if name in _WEAK_SIGNATURE_URIS or _WEAK_SIGNATURE.search(name):
        yield cite_rule(
            "signature-weak", algorithm.location, f"signature algorithm {quote_name(name)} is broken"
        )
    elif not is_standard_algorithm or not _SIGNATURE_NAME_PATTERN.search(name):
        yield cite_rule("signature-unknown", algorithm.location, f"the hub does not know {quote_name(name)}")


def _find_anchor_problems(view: CpaView) -> Findings:
    """Yield a finding for each signed action whose receiver has no trust anchor for the signer."""
    for action, sender_use, receiver_use in view.list_channel_uses():
        signature_terms, verification_terms = sender_use.signature, receiver_use.verification
        if signature_terms is None or verification_terms is None or not needs_signature(action, sender_use):
            continue
        details = (
            receiver_use.party.security_details.get(verification_terms.security_id)
            if verification_terms.security_id is not None
            else None
        )
        if details is None or not details.anchors:
            if verification_terms.security_id is None or details is not None:
                text = f"the receiver of {quote_name(action.binding.action)} names no trust anchors"
                yield cite_rule("anchors-missing", verification_terms.location, text)
        elif not _leads_to_anchor(view, action, receiver_use, signature_terms, details.anchors):
            text = (
                f"the certificate that signs {quote_name(action.binding.action)} is of no issuer among the "
            )
            text += f"trust anchors {quote_name(details.id)}"
            yield cite_rule("anchors-unrelated", details.location, text)


def _leads_to_anchor(
    view: CpaView,
    action: BoundAction,
    receiver_use: ChannelUse,
    signature_terms: NonRepudiation,
    anchor_ids: tuple[str, ...],
) -> bool:
    """Return whether the receiver trusts the certificate that signs.

    An anchor is in its chain, or issued the last certificate of the chain. True also for certificates that
    cannot be read, which another rule reports.
    """
    cpa_certificate = action.sender.certificates.get(signature_terms.certificate or "")
    chain = view.find_chain(cpa_certificate)
    anchors = [view.find_certificate(receiver_use.party, anchor_name) for anchor_name in anchor_ids]
    readable_anchors = [anchor for anchor in anchors if anchor is not None]
    if not chain or len(readable_anchors) < len(anchors):
        return True
    return any(anchor in chain or chain[-1].issuer_der == anchor.subject_der for anchor in readable_anchors)


def _find_encryption_problems(view: CpaView) -> Findings:
    """Yield findings on each action whose agreed encryption is not described, not common, or not needed."""
    for action, sender_use, receiver_use in view.list_channel_uses():
        name, business = quote_name(action.binding.action), action.binding.business
        sender, receiver = sender_use.sent_envelope, receiver_use.received_envelope
        if needs_encryption(action, sender_use, receiver_use):
            if receiver is None:
                location = (
                    receiver_use.channel.location
                    if receiver_use.channel is not None
                    else action.receiving_binding.location
                )
                text = f"{name} must be encrypted, and the channel of its receiver describes no envelope"
                yield cite_rule("encryption-undescribed", location, text)
            elif sender is not None and _are_incompatible(sender, receiver):
                text = f"{name}: the envelopes of sender and receiver have no algorithm or protocol in common"
                yield cite_rule("encryption-different", receiver.location, text)
        elif (sender or receiver) is not None and not is_persistent(business.confidential):
            text = f"{name} needs no encryption, and an envelope is described"
            yield cite_rule("encryption-unwanted", business.location, text)


def _are_incompatible(sender: DigitalEnvelope, receiver: DigitalEnvelope) -> bool:
    return sender.protocol != receiver.protocol or {
        algorithm.name for algorithm in sender.algorithms
    }.isdisjoint(algorithm.name for algorithm in receiver.algorithms)


def _find_weak_encryption(view: CpaView) -> Findings:
    """Yield a finding for each encryption algorithm that is RSA 1.5, a broken cipher, or CBC."""
    for binding in view.document.list_document_bindings():
        for algorithm in binding.envelope.algorithms if binding.envelope is not None else ():
            description = f"{algorithm.name} {algorithm.text}"
            for rule, pattern, weakness in (
                ("encryption-rsa15", _RSA15, "can be probed by its padding"),
                ("encryption-weak", _WEAK_CIPHER, "is broken"),
                ("encryption-cbc", _CBC, "does not authenticate what it encrypts"),
            ):
                if pattern.search(description):
                    text = f"encryption algorithm {quote_name(algorithm.name)} {weakness}"
                    yield cite_rule(rule, algorithm.location, text)
                    break


SECURITY_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_signature_problems,
    _find_weak_signatures,
    _find_anchor_problems,
    _find_encryption_problems,
    _find_weak_encryption,
)


_MIN_RSA_BITS: Final = 2048
_SIGNING_KEY_USAGES: Final = {"digitalSignature", "nonRepudiation", "contentCommitment"}
_ENCRYPTION_KEY_USAGES: Final = {"keyEncipherment", "dataEncipherment", "keyAgreement"}


def list_certificate_uses(party: CpaParty) -> Iterator[tuple[CpaCertificate, str]]:
    """Yield the certificates of a party with their uses: signing, encryption, tls; each pair once."""
    certificate_uses: dict[tuple[str, str], None] = {}
    for exchange in party.exchanges.values():
        sender, receiver = exchange.sender, exchange.receiver
        if sender is not None and sender.non_repudiation is not None:
            certificate_uses[sender.non_repudiation.certificate or "", "signing"] = None
        if receiver is not None and receiver.envelope is not None:
            certificate_uses[receiver.envelope.certificate_id or "", "encryption"] = None
    for transport in party.transports.values():
        for side in (transport.sender, transport.receiver):
            if side is not None and side.security is not None:
                certificate_uses[side.security.certificate_id or "", "tls"] = None
    for certificate_id, use in certificate_uses:
        if certificate_id in party.certificates:
            yield party.certificates[certificate_id], use


def _find_unreadable_certificates(view: CpaView) -> Findings:
    """Yield a finding for each certificate that cannot be read, or of which the octets are absent."""
    for party in view.document.parties:
        for cpa_certificate in party.certificates.values():
            reason = view.read_errors.get(cpa_certificate.location.xpath)
            if reason is not None:
                text = f"certificate {quote_name(cpa_certificate.id)}: {quote_name(reason)}"
                yield cite_rule("certificate-unreadable", cpa_certificate.location, text)
            elif not cpa_certificate.chain:
                text = f"certificate {quote_name(cpa_certificate.id)} is only named: its octets are not here"
                yield cite_rule("certificate-named", cpa_certificate.location, text)


def _list_readable_certificates(
    view: CpaView,
) -> Iterator[tuple[CpaCertificate, Certificate, tuple[str, ...]]]:
    """Yield the certificates in use that could be read, with all their uses."""
    for party in view.document.parties:
        uses_by_id: dict[str, list[str]] = {}
        for cpa_certificate, use in list_certificate_uses(party):
            uses_by_id.setdefault(cpa_certificate.id, []).append(use)
        for certificate_id, certificate_uses in uses_by_id.items():
            certificate = view.find_certificate(party, certificate_id)
            if certificate is not None:
                yield party.certificates[certificate_id], certificate, tuple(certificate_uses)


def _find_period_problems(view: CpaView) -> Findings:
    """Yield a finding for each certificate that is not valid during the whole of the agreement."""
    document = view.document
    if document.start is None or document.end is None:
        return
    first_use = max(document.start, view.at)
    for cpa_certificate, certificate, _ in _list_readable_certificates(view):
        label = f"certificate {quote_name(cpa_certificate.id)} "
        if certificate.not_after <= view.at:
            text = label + f"ended at {format_instant(certificate.not_after, 'seconds')}"
            yield cite_rule("certificate-ended", cpa_certificate.location, text)
        elif certificate.not_after < document.end:
            certificate_end, agreement_end = (
                format_instant(at, "seconds") for at in (certificate.not_after, document.end)
            )
            text = label + f"ends at {certificate_end}, the agreement at {agreement_end}"
            yield cite_rule("certificate-ends-early", cpa_certificate.location, text)
        if certificate.not_before > first_use:
            text = (
                label + f"begins at {format_instant(certificate.not_before, 'seconds')}, after the agreement"
            )
            yield cite_rule("certificate-begins-late", cpa_certificate.location, text)


def _find_key_problems(view: CpaView) -> Findings:
    """Yield findings on certificates whose key usage does not fit, or whose RSA key is too short."""
    for cpa_certificate, certificate, uses in _list_readable_certificates(view):
        label, key_usage = f"certificate {quote_name(cpa_certificate.id)} ", certificate.key_usage
        if key_usage is not None and "signing" in uses and not key_usage & _SIGNING_KEY_USAGES:
            text = label + "signs, and its key usage has no digital signature"
            yield cite_rule("key-usage-signing", cpa_certificate.location, text)
        if key_usage is not None and "encryption" in uses and not key_usage & _ENCRYPTION_KEY_USAGES:
            text = label + "is encrypted for, and its key usage has no encipherment"
            yield cite_rule("key-usage-encryption", cpa_certificate.location, text)
        bits = _count_rsa_bits(certificate)
        if bits is not None and bits < _MIN_RSA_BITS:
            yield cite_rule("key-short", cpa_certificate.location, label + f"has an RSA key of {bits} bits")


def _count_rsa_bits(certificate: Certificate) -> int | None:
    key: Any = certificate.public_key
    return int(key.key_size) if "rsa" in certificate.key_type.lower() and hasattr(key, "key_size") else None


def _find_key_algorithm_problems(view: CpaView) -> Findings:
    """Yield a finding for each sender whose certificate has no key for its signature algorithm."""
    for party in view.document.parties:
        for exchange in party.exchanges.values():
            signature_terms = exchange.sender.non_repudiation if exchange.sender is not None else None
            certificate = (
                view.find_certificate(party, signature_terms.certificate)
                if signature_terms is not None
                else None
            )
            if (
                signature_terms is not None
                and certificate is not None
                and not _fits_certificate_key(signature_terms, certificate)
            ):
                certificate_name = quote_name(signature_terms.certificate or "")
                algorithm_name = quote_name(signature_terms.algorithms[0].name)
                text = f"certificate {certificate_name} has another kind of key than {algorithm_name}"
                yield cite_rule("key-algorithm", signature_terms.location, text)


def _fits_certificate_key(signature_terms: NonRepudiation, certificate: Certificate) -> bool:
    """Return whether a key can make one of the signatures; an algorithm of no known kind fits."""
    for algorithm in signature_terms.algorithms:
        key_kind = next(
            (word for word in ("ecdsa", "eddsa", "rsa", "dsa") if word in algorithm.name.lower()), None
        )
        if key_kind is None or _get_key_kind(certificate) == key_kind:
            return True
    return False


def _get_key_kind(certificate: Certificate) -> str:
    """Return the family of the key: ``rsa``, ``eddsa``, ``dsa``, or ``ecdsa`` for any other key."""
    key_type = certificate.key_type.lower()
    if "rsa" in key_type:
        return "rsa"
    if "25519" in key_type or "448" in key_type:
        return "eddsa"
    return "dsa" if key_type.startswith("dsa") else "ecdsa"


CERTIFICATE_CHECKS: Final[tuple[CpaCheck, ...]] = (
    _find_unreadable_certificates,
    _find_period_problems,
    _find_key_problems,
    _find_key_algorithm_problems,
)

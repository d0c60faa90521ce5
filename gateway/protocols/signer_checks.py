"""Checks that a signature is by a certificate of the sender, and by the algorithms that a P-Mode names.

AS4 accepts only the agreed algorithms. For ebMS 2.0 only an algorithm that is weaker than the agreed one is
refused; another algorithm of the same strength is reported by `gateway check`, so that partners can correct
it before the next version refuses it. Where a P-Mode names only the signature algorithm or only the digest
algorithm, the other must be at least as strong as the algorithm that the hub writes. A P-Mode that names
neither leaves both to its policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NoReturn

from lxml import etree

from gateway.agreements import PMode
from gateway.errors import ALGORITHM_REFUSED, SIGNER_MISMATCH, GatewayError
from gateway.message_model import Party
from gateway.pki import Certificate
from gateway.protocols.core import Parcel, ProtocolContext
from gateway.wire import DS, WireLimits, parse_xml
from gateway.xmlsec import SHA256, DigestReference, VerifiedSignature, get_hash_strength


def check_signer(
    certificate: Certificate, pmode: PMode, sender: Party, context: ProtocolContext, location: str
) -> None:
    """Raise GW209 for a certificate that is not pinned where one is, or is not registered for the sender."""
    check_pinned_signer(certificate, pmode, sender, location)
    context.check_certificate_party(certificate, sender, location)


def check_pinned_signer(certificate: Certificate, pmode: PMode, sender: Party, location: str) -> None:
    """Raise GW209 for a certificate that is not one of those pinned for this side of a P-Mode."""
    forward = sender.ids[0] in pmode.from_party
    pins = pmode.security.certificates if forward else pmode.security.reply_certificates
    if pins and certificate.sha256 not in pins:
        raise GatewayError(SIGNER_MISMATCH, "the agreement pins another certificate", location)


_SIGNED_INFO: Final = "ds:Signature/ds:SignedInfo"
#: The hash algorithm in the signatures and digests that the hub writes.
_WRITTEN: Final = SHA256


def check_agreed_algorithms(algorithm: str, references: Sequence[DigestReference], pmode: PMode) -> None:
    """Raise GW204 for a signature or a digest by another algorithm than the P-Mode names, or a weak one."""
    named_algorithms, named_hashes = _list_named(pmode)
    if named_algorithms and algorithm not in named_algorithms:
        _raise_signature_error(named_algorithms, algorithm)
    for reference in references:
        if named_hashes and reference.digest_algorithm not in named_hashes:
            _raise_digest_error(named_hashes, reference.digest_algorithm)
    check_agreed_strength(algorithm, references, pmode)


def check_agreed_strength(algorithm: str, references: Sequence[DigestReference], pmode: PMode) -> None:
    """Raise GW204 for a signature or a digest whose hash is weaker than each that the P-Mode names.

    Names that are not known, as a CPA may write them, have no strength to compare.
    """
    named_algorithms, named_hashes = _list_named(pmode)
    if _is_weaker(algorithm, named_algorithms, named_hashes):
        _raise_signature_error(named_algorithms, algorithm)
    for reference in references:
        if _is_weaker(reference.digest_algorithm, named_hashes, named_algorithms):
            _raise_digest_error(named_hashes, reference.digest_algorithm)


def list_other_algorithms(signed: VerifiedSignature, pmode: PMode) -> tuple[str, ...]:
    """Return the algorithms of a verified signature that are not those of the P-Mode."""
    digests = [reference.digest_algorithm for reference in signed.references]
    return _list_others((signed.signature_algorithm,), digests, pmode)


def find_other_algorithms(parcel: Parcel, pmode: PMode, limits: WireLimits) -> tuple[str, ...]:
    """Return the algorithms of the signature of a parcel that are not those of the P-Mode.

    Raises GatewayError for a parcel that cannot be read.
    """
    root = parse_xml(parcel.read_parts(limits).root.content, limits)
    return _list_others(
        _list_algorithms(root, "SignatureMethod"), _list_algorithms(root, "DigestMethod"), pmode
    )


def _list_others(signatures: Iterable[str], digests: Iterable[str], pmode: PMode) -> tuple[str, ...]:
    """Return each algorithm that is not agreed; where its kind is not named, each that is too weak."""
    named_algorithms, named_hashes = _list_named(pmode)
    others = (
        algorithm
        for used, agreed, agreed_others in (
            (signatures, named_algorithms, named_hashes),
            (digests, named_hashes, named_algorithms),
        )
        for algorithm in used
        if (algorithm not in agreed if agreed else _is_weaker(algorithm, agreed, agreed_others))
    )
    return tuple(dict.fromkeys(others))


def _list_named(pmode: PMode) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the signature algorithms and the hash functions that a P-Mode names."""
    digest = pmode.security.hash_function
    return pmode.security.signature_algorithms, () if digest is None else (digest,)


def _list_algorithms(root: etree._Element, name: str) -> Iterator[str]:
    for element in root.iterfind(f".//{{{DS}}}SignedInfo//{{{DS}}}{name}"):
        yield element.get("Algorithm", "")


def _is_weaker(algorithm: str, agreed: Sequence[str], agreed_others: Sequence[str]) -> bool:
    """Return whether an algorithm is weaker than each agreed algorithm of its kind.

    Where only algorithms of the other kind are agreed (`agreed_others`), those that the hub writes count.
    """
    compared = agreed or (_WRITTEN,) if agreed_others else agreed
    strengths = [strength for name in compared if (strength := get_hash_strength(name)) is not None]
    return bool(strengths) and (get_hash_strength(algorithm) or 0) < min(strengths)


def _raise_signature_error(agreed: Sequence[str], used: str) -> NoReturn:
    detail = f"{_describe_agreed('signature algorithm', agreed)}, this is {used}"
    raise GatewayError(ALGORITHM_REFUSED, detail[:300], f"{_SIGNED_INFO}/ds:SignatureMethod")


def _raise_digest_error(agreed: Sequence[str], used: str) -> NoReturn:
    detail = f"{_describe_agreed('hash function', agreed)}, this is {used}"
    raise GatewayError(ALGORITHM_REFUSED, detail[:300], f"{_SIGNED_INFO}/ds:Reference")


def _describe_agreed(kind: str, agreed: Sequence[str]) -> str:
    if agreed:
        return f"the agreed {kind} is {agreed[0]}"
    return f"no {kind} is agreed, which permits none weaker than {_WRITTEN}"

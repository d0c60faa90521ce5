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
    is_from_party = sender.ids[0] in pmode.from_party
    pins = pmode.security.certificates if is_from_party else pmode.security.reply_certificates
    if pins and certificate.sha256 not in pins:
        raise GatewayError(SIGNER_MISMATCH, "the agreement pins another certificate", location)


_SIGNED_INFO: Final = "ds:Signature/ds:SignedInfo"
#: The hash algorithm in the signatures and digests that the hub writes.
_HUB_HASH_ALGORITHM: Final = SHA256


def check_agreed_algorithms(
    signature_algorithm: str, references: Sequence[DigestReference], pmode: PMode
) -> None:
    """Raise GW204 for a signature or a digest by another algorithm than the P-Mode names, or a weak one."""
    agreed_algorithms, agreed_hashes = _get_agreed_algorithms(pmode)
    if agreed_algorithms and signature_algorithm not in agreed_algorithms:
        _raise_signature_error(agreed_algorithms, signature_algorithm)
    for reference in references:
        if agreed_hashes and reference.digest_algorithm not in agreed_hashes:
            _raise_digest_error(agreed_hashes, reference.digest_algorithm)
    check_agreed_strength(signature_algorithm, references, pmode)


def check_agreed_strength(
    signature_algorithm: str, references: Sequence[DigestReference], pmode: PMode
) -> None:
    """Raise GW204 for a signature or a digest whose hash is weaker than each that the P-Mode names.

    Names that are not known, as a CPA may write them, have no strength to compare.
    """
    agreed_algorithms, agreed_hashes = _get_agreed_algorithms(pmode)
    if _is_weaker(signature_algorithm, agreed_algorithms, agreed_hashes):
        _raise_signature_error(agreed_algorithms, signature_algorithm)
    for reference in references:
        if _is_weaker(reference.digest_algorithm, agreed_hashes, agreed_algorithms):
            _raise_digest_error(agreed_hashes, reference.digest_algorithm)


def list_unagreed_algorithms(verified_signature: VerifiedSignature, pmode: PMode) -> tuple[str, ...]:
    """Return the algorithms of a verified signature that are not those of the P-Mode."""
    digest_algorithms = [reference.digest_algorithm for reference in verified_signature.references]
    return _select_unagreed_algorithms((verified_signature.signature_algorithm,), digest_algorithms, pmode)


def read_unagreed_algorithms(parcel: Parcel, pmode: PMode, limits: WireLimits) -> tuple[str, ...]:
    """Return the algorithms of the signature of a parcel that are not those of the P-Mode.

    Raises GatewayError for a parcel that cannot be read.
    """
    root = parse_xml(parcel.read_parts(limits).root.content, limits)
    return _select_unagreed_algorithms(
        _list_algorithms(root, "SignatureMethod"), _list_algorithms(root, "DigestMethod"), pmode
    )


def _select_unagreed_algorithms(
    signature_algorithms: Iterable[str], digest_algorithms: Iterable[str], pmode: PMode
) -> tuple[str, ...]:
    """Return each algorithm that is not agreed; where its kind is not named, each that is too weak."""
    agreed_signatures, agreed_hashes = _get_agreed_algorithms(pmode)
    unagreed_algorithms = (
        algorithm
        for used, agreed, agreed_others in (
            (signature_algorithms, agreed_signatures, agreed_hashes),
            (digest_algorithms, agreed_hashes, agreed_signatures),
        )
        for algorithm in used
        if (algorithm not in agreed if agreed else _is_weaker(algorithm, agreed, agreed_others))
    )
    return tuple(dict.fromkeys(unagreed_algorithms))


def _get_agreed_algorithms(pmode: PMode) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the signature algorithms and the hash functions that a P-Mode names."""
    hash_function = pmode.security.hash_function
    return pmode.security.signature_algorithms, () if hash_function is None else (hash_function,)


def _list_algorithms(root: etree._Element, element_name: str) -> Iterator[str]:
    for element in root.iterfind(f".//{{{DS}}}SignedInfo//{{{DS}}}{element_name}"):
        yield element.get("Algorithm", "")


def _is_weaker(
    algorithm: str, agreed_algorithms: Sequence[str], other_kind_algorithms: Sequence[str]
) -> bool:
    """Return whether an algorithm is weaker than each agreed algorithm of its kind.

    Where only algorithms of the other kind are agreed (`other_kind_algorithms`), those that the hub writes
    count.
    """
    compared_algorithms = (
        agreed_algorithms or (_HUB_HASH_ALGORITHM,) if other_kind_algorithms else agreed_algorithms
    )
    strengths = [
        strength for name in compared_algorithms if (strength := get_hash_strength(name)) is not None
    ]
    return bool(strengths) and (get_hash_strength(algorithm) or 0) < min(strengths)


def _raise_signature_error(agreed_algorithms: Sequence[str], used_algorithm: str) -> NoReturn:
    detail = (
        f"{_describe_agreed_algorithm('signature algorithm', agreed_algorithms)}, this is {used_algorithm}"
    )
    raise GatewayError(ALGORITHM_REFUSED, detail[:300], f"{_SIGNED_INFO}/ds:SignatureMethod")


def _raise_digest_error(agreed_algorithms: Sequence[str], used_algorithm: str) -> NoReturn:
    detail = f"{_describe_agreed_algorithm('hash function', agreed_algorithms)}, this is {used_algorithm}"
    raise GatewayError(ALGORITHM_REFUSED, detail[:300], f"{_SIGNED_INFO}/ds:Reference")


def _describe_agreed_algorithm(algorithm_kind: str, agreed_algorithms: Sequence[str]) -> str:
    if agreed_algorithms:
        return f"the agreed {algorithm_kind} is {agreed_algorithms[0]}"
    return f"no {algorithm_kind} is agreed, which permits none weaker than {_HUB_HASH_ALGORITHM}"

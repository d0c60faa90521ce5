"""The algorithms of a P-Mode of AS4: which of them are not done, and that a signature has those agreed."""

from __future__ import annotations

from typing import Final

from gateway.agreements import PMode
from gateway.encryption import is_known_algorithm
from gateway.errors import ALGORITHM_REFUSED, GatewayError
from gateway.xmlsec import SHA256, VerifiedSignature, get_signature_policy

__all__ = ["check_agreed_algorithms", "list_unsupported_algorithms"]

_SIGNED_INFO: Final = "ds:Signature/ds:SignedInfo"


def list_unsupported_algorithms(pmode: PMode) -> tuple[str, ...]:
    """Return in words which agreed algorithms and references to certificates are not done."""
    security, secret = pmode.security, pmode.encryption
    known = get_signature_policy(security.policy).signature_algorithms
    found = [
        f"signature algorithm {one[:120]} is not supported by policy {security.policy}"
        for one in security.signature_algorithms
        if one not in known
    ]
    if security.hash_function not in (None, SHA256):
        found.append(f"digests are written with {SHA256}, not with {security.hash_function}"[:300])
    found += [
        f"encryption by {one[:120]} is not supported"
        for one in (secret.algorithms if secret is not None else ())
        if not is_known_algorithm(one)
    ]
    return tuple(found)


def check_agreed_algorithms(signed: VerifiedSignature, pmode: PMode) -> None:
    """Raise GW204 for a signature or a digest by another algorithm than the P-Mode names.

    A P-Mode that names none leaves them to its policy.
    """
    agreed, digest = pmode.security.signature_algorithms, pmode.security.hash_function
    if agreed and signed.signature_algorithm not in agreed:
        detail = f"the agreed signature algorithm is {agreed[0]}, this is {signed.signature_algorithm}"
        raise GatewayError(ALGORITHM_REFUSED, detail[:300], f"{_SIGNED_INFO}/ds:SignatureMethod")
    other = next((one for one in signed.references if digest and one.digest_algorithm != digest), None)
    if other is not None:
        detail = f"the agreed hash function is {digest}, this is {other.digest_algorithm}"
        raise GatewayError(ALGORITHM_REFUSED, detail[:300], f"{_SIGNED_INFO}/ds:Reference")

"""Validates one path by RFC 5280 §6.1, without revocation.

The library that does it (:mod:`gateway.pki.path_library`) is loaded with the first path: most processes
leave their paths to one of their own (:mod:`gateway.pki.certificate_examiner`), and do without its 2 MiB.
"""

from __future__ import annotations

from typing import cast

from cryptography.hazmat.primitives.asymmetric import dsa

from gateway.pki.certificates import PublicKey
from gateway.pki.path_building import (
    ASN1_LOCK,
    CertificateChain,
    CertificateIndex,
    PathFailure,
    PathInquiry,
)


def validate_chain(
    chain: CertificateChain, inquiry: PathInquiry, index: CertificateIndex
) -> PathFailure | None:
    """Return why `chain` is not valid, or None; `gateway.pki.revocation_status` checks revocation."""
    # Imported on use, with the library.
    from gateway.pki.path_library import find_path_failure

    return find_path_failure(chain, inquiry, index)


def derive_dsa_key(chain: CertificateChain, position: int) -> PublicKey | None:
    """Return a DSA key with the parameters of the next key that has some (RFC 3279 §2.3.2), or None."""
    if chain.certificates[position].public_key is not None:
        return None
    issuer_keys = (each.public_key for each in chain.certificates[position + 1 :])
    parameter_key = next((each for each in issuer_keys if each is not None), None)
    with ASN1_LOCK:
        key_info = chain.parsed[position].public_key
        public_number = key_info["public_key"].parsed.native if key_info.algorithm == "dsa" else None
    if public_number is None or not isinstance(parameter_key, dsa.DSAPublicKey):
        return None
    numbers = dsa.DSAPublicNumbers(public_number, parameter_key.public_numbers().parameter_numbers)
    return cast("PublicKey", numbers.public_key())

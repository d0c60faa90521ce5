"""Algorithms by URI, the policies that allow them, and the primitives behind them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gateway import errors
from gateway.errors import GatewayError
from gateway.message_model import Body, iterate_octets
from gateway.wire import C14N, C14N_COMMENTS, C14N_EXCLUSIVE, C14N_EXCLUSIVE_COMMENTS, DSIG_MORE

#: Content for a digest: octets, a body that is read in pieces, or the pieces.
DigestInput = bytes | Body | Iterator[bytes]

C14N_11: Final = "http://www.w3.org/2006/12/xml-c14n11"
EXCLUSIVE_C14N: Final = C14N_EXCLUSIVE
EXCLUSIVE_C14N_COMMENTS: Final = C14N_EXCLUSIVE_COMMENTS
WITHOUT_COMMENTS: Final = {
    C14N_COMMENTS: C14N,
    C14N_11 + "#WithComments": C14N_11,
    EXCLUSIVE_C14N_COMMENTS: EXCLUSIVE_C14N,
}
"""The canonical forms that keep comments, each with the form that omits them."""
CANONICAL_FORMS: Final = frozenset(WITHOUT_COMMENTS) | frozenset(WITHOUT_COMMENTS.values())
"""Every known canonical form; each profile says which of them it accepts."""
ENVELOPED_SIGNATURE: Final = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
#: The type of the reference to the signed properties (ETSI EN 319 132-1, 4.4.2).
SIGNED_PROPERTIES: Final = "http://uri.etsi.org/01903#SignedProperties"
XPATH: Final = "http://www.w3.org/TR/1999/REC-xpath-19991116"

SHA1: Final = "http://www.w3.org/2000/09/xmldsig#sha1"
SHA256: Final = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#sha384"
SHA512: Final = "http://www.w3.org/2001/04/xmlenc#sha512"

RSA_SHA1: Final = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
RSA_SHA256: Final = DSIG_MORE + "rsa-sha256"
RSA_SHA384: Final = DSIG_MORE + "rsa-sha384"
RSA_SHA512: Final = DSIG_MORE + "rsa-sha512"
ECDSA_SHA256: Final = DSIG_MORE + "ecdsa-sha256"
ECDSA_SHA384: Final = DSIG_MORE + "ecdsa-sha384"
ECDSA_SHA512: Final = DSIG_MORE + "ecdsa-sha512"
ED25519: Final = "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"

#: Whether two digests are equal, in a time that depends on their length only.
compare_digests: Final = hmac.compare_digest

_HASH_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    SHA1: partial(hashlib.sha1, usedforsecurity=False),
    SHA256: hashlib.sha256,
    SHA384: hashlib.sha384,
    SHA512: hashlib.sha512,
}
_RSA_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    RSA_SHA1: hashes.SHA1(),  # noqa: S303  # only LEGACY_NORWAY names it
    RSA_SHA256: hashes.SHA256(),
    RSA_SHA384: hashes.SHA384(),
    RSA_SHA512: hashes.SHA512(),
}
_ECDSA_SCHEMES: Final[dict[str, ec.ECDSA]] = {
    ECDSA_SHA256: ec.ECDSA(hashes.SHA256()),
    ECDSA_SHA384: ec.ECDSA(hashes.SHA384()),
    ECDSA_SHA512: ec.ECDSA(hashes.SHA512()),
}
_PKCS1_PADDING: Final = padding.PKCS1v15()
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_RSA_BITS: Final = range(2048, 8193)
_MIN_EXPONENT: Final = 65537
_MAX_EXPONENT_BITS: Final = 256


@dataclass(frozen=True, slots=True)
class SignaturePolicy:
    """The algorithms that a signature may use, and the permitted deviations of ebMS 2.0 peers.

    ``exclusive_signed_info``: the SignedInfo of an ebMS 2.0 message may be in exclusive C14N;
    ``xpath_optional``: its reference to the envelope may omit the XPath transform;
    ``x509_hints``: X509Data may contain names and numbers of the certificate, which are
    ignored.
    """

    name: str
    signature_algorithms: frozenset[str]
    digest_algorithms: frozenset[str]
    exclusive_signed_info: bool = False
    xpath_optional: bool = False
    x509_hints: bool = False


STRICT: Final = SignaturePolicy(
    name="strict",
    signature_algorithms=frozenset(
        {RSA_SHA256, RSA_SHA384, RSA_SHA512, ECDSA_SHA256, ECDSA_SHA384, ECDSA_SHA512, ED25519}
    ),
    digest_algorithms=frozenset({SHA256, SHA384, SHA512}),
)
LEGACY_NORWAY: Final = SignaturePolicy(
    name="legacy-norway",
    signature_algorithms=STRICT.signature_algorithms | {RSA_SHA1},
    digest_algorithms=STRICT.digest_algorithms | {SHA1},
    exclusive_signed_info=True,
    xpath_optional=True,
    x509_hints=True,
)
POLICIES: Final = {policy.name: policy for policy in (STRICT, LEGACY_NORWAY)}


def get_signature_policy(name: str) -> SignaturePolicy:
    """Return the policy of that name; raise GW801 for an unknown name."""
    if name not in POLICIES:
        names = ", ".join(POLICIES)
        raise GatewayError(errors.SETTINGS_WRONG, f"signature policy '{name[:60]}' is not one of {names}")
    return POLICIES[name]


def check_signature_algorithm(algorithm: str, policy: SignaturePolicy) -> None:
    """Raise when the policy does not name the signature algorithm."""
    if algorithm not in policy.signature_algorithms:
        _raise_algorithm_error(
            f"signature algorithm '{algorithm[:120]}' is not allowed by policy {policy.name}"
        )


def check_digest_algorithm(algorithm: str, policy: SignaturePolicy) -> None:
    """Raise when the policy does not name the digest algorithm."""
    if algorithm not in policy.digest_algorithms:
        _raise_algorithm_error(f"digest algorithm '{algorithm[:120]}' is not allowed by policy {policy.name}")


def compute_digest(algorithm: str, data: DigestInput) -> bytes:
    """Return the digest of the data by an algorithm given as URI; raise for an unknown one.

    A body is read in pieces; an iterator gives pieces.
    """
    make_hash = _HASH_FUNCTIONS.get(algorithm)
    if make_hash is None:
        _raise_algorithm_error(f"digest algorithm '{algorithm[:120]}' is not known")
    if isinstance(data, bytes):
        digest: bytes = make_hash(data).digest()
        return digest
    hash_state = make_hash()
    for piece in data if isinstance(data, Iterator) else iterate_octets(data):
        hash_state.update(piece)
    joined_digest: bytes = hash_state.digest()
    return joined_digest


def get_hash_strength(algorithm: str) -> int | None:
    """Return the bits of the hash of a digest or signature algorithm; None for a URI that is not known.

    The key of a signature is judged by itself. Ed25519 counts as a signature with 256 bits (RFC 8032).
    """
    if algorithm in _HASH_FUNCTIONS:
        # bounded: the length of a digest of our own library
        return int(_HASH_FUNCTIONS[algorithm]().digest_size) * 8
    if algorithm in _RSA_HASHES:
        return _RSA_HASHES[algorithm].digest_size * 8
    if algorithm in _ECDSA_SCHEMES:
        return _ECDSA_SCHEMES[algorithm].algorithm.digest_size * 8
    return 256 if algorithm == ED25519 else None


def check_public_key(algorithm: str, key: object) -> None:
    """Raise when a public key does not match the algorithm, is too weak, or is malformed."""
    if algorithm in _RSA_HASHES:
        _check_rsa_key(key)
    elif algorithm in _ECDSA_SCHEMES:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            _raise_algorithm_error("an ECDSA signature needs an elliptic-curve key")
        if key.curve.name not in _CURVES:
            _raise_algorithm_error(f"curve {key.curve.name} is not one of {', '.join(_CURVES)}")
    elif algorithm == ED25519:
        if not isinstance(key, ed25519.Ed25519PublicKey):
            _raise_algorithm_error("an Ed25519 signature needs an Ed25519 key")
    else:
        _raise_algorithm_error(f"signature algorithm '{algorithm[:120]}' is not known")


def verify_signature_value(algorithm: str, key: object, signature_value: bytes, signed_octets: bytes) -> bool:
    """Return whether the signature value over the data is correct; the key is checked first."""
    check_public_key(algorithm, key)
    return verify_value_of_checked_key(algorithm, key, signature_value, signed_octets)


def verify_value_of_checked_key(
    algorithm: str, key: object, signature_value: bytes, signed_octets: bytes
) -> bool:
    """Return whether the signature value is correct, for a key that was checked for the algorithm before."""
    try:
        if isinstance(key, rsa.RSAPublicKey):
            _verify_rsa_value(key, _RSA_HASHES[algorithm], signature_value, signed_octets)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            _verify_ecdsa_value(key, _ECDSA_SCHEMES[algorithm], signature_value, signed_octets)
        else:
            assert isinstance(key, ed25519.Ed25519PublicKey), "the key was checked for the algorithm"
            key.verify(signature_value, signed_octets)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _check_rsa_key(key: object) -> None:
    """Raise unless `key` is an RSA key of a permitted size and public exponent."""
    if not isinstance(key, rsa.RSAPublicKey):
        _raise_algorithm_error("an RSA signature needs an RSA key")
    if key.key_size not in _RSA_BITS:
        _raise_algorithm_error(
            f"an RSA key of {key.key_size} bits is outside {_RSA_BITS[0]} to {_RSA_BITS[-1]}"
        )
    exponent = key.public_numbers().e
    # FIPS 186-5 §5.4: odd, above 2^16, below 2^256; small ones allow forged PKCS #1 padding
    if exponent < _MIN_EXPONENT or exponent.bit_length() > _MAX_EXPONENT_BITS or exponent % 2 == 0:
        _raise_algorithm_error("the public exponent of the RSA key is outside what FIPS 186-5 allows")


def _verify_rsa_value(
    key: rsa.RSAPublicKey, hash_algorithm: hashes.HashAlgorithm, signature_value: bytes, signed_octets: bytes
) -> None:
    if len(signature_value) != (key.key_size + 7) // 8:
        raise InvalidSignature
    key.verify(signature_value, signed_octets, _PKCS1_PADDING, hash_algorithm)


def _verify_ecdsa_value(
    key: ec.EllipticCurvePublicKey, scheme: ec.ECDSA, signature_value: bytes, signed_octets: bytes
) -> None:
    """Raise InvalidSignature unless `signature_value` (r, then s) verifies over `signed_octets`."""
    # RFC 9231 §2.3.6: r and s, each of exactly the length of the order of the curve
    width = (key.curve.key_size + 7) // 8
    if len(signature_value) != 2 * width:
        raise InvalidSignature
    r, s = int.from_bytes(signature_value[:width], "big"), int.from_bytes(signature_value[width:], "big")
    key.verify(encode_dss_signature(r, s), signed_octets, scheme)


def _raise_algorithm_error(detail: str) -> NoReturn:
    raise GatewayError(errors.ALGORITHM_REFUSED, detail, "ds:SignedInfo")

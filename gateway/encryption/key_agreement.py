"""Keys agreed by Diffie-Hellman: the derivation of the key that wraps, and AES key wrap.

X25519 and ECDH-ES with HKDF (RFC 9231) or ConcatKDF (XML Encryption 1.1 §5.4.1), keys wrapped by RFC 3394.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from gateway.encryption.encryption_policies import CONCAT_KDF, KEY_WRAPS
from gateway.pki import AgreementPublicKey

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class KeyDerivation:
    """The derivation of the wrapping key: the algorithm's URI, its digest, and its inputs beside the secret.

    The inputs are salt and info for HKDF, and only `info` (OtherInfo) for ConcatKDF.
    """

    uri: str
    digest: str
    info: bytes = b""
    salt: bytes | None = None


@dataclass(frozen=True, slots=True)
class KeyAgreement:
    """An agreed key: URI, the sender's public key for this message, derivation, key wrap."""

    uri: str
    originator_key: AgreementPublicKey
    derivation: KeyDerivation
    wrap_uri: str
    wrapped_key: bytes = field(repr=False)


def derive_key(shared_secret: bytes, derivation: KeyDerivation, wrap_uri: str) -> bytes:
    """Return the wrapping key derived from a shared secret, in the length that the key wrap needs."""
    hash_algorithm, key_length = _HASHES[derivation.digest], KEY_WRAPS[wrap_uri]
    if derivation.uri == CONCAT_KDF:
        return ConcatKDFHash(hash_algorithm, key_length, derivation.info).derive(shared_secret)
    # RFC 5869 §2.2: without a salt it is as many zeros as the digest has octets.
    return HKDF(hash_algorithm, key_length, derivation.salt, derivation.info).derive(shared_secret)


def wrap_key(wrapping_key: bytes, key: bytes) -> bytes:
    """Return a key wrapped by another one (RFC 3394)."""
    return aes_key_wrap(wrapping_key, key)


def unwrap_key(wrapping_key: bytes, wrapped_key: bytes) -> bytes | None:
    """Return the key in `wrapped_key`; None if `wrapping_key` did not wrap it."""
    try:
        return aes_key_unwrap(wrapping_key, wrapped_key)
    except (InvalidUnwrap, ValueError):
        return None

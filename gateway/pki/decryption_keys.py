"""Private keys that decrypt, each with its certificate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki.certificates import Certificate, PublicKey
from gateway.pki.signing_keys import load_signer

__all__ = ["DecryptionKey", "KeyPadding", "RsaDecryptionKey", "encrypt_key", "load_decryption_key"]

_DIGESTS: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303  # in OAEP it need not resist collisions; policies name it
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class KeyPadding:
    """How a key is padded for RSA: OAEP with a digest, the digest of its mask and a label, or PKCS #1 1.5.

    `digest` is None for PKCS #1 1.5 (RFC 8017 §7.1, §7.2).
    """

    digest: str | None
    mask: str = "sha256"
    label: bytes = b""


class DecryptionKey(Protocol):
    """A private key that decrypts keys: in memory, or in its token."""

    @property
    def certificate(self) -> Certificate:
        """Return the certificate of the key."""

    def decrypt_key(self, data: bytes, scheme: KeyPadding) -> bytes | None:
        """Return the key in `data`, None where there is none; raise GW803 when the key is unavailable."""


@dataclass(frozen=True, slots=True)
class RsaDecryptionKey:
    """A key in memory; `load_decryption_key` makes it and checks that it belongs to the certificate."""

    certificate: Certificate
    key: rsa.RSAPrivateKey = field(repr=False, compare=False)

    def decrypt_key(self, data: bytes, scheme: KeyPadding) -> bytes | None:
        """Return the key in `data`, None where there is none.

        For PKCS #1 1.5 the library answers a wrong padding with octets that look like a key
        (implicit rejection), so that nobody learns which paddings are right.
        """
        try:
            return self.key.decrypt(data, make_padding(scheme))
        except ValueError:
            return None


def make_padding(scheme: KeyPadding) -> padding.AsymmetricPadding:
    """Return the padding as the library has it."""
    if scheme.digest is None:
        return padding.PKCS1v15()
    return padding.OAEP(padding.MGF1(_DIGESTS[scheme.mask]), _DIGESTS[scheme.digest], scheme.label or None)


def encrypt_key(certificate: Certificate, data: bytes, scheme: KeyPadding) -> bytes:
    """Return a key encrypted for the holder of a certificate; raise GW803 unless its key is RSA."""
    key: PublicKey = certificate.public_key
    if not isinstance(key, rsa.RSAPublicKey):
        raise _make_kind_error(certificate)
    return key.encrypt(data, make_padding(scheme))


def load_decryption_key(
    key: bytes, certificate: bytes | None = None, password: bytes | None = None
) -> RsaDecryptionKey:
    """Read a key and its certificate as `load_signer` does; raise GW803 unless it is an RSA key."""
    loaded = load_signer(key, certificate, password)
    if not isinstance(loaded.key, rsa.RSAPrivateKey):
        raise _make_kind_error(loaded.certificate)
    return RsaDecryptionKey(loaded.certificate, loaded.key)


def _make_kind_error(certificate: Certificate) -> GatewayError:
    detail = f"the key of {certificate.subject[:120]} is no RSA key, and only RSA transports keys here"
    return GatewayError(KEY_UNAVAILABLE, detail, "key")

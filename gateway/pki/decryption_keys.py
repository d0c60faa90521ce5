"""Private keys that decrypt, each with its certificate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki.agreement_keys import AgreementPrivateKey, AgreementPublicKey, exchange_secret
from gateway.pki.certificates import Certificate, PublicKey
from gateway.pki.signing_keys import load_key_and_certificate

__all__ = [
    "AgreementDecryptionKey",
    "DecryptionKey",
    "KeyPadding",
    "RsaDecryptionKey",
    "encrypt_key",
    "load_decryption_key",
]

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

    def agree_secret(self, public: AgreementPublicKey) -> bytes | None:
        """Return the secret shared with the holder of `public`, None where this key agrees on none."""


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

    def agree_secret(self, _public: AgreementPublicKey) -> bytes | None:
        """Return None: an RSA key agrees on no secret."""
        return None


@dataclass(frozen=True, slots=True)
class AgreementDecryptionKey:
    """A key in memory that opens what was encrypted by a key agreement; `load_decryption_key` makes it."""

    certificate: Certificate
    key: AgreementPrivateKey = field(repr=False, compare=False)

    def decrypt_key(self, _data: bytes, _scheme: KeyPadding) -> bytes | None:
        """Return None: only RSA decrypts keys."""
        return None

    def agree_secret(self, public: AgreementPublicKey) -> bytes | None:
        """Return the secret that is shared with the holder of `public`, None for a key of another kind."""
        return exchange_secret(self.key, public)


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
) -> DecryptionKey:
    """Read a key and its certificate as `load_signer` does; raise GW803 for a key that decrypts nothing."""
    read, loaded = load_key_and_certificate(key, certificate, password)
    if isinstance(loaded, rsa.RSAPrivateKey):
        return RsaDecryptionKey(read, loaded)
    if isinstance(loaded, AgreementPrivateKey):
        return AgreementDecryptionKey(read, loaded)
    detail = f"the key of {read.subject[:120]} neither decrypts nor agrees on keys: RSA, ECDH and X25519 do"
    raise GatewayError(KEY_UNAVAILABLE, detail, "key")


def _make_kind_error(certificate: Certificate) -> GatewayError:
    detail = f"the key of {certificate.subject[:120]} is no RSA key, and only RSA transports keys here"
    return GatewayError(KEY_UNAVAILABLE, detail, "key")

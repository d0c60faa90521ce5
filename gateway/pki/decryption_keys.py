"""Private keys that decrypt, each with its certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki.certificates import Certificate, PublicKey
from gateway.pki.signing_keys import load_key_and_certificate

_X25519_OCTETS: Final = 32

AgreementPublicKey = ec.EllipticCurvePublicKey | x25519.X25519PublicKey
AgreementPrivateKey = ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey


def make_agreement_key(certificate: Certificate, draw: Callable[[int], bytes]) -> AgreementPrivateKey:
    """Return a key for one message to a certificate's holder, from drawn octets; raise GW803 for RSA keys."""
    public = certificate.public_key
    if isinstance(public, x25519.X25519PublicKey):
        return x25519.X25519PrivateKey.from_private_bytes(draw(_X25519_OCTETS))
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise _make_agreement_kind_error(certificate)
    # FIPS 186-5 §A.2.1: with 64 bits more than the order has, the remainder is as good as drawn.
    order = public.curve.group_order
    number = int.from_bytes(draw((order.bit_length() + 7) // 8 + 8))
    return ec.derive_private_key(number % (order - 1) + 1, public.curve)


def agree_with_certificate(certificate: Certificate, private_key: AgreementPrivateKey) -> bytes:
    """Return the secret that a key for one message shares with a certificate's holder; raise GW803."""
    public = certificate.public_key
    if (
        isinstance(public, AgreementPublicKey)
        and (secret := exchange_secret(private_key, public)) is not None
    ):
        return secret
    raise _make_agreement_kind_error(certificate)


def _make_agreement_kind_error(certificate: Certificate) -> GatewayError:
    detail = f"the key of {certificate.subject[:120]} agrees on no secret with a key of this kind"
    return GatewayError(KEY_UNAVAILABLE, detail, "key")


def exchange_secret(private: AgreementPrivateKey, public: AgreementPublicKey) -> bytes | None:
    """Return a shared secret; None for keys of two kinds or curves, and for a secret of zeros alone."""
    try:
        if isinstance(private, x25519.X25519PrivateKey):
            return private.exchange(public) if isinstance(public, x25519.X25519PublicKey) else None
        if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != private.curve.name:
            return None
        return private.exchange(ec.ECDH(), public)
    except ValueError:
        # RFC 7748 §6.1: the point is of small order.
        return None


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
        (implicit rejection), so that an attacker cannot learn which paddings are right.
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
    """A key in memory that decrypts payloads by key agreement; `load_decryption_key` makes it."""

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

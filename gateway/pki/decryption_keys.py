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


def make_agreement_key(
    certificate: Certificate, make_random_octets: Callable[[int], bytes]
) -> AgreementPrivateKey:
    """Return a key for one message to the holder of a certificate; raise GW803 for a certificate of RSA.

    `make_random_octets` returns the given number of random octets.
    """
    public_key = certificate.public_key
    if isinstance(public_key, x25519.X25519PublicKey):
        return x25519.X25519PrivateKey.from_private_bytes(make_random_octets(_X25519_OCTETS))
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise _make_no_agreement_error(certificate)
    # FIPS 186-5 §A.2.1: with 64 bits more than the order has, the remainder is evenly distributed.
    order = public_key.curve.group_order
    random_number = int.from_bytes(make_random_octets((order.bit_length() + 7) // 8 + 8))
    return ec.derive_private_key(random_number % (order - 1) + 1, public_key.curve)


def agree_with_certificate(certificate: Certificate, private_key: AgreementPrivateKey) -> bytes:
    """Return the secret that a key for one message shares with a certificate's holder; raise GW803."""
    public_key = certificate.public_key
    if (
        isinstance(public_key, AgreementPublicKey)
        and (secret := exchange_secret(private_key, public_key)) is not None
    ):
        return secret
    raise _make_no_agreement_error(certificate)


def _make_no_agreement_error(certificate: Certificate) -> GatewayError:
    detail = f"the key of {certificate.subject[:120]} agrees on no secret with a key of this kind"
    return GatewayError(KEY_UNAVAILABLE, detail, "key")


def exchange_secret(private_key: AgreementPrivateKey, public_key: AgreementPublicKey) -> bytes | None:
    """Return a shared secret; None for keys of two kinds or curves, and for a secret of zeros alone."""
    try:
        if isinstance(private_key, x25519.X25519PrivateKey):
            return (
                private_key.exchange(public_key) if isinstance(public_key, x25519.X25519PublicKey) else None
            )
        if (
            not isinstance(public_key, ec.EllipticCurvePublicKey)
            or public_key.curve.name != private_key.curve.name
        ):
            return None
        return private_key.exchange(ec.ECDH(), public_key)
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
    """The padding of a key for RSA: OAEP with its digest, mask digest and label, or PKCS #1 1.5.

    `digest` is None for PKCS #1 1.5 (RFC 8017 §7.1, §7.2).
    """

    digest: str | None
    mask_digest: str = "sha256"
    label: bytes = b""


class DecryptionKey(Protocol):
    """A private key that decrypts keys: in memory, or in its token."""

    @property
    def certificate(self) -> Certificate:
        """Return the certificate of the key."""

    def decrypt_key(self, encrypted_key: bytes, key_padding: KeyPadding) -> bytes | None:
        """Return the decrypted `encrypted_key`; None if it cannot be decrypted; GW803 without our key."""

    def agree_secret(self, public_key: AgreementPublicKey) -> bytes | None:
        """Return the secret shared with the holder of `public_key`, None where this key agrees on none."""


@dataclass(frozen=True, slots=True)
class RsaDecryptionKey:
    """A key in memory; `load_decryption_key` makes it and checks that it belongs to the certificate."""

    certificate: Certificate
    key: rsa.RSAPrivateKey = field(repr=False, compare=False)

    def decrypt_key(self, encrypted_key: bytes, key_padding: KeyPadding) -> bytes | None:
        """Return the key in `encrypted_key`, None where there is none.

        For PKCS #1 1.5 the library answers a wrong padding with octets that look like a key
        (implicit rejection), so that an attacker cannot learn which paddings are right.
        """
        try:
            return self.key.decrypt(encrypted_key, make_padding(key_padding))
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

    def agree_secret(self, public_key: AgreementPublicKey) -> bytes | None:
        """Return the secret shared with the holder of `public_key`; None for a key of another kind."""
        return exchange_secret(self.key, public_key)


def make_padding(key_padding: KeyPadding) -> padding.AsymmetricPadding:
    """Return the padding as the library has it."""
    if key_padding.digest is None:
        return padding.PKCS1v15()
    return padding.OAEP(
        padding.MGF1(_DIGESTS[key_padding.mask_digest]),
        _DIGESTS[key_padding.digest],
        key_padding.label or None,
    )


def encrypt_key(certificate: Certificate, plain_key: bytes, key_padding: KeyPadding) -> bytes:
    """Return a key encrypted for the holder of a certificate; raise GW803 unless its key is RSA."""
    public_key: PublicKey = certificate.public_key
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise _make_no_rsa_key_error(certificate)
    return public_key.encrypt(plain_key, make_padding(key_padding))


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


def _make_no_rsa_key_error(certificate: Certificate) -> GatewayError:
    detail = f"the key of {certificate.subject[:120]} is no RSA key, and only RSA transports keys here"
    return GatewayError(KEY_UNAVAILABLE, detail, "key")

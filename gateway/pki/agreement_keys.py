"""Private keys that agree on secrets with a sender: X25519, and elliptic curves of NIST (ECDH)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, x25519

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki.certificates import Certificate

__all__ = [
    "AgreementPrivateKey",
    "AgreementPublicKey",
    "agree_with_certificate",
    "exchange_secret",
    "make_agreement_key",
]

_X25519_OCTETS: Final = 32

AgreementPublicKey = ec.EllipticCurvePublicKey | x25519.X25519PublicKey
AgreementPrivateKey = ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey


def make_agreement_key(certificate: Certificate, draw: Callable[[int], bytes]) -> AgreementPrivateKey:
    """Return a key for one message to a certificate's holder, from drawn octets; raise GW803 for RSA keys."""
    public = certificate.public_key
    if isinstance(public, x25519.X25519PublicKey):
        return x25519.X25519PrivateKey.from_private_bytes(draw(_X25519_OCTETS))
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise _make_kind_error(certificate)
    # FIPS 186-5 §A.2.1: with 64 bits more than the order has, the remainder is as good as drawn.
    order = public.curve.group_order
    number = int.from_bytes(draw((order.bit_length() + 7) // 8 + 8))
    return ec.derive_private_key(number % (order - 1) + 1, public.curve)


def agree_with_certificate(certificate: Certificate, own: AgreementPrivateKey) -> bytes:
    """Return the secret that a key for one message shares with a certificate's holder; raise GW803."""
    public = certificate.public_key
    if isinstance(public, AgreementPublicKey) and (secret := exchange_secret(own, public)) is not None:
        return secret
    raise _make_kind_error(certificate)


def _make_kind_error(certificate: Certificate) -> GatewayError:
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

"""Keys and certificates that are the same in every process, so that a found case is one on every machine.

Never for anything but tests: whoever knows a name knows its key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.pki import Certificate, CertificateValidator, RevocationData, TrustStore, read_certificate

__all__ = [
    "AUTHORITY",
    "NOW",
    "FixedSigner",
    "crl",
    "issuing_key_id",
    "judge",
    "key",
    "named",
    "signer",
    "store",
    "usage",
]

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
AUTHORITY = "authority"
_SHA256 = hashes.SHA256()
_SINCE, _UNTIL = NOW - timedelta(days=30), NOW + timedelta(days=3600)
_CLIENT = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:31], "big")
    return ec.derive_private_key(number, ec.SECP256R1())


@dataclass(frozen=True)
class FixedSigner:
    """Signs as a `KeySigner` does, and the same octets in the same way (RFC 6979)."""

    certificate: Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)
    algorithm: str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"

    def sign(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(self.key.sign(data, ec.ECDSA(_SHA256, deterministic_signing=True)))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@cache
def signer(name: str) -> FixedSigner:
    """Return the signer of a party; its certificate is of the one authority."""
    return FixedSigner(read_certificate(_certificate(name)), key(name))


@cache
def _certificate(name: str) -> bytes:
    authority = name == AUTHORITY
    granted = ("key_cert_sign", "crl_sign") if authority else ("digital_signature", "content_commitment")
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(AUTHORITY))
        .public_key(key(name).public_key())
        .serial_number(1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
        .not_valid_before(_SINCE)
        .not_valid_after(_UNTIL)
        .add_extension(
            x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True
        )
        .add_extension(usage(*granted), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key(name).public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(issuing_key_id(), critical=False).add_extension(
            _CLIENT, critical=False
        )
    signed = builder.sign(key(AUTHORITY), _SHA256, ecdsa_deterministic=True)
    return signed.public_bytes(serialization.Encoding.DER)


@cache
def crl() -> bytes:
    """Return the revocation list of the authority; a party named revoked is on it."""
    entry = x509.RevokedCertificateBuilder().serial_number(signer("revoked").certificate.serial)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(named(AUTHORITY))
        .last_update(NOW - timedelta(hours=1))
        .next_update(_UNTIL)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(issuing_key_id(), critical=False)
        .add_revoked_certificate(entry.revocation_date(NOW - timedelta(days=1)).build())
    )
    signed = builder.sign(key(AUTHORITY), _SHA256, ecdsa_deterministic=True)
    return signed.public_bytes(serialization.Encoding.DER)


def store() -> TrustStore:
    return TrustStore((read_certificate(_certificate(AUTHORITY)),))


def judge() -> CertificateValidator:
    return CertificateValidator(store(), RevocationData((crl(),)))


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def issuing_key_id() -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key(AUTHORITY).public_key())


def usage(*words: str) -> x509.KeyUsage:
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{each: each in words for each in every})

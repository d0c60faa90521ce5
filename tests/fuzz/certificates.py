"""Certificates and revocation lists that carry all that the gateway reads in one, and more."""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from tests.fuzz.identities import AUTHORITY, NOW, issuing_key_id, key, named, usage

__all__ = ["full_certificate", "full_crl", "rsa_certificate"]

_DAY = timedelta(days=1)
_OID = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")


def full_certificate(address: str = "http://authority.example/list.crl") -> bytes:
    """Return a certificate with every usual extension; it names `address` wherever it can."""
    place = [x509.UniformResourceIdentifier(address.replace("\\", "/"))]
    access = [
        x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place[0]),
        x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place[0]),
    ]
    points = [x509.DistributionPoint(place, None, frozenset({x509.ReasonFlags.key_compromise}), None)]
    names = [
        *place,
        x509.DNSName("broker.example"),
        x509.RFC822Name("broker@broker.example"),
        x509.DirectoryName(named("broker")),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.RegisteredID(_OID),
        x509.OtherName(_OID, b"\x0c\x01a"),
    ]
    notice = x509.UserNotice(x509.NoticeReference("authority", [1, 2]), "words")
    public = key("fetching").public_key()
    return _signed(
        _builder("fetching", public, 4711)
        .add_extension(x509.AuthorityInformationAccess(access), critical=False)
        .add_extension(x509.CRLDistributionPoints(points), critical=False)
        .add_extension(x509.FreshestCRL(points), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.IssuerAlternativeName(place), critical=False)
        .add_extension(
            x509.CertificatePolicies([x509.PolicyInformation(_OID, [address, notice])]), critical=False
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, _OID]), critical=False)
    )


def rsa_certificate() -> bytes:
    """Return a certificate of an RSA key that nobody has: its modulus is a number like any other."""
    octets = b"".join(hashlib.sha256(bytes([place])).digest() for place in range(8))
    modulus = int.from_bytes(octets, "big") | 1 << 2047 | 1
    return _signed(_builder("rsa", rsa.RSAPublicNumbers(65537, modulus).public_key(), 4712))


def _builder(name: str, public: Any, serial: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(named(AUTHORITY), named(name), public, serial)
        .not_valid_before(NOW - _DAY)
        .not_valid_after(NOW + 30 * _DAY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage("digital_signature", "content_commitment"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(issuing_key_id(), critical=False)
    )


def _signed(builder: x509.CertificateBuilder) -> bytes:
    signed = builder.sign(key(AUTHORITY), hashes.SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(serialization.Encoding.DER)


def full_crl(*, delta: bool) -> bytes:
    """Return a list of some scope, complete or of changes, with all that an entry can say."""
    scope = x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier("http://authority.example/list.crl")],
        relative_name=None,
        only_contains_user_certs=True,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=delta,
        only_contains_attribute_certs=False,
    )
    builder = (
        x509.CertificateRevocationListBuilder(named(AUTHORITY), NOW - _DAY, NOW + _DAY)
        .add_extension(x509.CRLNumber(7), critical=False)
        .add_extension(issuing_key_id(), critical=False)
        .add_extension(scope, critical=True)
    )
    if delta:
        builder = builder.add_extension(x509.DeltaCRLIndicator(6), critical=True)
    for serial, reason in ((5, x509.ReasonFlags.key_compromise), (6, x509.ReasonFlags.remove_from_crl)):
        entry = (
            x509.RevokedCertificateBuilder(serial, NOW - _DAY)
            .add_extension(x509.CRLReason(reason), critical=False)
            .add_extension(x509.InvalidityDate(NOW - 2 * _DAY), critical=False)
        )
        if delta:
            issuer = x509.CertificateIssuer([x509.DirectoryName(named("other"))])
            entry = entry.add_extension(issuer, critical=True)
        builder = builder.add_revoked_certificate(entry.build())
    signed = builder.sign(key(AUTHORITY), hashes.SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(serialization.Encoding.DER)

"""Makes certificates that the sandbox authority would not: each differs in one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.pki import read_certificate
from gateway_conformance.pki import CertificationAuthority

NOW = datetime(2026, 11, 20, 9, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

CA_USAGE = ("key_cert_sign", "crl_sign")
PARTY_USAGE = ("digital_signature", "content_commitment")


def name(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words, _validate=False)] if words else [])


def usage(*words: str) -> x509.KeyUsage:
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{each: each in words for each in every})


def subject_of(authority: CertificationAuthority) -> x509.Name:
    return x509.load_der_x509_certificate(authority.certificate.der).subject


@dataclass
class Forgery:
    """A certificate to be; `extra` holds (extension, critical), `without` classes to leave out."""

    subject: str = "Party"
    ca: bool = False
    key: Any = None
    issuer_name: str | None = None
    digest: Any = field(default_factory=hashes.SHA256)
    starts: datetime = NOW - DAY
    ends: datetime = NOW + 30 * DAY
    serial: int = 4711
    extra: Sequence[tuple[x509.ExtensionType, bool]] = ()
    without: tuple[type, ...] = ()

    def der(self, authority: CertificationAuthority | None = None) -> bytes:
        """Sign it by `authority`, or by itself."""
        self.key = self.key or ec.generate_private_key(ec.SECP256R1())
        replaced = tuple(type(value) for value, _ in self.extra)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(self.subject))
            .public_key(self.key.public_key())
            .serial_number(self.serial)
            .not_valid_before(self.starts)
            .not_valid_after(self.ends)
        )
        for value, critical in [*self._usual(authority), *self.extra]:
            if type(value) not in self.without and not (
                type(value) in replaced and (value, critical) not in self.extra
            ):
                builder = builder.add_extension(value, critical)
        signing_key = authority.key if authority else self.key
        issuer = subject_of(authority) if authority else name(self.subject)
        if self.issuer_name is not None:
            issuer = name(self.issuer_name)
        signed = builder.issuer_name(issuer).sign(signing_key, self.digest)
        return signed.public_bytes(serialization.Encoding.DER)

    def _usual(self, authority: CertificationAuthority | None) -> list[tuple[x509.ExtensionType, bool]]:
        known: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=self.ca, path_length=None), True),
            (usage(*(CA_USAGE if self.ca else PARTY_USAGE)), True),
            (x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False),
        ]
        if authority:
            key_id = authority.certificate.subject_key_identifier
            known.append((x509.AuthorityKeyIdentifier(key_id, None, None), False))
        return known


def crl(
    authority: CertificationAuthority,
    revoked: Sequence[x509.RevokedCertificate] = (),
    *,
    starts: datetime = NOW - HOUR,
    ends: datetime | None = NOW + 7 * DAY,
    key: Any = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    number: bool = True,
) -> bytes:
    """Make a revocation list in the name of `authority`, signed by its key or another."""
    numbered = any(isinstance(value, x509.CRLNumber) for value, _ in extra)
    builder = x509.CertificateRevocationListBuilder().issuer_name(subject_of(authority)).last_update(starts)
    builder = builder.next_update(ends or NOW + 7 * DAY)
    usual = [] if numbered or not number else [(x509.CRLNumber(1), False)]
    for value, critical in [*usual, *extra]:
        builder = builder.add_extension(value, critical)
    for each in revoked:
        builder = builder.add_revoked_certificate(each)
    signed = builder.sign(key or authority.key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def entry(
    serial: int, when: datetime = NOW - DAY, extra: Sequence[tuple[x509.ExtensionType, bool]] = ()
) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
    for value, critical in extra:
        builder = builder.add_extension(value, critical)
    return builder.build()


def scope(**words: Any) -> x509.IssuingDistributionPoint:
    every: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**every, **words})


def _below(step: str) -> x509.DirectoryName:
    return x509.DirectoryName(x509.Name([*name("Party").rdns, *name(step).rdns]))


def costly_pair(count: int, ends: datetime = NOW + 30 * DAY) -> tuple[Forgery, CertificationAuthority]:
    """Return a leaf to be and its anchor: names of the one are compared with constraints of the other."""
    constraints = x509.NameConstraints(None, [_below(f"{number}") for number in range(count)])
    forged = Forgery(subject="Root", ca=True, ends=ends, extra=[(constraints, True)])
    root = read_certificate(forged.der())
    names = x509.SubjectAlternativeName([_below(f"no {number}") for number in range(250)])
    leaf = Forgery(ends=ends, extra=[(names, False)])
    return leaf, CertificationAuthority(forged.key, root)

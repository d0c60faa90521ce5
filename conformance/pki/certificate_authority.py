"""A certification authority for the sandbox and the tests: issues certificates and revocation lists.

The certificates follow the profiles of `profiles.toml` beside this file; they are not meant to be trusted
outside a test.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID

from gateway.errors import CERTIFICATE_UNTRUSTED, MISUSE, GatewayError, describe_exception
from gateway.pki import (
    Certificate,
    CertificateRequest,
    KeySigner,
    PrivateKey,
    PublicKey,
    choose_signature_digest,
    encode_key_pem,
    load_signer,
    make_general_name,
    make_private_key,
    parse_subject_name,
    read_certificate,
)
from gateway_conformance import DATA_FOLDER

#: Clocks differ: validity (RFC 5280 §4.1.2.5) begins so much early, so that a certificate is valid at once.
LEEWAY: Final = timedelta(minutes=5)
DAY: Final = timedelta(days=1)
_USAGES: Final = {
    "digitalSignature": "digital_signature",
    "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign",
    "cRLSign": "crl_sign",
}


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """The key usages and the validity of certificates of one kind."""

    key_usage: frozenset[str]
    extended_key_usage: tuple[str, ...] = ()
    extended_critical: bool = False
    days: int = 365


@dataclass(frozen=True, slots=True)
class CertificationAuthority:
    """A certification authority: its key, its certificate, and the issuer of that certificate."""

    key: PrivateKey = field(repr=False)
    certificate: Certificate
    issuer: CertificationAuthority | None = None


class IssuedCertificate(NamedTuple):
    """A key and the certificate issued for it."""

    key: PrivateKey
    certificate: Certificate

    @property
    def key_pem(self) -> bytes:
        """Return the key as PEM, not encrypted."""
        return encode_key_pem(self.key)

    @property
    def signer(self) -> KeySigner:
        """Return a signer with this key and certificate."""
        return load_signer(self.key_pem, self.certificate.der)


@dataclass(frozen=True, slots=True)
class CertificateOrder:
    """The properties of a certificate to be issued; None takes the value of the profile."""

    profile: str = "signing"
    key_kind: str = "p-256"
    days: int | None = None
    starts: timedelta = -LEEWAY
    serial: int | None = None
    alternative_names: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()


@cache
def load_profiles() -> dict[str, CertificateProfile]:
    """Read the certificate profiles of `profiles.toml`."""
    table = tomllib.loads(DATA_FOLDER.joinpath("pki", "profiles.toml").read_text("utf-8"))
    return {name: _read_profile(name, row) for name, row in table["profile"].items()}


def _read_profile(name: str, row: dict[str, Any]) -> CertificateProfile:
    unknown = set(row) - {"key_usage", "extended_key_usage", "extended_critical", "days", "meaning"}
    usage = frozenset(row.get("key_usage", ()))
    if unknown or usage - set(_USAGES):
        wrong = ", ".join(sorted(unknown | (usage - set(_USAGES))))
        raise GatewayError(MISUSE, f"not known: {wrong}", f"profiles.toml profile.{name}")
    return CertificateProfile(
        usage,
        tuple(row.get("extended_key_usage", ())),
        bool(row.get("extended_critical", False)),
        int(row.get("days", 365)),
    )


def make_authority(
    subject: str,
    now: datetime,
    key_kind: str = "p-256",
    *,
    issuer: CertificationAuthority | None = None,
    path_length: int | None = 0,
) -> CertificationAuthority:
    """Make a certification authority, self-signed or issued by another."""
    key = make_private_key(key_kind)
    profile = load_profiles()["authority"]
    order = CertificateOrder(profile="authority", key_kind=key_kind)
    builder = _make_certificate_builder(parse_subject_name(subject), key.public_key(), now, order, profile)
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    builder = builder.add_extension(constraints, critical=True)
    if issuer is None:
        signed = builder.issuer_name(parse_subject_name(subject)).sign(key, choose_signature_digest(key))
    else:
        signed = _sign_certificate(builder, issuer)
    certificate = read_certificate(signed.public_bytes(serialization.Encoding.DER))
    return CertificationAuthority(key, certificate, issuer)


def issue_certificate(
    authority: CertificationAuthority,
    subject: str,
    now: datetime,
    order: CertificateOrder | None = None,
    *,
    key: PrivateKey | None = None,
) -> IssuedCertificate:
    """Issue a certificate for a party, with a new key unless one is given."""
    order = order or CertificateOrder()
    key = key or make_private_key(order.key_kind)
    return IssuedCertificate(
        key, _certify_key(authority, parse_subject_name(subject), key.public_key(), now, order)
    )


def issue_requested_certificate(
    authority: CertificationAuthority,
    request: CertificateRequest,
    now: datetime,
    order: CertificateOrder | None = None,
) -> Certificate:
    """Issue a certificate for a request; everything except name and key comes from the order's profile.

    Alternative names are those of the order: the operator of the authority decides which of
    the requested ones are granted.
    """
    order = order or CertificateOrder()
    if request.subject_name == _get_authority_name(authority):
        raise GatewayError(CERTIFICATE_UNTRUSTED, "the request has the name of the authority", "request")
    certificate = _certify_key(authority, request.subject_name, request.public_key, now, order)
    if certificate.not_after > authority.certificate.not_after:
        end = f"{authority.certificate.not_after:%Y-%m-%d}"
        raise GatewayError(MISUSE, f"the authority itself ends on {end}", "days")
    return certificate


def _certify_key(
    authority: CertificationAuthority,
    subject: x509.Name,
    key: PublicKey,
    now: datetime,
    order: CertificateOrder,
) -> Certificate:
    profile = load_profiles().get(order.profile)
    if profile is None or "keyCertSign" in profile.key_usage:
        raise GatewayError(MISUSE, f"no profile of a party: {order.profile[:40]!r}", "profiles.toml")
    builder = _make_certificate_builder(subject, key, now, order, profile)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if order.alternative_names:
        names = [make_general_name(each) for each in order.alternative_names]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if order.policies:
        builder = builder.add_extension(_make_policies_extension(order.policies), critical=False)
    return read_certificate(_sign_certificate(builder, authority).public_bytes(serialization.Encoding.DER))


def issue_cross_certificate(
    authority: CertificationAuthority,
    foreign_authority: Certificate,
    policies: Mapping[str, str],
    now: datetime,
) -> Certificate:
    """Certify the key of another country's authority, which may then certify parties only.

    ``policies`` maps each policy of ours to the equivalent policy of theirs (RFC 5280
    §4.2.1.5).
    """
    if not foreign_authority.is_ca or not policies:
        raise GatewayError(MISUSE, "a bridge leads to an authority, by policies of both", "policies")
    our_policies, _ = _make_policies_extension(policies), _make_policies_extension(policies.values())
    order = CertificateOrder(profile="authority")
    subject = x509.load_der_x509_certificate(foreign_authority.der).subject
    builder = _make_certificate_builder(
        subject, foreign_authority.public_key, now, order, load_profiles()["authority"]
    )
    pairs = [
        {"issuer_domain_policy": ours, "subject_domain_policy": theirs} for ours, theirs in policies.items()
    ]
    mapped = x509.UnrecognizedExtension(ExtensionOID.POLICY_MAPPINGS, asn1_x509.PolicyMappings(pairs).dump())
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(our_policies, critical=False)
        .add_extension(mapped, critical=True)
    )
    return read_certificate(_sign_certificate(builder, authority).public_bytes(serialization.Encoding.DER))


def _make_policies_extension(identifiers: Iterable[str]) -> x509.CertificatePolicies:
    try:
        object_identifiers = [x509.ObjectIdentifier(each) for each in identifiers]
    except ValueError as wrong:
        raise GatewayError(MISUSE, f"no policy: {describe_exception(wrong, 80)}", "policies") from wrong
    return x509.CertificatePolicies(x509.PolicyInformation(each, None) for each in object_identifiers)


def make_revocation_list(
    authority: CertificationAuthority,
    revoked_serials: Iterable[int],
    now: datetime,
    next_update: datetime | None = None,
    *,
    number: int = 1,
    since: Mapping[int, datetime] | None = None,
) -> bytes:
    """Make the authority's revocation list (DER), in force from `now` on, by default for a week.

    `since` gives the revocation time of serial numbers that were revoked earlier.
    """
    now = now.replace(microsecond=0)
    dates = since or {}
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(_get_authority_name(authority))
        .last_update(now)
        .next_update(next_update or now + 7 * DAY)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_make_authority_key_id(authority), critical=False)
    )
    for serial in sorted(revoked_serials):
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(dates.get(serial, now - timedelta(seconds=1)))
            .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
        )
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(authority.key, choose_signature_digest(authority.key)).public_bytes(
        serialization.Encoding.DER
    )


def _make_certificate_builder(
    subject: x509.Name, key: PublicKey, now: datetime, order: CertificateOrder, profile: CertificateProfile
) -> x509.CertificateBuilder:
    starts = now.replace(microsecond=0) + order.starts
    ends = starts + (order.days if order.days is not None else profile.days) * DAY
    usage = {attribute: name in profile.key_usage for name, attribute in _USAGES.items()}
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(order.serial or x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.KeyUsage(**usage, encipher_only=False, decipher_only=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    if profile.extended_key_usage:
        purposes = x509.ExtendedKeyUsage(x509.ObjectIdentifier(each) for each in profile.extended_key_usage)
        builder = builder.add_extension(purposes, critical=profile.extended_critical)
    return builder


def _sign_certificate(
    builder: x509.CertificateBuilder, authority: CertificationAuthority
) -> x509.Certificate:
    builder = builder.issuer_name(_get_authority_name(authority))
    builder = builder.add_extension(_make_authority_key_id(authority), critical=False)
    return builder.sign(authority.key, choose_signature_digest(authority.key))


def _get_authority_name(authority: CertificationAuthority) -> x509.Name:
    return x509.load_der_x509_certificate(authority.certificate.der).subject


def _make_authority_key_id(authority: CertificationAuthority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(authority.certificate.subject_key_identifier, None, None)

"""A certification authority for the sandbox and the tests: issues keys, certificates and CRLs.

This is the only module of the package that uses randomness and writes files. The certificates
follow the profiles of `pki/profiles.toml`; they are not meant to be trusted outside a test.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtensionOID, NameOID

from gateway.errors import CERTIFICATE_UNTRUSTED, MISUSE, GatewayError, describe_exception
from gateway.pki.certificate_requests import CertificateRequest, make_certificate_request
from gateway.pki.certificates import Certificate, PublicKey, read_certificate
from gateway.pki.signing_keys import KeySigner, PrivateKey, load_signer
from gateway.share import get_data_folder

__all__ = [
    "KEY_KINDS",
    "CertificateOrder",
    "CertificateProfile",
    "CertificationAuthority",
    "IssuedCertificate",
    "Sandbox",
    "SandboxParty",
    "encode_key_pem",
    "issue_certificate",
    "issue_cross_certificate",
    "issue_requested_certificate",
    "load_authority",
    "load_demo_parties",
    "load_profiles",
    "make_authority",
    "make_key_and_request",
    "make_private_key",
    "make_revocation_list",
    "make_sandbox",
    "revoke_certificates",
    "write_private_key",
]

KEY_KINDS: Final = ("rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "p-521", "ed25519")
# Clocks differ: validity (RFC 5280 §4.1.2.5) begins five minutes early, so that a certificate is valid at
# once.
_LEEWAY: Final = timedelta(minutes=5)
_DAY: Final = timedelta(days=1)
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
    starts: timedelta = -_LEEWAY
    serial: int | None = None
    alternative_names: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()


@cache
def load_profiles() -> dict[str, CertificateProfile]:
    """Read the certificate profiles of `pki/profiles.toml`."""
    table = tomllib.loads(get_data_folder("pki").joinpath("profiles.toml").read_text("utf-8"))
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


def make_private_key(kind: str = "p-256") -> PrivateKey:
    """Make a private key; elliptic-curve keys take a millisecond, RSA keys a tenth of a second or more."""
    if kind.startswith("rsa-") and kind in KEY_KINDS:
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[4:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, ec.EllipticCurve] = {
        "p-256": ec.SECP256R1(),
        "p-384": ec.SECP384R1(),
        "p-521": ec.SECP521R1(),
    }
    if kind not in curves:
        raise GatewayError(MISUSE, f"unknown kind of key {kind[:40]!r}", "key_kind")
    return ec.generate_private_key(curves[kind])


def encode_key_pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    """Return `key` as PKCS#8 PEM, encrypted when a password is given."""
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        protection = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def make_key_and_request(
    subject: str, key_kind: str = "p-256", names: Sequence[str] = ()
) -> tuple[PrivateKey, bytes]:
    """Make a key and the request (PEM) for its certificate; `names` as in a `CertificateOrder`."""
    key = make_private_key(key_kind)
    return key, make_certificate_request(
        key, _parse_name(subject), tuple(_make_general_name(each) for each in names)
    )


def write_private_key(path: Path, key: PrivateKey, password: bytes | None = None) -> None:
    """Write a new private key that only its owner can read; raise GW808 when the file exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be made: {error.strerror}", str(path)) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(encode_key_pem(key, password))


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
    builder = _make_certificate_builder(_parse_name(subject), key.public_key(), now, order, profile)
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    builder = builder.add_extension(constraints, critical=True)
    if issuer is None:
        signed = builder.issuer_name(_parse_name(subject)).sign(key, _choose_signature_digest(key))
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
    return IssuedCertificate(key, _certify_key(authority, _parse_name(subject), key.public_key(), now, order))


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
    made = _certify_key(authority, request.subject_name, request.public_key, now, order)
    if made.not_after > authority.certificate.not_after:
        end = f"{authority.certificate.not_after:%Y-%m-%d}"
        raise GatewayError(MISUSE, f"the authority itself ends on {end}", "days")
    return made


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
        names = [_make_general_name(each) for each in order.alternative_names]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if order.policies:
        builder = builder.add_extension(_make_policies_extension(order.policies), critical=False)
    return read_certificate(_sign_certificate(builder, authority).public_bytes(serialization.Encoding.DER))


def issue_cross_certificate(
    authority: CertificationAuthority, other: Certificate, policies: Mapping[str, str], now: datetime
) -> Certificate:
    """Certify the key of another country's authority, which may then certify parties only.

    ``policies`` maps each policy of ours to the equivalent policy of theirs (RFC 5280
    §4.2.1.5).
    """
    if not other.is_ca or not policies:
        raise GatewayError(MISUSE, "a bridge leads to an authority, by policies of both", "policies")
    named, _ = _make_policies_extension(policies), _make_policies_extension(policies.values())
    order = CertificateOrder(profile="authority")
    subject = x509.load_der_x509_certificate(other.der).subject
    builder = _make_certificate_builder(subject, other.public_key, now, order, load_profiles()["authority"])
    pairs = [
        {"issuer_domain_policy": ours, "subject_domain_policy": theirs} for ours, theirs in policies.items()
    ]
    mapped = x509.UnrecognizedExtension(ExtensionOID.POLICY_MAPPINGS, asn1_x509.PolicyMappings(pairs).dump())
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(named, critical=False)
        .add_extension(mapped, critical=True)
    )
    return read_certificate(_sign_certificate(builder, authority).public_bytes(serialization.Encoding.DER))


def _make_policies_extension(identifiers: Iterable[str]) -> x509.CertificatePolicies:
    try:
        named = [x509.ObjectIdentifier(each) for each in identifiers]
    except ValueError as wrong:
        raise GatewayError(MISUSE, f"no policy: {describe_exception(wrong, 80)}", "policies") from wrong
    return x509.CertificatePolicies(x509.PolicyInformation(each, None) for each in named)


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
        .next_update(next_update or now + 7 * _DAY)
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
    return builder.sign(authority.key, _choose_signature_digest(authority.key)).public_bytes(
        serialization.Encoding.DER
    )


def _make_certificate_builder(
    subject: x509.Name, key: PublicKey, now: datetime, order: CertificateOrder, profile: CertificateProfile
) -> x509.CertificateBuilder:
    starts = now.replace(microsecond=0) + order.starts
    ends = starts + (order.days if order.days is not None else profile.days) * _DAY
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
    return builder.sign(authority.key, _choose_signature_digest(authority.key))


def _get_authority_name(authority: CertificationAuthority) -> x509.Name:
    return x509.load_der_x509_certificate(authority.certificate.der).subject


def _make_authority_key_id(authority: CertificationAuthority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(authority.certificate.subject_key_identifier, None, None)


def _choose_signature_digest(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _make_general_name(name: str) -> x509.GeneralName:
    kind, _, value = name.partition(":")
    if kind == "dns" and value:
        return x509.DNSName(value)
    if kind == "uri" and value:
        return x509.UniformResourceIdentifier(value)
    raise GatewayError(MISUSE, f"neither dns: nor uri: {name[:80]!r}", "alternative_names")


def _parse_name(subject: str) -> x509.Name:
    """Read an RFC 4514 name, or use a text without "=" as a common name."""
    if "=" not in subject:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    try:
        return x509.Name.from_rfc4514_string(subject)
    except ValueError as wrong:
        raise GatewayError(MISUSE, f"not a name: {subject[:80]!r}", "subject") from wrong


# --- the sandbox: a folder with an authority and its parties --------------------------------


@dataclass(frozen=True, slots=True)
class SandboxParty:
    """A party that receives a key and a certificate, good or with a declared defect.

    ``name`` becomes the name of the files. With ``keystore`` a PKCS#12 file is written as
    well.
    """

    name: str
    subject: str = ""
    profile: str = "signing"
    key_kind: str = "p-256"
    state: Literal["good", "revoked", "expired", "future"] = "good"
    keystore: bool = False


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The result: the authority, and the signers of the parties by name."""

    folder: Path
    authority: CertificationAuthority
    signers: Mapping[str, KeySigner]


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_STATES: Final = ("good", "revoked", "expired", "future")


def load_demo_parties() -> tuple[SandboxParty, ...]:
    """Read the parties that `pki/demo.toml` declares."""
    rows = tomllib.loads(get_data_folder("pki").joinpath("demo.toml").read_text("utf-8"))["party"]
    return tuple(_read_party(row) for row in rows)


def _read_party(row: dict[str, Any]) -> SandboxParty:
    words = {key: value for key, value in row.items() if key != "meaning"}
    try:
        return SandboxParty(**words)
    except TypeError as wrong:
        where = f"demo.toml party {str(row.get('name'))[:64]}"
        raise GatewayError(MISUSE, "an unknown key, or no name", where) from wrong


def make_sandbox(
    where: Path,
    parties: Sequence[SandboxParty],
    now: datetime,
    *,
    authority: str = "CN=Sandbox CA,O=Single window sandbox",
    key_kind: str = "p-256",
    password: bytes | None = None,
    overwrite: bool = False,
    path_length: int | None = 0,
) -> Sandbox:
    """Make an authority and its parties in the folder `where`; raise GW808 if a sandbox exists there.

    Writes ca.pem, ca.key.pem, crl.pem, and for each party NAME.cert.pem, NAME.key.pem and,
    where requested, NAME.p12 under `password`. Only the owner can read private keys. With
    `overwrite`, an existing sandbox is replaced. `path_length` is the number of authorities
    that may follow each other below this one.
    """
    _check_parties(parties, password)
    if (where / "ca.key.pem").exists() and not overwrite:
        raise GatewayError(MISUSE, "there is a sandbox already", str(where))
    where.mkdir(parents=True, exist_ok=True)
    root = make_authority(authority, now, key_kind, path_length=path_length)
    _write_file(where / "ca.key.pem", encode_key_pem(root.key), 0o600)
    _write_file(where / "ca.pem", root.certificate.pem, 0o644)
    issued = {party.name: _issue_party(root, party, now) for party in parties}
    for party in parties:
        _write_party(where, party, issued[party.name], root, password)
    revoked = [issued[party.name].certificate.serial for party in parties if party.state == "revoked"]
    listed = x509.load_der_x509_crl(make_revocation_list(root, revoked, now, now + 30 * _DAY))
    _write_file(where / "crl.pem", listed.public_bytes(serialization.Encoding.PEM), 0o644)
    return Sandbox(where, root, {name: each.signer for name, each in issued.items()})


def load_authority(where: Path) -> CertificationAuthority:
    """Read the authority of the sandbox in the folder `where`."""
    try:
        key, certificate = (where / "ca.key.pem").read_bytes(), (where / "ca.pem").read_bytes()
    except OSError as missing:
        raise GatewayError(MISUSE, "there is no sandbox", str(where)) from missing
    signer = load_signer(key, certificate)
    return CertificationAuthority(signer.key, signer.certificate)


def revoke_certificates(where: Path, certificates: Iterable[Certificate], now: datetime) -> int:
    """Add `certificates` to the revocation list of the sandbox in `where`; return the new list's number.

    Raises GW205 for a certificate that the sandbox authority has not issued. Without
    certificates the list is only renewed.
    """
    authority = load_authority(where)
    issuer = x509.load_der_x509_certificate(authority.certificate.der)
    try:
        old = x509.load_pem_x509_crl((where / "crl.pem").read_bytes())
    except (OSError, ValueError) as wrong:
        raise GatewayError(MISUSE, "there is no revocation list", str(where / "crl.pem")) from wrong
    since = {one.serial_number: one.revocation_date_utc for one in old}
    serials = {one.serial: one for one in certificates}
    for one in serials.values():
        try:
            x509.load_der_x509_certificate(one.der).verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as wrong:
            detail = f"{one.subject[:120]} is not of this authority"
            raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "certificate") from wrong
    number = old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
    listed = make_revocation_list(
        authority, {*since, *serials}, now, now + 30 * _DAY, number=number, since=since
    )
    pem = x509.load_der_x509_crl(listed).public_bytes(serialization.Encoding.PEM)
    _write_file(where / "crl.pem", pem, 0o644)
    return number


def _check_parties(parties: Sequence[SandboxParty], password: bytes | None) -> None:
    names = [party.name for party in parties]
    for party in parties:
        if not _NAME.fullmatch(party.name) or party.name.lower() == "ca":
            detail = (
                f"{party.name[:80]!r} cannot be the name of files: letters, digits, '.', '_' and '-' only, "
                "64 at most, and not 'ca'"
            )
            raise GatewayError(MISUSE, detail, "party name")
        if party.state not in _STATES:
            raise GatewayError(MISUSE, f"unknown state {party.state[:40]!r}", party.name)
        if party.keystore and not password:
            raise GatewayError(MISUSE, "a key store needs a password", party.name)
    # Some file systems do not tell large letters from small ones.
    if len({name.lower() for name in names}) != len(names):
        raise GatewayError(MISUSE, "two parties of the same name", "party name")


def _issue_party(root: CertificationAuthority, party: SandboxParty, now: datetime) -> IssuedCertificate:
    starts = {"expired": -40 * _DAY, "future": 40 * _DAY}.get(party.state, -_LEEWAY)
    days = 30 if party.state == "expired" else None
    order = CertificateOrder(profile=party.profile, key_kind=party.key_kind, days=days, starts=starts)
    return issue_certificate(root, party.subject or f"CN={party.name}", now, order)


def _write_party(
    where: Path,
    party: SandboxParty,
    issued: IssuedCertificate,
    root: CertificationAuthority,
    password: bytes | None,
) -> None:
    _write_file(where / f"{party.name}.cert.pem", issued.certificate.pem, 0o644)
    _write_file(where / f"{party.name}.key.pem", issued.key_pem, 0o600)
    if party.keystore and password:
        store = pkcs12.serialize_key_and_certificates(
            party.name.encode(),
            issued.key,
            x509.load_der_x509_certificate(issued.certificate.der),
            [x509.load_der_x509_certificate(root.certificate.der)],
            serialization.BestAvailableEncryption(password),
        )
        _write_file(where / f"{party.name}.p12", store, 0o600)


def _write_file(path: Path, content: bytes, mode: int) -> None:
    # The mode is set before the content is written, and set again for a file that already existed.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)

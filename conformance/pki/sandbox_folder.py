"""The sandbox: a folder with an authority, its revocation list, and keys and certificates of parties."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway.errors import CERTIFICATE_UNTRUSTED, MISUSE, GatewayError
from gateway.file_owner import make_owned_folder, open_owned_file
from gateway.pki import Certificate, KeySigner, encode_key_pem, load_signer
from gateway_conformance import DATA_FOLDER
from gateway_conformance.pki.certificate_authority import (
    DAY,
    LEEWAY,
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
    make_authority,
    make_revocation_list,
)


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
    """Read the parties that `demo.toml` declares."""
    rows = tomllib.loads(DATA_FOLDER.joinpath("pki", "demo.toml").read_text("utf-8"))["party"]
    return tuple(_read_party(row) for row in rows)


def _read_party(row: dict[str, Any]) -> SandboxParty:
    party_values = {key: value for key, value in row.items() if key != "meaning"}
    try:
        return SandboxParty(**party_values)
    except TypeError as wrong:
        location = f"demo.toml party {str(row.get('name'))[:64]}"
        raise GatewayError(MISUSE, "an unknown key, or no name", location) from wrong


def make_sandbox(
    folder: Path,
    parties: Sequence[SandboxParty],
    now: datetime,
    *,
    authority: str = "CN=Sandbox CA,O=Single window sandbox",
    key_kind: str = "p-256",
    password: bytes | None = None,
    overwrite: bool = False,
    path_length: int | None = 0,
) -> Sandbox:
    """Make an authority and its parties in a folder; raise GW808 if a sandbox exists there.

    Writes ca.pem, ca.key.pem, crl.pem, and for each party NAME.cert.pem, NAME.key.pem and,
    where requested, NAME.p12 under `password`. Only the owner can read private keys. With
    `overwrite`, an existing sandbox is replaced. `path_length` is the number of authorities
    that may follow each other below this one.
    """
    _check_parties(parties, password)
    if (folder / "ca.key.pem").exists() and not overwrite:
        raise GatewayError(MISUSE, "there is a sandbox already", str(folder))
    make_owned_folder(folder)
    root = make_authority(authority, now, key_kind, path_length=path_length)
    _write_file(folder / "ca.key.pem", encode_key_pem(root.key), 0o600)
    _write_file(folder / "ca.pem", root.certificate.pem, 0o644)
    issued = {party.name: _issue_party(root, party, now) for party in parties}
    for party in parties:
        _write_party(folder, party, issued[party.name], root, password)
    revoked = [issued[party.name].certificate.serial for party in parties if party.state == "revoked"]
    listed = x509.load_der_x509_crl(make_revocation_list(root, revoked, now, now + 30 * DAY))
    _write_file(folder / "crl.pem", listed.public_bytes(serialization.Encoding.PEM), 0o644)
    return Sandbox(folder, root, {name: each.signer for name, each in issued.items()})


def load_authority(folder: Path) -> CertificationAuthority:
    """Read the authority of the sandbox in a folder."""
    try:
        key, certificate = (folder / "ca.key.pem").read_bytes(), (folder / "ca.pem").read_bytes()
    except OSError as missing:
        raise GatewayError(MISUSE, "there is no sandbox", str(folder)) from missing
    signer = load_signer(key, certificate)
    return CertificationAuthority(signer.key, signer.certificate)


def revoke_certificates(folder: Path, certificates: Iterable[Certificate], now: datetime) -> int:
    """Add `certificates` to the revocation list of the sandbox in a folder; return the new list's number.

    Raises GW205 for a certificate that the sandbox authority has not issued. Without
    certificates the list is only renewed.
    """
    authority = load_authority(folder)
    issuer = x509.load_der_x509_certificate(authority.certificate.der)
    try:
        old = x509.load_pem_x509_crl((folder / "crl.pem").read_bytes())
    except (OSError, ValueError) as wrong:
        raise GatewayError(MISUSE, "there is no revocation list", str(folder / "crl.pem")) from wrong
    since = {entry.serial_number: entry.revocation_date_utc for entry in old}
    serials = {certificate.serial: certificate for certificate in certificates}
    for certificate in serials.values():
        try:
            x509.load_der_x509_certificate(certificate.der).verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as wrong:
            detail = f"{certificate.subject[:120]} is not of this authority"
            raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "certificate") from wrong
    number = old.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
    listed = make_revocation_list(
        authority, {*since, *serials}, now, now + 30 * DAY, number=number, since=since
    )
    pem = x509.load_der_x509_crl(listed).public_bytes(serialization.Encoding.PEM)
    _write_file(folder / "crl.pem", pem, 0o644)
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
    starts = {"expired": -40 * DAY, "future": 40 * DAY}.get(party.state, -LEEWAY)
    days = 30 if party.state == "expired" else None
    order = CertificateOrder(profile=party.profile, key_kind=party.key_kind, days=days, starts=starts)
    return issue_certificate(root, party.subject or f"CN={party.name}", now, order)


def _write_party(
    folder: Path,
    party: SandboxParty,
    issued: IssuedCertificate,
    root: CertificationAuthority,
    password: bytes | None,
) -> None:
    _write_file(folder / f"{party.name}.cert.pem", issued.certificate.pem, 0o644)
    _write_file(folder / f"{party.name}.key.pem", issued.key_pem, 0o600)
    if party.keystore and password:
        store = pkcs12.serialize_key_and_certificates(
            party.name.encode(),
            issued.key,
            x509.load_der_x509_certificate(issued.certificate.der),
            [x509.load_der_x509_certificate(root.certificate.der)],
            serialization.BestAvailableEncryption(password),
        )
        _write_file(folder / f"{party.name}.p12", store, 0o600)


def _write_file(path: Path, content: bytes, mode: int) -> None:
    # The mode is set before the content is written, and set again for a file that already existed.
    descriptor = open_owned_file(path, os.O_WRONLY | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)

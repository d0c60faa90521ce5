"""Whom we call over TLS: revoked by a list in hand, however its certificate is made; sections by host."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.config import TlsSettings
from gateway.delivery import PerHostConnector, tls_connectors
from gateway.pki import RevocationData
from gateway_conformance.pki import CertificationAuthority, make_authority, make_revocation_list

NOW = datetime.now(UTC)
SERIAL = 4711
#: Beyond what our rules read, as a server of many hosts has it; and an extension in bad form.
ODD: dict[str, x509.ExtensionType] = {
    "many names": x509.SubjectAlternativeName([x509.DNSName(f"h{one}.example") for one in range(600)]),
    "bad form": x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.31"), b"\x05\x00"),
    "none": x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]),
}


@pytest.fixture(scope="module")
def authority() -> CertificationAuthority:
    return make_authority("CN=Servers CA", NOW)


def chain(authority: CertificationAuthority, odd: str) -> tuple[bytes, ...]:
    above = x509.load_der_x509_certificate(authority.certificate.der)
    made = (
        x509.CertificateBuilder(above.subject, x509.Name([]), serial_number=SERIAL)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(ODD[odd], critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.DER), authority.certificate.der


@pytest.mark.parametrize("odd", ODD)
def test_a_list_in_hand_is_heeded_however_odd_the_certificate(
    authority: CertificationAuthority, odd: str
) -> None:
    found = chain(authority, odd)
    named = RevocationData((make_revocation_list(authority, [SERIAL], NOW),))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"revoked"):
        tls_connectors._check_revocation(found, named, NOW)
    other = make_authority("CN=Elsewhere CA", NOW)
    for lists in (
        (make_revocation_list(authority, [SERIAL + 1], NOW),),
        (make_revocation_list(other, [SERIAL], NOW),),
        (),
    ):
        tls_connectors._check_revocation(found, RevocationData(lists), NOW)


@pytest.mark.long
@pytest.mark.parametrize(
    ("section", "host", "found"),
    [
        ("a.example:8443", "A.example", True),
        ("a.example", "a.example", True),
        ("a.example:443", "a.example", False),
        ("b.example", "a.example", False),
        ("[2001:db8::1]:8443", "2001:db8::1", True),
        ("[2001:db8::1]", "2001:db8::1", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("*", "2001:db8::1", True),
    ],
)
def test_the_section_of_a_host(
    authority: CertificationAuthority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    section: str,
    host: str,
    found: bool,
) -> None:
    anchor = tmp_path / "ca.pem"
    anchor.write_bytes(authority.certificate.pem)
    used: list[int] = []

    def shaken(context: ssl.SSLContext, *_: object) -> None:
        used.append(len(context.get_ca_certs()))

    monkeypatch.setattr(tls_connectors, "_perform_handshake", shaken)
    monkeypatch.setattr(tls_connectors, "get_verified_chain", lambda _: (authority.certificate.der,))
    with socket.socket() as connection:
        PerHostConnector(
            {section: TlsSettings(anchors=(anchor,))}, lambda: (RevocationData(), NOW)
        ).wrap_connection(connection, host, 8443)
    assert (used == [1]) is found

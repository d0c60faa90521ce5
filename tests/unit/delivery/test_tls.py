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

from gateway.config.tls import Tls
from gateway.delivery import tls
from gateway.delivery.tls import Callings
from gateway.pki.issue import Authority, make_authority, make_crl
from gateway.pki.revocation import Revocations

NOW = datetime.now(UTC)
SERIAL = 4711
#: Beyond what our rules read, as a server of many hosts has it; and an extension in bad form.
ODD: dict[str, x509.ExtensionType] = {
    "many names": x509.SubjectAlternativeName([x509.DNSName(f"h{one}.example") for one in range(600)]),
    "bad form": x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.31"), b"\x05\x00"),
    "none": x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]),
}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority("CN=Servers CA", NOW)


def chain(authority: Authority, odd: str) -> tuple[bytes, ...]:
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
def test_a_list_in_hand_is_heeded_however_odd_the_certificate(authority: Authority, odd: str) -> None:
    found = chain(authority, odd)
    named = Revocations((make_crl(authority, [SERIAL], NOW),))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"revoked"):
        tls._check_revocation(found, named, NOW)
    other = make_authority("CN=Elsewhere CA", NOW)
    for lists in ((make_crl(authority, [SERIAL + 1], NOW),), (make_crl(other, [SERIAL], NOW),), ()):
        tls._check_revocation(found, Revocations(lists), NOW)


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
    authority: Authority,
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

    monkeypatch.setattr(tls, "_shaken", shaken)
    monkeypatch.setattr(tls, "verified_chain", lambda _: (authority.certificate.der,))
    with socket.socket() as connection:
        Callings({section: Tls(anchors=(anchor,))}, lambda: (Revocations(), NOW)).wrap(connection, host, 8443)
    assert (used == [1]) is found

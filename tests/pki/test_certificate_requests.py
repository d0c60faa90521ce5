"""Certificate requests: the one who asks has the key, the key is allowed, the name is a party's."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gateway.errors import GatewayError
from gateway.pki import (
    KEY_KINDS,
    CertificateUse,
    CertificateValidator,
    RevocationData,
    TrustStore,
    encode_key_pem,
    load_signer,
    make_key_and_request,
    make_private_key,
    read_certificate_request,
)
from gateway.pki.certificate_requests import MAX_REQUEST_OCTETS
from gateway_conformance.pki import (
    CertificateOrder,
    issue_requested_certificate,
    make_authority,
    make_revocation_list,
)
from tests.pki.certificate_forgery import DAY, NOW
from tests.pki.conftest import World

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Small Firm")])


def asked(key: object | None = None, *extensions: x509.ExtensionType, name: x509.Name = NAME) -> bytes:
    """Return a request in DER, of any key and with any extensions."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    for one in extensions:
        builder = builder.add_extension(one, critical=True)
    made = builder.sign(key or make_private_key(), hashes.SHA256())  # type: ignore[arg-type]
    return made.public_bytes(serialization.Encoding.DER)


def reason(data: bytes) -> str:
    with pytest.raises(GatewayError) as caught:
        read_certificate_request(data)
    assert caught.value.problem.id == "GW205"
    assert caught.value.location == "request" or "certificate" in caught.value.location
    return caught.value.detail


@pytest.mark.long
@pytest.mark.parametrize("kind", [one for one in KEY_KINDS if one != "rsa-4096"])
def test_from_request_to_a_certificate_that_is_believed(world: World, kind: str):
    key, pem = make_key_and_request("CN=Small Firm,O=Co", kind)
    made = issue_requested_certificate(world.sub, read_certificate_request(pem), NOW)
    assert made.subject == "CN=Small Firm,O=Co"
    assert (
        CertificateValidator(world.trust, world.revocations)(made.der, CertificateUse.SIGNING, NOW).status
        == "valid"
    )
    assert load_signer(encode_key_pem(key), made.der).sign(b"x")


def test_the_profile_grants_and_nothing_else_does(world: World):
    _, pem = make_key_and_request("Small Firm", name_texts=("dns:bank.example",))
    request = read_certificate_request(pem)
    assert request.alternative_names == ("dns:bank.example",)
    assert issue_requested_certificate(world.sub, request, NOW).alternative_names == ()
    named = issue_requested_certificate(
        world.sub, request, NOW, CertificateOrder("tls", alternative_names=("dns:firm.example",))
    )
    assert named.alternative_names == ("dns:firm.example",)
    judge = CertificateValidator(world.trust, world.revocations)
    assert judge(named.der, CertificateUse.TLS_SERVER, NOW).status == "valid"
    assert (
        judge(issue_requested_certificate(world.sub, request, NOW).der, CertificateUse.TLS_SERVER, NOW).status
        == "invalid"
    )


def test_a_revoked_one_is_refused_as_any_other(world: World):
    made = issue_requested_certificate(world.sub, read_certificate_request(asked()), NOW)
    listed = RevocationData([world.root_crl, make_revocation_list(world.sub, [made.serial], NOW)])
    verdict = CertificateValidator(world.trust, listed)(made.der, CertificateUse.SIGNING, NOW)
    assert verdict.problem is not None
    assert verdict.problem.id == "GW207"


def test_somebody_elses_key_is_not_certified():
    mine, theirs = asked(make_private_key()), make_private_key().public_key()
    spki = theirs.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    own = x509.load_der_x509_csr(mine).public_key()
    old = own.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert len(old) == len(spki)
    assert "no proof of possession" in reason(mine.replace(old, spki))


def test_a_name_that_was_changed_is_not_certified():
    assert "no proof of possession" in reason(asked().replace(b"Small Firm", b"Large Firm"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (asked(rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (asked(ec.generate_private_key(ec.SECP256K1())), "secp256k1"),
        (asked(None, x509.BasicConstraints(ca=True, path_length=None)), "asks to be an authority"),
        (asked(name=x509.Name([])), "without a subject"),
        (b"", "neither DER nor exactly one PEM"),
        (b"\x30\x03\x02\x01\x00", "malformed request"),
        (asked() + b"\x00", "malformed request"),
        (asked()[:-1], "malformed request"),
        (b"\x30" * (MAX_REQUEST_OCTETS + 1), "too large"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\n=A\n-----END CERTIFICATE REQUEST-----", "base64"),
    ],
)
def test_what_is_no_good_request_is_refused(data: bytes, words: str):
    assert words in reason(data)


def test_who_may_sign_certificates_is_not_asked_for():
    usage = x509.KeyUsage(*[False] * 5, True, *[False] * 3)
    assert "asks to be an authority" in reason(asked(None, usage))


def test_two_requests_in_one_file_are_refused():
    _, pem = make_key_and_request("One")
    assert "exactly one" in reason(pem + make_key_and_request("Two")[1])
    block = b"".join(pem.splitlines()[1:-1])
    older = pem.replace(b"BEGIN CERT", b"BEGIN NEW CERT").replace(b"END CERT", b"END NEW CERT")
    assert (
        read_certificate_request(older).subject
        == read_certificate_request(base64.b64decode(block)).subject
        == "CN=One"
    )


@pytest.mark.parametrize("octet", range(0, 200, 7))
def test_a_spoilt_request_is_refused_and_never_a_crash(octet: int):
    data = bytearray(asked())
    data[octet % len(data)] ^= 0x41
    reason(bytes(data))


def test_the_name_of_the_authority_and_a_life_beyond_its_own_are_refused():
    short = make_authority("CN=Short", NOW)
    own = x509.load_der_x509_certificate(short.certificate.der).subject
    with pytest.raises(GatewayError, match="GW205"):
        issue_requested_certificate(short, read_certificate_request(asked(name=own)), NOW)
    with pytest.raises(GatewayError, match="the authority itself ends"):
        issue_requested_certificate(
            short, read_certificate_request(asked()), NOW + 3600 * DAY, CertificateOrder(days=3600)
        )
    with pytest.raises(GatewayError, match="no profile of a party"):
        issue_requested_certificate(
            short, read_certificate_request(asked()), NOW, CertificateOrder("authority")
        )
    trust = TrustStore((short.certificate,))
    made = issue_requested_certificate(short, read_certificate_request(asked()), NOW)
    listed = RevocationData([make_revocation_list(short, [], NOW)])
    assert (
        CertificateValidator(trust, listed)(made.der, CertificateUse.SIGNING, NOW + timedelta(hours=1)).status
        == "valid"
    )

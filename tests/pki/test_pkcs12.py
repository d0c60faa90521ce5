"""A PKCS#12 file brings a key and its certificate, and nothing else that we would believe."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki import is_pkcs12_file, load_signer
from gateway.pki.signing_keys import open_pkcs12_file
from gateway_conformance.pki import IssuedCertificate
from tests.pki.conftest import World
from tests.pki.test_signing_keys import check

PASSWORD = "비밀-secret".encode()


def certificate(issued: IssuedCertificate) -> x509.Certificate:
    return x509.load_der_x509_certificate(issued.certificate.der)


def file(
    issued: IssuedCertificate,
    *,
    key: bool = True,
    own: bool = True,
    password: bytes | None = PASSWORD,
    others: tuple[x509.Certificate, ...] = (),
) -> bytes:
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        protection = serialization.BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(
        b"ours",
        issued.key if key else None,  # type: ignore[arg-type]
        certificate(issued) if own else None,
        list(others) or None,
        protection,
    )


def refused(data: bytes, password: bytes | None = PASSWORD) -> str:
    with pytest.raises(GatewayError) as caught:
        open_pkcs12_file(data, password)
    assert caught.value.problem is KEY_UNAVAILABLE
    assert "secret" not in str(caught.value)
    return caught.value.detail


@pytest.mark.parametrize("password", [PASSWORD, None])
def test_a_file_signs_by_its_own_certificate(world: World, password: bytes | None) -> None:
    authority = x509.load_der_x509_certificate(world.sub.certificate.der)
    data = file(world.party, password=password, others=(authority,))
    assert is_pkcs12_file(data)
    signer = load_signer(data, None, password)
    assert signer.certificate == world.party.certificate
    check(signer, signer.sign(b"data"), b"data")


def test_the_certificate_given_beside_it_must_fit(world: World) -> None:
    data = file(world.party)
    assert load_signer(data, world.party.certificate.pem, PASSWORD).certificate == world.party.certificate
    with pytest.raises(GatewayError, match="does not belong"):
        load_signer(data, world.outcast.certificate.pem, PASSWORD)


def test_the_wrong_password(world: World) -> None:
    data = file(world.party)
    for password in (b"wrong", b"", None):
        assert "wrong password" in refused(data, password)


def test_files_without_the_one_or_the_other(world: World) -> None:
    other = (certificate(world.outcast),)
    assert "no private key" in refused(file(world.party, key=False, others=other))
    assert "no certificate" in refused(file(world.party, own=False, others=other))


def test_files_that_are_something_else(world: World) -> None:
    good = file(world.party)
    for bad in (b"", b"\x30", world.party.key_pem, world.party.certificate.der, good[:5]):
        assert not is_pkcs12_file(bad) or bad == good[:5]
        refused(bad)
    refused(good[:-20])


def test_a_key_without_a_certificate_is_refused(world: World) -> None:
    with pytest.raises(GatewayError, match="without a certificate"):
        load_signer(world.party.key_pem)

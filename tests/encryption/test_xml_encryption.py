"""XML Encryption with a second implementation, both ways."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway.encryption import decrypt_payload, encrypt_as_xml, read_encrypted_data
from gateway.errors import ENCRYPTION_ALGORITHM_REFUSED, GatewayError
from tests.encryption.conftest import Receiver, agree, draw
from tests.encryption.second_implementation import decrypt_by_xmlsec, encrypt_by_xmlsec
from tests.encryption.templates import DS, XENC, XENC11, write_template

CONTENT = "<?xml version='1.0'?><Declaration>ü 한국</Declaration>\n".encode()
SHA256 = f"{XENC}sha256"
OAEP = {"digest": SHA256, "mask": f"{XENC11}mgf1sha256"}


def read(document: bytes, receiver: Receiver, policy: str = "strict", *names: str) -> bytes:
    payload = read_encrypted_data(document, agree(policy, *names))
    return decrypt_payload(payload, [receiver.key], lambda _: True, draw).content


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 5_000, 300_000])
def test_what_we_encrypt_we_read(receiver, size):
    content = b"x" * size
    document = encrypt_as_xml(content, "text/plain", receiver.certificate, agree(), draw)
    found = decrypt_payload(read_encrypted_data(document, agree()), [receiver.key], content.__eq__, draw)
    assert (found.content, found.media_type) == (content, "text/plain")
    assert found.cipher == f"{XENC11}aes256-gcm"
    assert found.transport == f"{XENC11}rsa-oaep"
    assert found.certificate == receiver.certificate.sha256


@pytest.mark.parametrize("name", ["aes128-gcm", "AES-256-GCM", f"{XENC11}aes256-gcm"])
@pytest.mark.parametrize("transport", ["rsa-oaep", "rsa-oaep-mgf1p"])
def test_the_second_implementation_reads_what_we_encrypt(receiver, name, transport):
    document = encrypt_as_xml(
        CONTENT, "text/plain", receiver.certificate, agree("strict", name, transport), draw
    )
    assert decrypt_by_xmlsec(document, receiver) == CONTENT
    assert (
        etree.fromstring(document)
        .find(".//{*}EncryptedKey/{*}EncryptionMethod")
        .get("Algorithm")
        .endswith(transport)
    )


def test_xml_has_the_type_of_an_element(receiver):
    root = etree.fromstring(encrypt_as_xml(CONTENT, "application/xml", receiver.certificate, agree(), draw))
    assert root.get("Type") == f"{XENC}Element"
    assert root.get("MimeType") == "application/xml"
    assert root.findtext(f".//{{{DS}}}KeyName") == receiver.certificate.subject


@pytest.mark.parametrize(
    ("cipher", "bits"),
    [(f"{XENC11}aes128-gcm", 128), (f"{XENC11}aes192-gcm", 192), (f"{XENC11}aes256-gcm", 256)],
)
def test_we_read_what_the_second_implementation_encrypts(receiver, cipher, bits):
    template = write_template(cipher, f"{XENC11}rsa-oaep", **OAEP, type=f"{XENC}Element")
    assert read(encrypt_by_xmlsec(template, CONTENT, receiver, bits), receiver) == CONTENT


def test_a_mask_by_sha1_is_read_by_the_strict_policy_where_the_agreement_names_its_transport(receiver):
    template = write_template(f"{XENC11}aes256-gcm", f"{XENC}rsa-oaep-mgf1p", digest=SHA256)
    document = encrypt_by_xmlsec(template, CONTENT, receiver, 256)
    for names in ((), ("aes256-gcm",), ("aes256-gcm", "rsa-oaep")):
        with pytest.raises(GatewayError, match=r"GW216 key transport '.*rsa-oaep-mgf1p' is not allowed"):
            read(document, receiver, "strict", *names)
    assert read(document, receiver, "strict", "aes256-gcm", "rsa-oaep-mgf1p") == CONTENT
    assert read(document, receiver, "legacy-cbc") == CONTENT


@pytest.mark.parametrize(
    ("cipher", "transport", "bits"),
    [
        (f"{XENC}aes128-cbc", f"{XENC}rsa-1_5", 128),
        (f"{XENC}aes256-cbc", f"{XENC}rsa-oaep-mgf1p", 256),
        (f"{XENC}tripledes-cbc", f"{XENC}rsa-1_5", 192),
        (f"{XENC11}aes256-gcm", f"{XENC}rsa-1_5", 256),
        (f"{XENC11}aes256-gcm", f"{XENC}rsa-oaep-mgf1p", 256),
    ],
)
def test_older_algorithms_are_read_by_the_legacy_policy_alone(receiver, cipher, transport, bits):
    document = encrypt_by_xmlsec(
        write_template(cipher, transport), CONTENT, receiver, bits, triple_des="des" in cipher
    )
    assert read(document, receiver, "legacy-cbc") == CONTENT
    with pytest.raises(GatewayError) as refused:
        read(document, receiver)
    assert refused.value.problem is ENCRYPTION_ALGORITHM_REFUSED


def test_the_legacy_policy_writes_nothing_old(receiver):
    document = encrypt_as_xml(CONTENT, "text/xml", receiver.certificate, agree("legacy-cbc"), draw)
    assert read(document, receiver) == CONTENT
    with pytest.raises(GatewayError) as refused:
        encrypt_as_xml(CONTENT, "text/xml", receiver.certificate, agree("legacy-cbc", "aes128-cbc"), draw)
    assert refused.value.problem is ENCRYPTION_ALGORITHM_REFUSED
    with pytest.raises(GatewayError) as refused:
        encrypt_as_xml(
            CONTENT, "text/xml", receiver.certificate, agree("legacy-cbc", "aes128-gcm", "rsa-1_5"), draw
        )
    assert refused.value.problem is ENCRYPTION_ALGORITHM_REFUSED


def test_an_agreement_narrows_the_policy(receiver):
    document = encrypt_as_xml(CONTENT, "text/xml", receiver.certificate, agree("strict", "aes128-gcm"), draw)
    assert read(document, receiver, "strict", "aes128-gcm", "rsa-oaep") == CONTENT
    for names in (["aes256-gcm"], ["aes128-gcm", "rsa-oaep-mgf1p"], ["blowfish"]):
        with pytest.raises(GatewayError) as refused:
            read(document, receiver, "strict", *names)
        assert refused.value.problem is ENCRYPTION_ALGORITHM_REFUSED

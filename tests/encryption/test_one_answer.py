"""Whatever keeps a payload from being decrypted: one problem, one wording, the same steps."""

from __future__ import annotations

import base64
import hashlib
import os
import re

import pytest

from gateway.encryption import decrypt_payload, encrypt_as_xml, read_encrypted_data
from gateway.encryption.content_ciphers import CIPHERS
from gateway.encryption.encryption_policies import AES_128_CBC
from gateway.errors import DECRYPTION_FAILED, ENCRYPTION_MISMATCH, XML_MALFORMED, GatewayError
from gateway.pki import KeyPadding, encrypt_key
from tests.encryption.conftest import agree, draw
from tests.encryption.templates import DS, XENC

CONTENT = b"<Declaration>secret</Declaration>" * 30


def value(octets: bytes) -> str:
    text = base64.b64encode(octets).decode()
    return f"<x:CipherData><x:CipherValue>{text}</x:CipherValue></x:CipherData>"


def write_old(receiver, key: bytes, text: bytes, transported: bytes | None = None) -> bytes:
    """Return AES-CBC under RSA 1.5, as a partner of old writes it."""
    sent = transported or encrypt_key(receiver.certificate, key, KeyPadding(None))
    return (
        f'<x:EncryptedData xmlns:x="{XENC}" xmlns:d="{DS}"><x:EncryptionMethod Algorithm="{AES_128_CBC}"/>'
        f'<d:KeyInfo><x:EncryptedKey><x:EncryptionMethod Algorithm="{XENC}rsa-1_5"/>{value(sent)}'
        f"</x:EncryptedKey></d:KeyInfo>{value(text)}</x:EncryptedData>"
    ).encode()


def make_failures(receiver, other) -> dict[str, bytes]:
    """Return documents that fail each in its own way."""
    good = encrypt_as_xml(CONTENT, "text/xml", receiver.certificate, agree(), draw)
    values = re.findall(rb"<xenc:CipherValue>([^<]*)<", good)
    key_octets, text = map(base64.b64decode, values)
    key, vector = os.urandom(16), os.urandom(16)
    sealed = CIPHERS[AES_128_CBC].encrypt(key, vector, CONTENT)
    old = sealed.vector + sealed.octets

    def change(octets: bytes, position: int) -> bytes:
        return octets[:position] + bytes([octets[position] ^ 1]) + octets[position + 1 :]

    def put(index: int, octets: bytes) -> bytes:
        return good.replace(values[index], base64.b64encode(octets))

    size = receiver.key.key.key_size // 8
    return {
        "tag": put(1, change(text, -1)),
        "vector": put(1, change(text, 0)),
        "content": put(1, change(text, 40)),
        "cut": put(1, text[:20]),
        "empty": put(1, text[:12] + text[-16:]),
        "oaep": put(0, change(key_octets, 5)),
        "oaep first octet": put(0, b"\x00" * size),
        "key too short": put(0, key_octets[:-1]),
        "key too long": put(0, key_octets + b"\x00"),
        "key above the modulus": put(0, b"\xff" * size),
        "another's key": encrypt_as_xml(CONTENT, "text/xml", other.certificate, agree(), draw),
        "key of another length": put(
            0, encrypt_key(receiver.certificate, os.urandom(16), KeyPadding("sha256", "sha256"))
        ),
        "cbc padding": write_old(receiver, key, old[:-1] + bytes([old[-1] ^ 0xFF])),
        "cbc vector": write_old(receiver, key, change(old, 3)),
        "cbc cut": write_old(receiver, key, old[:-16]),
        "cbc half a block": write_old(receiver, key, old[:-3]),
        "cbc one block": write_old(receiver, key, old[:16]),
        "1.5 no padding": write_old(receiver, key, old, os.urandom(size)[:-1].rjust(size, b"\x00")),
        "1.5 wrong length of key": write_old(receiver, os.urandom(24), old),
        "1.5 another key": write_old(receiver, os.urandom(16), old),
        "1.5 short": write_old(receiver, key, old, b"\x01"),
    }


def test_every_failure_has_the_same_words_and_asks_the_digest(receiver, other):
    answers = set()
    for name, document in make_failures(receiver, other).items():
        payload = read_encrypted_data(document, agree("legacy-cbc"))
        asked = []

        def is_genuine(content: bytes, asked: list[bytes] = asked) -> bool:
            asked.append(content)
            return hashlib.sha256(content).digest() == hashlib.sha256(CONTENT).digest()

        with pytest.raises(GatewayError) as refused:
            decrypt_payload(payload, [receiver.key], is_genuine, draw)
        found = refused.value
        assert found.problem is DECRYPTION_FAILED, name
        answers.add((found.problem.id, found.detail, found.location, str(found)))
        # The digest is computed whatever the padding is; only a key for somebody else is not tried.
        assert len(asked) == (0 if name == "another's key" else 1), name
    assert len(answers) == 1


def test_right_and_wrong_cbc_padding_lead_to_content_of_nearly_one_length(receiver):
    key, cipher = os.urandom(16), CIPHERS[AES_128_CBC]
    sealed = cipher.encrypt(key, os.urandom(16), b"x" * 1000)
    lengths = set()
    for last in range(256):
        text = sealed.octets[:-17] + bytes([sealed.octets[-17] ^ last]) + sealed.octets[-16:]
        opened = cipher.decrypt(key, type(sealed)(sealed.vector, text))
        lengths.add(len(opened.content))
    assert max(lengths) - min(lengths) <= 16


def test_implicit_rejection_answers_a_wrong_padding_with_a_key(receiver):
    size = receiver.key.key.key_size // 8
    found = [
        receiver.key.decrypt_key(os.urandom(size - 1).rjust(size, b"\x00"), KeyPadding(None))
        for _ in range(20)
    ]
    assert None not in found


def test_content_that_is_not_what_was_signed_is_one_more_failure(receiver):
    document = encrypt_as_xml(b"<Other/>", "text/xml", receiver.certificate, agree(), draw)
    with pytest.raises(GatewayError) as refused:
        decrypt_payload(read_encrypted_data(document, agree()), [receiver.key], CONTENT.__eq__, draw)
    assert refused.value.problem is DECRYPTION_FAILED


def test_the_key_is_chosen_by_the_certificate_that_the_message_names(receiver, other):
    for keys in ([receiver.key, other.key], [other.key, receiver.key]):
        for one in (receiver, other):
            document = encrypt_as_xml(CONTENT, "text/xml", one.certificate, agree(), draw)
            found = decrypt_payload(read_encrypted_data(document, agree()), keys, CONTENT.__eq__, draw)
            assert found.certificate == one.certificate.sha256
    # without a name each key is tried
    document = re.sub(rb"<ds:X509Data>.*?</ds:X509Data>", b"", document)
    found = decrypt_payload(
        read_encrypted_data(document, agree()), [receiver.key, other.key], CONTENT.__eq__, draw
    )
    assert found.certificate == other.certificate.sha256


FORMS = {
    "CipherReference": (
        rb"<xenc:CipherValue>.*?</xenc:CipherValue>",
        b'<xenc:CipherReference URI="http://h/"/>',
    ),
    "RetrievalMethod": (rb"<ds:KeyName>.*?</ds:KeyName>", b'<ds:RetrievalMethod URI="http://h/"/>'),
    "RetrievalMethod beside": (
        rb"<ds:KeyInfo><xenc:Enc",
        b'<ds:KeyInfo><ds:RetrievalMethod URI="#a"/><xenc:Enc',
    ),
    "AgreementMethod": (rb"<ds:KeyName>.*?</ds:KeyName>", b'<xenc:AgreementMethod Algorithm="x"/>'),
    "no KeyInfo": (rb"<ds:KeyInfo>.*</ds:KeyInfo>", b""),
    "EncryptionProperties": (rb"</xenc:EncryptedData>", b"<xenc:EncryptionProperties/></xenc:EncryptedData>"),
    "unknown attribute": (rb' Id="', b' Recipient="x" Id="'),
    "Encoding": (rb' Id="', b' Encoding="http://www.w3.org/2000/09/xmldsig#base64" Id="'),
    "Type": (rb' Id="', b' Type="http://www.w3.org/2009/xmlenc11#EXI" Id="'),
    "two methods": (rb"(<xenc:EncryptionMethod[^>]*aes256-gcm[^>]*>)", rb"\1</xenc:EncryptionMethod>\1"),
    "text between": (rb"<ds:KeyInfo>", b"hello<ds:KeyInfo>"),
    "KeySize": (rb"(aes256-gcm\">)", rb"\1<xenc:KeySize>128</xenc:KeySize>"),
    "garbage in base64": (rb"<xenc:CipherValue>", b"<xenc:CipherValue>!"),
    "nested": (
        rb"(?s)^(.*)$",
        rb'<xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#">\1</xenc:EncryptedData>',
    ),
    "wrapped": (rb"(?s)^(.*)$", rb"<a>\1</a>"),
    "references another": (
        rb"</xenc:EncryptedKey>",
        b'<xenc:ReferenceList><xenc:DataReference URI="#y"/></xenc:ReferenceList></xenc:EncryptedKey>',
    ),
    "nine keys": (rb"(<xenc:EncryptedKey>.*</xenc:EncryptedKey>)", rb"\1\1\1\1\1\1\1\1\1"),
    "MGF twice": (rb"(<xenc11:MGF.*?</xenc11:MGF>)", rb"\1\1"),
}


@pytest.mark.parametrize("name", FORMS)
def test_another_form_is_refused_before_a_key_is_used(receiver, name):
    good = encrypt_as_xml(CONTENT, "text/plain", receiver.certificate, agree(), draw)
    pattern, put = FORMS[name]
    wrong = re.sub(pattern, put, good, count=1)
    assert wrong != good
    with pytest.raises(GatewayError) as refused:
        read_encrypted_data(wrong, agree())
    assert refused.value.problem is ENCRYPTION_MISMATCH
    assert refused.value.location.startswith("/")


@pytest.mark.parametrize(
    "put", [b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>', b"<?a b?>", b"<!-- a -->"]
)
def test_document_types_instructions_and_comments_are_refused(receiver, put):
    good = encrypt_as_xml(CONTENT, "text/plain", receiver.certificate, agree(), draw)
    with pytest.raises(GatewayError) as refused:
        read_encrypted_data(put + good, agree())
    assert refused.value.problem.id.startswith("GW1")
    assert XML_MALFORMED.id.startswith("GW1")

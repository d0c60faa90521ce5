"""Whole messages with encrypted payloads: what is agreed, in which order it is checked, what is answered."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import replace
from functools import cache

import pytest

from gateway.agreements import Encryption, PModeIndex, Reliability, Security
from gateway.errors import GatewayError
from gateway.message_model import MemoryBody, Payload
from gateway.pki import Certificate, CertificateUse, DecryptionKey, load_decryption_key
from gateway.protocols import PROTOCOLS, EncryptionResources, Parcel
from gateway.wire import read_multipart_related
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.encryption.conftest import Receiver
from tests.encryption.second_implementation import decrypt_by_xmlsec, encrypt_by_xmlsec
from tests.encryption.templates import XENC, XENC11, write_template
from tests.protocols import sample_parties as sample

EBMS2 = PROTOCOLS["ebms2"]
XML = Encryption("XMLENC", ("aes256-gcm",))
CMS = Encryption("S/MIME", ("aes256-gcm",))
LEGACY = Encryption("XMLENC", ("aes128-cbc", "aes256-gcm"), policy="legacy-cbc")


@cache
def receiver(name: str) -> Receiver:
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    issued = issue_certificate(sample.authority(), f"CN={name} decrypts", sample.NOW, order)
    return Receiver(load_decryption_key(issued.key_pem, issued.certificate.der), issued.key_pem)


def resources(*keys: DecryptionKey) -> EncryptionResources:
    def find(party: str, pin: str | None) -> Certificate:
        found = receiver(party).certificate
        assert pin in (None, found.sha256)
        return found

    return EncryptionResources(keys or (receiver("hub").key,), os.urandom, find)


def agreed(terms: Encryption | None, **changes: object):
    return sample.pmode(encryption=terms, **changes)


def context(pmode, *keys: DecryptionKey, **changes: object):
    return sample.context(agreements=PModeIndex((pmode,)), encryption=resources(*keys), **changes)


def send(pmode, **changes: object) -> Parcel:
    return EBMS2.seal((sample.message(**changes),), pmode, context(pmode))


def parts_of(parcel: Parcel) -> tuple:
    return read_multipart_related(parcel.get_header("Content-Type"), sample.octets(parcel)).attachments


def refusal(parcel: Parcel, pmode, **changes: object) -> GatewayError:
    with pytest.raises(GatewayError) as refused:
        EBMS2.open_units(parcel, context(pmode, **changes))
    return refused.value


@pytest.mark.parametrize(
    "terms", [XML, CMS, replace(XML, certificate=None, algorithms=("aes128-gcm", "rsa-oaep-mgf1p"))]
)
def test_payloads_are_encrypted_and_come_out_as_they_went_in(terms):
    pmode, sent = agreed(terms), sample.message()
    parcel = EBMS2.seal((sent,), pmode, context(pmode))
    read = EBMS2.read_sent_unit(parcel, context(pmode).limits)
    assert parcel.sent_unit == replace(read, unit=replace(read.unit, payloads=()))
    for payload, part in zip(sent.payloads, parts_of(parcel), strict=True):
        assert payload.content not in sample.octets(parcel)
        assert part.content_id == payload.content_id
        assert part.media_type == ("application/pkcs7-mime" if terms is CMS else "application/xml")
    opened = EBMS2.open_units(parcel, context(pmode))
    assert opened.unit.payloads == sent.payloads
    assert [one.key for one in opened.unwrapped_parts] == [receiver("hub").certificate.sha256] * 2
    assert opened.unwrapped_parts[0].sent_sha256 != opened.unwrapped_parts[0].signed_sha256
    assert opened.payload_digests == {one.content_id: one.signed_sha256 for one in opened.unwrapped_parts}


def test_the_second_implementation_reads_a_whole_message():
    pmode = agreed(XML)
    sent = sample.message(payloads=(Payload("p1@broker.example", "text/plain", b"hello"),))
    (part,) = parts_of(EBMS2.seal((sent,), pmode, context(pmode)))
    assert decrypt_by_xmlsec(part.content, receiver("hub")) == b"hello"


@pytest.mark.parametrize(
    ("terms", "cipher", "transport", "bits"),
    [
        (XML, f"{XENC11}aes256-gcm", f"{XENC11}rsa-oaep", 256),
        (LEGACY, f"{XENC}aes128-cbc", f"{XENC}rsa-1_5", 128),
    ],
)
def test_a_whole_message_of_the_second_implementation_is_read(terms, cipher, transport, bits):
    """It is signed over the plaintext by our signer, and its payload is encrypted by libxmlsec."""
    pmode, content = agreed(terms), b"<Declaration/>"
    clear = agreed(None)
    parcel = send(clear, payloads=(Payload("p1@broker.example", "application/xml", content),))
    extra = {"digest": f"{XENC}sha256", "mask": f"{XENC11}mgf1sha256"} if terms is XML else {}
    sealed = encrypt_by_xmlsec(write_template(cipher, transport, **extra), content, receiver("hub"), bits)
    opened = EBMS2.open_units(sample.replaced(parcel, content, sealed), context(pmode))
    assert opened.unit.payloads[0].content == content
    assert refusal(sample.replaced(parcel, content, sealed), agreed(None)).problem.id == "GW215"


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("terms", [XML, CMS], ids=["XMLENC", "S/MIME"])
def test_each_payload_is_encrypted_as_agreed_or_none_is(terms: Encryption, number: int):
    """One payload is otherwise than the other, under the same good signature."""
    payload = sample.message().payloads[number]
    secret, clear = send(agreed(terms)), send(agreed(None))
    secret_part, clear_part = (parts_of(one)[number] for one in (secret, clear))
    found = refusal(sample.replaced(secret, secret_part.content, clear_part.content), agreed(terms))
    assert (found.problem.id, found.location) == ("GW215", f"cid:{payload.content_id}")
    if terms is XML:  # its payloads have the media type of those in clear
        found = refusal(sample.replaced(clear, clear_part.content, secret_part.content), agreed(None))
        assert (found.problem.id, found.location) == ("GW215", f"cid:{payload.content_id}")


def test_what_is_not_as_agreed_is_refused_before_a_key_is_used():
    class Untouched:
        certificate = receiver("hub").certificate

        def decrypt_key(self, data, scheme):
            raise AssertionError("a key was used")

    for sent, expected, problem, words in (
        (None, XML, "GW215", "must be encrypted"),
        (XML, None, "GW215", "no encryption is agreed"),
        (CMS, None, "GW215", "no encryption is agreed"),
        (CMS, XML, "GW215", "by XMLENC"),
        (XML, CMS, "GW215", "by S/MIME"),
        (replace(XML, algorithms=("aes128-gcm",)), XML, "GW216", "aes128-gcm"),
        (XML, replace(XML, algorithms=("aes128-gcm",)), "GW216", "aes256-gcm"),
    ):
        with pytest.raises(GatewayError) as refused:
            EBMS2.open_units(send(agreed(sent)), context(agreed(expected), Untouched()))
        assert refused.value.problem.id == problem
        assert words in refused.value.detail
        assert refused.value.problem.codes.ebms2 == "SecurityFailure"
        assert refused.value.location.startswith("cid:")


def test_a_signer_who_is_not_the_sender_or_not_valid_is_refused_before_a_key_is_used():
    used = []

    class Watched:
        certificate = receiver("hub").certificate

        def decrypt_key(self, data, scheme):
            used.append(data)
            return receiver("hub").key.decrypt_key(data, scheme)

    pmode = agreed(XML)
    parcel = send(pmode)
    for changes in (
        {"find_certificate_party": lambda _: "broker2"},
        {"validate_certificate": sample.judge("broker1")},
    ):
        with pytest.raises(GatewayError):
            EBMS2.open_units(parcel, context(pmode, Watched(), **changes))
    damaged = sample.replaced(parcel, b"<ds:SignatureValue>", b"<ds:SignatureValue>AAAA")
    with pytest.raises(GatewayError):
        EBMS2.open_units(damaged, context(pmode, Watched()))
    changed = sample.replaced(parcel, b"c-1</eb:ConversationId>", b"c-2</eb:ConversationId>")
    with pytest.raises(GatewayError):
        EBMS2.open_units(changed, context(pmode, Watched()))
    assert not used
    EBMS2.open_units(parcel, context(pmode, Watched()))
    assert len(used) == 2


def test_another_plaintext_under_the_same_signature_is_a_failure_of_decryption():
    """Whoever has our certificate can encrypt; only what the sender signed counts."""
    pmode = agreed(XML)
    first = send(pmode, payloads=(Payload("p1@broker.example", "application/xml", b"<a/>"),))
    other = send(pmode, payloads=(Payload("p1@broker.example", "application/xml", b"<b/>"),))
    (theirs,), (ours,) = parts_of(other), parts_of(first)
    swapped = sample.replaced(first, ours.content, theirs.content)
    found = refusal(swapped, pmode)
    assert (found.problem.id, found.location) == ("GW210", "cid:p1@broker.example")


def test_without_a_signature_only_authenticated_ciphers_are_decrypted():
    unsigned = {"security": Security(sign=False), "reliability": Reliability("never", "never", "never")}
    plain = {"ack_requested": None, "duplicate_elimination": False}
    content = b"<Declaration/>"
    one = (Payload("p1@broker.example", "application/xml", content),)
    pmode = agreed(XML, **unsigned)
    assert EBMS2.open_units(send(pmode, payloads=one, **plain), context(pmode)).unit.payloads == one
    clear = send(agreed(None, **unsigned), payloads=one, **plain)
    old = encrypt_by_xmlsec(
        write_template(f"{XENC}aes128-cbc", f"{XENC}rsa-1_5"), content, receiver("hub"), 128
    )
    found = refusal(sample.replaced(clear, content, old), agreed(LEGACY, **unsigned))
    assert found.problem.id == "GW216"


def test_a_payload_encrypted_twice_is_refused():
    pmode = agreed(XML)
    (inner,) = parts_of(send(pmode, payloads=(Payload("p1@broker.example", "application/xml", b"<a/>"),)))
    outer = send(pmode, payloads=(Payload("p1@broker.example", "application/xml", inner.content),))
    assert refusal(outer, pmode).problem.id == "GW215"


def test_a_hub_without_a_key_says_that_it_has_none():
    pmode = agreed(XML)
    with pytest.raises(GatewayError) as refused:
        EBMS2.open_units(send(pmode), replace(context(pmode), encryption=EncryptionResources()))
    assert refused.value.problem.id == "GW803"


def test_nothing_is_encrypted_for_a_certificate_that_is_not_valid_for_it():
    pmode = agreed(XML)
    signing = sample.issued("hub").certificate

    def find(party, pin):
        return signing

    with pytest.raises(GatewayError) as refused:
        EBMS2.seal(
            (sample.message(),),
            pmode,
            replace(context(pmode), encryption=EncryptionResources((), os.urandom, find)),
        )
    assert refused.value.problem.id.startswith("GW20")
    judged = context(pmode).validate_certificate(
        receiver("hub").certificate.der, CertificateUse.ENCRYPTION, sample.NOW
    )
    assert judged.is_accepted


def test_keys_roll_over_by_the_certificate_that_was_encrypted_for():
    pmode = agreed(XML)
    for keys in ([receiver("old").key, receiver("hub").key], [receiver("hub").key, receiver("old").key]):
        opened = EBMS2.open_units(send(pmode), context(pmode, *keys))
        assert opened.unwrapped_parts[0].key == receiver("hub").certificate.sha256
    assert refusal_with(pmode, receiver("old").key) == "GW210"


def refusal_with(pmode, key: DecryptionKey) -> str:
    with pytest.raises(GatewayError) as refused:
        EBMS2.open_units(send(pmode), context(pmode, key))
    return refused.value.problem.id


@pytest.mark.long
def test_a_changed_cipher_text_and_a_changed_key_give_one_answer():
    """Of every kind of failure the ErrorList is the same but for its ids and times."""
    pmode = agreed(LEGACY)
    content = b"<Declaration>0123456789</Declaration>"
    clear = send(agreed(None), payloads=(Payload("p1@broker.example", "application/xml", content),))
    old = encrypt_by_xmlsec(
        write_template(f"{XENC}aes128-cbc", f"{XENC}rsa-1_5"), content, receiver("hub"), 128
    )
    new = encrypt_by_xmlsec(
        write_template(f"{XENC11}aes256-gcm", f"{XENC}rsa-oaep-mgf1p", digest=f"{XENC}sha256"),
        content,
        receiver("hub"),
        256,
    )
    answers = set()
    for sealed in [*spoil(old), *spoil(new), *encrypted_for_others(content)]:
        parcel = sample.replaced(clear, content, sealed)
        fixed = context(pmode, make_message_id=lambda: "m@hub.example")
        found = refusal(parcel, pmode)
        assert found.problem.id == "GW210", sealed
        answer = EBMS2.reject_parcel(found, parcel, fixed)
        answers.add((answer.http_status, without_signature(sample.octets(answer.parcel))))
    assert len(answers) == 1


def without_signature(octets: bytes) -> bytes:
    return octets.partition(b"<ds:SignatureValue>")[0]


def encrypted_for_others(content: bytes) -> list[bytes]:
    template = write_template(f"{XENC11}aes256-gcm", f"{XENC}rsa-oaep-mgf1p", digest=f"{XENC}sha256")
    return [
        encrypt_by_xmlsec(template, content, receiver("old"), 256),
        encrypt_by_xmlsec(template, b"<Other/>", receiver("hub"), 256),
    ]


def spoil(sealed: bytes) -> list[bytes]:
    """Return copies with other octets at many places of the key and of the content."""
    found = []
    for match in re.finditer(rb"CipherValue>([^<]+)<", sealed):
        octets = base64.b64decode(match[1])
        for position in [0, 1, 5, len(octets) // 2, len(octets) - 17, len(octets) - 16, len(octets) - 1]:
            for change in (1, 0x80, 0xFF):
                wrong = bytearray(octets)
                wrong[position] ^= change
                found.append(sealed.replace(match[1], base64.b64encode(bytes(wrong))))
        found += [
            sealed.replace(match[1], base64.b64encode(octets[:end])) for end in (1, 16, 32, len(octets) - 1)
        ]
    return found


def test_a_parcel_is_judged_by_itself_with_a_key():
    pmode = agreed(XML)
    parcel = send(pmode)
    opened = EBMS2.verify_parcel(parcel, "strict", context(pmode))
    assert opened.unit.payloads == sample.message().payloads
    closed = replace(context(pmode), encryption=EncryptionResources())
    with pytest.raises(GatewayError) as refused:
        EBMS2.verify_parcel(parcel, "strict", closed)
    assert refused.value.problem.id == "GW202"


def test_a_repeat_with_new_encryption_is_the_same_message():
    pmode = agreed(XML)
    first, again = send(pmode), send(pmode)
    assert sample.octets(first) != sample.octets(again)
    one, other = (EBMS2.open_units(parcel, context(pmode)) for parcel in (first, again))
    # ECDSA signatures differ, the digests that are signed do not.
    assert one.identity == other.identity


def test_an_element_that_mentions_encrypted_data_is_not_encrypted():
    content = f'<?xml version="1.0"?><!-- a --><a xmlns:x="{XENC}">EncryptedData</a>'.encode()
    pmode = agreed(None)
    payloads = (Payload("p1@broker.example", "application/xml", content),)
    assert EBMS2.open_units(send(pmode, payloads=payloads), context(pmode)).unit.payloads == payloads
    assert MemoryBody(content).octet_count > 0


def test_signed_data_are_not_encrypted_and_garbage_is_not_either():
    """application/pkcs7-mime is also what signed documents are sent as."""
    signed = bytes.fromhex("308006092a864886f70d010702a080") + b"whatever"
    payloads = (Payload("p1@broker.example", "application/pkcs7-mime", signed),)
    clear = agreed(None)
    assert EBMS2.open_units(send(clear, payloads=payloads), context(clear)).unit.payloads == payloads
    found = refusal(send(clear, payloads=payloads), agreed(CMS))
    assert (found.problem.id, found.detail) == ("GW215", "this payload must be encrypted")

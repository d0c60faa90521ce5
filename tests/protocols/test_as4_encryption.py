"""AS4: attachments are signed first, then encrypted; what is agreed, in which order it is checked."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, BinaryIO

import pytest
from lxml import etree

from gateway.agreements import Encryption, PMode, PModeIndex, Security
from gateway.errors import GatewayError
from gateway.message_model import Payload
from gateway.pki import Certificate, DecryptionKey, load_decryption_key
from gateway.protocols import EncryptionResources, OpenedMessage, Parcel, ProtocolContext, as4, ebms2
from gateway.wire import DEFAULT_LIMITS, DS, WSSE, X509_TOKEN, XENC, XENC11, read_multipart_related
from gateway.xmlsec import SHA256, SwaAttachment, SwaAttachments
from gateway.xmlsec.algorithms import ECDSA_SHA384
from gateway.xmlsec.xml_signature import DigestReference
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.protocols import as4_samples, sample_parties

NAMES = {**as4_samples.NAMES, "xenc": XENC, "xenc11": XENC11}
SECURITY = "soap12:Header/wsse:Security"
TERMS = Encryption("XMLENC", ("aes128-gcm",))
CLEAR = sample_parties.pmode("as4", **as4_samples.TERMS)
SECRET = replace(CLEAR, encryption=TERMS)
#: The certificate of the sender is revoked.
REVOKED: Any = {"validate_certificate": sample_parties.judge("broker1")}


@cache
def receiver(name: str) -> DecryptionKey:
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048")
    issued = issue_certificate(sample_parties.authority(), f"CN={name} decrypts", sample_parties.NOW, order)
    return load_decryption_key(issued.key_pem, issued.certificate.der)


def context(pmode: PMode, *keys: DecryptionKey) -> ProtocolContext:
    def find(party: str, pin: str | None) -> Certificate:
        del pin
        return receiver(party).certificate

    resources = EncryptionResources(keys or (receiver("hub"),), os.urandom, find)
    return sample_parties.context(agreements=PModeIndex((pmode,)), encryption=resources)


@cache
def sealed(algorithm: str = "aes128-gcm", *, compressed: bool = False) -> Parcel:
    pmode = replace(SECRET, encryption=replace(TERMS, algorithms=(algorithm,)))
    if compressed:
        pmode = replace(pmode, packaging=as4_samples.COMPRESSED)
    return as4.seal((as4_samples.message(),), pmode, context(pmode))


def opened(parcel: Parcel, pmode: PMode = SECRET, *keys: DecryptionKey) -> OpenedMessage:
    return as4.open_units(parcel, context(pmode, *keys))


def refusal(parcel: Parcel, pmode: PMode = SECRET, *keys: DecryptionKey) -> str:
    with pytest.raises(GatewayError) as caught:
        opened(parcel, pmode, *keys)
    return str(caught.value)


@pytest.mark.parametrize("algorithm", ["aes128-gcm", "aes256-gcm"])
@pytest.mark.parametrize("compressed", [False, True])
def test_what_was_encrypted_comes_out_as_it_went_in(algorithm: str, compressed: bool) -> None:
    parcel = sealed(algorithm, compressed=compressed)
    octets = sample_parties.octets(parcel)
    parts = read_multipart_related(parcel.get_header("Content-Type"), octets).attachments
    assert {one.media_type for one in parts} == {"application/octet-stream"}
    assert b"three" not in octets
    found = opened(parcel, replace(SECRET, encryption=replace(TERMS, algorithms=(algorithm,))))
    first, *others = as4_samples.message().payloads
    if compressed:  # then the header tells the encoding of XML
        first = replace(first, properties=(("CharacterSet", "UTF-8"),))
    assert found.unit.payloads == (first, *others)  # type: ignore[union-attr]
    assert [one.cipher for one in found.unwrapped_parts] == [f"{XENC11}{algorithm}"] * 3
    assert [one.compressed for one in found.unwrapped_parts] == [compressed] * 3
    assert {one.key for one in found.unwrapped_parts} == {receiver("hub").certificate.sha256}


def test_a_message_is_read_by_itself_and_by_an_older_key() -> None:
    keys = (receiver("other"), receiver("hub"))
    found = as4.verify_parcel(sealed(), "strict", context(CLEAR, *keys))
    assert found.unit.payloads == as4_samples.message().payloads  # type: ignore[union-attr]
    sent = as4.read_sent_unit(sealed(), context(CLEAR).limits)
    assert len(sent.references) == 5


def test_two_seals_of_one_message_are_one_message() -> None:
    again = as4.seal((as4_samples.message(),), SECRET, context(SECRET))
    assert again.read_octets() != sealed().read_octets()
    assert opened(again).identity == opened(sealed()).identity


def test_what_is_not_as_agreed_is_refused() -> None:
    clear = as4.seal((as4_samples.message(),), CLEAR, context(CLEAR))
    assert refusal(clear).startswith("GW215 this payload must be encrypted")
    assert refusal(sealed(), CLEAR).startswith("GW215 no encryption is agreed")
    assert refusal(sealed("aes256-gcm")).startswith("GW216 cipher")
    empty = replace(as4_samples.message(), payloads=())
    assert opened(as4.seal((empty,), SECRET, context(SECRET))).unit == replace(
        opened(sealed()).unit,
        payloads=(),  # type: ignore[type-var]
    )


#: In clear and encrypted they have the same media type.
ALIKE = replace(
    as4_samples.message(),
    payloads=tuple(
        Payload(f"p{number}@broker.example", "application/octet-stream", bytes([number]) * 50)
        for number in (1, 2, 3)
    ),
)


def in_clear(number: int) -> Parcel:
    """Return a sealed message with one of its payloads in clear, under the same good signature."""
    parcel = as4.seal((ALIKE,), SECRET, context(SECRET))

    def change(root: etree._Element) -> None:
        security = as4_samples.find(root, "soap12:Header/wsse:Security")
        parts = security.findall("xenc:EncryptedData", NAMES)
        named = security.findall("xenc:EncryptedKey/xenc:ReferenceList/xenc:DataReference", NAMES)
        for one in (parts[number], named[number]):
            one.getparent().remove(one)  # type: ignore[union-attr]

    octets = sample_parties.octets(parcel)
    part = read_multipart_related(parcel.get_header("Content-Type"), octets).attachments[number]
    changed = as4_samples.change_tree(parcel, change)
    return sample_parties.replaced(changed, part.content, ALIKE.payloads[number].content)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_payload_is_encrypted_where_that_is_agreed(number: int) -> None:
    parcel = in_clear(number)
    uri = f"cid:{ALIKE.payloads[number].content_id}"
    assert refusal(parcel) == f"GW215 this payload must be encrypted at {uri}"
    # The message itself is good: without an agreement it is read.
    found = as4.verify_parcel(parcel, "strict", context(CLEAR))
    assert found.unit.payloads == ALIKE.payloads  # type: ignore[union-attr]


def test_another_key_and_changed_octets_are_told_in_the_same_words() -> None:
    said = "GW210 the payload cannot be decrypted at cid:p1@broker.example"
    # The receiver is named by its key identifier: no other key is even tried.
    assert refusal(sealed(), SECRET, receiver("other")) == said
    body = sample_parties.octets(sealed())
    parts = read_multipart_related(sealed().get_header("Content-Type"), body).attachments
    first = next(one for one in parts if one.content_id.startswith("p1@"))
    broken = bytes([first.content[20] ^ 1])
    changed = first.content[:20] + broken + first.content[21:]
    assert refusal(sample_parties.replaced(sealed(), first.content, changed)) == said
    text = as4_samples.find_envelope(body).decode()
    wrapped = text.partition("<xenc:CipherValue>")[2].partition("<")[0]
    other = base64.b64encode(bytes(len(base64.b64decode(wrapped)))).decode()
    assert refusal(sample_parties.replaced(sealed(), wrapped.encode(), other.encode())) == said


def without(path: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        found = root.find(f"{SECURITY}/{path}", NAMES)
        assert found is not None
        parent = found.getparent()
        assert parent is not None
        parent.remove(found)

    return change


def put(path: str, name: str, value: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        found = root.find(f"{SECURITY}/{path}", NAMES)
        assert found is not None
        found.set(name, value)

    return change


def copy_data(root: etree._Element) -> None:
    found = root.find(f"{SECURITY}/xenc:EncryptedData", NAMES)
    assert found is not None
    found.addnext(etree.fromstring(etree.tostring(found, with_tail=False)))


OAEP = "xenc:EncryptedKey/xenc:EncryptionMethod"
DATA = "xenc:EncryptedData"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("xenc:EncryptedKey"), "GW215 exactly one EncryptedKey of this header must be for this part"),
        (without(DATA), "GW215 this payload must be encrypted"),
        (copy_data, "GW215 one part is encrypted twice"),
        (put(DATA, "Type", f"{XENC}Content"), "GW215 only the content of an attachment may be encrypted"),
        (put(f"{DATA}/xenc:CipherData/xenc:CipherReference", "URI", "http://x/"), "GW215 the ciphertext"),
        (put(f"{DATA}/xenc:CipherData/xenc:CipherReference", "URI", "cid:no"), "GW215 the encrypted part is"),
        (put(f"{DATA}/xenc:EncryptionMethod", "Algorithm", f"{XENC}aes128-cbc"), "GW216 cipher"),
        (put(OAEP, "Algorithm", f"{XENC}rsa-1_5"), "GW216 key transport"),
        (put(f"{OAEP}/ds:DigestMethod", "Algorithm", f"{DS}sha1"), "GW216 OAEP with sha1"),
        (without(f"{OAEP}/xenc11:MGF"), "GW216 OAEP with sha1"),
        (put(f"{OAEP}/xenc11:MGF", "Algorithm", f"{XENC11}mgf1sha384"), "GW210 the payload cannot be"),
        (put(DATA, "MimeType", "text/plain"), "GW103 the part is 'text/plain', and its MimeType"),
        (put("xenc:EncryptedKey", "Recipient", "x"), "GW215 attribute Recipient is not allowed here"),
    ],
)  # fmt: skip
def test_what_was_changed_in_the_header_is_refused(
    change: Callable[[etree._Element], None], said: str
) -> None:
    assert refusal(as4_samples.change_tree(sealed(), change)).startswith(said)


@pytest.mark.parametrize("kind", ["whole", "serial", "data", "direct", "token", "thumb", "nothing"])
def test_every_way_to_name_the_receiver(kind: str) -> None:
    certificate = receiver("hub").certificate

    def change(root: etree._Element) -> None:
        info = root.find(f"{SECURITY}/xenc:EncryptedKey/ds:KeyInfo", NAMES)
        assert info is not None
        if kind == "nothing":
            info.getparent().remove(info)  # type: ignore[union-attr]
            return
        reference = info[0]
        del reference[0]
        whole = base64.b64encode(certificate.der).decode()
        if kind in ("whole", "thumb"):
            value = X509_TOKEN if kind == "whole" else "urn:thumbprint"
            etree.SubElement(reference, f"{{{WSSE}}}KeyIdentifier", ValueType=value).text = whole
        elif kind == "token":
            token = as4_samples.find(root, f"{SECURITY}/wsse:BinarySecurityToken")
            fresh = etree.fromstring(etree.tostring(token, with_tail=False))
            fresh.text = whole
            fresh.set(next(name for name in map(str, fresh.attrib) if name.endswith("Id")), "receiver")
            token.addprevious(fresh)
            etree.SubElement(reference, f"{{{WSSE}}}Reference", URI="#receiver")
        else:
            data = etree.SubElement(info if kind == "direct" else reference, f"{{{DS}}}X509Data")
            if kind == "direct":
                info.remove(reference)
            if kind in ("data", "direct"):
                etree.SubElement(data, f"{{{DS}}}X509Certificate").text = whole
            else:
                named = etree.SubElement(data, f"{{{DS}}}X509IssuerSerial")
                etree.SubElement(named, f"{{{DS}}}X509IssuerName").text = "CN=x"
                etree.SubElement(named, f"{{{DS}}}X509SerialNumber").text = str(certificate.serial)

    parcel = as4_samples.change_tree(sealed(), change)
    assert opened(parcel, SECRET, receiver("other"), receiver("hub")).unwrapped_parts


def test_nothing_is_decrypted_for_a_signer_that_is_not_the_sender() -> None:
    used: list[bytes] = []

    class Watched:
        certificate = receiver("hub").certificate

        def decrypt_key(self, data: bytes, scheme: object) -> bytes | None:
            used.append(data)
            return receiver("hub").decrypt_key(data, scheme)  # type: ignore[arg-type]

    other = replace(context(SECRET), signers={"broker1": sample_parties.keyring()["broker2"]})
    forged = as4.seal((as4_samples.message(),), SECRET, other)
    assert refusal(forged, SECRET, Watched()).startswith("GW209")
    tampered = sample_parties.replaced(sealed(), b">c-1<", b">c-2<")
    assert refusal(tampered, SECRET, Watched()).startswith("GW202")
    assert not used


class UnreadBody:
    """The octets of a part that nobody may read before its signer is known."""

    def __init__(self, content: bytes) -> None:
        self.octet_count, self.sha256_hex = len(content), hashlib.sha256(content).hexdigest()

    def open_stream(self) -> BinaryIO:
        raise AssertionError("an encrypted part was read")


def open_unread(parcel: Parcel, where: ProtocolContext) -> str:
    """Return the refusal of a message whose encrypted parts cannot be read."""
    related = parcel.read_parts(where.limits)
    unread = replace(
        related,
        attachments=tuple(replace(part, octets=UnreadBody(part.content)) for part in related.attachments),
    )
    with pytest.raises(GatewayError) as caught:
        as4.open_related(unread, parcel, where)
    return str(caught.value)


def test_no_encrypted_part_is_read_before_its_signer_and_the_value_are_right() -> None:
    forging = replace(context(SECRET), signers={"broker1": sample_parties.keyring()["broker2"]})
    assert open_unread(as4.seal((as4_samples.message(),), SECRET, forging), context(SECRET))[:5] == "GW209"
    tampered = sample_parties.replaced(sealed(), b">c-1<", b">c-2<")
    assert open_unread(tampered, context(SECRET))[:5] == "GW202"
    assert open_unread(sealed(), replace(context(SECRET), **REVOKED))[:5] == "GW207"
    other = replace(SECRET, security=Security(signature_algorithms=(ECDSA_SHA384,)))
    assert open_unread(sealed(), context(other))[:5] == "GW204"


@pytest.mark.parametrize("protocol", ["as4", "ebms2"])
def test_nothing_is_decrypted_by_a_certificate_that_is_not_valid_where_nothing_is_agreed(
    protocol: str,
) -> None:
    parcel = sealed() if protocol == "as4" else seal_ebms2()
    verify = as4.verify_parcel if protocol == "as4" else ebms2.verify_parcel
    with pytest.raises(GatewayError, match="GW207"):
        verify(parcel, "strict", replace(context(SECRET, Untouchable()), **REVOKED))


class Untouchable:
    """A key that nobody may use."""

    certificate = property(lambda _self: receiver("hub").certificate)

    def decrypt_key(self, data: bytes, padding: object) -> bytes | None:
        raise AssertionError("a key was used")


def seal_ebms2() -> Parcel:
    pmode = replace(sample_parties.SUBMIT, encryption=TERMS)
    return ebms2.seal((sample_parties.message(),), pmode, context(pmode))


def test_an_xml_part_with_comments_is_told_as_such() -> None:
    unit = replace(as4_samples.message(), payloads=(Payload("p@x", "application/xml", b"<a><!--c--></a>"),))
    with pytest.raises(GatewayError, match="GW203 the signature does not cover comments"):
        as4.seal((unit,), SECRET, context(SECRET))


@pytest.mark.parametrize("plaintext", [b"<a><!--c--></a>", b"<a/><!---->", b"<a/>", b"<a", b"", b"\xff"])
def test_what_a_changed_ciphertext_becomes_gets_one_answer(plaintext: bytes) -> None:
    """Whether it is well-formed, or has a comment, is told of signed octets alone: else it is an oracle."""
    parts = SwaAttachments({"p@x": SwaAttachment("application/xml", b"encrypted")}, DEFAULT_LIMITS)

    def is_signed(signed: bytes) -> bool:
        reference = DigestReference("cid:p@x", SHA256, hashlib.sha256(signed).digest())
        return parts.is_signed_plaintext("p@x", reference, "Signature", plaintext)

    assert not is_signed(b"<declaration></declaration>")
    if b"--c--" in plaintext:
        with pytest.raises(GatewayError, match="GW203 the signature does not cover comments"):
            is_signed(b"<a></a>")
    elif plaintext == b"<a/>":
        assert is_signed(b"<a></a>")


def test_encrypted_parts_have_room_together() -> None:
    """Each is held while another is decrypted: three that fit alone do not fit together."""
    parcel = sealed()
    parts = read_multipart_related(parcel.get_header("Content-Type"), parcel.read_octets()).attachments
    sizes = [len(one.content) for one in parts]
    assert len(sizes) == 3
    for missing in (0, 1):
        limits = replace(DEFAULT_LIMITS, secret=sum(sizes) - missing)
        assert limits.secret > max(sizes)
        where = replace(context(SECRET, receiver("hub")), limits=limits)
        if missing:
            with pytest.raises(GatewayError, match=f"GW102 .* at most {limits.secret} octets together"):
                as4.open_units(parcel, where)
        else:
            assert len(as4.open_units(parcel, where).unit.payloads) == 3  # type: ignore[union-attr]

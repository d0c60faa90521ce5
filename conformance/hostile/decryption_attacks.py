"""Attacks on encrypted payloads: oracles, downgrades, forms that cost or fetch (SIG-36, SIG-37).

The sender signs the message over the plaintext; an attacker who changes the message on the way has no key of
either side. Every failure must be answered in one way.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Generator
from typing import Final

from gateway.wire import XENC, XENC11
from gateway_conformance.hostile.answer_evaluation import summarize_answer
from gateway_conformance.hostile.attack_cases import (
    AttackCase,
    RequestMaker,
    Scenario,
    SourcedTable,
    expect_refusal,
    make_sourced_cases,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.exchange import (
    ACCEPTED,
    LAWFUL,
    Answer,
    Exchange,
    HttpRequest,
    WrongAnswerError,
)
from gateway_conformance.hostile.sealed_payloads import (
    CONTENT,
    DocumentMaker,
    change_cipher_value,
    encrypt_cbc,
    encrypt_padded_block,
    encrypt_with_rsa_15,
    get_receiver,
    seal_cms,
    seal_xml,
    send_sealed,
    write_encrypted_document,
)

_FEATURE: Final = "encryption"
_JAGER: Final = "Jager, Somorovsky: How to Break XML Encryption, 2011"
_BLEICHENBACHER: Final = (
    "Bleichenbacher 1998; Jager, Schinzel, Somorovsky: Bleichenbacher's Attack Strikes Again, 2012"
)
_MANGER: Final = "Manger: A Chosen Ciphertext Attack on RSA-OAEP, 2001"
_BACKWARDS: Final = "Jager, Paterson, Somorovsky: One Bad Apple, 2013"
_WRAPPING: Final = "Somorovsky et al.: All Your Clouds Are Belong to Us, 2011; XML Encryption §3"
_FETCH: Final = "CWE-918; XML Encryption §3.3.1, XML Signature §4.5.3"
_MANY: Final = "XML Encryption §3.5: any number of recipients"
_OAEP_1: Final = f"{XENC}rsa-oaep-mgf1p"
_GCM: Final = f"{XENC11}aes256-gcm"
_KEY: Final = bytes(range(32))
_CMS: Final = "application/pkcs7-mime"
_FAILED: Final = expect_refusal("GW210")


def _flip(position: int, bit_mask: int = 1) -> Callable[[bytes], bytes]:
    """Return the change that inverts the bits of the mask `bit_mask` in the octet at `position`."""

    def flip_bits(octets: bytes) -> bytes:
        changed = bytearray(octets)
        changed[position] ^= bit_mask
        return bytes(changed)

    return flip_bits


def _replace_by(octets: bytes) -> Callable[[bytes], bytes]:
    return lambda _: octets


def _truncate_at(end: int) -> Callable[[bytes], bytes]:
    return lambda octets: octets[:end]


def _use_document(document: bytes) -> DocumentMaker:
    return lambda _: document


def _change_value_in(value_index: int, change: Callable[[bytes], bytes]) -> DocumentMaker:
    return lambda kit: change_cipher_value(seal_xml(kit), value_index, change)


def _replace_in_document(old: bytes, new: bytes) -> DocumentMaker:
    """Return the function that replaces `old` by `new` in an honest document; ValueError if it is missing."""

    def make_document(kit: AttackerKit) -> bytes:
        document = seal_xml(kit)
        if old not in document:
            raise ValueError(f"{old!r} is not in the document")
        return document.replace(old, new, 1)

    return make_document


def _replace_between(start: bytes, end: bytes, new: bytes = b"") -> DocumentMaker:
    """Return the function that puts `new` in place of everything from `start` to `end` in a document."""

    def make_document(kit: AttackerKit) -> bytes:
        head, _, rest = seal_xml(kit).partition(start)
        return head + new + rest.partition(end)[2]

    return make_document


def _make_cbc_variants(kit: AttackerKit) -> list[bytes]:
    """Return documents whose plaintext ends in valid and invalid padding, and changed ciphertexts."""
    encrypted_key = encrypt_with_rsa_15(get_receiver(kit), _KEY)
    paddings = [bytes(15) + bytes([last]) for last in (0, 1, 2, 15, 16, 17, 32, 127, 128, 255)]
    ciphertexts = [
        encrypt_cbc(_KEY, bytes(16 * blocks), padding) for padding in paddings for blocks in (0, 5)
    ]
    honest = encrypt_cbc(_KEY, CONTENT)
    ciphertexts += [_flip(position, bit)(honest) for position in (0, 15, -17, -32) for bit in (1, 0x80)]
    ciphertexts += [honest[:-16], honest[:32], honest[:-1], honest + bytes(16)]
    return [write_encrypted_document(encrypted_key, ciphertext) for ciphertext in ciphertexts]


def _make_pkcs1_variants(kit: AttackerKit) -> list[bytes]:
    """Return documents whose key is padded in the ways that Bleichenbacher tells apart."""
    receiver, ciphertext = get_receiver(kit), encrypt_cbc(_KEY, CONTENT)
    filler = b"\x5a"
    blocks: list[Callable[[int], bytes]] = [
        lambda size: b"\x00\x02" + filler * (size - 2),  # no end of the padding
        lambda size: b"\x00\x02" + bytes(size - 2),  # the end at once
        lambda size: b"\x00\x02" + filler * (size - 35) + b"\x00" + bytes(32),  # another key
        lambda size: b"\x00\x02" + filler * (size - 19) + b"\x00" + bytes(16),  # a key of another length
        lambda size: b"\x00\x02" + filler * (size - 3) + b"\x00",  # no key
        lambda size: b"\x00\x01" + b"\xff" * (size - 35) + b"\x00" + _KEY,  # the padding of a signature
        lambda size: b"\x00\x00" + filler * (size - 35) + b"\x00" + _KEY,
        lambda size: b"\x01\x02" + filler * (size - 35) + b"\x00" + _KEY,
        lambda size: b"\x00" * (size - 1) + b"\x01",
    ]
    keys = [encrypt_padded_block(receiver, block) for block in blocks]
    keys += [b"", b"\x00", keys[0][:-1], keys[0] + b"\x00", b"\xff" * len(keys[0])]
    return [write_encrypted_document(key, ciphertext) for key in keys]


def _make_oaep_variants(kit: AttackerKit) -> list[bytes]:
    """Return documents whose key has a first octet, a mask or a length that OAEP does not have."""
    receiver, honest = get_receiver(kit), seal_xml(kit)
    blocks: list[Callable[[int], bytes]] = [
        lambda size: b"\x00" + os.urandom(size - 1),
        lambda size: b"\x01" + os.urandom(size - 1),
        lambda size: b"\x7f" + os.urandom(size - 1),
        bytes,
        lambda size: b"\x00" * (size - 1) + b"\x02",
    ]
    keys = [encrypt_padded_block(receiver, block) for block in blocks]
    return [change_cipher_value(honest, 0, _replace_by(key)) for key in (*keys, b"", keys[0][:-1])]


def _make_gcm_variants(kit: AttackerKit) -> list[bytes]:
    """Return documents with one changed octet, with another length, and with content that was not signed."""
    honest = seal_xml(kit)
    variants = [
        change_cipher_value(honest, -1, _flip(position)) for position in (0, 11, 12, 40, -17, -16, -1)
    ]
    variants += [change_cipher_value(honest, -1, _truncate_at(end)) for end in (0, 11, 12, 27, 28, -1)]
    return [*variants, seal_xml(kit, b"<Other/>"), seal_xml(kit, b"")]


def _make_cms_variants(kit: AttackerKit) -> list[bytes]:
    honest = seal_cms(kit)
    return [_flip(position)(honest) for position in (-1, -16, -20, -60)] + [seal_cms(kit, b"<Other/>")]


def _make_uniform_scenario(make_documents: Callable[[AttackerKit], list[bytes]], action: str) -> Scenario:
    """Return the scenario in which every document gets the same refusal, and an honest one is accepted."""
    make_honest, media_type = (seal_cms, _CMS) if action == "SealCms" else (seal_xml, "application/xml")

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        yield Exchange(send_sealed(make_honest, action, media_type)(kit), ACCEPTED)
        first = ""
        for number, document in enumerate(make_documents(kit)):
            request = send_sealed(_use_document(document), action, media_type)(kit)
            answer = yield Exchange(request, _FAILED)
            summary = summarize_answer(answer)
            description = f"{summary.status} {summary.error_codes} {summary.fault_code} {summary.problem_ids}"
            first = first or description
            if description != first:
                raise WrongAnswerError(f"variant {number} is answered otherwise: {description[:100]}")

    return run_scenario


def _seal_for_sender(kit: AttackerKit) -> bytes:
    """Encrypt for the sender's own certificate, and name the gateway's."""
    sender_certificate = kit.get_signer("a").certificate
    hub_certificate = get_receiver(kit)
    return seal_xml(kit, receiver=sender_certificate).replace(
        _encode(sender_certificate.der), _encode(hub_certificate.der)
    )


def _encode(octets: bytes) -> bytes:
    return base64.b64encode(octets)


def _seal_weak(transport: str, cipher: str, method: str = "") -> DocumentMaker:
    """Return the function that encrypts by algorithms that were not agreed; `method` are their parameters."""
    return lambda kit: write_encrypted_document(
        encrypt_with_rsa_15(get_receiver(kit), _KEY), encrypt_cbc(_KEY, CONTENT), transport, cipher, method
    )


def _repeat_key(kit: AttackerKit) -> bytes:
    head, key, tail = _split_key(seal_xml(kit))
    return head + key * 1000 + tail


def _split_key(document: bytes) -> tuple[bytes, bytes, bytes]:
    start = document.index(b"<xenc:EncryptedKey>")
    end = document.index(b"</xenc:EncryptedKey>") + len(b"</xenc:EncryptedKey>")
    return document[:start], document[start:end], document[end:]


def _nest_keys(kit: AttackerKit) -> bytes:
    head, key, tail = _split_key(seal_xml(kit))
    for _ in range(60):
        key = b"<xenc:EncryptedKey><ds:KeyInfo>" + key + b"</ds:KeyInfo></xenc:EncryptedKey>"
    return head + key + tail


def _send_twice(kit: AttackerKit) -> HttpRequest:
    inner = seal_xml(kit)
    return send_sealed(lambda kit: seal_xml(kit, inner), content=inner)(kit)


_SHA1: Final = '<ds:DigestMethod Algorithm="http://www.w3.org/2000/09/xmldsig#sha1"/>'
_CANARY: Final = b'URI="http://127.0.0.1:9/canary"'
_END: Final = b"</xenc:EncryptedData>"

# fmt: off
#: What stands in the place of the payload that was signed.
_DOCUMENTS: Final[SourcedTable[DocumentMaker]] = (
    ("SIG-36.replaced", "another content, encrypted for the gateway by a stranger",
     lambda kit: seal_xml(kit, b"<Other/>"), "GW210", _WRAPPING),
    ("SIG-36.tag", "one octet of the ciphertext changed", _change_value_in(-1, _flip(40)), "GW210", _JAGER),
    ("SIG-36.another-key", "encrypted for the sender, with the gateway's certificate beside it",
     _seal_for_sender, "GW210", "key confusion"),
    ("SIG-36.cbc", "CBC where GCM is agreed", _seal_weak(_OAEP_1, f"{XENC}aes256-cbc"), "GW216", _BACKWARDS),
    ("SIG-36.rsa-1.5", "RSA 1.5 where OAEP is agreed", _seal_weak(f"{XENC}rsa-1_5", _GCM), "GW216",
     _BACKWARDS),
    ("SIG-36.oaep-sha1", "OAEP with SHA-1", _seal_weak(_OAEP_1, _GCM, _SHA1), "GW216", _BACKWARDS),
    ("SIG-36.oaep-default", "OAEP without a digest, which means SHA-1", _seal_weak(_OAEP_1, _GCM), "GW216",
     _BACKWARDS),
    ("SIG-36.cipher-renamed", "the cipher renamed to the CBC of the same key",
     _replace_in_document(_GCM.encode(), f"{XENC}aes256-cbc".encode()), "GW216", _BACKWARDS),
    ("SIG-36.cipher-unknown", "a cipher that nobody knows",
     _replace_in_document(_GCM.encode(), b"urn:example:null-cipher"), "GW216", _BACKWARDS),
    ("SIG-36.clear", "in clear where encryption is agreed", lambda _: CONTENT, "GW215", "encryption stripped",
     True),
    ("SIG-37.recipients", "a payload for a thousand recipients", _repeat_key, "GW215 GW102 GW104", _MANY),
    ("SIG-37.nested", "sixty EncryptedKey, each in the other", _nest_keys, "GW215 GW102", _MANY),
    ("SIG-37.wrapped", "EncryptedData below another element", lambda kit: b"<a>" + seal_xml(kit) + b"</a>",
     "GW215", _WRAPPING),
    ("SIG-37.two-contents", "two CipherData", _replace_in_document(_END,
     b"<xenc:CipherData><xenc:CipherValue>AAAA</xenc:CipherValue></xenc:CipherData>" + _END), "GW215",
     _WRAPPING),
    ("SIG-37.cipher-reference", "the content is to be fetched",
     _replace_between(b"</ds:KeyInfo><xenc:CipherData>", b"</xenc:CipherData>",
     b"</ds:KeyInfo><xenc:CipherData><xenc:CipherReference " + _CANARY + b"/></xenc:CipherData>"), "GW215",
     _FETCH),
    ("SIG-37.retrieval-method", "the key is to be fetched",
     _replace_in_document(b"<ds:KeyInfo><xenc:EncryptedKey>",
     b"<ds:KeyInfo><ds:RetrievalMethod " + _CANARY + b"/><xenc:EncryptedKey>"), "GW215", _FETCH),
    ("SIG-37.key-retrieval", "the receiver's certificate is to be fetched",
     _replace_in_document(b"<ds:X509Data>", b"<ds:RetrievalMethod " + _CANARY + b"/><ds:X509Data>"), "GW215",
     _FETCH),
    ("SIG-37.key-agreement", "a key agreement in place of the key", _replace_between(b"<xenc:EncryptedKey>",
     b"</xenc:EncryptedKey>", b'<xenc:AgreementMethod Algorithm="urn:x"/>'), "GW215", _WRAPPING),
    ("SIG-37.key-name", "a name in place of the key",
     _replace_between(b"<xenc:EncryptedKey>", b"</xenc:EncryptedKey>", b"<ds:KeyName>hub</ds:KeyName>"),
     "GW215", _WRAPPING),
    ("SIG-37.properties", "properties with content of their own",
     _replace_in_document(_END, b"<xenc:EncryptionProperties/>" + _END), "GW215", _WRAPPING),
    ("SIG-37.entity", "a document type with an entity in the encrypted form",
     lambda kit: b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + seal_xml(kit),
     "GW102 GW104 GW107 GW215", _FETCH),
)

#: Messages under another agreement, or with another content.
_SENT: Final[SourcedTable[RequestMaker]] = (
    ("SIG-36.unagreed", "encrypted where nothing is agreed", send_sealed(seal_xml, "Store"), "GW215",
     "encryption added"),
    ("SIG-36.other-form", "a CMS envelope where XML Encryption is agreed",
     send_sealed(seal_cms, "Seal", _CMS), "GW215", "encryption exchanged"),
    ("SIG-37.twice", "a payload encrypted twice, rightly signed", _send_twice, "GW215", _MANY),
    ("SIG-37.cms-cut", "an envelope that ends early",
     send_sealed(lambda kit: seal_cms(kit)[:-40], "SealCms", _CMS), "GW215", _WRAPPING),
    ("SIG-37.cms-garbage", "octets that are no envelope",
     send_sealed(lambda _: b"0\x84\x7f\xff\xff\xff" + bytes(64), "SealCms", _CMS), "GW215", _WRAPPING),
)

#: Documents that must all be refused in the same way: how they are made, and the action of their message.
_UNIFORM: Final[tuple[tuple[str, str, Callable[[AttackerKit], list[bytes]], str, str], ...]] = (
    ("SIG-36.padding", "CBC: every padding, one answer", _make_cbc_variants, "SealOld", _JAGER),
    ("SIG-36.million-messages", "RSA 1.5: every padding, one answer", _make_pkcs1_variants, "SealOld",
     _BLEICHENBACHER),
    ("SIG-36.first-octet", "OAEP: every first octet, one answer", _make_oaep_variants, "Seal", _MANGER),
    ("SIG-36.sealed-one-answer", "GCM: every change, one answer", _make_gcm_variants, "Seal", _JAGER),
    ("SIG-36.cms-one-answer", "CMS: every change, one answer", _make_cms_variants, "SealCms", _JAGER),
)
# fmt: on


def _run_hostile_content_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send an entity bomb, correctly signed and encrypted: it must be accepted, and stored unparsed."""
    bomb = b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 1000 + b'">]><a>' + b"&b;" * 1000 + b"</a>"
    yield Exchange(send_sealed(lambda kit: seal_xml(kit, bomb), content=bomb)(kit), LAWFUL)


CASES: Final[tuple[AttackCase, ...]] = (
    *make_sourced_cases("", _DOCUMENTS, send_sealed, feature=_FEATURE),
    *make_sourced_cases("", _SENT, use_request_maker, feature=_FEATURE),
    *(
        AttackCase(name, title, "ebms2", source, _make_uniform_scenario(make, action), _FEATURE)
        for name, title, make, action, source in _UNIFORM
    ),
    AttackCase(
        "SIG-37.hostile-content",
        "content that expands without end, signed and encrypted",
        "ebms2",
        "CVE-2003-1564",
        _run_hostile_content_scenario,
        _FEATURE,
    ),
)
"""Attacks by encrypted payloads: SIG-36 and SIG-37."""

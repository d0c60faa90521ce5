"""Reads the encrypted attachments of a WS-Security header (SwA profile 1.1, section 5.5).

The keys are in EncryptedKey elements of the header. An EncryptedData stands for one attachment, whose
octets are the ciphertext; nothing else in the message is encrypted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from lxml import etree

from gateway.encryption.agreement_reading import AGREEMENT_METHOD, read_agreement
from gateway.encryption.encrypted_data import (
    check_attributes,
    decode_base64,
    list_children,
    raise_at,
    read_cipher_value,
    read_plain_method,
    read_serial,
    read_transport,
    split_vector,
    take_children,
)
from gateway.encryption.encrypted_payload import (
    MAX_ENCRYPTED_KEYS,
    EncryptedPayload,
    RecipientHints,
    TransportedKey,
)
from gateway.encryption.encryption_policies import AgreedAlgorithms
from gateway.pki import KeyPadding
from gateway.wire import DS, WSSE, WSSE11, WSU, X509_TOKEN, XENC

__all__ = [
    "ATTACHMENT_CIPHERTEXT",
    "ATTACHMENT_CONTENT",
    "EncryptedAttachments",
    "read_encrypted_attachments",
]

_PROFILE: Final = "http://docs.oasis-open.org/wss/oasis-wss-SwAProfile-1.1#"
ATTACHMENT_CONTENT: Final = f"{_PROFILE}Attachment-Content-Only"
ATTACHMENT_CIPHERTEXT: Final = f"{_PROFILE}Attachment-Ciphertext-Transform"
_ENCRYPTED_DATA: Final = f"{{{XENC}}}EncryptedData"
_ENCRYPTED_KEY: Final = f"{{{XENC}}}EncryptedKey"
_METHOD: Final = f"{{{XENC}}}EncryptionMethod"
_CIPHER_DATA: Final = f"{{{XENC}}}CipherData"
_REFERENCE_LIST: Final = f"{{{XENC}}}ReferenceList"
_KEY_INFO: Final = f"{{{DS}}}KeyInfo"
_TOKEN: Final = f"{{{WSSE}}}BinarySecurityToken"
_TOKEN_REFERENCE: Final = f"{{{WSSE}}}SecurityTokenReference"
_REFERENCE: Final = f"{{{WSSE}}}Reference"
_ID: Final = f"{{{WSU}}}Id"
_SUBJECT_KEY: Final = X509_TOKEN.replace("#X509v3", "#X509SubjectKeyIdentifier")
_LONGEST_KEY: Final = 64 * 1024
_MOST_PARTS: Final = 1000


@dataclass(frozen=True, slots=True)
class EncryptedAttachments:
    """The encrypted attachments by Content-ID, and the elements of the header that were read for them."""

    payloads: Mapping[str, EncryptedPayload]
    elements: tuple[etree._Element, ...]


@dataclass(frozen=True, slots=True)
class _HeaderKey:
    """An encrypted key of the header: its id, and the ids of what it is for."""

    id: str
    key: TransportedKey
    used_for: frozenset[str]


def read_encrypted_attachments(
    security: etree._Element, parts: Mapping[str, bytes], agreed: AgreedAlgorithms
) -> EncryptedAttachments:
    """Return what a Security header says is encrypted; raise GW215 for its form, GW216 for an algorithm.

    `parts` are the octets of all attachments by Content-ID. No key is used.
    """
    keys = list(security.iterchildren(_ENCRYPTED_KEY))
    datas = list(security.iterchildren(_ENCRYPTED_DATA))
    if len(keys) > MAX_ENCRYPTED_KEYS or len(datas) > _MOST_PARTS:
        raise_at(security, f"more than {MAX_ENCRYPTED_KEYS} keys or {_MOST_PARTS} encrypted parts")
    found = [_read_header_key(one, security, agreed) for one in keys]
    payloads: dict[str, EncryptedPayload] = {}
    for one in datas:
        name, payload = _read_attachment(one, found, parts, agreed)
        if name in payloads:
            raise_at(one, "one part is encrypted twice")
        payloads[name] = payload
    return EncryptedAttachments(payloads, (*keys, *datas))


def _read_header_key(
    element: etree._Element, security: etree._Element, agreed: AgreedAlgorithms
) -> _HeaderKey:
    check_attributes(element, "Id", _ID)
    parts = list_children(element)
    used_for: frozenset[str] = frozenset()
    if parts and parts[-1].tag == _REFERENCE_LIST:
        used_for = _read_reference_list(parts.pop())
    key_info = parts.pop(1) if len(parts) == 3 and parts[1].tag == _KEY_INFO else None
    if [one.tag for one in parts] != [_METHOD, _CIPHER_DATA]:
        raise_at(element, "an EncryptedKey holds EncryptionMethod, KeyInfo, CipherData and ReferenceList")
    octets = read_cipher_value(parts[1], _LONGEST_KEY)
    key = _read_key(parts[0], key_info, security, octets, agreed)
    return _HeaderKey(element.get("Id") or element.get(_ID) or "", key, used_for)


def _read_key(
    method: etree._Element,
    key_info: etree._Element | None,
    security: etree._Element,
    octets: bytes,
    agreed: AgreedAlgorithms,
) -> TransportedKey:
    """Return a key that is encrypted with RSA, or wrapped by one that KeyInfo agrees on."""
    if key_info is not None and len(key_info) == 1 and key_info[0].tag == AGREEMENT_METHOD:
        check_attributes(key_info, "Id")
        list_children(key_info)
        agreement, receiver = read_agreement(method, key_info[0], octets, agreed)
        hints = _read_hints(receiver, security)
        return TransportedKey(agreement.uri, KeyPadding(None), b"", hints, agreement=agreement)
    uri, padding = read_transport(method, agreed)
    hints = RecipientHints() if key_info is None else _read_hints(key_info, security)
    return TransportedKey(uri, padding, octets, hints)


def _read_reference_list(element: etree._Element) -> frozenset[str]:
    references = list_children(element)
    for one in references:
        check_attributes(one, "URI")
        if one.tag != f"{{{XENC}}}DataReference" or list_children(one):
            raise_at(one, "a key is for the encrypted data that it names")
    return frozenset(one.get("URI", "")[1:] for one in references)


def _read_hints(key_info: etree._Element, security: etree._Element) -> RecipientHints:
    """Return what KeyInfo says of the receiver's certificate; a thumbprint fits every key."""
    check_attributes(key_info, "Id")
    (reference,) = take_children(key_info, _TOKEN_REFERENCE)
    check_attributes(reference, "Id", _ID, f"{{{WSSE11}}}TokenType", "Usage")
    children = list_children(reference)
    if len(children) != 1:
        raise_at(reference, "a SecurityTokenReference names one certificate")
    named = children[0]
    if named.tag == f"{{{WSSE}}}KeyIdentifier":
        octets = decode_base64(named, _LONGEST_KEY)
        if named.get("ValueType") == _SUBJECT_KEY:
            return RecipientHints(key_ids=frozenset({octets}))
        whole = named.get("ValueType") == X509_TOKEN
        return RecipientHints(frozenset({hashlib.sha256(octets).hexdigest()})) if whole else RecipientHints()
    if named.tag == _REFERENCE:
        return _read_token_hint(named, security)
    if named.tag != f"{{{DS}}}X509Data":
        raise_at(named, "the certificate is named in a way that is not known")
    return _read_x509_hint(named)


def _read_token_hint(reference: etree._Element, security: etree._Element) -> RecipientHints:
    uri = reference.get("URI", "")
    tokens = [one for one in security.iterchildren(_TOKEN) if f"#{one.get(_ID)}" == uri]
    if len(tokens) != 1:
        raise_at(reference, f"'{uri[:120]}' names no token of this header")
    if tokens[0].get("ValueType") != X509_TOKEN:
        return RecipientHints()
    digest = hashlib.sha256(decode_base64(tokens[0], _LONGEST_KEY)).hexdigest()
    return RecipientHints(frozenset({digest}))


def _read_x509_hint(data: etree._Element) -> RecipientHints:
    children = list_children(data)
    if len(children) == 1 and children[0].tag == f"{{{DS}}}X509IssuerSerial":
        return RecipientHints(serials=frozenset({read_serial(children[0])}))
    if len(children) != 1 or children[0].tag != f"{{{DS}}}X509Certificate":
        raise_at(data, "X509Data names one certificate")
    digest = hashlib.sha256(decode_base64(children[0], _LONGEST_KEY)).hexdigest()
    return RecipientHints(frozenset({digest}))


def _read_attachment(
    element: etree._Element, keys: list[_HeaderKey], parts: Mapping[str, bytes], agreed: AgreedAlgorithms
) -> tuple[str, EncryptedPayload]:
    check_attributes(element, "Id", "Type", "MimeType")
    if element.get("Type") != ATTACHMENT_CONTENT:
        raise_at(element, "only the content of an attachment is encrypted")
    children = list_children(element)
    tags = [one.tag for one in children]
    if tags not in ([_METHOD, _KEY_INFO, _CIPHER_DATA], [_METHOD, _CIPHER_DATA]):
        raise_at(element, "an EncryptedData holds EncryptionMethod, KeyInfo and CipherData")
    uri = read_plain_method(children[0])
    agreed.check_cipher(uri)
    name = _read_cipher_reference(children[-1])
    if name not in parts:
        raise_at(element, "the encrypted part is not in the message")
    chosen = [one for one in keys if element.get("Id", "") in one.used_for]
    if len(children) == 3:
        named = _read_key_name(children[1])
        chosen = [one for one in keys if one.id and f"#{one.id}" == named]
    if len(chosen) != 1:
        raise_at(element, "exactly one EncryptedKey of this header is for this part")
    text = split_vector(uri, parts[name])
    return name, EncryptedPayload(uri, text, (chosen[0].key,), element.get("MimeType"))


def _read_key_name(key_info: etree._Element) -> str:
    check_attributes(key_info, "Id")
    (reference,) = take_children(key_info, _TOKEN_REFERENCE)
    check_attributes(reference, "Id", _ID, f"{{{WSSE11}}}TokenType", "Usage")
    (named,) = take_children(reference, _REFERENCE)
    check_attributes(named, "URI", "ValueType")
    return named.get("URI", "")


def _read_cipher_reference(cipher_data: etree._Element) -> str:
    check_attributes(cipher_data)
    (reference,) = take_children(cipher_data, f"{{{XENC}}}CipherReference")
    check_attributes(reference, "URI")
    (transforms,) = take_children(reference, f"{{{XENC}}}Transforms")
    (transform,) = take_children(transforms, f"{{{DS}}}Transform")
    uri = reference.get("URI", "")
    if read_plain_method(transform) != ATTACHMENT_CIPHERTEXT or not uri.startswith("cid:"):
        raise_at(reference, "the ciphertext is an attachment, by the transform of the profile")
    return unquote(uri[4:])

"""Encrypts the attachments of a message for WS-Security, under one key (SwA profile 1.1, section 5.5)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Final

from gateway.encryption.agreement_writing import agrees_on_keys, write_agreed_key
from gateway.encryption.attachment_reading import ATTACHMENT_CIPHERTEXT, ATTACHMENT_CONTENT
from gateway.encryption.content_ciphers import CIPHERS
from gateway.encryption.encryption_policies import RSA_OAEP, AgreedAlgorithms, raise_algorithm_error
from gateway.pki import Certificate, KeyPadding, encrypt_key
from gateway.wire import (
    BASE64_ENCODING,
    DS,
    WSSE,
    WSSE11,
    X509_TOKEN,
    XENC,
    XENC11,
    write_attribute,
    write_element,
)

__all__ = ["encrypt_attachments"]

_NAMESPACES: Final = (
    write_attribute("xmlns:ds", DS)
    + write_attribute("xmlns:wsse", WSSE)
    + write_attribute("xmlns:xenc", XENC)
)
_KEY_KIND: Final = "http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1#EncryptedKey"
_SUBJECT_KEY: Final = X509_TOKEN.replace("#X509v3", "#X509SubjectKeyIdentifier")


def encrypt_attachments(
    parts: Mapping[str, tuple[bytes, str]],
    receiver: Certificate,
    agreed: AgreedAlgorithms,
    draw: Callable[[int], bytes],
    mark: str,
) -> tuple[str, dict[str, bytes]]:
    """Return the elements of a Security header, and the ciphertext of each part by its cid: URI; raise GW216.

    `parts` are content and media type by cid: URI. `mark` makes the ids of the elements unique.
    """
    cipher = CIPHERS[agreed.choose_cipher()]
    if not cipher.authenticates:
        raise_algorithm_error("what AS4 needs, AES-GCM,", agreed.policy)
    key = draw(cipher.key_octets)
    data, octets = "", {}
    for number, (uri, (content, media_type)) in enumerate(parts.items(), 1):
        text = cipher.encrypt(key, draw(cipher.vector_octets), content)
        octets[uri] = text.vector + text.octets + text.tag
        data += _write_data(uri, media_type, cipher.uri, (f"ed-{number}-{mark}", f"ek-{mark}"))
    names = [f"ed-{number}-{mark}" for number in range(1, len(parts) + 1)]
    reference = _write_receiver(receiver)
    if agrees_on_keys(receiver):
        info, sent = write_agreed_key(receiver, key, agreed, draw, reference)
    else:
        info, sent = _write_transport(receiver, key, agreed, reference)
    return _write_key(info, sent, f"ek-{mark}", names) + data, octets


def _write_method(uri: str, content: str = "") -> str:
    return write_element("xenc:EncryptionMethod", content, write_attribute("Algorithm", uri))


def _write_transport(
    receiver: Certificate, key: bytes, agreed: AgreedAlgorithms, reference: str
) -> tuple[str, bytes]:
    """Return EncryptionMethod and KeyInfo of a key that RSA-OAEP transports, and the encrypted key."""
    if RSA_OAEP not in agreed.transports:
        raise_algorithm_error(f"'{RSA_OAEP}'", agreed.policy)
    digest = write_element("ds:DigestMethod", "", write_attribute("Algorithm", f"{XENC}sha256"))
    mask = write_attribute("xmlns:xenc11", XENC11) + write_attribute("Algorithm", f"{XENC11}mgf1sha256")
    method = _write_method(RSA_OAEP, digest + write_element("xenc11:MGF", "", mask))
    sent = encrypt_key(receiver, key, KeyPadding("sha256", "sha256"))
    return method + write_element("ds:KeyInfo", reference), sent


def _write_key(info: str, sent: bytes, key_id: str, names: list[str]) -> str:
    """Return an EncryptedKey; `info` are its EncryptionMethod and KeyInfo, `sent` the key as it is sent."""
    value = write_element("xenc:CipherValue", base64.b64encode(sent).decode("ascii"))
    uses = "".join(
        write_element("xenc:DataReference", "", write_attribute("URI", f"#{name}")) for name in names
    )
    return write_element(
        "xenc:EncryptedKey",
        info + write_element("xenc:CipherData", value) + write_element("xenc:ReferenceList", uses),
        _NAMESPACES + write_attribute("Id", key_id),
    )


def _write_receiver(receiver: Certificate) -> str:
    """Return the reference to the receiver: its subject key identifier, else its certificate."""
    named = receiver.subject_key_identifier
    kind, octets = (X509_TOKEN, receiver.der) if named is None else (_SUBJECT_KEY, named)
    attributes = write_attribute("EncodingType", BASE64_ENCODING) + write_attribute("ValueType", kind)
    value = write_element("wsse:KeyIdentifier", base64.b64encode(octets).decode("ascii"), attributes)
    return write_element("wsse:SecurityTokenReference", value)


def _write_data(uri: str, media_type: str, cipher: str, names: tuple[str, str]) -> str:
    kind = write_attribute("xmlns:wsse11", WSSE11) + write_attribute("wsse11:TokenType", _KEY_KIND)
    reference = write_element("wsse:Reference", "", write_attribute("URI", f"#{names[1]}"))
    info = write_element("ds:KeyInfo", write_element("wsse:SecurityTokenReference", reference, kind))
    step = write_element("ds:Transform", "", write_attribute("Algorithm", ATTACHMENT_CIPHERTEXT))
    place = write_element(
        "xenc:CipherReference", write_element("xenc:Transforms", step), write_attribute("URI", uri)
    )
    attributes = write_attribute("Id", names[0]) + write_attribute("MimeType", media_type)
    return write_element(
        "xenc:EncryptedData",
        _write_method(cipher) + info + write_element("xenc:CipherData", place),
        _NAMESPACES + attributes + write_attribute("Type", ATTACHMENT_CONTENT),
    )

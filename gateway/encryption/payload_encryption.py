"""Encrypts a payload for the holder of a certificate, as XML Encryption or as a CMS envelope."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.encryption.cms_envelope import write_envelope
from gateway.encryption.content_ciphers import CIPHERS, CipherText
from gateway.encryption.encryption_policies import (
    RSA_OAEP,
    RSA_OAEP_MGF1P,
    AgreedAlgorithms,
    raise_algorithm_error,
)
from gateway.pki import Certificate, KeyPadding, encrypt_key
from gateway.wire import (
    DS,
    XENC,
    XENC11,
    write_algorithm,
    write_attribute,
    write_element,
    write_leaf,
    write_octets,
)

#: Returns random octets; the argument is their number.
SecretSource = Callable[[int], bytes]

_ELEMENT: Final = f"{XENC}Element"
_XML_TYPES: Final = ("application/xml", "text/xml")
_NAMESPACES: Final = write_attribute("xmlns:xenc", XENC) + write_attribute("xmlns:ds", DS)
_SHA256: Final = write_algorithm("ds:DigestMethod", f"{XENC}sha256")
_MASK: Final = write_algorithm(
    "xenc11:MGF", f"{XENC11}mgf1sha256", attributes=write_attribute("xmlns:xenc11", XENC11)
)


@dataclass(frozen=True, slots=True)
class _SealedContent:
    """Content encrypted under a new key, and this key encrypted for the receiver."""

    cipher: str
    text: CipherText
    transport: str
    key: bytes


def encrypt_as_xml(
    content: bytes, media_type: str, receiver: Certificate, agreed: AgreedAlgorithms, draw: SecretSource
) -> bytes:
    """Return an xenc:EncryptedData with the media type of its content, as UTF-8; raise GW216."""
    sealed = _seal_content(content, receiver, agreed, draw)
    attributes = write_attribute("Id", f"ed-{hashlib.sha256(sealed.text.tag + sealed.key).hexdigest()[:32]}")
    if media_type.partition(";")[0].strip().lower() in _XML_TYPES:
        attributes += write_attribute("Type", _ELEMENT)
    text = sealed.text
    document = write_element(
        "xenc:EncryptedData",
        write_algorithm("xenc:EncryptionMethod", sealed.cipher)
        + write_element("ds:KeyInfo", _write_encrypted_key(sealed, receiver))
        + write_cipher_data(text.vector + text.octets + text.tag),
        _NAMESPACES + attributes + write_attribute("MimeType", media_type),
    )
    return document.encode()


def encrypt_as_cms(
    content: bytes, receiver: Certificate, agreed: AgreedAlgorithms, draw: SecretSource
) -> tuple[bytes, str]:
    """Return a CMS envelope (DER) and its media type (RFC 8551 §3.2); raise GW216."""
    sealed = _seal_content(content, receiver, agreed, draw)
    kind = "authEnveloped-data" if CIPHERS[sealed.cipher].authenticates else "enveloped-data"
    octets = write_envelope(sealed.cipher, sealed.text, sealed.key, receiver)
    return octets, f"application/pkcs7-mime; smime-type={kind}"


def _seal_content(
    content: bytes, receiver: Certificate, agreed: AgreedAlgorithms, draw: SecretSource
) -> _SealedContent:
    cipher = CIPHERS[agreed.choose_cipher()]
    transport = RSA_OAEP if RSA_OAEP in agreed.transports else RSA_OAEP_MGF1P
    if transport not in agreed.transports:
        raise_algorithm_error("RSA-OAEP, by which keys are sent,", agreed.policy)
    key = draw(cipher.key_octets)
    text = cipher.encrypt(key, draw(cipher.vector_octets), content)
    padding = KeyPadding("sha256", "sha256" if transport == RSA_OAEP else "sha1")
    return _SealedContent(cipher.uri, text, transport, encrypt_key(receiver, key, padding))


def _write_encrypted_key(sealed: _SealedContent, receiver: Certificate) -> str:
    method = write_transport_method(sealed.transport)
    return write_element(
        "xenc:EncryptedKey", method + _write_receiver(receiver) + write_cipher_data(sealed.key)
    )


def write_transport_method(transport: str) -> str:
    """Return the EncryptionMethod of a key that is sent by RSA-OAEP with SHA-256."""
    mask = _MASK if transport == RSA_OAEP else ""
    return write_algorithm("xenc:EncryptionMethod", transport, _SHA256 + mask)


@lru_cache(maxsize=64)
def _write_receiver(receiver: Certificate) -> str:
    data = write_element("ds:X509Data", write_octets("ds:X509Certificate", receiver.der))
    return write_element("ds:KeyInfo", write_leaf("ds:KeyName", receiver.subject) + data)


def write_cipher_data(octets: bytes) -> str:
    """Return an xenc:CipherData with these octets."""
    return write_element("xenc:CipherData", write_octets("xenc:CipherValue", octets))

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
OctetGenerator = Callable[[int], bytes]

_ELEMENT: Final = f"{XENC}Element"
_XML_TYPES: Final = ("application/xml", "text/xml")
_NAMESPACES: Final = write_attribute("xmlns:xenc", XENC) + write_attribute("xmlns:ds", DS)
_SHA256_METHOD: Final = write_algorithm("ds:DigestMethod", f"{XENC}sha256")
_MASK_FUNCTION: Final = write_algorithm(
    "xenc11:MGF", f"{XENC11}mgf1sha256", attributes=write_attribute("xmlns:xenc11", XENC11)
)


@dataclass(frozen=True, slots=True)
class _EncryptedContent:
    """Content encrypted under a new key, and this key encrypted for the receiver."""

    cipher_uri: str
    text: CipherText
    transport_uri: str
    key: bytes


def encrypt_as_xml(
    content: bytes,
    media_type: str,
    receiver: Certificate,
    algorithms: AgreedAlgorithms,
    generate_octets: OctetGenerator,
) -> bytes:
    """Return an xenc:EncryptedData with the media type of its content, as UTF-8; raise GW216."""
    sealed = _encrypt_content(content, receiver, algorithms, generate_octets)
    attributes = write_attribute("Id", f"ed-{hashlib.sha256(sealed.text.tag + sealed.key).hexdigest()[:32]}")
    if media_type.partition(";")[0].strip().lower() in _XML_TYPES:
        attributes += write_attribute("Type", _ELEMENT)
    text = sealed.text
    document = write_element(
        "xenc:EncryptedData",
        write_algorithm("xenc:EncryptionMethod", sealed.cipher_uri)
        + write_element("ds:KeyInfo", _write_encrypted_key(sealed, receiver))
        + write_cipher_data(text.vector + text.octets + text.tag),
        _NAMESPACES + attributes + write_attribute("MimeType", media_type),
    )
    return document.encode()


def encrypt_as_cms(
    content: bytes, receiver: Certificate, algorithms: AgreedAlgorithms, generate_octets: OctetGenerator
) -> tuple[bytes, str]:
    """Return a CMS envelope (DER) and its media type (RFC 8551 §3.2); raise GW216."""
    encrypted_content = _encrypt_content(content, receiver, algorithms, generate_octets)
    smime_type = (
        "authEnveloped-data" if CIPHERS[encrypted_content.cipher_uri].authenticates else "enveloped-data"
    )
    envelope_octets = write_envelope(
        encrypted_content.cipher_uri, encrypted_content.text, encrypted_content.key, receiver
    )
    return envelope_octets, f"application/pkcs7-mime; smime-type={smime_type}"


def _encrypt_content(
    content: bytes, receiver: Certificate, algorithms: AgreedAlgorithms, generate_octets: OctetGenerator
) -> _EncryptedContent:
    """Return `content` encrypted with a new key, and this key encrypted with RSA-OAEP for `receiver`.

    Raises GW216 if RSA-OAEP is not agreed.
    """
    cipher = CIPHERS[algorithms.choose_cipher()]
    transport_uri = RSA_OAEP if RSA_OAEP in algorithms.transports else RSA_OAEP_MGF1P
    if transport_uri not in algorithms.transports:
        raise_algorithm_error("RSA-OAEP, by which keys are sent,", algorithms.policy)
    content_key = generate_octets(cipher.key_octets)
    ciphertext = cipher.encrypt(content_key, generate_octets(cipher.vector_octets), content)
    padding = KeyPadding("sha256", "sha256" if transport_uri == RSA_OAEP else "sha1")
    return _EncryptedContent(
        cipher.uri, ciphertext, transport_uri, encrypt_key(receiver, content_key, padding)
    )


def _write_encrypted_key(encrypted_content: _EncryptedContent, receiver: Certificate) -> str:
    method = write_transport_method(encrypted_content.transport_uri)
    return write_element(
        "xenc:EncryptedKey", method + _write_receiver(receiver) + write_cipher_data(encrypted_content.key)
    )


def write_transport_method(transport_uri: str) -> str:
    """Return the EncryptionMethod of a key that is sent by RSA-OAEP with SHA-256."""
    mask_text = _MASK_FUNCTION if transport_uri == RSA_OAEP else ""
    return write_algorithm("xenc:EncryptionMethod", transport_uri, _SHA256_METHOD + mask_text)


@lru_cache(maxsize=64)
def _write_receiver(receiver: Certificate) -> str:
    x509_data = write_element("ds:X509Data", write_octets("ds:X509Certificate", receiver.der))
    return write_element("ds:KeyInfo", write_leaf("ds:KeyName", receiver.subject) + x509_data)


def write_cipher_data(octets: bytes) -> str:
    """Return an xenc:CipherData with these octets."""
    return write_element("xenc:CipherData", write_octets("xenc:CipherValue", octets))

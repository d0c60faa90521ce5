"""Encrypted payloads as attackers write them: right but for one thing.

Keys are encrypted with the public numbers of the gateway's certificate, so that the padding may be
anything. Nothing here is needed to encrypt honestly.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from gateway.encryption import (
    encrypt_as_cms,
    encrypt_as_xml,
    get_encryption_policy,
    select_agreed_algorithms,
)
from gateway.message_model import Payload
from gateway.pki import Certificate
from gateway.wire import DS, XENC, MimePart
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.exchange import HttpRequest, NotOfferedError

#: Makes the encrypted form of the one payload of a message.
DocumentMaker = Callable[[AttackerKit], bytes]

AES_CBC: Final = f"{XENC}aes256-cbc"
#: The content that is signed in every message here.
CONTENT: Final = b"<Declaration>" + b"0123456789abcdef" * 4 + b"</Declaration>"
_BLOCK: Final = 16
_XML: Final = "application/xml"
_PAYLOAD_ID: Final = "sealed@suite.invalid"


def get_receiver(kit: AttackerKit) -> Certificate:
    """Return the certificate for which payloads of the gateway are encrypted; raise `NotOfferedError`."""
    if kit.encryption_certificate is None:
        raise NotOfferedError("the partner folder has no hub.encryption.cert.pem")
    return kit.encryption_certificate


def seal_xml(kit: AttackerKit, content: bytes = CONTENT, receiver: Certificate | None = None) -> bytes:
    """Return content honestly encrypted with AES-256-GCM and RSA-OAEP."""
    agreed = select_agreed_algorithms(("aes256-gcm",), get_encryption_policy("strict"))
    return encrypt_as_xml(content, _XML, receiver or get_receiver(kit), agreed, os.urandom)


def seal_cms(kit: AttackerKit, content: bytes = CONTENT) -> bytes:
    """Return content honestly encrypted as a CMS envelope."""
    agreed = select_agreed_algorithms(("aes256-gcm",), get_encryption_policy("strict"))
    return encrypt_as_cms(content, get_receiver(kit), agreed, os.urandom)[0]


def encrypt_cbc(key: bytes, content: bytes, pad: bytes | None = None) -> bytes:
    """Return vector and content in AES-CBC; `pad` is the padding at the end, valid or not."""
    count = _BLOCK - len(content) % _BLOCK
    padded = content + (bytes([count]) * count if pad is None else pad)
    vector = os.urandom(_BLOCK)
    encryptor = Cipher(AES(key), CBC(vector)).encryptor()
    return vector + encryptor.update(padded) + encryptor.finalize()


def encrypt_with_rsa_15(receiver: Certificate, key: bytes) -> bytes:
    """Return a key encrypted by RSA 1.5."""
    return _get_rsa_key(receiver).encrypt(key, padding.PKCS1v15())


def encrypt_padded_block(receiver: Certificate, block: Callable[[int], bytes]) -> bytes:
    """Return the raw RSA encryption of the block that `block` makes for the length of the key in octets."""
    numbers = _get_rsa_key(receiver).public_numbers()
    size = (numbers.n.bit_length() + 7) // 8
    value = int.from_bytes(block(size)) % numbers.n
    return pow(value, numbers.e, numbers.n).to_bytes(size)


def _get_rsa_key(receiver: Certificate) -> rsa.RSAPublicKey:
    if not isinstance(receiver.public_key, rsa.RSAPublicKey):
        raise NotOfferedError("the gateway has no RSA key for encryption")
    return receiver.public_key


def write_encrypted_document(
    key: bytes, ciphertext: bytes, transport: str = f"{XENC}rsa-1_5", cipher: str = AES_CBC, method: str = ""
) -> bytes:
    """Return an EncryptedData of an encrypted key and encrypted octets; `method` are its parameters."""

    def write_value(value: bytes) -> str:
        text = base64.b64encode(value).decode()
        return f"<xenc:CipherData><xenc:CipherValue>{text}</xenc:CipherValue></xenc:CipherData>"

    return (
        f'<xenc:EncryptedData xmlns:xenc="{XENC}" xmlns:ds="{DS}" MimeType="{_XML}">'
        f'<xenc:EncryptionMethod Algorithm="{cipher}"/><ds:KeyInfo><xenc:EncryptedKey>'
        f'<xenc:EncryptionMethod Algorithm="{transport}">{method}</xenc:EncryptionMethod>{write_value(key)}'
        f"</xenc:EncryptedKey></ds:KeyInfo>{write_value(ciphertext)}</xenc:EncryptedData>"
    ).encode()


def change_cipher_value(document: bytes, value_index: int, change: Callable[[bytes], bytes]) -> bytes:
    """Return a document with one CipherValue changed: 0 is the first key, -1 the content."""
    values = re.findall(rb"<xenc:CipherValue>([^<]*)<", document)
    octets = change(base64.b64decode(values[value_index]))
    return document.replace(values[value_index], base64.b64encode(octets))


def send_sealed(
    make_document: DocumentMaker, action: str = "Seal", media_type: str = _XML, content: bytes = CONTENT
) -> Callable[[AttackerKit], HttpRequest]:
    """Return the step that sends the document of `make_document` in place of `content`, which A signed."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        document = make_document(kit)

        def exchange_part(parts: list[MimePart]) -> list[MimePart]:
            headers = {"content-type": media_type}
            return [MimePart(headers, part.content_id, media_type, document) for part in parts]

        unit = kit.make_unit(action=action, payloads=(Payload(_PAYLOAD_ID, _XML, content),))
        return kit.build_message(unit, parts=exchange_part)

    return make_request

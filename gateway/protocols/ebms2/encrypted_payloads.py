"""Persistent confidentiality (ebMS 2.0 §4.1.4.5): payloads are signed first, then encrypted.

Each payload part is replaced by an xenc:EncryptedData or a CMS envelope, under its own Content-ID.
The digest in the signature is that of the plaintext. A received payload is therefore decrypted
last: its form and its algorithms are read, the signer must be the sender, the signature value must
be right, and only then is a key used. What is decrypted counts if it has the digest that is signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from gateway.agreements import Encryption
from gateway.encryption import (
    AgreedAlgorithms,
    DecryptedPayload,
    EncryptedPayload,
    encrypt_as_cms,
    encrypt_as_xml,
    get_encryption_policy,
    read_encrypted_data,
    read_envelope,
    select_agreed_algorithms,
)
from gateway.errors import (
    ENCRYPTION_ALGORITHM_REFUSED,
    ENCRYPTION_MISMATCH,
    GatewayError,
)
from gateway.message_model import Party, Payload
from gateway.protocols.core import ProtocolContext, UnwrappedPart
from gateway.protocols.decrypted_parts import SecretContents, decrypt_part, list_unwrapped_parts
from gateway.protocols.ebms2.packaging import ManifestReference
from gateway.protocols.payload_parts import format_cid_uri
from gateway.wire import XENC, MimePart, WireLimits
from gateway.xmlsec import DigestCheck, PartDecryption

__all__ = [
    "EncryptedParts",
    "encrypt_payloads",
    "find_encrypted_parts",
    "guess_media_type",
    "read_agreed_parts",
    "read_encrypted_parts",
]

_CMS_TYPES: Final = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_XML_TYPE: Final = "application/xml"
#: Within so many octets a document of XML Encryption names its namespace.
_HEAD: Final = 4096
#: The content types EnvelopedData and AuthEnvelopedData stand at the beginning (DER of their OIDs).
_CMS_OIDS: Final = (
    bytes.fromhex("06092a864886f70d010703"),
    bytes.fromhex("060b2a864886f70d0109100117"),
)
_CMS_HEAD: Final = 32
_NAMESPACE: Final = XENC.encode()
_ROOT: Final = b"EncryptedData"


class EncryptedParts:
    """The encrypted parts of one message, by content id, and what has been decrypted of them."""

    def __init__(self, found: Mapping[str, EncryptedPayload], context: ProtocolContext) -> None:
        self._found = found
        self._context = context
        self._opened: dict[str, DecryptedPayload] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def list_decryptions(self) -> dict[str, PartDecryption]:
        """Return the decryption of each part, for the verification of the signature."""
        return {name: partial(self._decrypt_part, name) for name in self._found}

    def decrypt_unsigned(self) -> None:
        """Decrypt the parts of a message without signature; raise GW216 where nothing authenticates them.

        Only a cipher that authenticates and a padding that tells nothing are used then: whoever
        may change octets unnoticed learns from answers what they contain.
        """
        for name, payload in self._found.items():
            if not payload.is_authenticated:
                detail = "without a signature only GCM under RSA-OAEP is decrypted"
                raise GatewayError(ENCRYPTION_ALGORITHM_REFUSED, detail, format_cid_uri(name))
            self._decrypt_part(name, lambda _: True)

    def _decrypt_part(self, name: str, is_genuine: DigestCheck) -> None:
        own = self._context.encryption
        self._opened[name] = decrypt_part(name, self._found[name], own, is_genuine)

    def replace_parts(self, parts: Mapping[str, MimePart]) -> dict[str, MimePart]:
        """Return the parts with the decrypted ones in clear; raise GW215 for one encrypted twice."""
        clear = dict(parts)
        for name, opened in self._opened.items():
            media_type = opened.media_type or guess_media_type(opened.content)
            media_type = media_type.partition(";")[0].strip().lower()
            headers = {**parts[name].headers, "content-type": media_type}
            clear[name] = replace(parts[name], headers=headers, media_type=media_type, octets=opened.content)
            if _find_protocol(clear[name]):
                raise GatewayError(
                    ENCRYPTION_MISMATCH, "the payload is encrypted twice", format_cid_uri(name)
                )
        return clear

    def list_unwrapped(self, parts: Mapping[str, MimePart]) -> tuple[UnwrappedPart, ...]:
        """Return how each decrypted part came, for the evidence."""
        return list_unwrapped_parts(parts, self._opened)


def guess_media_type(content: bytes) -> str:
    """Return the media type of content whose wrapping states none: XML by its first character."""
    head = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return _XML_TYPE if head.startswith(b"<") else "application/octet-stream"


def read_agreed_parts(
    manifest: Iterable[ManifestReference],
    parts: Mapping[str, MimePart],
    terms: Encryption | None,
    context: ProtocolContext,
) -> EncryptedParts:
    """Return the encrypted payloads of a message; raise unless each is encrypted as agreed, or none.

    No key is used. GW215 says that a payload is in clear or encrypted against the agreement,
    GW216 that an algorithm is not among those agreed.
    """
    found, contents = {}, SecretContents(parts, context.limits)
    for one in manifest:
        part = parts.get(one.content_id)
        if part is None:
            continue  # reported as missing by the next check
        protocol = _find_protocol(part)
        if protocol is None and terms is not None:
            raise GatewayError(ENCRYPTION_MISMATCH, "this payload must be encrypted", one.location)
        if protocol is not None and terms is None:
            raise GatewayError(ENCRYPTION_MISMATCH, "no encryption is agreed for this payload", one.location)
        if terms is not None and protocol != _get_protocol(terms):
            detail = f"this payload must be encrypted by {terms.protocol[:40]}"
            raise GatewayError(ENCRYPTION_MISMATCH, detail, one.location)
        if terms is not None:
            agreed = _select_algorithms(terms)
            found[one.content_id] = _read_part(part, contents, agreed, (one.location, context.limits))
    return EncryptedParts(found, context)


def read_encrypted_parts(
    manifest: Iterable[ManifestReference],
    parts: Mapping[str, MimePart],
    policy: str,
    context: ProtocolContext,
) -> EncryptedParts:
    """Return the encrypted payloads of a message that is judged without agreement, by a policy."""
    agreed = select_agreed_algorithms((), get_encryption_policy(policy))
    contents = SecretContents(parts, context.limits)
    found = {
        one.content_id: _read_part(parts[one.content_id], contents, agreed, (one.location, context.limits))
        for one in manifest
        if one.content_id in parts and _find_protocol(parts[one.content_id])
    }
    return EncryptedParts(found, context)


def find_encrypted_parts(
    manifest: Iterable[ManifestReference], parts: Mapping[str, MimePart]
) -> frozenset[str]:
    """Return the content ids of the payloads that are encrypted, whatever their algorithms."""
    named = (one.content_id for one in manifest if one.content_id in parts)
    return frozenset(one for one in named if _find_protocol(parts[one]))


def _find_protocol(part: MimePart) -> str | None:
    """Return how a part is encrypted, None when it is not."""
    head = part.read_head(_HEAD)
    if part.media_type in _CMS_TYPES:
        # The same media type carries signed data, which are a payload like any other.
        return "cms" if any(oid in head[:_CMS_HEAD] for oid in _CMS_OIDS) else None
    return "xml" if _NAMESPACE in head and _ROOT in head and _is_root(head) else None


def _is_root(head: bytes) -> bool:
    """Return whether the first element is called EncryptedData, whatever its prefix."""
    start = head.find(b"<")
    while start >= 0 and head[start + 1 : start + 2] in (b"?", b"!"):
        start = head.find(b"<", start + 1)
    name = head[start + 1 :].split(None, 1)[0].split(b">", 1)[0]
    return name.rpartition(b":")[2] == _ROOT


def _get_protocol(terms: Encryption) -> str:
    return "cms" if terms.is_cms else "xml"


def _select_algorithms(terms: Encryption) -> AgreedAlgorithms:
    return select_agreed_algorithms(terms.algorithms, get_encryption_policy(terms.policy))


def _read_part(
    part: MimePart, contents: SecretContents, agreed: AgreedAlgorithms, place_limits: tuple[str, WireLimits]
) -> EncryptedPayload:
    location, limits = place_limits
    try:
        octets = contents[part.content_id]
        if part.media_type in _CMS_TYPES:
            return read_envelope(octets, agreed)
        return read_encrypted_data(octets, agreed, limits)
    except GatewayError as refused:
        place = f"{location} {refused.location}".strip()
        raise GatewayError(refused.problem, refused.detail, place) from None


def encrypt_payloads(
    payloads: tuple[Payload, ...], receiver: Party, terms: Encryption, context: ProtocolContext
) -> tuple[Payload, ...]:
    """Return payloads encrypted for a party; raise when it has no valid certificate, or GW216."""
    certificate = context.find_encryption_certificate(receiver, terms.certificate, "encryption/certificate")
    agreed, draw = _select_algorithms(terms), context.encryption.draw_octets
    sealed = []
    for one in payloads:
        if terms.is_cms:
            content, media_type = encrypt_as_cms(one.content, certificate, agreed, draw)
        else:
            content = encrypt_as_xml(one.content, one.media_type, certificate, agreed, draw)
            media_type = _XML_TYPE
        sealed.append(replace(one, octets=content, media_type=media_type))
    return tuple(sealed)

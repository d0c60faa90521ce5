"""Encrypted payloads of AS4 (core 7.7): signed first, then each part encrypted under one key.

A part is decrypted last of all: its form and its algorithms are read, the signer must be the sender with a
valid certificate, the signature value must be right, and only then is a key used. What is decrypted counts
if it has the digest that is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Final

from lxml import etree

from gateway.agreements import Encryption
from gateway.encryption import (
    AgreedAlgorithms,
    DecryptedPayload,
    EncryptedAttachments,
    encrypt_attachments,
    get_encryption_policy,
    read_encrypted_attachments,
    select_agreed_algorithms,
)
from gateway.errors import ENCRYPTION_MISMATCH, GatewayError
from gateway.message_model import Party
from gateway.protocols.core import EncryptionResources, ProtocolContext, UnwrappedPart
from gateway.protocols.decrypted_parts import SecretContents, decrypt_part, list_unwrapped_parts
from gateway.protocols.payload_parts import format_cid_uri
from gateway.wire import MimePart
from gateway.xmlsec import DigestCheck, PartDecryption, SwaAttachment

__all__ = ["NO_SECRETS", "SecretParts", "encrypt_parts", "read_agreed_secrets", "read_secrets"]

_OCTETS_TYPE: Final = "application/octet-stream"
_NOTHING: Final = EncryptedAttachments({}, ())


class SecretParts:
    """The encrypted parts of one message, by content id, and what has been decrypted of them."""

    def __init__(self, found: EncryptedAttachments, own: EncryptionResources) -> None:
        self._found = found
        self._own = own
        self._opened: dict[str, DecryptedPayload] = {}

    def __bool__(self) -> bool:
        return bool(self._found.payloads)

    @property
    def elements(self) -> tuple[etree._Element, ...]:
        """Return the elements of the Security header that say what is encrypted."""
        return self._found.elements

    def list_decryptions(self) -> dict[str, PartDecryption]:
        """Return the decryption of each part, for the verification of the signature."""
        return {name: partial(self._decrypt_part, name) for name in self._found.payloads}

    def _decrypt_part(self, name: str, is_genuine: DigestCheck) -> None:
        self._opened[name] = decrypt_part(name, self._found.payloads[name], self._own, is_genuine)

    def list_attachments(self, parts: Mapping[str, MimePart]) -> dict[str, SwaAttachment]:
        """Return the parts as the signature knows them: an encrypted one by the media type of its content."""
        return {
            name: SwaAttachment(self._get_media_type(name, one), one.octets) for name, one in parts.items()
        }

    def _get_media_type(self, name: str, part: MimePart) -> str:
        payload = self._found.payloads.get(name)
        stated = part.media_type if payload is None else payload.media_type or _OCTETS_TYPE
        return stated.partition(";")[0].strip().lower()

    def replace_parts(self, parts: Mapping[str, MimePart]) -> dict[str, MimePart]:
        """Return the parts with the decrypted ones in clear."""
        clear = dict(parts)
        for name, opened in self._opened.items():
            media_type = opened.media_type or _OCTETS_TYPE
            clear[name] = replace(
                parts[name],
                headers={**parts[name].headers, "content-type": media_type},
                media_type=self._get_media_type(name, parts[name]),
                octets=opened.content,
            )
        return clear

    def list_unwrapped(self, parts: Mapping[str, MimePart]) -> tuple[UnwrappedPart, ...]:
        """Return how each decrypted part came, for the evidence."""
        return list_unwrapped_parts(parts, self._opened)


#: A message without encrypted parts.
NO_SECRETS: Final = SecretParts(_NOTHING, EncryptionResources())


def read_secrets(
    security: etree._Element | None, parts: Mapping[str, MimePart], policy: str, context: ProtocolContext
) -> SecretParts:
    """Return the encrypted parts of a message that is judged without agreement, by a policy."""
    return _read_parts(security, parts, _select_algorithms((), policy), context)


def read_agreed_secrets(
    security: etree._Element | None,
    parts: Mapping[str, MimePart],
    terms: Encryption | None,
    context: ProtocolContext,
) -> SecretParts:
    """Return the encrypted parts of a message; raise GW215 unless each is encrypted as agreed, or none."""
    if terms is None:
        found = _read_parts(security, parts, _select_algorithms((), "strict"), context)
        if found:
            raise GatewayError(ENCRYPTION_MISMATCH, "no encryption is agreed", "wsse:Security")
        return found
    found = _read_parts(security, parts, _select_algorithms(terms.algorithms, terms.policy), context)
    for name in parts:
        if name not in found.list_decryptions():
            raise GatewayError(ENCRYPTION_MISMATCH, "this payload must be encrypted", format_cid_uri(name))
    return found


def _read_parts(
    security: etree._Element | None,
    parts: Mapping[str, MimePart],
    agreed: AgreedAlgorithms,
    context: ProtocolContext,
) -> SecretParts:
    if security is None:
        return NO_SECRETS
    contents = SecretContents(parts, context.limits)
    return SecretParts(read_encrypted_attachments(security, contents, agreed), context.encryption)


# Agreements name few different algorithms, and each message asks for them.
@lru_cache(maxsize=64)
def _select_algorithms(names: tuple[str, ...], policy: str) -> AgreedAlgorithms:
    return select_agreed_algorithms(names, get_encryption_policy(policy))


def encrypt_parts(
    parts: list[MimePart], receiver: Party, terms: Encryption, mark: str, context: ProtocolContext
) -> tuple[str, list[MimePart]]:
    """Return the elements of the Security header, and the parts encrypted for a party.

    Raises when the party has no valid certificate, or GW216.
    """
    certificate = context.find_encryption_certificate(receiver, terms.certificate, "encryption/certificate")
    header, octets = encrypt_attachments(
        {format_cid_uri(one.content_id): (one.content, one.headers["content-type"]) for one in parts},
        certificate,
        _select_algorithms(terms.algorithms, terms.policy),
        context.encryption.draw_octets,
        mark,
    )
    return header, [
        MimePart(
            {"content-type": _OCTETS_TYPE},
            one.content_id,
            _OCTETS_TYPE,
            octets[format_cid_uri(one.content_id)],
        )
        for one in parts
    ]

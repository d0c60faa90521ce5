"""Encrypted payloads of AS4 (core 7.7): signed first, then each part encrypted under one key.

The Security header states how a part is encrypted; it is read before the part itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Final

from lxml import etree

from gateway.agreements import Encryption
from gateway.encryption import (
    AgreedAlgorithms,
    EncryptedAttachment,
    EncryptedAttachments,
    EncryptedPayload,
    encrypt_attachments,
    get_encryption_policy,
    read_encrypted_attachments,
    select_agreed_algorithms,
)
from gateway.errors import ENCRYPTION_MISMATCH, GatewayError
from gateway.message_model import Party
from gateway.protocols.as4.packaging import OCTETS_TYPE
from gateway.protocols.core import EncryptionResources, ProtocolContext
from gateway.protocols.encrypted_parts import EncryptedParts, check_encrypted_size
from gateway.protocols.payload_parts import format_cid_uri
from gateway.wire import MimePart
from gateway.xmlsec import SwaAttachment


class As4EncryptedParts(EncryptedParts):
    """The encrypted parts of one message of AS4, as its Security header says.

    `elements` are those of the header that say it.
    """

    def __init__(
        self,
        encrypted_attachments: EncryptedAttachments,
        parts: Mapping[str, MimePart],
        resources: EncryptionResources,
    ) -> None:
        payload_readers = {
            name: partial(_read_attachment, attachment, parts[name])
            for name, attachment in encrypted_attachments.attachments.items()
        }
        super().__init__(payload_readers, resources, lambda opened: opened.media_type or OCTETS_TYPE)
        self.elements = encrypted_attachments.elements
        self._attachments = encrypted_attachments.attachments

    def list_attachments(self, parts: Mapping[str, MimePart]) -> dict[str, SwaAttachment]:
        """Return the parts as the signature knows them: an encrypted one by the media type of its content."""
        return {
            content_id: SwaAttachment(self._get_media_type(content_id, part), part.octets)
            for content_id, part in parts.items()
        }

    def _get_media_type(self, content_id: str, part: MimePart) -> str:
        attachment = self._attachments.get(content_id)
        media_type = part.media_type if attachment is None else attachment.media_type or OCTETS_TYPE
        return media_type.partition(";")[0].strip().lower()


def _read_attachment(attachment: EncryptedAttachment, part: MimePart) -> EncryptedPayload:
    return attachment.make_payload(part.content)


#: A message without encrypted parts.
NO_ENCRYPTED_PARTS: Final = As4EncryptedParts(EncryptedAttachments({}, ()), {}, EncryptionResources())


def read_encrypted_parts(
    security: etree._Element | None, parts: Mapping[str, MimePart], policy: str, context: ProtocolContext
) -> As4EncryptedParts:
    """Return the encrypted parts of a message that is judged without agreement, by a policy."""
    return _read_parts(security, parts, _select_algorithms((), policy), context)


def read_agreed_parts(
    security: etree._Element | None,
    parts: Mapping[str, MimePart],
    encryption_terms: Encryption | None,
    context: ProtocolContext,
) -> As4EncryptedParts:
    """Return the encrypted parts of a message; raise GW215 unless each is encrypted as agreed, or none."""
    if encryption_terms is None:
        encrypted_parts = _read_parts(security, parts, _select_algorithms((), "strict"), context)
        if encrypted_parts:
            raise GatewayError(ENCRYPTION_MISMATCH, "no encryption is agreed", "wsse:Security")
        return encrypted_parts
    encrypted_parts = _read_parts(
        security, parts, _select_algorithms(encryption_terms.algorithms, encryption_terms.policy), context
    )
    for content_id in parts:
        if content_id not in encrypted_parts:
            raise GatewayError(
                ENCRYPTION_MISMATCH, "this payload must be encrypted", format_cid_uri(content_id)
            )
    return encrypted_parts


def _read_parts(
    security: etree._Element | None,
    parts: Mapping[str, MimePart],
    allowed_algorithms: AgreedAlgorithms,
    context: ProtocolContext,
) -> As4EncryptedParts:
    """Return the encrypted parts, not decrypted yet; none without wsse:Security. Raise GW102 if too large."""
    if security is None:
        return NO_ENCRYPTED_PARTS
    encrypted_attachments = read_encrypted_attachments(security, parts, allowed_algorithms)
    check_encrypted_size((parts[name] for name in encrypted_attachments.attachments), context.limits)
    return As4EncryptedParts(encrypted_attachments, parts, context.encryption)


# Agreements name few different algorithms, and each message asks for them.
@lru_cache(maxsize=64)
def _select_algorithms(algorithm_names: tuple[str, ...], policy: str) -> AgreedAlgorithms:
    return select_agreed_algorithms(algorithm_names, get_encryption_policy(policy))


def encrypt_parts(
    parts: list[MimePart],
    receiver: Party,
    encryption_terms: Encryption,
    id_suffix: str,
    context: ProtocolContext,
) -> tuple[str, list[MimePart]]:
    """Return the elements of the Security header, and the parts encrypted for a party.

    Raises when the party has no valid certificate, or GW216.
    """
    certificate = context.find_encryption_certificate(
        receiver, encryption_terms.certificate, "encryption/certificate"
    )
    header_elements, octets_by_uri = encrypt_attachments(
        {format_cid_uri(part.content_id): (part.content, part.headers["content-type"]) for part in parts},
        certificate,
        _select_algorithms(encryption_terms.algorithms, encryption_terms.policy),
        context.encryption.make_random_octets,
        id_suffix,
    )
    return header_elements, [
        MimePart(
            {"content-type": OCTETS_TYPE},
            part.content_id,
            OCTETS_TYPE,
            octets_by_uri[format_cid_uri(part.content_id)],
        )
        for part in parts
    ]

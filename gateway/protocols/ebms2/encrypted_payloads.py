"""Persistent confidentiality (ebMS 2.0 §4.1.4.5): payloads are signed first, then encrypted.

Each payload part is replaced by an xenc:EncryptedData or a CMS envelope, under its own Content-ID.
The digest in the signature is that of the plaintext.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from gateway.agreements import GZIP, Encryption, PMode
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
from gateway.errors import COMPRESSION_REFUSED, ENCRYPTION_MISMATCH, GatewayError
from gateway.message_model import Body, Party, Payload, compute_body_digest, count_octets, iterate_octets
from gateway.protocols.core import ProtocolContext, UnwrappedPart
from gateway.protocols.ebms2.packaging import ManifestReference
from gateway.protocols.encrypted_parts import EncryptedParts, check_encrypted_size
from gateway.protocols.payload_parts import compress_content, expand_content, format_cid_uri
from gateway.wire import XENC, MimePart, WireLimits

_CMS_TYPES: Final = ("application/pkcs7-mime", "application/x-pkcs7-mime")
_XML_TYPE: Final = "application/xml"
#: A document of XML Encryption names its namespace within this number of octets from its beginning.
_HEAD_OCTETS: Final = 4096
#: The content types EnvelopedData and AuthEnvelopedData as DER of their OIDs, which begin a CMS structure.
_CMS_OIDS: Final = (
    bytes.fromhex("06092a864886f70d010703"),
    bytes.fromhex("060b2a864886f70d0109100117"),
)
_CMS_HEAD_OCTETS: Final = 32
_NAMESPACE: Final = XENC.encode()
_ROOT_NAME: Final = b"EncryptedData"


def guess_media_type(content: bytes) -> str:
    """Return the media type of content whose wrapping states none: XML by its first character."""
    head = content[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return _XML_TYPE if head.startswith(b"<") else "application/octet-stream"


def reject_double_encryption(encrypted_parts: EncryptedParts, parts: Mapping[str, MimePart]) -> None:
    """Raise GW215 where a decrypted part is encrypted again."""
    for content_id, part in parts.items():
        if content_id in encrypted_parts and _find_encryption_protocol(part):
            raise GatewayError(
                ENCRYPTION_MISMATCH, "the payload is encrypted twice", format_cid_uri(content_id)
            )


def read_agreed_parts(
    manifest: tuple[ManifestReference, ...],
    parts: Mapping[str, MimePart],
    encryption_terms: Encryption | None,
    context: ProtocolContext,
) -> EncryptedParts:
    """Return the encrypted payloads of a message; raise unless each is encrypted as agreed, or none.

    No key is used, and of each part only the beginning is read. GW215 says that a payload is in clear or
    encrypted against the agreement; whether its algorithms are those agreed (GW216) is for its reading.
    """
    for reference in manifest:
        part = parts.get(reference.content_id)
        if part is None:
            continue  # reported as missing by the next check
        used_protocol = _find_encryption_protocol(part)
        if used_protocol is None and encryption_terms is not None:
            raise GatewayError(ENCRYPTION_MISMATCH, "this payload must be encrypted", reference.location)
        if used_protocol is not None and encryption_terms is None:
            raise GatewayError(
                ENCRYPTION_MISMATCH, "no encryption is agreed for this payload", reference.location
            )
        if encryption_terms is not None and used_protocol != _get_agreed_protocol(encryption_terms):
            detail = f"this payload must be encrypted by {encryption_terms.protocol[:40]}"
            raise GatewayError(ENCRYPTION_MISMATCH, detail, reference.location)
    if encryption_terms is None:
        return make_unencrypted_parts(context)
    encrypted_references = (reference for reference in manifest if reference.content_id in parts)
    return _make_encrypted_parts(encrypted_references, parts, _select_algorithms(encryption_terms), context)


def read_encrypted_parts(
    manifest: Iterable[ManifestReference],
    parts: Mapping[str, MimePart],
    encryption_policy: str,
    context: ProtocolContext,
) -> EncryptedParts:
    """Return the encrypted payloads of a message that is judged without agreement, by a policy."""
    allowed_algorithms = select_agreed_algorithms((), get_encryption_policy(encryption_policy))
    encrypted_references = (
        reference
        for reference in manifest
        if reference.content_id in parts and _find_encryption_protocol(parts[reference.content_id])
    )
    return _make_encrypted_parts(encrypted_references, parts, allowed_algorithms, context)


def make_unencrypted_parts(context: ProtocolContext) -> EncryptedParts:
    """Return the encrypted parts of a message that has none, or of which none is decrypted."""
    return EncryptedParts({}, context.encryption, choose_decrypted_type)


def _make_encrypted_parts(
    encrypted_references: Iterable[ManifestReference],
    parts: Mapping[str, MimePart],
    allowed_algorithms: AgreedAlgorithms,
    context: ProtocolContext,
) -> EncryptedParts:
    """Return the parts that these references name, each to be read by the agreed algorithms."""
    reference_by_id = {reference.content_id: reference for reference in encrypted_references}
    check_encrypted_size((parts[content_id] for content_id in reference_by_id), context.limits)
    payload_readers = {
        content_id: partial(
            _read_part, parts[content_id], allowed_algorithms, reference.location, context.limits
        )
        for content_id, reference in reference_by_id.items()
    }
    return EncryptedParts(payload_readers, context.encryption, choose_decrypted_type)


def choose_decrypted_type(decrypted_payload: DecryptedPayload) -> str:
    """Return the media type of decrypted content: that of its wrapping, else by its first character."""
    return decrypted_payload.media_type or guess_media_type(decrypted_payload.content)


def find_encrypted_parts(
    manifest: Iterable[ManifestReference], parts: Mapping[str, MimePart]
) -> frozenset[str]:
    """Return the content ids of the payloads that are encrypted, by any algorithm."""
    content_ids = (reference.content_id for reference in manifest if reference.content_id in parts)
    return frozenset(content_id for content_id in content_ids if _find_encryption_protocol(parts[content_id]))


def _find_encryption_protocol(part: MimePart) -> str | None:
    """Return how a part is encrypted, None when it is not."""
    head = part.read_head(_HEAD_OCTETS)
    if part.media_type in _CMS_TYPES:
        # The same media type carries signed data, which are a payload like any other.
        return "cms" if any(oid in head[:_CMS_HEAD_OCTETS] for oid in _CMS_OIDS) else None
    return "xml" if _NAMESPACE in head and _ROOT_NAME in head and _is_encrypted_data_root(head) else None


def _is_encrypted_data_root(head: bytes) -> bool:
    """Return whether the first element is called EncryptedData, with any prefix."""
    tag_start = head.find(b"<")
    while tag_start >= 0 and head[tag_start + 1 : tag_start + 2] in (b"?", b"!"):
        tag_start = head.find(b"<", tag_start + 1)
    tag_name = head[tag_start + 1 :].split(None, 1)[0].split(b">", 1)[0]
    return tag_name.rpartition(b":")[2] == _ROOT_NAME


def _get_agreed_protocol(encryption_terms: Encryption) -> str:
    return "cms" if encryption_terms.is_cms else "xml"


def _select_algorithms(encryption_terms: Encryption) -> AgreedAlgorithms:
    return select_agreed_algorithms(
        encryption_terms.algorithms, get_encryption_policy(encryption_terms.policy)
    )


def _read_part(
    part: MimePart, allowed_algorithms: AgreedAlgorithms, location: str, limits: WireLimits
) -> EncryptedPayload:
    """Return the encrypted content of a part; each problem has `location` before its own place."""
    try:
        if part.media_type in _CMS_TYPES:
            return read_envelope(part.content, allowed_algorithms)
        return read_encrypted_data(part.content, allowed_algorithms, limits)
    except GatewayError as refused:
        full_location = f"{location} {refused.location}".strip()
        raise GatewayError(refused.problem, refused.detail, full_location) from None


def encrypt_payloads(
    payloads: tuple[Payload, ...], receiver: Party, encryption_terms: Encryption, context: ProtocolContext
) -> tuple[Payload, ...]:
    """Return payloads encrypted for a party; raise when it has no valid certificate, or GW216."""
    certificate = context.find_encryption_certificate(
        receiver, encryption_terms.certificate, "encryption/certificate"
    )
    agreed_algorithms, make_random_octets = (
        _select_algorithms(encryption_terms),
        context.encryption.make_random_octets,
    )
    encrypted_payloads = []
    for payload in payloads:
        if encryption_terms.is_cms:
            encrypted_octets, media_type = encrypt_as_cms(
                payload.content, certificate, agreed_algorithms, make_random_octets
            )
        else:
            encrypted_octets = encrypt_as_xml(
                payload.content, payload.media_type, certificate, agreed_algorithms, make_random_octets
            )
            media_type = _XML_TYPE
        encrypted_payloads.append(replace(payload, octets=encrypted_octets, media_type=media_type))
    return tuple(encrypted_payloads)


_GZIP_MEDIA_TYPES: Final = (GZIP, "application/x-gzip")


def compress_payloads(payloads: tuple[Payload, ...]) -> tuple[Payload, ...]:
    """Return payloads compressed; the same content gives the same octets."""
    return tuple(
        replace(payload, octets=compress_content(payload.octets), media_type=GZIP) for payload in payloads
    )


def expand_parts(
    manifest: Iterable[ManifestReference],
    parts: Mapping[str, MimePart],
    pmode: PMode,
    max_octets: int,
) -> tuple[dict[str, MimePart], tuple[UnwrappedPart, ...]]:
    """Return the parts with the payloads expanded, and how each came; raise GW319.

    `max_octets` is the number of octets that all payloads together may have.
    """
    expanded_parts, unwrapped_parts = dict(parts), []
    for reference in manifest:
        part = parts[reference.content_id]
        if part.media_type not in _GZIP_MEDIA_TYPES:
            raise GatewayError(COMPRESSION_REFUSED, f"this payload must be {GZIP}", reference.location)
        content = expand_content(part.octets, max_octets, reference.location)
        max_octets -= count_octets(content)
        media_type = _find_packaged_media_type(pmode) or guess_media_type(_read_head(content))
        headers = {**part.headers, "content-type": media_type}
        expanded_parts[reference.content_id] = replace(
            part, headers=headers, media_type=media_type, octets=content
        )
        sent_digest = compute_body_digest(part.octets)
        unwrapped_parts.append(UnwrappedPart(reference.content_id, sent_digest, sent_digest, compressed=True))
    return expanded_parts, tuple(unwrapped_parts)


def _read_head(content: bytes | Body) -> bytes:
    return next(iterate_octets(content), b"")


def _find_packaged_media_type(pmode: PMode) -> str | None:
    """Return the media type that the packaging names for compressed content, None unless it is one."""
    parts = pmode.packaging.parts if pmode.packaging is not None else ()
    media_types = {part.mime_type for part in parts if GZIP in part.wrapper_types}
    return media_types.pop() if len(media_types) == 1 and "*" not in next(iter(media_types)) else None

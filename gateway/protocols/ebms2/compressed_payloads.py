"""Compressed payloads by agreement: gzip (RFC 1952) before signing and encrypting.

The part has the media type application/gzip. The signature covers the compressed octets, so
nothing is expanded before its sender is known. The media type of the content is that which the
packaging of the agreement names, else it is XML when the content begins so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from gateway.agreements import GZIP, PMode
from gateway.errors import COMPRESSION_REFUSED, GatewayError
from gateway.message_model import Body, Payload, compute_body_digest, count_octets, iterate_octets
from gateway.protocols.core import UnwrappedPart
from gateway.protocols.ebms2.encrypted_payloads import guess_media_type
from gateway.protocols.ebms2.packaging import ManifestReference
from gateway.protocols.gzip_content import compress_content, expand_content
from gateway.wire import MimePart

__all__ = ["compress_payloads", "expand_parts"]

_MEDIA_TYPES: Final = (GZIP, "application/x-gzip")


def compress_payloads(payloads: tuple[Payload, ...]) -> tuple[Payload, ...]:
    """Return payloads compressed; the same content gives the same octets."""
    return tuple(replace(one, octets=compress_content(one.octets), media_type=GZIP) for one in payloads)


def expand_parts(
    manifest: Iterable[ManifestReference],
    parts: Mapping[str, MimePart],
    pmode: PMode,
    most: int,
) -> tuple[dict[str, MimePart], tuple[UnwrappedPart, ...]]:
    """Return the parts with the payloads expanded, and how each came; raise GW319.

    `most` is the number of octets that all payloads together may have.
    """
    found, unwrapped = dict(parts), []
    for one in manifest:
        part = parts[one.content_id]
        if part.media_type not in _MEDIA_TYPES:
            raise GatewayError(COMPRESSION_REFUSED, f"this payload must be {GZIP}", one.location)
        content = expand_content(part.octets, most, one.location)
        most -= count_octets(content)
        media_type = _find_media_type(pmode) or guess_media_type(_read_head(content))
        headers = {**part.headers, "content-type": media_type}
        found[one.content_id] = replace(part, headers=headers, media_type=media_type, octets=content)
        digest = compute_body_digest(part.octets)
        unwrapped.append(UnwrappedPart(one.content_id, digest, digest, compressed=True))
    return found, tuple(unwrapped)


def _read_head(content: bytes | Body) -> bytes:
    return next(iterate_octets(content), b"")


def _find_media_type(pmode: PMode) -> str | None:
    """Return the media type that the packaging names for what is compressed, when it is one."""
    parts = pmode.packaging.parts if pmode.packaging is not None else ()
    named = {one.mime_type for one in parts if GZIP in one.inside}
    return named.pop() if len(named) == 1 and "*" not in next(iter(named)) else None

"""MIME parts by their Content-IDs, and the cid: URIs that name them (RFC 2392)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from gateway.errors import MIME_MALFORMED, GatewayError
from gateway.wire import MimePart

__all__ = ["decode_cid_uri", "format_cid_uri", "index_parts"]

_UNRESERVED: Final = "@!$&'()*+,;=:-._~/"
_LONGEST_URI: Final = 1024


def format_cid_uri(content_id: str) -> str:
    """Return the cid: URI of a Content-ID."""
    # RFC 2392 §2: a Content-ID in a cid: URI is percent-encoded.
    return "cid:" + quote(content_id[:256], safe=_UNRESERVED)


def decode_cid_uri(uri: str) -> str | None:
    """Return the Content-ID that a cid: URI names, None for anything else."""
    if not uri.startswith("cid:") or len(uri) > _LONGEST_URI:
        return None
    try:
        return unquote_to_bytes(uri[4:]).decode("utf-8")
    except UnicodeDecodeError:
        return None


def index_parts(parts: Iterable[MimePart]) -> dict[str, MimePart]:
    """Return the parts by Content-ID, in their order; raise GW103 for one without it or for a second one."""
    found: dict[str, MimePart] = {}
    for part in parts:
        if not part.content_id:
            raise GatewayError(MIME_MALFORMED, "a part without Content-ID cannot be named by the header")
        if part.content_id in found:
            raise GatewayError(
                MIME_MALFORMED, "two parts have one Content-ID", format_cid_uri(part.content_id)
            )
        found[part.content_id] = part
    return found

"""Content compressed by gzip (RFC 1952): one member, expanded in steps and within limits."""

from __future__ import annotations

import gzip
import zlib
from typing import Final

from gateway.errors import COMPRESSION_REFUSED, GatewayError

__all__ = ["compress_content", "expand_content"]

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_STEP: Final = 64 * 1024
#: XML compresses to a tenth or a thirtieth. A hundred times is a bomb; a small part may always expand.
_MOST_TIMES: Final = 100
_ALWAYS_ALLOWED: Final = 256 * 1024


def compress_content(content: bytes) -> bytes:
    """Return the content compressed; the same content gives the same octets."""
    return gzip.compress(content, mtime=0)


def expand_content(data: bytes, most: int, location: str) -> bytes:
    """Return the content of one gzip member of at most `most` octets; raise GW319.

    It is expanded in steps, so that nothing too large is ever held.
    """
    allowed = min(most, max(_ALWAYS_ALLOWED, _MOST_TIMES * len(data)))
    work, pieces, size = zlib.decompressobj(_GZIP_WINDOW), [], 0
    waiting = data
    try:
        while not work.eof:
            piece = work.decompress(waiting, _STEP)
            waiting = work.unconsumed_tail
            if not piece and not waiting and not work.eof:
                raise GatewayError(COMPRESSION_REFUSED, "the payload is cut off", location)
            size += len(piece)
            if size > allowed:
                detail = f"the payload expands to more than {allowed} octets"
                raise GatewayError(COMPRESSION_REFUSED, detail, location)
            pieces.append(piece)
    except zlib.error:
        raise GatewayError(
            COMPRESSION_REFUSED, "the payload is not gzip, or it is damaged", location
        ) from None
    if work.unused_data:
        raise GatewayError(COMPRESSION_REFUSED, "there are octets after the compressed payload", location)
    return b"".join(pieces)

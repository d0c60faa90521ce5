"""Content compressed by gzip (RFC 1952): one member, expanded in steps and within limits.

Large content is not held: it is a body that is compressed or expanded anew whenever it is read.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, cast

from gateway.errors import COMPRESSION_REFUSED, GatewayError
from gateway.message_model import Body, count_octets, iterate_octets

__all__ = ["compress_content", "expand_content", "is_expansion_allowed"]

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_STEP: Final = 64 * 1024
#: XML compresses to a tenth or a thirtieth. A hundred times is a bomb; a small part may always expand.
_MOST_TIMES: Final = 100
_ALWAYS_ALLOWED: Final = 256 * 1024
#: Expanded content of at most so many octets is held in memory.
_MOST_HELD: Final = 8 * 1024**2


class _ConvertedBody:
    """Octets that are made from others whenever they are read, the same ones each time."""

    def __init__(self, make: Callable[[], Iterator[bytes]]) -> None:
        self._make = make
        found, self.octet_count = hashlib.sha256(), 0
        for piece in make():
            found.update(piece)
            self.octet_count += len(piece)
        self.sha256_hex = found.hexdigest()

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""
        return cast("BinaryIO", _ConvertedStream(self._make))


class _ConvertedStream(io.RawIOBase):
    """The octets of an iterator; going back begins it anew."""

    def __init__(self, make: Callable[[], Iterator[bytes]]) -> None:
        self._make = make
        self._pieces = make()
        self._rest = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset from the beginning, the only place that anybody counts from."""
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the beginning")
        if offset < self._position:
            self._pieces, self._rest, self._position = self._make(), memoryview(b""), 0
        while self._position < offset and self.read(min(_STEP, offset - self._position)):
            pass
        return offset

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._position += count
        return count


def compress_content(content: bytes | Body) -> bytes | Body:
    """Return the content compressed; the same content gives the same octets."""
    if isinstance(content, bytes):
        return gzip.compress(content, mtime=0)
    return _ConvertedBody(lambda: _iterate_compressed(content))


def _iterate_compressed(content: Body) -> Iterator[bytes]:
    work = zlib.compressobj(wbits=_GZIP_WINDOW)
    for piece in iterate_octets(content):
        yield work.compress(piece)
    yield work.flush()


def is_expansion_allowed(expanded: int, compressed: int) -> bool:
    """Return whether compressed octets may expand to so many octets: whether `expand_content` would do it."""
    return expanded <= _compute_allowed_size(compressed)


def _compute_allowed_size(compressed: int) -> int:
    return max(_ALWAYS_ALLOWED, _MOST_TIMES * compressed)


def expand_content(data: bytes | Body, most: int, location: str) -> bytes | Body:
    """Return the content of one gzip member of at most `most` octets; raise GW319.

    It is expanded in steps, so that nothing too large is ever held. Large content is a body.
    """
    allowed = min(most, _compute_allowed_size(count_octets(data)))
    pieces: list[bytes] = []
    size = 0
    for piece in _iterate_expanded(data, allowed, location):
        size += len(piece)
        if size > _MOST_HELD:
            pieces.clear()
            return _ConvertedBody(lambda: _iterate_expanded(data, allowed, location))
        pieces.append(piece)
    return b"".join(pieces)


def _iterate_expanded(data: bytes | Body, allowed: int, location: str) -> Iterator[bytes]:
    """Yield what is expanded, each piece within the limit."""
    work, size = zlib.decompressobj(_GZIP_WINDOW), 0
    for piece in _inflate(work, data, location):
        size += len(piece)
        if size > allowed:
            detail = f"the payload expands to more than {allowed} octets"
            raise GatewayError(COMPRESSION_REFUSED, detail, location)
        yield piece
    if not work.eof:
        raise GatewayError(COMPRESSION_REFUSED, "the payload is cut off", location)


def _inflate(work: Any, data: bytes | Body, location: str) -> Iterator[bytes]:
    try:
        for waiting in iterate_octets(data):
            made = work.decompress(waiting, _STEP)
            while made:
                yield made
                # After the end there is no more, whatever follows it.
                made = b"" if work.eof else work.decompress(work.unconsumed_tail, _STEP)
            if work.unused_data or (work.eof and work.unconsumed_tail):
                detail = "there are octets after the compressed payload"
                raise GatewayError(COMPRESSION_REFUSED, detail, location)
    except zlib.error:
        raise GatewayError(
            COMPRESSION_REFUSED, "the payload is not gzip, or it is damaged", location
        ) from None

"""MIME parts by their Content-IDs, the cid: URIs that name them (RFC 2392), and gzip within limits."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final, cast
from urllib.parse import quote, unquote_to_bytes

from gateway.errors import COMPRESSION_REFUSED, MIME_MALFORMED, GatewayError, raise_resource_problem
from gateway.message_model import Body, Payload, count_octets, iterate_octets
from gateway.wire import MimePart

_UNRESERVED: Final = "@!$&'()*+,;=:-._~/"
_MAX_URI_LENGTH: Final = 1024


def format_cid_uri(content_id: str) -> str:
    """Return the cid: URI of a Content-ID."""
    # RFC 2392 §2: a Content-ID in a cid: URI is percent-encoded.
    return "cid:" + quote(content_id[:256], safe=_UNRESERVED)


def decode_cid_uri(uri: str) -> str | None:
    """Return the Content-ID that a cid: URI names, None for anything else."""
    if not uri.startswith("cid:") or len(uri) > _MAX_URI_LENGTH:
        return None
    try:
        return unquote_to_bytes(uri[4:]).decode("utf-8")
    except UnicodeDecodeError:
        return None


def index_parts(parts: Iterable[MimePart]) -> dict[str, MimePart]:
    """Return the parts by Content-ID, in their order; raise GW103 for one without it or for a second one."""
    parts_by_id: dict[str, MimePart] = {}
    for part in parts:
        if not part.content_id:
            raise GatewayError(MIME_MALFORMED, "a part without Content-ID cannot be named by the header")
        if part.content_id in parts_by_id:
            raise GatewayError(
                MIME_MALFORMED, "two parts have one Content-ID", format_cid_uri(part.content_id)
            )
        parts_by_id[part.content_id] = part
    return parts_by_id


def make_mime_part(payload: Payload) -> MimePart:
    """Return a payload as a part."""
    media_type = payload.media_type.partition(";")[0].strip().lower()
    return MimePart({"content-type": payload.media_type}, payload.content_id, media_type, payload.octets)


def make_boundary(envelope: bytes) -> str:
    """Return the boundary of the parts around an envelope.

    It depends on the message id, which no author of a payload knew: no payload contains it.
    """
    return f"=-{hashlib.sha256(envelope).hexdigest()[:40]}"


_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_PIECE_OCTETS: Final = 64 * 1024
#: XML compresses to a tenth or a thirtieth. A hundred times is a bomb; a small part may always expand.
_MAX_EXPANSION_RATIO: Final = 100
_MIN_EXPANSION_LIMIT: Final = 256 * 1024
#: The most octets of expanded content that are held in memory.
_MAX_OCTETS_IN_MEMORY: Final = 8 * 1024**2


class _ConvertedBody:
    """Octets that are made from others whenever they are read, the same ones each time."""

    def __init__(self, make_pieces: Callable[[], Iterator[bytes]]) -> None:
        self._make_pieces = make_pieces
        hasher, self.octet_count = hashlib.sha256(), 0
        for piece in make_pieces():
            hasher.update(piece)
            self.octet_count += len(piece)
        self.sha256_hex = hasher.hexdigest()

    def open_stream(self) -> BinaryIO:
        """Return a new stream at the first octet."""
        return cast("BinaryIO", _ConvertedStream(self._make_pieces))


class _ConvertedStream(io.RawIOBase):
    """The octets of an iterator; going back begins it anew."""

    def __init__(self, make_pieces: Callable[[], Iterator[bytes]]) -> None:
        self._make_pieces = make_pieces
        self._pieces = make_pieces()
        self._unread_octets = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset from the beginning, and return it; raise UnsupportedOperation for another base."""
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("only from the beginning")
        if offset < self._position:
            self._pieces, self._unread_octets, self._position = self._make_pieces(), memoryview(b""), 0
        while self._position < offset and self.read(min(_PIECE_OCTETS, offset - self._position)):
            pass
        return offset

    def readinto(self, buffer: Any) -> int:
        while not self._unread_octets:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._unread_octets = memoryview(piece)
        octet_count = min(len(buffer), len(self._unread_octets))
        buffer[:octet_count] = self._unread_octets[:octet_count]
        self._unread_octets = self._unread_octets[octet_count:]
        self._position += octet_count
        return octet_count


def compress_content(content: bytes | Body) -> bytes | Body:
    """Return the content compressed; the same content gives the same octets."""
    if isinstance(content, bytes):
        return gzip.compress(content, mtime=0)
    return _ConvertedBody(lambda: _iterate_compressed_pieces(content))


def _iterate_compressed_pieces(content: Body) -> Iterator[bytes]:
    compressor = zlib.compressobj(wbits=_GZIP_WINDOW)
    for piece in iterate_octets(content):
        yield compressor.compress(piece)
    yield compressor.flush()


def is_expansion_allowed(expanded_octets: int, compressed_octets: int) -> bool:
    """Return whether `expand_content` permits `expanded_octets` octets from `compressed_octets` ones."""
    return expanded_octets <= _compute_expansion_limit(compressed_octets)


def _compute_expansion_limit(compressed_octets: int) -> int:
    return max(_MIN_EXPANSION_LIMIT, _MAX_EXPANSION_RATIO * compressed_octets)


def expand_content(compressed_content: bytes | Body, max_octets: int, location: str) -> bytes | Body:
    """Return the content of one gzip member of at most `max_octets` octets; raise GW319.

    Small content is returned as bytes. Large content is returned as a body that expands it again at each
    reading, so that it is never in memory as a whole.
    """
    expansion_limit = min(max_octets, _compute_expansion_limit(count_octets(compressed_content)))
    pieces: list[bytes] = []
    octet_count = 0
    for piece in _iterate_expanded_pieces(compressed_content, expansion_limit, location):
        octet_count += len(piece)
        if octet_count > _MAX_OCTETS_IN_MEMORY:
            pieces.clear()
            return _ConvertedBody(
                lambda: _iterate_expanded_pieces(compressed_content, expansion_limit, location)
            )
        pieces.append(piece)
    return b"".join(pieces)


def _iterate_expanded_pieces(
    compressed_content: bytes | Body, expansion_limit: int, location: str
) -> Iterator[bytes]:
    """Yield the expanded octets in pieces, together within the limit."""
    decompressor, octet_count = zlib.decompressobj(_GZIP_WINDOW), 0
    for piece in _inflate(decompressor, compressed_content, location):
        octet_count += len(piece)
        if octet_count > expansion_limit:
            detail = f"the payload expands to more than {expansion_limit} octets"
            raise GatewayError(COMPRESSION_REFUSED, detail, location)
        yield piece
    if not decompressor.eof:
        raise GatewayError(COMPRESSION_REFUSED, "the payload is cut off", location)


def _inflate(decompressor: Any, compressed_content: bytes | Body, location: str) -> Iterator[bytes]:
    """Yield the expanded content in pieces; raise GW319 for damaged gzip, and for octets after its end."""
    try:
        for compressed_piece in iterate_octets(compressed_content):
            expanded_piece = decompressor.decompress(compressed_piece, _PIECE_OCTETS)
            while expanded_piece:
                yield expanded_piece
                # Octets after the end of the compressed data are not decompressed.
                expanded_piece = (
                    b""
                    if decompressor.eof
                    else decompressor.decompress(decompressor.unconsumed_tail, _PIECE_OCTETS)
                )
            if decompressor.unused_data or (decompressor.eof and decompressor.unconsumed_tail):
                detail = "there are octets after the compressed payload"
                raise GatewayError(COMPRESSION_REFUSED, detail, location)
    except zlib.error as error:
        raise_resource_problem(error)
        raise GatewayError(
            COMPRESSION_REFUSED, "the payload is not gzip, or it is damaged", location
        ) from None

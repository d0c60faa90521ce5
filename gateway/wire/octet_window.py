"""Octets by position, in memory or not: what the reader of a multipart asks of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

from gateway.message_model import Body, MemoryBody, SlicedBody, count_octets, read_octets

__all__ = ["BodyWindow", "OctetWindow", "open_window"]

#: A body of at most so many octets is read whole.
_SMALL: Final = 1024**2
_STEP: Final = 1024**2


class BodyWindow:
    """Large octets that are read where they are asked for; one open stream moves over them."""

    def __init__(self, body: Body, stream: BinaryIO) -> None:
        self._body = body
        self._stream = stream

    def __len__(self) -> int:
        return self._body.octet_count

    def __getitem__(self, place: slice) -> bytes:
        start, end, _ = place.indices(len(self))
        self._stream.seek(start)
        return _read_exactly(self._stream, max(0, end - start))

    def startswith(self, prefix: bytes) -> bool:
        """Return whether the octets begin so."""
        return self[: len(prefix)] == prefix

    def find(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:
        """Return the first place of `wanted` between two places, -1 where there is none."""
        end = len(self) if end is None else min(end, len(self))
        position, rest = max(start, 0), b""
        self._stream.seek(position)
        while position < end:
            piece = _read_exactly(self._stream, min(_STEP, end - position))
            if not piece:
                return -1
            window = rest + piece
            found = window.find(wanted)
            if found >= 0:
                return position - len(rest) + found
            position += len(piece)
            # What may be the beginning of `wanted`; the places before the position stay the same.
            rest = window[max(0, len(window) - len(wanted) + 1) :]
        return -1

    def slice_body(self, start: int, end: int) -> Body:
        """Return a piece as a body of its own."""
        return SlicedBody(self._body, start, end - start)


OctetWindow = bytes | BodyWindow


@contextmanager
def open_window(octets: bytes | Body) -> Iterator[OctetWindow]:
    """Give access to octets by position: small ones in memory, large ones through a stream."""
    if isinstance(octets, bytes):
        yield octets
    elif isinstance(octets, MemoryBody) or count_octets(octets) <= _SMALL:
        yield read_octets(octets)
    else:
        with octets.open_stream() as stream:
            yield BodyWindow(octets, stream)


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    """Return so many octets, fewer only at the end: an unbuffered stream may give less at a time."""
    piece = stream.read(count)
    if len(piece) == count or not piece:
        return piece
    pieces, left = [piece], count - len(piece)
    while left and (piece := stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)

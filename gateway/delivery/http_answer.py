"""Reads one HTTP/1.1 answer, strictly and within bounds, from whatever gives octets.

Whoever answers may be hostile: what two readers could read differently (two lengths, a
length beside chunks, folded lines) is refused, nothing is inflated, and no more is kept
than the bounds allow.  Nothing here knows sockets or clocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import ANSWER_NOT_UNDERSTOOD, GatewayError

__all__ = ["MOST_FIELDS", "MOST_HEAD", "HttpAnswer", "read_http_answer"]

#: Octets of all heads and trailers of one answer, interim ones included (Apache: 100 lines of 8 KiB).
MOST_HEAD: Final = 64 * 1024
#: Header fields of one head, as Apache and Python's own client have it.
MOST_FIELDS: Final = 100
_STEP: Final = 1 << 16
_SIZE_LINE: Final = 256
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, headers (names in lower case, repeated ones joined) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Head:
    """A status line and its header fields; `persists`: HTTP/1.1, and nobody said "close"."""

    status: int
    headers: Mapping[str, str]
    persists: bool


class _Stream:
    """Gives lines and pieces of what `receive` brings; raises ConnectionError where it ends too early."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._held = bytearray()

    @property
    def rest(self) -> int:
        """The number of octets received and not asked for."""
        return len(self._held)

    def more(self) -> bool:
        """Receive once; tell whether anything came."""
        piece = self._receive(_STEP)
        self._held += piece
        return bool(piece)

    def line(self, most: int) -> bytes:
        """Return the octets before the next CRLF, at most `most`."""
        searched = 0
        while (end := self._held.find(b"\r\n", max(0, searched - 1))) < 0:
            searched = len(self._held)
            if searched > most + 1:  # the one more may be half of the CRLF
                break
            if not self.more():
                raise ConnectionError("the connection ended within the answer")
        if not 0 <= end <= most:
            raise _strange(f"a line of more than {most} octets")
        found = bytes(self._held[:end])
        del self._held[: end + 2]
        return found

    def take(self, most: int) -> bytes:
        """Return between one and `most` octets."""
        if not self._held and not self.more():
            raise ConnectionError("the connection ended within the answer")
        found = bytes(self._held[:most])
        del self._held[:most]
        return found


def read_http_answer(receive: Callable[[int], bytes], most: int) -> tuple[HttpAnswer, bool]:
    """Return the answer, and whether the connection it came on may be used again.

    `receive` returns at most as many octets as it is asked for, none at the end.  Raises
    GW603 when it is no answer in good form or its body has more than `most` octets, and
    ConnectionError when the connection ends within it.
    """
    stream = _Stream(receive)
    room = MOST_HEAD
    while True:
        head, room = _head(stream, room)
        if head.status >= 200:
            break
        if head.status == 101:
            raise _strange("it changes to a protocol that nobody asked for")
    body, ended = _body(stream, head, most, room)
    return HttpAnswer(head.status, head.headers, body), head.persists and ended and not stream.rest


def _head(stream: _Stream, room: int) -> tuple[_Head, int]:
    first = stream.line(room)
    found = _STATUS.fullmatch(first)
    if found is None:
        raise _strange("it does not begin as HTTP/1.1 does")
    headers, room = _fields(stream, room - len(first) - 2)
    options = {one.strip() for one in headers.get("connection", "").lower().split(",")}
    return _Head(int(found[2]), headers, found[1] == b"1" and "close" not in options), room


def _fields(stream: _Stream, room: int) -> tuple[dict[str, str], int]:
    """Return the header fields up to the empty line, and how many octets of heads may still come."""
    headers: dict[str, str] = {}
    count = 0
    while line := stream.line(max(room, 0)):
        count += 1
        room -= len(line) + 2
        found = _FIELD.fullmatch(line)
        if found is None or count > MOST_FIELDS:
            raise _strange(f"more than {MOST_FIELDS} header fields" if found else "a malformed header field")
        name, value = found[1].decode("ascii").lower(), found[2].decode("latin-1").rstrip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, room - 2


def _body(stream: _Stream, head: _Head, most: int, room: int) -> tuple[bytes, bool]:
    """Return the body, and whether it ended before the connection did (RFC 9112 §6.3)."""
    coding, length = head.headers.get("transfer-encoding"), head.headers.get("content-length")
    if head.status in (204, 304):
        return b"", coding is None and length in (None, "0")
    if coding is not None:
        if length is not None or coding.lower() != "chunked":
            raise _strange("it is framed in two ways, or in a coding that is not chunked alone")
        return _chunks(stream, most, room), True
    if length is None:
        return _to_the_end(stream, most), False
    # A list of equal values is no length to everybody: some readers then read to the end.
    if not _LENGTH.fullmatch(length):
        raise _strange("it has no one length")
    return _counted(stream, int(length), most), True


def _counted(stream: _Stream, length: int, most: int) -> bytes:
    if length > most:
        raise _too_large(most)
    content = bytearray()
    while len(content) < length:
        content += stream.take(length - len(content))
    return bytes(content)


def _to_the_end(stream: _Stream, most: int) -> bytes:
    while stream.rest <= most:
        if not stream.more():
            return stream.take(stream.rest) if stream.rest else b""
    raise _too_large(most)


def _chunks(stream: _Stream, most: int, room: int) -> bytes:
    content = bytearray()
    around = 0
    while True:
        line = stream.line(_SIZE_LINE)
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise _strange("a malformed chunk")
        size = int(found[1], 16)
        if not size:
            break
        around += len(line) + 4
        # Chunks of some octets each are no crime; extensions that outweigh the content are.
        if around > MOST_HEAD + len(content) * 8:
            raise _strange("more framing than content")
        if len(content) + size > most:
            raise _too_large(most)
        end = len(content) + size
        while len(content) < end:
            content += stream.take(end - len(content))
        if stream.line(0):
            raise _strange("a malformed chunk")
    _fields(stream, room)
    return bytes(content)


def _too_large(most: int) -> GatewayError:
    return _strange(f"the answer has more than {most} octets")


def _strange(detail: str) -> GatewayError:
    return GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "HTTP")

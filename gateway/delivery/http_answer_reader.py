"""Reads one HTTP/1.1 answer, strictly and within limits, from any source of octets.

The server may be hostile. What two readers could read differently (two lengths, a length beside
chunks, folded lines) is rejected, nothing is decompressed, and no more than the limits allow is
held. This module uses no sockets and no clocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import ANSWER_NOT_UNDERSTOOD, GatewayError
from gateway.wire import is_identity_coding

#: Octets of all heads and trailers of one answer, interim ones included (Apache: 100 lines of 8 KiB).
MOST_HEAD: Final = 64 * 1024
#: Header fields of one head, as Apache and Python's own client allow.
MOST_FIELDS: Final = 100
_STEP: Final = 1 << 16
_SIZE_LINE: Final = 256
_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: %b)?" % _TEXT)
_FIELD: Final = re.compile(rb"([!#$%%&'*+.^_`|~0-9A-Za-z-]{1,256}+):[ \t]*+(%b)" % _TEXT)
_HEAD: Final = re.compile(rb"%b\r\n((?:%b\r\n)*+)\r\n" % (_STATUS.pattern, _FIELD.pattern))
_HEAD_FIELD: Final = re.compile(_FIELD.pattern.decode("ascii") + r"\r\n")
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
    """A status line and its header fields; `persists`: HTTP/1.1 without "Connection: close"."""

    status: int
    headers: Mapping[str, str]
    persists: bool


class _AnswerStream:
    """Reads lines and pieces from `receive`; raises ConnectionError when the connection ends too early."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._held = bytearray()

    @property
    def buffered_octets(self) -> int:
        """The number of octets received and not yet read."""
        return len(self._held)

    def receive_more(self) -> bool:
        """Receive once; tell whether octets arrived."""
        piece = self._receive(_STEP)
        self._held += piece
        return bool(piece)

    def find_head(self, most: int) -> bytes:
        """Return all octets up to the next empty line; none where they have not arrived, or are too many."""
        if not self._held:
            self.receive_more()
        end = self._held.find(b"\r\n\r\n", 0, max(most, 0))
        return bytes(self._held[: end + 4]) if end >= 0 else b""

    def skip(self, octets: int) -> None:
        """Leave out octets that have arrived."""
        del self._held[:octets]

    def read_line(self, most: int) -> bytes:
        """Return the octets before the next CRLF, at most `most`."""
        searched = 0
        while (end := self._held.find(b"\r\n", max(0, searched - 1))) < 0:
            searched = len(self._held)
            if searched > most + 1:  # the extra octet may be half of the CRLF
                break
            if not self.receive_more():
                raise ConnectionError("the connection ended within the answer")
        if not 0 <= end <= most:
            raise _make_answer_error(f"a line of more than {most} octets")
        line = bytes(self._held[:end])
        del self._held[: end + 2]
        return line

    def read_exactly(self, octets: int) -> bytes:
        """Return the next `octets` octets; raise ConnectionError if the connection ends before."""
        while len(self._held) < octets:
            if not self.receive_more():
                raise ConnectionError("the connection ended within the answer")
        octets_read = bytes(self._held[:octets])
        del self._held[:octets]
        return octets_read


def read_http_answer(receive: Callable[[int], bytes], most: int) -> tuple[HttpAnswer, bool]:
    """Return the answer, and whether its connection may be used again.

    `receive` returns at most the requested number of octets, and none at the end. Raises GW603 when
    the answer is malformed or its body has more than `most` octets, and ConnectionError when the
    connection ends within it.
    """
    stream = _AnswerStream(receive)
    room = MOST_HEAD
    while True:
        head, room = _read_head(stream, room)
        if head.status >= 200:
            break
        if head.status == 101:
            raise _make_answer_error("it switches to a protocol that was not requested")
    body, ended = _read_body(stream, head, most, room)
    return HttpAnswer(head.status, head.headers, body), head.persists and ended and not stream.buffered_octets


def _read_head(stream: _AnswerStream, room: int) -> tuple[_Head, int]:
    """Return a head, and how many octets of heads may still follow."""
    whole = stream.find_head(room)
    head_match = _HEAD.fullmatch(whole)
    fields = [] if head_match is None else _HEAD_FIELD.findall(head_match[3].decode("latin-1"))
    if head_match is None or len(fields) > MOST_FIELDS:
        return _read_head_lines(stream, room)
    stream.skip(len(whole))
    return _make_head(head_match, _join_fields(fields)), room - len(whole)


def _read_head_lines(stream: _AnswerStream, room: int) -> tuple[_Head, int]:
    """Return a head that arrives in pieces, and the room left; raise an error at its first wrong line."""
    first = stream.read_line(room)
    status_match = _STATUS.fullmatch(first)
    if status_match is None:
        raise _make_answer_error("it does not begin as HTTP/1.1 does")
    headers, room = _read_fields(stream, room - len(first) - 2)
    return _make_head(status_match, headers), room


def _make_head(status: re.Match[bytes], headers: dict[str, str]) -> _Head:
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    return _Head(int(status[2]), headers, status[1] == b"1" and "close" not in options)


def _read_fields(stream: _AnswerStream, room: int) -> tuple[dict[str, str], int]:
    """Return the header fields up to the empty line, and how many octets of heads may still follow."""
    fields: list[tuple[str, str]] = []
    while line := stream.read_line(max(room, 0)):
        room -= len(line) + 2
        field_match = _FIELD.fullmatch(line)
        if field_match is None or len(fields) == MOST_FIELDS:
            raise _make_answer_error(
                f"more than {MOST_FIELDS} header fields" if field_match else "a malformed header field"
            )
        fields.append((field_match[1].decode("ascii"), field_match[2].decode("latin-1")))
    return _join_fields(fields), room - 2


def _join_fields(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return header fields by name in lower case, repeated ones joined."""
    headers: dict[str, str] = {}
    for written, text in fields:
        name, value = written.lower(), text.rstrip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _read_body(stream: _AnswerStream, head: _Head, most: int, room: int) -> tuple[bytes, bool]:
    """Return the body, and whether it ended before the connection did (RFC 9112 §6.3)."""
    coding, length = head.headers.get("transfer-encoding"), head.headers.get("content-length")
    if head.status in (204, 304):
        return b"", coding is None and length in (None, "0")
    if coding is not None:
        if length is not None or coding.lower() != "chunked":
            raise _make_answer_error("it is framed in two ways, or in a coding that is not chunked alone")
        return _read_chunked_body(stream, most, room), True
    if length is None:
        return _read_until_end(stream, most), False
    # Some readers do not accept a list of equal lengths as a length, and read to the end instead.
    if not _LENGTH.fullmatch(length):
        raise _make_answer_error("it has no one length")
    return _read_counted_body(stream, int(length), most), True


def _read_counted_body(stream: _AnswerStream, length: int, most: int) -> bytes:
    if length > most:
        raise _make_size_error(most)
    return stream.read_exactly(length)


def _read_until_end(stream: _AnswerStream, most: int) -> bytes:
    while stream.buffered_octets <= most:
        if not stream.receive_more():
            return stream.read_exactly(stream.buffered_octets)
    raise _make_size_error(most)


def _read_chunked_body(stream: _AnswerStream, most: int, room: int) -> bytes:
    content = bytearray()
    framing = 0
    while True:
        line = stream.read_line(_SIZE_LINE)
        chunk_match = _CHUNK.fullmatch(line)
        if chunk_match is None:
            raise _make_answer_error("a malformed chunk")
        size = int(chunk_match[1], 16)
        if not size:
            break
        framing += len(line) + 4
        # Small chunks are allowed; chunk extensions larger than the content are not.
        if framing > MOST_HEAD + len(content) * 8:
            raise _make_answer_error("more framing than content")
        if len(content) + size > most:
            raise _make_size_error(most)
        content += stream.read_exactly(size)
        if stream.read_line(0):
            raise _make_answer_error("a malformed chunk")
    _read_fields(stream, room)
    return bytes(content)


def _make_size_error(most: int) -> GatewayError:
    return _make_answer_error(f"the answer has more than {most} octets")


def _make_answer_error(detail: str) -> GatewayError:
    return GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "HTTP")


def require_identity_coding(answer: HttpAnswer) -> None:
    """Raise for an answer with a content coding: the hub requests none."""
    if not is_identity_coding(answer.headers.get("content-encoding", "identity")):
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer is in a content coding", "Content-Encoding")

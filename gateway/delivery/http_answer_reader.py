"""Reads one HTTP/1.1 answer, strictly and within limits, from any source of octets.

The server may be hostile. An answer that two readers could read differently (two lengths, a length beside
chunks, folded lines) is rejected, nothing is decompressed, and no more than the limits allow is held. This
module uses no sockets and no clocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.errors import ANSWER_NOT_UNDERSTOOD, PARTNER_FAULT, GatewayError
from gateway.wire import is_identity_coding

#: Octets of all heads and trailers of one answer, interim ones included (Apache: 100 lines of 8 KiB).
MOST_HEAD: Final = 64 * 1024
#: Header fields of one head, as Apache and Python's own client allow.
MOST_FIELDS: Final = 100
_BEGINNING: Final = b"HTTP/1."
_SWITCHES: Final = 101
_FIRST_REDIRECT: Final = 300
_FIRST_ERROR: Final = 400
_UNAUTHORIZED: Final = 401
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


class ArrivingAnswer:
    """The octets of an answer that arrive while the request is still being sent.

    A server that does not want the rest of a request answers before its end, and closes the connection
    (RFC 9112 §9.5).
    """

    def __init__(self) -> None:
        self._octets = bytearray()
        self._head_start = 0
        self._status: int | None = None

    @property
    def is_success(self) -> bool:
        """Return whether the answer begins as a success: its server may go on to read the request."""
        return self._status is not None and 200 <= self._status < _FIRST_REDIRECT

    @property
    def ends_request(self) -> bool:
        """Return whether the rest of the request need not be sent: its answer is there, and no success."""
        return self._status is not None and not self.is_success

    def add_octets(self, octets: bytes) -> None:
        """Add octets that have arrived, and search for the first head that is not an interim one.

        Raises GW603 where they begin no answer of HTTP/1.1, or one with a head that is too long.
        """
        self._octets += octets
        while self._status is None:
            expected_octets = _BEGINNING[: len(self._octets) - self._head_start]
            if not self._octets.startswith(expected_octets, self._head_start):
                raise _make_beginning_error()
            end = self._octets.find(b"\r\n\r\n", self._head_start)
            if end < 0:
                if len(self._octets) > MOST_HEAD:
                    raise _make_heads_error()
                return
            status_match = _STATUS.match(self._octets, self._head_start)
            if status_match is None:
                raise _make_beginning_error()
            status = int(status_match[2])
            if 100 <= status < 200 and status != _SWITCHES:
                self._head_start = end + 4
            else:
                self._status = status

    def take_octets(self) -> bytes:
        """Return and forget the octets that have arrived."""
        octets = bytes(self._octets)
        self._octets.clear()
        return octets


def read_http_answer(
    receive: Callable[[int], bytes], most: int, *, is_request_whole: bool = True
) -> tuple[HttpAnswer, bool]:
    """Return the answer, and whether its connection may be used again.

    `receive` returns about the requested number of octets, and none at the end. Raises GW603 when
    the answer is malformed or its body has more than `most` octets, and OSError when the connection
    ends, or falls silent, within it. After the head of an error or a redirect, these problems are GW608 or
    GW603 with the status of that head. A success is GW603 if the server did not take the whole request: it
    does not prove that the server has the request.
    """
    stream = _AnswerStream(receive)
    room = MOST_HEAD
    while True:
        head, room = _read_head(stream, room)
        if head.status >= 200:
            break
        if head.status == _SWITCHES:
            raise _make_answer_error("it switches to a protocol that was not requested")
    answer = HttpAnswer(head.status, head.headers, b"")
    is_success = head.status < _FIRST_REDIRECT
    if is_success and not is_request_whole:
        raise make_status_error(answer, "it answered with a success, and did not take the whole request")
    try:
        body, ended = _read_body(stream, head, most, room)
    except OSError as problem:
        if is_success:
            raise
        raise make_status_error(answer, "its answer did not arrive whole") from problem
    except GatewayError as problem:
        theirs = "" if is_success else f"HTTP status {head.status}"
        raise GatewayError(problem.problem, problem.detail, problem.location, theirs=theirs) from problem
    return replace(answer, body=body), head.persists and ended and not stream.buffered_octets


def make_status_error(answer: HttpAnswer, detail: str = "") -> GatewayError:
    """Return the problem of an answer without words of the handler: another attempt may succeed.

    `detail` names the fault of the answer; by default the fault is that it has no message.
    """
    kind, without_message = ANSWER_NOT_UNDERSTOOD, "it answered without a message"
    if answer.status >= _FIRST_ERROR:
        kind, without_message = PARTNER_FAULT, "it answered with an error and no message"
    if answer.status == _UNAUTHORIZED:
        detail = "it wants a name and a password: set `login` for its host under [tls]"
    return GatewayError(kind, detail or without_message, "HTTP", theirs=f"HTTP status {answer.status}")


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
    if room <= 0:
        raise _make_heads_error()
    first = stream.read_line(room)
    status_match = _STATUS.fullmatch(first)
    if status_match is None:
        raise _make_beginning_error()
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


def _make_beginning_error() -> GatewayError:
    return _make_answer_error("it does not begin as HTTP/1.1 does")


def _make_heads_error() -> GatewayError:
    return _make_answer_error(f"its heads have more than {MOST_HEAD} octets")


def _make_answer_error(detail: str) -> GatewayError:
    return GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "HTTP")


def require_identity_coding(answer: HttpAnswer) -> None:
    """Raise for an answer with a content coding: the hub requests none."""
    if not is_identity_coding(answer.headers.get("content-encoding", "identity")):
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer is in a content coding", "Content-Encoding")

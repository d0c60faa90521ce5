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
MAX_HEAD_OCTETS: Final = 64 * 1024
#: Header fields of one head, as Apache and Python's own client allow.
MAX_HEADER_FIELDS: Final = 100
_STATUS_LINE_START: Final = b"HTTP/1."
_SWITCHING_PROTOCOLS: Final = 101
_FIRST_REDIRECT: Final = 300
_FIRST_ERROR: Final = 400
_UNAUTHORIZED: Final = 401
_RECEIVE_OCTETS: Final = 1 << 16
_MAX_CHUNK_LINE: Final = 256
_TEXT_PATTERN: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
_STATUS_PATTERN: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: %b)?" % _TEXT_PATTERN)
_FIELD_PATTERN: Final = re.compile(rb"([!#$%%&'*+.^_`|~0-9A-Za-z-]{1,256}+):[ \t]*+(%b)" % _TEXT_PATTERN)
_HEAD_PATTERN: Final = re.compile(
    rb"%b\r\n((?:%b\r\n)*+)\r\n" % (_STATUS_PATTERN.pattern, _FIELD_PATTERN.pattern)
)
_HEAD_FIELD_PATTERN: Final = re.compile(_FIELD_PATTERN.pattern.decode("ascii") + r"\r\n")
_LENGTH_PATTERN: Final = re.compile(r"[0-9]{1,15}")
_CHUNK_PATTERN: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, headers (names in lower case, repeated ones joined) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Head:
    """A status line and its header fields; `is_persistent`: HTTP/1.1 without "Connection: close"."""

    status: int
    headers: Mapping[str, str]
    is_persistent: bool


class _AnswerStream:
    """Reads lines and pieces from `receive`; raises ConnectionError when the connection ends too early."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._buffer = bytearray()

    @property
    def buffered_octets(self) -> int:
        """The number of octets received and not yet read."""
        return len(self._buffer)

    def receive_more(self) -> bool:
        """Receive once into the buffer; return whether octets arrived, False at the end of the connection."""
        piece = self._receive(_RECEIVE_OCTETS)
        self._buffer += piece
        return bool(piece)

    def find_head(self, max_octets: int) -> bytes:
        """Return all octets up to the next empty line; none where they have not arrived, or are too many."""
        if not self._buffer:
            self.receive_more()
        end = self._buffer.find(b"\r\n\r\n", 0, max(max_octets, 0))
        return bytes(self._buffer[: end + 4]) if end >= 0 else b""

    def drop_octets(self, octet_count: int) -> None:
        """Remove this number of octets from the beginning of the buffer."""
        del self._buffer[:octet_count]

    def read_line(self, max_octets: int) -> bytes:
        """Return the octets before the next CRLF, at most `max_octets`."""
        searched = 0
        while (end := self._buffer.find(b"\r\n", max(0, searched - 1))) < 0:
            searched = len(self._buffer)
            if searched > max_octets + 1:  # the extra octet may be half of the CRLF
                break
            if not self.receive_more():
                raise ConnectionError("the connection ended within the answer")
        if not 0 <= end <= max_octets:
            raise _make_answer_error(f"a line of more than {max_octets} octets")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def read_exactly(self, octet_count: int) -> bytes:
        """Return the next `octet_count` octets; raise ConnectionError if the connection ends before."""
        while len(self._buffer) < octet_count:
            if not self.receive_more():
                raise ConnectionError("the connection ended within the answer")
        octets_read = bytes(self._buffer[:octet_count])
        del self._buffer[:octet_count]
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
            expected_octets = _STATUS_LINE_START[: len(self._octets) - self._head_start]
            if not self._octets.startswith(expected_octets, self._head_start):
                raise _make_beginning_error()
            end = self._octets.find(b"\r\n\r\n", self._head_start)
            if end < 0:
                if len(self._octets) > MAX_HEAD_OCTETS:
                    raise _make_heads_error()
                return
            status_match = _STATUS_PATTERN.match(self._octets, self._head_start)
            if status_match is None:
                raise _make_beginning_error()
            status = int(status_match[2])
            if 100 <= status < 200 and status != _SWITCHING_PROTOCOLS:
                self._head_start = end + 4
            else:
                self._status = status

    def take_octets(self) -> bytes:
        """Return and forget the octets that have arrived."""
        octets = bytes(self._octets)
        self._octets.clear()
        return octets


def read_http_answer(
    receive: Callable[[int], bytes], max_body_octets: int, *, is_request_whole: bool = True
) -> tuple[HttpAnswer, bool]:
    """Return the answer, and whether its connection may be used again.

    `receive` returns about the requested number of octets, and none at the end. Raises GW603 when
    the answer is malformed or its body has more than `max_body_octets` octets, and OSError when the
    connection ends, or falls silent, within it. After the head of an error or a redirect, these problems are
    GW608 or GW603 with the status of that head. A success is GW603 if the server did not take the whole
    request: it does not prove that the server has the request.
    """
    stream = _AnswerStream(receive)
    head_octets_left = MAX_HEAD_OCTETS
    while True:
        head, head_octets_left = _read_head(stream, head_octets_left)
        if head.status >= 200:
            break
        if head.status == _SWITCHING_PROTOCOLS:
            raise _make_answer_error("it switches to a protocol that was not requested")
    answer = HttpAnswer(head.status, head.headers, b"")
    is_success = head.status < _FIRST_REDIRECT
    if is_success and not is_request_whole:
        raise make_status_error(answer, "it answered with a success, and did not take the whole request")
    try:
        body, has_body_ended = _read_body(stream, head, max_body_octets, head_octets_left)
    except OSError as problem:
        if is_success:
            raise
        raise make_status_error(answer, "its answer did not arrive whole") from problem
    except GatewayError as problem:
        theirs = "" if is_success else f"HTTP status {head.status}"
        raise GatewayError(problem.problem, problem.detail, problem.location, theirs=theirs) from problem
    return replace(answer, body=body), head.is_persistent and has_body_ended and not stream.buffered_octets


def make_status_error(answer: HttpAnswer, detail: str = "") -> GatewayError:
    """Return the problem of an answer without words of the handler: another attempt may succeed.

    `detail` names the fault of the answer; by default the fault is that it has no message.
    """
    problem, default_detail = ANSWER_NOT_UNDERSTOOD, "it answered without a message"
    if answer.status >= _FIRST_ERROR:
        problem, default_detail = PARTNER_FAULT, "it answered with an error and no message"
    if answer.status == _UNAUTHORIZED:
        detail = "it wants a name and a password: set `login` for its host under [tls]"
    return GatewayError(problem, detail or default_detail, "HTTP", theirs=f"HTTP status {answer.status}")


def _read_head(stream: _AnswerStream, head_octets_left: int) -> tuple[_Head, int]:
    """Return a head, and how many octets of heads may still follow."""
    head_octets = stream.find_head(head_octets_left)
    head_match = _HEAD_PATTERN.fullmatch(head_octets)
    fields = [] if head_match is None else _HEAD_FIELD_PATTERN.findall(head_match[3].decode("latin-1"))
    if head_match is None or len(fields) > MAX_HEADER_FIELDS:
        return _read_head_lines(stream, head_octets_left)
    stream.drop_octets(len(head_octets))
    return _make_head(head_match, _join_fields(fields)), head_octets_left - len(head_octets)


def _read_head_lines(stream: _AnswerStream, head_octets_left: int) -> tuple[_Head, int]:
    """Return a head that arrives in pieces, and the room left; raise an error at its first wrong line."""
    if head_octets_left <= 0:
        raise _make_heads_error()
    status_line = stream.read_line(head_octets_left)
    status_match = _STATUS_PATTERN.fullmatch(status_line)
    if status_match is None:
        raise _make_beginning_error()
    headers, head_octets_left = _read_fields(stream, head_octets_left - len(status_line) - 2)
    return _make_head(status_match, headers), head_octets_left


def _make_head(status_match: re.Match[bytes], headers: dict[str, str]) -> _Head:
    connection_options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    return _Head(int(status_match[2]), headers, status_match[1] == b"1" and "close" not in connection_options)


def _read_fields(stream: _AnswerStream, head_octets_left: int) -> tuple[dict[str, str], int]:
    """Return the header fields up to the empty line, and how many octets of heads may still follow."""
    fields: list[tuple[str, str]] = []
    while line := stream.read_line(max(head_octets_left, 0)):
        head_octets_left -= len(line) + 2
        field_match = _FIELD_PATTERN.fullmatch(line)
        if field_match is None or len(fields) == MAX_HEADER_FIELDS:
            raise _make_answer_error(
                f"more than {MAX_HEADER_FIELDS} header fields" if field_match else "a malformed header field"
            )
        fields.append((field_match[1].decode("ascii"), field_match[2].decode("latin-1")))
    return _join_fields(fields), head_octets_left - 2


def _join_fields(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return header fields by name in lower case, repeated ones joined."""
    headers: dict[str, str] = {}
    for original_name, field_text in fields:
        field_name, field_value = original_name.lower(), field_text.rstrip(" \t")
        headers[field_name] = (
            f"{headers[field_name]}, {field_value}" if field_name in headers else field_value
        )
    return headers


def _read_body(
    stream: _AnswerStream, head: _Head, max_octets: int, head_octets_left: int
) -> tuple[bytes, bool]:
    """Return the body, and whether it ended before the connection did (RFC 9112 §6.3)."""
    transfer_coding, content_length = (
        head.headers.get("transfer-encoding"),
        head.headers.get("content-length"),
    )
    if head.status in (204, 304):
        return b"", transfer_coding is None and content_length in (None, "0")
    if transfer_coding is not None:
        if content_length is not None or transfer_coding.lower() != "chunked":
            raise _make_answer_error("it is framed in two ways, or in a coding that is not chunked alone")
        return _read_chunked_body(stream, max_octets, head_octets_left), True
    if content_length is None:
        return _read_body_to_end(stream, max_octets), False
    # Some readers do not accept a list of equal lengths as a length, and read to the end instead.
    if not _LENGTH_PATTERN.fullmatch(content_length):
        raise _make_answer_error("it has no one length")
    return _read_body_of_length(stream, int(content_length), max_octets), True


def _read_body_of_length(stream: _AnswerStream, length: int, max_octets: int) -> bytes:
    if length > max_octets:
        raise _make_size_error(max_octets)
    return stream.read_exactly(length)


def _read_body_to_end(stream: _AnswerStream, max_octets: int) -> bytes:
    while stream.buffered_octets <= max_octets:
        if not stream.receive_more():
            return stream.read_exactly(stream.buffered_octets)
    raise _make_size_error(max_octets)


def _read_chunked_body(stream: _AnswerStream, max_octets: int, head_octets_left: int) -> bytes:
    """Return the content of a chunked body (RFC 9112 §7.1); raise GW603 if it is malformed or too large."""
    body = bytearray()
    framing_octets = 0
    while True:
        line = stream.read_line(_MAX_CHUNK_LINE)
        chunk_match = _CHUNK_PATTERN.fullmatch(line)
        if chunk_match is None:
            raise _make_answer_error("a malformed chunk")
        chunk_octets = int(chunk_match[1], 16)
        if not chunk_octets:
            break
        framing_octets += len(line) + 4
        # Small chunks are allowed; chunk extensions larger than the content are not.
        if framing_octets > MAX_HEAD_OCTETS + len(body) * 8:
            raise _make_answer_error("more framing than content")
        if len(body) + chunk_octets > max_octets:
            raise _make_size_error(max_octets)
        body += stream.read_exactly(chunk_octets)
        if stream.read_line(0):
            raise _make_answer_error("a malformed chunk")
    _read_fields(stream, head_octets_left)
    return bytes(body)


def _make_size_error(max_octets: int) -> GatewayError:
    return _make_answer_error(f"the answer has more than {max_octets} octets")


def _make_beginning_error() -> GatewayError:
    return _make_answer_error("it does not begin as HTTP/1.1 does")


def _make_heads_error() -> GatewayError:
    return _make_answer_error(f"its heads have more than {MAX_HEAD_OCTETS} octets")


def _make_answer_error(detail: str) -> GatewayError:
    return GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "HTTP")


def require_identity_coding(answer: HttpAnswer) -> None:
    """Raise for an answer with a content coding: the hub requests none."""
    if not is_identity_coding(answer.headers.get("content-encoding", "identity")):
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer is in a content coding", "Content-Encoding")

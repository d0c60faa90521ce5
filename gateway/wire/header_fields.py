"""Header fields of MIME and HTTP, the media type in a Content-Type field, and HTTP messages of files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple, NoReturn

from gateway.errors import MIME_MALFORMED, TOO_LARGE, GatewayError
from gateway.wire.xml_prescan import DEFAULT_LIMITS, WireLimits

_NAME: Final = r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+"
_MEDIA_TYPE: Final = re.compile(rf"\s*({_NAME}/{_NAME})[ \t]*")
# RFC 2045 §5.1 forbids a slash or another special in an unquoted value, but many senders write one.
_PARAMETER: Final = re.compile(
    rf";[ \t]*(?:({_NAME})[ \t]*=[ \t]*"
    r'(?:"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t -~])*)"|([^\s;"\\]+))[ \t]*)?'
)
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_HEADER: Final = re.compile(rf"({_NAME}):[ \t]*(.*)", re.DOTALL)
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SINGLE: Final = {
    "content-type",
    "content-id",
    "content-transfer-encoding",
    "content-length",
    "transfer-encoding",
}
_MAX_PARAMETERS: Final = 32
#: Parameters that determine how a message is read. Some readers decode the form of RFC 2231 (``start*``,
#: ``charset*0``), with any codec that the sender names, and some ignore it: two readers would read two
#: messages.
_SAID_PLAINLY: Final = frozenset({"boundary", "charset", "start", "type"})


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type: its name in lower case, and its parameters by lower-case name."""

    name: str
    parameters: Mapping[str, str]


# The parts of messages have few different media types; only that of the whole message, with its boundary, is
# always a new one.
@lru_cache(maxsize=256)
def parse_media_type(value: str) -> MediaType:
    """Return the media type in `value`; raise the malformed-MIME problem for a parameter given twice."""
    start = _MEDIA_TYPE.match(value)
    if start is None or len(value) > 4096:
        raise_mime_error(f"{value[:80]!r} is not a media type")
    parameters: dict[str, str] = {}
    position = start.end()
    while position < len(value):
        parameter = _PARAMETER.match(value, position)
        if parameter is None:
            raise_mime_error(
                f"the parameters of the media type cannot be read from {value[position : position + 40]!r}"
            )
        position = parameter.end()
        name = (parameter[1] or "").lower()
        if name in parameters or len(parameters) == _MAX_PARAMETERS:
            raise_mime_error(f"parameter {name[:40]!r} of the media type stands twice, or there are too many")
        if name:
            if "*" in name and name.partition("*")[0] in _SAID_PLAINLY:
                raise_mime_error(f"parameter {name[:40]!r} of the media type is written as RFC 2231 has it")
            quoted = parameter[2]
            parameters[name] = _QUOTED_PAIR.sub(r"\1", quoted) if quoted is not None else parameter[3]
    return MediaType(start[1].lower(), MappingProxyType(parameters))


def is_identity_coding(value: str) -> bool:
    """Return whether a Content-Encoding says that the content is not encoded (RFC 9110 §8.4)."""
    return value.strip().lower() == "identity"


def is_text_xml(value: str) -> bool:
    """Return whether `value`, a Content-Type, is text/xml in UTF-8 (the default charset)."""
    try:
        media = parse_media_type(value)
    except GatewayError:
        return False
    return media.name == "text/xml" and is_utf8(media)


def is_utf8(media: MediaType) -> bool:
    """Return whether a media type states UTF-8, by any of the names that senders write, or no charset."""
    return media.parameters.get("charset", "utf-8").lower().replace("_", "-") in ("utf-8", "utf8")


def read_header_fields(
    block: bytes, end_of_line: bytes, limits: WireLimits = DEFAULT_LIMITS, location: str = "header fields"
) -> dict[str, str]:
    """Return the header fields of `block` by lower-case name; continuation lines are unfolded."""
    if len(block) > limits.part_headers:
        detail = f"a header block has more than {limits.part_headers} octets"
        raise GatewayError(TOO_LARGE, detail, location)
    headers: dict[str, str] = {}
    for count, line in enumerate(_unfold_lines(block, end_of_line, location)):
        field = _HEADER.fullmatch(line)
        if field is None or _FORBIDDEN.search(line):
            raise_mime_error(f"{line[:80]!r} is not a header field", location)
        name, value = field[1].lower(), field[2].rstrip(" \t")
        if count == limits.part_header_count:
            raise GatewayError(TOO_LARGE, f"there are more than {count} header fields", location)
        if name in headers and name in _SINGLE:
            raise_mime_error(f"header field {name} stands twice", location)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def write_header_fields(headers: Mapping[str, str]) -> bytes:
    """Return `headers`, one on each line; raise for a name or value that a reader would get changed."""
    for name, value in headers.items():
        if not _HEADER.fullmatch(f"{name}:") or _FORBIDDEN.search(value) or value != value.strip(" \t"):
            raise_mime_error(f"{name[:40]!r} cannot be written as a header field")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()


def raise_mime_error(detail: str, location: str = "") -> NoReturn:
    """Raise the problem of malformed MIME."""
    raise GatewayError(MIME_MALFORMED, detail, location)


def _find_field_name(before: bytes, end_of_line: bytes) -> str:
    """Return the name of the header field whose value the octets `before` reach into."""
    lines = [line for line in before.split(end_of_line) if line[:1] not in (b" ", b"\t")]
    return repr(lines[-1].partition(b":")[0][:80].decode("latin-1"))


def _unfold_lines(block: bytes, end_of_line: bytes, location: str) -> Iterator[str]:
    try:
        lines = block.decode("utf-8").split(end_of_line.decode())
    except UnicodeDecodeError as wrong:
        name = _find_field_name(block[: wrong.start], end_of_line)
        raise_mime_error(f"the header field {name} is not UTF-8", location)
    current = ""
    for line in lines:
        if line[:1] in (" ", "\t") and current:
            current += " " + line.strip(" \t")
            continue
        if current:
            yield current
        current = line
    if current:
        yield current


_START_LINE: Final = re.compile(
    rb"(?:[A-Z]{1,20} [!-~]{1,8000} HTTP/1\.[01]|HTTP/[12](?:\.[01])? [0-9]{3}(?: [ -~]*)?)"
)
_HEAD_END: Final = re.compile(rb"(\r?\n)\1")
# RFC 9112 §7.1; an extension is skipped, and a size of more than eight digits is never legitimate.
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\t -~]{0,200})?\r\n")


@dataclass(frozen=True, slots=True)
class HttpMessage:
    """An HTTP request or response: `start_line` may be empty, `headers` have lower-case names."""

    start_line: str
    headers: Mapping[str, str]
    body: bytes


class HttpHead(NamedTuple):
    """The head of an HTTP message: start line, headers by lower-case name, and offset of the body."""

    start_line: str
    headers: Mapping[str, str]
    body_offset: int


def read_http_message(raw: bytes, limits: WireLimits = DEFAULT_LIMITS) -> HttpMessage:
    """Return the HTTP message stored as `raw`; its body must have the length that its headers state."""
    head = read_http_head(raw, limits)
    return HttpMessage(
        head.start_line, head.headers, _check_body(head.headers, raw[head.body_offset :], limits)
    )


def read_http_head(raw: bytes, limits: WireLimits = DEFAULT_LIMITS) -> HttpHead:
    """Return start line, headers and begin of the body of an HTTP message; `raw` may be its first octets.

    Raises GW103 for malformed header fields, or if no empty line ends them within the limit, and GW102 for
    too many of them.
    """
    head_end = _HEAD_END.search(raw, 0, limits.part_headers)
    if head_end is None:
        raise_mime_error("no empty line ends the header fields")
    line_end, head = head_end[1], raw[: head_end.start()]
    first, _, rest = head.partition(line_end)
    start_line = ""
    if _START_LINE.fullmatch(first):
        start_line, head = first.decode("ascii"), rest
    return HttpHead(start_line, read_header_fields(head, line_end, limits), head_end.end())


def _check_body(headers: Mapping[str, str], body: bytes, limits: WireLimits) -> bytes:
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if length is not None or coding.lower() != "chunked":
            raise_mime_error("Transfer-Encoding is not chunked alone, or there is a Content-Length, too")
        body = _decode_chunks(body, limits)
    elif length is not None and length != str(len(body)):
        raise_mime_error(f"Content-Length is {length[:20]!r}, the body has {len(body)} octets")
    if len(body) > limits.body:
        raise GatewayError(
            TOO_LARGE, f"the message has {len(body)} octets, {limits.body} are allowed", "body"
        )
    return body


def _decode_chunks(body: bytes, limits: WireLimits) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for _ in range(limits.chunks):
        chunk = _CHUNK.match(body, position)
        if chunk is None:
            raise_mime_error(f"there is no chunk size at octet {position} of the body")
        # bounded: at most eight hexadecimal digits, by the pattern
        position = chunk.end() + int(chunk[1], 16)
        if position == chunk.end():
            return _check_trailer(body, position, b"".join(pieces), limits)
        if body[position : position + 2] != b"\r\n":
            raise_mime_error(f"a chunk does not end at octet {position} of the body")
        pieces.append(body[chunk.end() : position])
        position += 2
    raise GatewayError(
        TOO_LARGE, f"there are more than {limits.chunks} chunks", f"octet {position} of the body"
    )


def _check_trailer(body: bytes, position: int, content: bytes, limits: WireLimits) -> bytes:
    """Return `content` when only trailer fields and an empty line follow the last chunk."""
    trailer = body[position:]
    if trailer != b"\r\n":
        if not trailer.endswith(b"\r\n\r\n"):
            raise_mime_error("the last chunk is not the end of the message")
        read_header_fields(trailer[:-4], b"\r\n", limits)
    return content

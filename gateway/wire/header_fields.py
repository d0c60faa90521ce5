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
_HEADER_FIELD: Final = re.compile(rf"({_NAME}):[ \t]*(.*)", re.DOTALL)
_FORBIDDEN_CHARACTER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SINGLE_FIELDS: Final = {
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
_PLAIN_PARAMETERS: Final = frozenset({"boundary", "charset", "start", "type"})


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
    type_match = _MEDIA_TYPE.match(value)
    if type_match is None or len(value) > 4096:
        raise_mime_error(f"{value[:80]!r} is not a media type")
    parameters: dict[str, str] = {}
    position = type_match.end()
    while position < len(value):
        parameter = _PARAMETER.match(value, position)
        if parameter is None:
            raise_mime_error(
                f"the parameters of the media type cannot be read from {value[position : position + 40]!r}"
            )
        position = parameter.end()
        parameter_name = (parameter[1] or "").lower()
        if parameter_name in parameters or len(parameters) == _MAX_PARAMETERS:
            raise_mime_error(
                f"parameter {parameter_name[:40]!r} of the media type stands twice, or there are too many"
            )
        if parameter_name:
            if "*" in parameter_name and parameter_name.partition("*")[0] in _PLAIN_PARAMETERS:
                raise_mime_error(
                    f"parameter {parameter_name[:40]!r} of the media type is written as RFC 2231 has it"
                )
            quoted_value = parameter[2]
            parameters[parameter_name] = (
                _QUOTED_PAIR.sub(r"\1", quoted_value) if quoted_value is not None else parameter[3]
            )
    return MediaType(type_match[1].lower(), MappingProxyType(parameters))


def is_identity_coding(header_value: str) -> bool:
    """Return whether a Content-Encoding says that the content is not encoded (RFC 9110 §8.4)."""
    return header_value.strip().lower() == "identity"


def is_text_xml(content_type: str) -> bool:
    """Return whether `content_type`, a Content-Type, is text/xml in UTF-8 (the default charset)."""
    try:
        media_type = parse_media_type(content_type)
    except GatewayError:
        return False
    return media_type.name == "text/xml" and is_utf8(media_type)


def is_utf8(media_type: MediaType) -> bool:
    """Return whether a media type states UTF-8, by any of the names that senders write, or no charset."""
    return media_type.parameters.get("charset", "utf-8").lower().replace("_", "-") in ("utf-8", "utf8")


def read_header_fields(
    block: bytes, end_of_line: bytes, limits: WireLimits = DEFAULT_LIMITS, location: str = "header fields"
) -> dict[str, str]:
    """Return the header fields of `block` by lower-case name; continuation lines are unfolded."""
    if len(block) > limits.part_headers:
        detail = f"a header block has more than {limits.part_headers} octets"
        raise GatewayError(TOO_LARGE, detail, location)
    headers: dict[str, str] = {}
    for field_index, line in enumerate(_unfold_lines(block, end_of_line, location)):
        field_match = _HEADER_FIELD.fullmatch(line)
        if field_match is None or _FORBIDDEN_CHARACTER.search(line):
            raise_mime_error(f"{line[:80]!r} is not a header field", location)
        field_name, field_value = field_match[1].lower(), field_match[2].rstrip(" \t")
        if field_index == limits.part_header_count:
            raise GatewayError(TOO_LARGE, f"there are more than {field_index} header fields", location)
        if field_name in headers and field_name in _SINGLE_FIELDS:
            raise_mime_error(f"header field {field_name} stands twice", location)
        headers[field_name] = (
            f"{headers[field_name]}, {field_value}" if field_name in headers else field_value
        )
    return headers


def write_header_fields(headers: Mapping[str, str]) -> bytes:
    """Return `headers`, one on each line; raise for a name or value that a reader would get changed."""
    for field_name, field_value in headers.items():
        if (
            not _HEADER_FIELD.fullmatch(f"{field_name}:")
            or _FORBIDDEN_CHARACTER.search(field_value)
            or field_value != field_value.strip(" \t")
        ):
            raise_mime_error(f"{field_name[:40]!r} cannot be written as a header field")
    return "".join(f"{field_name}: {field_value}\r\n" for field_name, field_value in headers.items()).encode()


def raise_mime_error(detail: str, location: str = "") -> NoReturn:
    """Raise the problem of malformed MIME."""
    raise GatewayError(MIME_MALFORMED, detail, location)


def _find_field_name(preceding_octets: bytes, end_of_line: bytes) -> str:
    """Return the name of the header field whose value the octets `preceding_octets` reach into."""
    lines = [line for line in preceding_octets.split(end_of_line) if line[:1] not in (b" ", b"\t")]
    return repr(lines[-1].partition(b":")[0][:80].decode("latin-1"))


def _unfold_lines(block: bytes, end_of_line: bytes, location: str) -> Iterator[str]:
    """Yield each header field as one line: a line that begins with a space or tab continues a field."""
    try:
        lines = block.decode("utf-8").split(end_of_line.decode())
    except UnicodeDecodeError as wrong:
        field_name = _find_field_name(block[: wrong.start], end_of_line)
        raise_mime_error(f"the header field {field_name} is not UTF-8", location)
    current_field = ""
    for line in lines:
        if line[:1] in (" ", "\t") and current_field:
            current_field += " " + line.strip(" \t")
            continue
        if current_field:
            yield current_field
        current_field = line
    if current_field:
        yield current_field


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


def read_http_message(message_octets: bytes, limits: WireLimits = DEFAULT_LIMITS) -> HttpMessage:
    """Return the HTTP message in `message_octets`; its body must have the length that its headers state."""
    head = read_http_head(message_octets, limits)
    return HttpMessage(
        head.start_line, head.headers, _read_body(head.headers, message_octets[head.body_offset :], limits)
    )


def read_http_head(message_octets: bytes, limits: WireLimits = DEFAULT_LIMITS) -> HttpHead:
    """Return start line, headers and body offset of an HTTP message, which `message_octets` begin.

    Raises GW103 for malformed header fields, or if no empty line ends them within the limit, and GW102 for
    too many of them.
    """
    head_end = _HEAD_END.search(message_octets, 0, limits.part_headers)
    if head_end is None:
        raise_mime_error("no empty line ends the header fields")
    line_end, head_octets = head_end[1], message_octets[: head_end.start()]
    first_line, _, field_octets = head_octets.partition(line_end)
    start_line = ""
    if _START_LINE.fullmatch(first_line):
        start_line, head_octets = first_line.decode("ascii"), field_octets
    return HttpHead(start_line, read_header_fields(head_octets, line_end, limits), head_end.end())


def _read_body(headers: Mapping[str, str], body: bytes, limits: WireLimits) -> bytes:
    """Return the body without chunk sizes; raise GW103 for a wrong length, GW102 above the limit."""
    transfer_coding, content_length = headers.get("transfer-encoding"), headers.get("content-length")
    if transfer_coding is not None:
        if content_length is not None or transfer_coding.lower() != "chunked":
            raise_mime_error("Transfer-Encoding is not chunked alone, or there is a Content-Length, too")
        body = _decode_chunks(body, limits)
    elif content_length is not None and content_length != str(len(body)):
        raise_mime_error(f"Content-Length is {content_length[:20]!r}, the body has {len(body)} octets")
    if len(body) > limits.body:
        raise GatewayError(
            TOO_LARGE, f"the message has {len(body)} octets, {limits.body} are allowed", "body"
        )
    return body


def _decode_chunks(body: bytes, limits: WireLimits) -> bytes:
    """Return the joined chunks of a body (RFC 9112 §7.1); raise GW103 for a wrong one, GW102 for too many."""
    pieces: list[bytes] = []
    position = 0
    for _ in range(limits.chunks):
        chunk_head = _CHUNK.match(body, position)
        if chunk_head is None:
            raise_mime_error(f"there is no chunk size at octet {position} of the body")
        # bounded: at most eight hexadecimal digits, by the pattern
        position = chunk_head.end() + int(chunk_head[1], 16)
        if position == chunk_head.end():
            return _check_chunked_trailer(body, position, b"".join(pieces), limits)
        if body[position : position + 2] != b"\r\n":
            raise_mime_error(f"a chunk does not end at octet {position} of the body")
        pieces.append(body[chunk_head.end() : position])
        position += 2
    raise GatewayError(
        TOO_LARGE, f"there are more than {limits.chunks} chunks", f"octet {position} of the body"
    )


def _check_chunked_trailer(body: bytes, position: int, content: bytes, limits: WireLimits) -> bytes:
    """Return `content` when only trailer fields and an empty line follow the last chunk."""
    trailer = body[position:]
    if trailer != b"\r\n":
        if not trailer.endswith(b"\r\n\r\n"):
            raise_mime_error("the last chunk is not the end of the message")
        read_header_fields(trailer[:-4], b"\r\n", limits)
    return content

"""Reads an HTTP message that was stored in a file: with or without start line, chunked or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.errors import TOO_LARGE, GatewayError
from gateway.wire.header_fields import raise_mime_error, read_header_fields
from gateway.wire.xml_prescan import DEFAULT_LIMITS, WireLimits

__all__ = ["HttpHead", "HttpMessage", "read_http_head", "read_http_message"]

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
    """What stands before the body: start line, headers by lower-case name, and where the body begins."""

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
    """Return what stands before the body of an HTTP message, from its first octets."""
    found = _HEAD_END.search(raw, 0, limits.part_headers)
    if found is None:
        raise_mime_error("no empty line ends the header fields")
    line_end, head = found[1], raw[: found.start()]
    first, _, rest = head.partition(line_end)
    start_line = ""
    if _START_LINE.fullmatch(first):
        start_line, head = first.decode("ascii"), rest
    return HttpHead(start_line, read_header_fields(head, line_end, limits), found.end())


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
        found = _CHUNK.match(body, position)
        if found is None:
            raise_mime_error(f"there is no chunk size at octet {position} of the body")
        position = found.end() + int(found[1], 16)
        if position == found.end():
            return _check_trailer(body, position, b"".join(pieces), limits)
        if body[position : position + 2] != b"\r\n":
            raise_mime_error(f"a chunk does not end at octet {position} of the body")
        pieces.append(body[found.end() : position])
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

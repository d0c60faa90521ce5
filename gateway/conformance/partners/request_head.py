"""The head of an HTTP request that a partner serves, and that of its reply.

The standard library reads header fields as those of a mail: of a multipart one it looks for parts, by an
expression that it compiles for each boundary. Every message has a boundary of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from http.client import responses
from io import BufferedIOBase
from typing import Final

from gateway.errors import MIME_MALFORMED, TOO_LARGE, GatewayError
from gateway.wire import DEFAULT_LIMITS, read_http_head

__all__ = ["RequestHead", "format_reply_head", "read_request_head"]

_LONGEST_LINE: Final = 65_536
_MOST_LINES: Final = 100
#: Proxies add fields of their own.
_LIMITS: Final = replace(DEFAULT_LIMITS, part_headers=2 * _LONGEST_LINE, part_header_count=_MOST_LINES)
_LAST_LINES: Final = frozenset({b"\r\n", b"\n"})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The method, the path with its query, the version, and the header fields by lower-case name."""

    method: str
    path: str
    version: str
    headers: Mapping[str, str]

    @property
    def keeps_connection(self) -> bool:
        """Return whether another request may follow on its connection (RFC 9112 §9.3)."""
        said = self.headers.get("connection", "").lower()
        return "close" not in said and (self.version == "HTTP/1.1" or "keep-alive" in said)

    @property
    def awaits_continue(self) -> bool:
        """Return whether its body is sent when it is asked for (RFC 9110 §10.1.1)."""
        return self.version == "HTTP/1.1" and self.headers.get("expect", "").lower() == "100-continue"


def read_request_head(stream: BufferedIOBase) -> RequestHead | None:
    """Return the head of the next request, None at the end of the connection; raises GW102, GW103."""
    lines = [stream.readline(_LONGEST_LINE + 1)]
    if not lines[0]:
        return None
    while lines[-1] not in _LAST_LINES:
        if len(lines[-1]) > _LONGEST_LINE or len(lines) > _MOST_LINES + 1:
            raise GatewayError(TOO_LARGE, "the head of the request is too long", "HTTP")
        line = stream.readline(_LONGEST_LINE + 1)
        if not line:
            raise GatewayError(MIME_MALFORMED, "the connection ended in the head of a request", "HTTP")
        lines.append(line)
    head = read_http_head(b"".join(line.rstrip(b"\r\n") + b"\r\n" for line in lines), _LIMITS)
    if head.start_line.startswith("HTTP/") or not head.start_line:
        raise GatewayError(MIME_MALFORMED, "no request line begins the request", "HTTP")
    method, path, version = head.start_line.split(" ")
    # Else a client that is redirected there would take the first step for a host.
    path = "/" + path.lstrip("/") if path.startswith("//") else path
    return RequestHead(method, path, version, head.headers)


def format_reply_head(status: int, fields: Mapping[str, str]) -> bytes:
    """Return the head of a reply."""
    lines = [f"HTTP/1.1 {status} {responses.get(status, '')}", f"Date: {formatdate(usegmt=True)}"]
    lines += (f"{name}: {value}" for name, value in fields.items())
    return "\r\n".join((*lines, "\r\n")).encode("latin-1", "strict")

"""Validates the head of an HTTP request before its body is read.

The server below reads the syntax of RFC 9112 strictly: it rejects two lengths, a length that is not
a number, folded lines, NUL and other control characters, and malformed chunk sizes. This module
rejects what that server accepts: repeated fields, unsupported codings, names that WSGI would
confuse, and unsupported methods and hosts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

from gateway.errors import REQUEST_MALFORMED, TOO_LARGE, GatewayError, Problem

__all__ = ["RequestHead", "RequestRejectedError", "RsgiScope", "read_request_head"]

#: No message has a larger head (nginx: 32 KiB in all, Apache: 8 KiB a line).
_LARGEST_HEAD: Final = 32 * 1024
#: Fields that a request may have once. Another reader, a proxy or a filter, may use a second one.
_ONCE: Final = frozenset(
    {
        "authorization",
        "client-cert",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "soapaction",
        "transfer-encoding",
    }
)
#: uri-host [":" port] of RFC 9110 §7.2; empty where a target has none.
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::[0-9]{0,5})?")
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "POST"})
_DIGITS: Final = 18


class _HeaderFields(Protocol):
    def keys(self) -> list[str]: ...
    def items(self) -> list[tuple[str, str]]: ...


class RsgiScope(Protocol):
    """The server's data about a request (RSGI)."""

    http_version: str
    client: str
    scheme: str
    method: str
    path: str
    query_string: str
    authority: str | None

    @property
    def headers(self) -> _HeaderFields:
        """Return the header fields."""


class RequestRejectedError(GatewayError):
    """A rejected request, with the HTTP status of the answer."""

    def __init__(self, problem: Problem, detail: str, location: str, status: HTTPStatus) -> None:
        super().__init__(problem, detail, location)
        self.status = status


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its body: fields by lower-case name; `length` is None for a body in chunks."""

    method: str
    path: str
    fields: Mapping[str, str]
    length: int | None


def read_request_head(scope: RsgiScope, largest: Mapping[str, int], otherwise: int) -> RequestHead:
    """Return the head; raises `RequestRejectedError`.

    `largest` has the octets that a body may have, by path; `otherwise` applies to other paths.
    """
    if scope.method not in _METHODS:
        raise _make_rejection("the method is not known here", "method", HTTPStatus.NOT_IMPLEMENTED)
    fields = _read_header_fields(scope)
    _check_host_field(scope, fields)
    _check_transfer_codings(fields)
    length = _read_content_length(fields, largest.get(scope.path.rstrip("/"), otherwise))
    return RequestHead(scope.method, scope.path, fields, length)


def _read_header_fields(scope: RsgiScope) -> dict[str, str]:
    """Return the fields by name; repeated fields are joined where that is allowed (RFC 9110 §5.3)."""
    pairs = scope.headers.items()
    if len({name for name, _ in pairs}) != len(scope.headers.keys()):
        raise _make_rejection("a field has octets that are not ASCII", "header")
    if sum(len(name) + len(value) for name, value in pairs) > _LARGEST_HEAD:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        raise RequestRejectedError(
            TOO_LARGE, f"the head has more than {_LARGEST_HEAD} octets", "header", status
        )
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            if name in _ONCE:
                raise _make_rejection("the field is said twice", name)
            value = f"{fields[name]}, {value}"
        fields[name] = value
    return fields


def _check_host_field(scope: RsgiScope, fields: Mapping[str, str]) -> None:
    host = fields.get("host")
    if host is None and scope.http_version not in ("1", "1.0"):
        raise _make_rejection("the field is missing (RFC 9112 §3.2)", "host")
    if host is not None and not _HOST.fullmatch(host):
        raise _make_rejection("the field is no name of a host (RFC 9112 §3.2)", "host")
    # An absolute target names its host (RFC 9112 §3.2.2): a client sends the same in both places.
    if scope.authority is not None and scope.authority != host:
        raise _make_rejection("the target names another host", "host")


def _check_transfer_codings(fields: Mapping[str, str]) -> None:
    coding = fields.get("transfer-encoding")
    if coding is not None and coding.strip().lower() != "chunked":
        raise _make_rejection("chunked alone is undone here", "transfer-encoding", HTTPStatus.NOT_IMPLEMENTED)
    if coding is not None and "content-length" in fields:
        raise _make_rejection("the body has a length and comes in chunks, too", "content-length")
    if fields.get("expect", "100-continue").strip().lower() != "100-continue":
        raise _make_rejection("100-continue alone is known", "expect", HTTPStatus.EXPECTATION_FAILED)


def _read_content_length(fields: Mapping[str, str], largest: int) -> int | None:
    if "transfer-encoding" in fields:
        return None
    text = fields.get("content-length", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise _make_rejection("the length is not a number", "content-length")
    length = int(text)
    if length > largest:
        detail = f"the body has {length} octets, at most {largest} are taken"
        raise RequestRejectedError(TOO_LARGE, detail, "content-length", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return length


def _make_rejection(
    detail: str, location: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST
) -> RequestRejectedError:
    return RequestRejectedError(REQUEST_MALFORMED, detail, location, status)

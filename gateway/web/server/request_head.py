"""Validates the head of an HTTP request before its body is read.

The server below reads the syntax of RFC 9112 strictly: it rejects two different lengths, a length
that is not a number, folded lines, NUL and other control characters, and malformed chunk sizes. Two
equal lengths are one for it; beside chunks it drops a length, and ends the connection (RFC 9112 §6).
This module rejects what that server accepts: repeated fields, unsupported codings, names that WSGI
would confuse, and unsupported methods and hosts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol

from gateway.errors import OUR_MISTAKE, REQUEST_MALFORMED, TOO_LARGE, GatewayError, Problem

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
#: A label of a name, at most 63 octets (RFC 1035 §2.3.4): no other can be encoded by IDNA.
_LABEL: Final = r"[A-Za-z0-9\-_~%!$&'()*+,;=]{1,63}"
#: uri-host [":" port] of RFC 9110 §7.2; empty where a target has none.
_HOST: Final = re.compile(rf"(?:\[[0-9A-Fa-f:.]+\]|{_LABEL}(?:\.{_LABEL})*\.?)?(?::[0-9]{{0,5}})?")
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "POST"})
_DIGITS: Final = 18
#: Media types of content that cannot be cut off unnoticed: a root element, a closing brace or delimiter.
_SELF_DELIMITING: Final = frozenset(
    {"application/json", "application/soap+xml", "application/xml", "multipart/related", "text/xml"}
)


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
    """A request without its body: fields by lower-case name; `body_length` is None for a body in chunks."""

    method: str
    path: str
    fields: Mapping[str, str]
    body_length: int | None

    @property
    def may_have_trailers(self) -> bool:
        """Return whether trailers are announced (RFC 9110 §6.6.2), for content that marks its own end."""
        media_type = self.fields.get("content-type", "").partition(";")[0].strip().lower()
        return "trailer" in self.fields and media_type in _SELF_DELIMITING


def read_request_head(scope: RsgiScope, max_octets: int) -> RequestHead:
    """Return the head of a request whose body has at most `max_octets`; raises `RequestRejectedError`."""
    if scope.method not in _METHODS:
        raise _make_rejection("the method is not known here", "method", HTTPStatus.NOT_IMPLEMENTED)
    fields = _read_header_fields(scope)
    _check_host_field(scope, fields)
    _check_transfer_codings(fields)
    length = _read_content_length(fields, max_octets)
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
    """Reject a Host field that is missing, malformed or not the host of the target (RFC 9112 §3.2)."""
    host = fields.get("host")
    if host is None and scope.http_version not in ("1", "1.0"):
        raise _make_rejection("the field is missing (RFC 9112 §3.2)", "host")
    if host is not None and not _HOST.fullmatch(host):
        raise _make_rejection("the field is no name of a host (RFC 9112 §3.2)", "host")
    # An absolute target names its host (RFC 9112 §3.2.2): a client sends the same in both places.
    if scope.authority is not None and scope.authority != host:
        raise _make_rejection("the target names another host", "host")


def _check_transfer_codings(fields: Mapping[str, str]) -> None:
    """Reject transfer codings other than chunked, and expectations other than 100-continue.

    Rejects a body that has both Transfer-Encoding and Content-Length, too (RFC 9112 §6.1).
    """
    coding = fields.get("transfer-encoding")
    if coding is not None and coding.strip().lower() != "chunked":
        raise _make_rejection("chunked alone is undone here", "transfer-encoding", HTTPStatus.NOT_IMPLEMENTED)
    if coding is not None and "content-length" in fields:
        raise _make_rejection("the body has a length and comes in chunks, too", "content-length")
    if fields.get("expect", "100-continue").strip().lower() != "100-continue":
        raise _make_rejection("100-continue alone is known", "expect", HTTPStatus.EXPECTATION_FAILED)


def _read_content_length(fields: Mapping[str, str], max_octets: int) -> int | None:
    """Return the Content-Length (0 if missing), None for a chunked body; reject one above `max_octets`."""
    if "transfer-encoding" in fields:
        return None
    text = fields.get("content-length", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise _make_rejection("the length is not a number", "content-length")
    length = int(text)  # bounded: digits, by the pattern
    if length > max_octets:
        detail = f"the body has {length} octets, at most {max_octets} are taken"
        raise RequestRejectedError(TOO_LARGE, detail, "content-length", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return length


def _make_rejection(
    detail: str, location: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST
) -> RequestRejectedError:
    return RequestRejectedError(REQUEST_MALFORMED, detail, location, status)


#: The field in which a proxy that ends TLS names the certificate of its client (RFC 9440).
CERTIFICATE_FIELD: Final = "client-cert"
#: DER of a certificate: a sequence whose length has two octets.
_DER_BEGIN: Final = b"\x30\x82"


def read_client_certificate(value: str | None) -> str | None:
    """Return the SHA-256 of the certificate in the field; None without the field.

    Raises `RequestRejectedError` for a field that is no byte sequence with a certificate.
    """
    if value is None:
        return None
    text = value.strip()
    if len(text) < 3 or text[0] != ":" or text[-1] != ":":
        raise _make_rejection("the field is no byte sequence (RFC 8941 §3.3.5)", CERTIFICATE_FIELD)
    try:
        content = base64.b64decode(text[1:-1], validate=True)
    except (binascii.Error, ValueError):
        raise _make_rejection("the field is not base64", CERTIFICATE_FIELD) from None
    if content[:2] != _DER_BEGIN or len(content) != int.from_bytes(content[2:4]) + 4:
        raise _make_rejection("the field has no certificate as DER (RFC 9440 §2.1)", CERTIFICATE_FIELD)
    return hashlib.sha256(content).hexdigest()


_DIGEST: Final = 32
#: An address of X-Forwarded-For: some proxies write the port, too, and IPv6 in brackets.
_FORWARDED: Final = re.compile(r"\[([^\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}", re.ASCII)
#: IPv6 addresses that carry one of IPv4 (RFC 4291 §2.5.5.2).
_MAPPED: Final = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Address and port of the peer of a connection; the address as `normalize_address` writes it."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class ClientPeer:
    """The peer; `certificate_sha256` is the SHA-256 of its client certificate, None where it showed none."""

    peer: PeerAddress
    tls: bool = False
    certificate_sha256: str | None = None

    @property
    def socket_name(self) -> str:
        """Return the socket name for this peer; it has fewer than a hundred characters."""
        digest = base64.urlsafe_b64encode(bytes.fromhex(self.certificate_sha256 or "")).decode().rstrip("=")
        return f"{self.peer.address},{self.peer.port},{digest}"


@lru_cache(4096)
def normalize_address(text: str) -> str:
    """Return an IP address in the form in which addresses are compared; any other text unchanged.

    The client of IPv4 of a socket for both (``::ffff:10.0.0.1``) has its own address. A zone id
    (``fe80::1%2``) is dropped, and so are brackets, and the port after them or after an address of IPv4.
    """
    forwarded = _FORWARDED.fullmatch(text)
    plain = text if forwarded is None else forwarded[1] or forwarded[2] or ""
    try:
        address = ip_address(plain.partition("%")[0])
    except ValueError:
        return text
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def normalize_addresses(texts: Iterable[str]) -> frozenset[str]:
    """Return the addresses of the settings in the form of `normalize_address`."""
    return frozenset(map(normalize_address, texts))


def find_client_address(peer: str, forwarded: str | None, proxies: Collection[str]) -> str:
    """Return the address of the client of a request, as `normalize_address` writes it.

    For a peer among `proxies` (normalized addresses), it is the last address in X-Forwarded-For.
    """
    address = normalize_address(peer)
    if forwarded is None or address not in proxies:
        return address
    return normalize_address(forwarded.rpartition(",")[2].strip())


def is_in_networks(address: str, networks: Iterable[str]) -> bool:
    """Return whether an address is in one of these networks; a text that is no address is in none."""
    try:
        client = ip_address(normalize_address(address))
    except ValueError:
        return False
    return any(client in _read_network(network) for network in networks)


@lru_cache(256)
def _read_network(text: str) -> IPv4Network | IPv6Network:
    """Return the network in `text`; an IPv4-mapped IPv6 network becomes the IPv4 network."""
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        carried = int(network.network_address) & 0xFFFFFFFF  # bounded: an address
        return IPv4Network((carried, network.prefixlen - _MAPPED.prefixlen))
    return network


def make_peer_address(address: str, port: int) -> PeerAddress:
    """Return the peer of an address, as `normalize_address` writes it."""
    return PeerAddress(normalize_address(address), port)


def make_tls_peer(address: str, port: int, digest: bytes | None) -> ClientPeer:
    """Return a peer that connected over TLS, with the SHA-256 of its client certificate."""
    return ClientPeer(
        make_peer_address(address, port), tls=True, certificate_sha256=digest.hex() if digest else None
    )


@lru_cache(4096)
def parse_peer_name(text: str) -> ClientPeer:
    """Read the server's text about the peer; an IPv6 address is in brackets."""
    parts = text.split(",")
    try:
        if len(parts) == 3:
            digest = base64.b64decode(parts[2] + "=" * (-len(parts[2]) % 4), b"-_", validate=True)
            if len(digest) not in (0, _DIGEST):
                raise ValueError(text)
            return make_tls_peer(parts[0], int(parts[1]), digest)  # bounded: a port, from our own server
        address, _, port = text.rpartition(":")
        return ClientPeer(make_peer_address(address, int(port)))  # bounded: a port, from our own server
    except ValueError:
        raise GatewayError(OUR_MISTAKE, "a connection without a name", "HTTP") from None

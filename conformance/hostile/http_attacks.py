"""Attacks on HTTP itself: the length of a body, the form of a head, the duration of a request.

A server behind a proxy must read every request as the proxy does (RFC 9112 §11.2). If two
readers may differ, the request must be refused. A request inside another one must never be
processed. Slow cases wait as long as the gateway does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from typing import Final, TypeVar

from gateway.message_model import Payload
from gateway_conformance.hostile.attack_cases import AttackCase, Scenario
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.exchange import LAWFUL, Answer, Exchange, Expectation, RawScript
from gateway_conformance.hostile.raw_http_requests import (
    EITHER,
    REFUSED,
    RawRequest,
    build_honest_request,
    build_message_request,
    encode_chunked,
    make_malformed_scenario,
    make_smuggling_scenario,
)

T = TypeVar("T")

#: Changes an honest request; puts a second request into the body of the first.
_RequestRewrite = Callable[[RawRequest], RawRequest]
_Carrier = Callable[[RawRequest, bytes], RawRequest]
#: Octets on a connection, each with the pause after it.
_Script = tuple[tuple[bytes, float], ...]

_TE: Final = b"Transfer-Encoding: chunked"
#: How long a gateway may wait for a slow sender, in seconds.
_MAX_WAIT_SECONDS: Final = 75.0
_SLOW_CONNECTIONS: Final = 60
_END: Final = b"0\r\n\r\n"

_FRAMING: Final = "RFC 9112 §6.3"
_CHUNKS: Final = "RFC 9112 §7.1"
_HEAD: Final = "RFC 9112 §5"
_SMUGGLING: Final = "RFC 9112 §11.2, HTTP desync attacks (Kettle 2019)"
_STRANGE_SOURCE: Final = "RFC 9112 §2.2"
_SLOWLORIS: Final = "slowloris (2009)"


def _get_body_length(request: RawRequest) -> int:
    return len(request.body)


def _set_framing_fields(template: str) -> _RequestRewrite:
    """Return a change to the framing fields of `template`, parted by ``|``; ``{n}`` is the body length."""

    def rewrite_request(request: RawRequest) -> RawRequest:
        body_length = _get_body_length(request)
        framing = template.format(
            n=body_length,
            more=body_length + 1,
            wrapped=body_length + 2**64,
            head=str(body_length)[:-1],
            tail=str(body_length)[-1],
            hex=f"{body_length:x}",
        )
        return request.with_framing(*framing.encode("latin-1").split(b"|"))

    return rewrite_request


def _send_in_chunks(template: str) -> _RequestRewrite:
    def rewrite_request(request: RawRequest) -> RawRequest:
        return _set_framing_fields(template)(request).with_framing(
            *template.encode("latin-1").split(b"|"), body=encode_chunked(request.body)
        )

    return rewrite_request


def _write_chunk_size(write_size: Callable[[int], bytes], line_end: bytes = b"\r\n") -> _RequestRewrite:
    """Return a change into one chunk whose size is written by `write_size`."""

    def rewrite_request(request: RawRequest) -> RawRequest:
        return request.with_framing(
            _TE,
            body=write_size(_get_body_length(request))
            + line_end
            + request.body
            + line_end
            + b"0"
            + line_end
            + line_end,
        )

    return rewrite_request


def _send_chunks(size: int = 4096, trailer: bytes = _END) -> _RequestRewrite:
    """Return a change into chunks of a size, followed by the given trailer."""
    return lambda request: request.with_framing(_TE, body=encode_chunked(request.body, size, trailer))


def _halve_body(request: RawRequest) -> RawRequest:
    return replace(request, body=request.body[: _get_body_length(request) // 2])


def _add_fields(*octets: bytes) -> _RequestRewrite:
    return lambda request: request.with_fields(*octets)


def _set_request_line(line: bytes, *dropped_fields: bytes) -> _RequestRewrite:
    def rewrite_request(request: RawRequest) -> RawRequest:
        return replace(
            request,
            request_line=line,
            fields=tuple(f for f in request.fields if not f.startswith(dropped_fields)),
        )

    return rewrite_request


def _duplicate_field(name: bytes, value: bytes) -> _RequestRewrite:
    """Return a change that repeats a field: first the wrong value, then the right one."""

    def rewrite_request(request: RawRequest) -> RawRequest:
        return replace(request, fields=(b"%b: %b" % (name, value), *request.fields))

    return rewrite_request


def _set_host(value: bytes) -> _RequestRewrite:
    return lambda request: replace(
        request, fields=tuple(b"Host: " + value if f.startswith(b"Host") else f for f in request.fields)
    )


def _carry_behind_field(field: bytes) -> _Carrier:
    """Return the carrier that hides a request behind an empty chunked body.

    Its Content-Length covers everything; a reader that follows the transfer coding in `field` ends before
    the hidden request.
    """

    def carry_request(request: RawRequest, hidden: bytes) -> RawRequest:
        body = _END + hidden
        return request.with_framing(b"Content-Length: %d" % len(body), field, body=body)

    return carry_request


def _carry_behind_chunk(request: RawRequest, hidden: bytes) -> RawRequest:
    """Return a request whose only chunk is the hidden request; Content-Length ends after the size line."""
    size = b"%x\r\n" % len(hidden)
    return request.with_framing(b"Content-Length: %d" % len(size), _TE, body=size + hidden + b"\r\n" + _END)


def _carry_in_get(request: RawRequest, hidden: bytes) -> RawRequest:
    got = replace(request, request_line=b"GET {path} HTTP/1.1")
    return got.with_framing(b"Content-Length: %d" % len(hidden), body=hidden)


def _carry_in_http_1_0(request: RawRequest, hidden: bytes) -> RawRequest:
    return replace(_carry_behind_field(_TE)(request, hidden), request_line=b"POST {path} HTTP/1.0")


# fmt: off
_LENGTHS: Final = (
    ("two-lengths", "Content-Length: {n}|Content-Length: {more}"),
    ("length-list", "Content-Length: {n}, {more}"),
    ("length-plus", "Content-Length: +{n}"),
    ("length-minus", "Content-Length: -{n}"),
    ("length-twice", "Content-Length: {n} {n}"),
    ("length-hex", "Content-Length: 0x{hex}"),
    ("length-underscore", "Content-Length: {head}_{tail}"),
    ("length-wraps", "Content-Length: {wrapped}"),
    ("length-decimal", "Content-Length: {n}.0"),
    ("length-empty", "Content-Length: "),
    ("length-space-before-colon", "Content-Length : {n}"),
    ("length-folded", "Content-Length:|\t{n}"),
)

_CODINGS: Final = (
    ("coding-unknown", "Transfer-Encoding: xchunked"),
    ("coding-not-last", "Transfer-Encoding: chunked, identity"),
    ("coding-gzip", "Transfer-Encoding: gzip, chunked"),
    ("coding-twice", "Transfer-Encoding: chunked|Transfer-Encoding: chunked"),
    ("coding-folded", "Transfer-Encoding:| chunked"),
    ("coding-vertical-tab", "Transfer-Encoding:\x0bchunked"),
    ("coding-nul", "Transfer-Encoding: chunked\x00"),
    ("coding-quoted", 'Transfer-Encoding: "chunked"'),
    ("coding-space-before-colon", "Transfer-Encoding : chunked"),
    ("coding-8-bit", "Transfer-Encoding: chunked\xff"),
)

_SIZES: Final[tuple[tuple[str, _RequestRewrite], ...]] = (
    ("chunk-0x", _write_chunk_size(lambda n: b"0x%x" % n)),
    ("chunk-plus", _write_chunk_size(lambda n: b"+%x" % n)),
    ("chunk-minus", _write_chunk_size(lambda n: b"-%x" % n)),
    ("chunk-no-size", _write_chunk_size(lambda _: b"")),
    ("chunk-size-wraps", _write_chunk_size(lambda n: b"1%016x" % n)),
    ("chunk-underscore", _write_chunk_size(lambda n: b"_%x" % n)),
    ("chunk-too-short", _write_chunk_size(lambda n: b"%x" % (n - 1))),
    ("chunk-bare-lf", _write_chunk_size(lambda n: b"%x" % n, b"\n")),
    ("chunk-extension-flood", _write_chunk_size(lambda n: b"%x;" % n + b"a" * 1_000_000)),
    ("chunk-extension-lf", _write_chunk_size(lambda n: b"%x;a\nb" % n)),
)

_HEADS: Final[tuple[tuple[str, _RequestRewrite], ...]] = (
    ("head-of-1-mb", _add_fields(b"X-Filling: " + b"a" * 1_000_000)),
    ("head-of-10000-fields", _add_fields(*(b"X-%d: a" % number for number in range(10_000)))),
    ("name-of-1-mb", _add_fields(b"X" * 1_000_000 + b": a")),
    ("target-of-100-kb", _set_request_line(b"POST {path}?" + b"a" * 100_000 + b" HTTP/1.1")),
    ("nul", _add_fields(b"X-Odd: a\x00b")),
    ("carriage-return", _add_fields(b"X-Odd: a\rX-Other: b")),
    ("control", _add_fields(b"X-Odd: a\x01b")),
    ("no-colon", _add_fields(b"X-Odd")),
    ("no-name", _add_fields(b": a")),
    ("space-in-name", _add_fields(b"X Odd: a")),
    ("folded", _add_fields(b"X-Odd: a", b" b")),
    ("begins-with-space", lambda request: replace(request, fields=(b" X-Odd: a", *request.fields))),
    ("two-content-types", _duplicate_field(b"Content-Type", b"text/plain")),
    ("two-soap-actions", _duplicate_field(b"SOAPAction", b'"other"')),
    ("two-hosts", _duplicate_field(b"Host", b"other.invalid")),
    ("no-host", _set_request_line(b"POST {path} HTTP/1.1", b"Host")),
    ("host-of-two-words", _set_host(b"{host} other.invalid")),
    ("host-with-markup", _set_host(b'{host}"><script>')),
    ("host-with-user", _set_host(b"user@{host}")),
    ("host-with-path", _set_host(b"{host}/soap")),
    ("two-spaces", _set_request_line(b"POST  {path}  HTTP/1.1")),
    ("version-9", _set_request_line(b"POST {path} HTTP/9.9")),
    ("version-2", _set_request_line(b"POST {path} HTTP/2.0")),
    ("version-none", _set_request_line(b"POST {path}")),
    ("method-unknown", _set_request_line(b"FROBNICATE {path} HTTP/1.1")),
    ("method-lower-case", _set_request_line(b"post {path} HTTP/1.1")),
    ("connect", _set_request_line(b"CONNECT 127.0.0.1:22 HTTP/1.1")),
    ("trace", _set_request_line(b"TRACE {path} HTTP/1.1")),
    ("target-asterisk", _set_request_line(b"POST * HTTP/1.1")),
)

_ODD: Final[tuple[tuple[str, _RequestRewrite, Expectation], ...]] = (
    ("length-said-twice", _set_framing_fields("Content-Length: {n}|Content-Length: {n}"), EITHER),
    ("expectation-unknown", _add_fields(b"Expect: 200-ok"), EITHER),
    ("absolute-target", _set_request_line(b"POST http://{host}{path} HTTP/1.1"), EITHER),
    ("absolute-target-elsewhere", _set_request_line(b"POST http://elsewhere.invalid{path} HTTP/1.1"), EITHER),
    ("bare-lf", _add_fields(b"X-Odd: a\nX-Other: b"), EITHER),
    ("trailers", _send_chunks(trailer=b"0\r\nContent-Length: 5\r\nHost: b\r\n\r\n"), EITHER),
    ("octet-by-octet", _send_chunks(size=1), EITHER),
    ("upgrade-h2c",
     _add_fields(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
     LAWFUL),
    ("in-chunks", _send_chunks(), LAWFUL),
)

_CARRIERS: Final[tuple[tuple[str, _Carrier], ...]] = (
    ("cl-te", _carry_behind_field(_TE)),
    ("te-cl", _carry_behind_chunk),
    ("te-unknown", _carry_behind_field(b"Transfer-Encoding: xchunked")),
    ("te-folded", _carry_behind_field(b"Transfer-Encoding:\r\n chunked")),
    ("te-vertical-tab", _carry_behind_field(b"Transfer-Encoding:\x0bchunked")),
    ("te-nul", _carry_behind_field(b"Transfer-Encoding: chunked\x00")),
    ("te-space-before-colon", _carry_behind_field(b"Transfer-Encoding : chunked")),
    ("te-not-last", _carry_behind_field(b"Transfer-Encoding: chunked, identity")),
    ("te-after-lf", _carry_behind_field(b"X-Odd: a\n" + _TE)),
    ("te-after-cr", _carry_behind_field(b"X-Odd: a\r" + _TE)),
    ("te-underscore", _carry_behind_field(b"Transfer_Encoding: chunked")),
    ("te-in-1.0", _carry_in_http_1_0),
    ("get-with-body", _carry_in_get),
)

_STRANGE: Final = (
    ("http-0.9", b"GET {path}\r\n"),
    ("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
    ("tls-inside", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60) + b"\r\n\r\n"),
    ("only-line-ends", b"\r\n" * 50_000 + b"x\r\n\r\n"),
)
# fmt: on


def _run_payload_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
    """Send an honest message with an honest request as a payload."""

    def carry_request(_: RawRequest, hidden: bytes) -> RawRequest:
        return build_message_request(
            kit, kit.make_message_id(), Payload("hidden", "application/octet-stream", hidden)
        )

    yield from make_smuggling_scenario(carry_request, LAWFUL)(kit)


def _make_slow_scenario(
    make_script: Callable[[RawRequest], _Script], connection_count: int = _SLOW_CONNECTIONS
) -> Scenario:
    """Return the scenario of a script on many connections; the gateway must end all of them."""

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        step = RawScript(
            "ebms2",
            make_script(build_honest_request(kit)),
            connections=connection_count,
            wait=_MAX_WAIT_SECONDS,
        )
        yield Exchange(step, REFUSED)

    return run_scenario


def _trickle_octets(start: bytes, rest: bytes, pause: float) -> _Script:
    """Return the script that sends `start` at once, then `rest` octet by octet, with a pause after each."""
    drops = (rest[at : at + 1] for at in range(int(_MAX_WAIT_SECONDS / pause)))
    return ((start, 0.0), *((drop, pause) for drop in drops))


def _build_head(request: RawRequest) -> bytes:
    return replace(request, body=b"").build_octets()


def _build_endless_chunks(request: RawRequest) -> _Script:
    head = _build_head(request.with_framing(_TE))
    return ((head, 0.0), *((b"1\r\na\r\n", 1.0),) * int(_MAX_WAIT_SECONDS))


# fmt: off
_SLOW: Final[tuple[tuple[str, str, Callable[[RawRequest], _Script]], ...]] = (
    ("slow-head", "a head of one octet a second", lambda r: _trickle_octets(b"", _build_head(r), 1.0)),
    ("slow-body", "a body of one octet a second", lambda r: _trickle_octets(_build_head(r), r.body, 1.0)),
    ("very-slow-body", "a body of one octet in 10 s",
     lambda r: _trickle_octets(_build_head(r), r.body, 10.0)),
    ("stalled-body", "a body that stops half-way", lambda r: ((_halve_body(r).build_octets(), 0.0),)),
    ("stalled-chunk", "a chunk that never comes",
     lambda r: ((r.with_framing(_TE, body=b"fffffffffffffff\r\n").build_octets(), 0.0),)),
    ("endless-chunks", "chunks that never end", _build_endless_chunks),
    ("silence", "connections on which nothing is said", lambda _: ((b"", 0.0),)),
)
# fmt: on


def _build_chunk_flood(request: RawRequest) -> _Script:
    mebibyte = b"100000\r\n" + b"a" * 2**20 + b"\r\n"
    return ((_build_head(request.with_framing(_TE)), 0.0), *((mebibyte, 0.0),) * 300)


def _make_octets_scenario(octets: bytes) -> Scenario:
    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        del kit
        yield Exchange(RawScript("ebms2", ((octets, 0.0),)), REFUSED)

    return run_scenario


def _make_crowd_scenario(connection_count: int, payload_octets: int) -> Scenario:
    """Return the scenario of a crowd: an honest message on many connections at once, and another member's.

    The crowd is accepted or told to retry; the other member is served.
    """

    def run_scenario(kit: AttackerKit) -> Generator[Exchange, Answer, None]:
        filling = Payload("filling", "application/octet-stream", bytes(payload_octets))
        crowd = build_message_request(kit, kit.make_message_id(), filling).build_octets()
        yield Exchange(
            RawScript("ebms2", ((crowd, 0.0),), connections=connection_count, wait=_MAX_WAIT_SECONDS), EITHER
        )
        yield Exchange(kit.build_message(kit.make_unit("b"), "b"), LAWFUL)

    return run_scenario


def _make_row_cases(
    title_prefix: str,
    rows: Iterable[tuple[str, T]],
    make_scenario: Callable[[T], Scenario],
    source: str,
    prefix: str = "",
) -> Iterator[AttackCase]:
    """Yield the case of each row (variant, subject); `make_scenario` makes the scenario of a subject."""
    for variant, subject in rows:
        yield _make_http_case(prefix + variant, f"{title_prefix}: {variant}", source, make_scenario(subject))


def _make_http_case(variant: str, title: str, source: str, scenario: Scenario) -> AttackCase:
    return AttackCase(f"DOS-11.{variant}", title, "ebms2", source, scenario)


def _make_quota_case(variant: str, title: str, connection_count: int, payload_octets: int) -> AttackCase:
    return AttackCase(
        f"DOS-13.{variant}", title, "ebms2", "quotas", _make_crowd_scenario(connection_count, payload_octets)
    )


def _make_framing_scenario(template: str) -> Scenario:
    return make_malformed_scenario(_set_framing_fields(template))


def _make_coding_scenario(template: str) -> Scenario:
    return make_malformed_scenario(_send_in_chunks(template))


#: Single cases: title, source and scenario.
# fmt: off
_SINGLE: Final = (
    ("length-missing", "a body without a length", _FRAMING,
     make_malformed_scenario(lambda r: r.with_framing())),
    ("chunks-cut", "chunks without the last one", _CHUNKS,
     make_malformed_scenario(_send_chunks(trailer=b""), half_close=True)),
    ("body-cut", "a body shorter than it says", _FRAMING,
     make_malformed_scenario(_halve_body, half_close=True)),
    ("smuggled.in-a-payload", "a request in a payload", _SMUGGLING, _run_payload_scenario),
    ("flood", "chunks of 300 MiB", _CHUNKS, _make_slow_scenario(_build_chunk_flood, 1)),
)
# fmt: on

CASES: Final = (
    *_make_row_cases("length", _LENGTHS, _make_framing_scenario, _FRAMING),
    *_make_row_cases("transfer coding", _CODINGS, _make_coding_scenario, _FRAMING),
    *_make_row_cases("chunk size", _SIZES, make_malformed_scenario, _CHUNKS),
    *_make_row_cases("head", _HEADS, make_malformed_scenario, _HEAD),
    *(
        _make_http_case(variant, f"odd: {variant}", _HEAD, make_malformed_scenario(rewrite, expected))
        for variant, rewrite, expected in _ODD
    ),
    *_make_row_cases(
        "a request in the body of another", _CARRIERS, make_smuggling_scenario, _SMUGGLING, "smuggled."
    ),
    *_make_row_cases("not HTTP/1.1", _STRANGE, _make_octets_scenario, _STRANGE_SOURCE),
    *(_make_http_case(*row) for row in _SINGLE),
    *(
        _make_http_case(variant, title, _SLOWLORIS, _make_slow_scenario(script))
        for variant, title, script in _SLOW
    ),
    _make_quota_case("crowd", "one party on 200 connections at once", 200, 1000),
    _make_quota_case("large-at-once", "20 messages of 4 MiB at once", 20, 2**22),
)
"""Attacks by HTTP: DOS-11 and DOS-13."""

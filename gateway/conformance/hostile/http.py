"""HTTP itself as the attack: where a body ends, what a head may be, how long one may take.

A server behind a front must read every request as the front does (RFC 9112 §11.2); where two
readers may differ, refusing is the only good answer, and a request that stands inside
another is never carried out.  Slow cases wait as long as the gateway does.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.conformance.hostile.case import LAWFUL, Answer, Case, Exchange, Expected, Play, Raw
from gateway.conformance.hostile.http_requests import (
    EITHER,
    REFUSED,
    Request,
    chunked,
    honest,
    message,
    once,
    smuggled,
)
from gateway.model import Payload

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["CASES"]

_TE: Final = b"Transfer-Encoding: chunked"
#: How long a gateway may wait for one that is slow, in seconds.
_PATIENCE: Final = 75.0
_MANY: Final = 60
_END: Final = b"0\r\n\r\n"

_FRAMING: Final = "RFC 9112 §6.3"
_CHUNKS: Final = "RFC 9112 §7.1"
_HEAD: Final = "RFC 9112 §5"
_SMUGGLING: Final = "RFC 9112 §11.2, HTTP desync attacks (Kettle 2019)"


def _length(request: Request) -> int:
    return len(request.body)


def _says(form: str) -> Callable[[Request], Request]:
    """Return a change of the fields that say where the body ends; `n` is its length."""

    def make(request: Request) -> Request:
        n = _length(request)
        words = form.format(
            n=n, more=n + 1, wrapped=n + 2**64, head=str(n)[:-1], tail=str(n)[-1], hex=f"{n:x}"
        )
        return request.framed(*words.encode("latin-1").split(b"|"))

    return make


_LENGTHS: Final = {
    "two-lengths": "Content-Length: {n}|Content-Length: {more}",
    "length-list": "Content-Length: {n}, {more}",
    "length-plus": "Content-Length: +{n}",
    "length-minus": "Content-Length: -{n}",
    "length-twice": "Content-Length: {n} {n}",
    "length-hex": "Content-Length: 0x{hex}",
    "length-underscore": "Content-Length: {head}_{tail}",
    "length-wraps": "Content-Length: {wrapped}",
    "length-decimal": "Content-Length: {n}.0",
    "length-empty": "Content-Length: ",
    "length-space-before-colon": "Content-Length : {n}",
    "length-folded": "Content-Length:|\t{n}",
}

_CODINGS: Final = {
    "coding-unknown": "Transfer-Encoding: xchunked",
    "coding-not-last": "Transfer-Encoding: chunked, identity",
    "coding-gzip": "Transfer-Encoding: gzip, chunked",
    "coding-twice": "Transfer-Encoding: chunked|Transfer-Encoding: chunked",
    "coding-folded": "Transfer-Encoding:| chunked",
    "coding-vertical-tab": "Transfer-Encoding:\x0bchunked",
    "coding-nul": "Transfer-Encoding: chunked\x00",
    "coding-quoted": 'Transfer-Encoding: "chunked"',
    "coding-space-before-colon": "Transfer-Encoding : chunked",
    "coding-8-bit": "Transfer-Encoding: chunked\xff",
}


def _in_chunks(form: str) -> Callable[[Request], Request]:
    def make(request: Request) -> Request:
        return _says(form)(request).framed(*form.encode("latin-1").split(b"|"), body=chunked(request.body))

    return make


def _sized(size: Callable[[int], bytes], end: bytes = b"\r\n") -> Callable[[Request], Request]:
    """Return a change into one chunk whose size is written by `size`."""

    def make(request: Request) -> Request:
        return request.framed(_TE, body=size(_length(request)) + end + request.body + end + b"0" + end + end)

    return make


_SIZES: Final[dict[str, Callable[[Request], Request]]] = {
    "chunk-0x": _sized(lambda n: b"0x%x" % n),
    "chunk-plus": _sized(lambda n: b"+%x" % n),
    "chunk-minus": _sized(lambda n: b"-%x" % n),
    "chunk-no-size": _sized(lambda _: b""),
    "chunk-size-wraps": _sized(lambda n: b"1%016x" % n),
    "chunk-underscore": _sized(lambda n: b"_%x" % n),
    "chunk-too-short": _sized(lambda n: b"%x" % (n - 1)),
    "chunk-bare-lf": _sized(lambda n: b"%x" % n, b"\n"),
    "chunk-extension-flood": _sized(lambda n: b"%x;" % n + b"a" * 1_000_000),
    "chunk-extension-lf": _sized(lambda n: b"%x;a\nb" % n),
}


def _cut(request: Request) -> Request:
    return request.framed(_TE, body=chunked(request.body, last=b""))


def _half(request: Request) -> Request:
    return replace(request, body=request.body[: _length(request) // 2])


def _field(*octets: bytes) -> Callable[[Request], Request]:
    return lambda request: request.with_fields(*octets)


def _line(line: bytes, *drop: bytes) -> Callable[[Request], Request]:
    def make(request: Request) -> Request:
        return replace(request, line=line, fields=tuple(f for f in request.fields if not f.startswith(drop)))

    return make


def _again(name: bytes, value: bytes) -> Callable[[Request], Request]:
    """Return a change that says a field once more, first the wrong value and then the right one."""

    def make(request: Request) -> Request:
        return replace(request, fields=(b"%b: %b" % (name, value), *request.fields))

    return make


def _host(value: bytes) -> Callable[[Request], Request]:
    return lambda request: replace(
        request, fields=tuple(b"Host: " + value if f.startswith(b"Host") else f for f in request.fields)
    )


_HEADS: Final[dict[str, Callable[[Request], Request]]] = {
    "head-of-1-mb": _field(b"X-Filling: " + b"a" * 1_000_000),
    "head-of-10000-fields": _field(*(b"X-%d: a" % number for number in range(10_000))),
    "name-of-1-mb": _field(b"X" * 1_000_000 + b": a"),
    "target-of-100-kb": _line(b"POST {path}?" + b"a" * 100_000 + b" HTTP/1.1"),
    "nul": _field(b"X-Odd: a\x00b"),
    "carriage-return": _field(b"X-Odd: a\rX-Other: b"),
    "control": _field(b"X-Odd: a\x01b"),
    "no-colon": _field(b"X-Odd"),
    "no-name": _field(b": a"),
    "space-in-name": _field(b"X Odd: a"),
    "folded": _field(b"X-Odd: a", b" b"),
    "begins-with-space": lambda request: replace(request, fields=(b" X-Odd: a", *request.fields)),
    "two-content-types": _again(b"Content-Type", b"text/plain"),
    "two-soap-actions": _again(b"SOAPAction", b'"other"'),
    "two-hosts": _again(b"Host", b"other.invalid"),
    "no-host": _line(b"POST {path} HTTP/1.1", b"Host"),
    "host-of-two-words": _host(b"{host} other.invalid"),
    "host-with-markup": _host(b'{host}"><script>'),
    "host-with-user": _host(b"user@{host}"),
    "host-with-path": _host(b"{host}/soap"),
    "two-spaces": _line(b"POST  {path}  HTTP/1.1"),
    "version-9": _line(b"POST {path} HTTP/9.9"),
    "version-2": _line(b"POST {path} HTTP/2.0"),
    "version-none": _line(b"POST {path}"),
    "method-unknown": _line(b"FROBNICATE {path} HTTP/1.1"),
    "method-lower-case": _line(b"post {path} HTTP/1.1"),
    "connect": _line(b"CONNECT 127.0.0.1:22 HTTP/1.1"),
    "trace": _line(b"TRACE {path} HTTP/1.1"),
    "target-asterisk": _line(b"POST * HTTP/1.1"),
}

_ODD: Final[dict[str, tuple[Callable[[Request], Request], Expected]]] = {
    "length-said-twice": (_says("Content-Length: {n}|Content-Length: {n}"), EITHER),
    "expectation-unknown": (_field(b"Expect: 200-ok"), EITHER),
    "absolute-target": (_line(b"POST http://{host}{path} HTTP/1.1"), EITHER),
    "absolute-target-elsewhere": (_line(b"POST http://elsewhere.invalid{path} HTTP/1.1"), EITHER),
    "bare-lf": (_field(b"X-Odd: a\nX-Other: b"), EITHER),
    "trailers": (
        lambda r: r.framed(_TE, body=chunked(r.body, last=b"0\r\nContent-Length: 5\r\nHost: b\r\n\r\n")),
        EITHER,
    ),
    "octet-by-octet": (lambda r: r.framed(_TE, body=chunked(r.body, 1)), EITHER),
    "upgrade-h2c": (
        _field(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        LAWFUL,
    ),
    "in-chunks": (lambda r: r.framed(_TE, body=chunked(r.body)), LAWFUL),
}


def _te_behind(field: bytes) -> Callable[[Request, bytes], Request]:
    """Return a carrier whose length covers all; whoever sees a coding in `field` finds its end at once."""

    def carry(request: Request, hidden: bytes) -> Request:
        body = _END + hidden
        return request.framed(b"Content-Length: %d" % len(body), field, body=body)

    return carry


def _length_behind(request: Request, hidden: bytes) -> Request:
    """Return a request that is one chunk, and a line and the hidden request for whoever reads the length."""
    size = b"%x\r\n" % len(hidden)
    return request.framed(b"Content-Length: %d" % len(size), _TE, body=size + hidden + b"\r\n" + _END)


def _in_a_get(request: Request, hidden: bytes) -> Request:
    got = replace(request, line=b"GET {path} HTTP/1.1")
    return got.framed(b"Content-Length: %d" % len(hidden), body=hidden)


_CARRIERS: Final[dict[str, tuple[Callable[[Request, bytes], Request], Expected]]] = {
    "cl-te": (_te_behind(_TE), REFUSED),
    "te-cl": (_length_behind, REFUSED),
    "te-unknown": (_te_behind(b"Transfer-Encoding: xchunked"), REFUSED),
    "te-folded": (_te_behind(b"Transfer-Encoding:\r\n chunked"), REFUSED),
    "te-vertical-tab": (_te_behind(b"Transfer-Encoding:\x0bchunked"), REFUSED),
    "te-nul": (_te_behind(b"Transfer-Encoding: chunked\x00"), REFUSED),
    "te-space-before-colon": (_te_behind(b"Transfer-Encoding : chunked"), REFUSED),
    "te-not-last": (_te_behind(b"Transfer-Encoding: chunked, identity"), REFUSED),
    "te-after-lf": (_te_behind(b"X-Odd: a\n" + _TE), REFUSED),
    "te-after-cr": (_te_behind(b"X-Odd: a\r" + _TE), REFUSED),
    "te-underscore": (_te_behind(b"Transfer_Encoding: chunked"), REFUSED),
    "te-in-1.0": (
        lambda request, hidden: replace(_te_behind(_TE)(request, hidden), line=b"POST {path} HTTP/1.0"),
        REFUSED,
    ),
    "get-with-body": (_in_a_get, REFUSED),
}


def _inside_a_payload(bench: Bench) -> Generator[Exchange, Answer, None]:
    """Play an honest message one of whose payloads is an honest request."""

    def carry(_: Request, hidden: bytes) -> Request:
        return message(bench, bench.new_id(), Payload("hidden", "application/octet-stream", hidden))

    yield from smuggled(carry, LAWFUL)(bench)


def _slowly(script: Callable[[Request], tuple[tuple[bytes, float], ...]], number: int = _MANY) -> Play:
    """Return the play of a script on many connections, which must all be ended by the gateway."""

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        step = Raw("ebms2", script(honest(bench)), connections=number, wait=_PATIENCE)
        yield Exchange(step, REFUSED)

    return play


def _trickle(start: bytes, rest: bytes, pause: float) -> tuple[tuple[bytes, float], ...]:
    drops = (rest[at : at + 1] for at in range(int(_PATIENCE / pause)))
    return ((start, 0.0), *((drop, pause) for drop in drops))


def _head(request: Request) -> bytes:
    return replace(request, body=b"").octets()


def _endless(request: Request) -> tuple[tuple[bytes, float], ...]:
    head = _head(request.framed(_TE))
    return ((head, 0.0), *((b"1\r\na\r\n", 1.0),) * int(_PATIENCE))


_SLOW: Final[dict[str, tuple[str, Play]]] = {
    "slow-head": ("a head of one octet a second", _slowly(lambda r: _trickle(b"", _head(r), 1.0))),
    "slow-body": ("a body of one octet a second", _slowly(lambda r: _trickle(_head(r), r.body, 1.0))),
    "very-slow-body": ("a body of one octet in 10 s", _slowly(lambda r: _trickle(_head(r), r.body, 10.0))),
    "stalled-body": ("a body that stops half-way", _slowly(lambda r: ((_half(r).octets(), 0.0),))),
    "stalled-chunk": (
        "a chunk that never comes",
        _slowly(lambda r: ((r.framed(_TE, body=b"fffffffffffffff\r\n").octets(), 0.0),)),
    ),
    "endless-chunks": ("chunks that never end", _slowly(_endless)),
    "silence": ("connections on which nothing is said", _slowly(lambda _: ((b"", 0.0),))),
}


def _flood(request: Request) -> tuple[tuple[bytes, float], ...]:
    mebibyte = b"100000\r\n" + b"a" * 2**20 + b"\r\n"
    return ((_head(request.framed(_TE)), 0.0), *((mebibyte, 0.0),) * 300)


def _said(octets: bytes) -> Play:
    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        del bench
        yield Exchange(Raw("ebms2", ((octets, 0.0),)), REFUSED)

    return play


_STRANGE: Final = {
    "http-0.9": b"GET {path}\r\n",
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "tls-inside": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60) + b"\r\n\r\n",
    "only-line-ends": b"\r\n" * 50_000 + b"x\r\n\r\n",
}


def _crowded(number: int, octets: int) -> Play:
    """Return the play of an honest message on many connections at once, while another member has one, too.

    The crowd is taken, or told to come again; the other member is served.
    """

    def play(bench: Bench) -> Generator[Exchange, Answer, None]:
        filling = Payload("filling", "application/octet-stream", bytes(octets))
        crowd = message(bench, bench.new_id(), filling).octets()
        yield Exchange(Raw("ebms2", ((crowd, 0.0),), connections=number, wait=_PATIENCE), EITHER)
        yield Exchange(bench.message(bench.unit("b"), "b"), LAWFUL)

    return play


def _case(name: str, title: str, source: str, play: Play) -> Case:
    return Case(f"DOS-11.{name}", title, "ebms2", source, play)


CASES: Final = (
    *(_case(n, f"length: {n}", _FRAMING, once(_says(form))) for n, form in _LENGTHS.items()),
    _case("length-missing", "a body without a length", _FRAMING, once(lambda r: r.framed())),
    *(_case(n, f"transfer coding: {n}", _FRAMING, once(_in_chunks(form))) for n, form in _CODINGS.items()),
    *(_case(n, f"chunk size: {n}", _CHUNKS, once(make)) for n, make in _SIZES.items()),
    _case("chunks-cut", "chunks without the last one", _CHUNKS, once(_cut, half_close=True)),
    _case("body-cut", "a body shorter than it says", _FRAMING, once(_half, half_close=True)),
    *(_case(n, f"head: {n}", _HEAD, once(make)) for n, make in _HEADS.items()),
    *(_case(n, f"odd: {n}", _HEAD, once(make, expected)) for n, (make, expected) in _ODD.items()),
    *(
        _case(
            f"smuggled.{n}", f"a request in the body of another: {n}", _SMUGGLING, smuggled(carry, expected)
        )
        for n, (carry, expected) in _CARRIERS.items()
    ),
    _case("smuggled.in-a-payload", "a request in a payload", _SMUGGLING, _inside_a_payload),
    *(_case(n, f"not HTTP/1.1: {n}", "RFC 9112 §2.2", _said(octets)) for n, octets in _STRANGE.items()),
    _case("flood", "chunks of 300 MiB", _CHUNKS, _slowly(_flood, 1)),
    *(_case(n, title, "slowloris (2009)", play) for n, (title, play) in _SLOW.items()),
    Case("DOS-13.crowd", "one party on 200 connections at once", "ebms2", "quotas", _crowded(200, 1000)),
    Case("DOS-13.large-at-once", "20 messages of 4 MiB at once", "ebms2", "quotas", _crowded(20, 2**22)),
)

"""Hostile answers below any protocol: framing, heads, floods, trickles, codings, redirects."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.conformance.hostile.replies.server import TAKEN, Conversation, ReplyPlay, head_of
from gateway.conformance.http import Reply

__all__ = ["HTTP_REPLIES"]

_GONE: Final = {"soap": "GW601", "ebms2": "GW601"}
_STRANGE: Final = {"soap": "GW603", "ebms2": "GW603"}
_MOVED: Final = {"soap": "GW603", "ebms2": "GW601"}
_FRAMING: Final = "RFC 9112 §6.3; HTTP desync (Kettle 2019)"
_GUARDS: Final = "security.md APP-08"
_HTML: Final = "text/html; charset=utf-8"
_GIGABYTE: Final = 1 << 30
_Behaviour = Callable[[Conversation], None]


def _raw(octets: bytes, *, held: bool = True) -> _Behaviour:
    """Send octets in place of an answer, then keep the connection open unless told otherwise."""

    def behave(there: Conversation) -> None:
        there.send(octets)
        if held:
            there.hold()
        else:
            there.connection.close()

    return behave


def _framed(*lines: str, status: int = 200) -> _Behaviour:
    """Send the honest answer under other header fields than its length."""

    def behave(there: Conversation) -> None:
        honest = replace(there.honest(), status=status)
        there.send(head_of(honest, *lines) + honest.body)
        there.hold()

    return behave


def _flooded(head: bytes, octets: bytes) -> _Behaviour:
    def behave(there: Conversation) -> None:
        there.send(head)
        there.flood(octets)

    return behave


def _trickled(head: bytes, octets: bytes = b"x") -> _Behaviour:
    def behave(there: Conversation) -> None:
        there.send(head)
        there.trickle(octets)

    return behave


def _said(status: int, content_type: str, body: bytes, **headers: str) -> _Behaviour:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def behave(there: Conversation) -> None:
        told = {name: value.replace("{elsewhere}", there.elsewhere) for name, value in named.items()}
        there.answer(
            Reply(status, content_type, body.replace(b"{elsewhere}", there.elsewhere.encode()), told)
        )

    return behave


def _typed(content_type: str, **headers: str) -> _Behaviour:
    """Send the honest answer as something else."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda there: there.answer(replace(there.honest(), content_type=content_type, headers=named))


def _closes(there: Conversation) -> None:
    there.connection.close()


def _cut(there: Conversation) -> None:
    honest = there.honest()
    there.send(head_of(honest) + honest.body[:-1])
    there.connection.close()


def _cut_chunks(there: Conversation) -> None:
    honest = there.honest()
    size = f"{len(honest.body):x}\r\n".encode()
    there.send(head_of(honest, "Transfer-Encoding: chunked") + size + honest.body + b"\r\n")
    there.connection.close()


def _chunk_size(size: str) -> _Behaviour:
    """Send the honest answer in one chunk whose size is written like this."""

    def behave(there: Conversation) -> None:
        honest = there.honest()
        line = size.format(len(honest.body)).encode()
        there.send(head_of(honest, "Transfer-Encoding: chunked") + line + b"\r\n" + honest.body)
        there.send(b"\r\n0\r\n\r\n")
        there.connection.close()

    return behave


def _two_answers(there: Conversation) -> None:
    """Answer this request and, in the same breath, the next one."""
    honest = there.honest()
    there.send((head_of(honest) + honest.body) * 2)


def _answer_to_nothing(there: Conversation) -> None:
    """Answer, and some time later once more."""
    honest = there.honest()
    there.answer(honest)
    there.stop.wait(0.05)
    there.answer(honest)


def _bomb(there: Conversation) -> None:
    honest = there.honest()
    body = gzip.compress(honest.body + b" " * 50_000_000, 9)
    there.answer(Reply(200, honest.content_type, body, {"Content-Encoding": "gzip"}))


def _multipart(there: Conversation) -> None:
    """Wrap the honest answer as XOP does, with a part beside it."""
    honest = there.honest()
    kind = 'multipart/related; boundary=b; type="application/xop+xml"; start="<r>"; start-info="text/xml"'
    part = b"--b\r\nContent-Type: application/xop+xml; type=text/xml\r\nContent-ID: <r>\r\n\r\n" + honest.body
    more = b"\r\n--b\r\nContent-Type: text/plain\r\nContent-ID: <x>\r\n\r\nx\r\n--b--\r\n"
    there.answer(Reply(200, kind, part + more))


def _utf16(there: Conversation) -> None:
    honest = there.honest()
    text = honest.body.decode("utf-8", "replace").replace("UTF-8", "UTF-16")
    there.answer(Reply(200, "text/xml; charset=utf-16", text.encode("utf-16")))


_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\n"
_CHUNKED: Final = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_REFRESH: Final = b'<html><meta http-equiv="refresh" content="0; url={elsewhere}"><p>OK</html>'
_ZEROS: Final = b"0" * 65536

_TIME: Final = (
    ("closes", "the connection is closed without an answer", _closes),
    ("silent", "nothing is answered", _raw(b"")),
    ("trickling-head", "an octet of the head now and then", _trickled(b"HTTP/1.1 200 OK\r\nX: ")),
    (
        "trickling-body",
        "an octet of a long body now and then",
        _trickled(_OK + b"Content-Length: 99999\r\n\r\n"),
    ),
    (
        "trickling-to-the-end",
        "an octet now and then of a body that ends with the connection",
        _trickled(_OK + b"Connection: close\r\n\r\n"),
    ),
    ("trickling-chunks", "a chunk of one octet now and then", _trickled(_CHUNKED, b"1\r\nx\r\n")),
    ("trickling-interim", "an interim answer now and then", _trickled(b"", b"HTTP/1.1 100 Go on\r\n\r\n")),
    ("cut", "the connection ends one octet before the end", _cut),
    ("cut-chunks", "the connection ends before the last chunk", _cut_chunks),
)
_SIZE: Final = (
    ("gigabyte-announced", "a length of 1 GiB", _raw(_OK + b"Content-Length: %d\r\n\r\n0" % _GIGABYTE)),
    ("gigabyte-sent", "1 GiB without a length", _flooded(_OK + b"Connection: close\r\n\r\n", _ZEROS)),
    ("endless-chunks", "chunks without end", _flooded(_CHUNKED, b"10000\r\n" + _ZEROS + b"\r\n")),
    (
        "chunk-extensions",
        "chunks of one octet with long extensions",
        _flooded(_CHUNKED, b"1;" + b"x" * 240 + b"\r\n0\r\n"),
    ),
    ("chunk-line", "the line of a chunk without end", _flooded(_CHUNKED + b"1;", _ZEROS)),
    ("endless-trailers", "trailers without end", _flooded(_CHUNKED + b"0\r\n", b"X: y\r\n" * 1000)),
    ("header-of-1-MB", "a header field of 1 MB", _raw(_OK + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n")),
    ("10k-headers", "10,000 header fields", _raw(_OK + b"X: y\r\n" * 10_000 + b"\r\n")),
    ("interim-flood", "interim answers without end", _flooded(b"", b"HTTP/1.1 100 Go on\r\n\r\n" * 500)),
    ("early-hints-flood", "103 without end", _flooded(b"", b"HTTP/1.1 103 E\r\nLink: </x>\r\n\r\n" * 500)),
)
_FRAMES: Final = (
    ("negative-length", "a negative Content-Length", _framed("Content-Length: -1")),
    ("length-twice", "the same length twice", _framed("Content-Length: 5", "Content-Length: 5")),
    ("length-in-a-list", "the same length twice, in one field", _framed("Content-Length: 5, 5")),
    ("two-lengths", "two Content-Lengths", _framed("Content-Length: 2", "Content-Length: 99999")),
    ("length-of-digits-elsewhere", "a length in Arabic digits", _framed("Content-Length: \xb2\xb3")),
    ("length-and-chunks", "length and chunks", _framed("Content-Length: 5", "Transfer-Encoding: chunked")),
    ("gzip-transfer-coding", "a transfer coding", _framed("Transfer-Encoding: gzip, chunked")),
    ("identity-transfer-coding", "Transfer-Encoding: identity", _framed("Transfer-Encoding: identity")),
    ("folded-header", "a folded header field", _framed("X: a\r\n b", "Content-Length: 5")),
    ("space-before-colon", "a space before the colon", _framed("Content-Length : 5")),
    (
        "bare-line-feeds",
        "lines that end with LF alone",
        _raw(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok" + b"\r\n" * 3),
    ),
    ("header-with-nul", "NUL in a header field", _framed("X: a\0b", "Content-Length: 5")),
    ("negative-chunk", "a chunk of -1 octets, which some read as all", _chunk_size("-1")),
    ("signed-chunk", "a chunk size with a sign", _chunk_size("+{:x}")),
    ("prefixed-chunk", "a chunk size with 0x", _chunk_size("0x{:x}")),
    ("huge-chunk", "a chunk of 2 to the 64th octets", _chunk_size("10000000000000000")),
    ("upgrade", "status 101", _raw(b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")),
    ("http-0.9", "HTTP/0.9: a body at once", _raw(b"<html>OK</html>\r\n", held=False)),
    ("http-2", "an HTTP/2 frame", _raw(b"\0\0\0\x04\0\0\0\0\0" + b"\r\n" * 2, held=False)),
    ("status-of-letters", "a status that is no number", _raw(b"HTTP/1.1 2OO OK\r\n\r\n", held=False)),
    ("status-999", "status 999", _raw(b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n", held=False)),
    ("escape-codes", "terminal codes in the status line", _raw(b"\x1b[2J\x9b31m\r\n\r\n", held=False)),
)
_TYPES: Final = (
    ("html-200", "status 200 with a page", _said(200, _HTML, b"<html><script>alert(1)</script>OK</html>")),
    ("html-as-xml", "a page that says it is XML", _said(200, "text/xml", b"<html><p>OK</p></html>")),
    (
        "meta-refresh",
        "a page that leads elsewhere",
        _said(200, _HTML, _REFRESH, Refresh="0; url={elsewhere}"),
    ),
    ("no-type", "the honest answer without a media type", _typed("")),
    ("two-types", "two media types", _typed("text/html, text/xml")),
    ("gzip", "a content coding on plain octets", _typed("text/xml; charset=utf-8", Content_Encoding="gzip")),
    ("gzip-bomb", "50 MB in 50 KB of gzip", _bomb),
    ("multipart", "the honest answer inside multipart/related", _multipart),
    ("utf-16", "the honest answer in UTF-16", _utf16),
)
_CHARSETS: Final = (
    ("charset-utf-7", "a charset that hides markup", _typed("text/xml; charset=utf-7")),
    ("charset-bogus", "a charset that nobody knows", _typed("text/xml; charset=bogus")),
)


def _group(
    rows: tuple[tuple[str, str, _Behaviour], ...], outcome: dict[str, str], source: str
) -> list[ReplyPlay]:
    return [ReplyPlay(f"APP-08.{name}", title, source, outcome, play) for name, title, play in rows]


def _redirects() -> list[ReplyPlay]:
    return [
        ReplyPlay(
            f"APP-08.redirect-{status}",
            f"status {status} that leads inside",
            "security.md APP-08; CWE-918",
            _MOVED,
            _said(status, "text/plain", b"", Location="{elsewhere}"),
        )
        for status in (300, 301, 302, 303, 307, 308)
    ]


HTTP_REPLIES: Final[tuple[ReplyPlay, ...]] = (
    *_group(_TIME, _GONE, "security.md APP-08, DOS-11"),
    *_group(_SIZE, _STRANGE, "security.md APP-08, DOS-11"),
    *_group(_FRAMES, _STRANGE, _FRAMING),
    *_group(_TYPES, _STRANGE, _GUARDS),
    # ebMS says nothing of charsets that its MIME headers do not; the XML declaration decides there.
    *_group(_CHARSETS, {"soap": "GW603"}, _GUARDS),
    *_redirects(),
    ReplyPlay(
        "APP-08.who-are-you",
        "status 401 that asks for a password",
        _GUARDS,
        {"soap": "GW601", "ebms2": "GW602"},
        _said(401, "text/plain", b"", WWW_Authenticate='Basic realm="x"'),
    ),
    ReplyPlay(
        "APP-08.two-answers",
        "an answer with another one behind it",
        "HTTP desync (Kettle 2019): the client must not take the second for the next answer",
        {"soap": TAKEN, "ebms2": TAKEN},
        _two_answers,
    ),
    ReplyPlay(
        "APP-08.answer-to-nothing",
        "an answer that comes when nothing was asked",
        "HTTP desync (Kettle 2019): the client must not take it for the next answer",
        {"soap": TAKEN, "ebms2": TAKEN},
        _answer_to_nothing,
    ),
)

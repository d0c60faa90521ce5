"""Hostile answers below any protocol: framing, heads, floods, trickles, codings, redirects."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.conformance.hostile.reply_attacks.reply_server import (
    TAKEN,
    ReplyConnection,
    ReplyScenario,
    write_reply_head,
)
from gateway.conformance.partners import HttpReply

__all__ = ["HTTP_REPLIES"]

_GONE: Final = {"soap": "GW601", "ebms2": "GW601"}
_STRANGE: Final = {"soap": "GW603", "ebms2": "GW603"}
_MOVED: Final = {"soap": "GW603", "ebms2": "GW601"}
_FRAMING: Final = "RFC 9112 §6.3; HTTP desync (Kettle 2019)"
_GUARDS: Final = "security.md APP-08"
_HTML: Final = "text/html; charset=utf-8"
_GIGABYTE: Final = 1 << 30
_ReplyBehavior = Callable[[ReplyConnection], None]


def _send_raw_octets(octets: bytes, *, held: bool = True) -> _ReplyBehavior:
    """Send octets in place of an answer, then keep the connection open unless told otherwise."""

    def run_scenario(there: ReplyConnection) -> None:
        there.send_octets(octets)
        if held:
            there.hold_open()
        else:
            there.connection.close()

    return run_scenario


def _send_with_framing(*lines: str, status: int = 200) -> _ReplyBehavior:
    """Send the honest answer under other header fields than its length."""

    def run_scenario(there: ReplyConnection) -> None:
        honest = replace(there.make_honest_reply(), status=status)
        there.send_octets(write_reply_head(honest, *lines) + honest.body)
        there.hold_open()

    return run_scenario


def _flood_after_head(head: bytes, octets: bytes) -> _ReplyBehavior:
    def run_scenario(there: ReplyConnection) -> None:
        there.send_octets(head)
        there.flood_octets(octets)

    return run_scenario


def _trickle_after_head(head: bytes, octets: bytes = b"x") -> _ReplyBehavior:
    def run_scenario(there: ReplyConnection) -> None:
        there.send_octets(head)
        there.trickle_octets(octets)

    return run_scenario


def _send_fixed_reply(status: int, content_type: str, body: bytes, **headers: str) -> _ReplyBehavior:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def run_scenario(there: ReplyConnection) -> None:
        told = {name: value.replace("{elsewhere}", there.elsewhere) for name, value in named.items()}
        there.send_reply(
            HttpReply(status, content_type, body.replace(b"{elsewhere}", there.elsewhere.encode()), told)
        )

    return run_scenario


def _send_as_content_type(content_type: str, **headers: str) -> _ReplyBehavior:
    """Send the honest answer as something else."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda there: there.send_reply(
        replace(there.make_honest_reply(), content_type=content_type, headers=named)
    )


def _close_connection(there: ReplyConnection) -> None:
    there.connection.close()


def _cut_last_octet(there: ReplyConnection) -> None:
    honest = there.make_honest_reply()
    there.send_octets(write_reply_head(honest) + honest.body[:-1])
    there.connection.close()


def _omit_last_chunk(there: ReplyConnection) -> None:
    honest = there.make_honest_reply()
    size = f"{len(honest.body):x}\r\n".encode()
    there.send_octets(write_reply_head(honest, "Transfer-Encoding: chunked") + size + honest.body + b"\r\n")
    there.connection.close()


def _write_chunk_size(size: str) -> _ReplyBehavior:
    """Send the honest answer in one chunk whose size is written like this."""

    def run_scenario(there: ReplyConnection) -> None:
        honest = there.make_honest_reply()
        line = size.format(len(honest.body)).encode()
        there.send_octets(
            write_reply_head(honest, "Transfer-Encoding: chunked") + line + b"\r\n" + honest.body
        )
        there.send_octets(b"\r\n0\r\n\r\n")
        there.connection.close()

    return run_scenario


def _send_two_replies(there: ReplyConnection) -> None:
    """Answer this request and, in the same breath, the next one."""
    honest = there.make_honest_reply()
    there.send_octets((write_reply_head(honest) + honest.body) * 2)


def _send_unasked_reply(there: ReplyConnection) -> None:
    """Answer, and some time later once more."""
    honest = there.make_honest_reply()
    there.send_reply(honest)
    there.stop.wait(0.05)
    there.send_reply(honest)


def _send_gzip_bomb(there: ReplyConnection) -> None:
    honest = there.make_honest_reply()
    body = gzip.compress(honest.body + b" " * 50_000_000, 9)
    there.send_reply(HttpReply(200, honest.content_type, body, {"Content-Encoding": "gzip"}))


def _send_multipart_reply(there: ReplyConnection) -> None:
    """Wrap the honest answer as XOP does, with a part beside it."""
    honest = there.make_honest_reply()
    kind = 'multipart/related; boundary=b; type="application/xop+xml"; start="<r>"; start-info="text/xml"'
    part = b"--b\r\nContent-Type: application/xop+xml; type=text/xml\r\nContent-ID: <r>\r\n\r\n" + honest.body
    more = b"\r\n--b\r\nContent-Type: text/plain\r\nContent-ID: <x>\r\n\r\nx\r\n--b--\r\n"
    there.send_reply(HttpReply(200, kind, part + more))


def _send_utf16_reply(there: ReplyConnection) -> None:
    honest = there.make_honest_reply()
    text = honest.body.decode("utf-8", "replace").replace("UTF-8", "UTF-16")
    there.send_reply(HttpReply(200, "text/xml; charset=utf-16", text.encode("utf-16")))


_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\n"
_CHUNKED: Final = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_REFRESH: Final = b'<html><meta http-equiv="refresh" content="0; url={elsewhere}"><p>OK</html>'
_ZEROS: Final = b"0" * 65536

_TIME: Final = (
    ("closes", "the connection is closed without an answer", _close_connection),
    ("silent", "nothing is answered", _send_raw_octets(b"")),
    ("trickling-head", "an octet of the head now and then", _trickle_after_head(b"HTTP/1.1 200 OK\r\nX: ")),
    (
        "trickling-body",
        "an octet of a long body now and then",
        _trickle_after_head(_OK + b"Content-Length: 99999\r\n\r\n"),
    ),
    (
        "trickling-to-the-end",
        "an octet now and then of a body that ends with the connection",
        _trickle_after_head(_OK + b"Connection: close\r\n\r\n"),
    ),
    ("trickling-chunks", "a chunk of one octet now and then", _trickle_after_head(_CHUNKED, b"1\r\nx\r\n")),
    (
        "trickling-interim",
        "an interim answer now and then",
        _trickle_after_head(b"", b"HTTP/1.1 100 Go on\r\n\r\n"),
    ),
    ("cut", "the connection ends one octet before the end", _cut_last_octet),
    ("cut-chunks", "the connection ends before the last chunk", _omit_last_chunk),
)
_SIZE: Final = (
    (
        "gigabyte-announced",
        "a length of 1 GiB",
        _send_raw_octets(_OK + b"Content-Length: %d\r\n\r\n0" % _GIGABYTE),
    ),
    (
        "gigabyte-sent",
        "1 GiB without a length",
        _flood_after_head(_OK + b"Connection: close\r\n\r\n", _ZEROS),
    ),
    ("endless-chunks", "chunks without end", _flood_after_head(_CHUNKED, b"10000\r\n" + _ZEROS + b"\r\n")),
    (
        "chunk-extensions",
        "chunks of one octet with long extensions",
        _flood_after_head(_CHUNKED, b"1;" + b"x" * 240 + b"\r\n0\r\n"),
    ),
    ("chunk-line", "the line of a chunk without end", _flood_after_head(_CHUNKED + b"1;", _ZEROS)),
    ("endless-trailers", "trailers without end", _flood_after_head(_CHUNKED + b"0\r\n", b"X: y\r\n" * 1000)),
    (
        "header-of-1-MB",
        "a header field of 1 MB",
        _send_raw_octets(_OK + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n"),
    ),
    ("10k-headers", "10,000 header fields", _send_raw_octets(_OK + b"X: y\r\n" * 10_000 + b"\r\n")),
    (
        "interim-flood",
        "interim answers without end",
        _flood_after_head(b"", b"HTTP/1.1 100 Go on\r\n\r\n" * 500),
    ),
    (
        "early-hints-flood",
        "103 without end",
        _flood_after_head(b"", b"HTTP/1.1 103 E\r\nLink: </x>\r\n\r\n" * 500),
    ),
)
_FRAMES: Final = (
    ("negative-length", "a negative Content-Length", _send_with_framing("Content-Length: -1")),
    ("length-twice", "the same length twice", _send_with_framing("Content-Length: 5", "Content-Length: 5")),
    ("length-in-a-list", "the same length twice, in one field", _send_with_framing("Content-Length: 5, 5")),
    ("two-lengths", "two Content-Lengths", _send_with_framing("Content-Length: 2", "Content-Length: 99999")),
    (
        "length-of-digits-elsewhere",
        "a length in Arabic digits",
        _send_with_framing("Content-Length: \xb2\xb3"),
    ),
    (
        "length-and-chunks",
        "length and chunks",
        _send_with_framing("Content-Length: 5", "Transfer-Encoding: chunked"),
    ),
    ("gzip-transfer-coding", "a transfer coding", _send_with_framing("Transfer-Encoding: gzip, chunked")),
    (
        "identity-transfer-coding",
        "Transfer-Encoding: identity",
        _send_with_framing("Transfer-Encoding: identity"),
    ),
    ("folded-header", "a folded header field", _send_with_framing("X: a\r\n b", "Content-Length: 5")),
    ("space-before-colon", "a space before the colon", _send_with_framing("Content-Length : 5")),
    (
        "bare-line-feeds",
        "lines that end with LF alone",
        _send_raw_octets(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok" + b"\r\n" * 3),
    ),
    ("header-with-nul", "NUL in a header field", _send_with_framing("X: a\0b", "Content-Length: 5")),
    ("negative-chunk", "a chunk of -1 octets, which some read as all", _write_chunk_size("-1")),
    ("signed-chunk", "a chunk size with a sign", _write_chunk_size("+{:x}")),
    ("prefixed-chunk", "a chunk size with 0x", _write_chunk_size("0x{:x}")),
    ("huge-chunk", "a chunk of 2 to the 64th octets", _write_chunk_size("10000000000000000")),
    (
        "upgrade",
        "status 101",
        _send_raw_octets(b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
    ),
    ("http-0.9", "HTTP/0.9: a body at once", _send_raw_octets(b"<html>OK</html>\r\n", held=False)),
    ("http-2", "an HTTP/2 frame", _send_raw_octets(b"\0\0\0\x04\0\0\0\0\0" + b"\r\n" * 2, held=False)),
    (
        "status-of-letters",
        "a status that is no number",
        _send_raw_octets(b"HTTP/1.1 2OO OK\r\n\r\n", held=False),
    ),
    (
        "status-999",
        "status 999",
        _send_raw_octets(b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n", held=False),
    ),
    (
        "escape-codes",
        "terminal codes in the status line",
        _send_raw_octets(b"\x1b[2J\x9b31m\r\n\r\n", held=False),
    ),
)
_TYPES: Final = (
    (
        "html-200",
        "status 200 with a page",
        _send_fixed_reply(200, _HTML, b"<html><script>alert(1)</script>OK</html>"),
    ),
    (
        "html-as-xml",
        "a page that says it is XML",
        _send_fixed_reply(200, "text/xml", b"<html><p>OK</p></html>"),
    ),
    (
        "meta-refresh",
        "a page that leads elsewhere",
        _send_fixed_reply(200, _HTML, _REFRESH, Refresh="0; url={elsewhere}"),
    ),
    ("no-type", "the honest answer without a media type", _send_as_content_type("")),
    ("two-types", "two media types", _send_as_content_type("text/html, text/xml")),
    (
        "gzip",
        "a content coding on plain octets",
        _send_as_content_type("text/xml; charset=utf-8", Content_Encoding="gzip"),
    ),
    ("gzip-bomb", "50 MB in 50 KB of gzip", _send_gzip_bomb),
    ("multipart", "the honest answer inside multipart/related", _send_multipart_reply),
    ("utf-16", "the honest answer in UTF-16", _send_utf16_reply),
)
_CHARSETS: Final = (
    ("charset-utf-7", "a charset that hides markup", _send_as_content_type("text/xml; charset=utf-7")),
    ("charset-bogus", "a charset that nobody knows", _send_as_content_type("text/xml; charset=bogus")),
)


def _make_reply_scenarios(
    rows: tuple[tuple[str, str, _ReplyBehavior], ...], outcome: dict[str, str], source: str
) -> list[ReplyScenario]:
    return [ReplyScenario(f"APP-08.{name}", title, source, outcome, play) for name, title, play in rows]


def _make_redirect_scenarios() -> list[ReplyScenario]:
    return [
        ReplyScenario(
            f"APP-08.redirect-{status}",
            f"status {status} that leads inside",
            "security.md APP-08; CWE-918",
            _MOVED,
            _send_fixed_reply(status, "text/plain", b"", Location="{elsewhere}"),
        )
        for status in (300, 301, 302, 303, 307, 308)
    ]


HTTP_REPLIES: Final[tuple[ReplyScenario, ...]] = (
    *_make_reply_scenarios(_TIME, _GONE, "security.md APP-08, DOS-11"),
    *_make_reply_scenarios(_SIZE, _STRANGE, "security.md APP-08, DOS-11"),
    *_make_reply_scenarios(_FRAMES, _STRANGE, _FRAMING),
    *_make_reply_scenarios(_TYPES, _STRANGE, _GUARDS),
    # ebMS says nothing of charsets that its MIME headers do not; the XML declaration decides there.
    *_make_reply_scenarios(_CHARSETS, {"soap": "GW603"}, _GUARDS),
    *_make_redirect_scenarios(),
    ReplyScenario(
        "APP-08.who-are-you",
        "status 401 that asks for a password",
        _GUARDS,
        {"soap": "GW601", "ebms2": "GW602"},
        _send_fixed_reply(401, "text/plain", b"", WWW_Authenticate='Basic realm="x"'),
    ),
    ReplyScenario(
        "APP-08.two-answers",
        "an answer with another one behind it",
        "HTTP desync (Kettle 2019): the client must not take the second for the next answer",
        {"soap": TAKEN, "ebms2": TAKEN},
        _send_two_replies,
    ),
    ReplyScenario(
        "APP-08.answer-to-nothing",
        "an answer that comes when nothing was asked",
        "HTTP desync (Kettle 2019): the client must not take it for the next answer",
        {"soap": TAKEN, "ebms2": TAKEN},
        _send_unasked_reply,
    ),
)

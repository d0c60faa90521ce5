"""Hostile answers below any protocol: framing, heads, floods, slow data, codings, redirects, hostile XML.

XML answers are the honest answer of a face with an attack inside, which harms a client that parses
XML without a check. ``{elsewhere}`` is replaced by a URL that no client may fetch.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.client import HttpReply
from gateway_conformance.hostile.content_mutations import (
    OctetMutation,
    add_root_attributes,
    insert_before,
    nest_elements,
    prepend_prolog,
    repeat_piece,
)
from gateway_conformance.hostile.reply_attacks.reply_server import (
    ACCEPTED_ANSWER,
    ReplyBehavior,
    ReplyConnection,
    ReplyRow,
    ReplyScenario,
    make_reply_scenarios,
    send_changed_octets,
    use_behavior,
    write_reply_head,
)

_GONE: Final = {"soap": "GW601", "ebms2": "GW601"}
_STRANGE: Final = {"soap": "GW603", "ebms2": "GW603"}
_BOTH_TAKEN: Final = {"soap": ACCEPTED_ANSWER, "ebms2": ACCEPTED_ANSWER}
_FRAMING: Final = "RFC 9112 §6.3; HTTP desync (Kettle 2019)"
_DESYNC: Final = "HTTP desync (Kettle 2019): the client must not take"
_GUARDS: Final = "security.md APP-08"
_BOUNDS: Final = "security.md APP-08, DOS-11"
_HTML: Final = "text/html; charset=utf-8"
_GIGABYTE: Final = 1 << 30
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\n"
_CHUNKED: Final = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_REFRESH: Final = b'<html><meta http-equiv="refresh" content="0; url={elsewhere}"><p>OK</html>'
_ZEROS: Final = b"0" * 65536


def _send_and_hold(octets: bytes) -> ReplyBehavior:
    """Return the behaviour that sends octets in place of an answer and keeps the connection open."""

    def run_scenario(reply_connection: ReplyConnection) -> None:
        reply_connection.send_octets(octets)
        reply_connection.hold_open()

    return run_scenario


def _send_and_close(octets: bytes) -> ReplyBehavior:
    def run_scenario(reply_connection: ReplyConnection) -> None:
        reply_connection.send_octets(octets)
        reply_connection.connection.close()

    return run_scenario


def _send_with_framing(lines: tuple[str, ...]) -> ReplyBehavior:
    """Return the behaviour that sends the honest answer with `lines` in place of its Content-Length."""

    def run_scenario(reply_connection: ReplyConnection) -> None:
        honest = reply_connection.make_honest_reply()
        reply_connection.send_octets(write_reply_head(honest, *lines) + honest.body)
        reply_connection.hold_open()

    return run_scenario


def _flood_after_head(head: bytes, piece: bytes) -> ReplyBehavior:
    """Return the behaviour that sends the head of an answer and then `piece` again and again."""

    def run_scenario(reply_connection: ReplyConnection) -> None:
        reply_connection.send_octets(head)
        reply_connection.flood_octets(piece)

    return run_scenario


def _trickle_after_head(head: bytes, piece: bytes) -> ReplyBehavior:
    """Return the behaviour that sends the head of an answer and then `piece` again and again, with pauses."""

    def run_scenario(reply_connection: ReplyConnection) -> None:
        reply_connection.send_octets(head)
        reply_connection.trickle_octets(piece)

    return run_scenario


def _send_fixed_reply(reply: HttpReply) -> ReplyBehavior:
    def run_scenario(reply_connection: ReplyConnection) -> None:
        headers = {
            name: value.replace("{elsewhere}", reply_connection.elsewhere)
            for name, value in reply.headers.items()
        }
        body = reply.body.replace(b"{elsewhere}", reply_connection.elsewhere.encode())
        reply_connection.send_reply(replace(reply, body=body, headers=headers))

    return run_scenario


def _send_changed_reply(change_reply: Callable[[HttpReply], HttpReply]) -> ReplyBehavior:
    """Return the behaviour that sends the honest answer, changed by `change_reply`, in valid HTTP."""
    return lambda reply_connection: reply_connection.send_reply(
        change_reply(reply_connection.make_honest_reply())
    )


def _write_and_close(write: Callable[[HttpReply], bytes]) -> ReplyBehavior:
    """Return the behaviour that sends the octets that `write` makes from the honest answer, and closes."""
    return lambda reply_connection: _send_and_close(write(reply_connection.make_honest_reply()))(
        reply_connection
    )


def _change_media_type(content_type: str, **headers: str) -> Callable[[HttpReply], HttpReply]:
    return lambda honest: replace(honest, content_type=content_type, headers=headers)


def _write_single_chunk(size_template: str, end: bytes = b"\r\n0\r\n\r\n") -> Callable[[HttpReply], bytes]:
    """Return the writer of the honest answer in one chunk; `size_template` is the format of its size."""

    def write_octets(honest: HttpReply) -> bytes:
        head = write_reply_head(honest, "Transfer-Encoding: chunked")
        return head + size_template.format(len(honest.body)).encode() + b"\r\n" + honest.body + end

    return write_octets


def _send_single_chunk(size: str) -> ReplyBehavior:
    return _write_and_close(_write_single_chunk(size))


def _cut_last_octet(honest: HttpReply) -> bytes:
    return write_reply_head(honest) + honest.body[:-1]


def _close_connection(reply_connection: ReplyConnection) -> None:
    reply_connection.connection.close()


def _send_two_replies(reply_connection: ReplyConnection) -> None:
    """Answer this request and send a second answer at once."""
    honest = reply_connection.make_honest_reply()
    reply_connection.send_octets((write_reply_head(honest) + honest.body) * 2)


def _send_unasked_reply(reply_connection: ReplyConnection) -> None:
    """Answer, and send a second answer later."""
    honest = reply_connection.make_honest_reply()
    reply_connection.send_reply(honest)
    reply_connection.stop.wait(0.05)
    reply_connection.send_reply(honest)


def _compress_bomb(honest: HttpReply) -> HttpReply:
    body = gzip.compress(honest.body + b" " * 50_000_000, 9)
    return replace(honest, body=body, headers={"Content-Encoding": "gzip"})


def _package_reply(honest: HttpReply) -> HttpReply:
    """Wrap the honest answer as XOP does, with a part beside it."""
    content_type = (
        'multipart/related; boundary=b; type="application/xop+xml"; start="<r>"; start-info="text/xml"'
    )
    part = b"--b\r\nContent-Type: application/xop+xml; type=text/xml\r\nContent-ID: <r>\r\n\r\n" + honest.body
    second_part = b"\r\n--b\r\nContent-Type: text/plain\r\nContent-ID: <x>\r\n\r\nx\r\n--b--\r\n"
    return HttpReply(200, content_type, part + second_part)


def _recode_reply(honest: HttpReply) -> HttpReply:
    text = honest.body.decode("utf-8", "replace").replace("UTF-8", "UTF-16")
    return HttpReply(200, "text/xml; charset=utf-16", text.encode("utf-16"))


# fmt: off
_ENDS: Final[tuple[ReplyRow[ReplyBehavior], ...]] = (
    ("closes", "the connection is closed without an answer", _close_connection),
    ("silent", "nothing is answered", _send_and_hold(b"")),
    ("cut", "the connection ends one octet before the end", _write_and_close(_cut_last_octet)),
    ("cut-chunks", "the connection ends before the last chunk",
     _write_and_close(_write_single_chunk("{:x}", b"\r\n"))),
)

#: Answers whose rest comes at intervals.
_TRICKLES: Final[tuple[ReplyRow[ReplyBehavior], ...]] = (
    ("trickling-head", "an octet of the head now and then",
     _trickle_after_head(b"HTTP/1.1 200 OK\r\nX: ", b"x")),
    ("trickling-body", "an octet of a long body now and then",
     _trickle_after_head(_OK + b"Content-Length: 99999\r\n\r\n", b"x")),
    ("trickling-to-the-end", "an octet now and then of a body that ends with the connection",
     _trickle_after_head(_OK + b"Connection: close\r\n\r\n", b"x")),
    ("trickling-chunks", "a chunk of one octet now and then", _trickle_after_head(_CHUNKED, b"1\r\nx\r\n")),
    ("trickling-interim", "an interim answer now and then",
     _trickle_after_head(b"", b"HTTP/1.1 100 Go on\r\n\r\n")),
)

#: Answers whose rest comes without end.
_FLOODS: Final[tuple[ReplyRow[ReplyBehavior], ...]] = (
    ("gigabyte-sent", "1 GiB without a length",
     _flood_after_head(_OK + b"Connection: close\r\n\r\n", _ZEROS)),
    ("endless-chunks", "chunks without end", _flood_after_head(_CHUNKED, b"10000\r\n" + _ZEROS + b"\r\n")),
    ("chunk-extensions", "chunks of one octet with long extensions",
     _flood_after_head(_CHUNKED, b"1;" + b"x" * 240 + b"\r\n0\r\n")),
    ("chunk-line", "the line of a chunk without end", _flood_after_head(_CHUNKED + b"1;", _ZEROS)),
    ("endless-trailers", "trailers without end", _flood_after_head(_CHUNKED + b"0\r\n", b"X: y\r\n" * 1000)),
    ("interim-flood", "interim answers without end",
     _flood_after_head(b"", b"HTTP/1.1 100 Go on\r\n\r\n" * 500)),
    ("early-hints-flood", "103 without end",
     _flood_after_head(b"", b"HTTP/1.1 103 E\r\nLink: </x>\r\n\r\n" * 500)),
)

_SIZES: Final[tuple[ReplyRow[bytes], ...]] = (
    ("gigabyte-announced", "a length of 1 GiB", _OK + b"Content-Length: %d\r\n\r\n0" % _GIGABYTE),
    ("header-of-1-MB", "a header field of 1 MB", _OK + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n"),
    ("10k-headers", "10,000 header fields", _OK + b"X: y\r\n" * 10_000 + b"\r\n"),
)

#: Header fields in place of the length.
_FRAMES: Final[tuple[ReplyRow[tuple[str, ...]], ...]] = (
    ("negative-length", "a negative Content-Length", ("Content-Length: -1",)),
    ("length-twice", "the same length twice", ("Content-Length: 5", "Content-Length: 5")),
    ("length-in-a-list", "the same length twice, in one field", ("Content-Length: 5, 5",)),
    ("two-lengths", "two Content-Lengths", ("Content-Length: 2", "Content-Length: 99999")),
    ("length-of-digits-elsewhere", "a length in Arabic digits", ("Content-Length: \xb2\xb3",)),
    ("length-and-chunks", "length and chunks", ("Content-Length: 5", "Transfer-Encoding: chunked")),
    ("gzip-transfer-coding", "a transfer coding", ("Transfer-Encoding: gzip, chunked",)),
    ("identity-transfer-coding", "Transfer-Encoding: identity", ("Transfer-Encoding: identity",)),
    ("folded-header", "a folded header field", ("X: a\r\n b", "Content-Length: 5")),
    ("space-before-colon", "a space before the colon", ("Content-Length : 5",)),
    ("header-with-nul", "NUL in a header field", ("X: a\0b", "Content-Length: 5")),
)

#: Forms of the size of the only chunk.
_CHUNK_SIZES: Final[tuple[ReplyRow[str], ...]] = (
    ("negative-chunk", "a chunk of -1 octets, which some read as all", "-1"),
    ("signed-chunk", "a chunk size with a sign", "+{:x}"),
    ("prefixed-chunk", "a chunk size with 0x", "0x{:x}"),
    ("huge-chunk", "a chunk of 2 to the 64th octets", "10000000000000000"),
)

#: Octets that are no answer, before the connection is held open, or closed.
_HELD: Final[tuple[ReplyRow[bytes], ...]] = (
    ("bare-line-feeds", "lines that end with LF alone",
     b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok" + b"\r\n" * 3),
    ("upgrade", "status 101", b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
)

_CLOSED: Final[tuple[ReplyRow[bytes], ...]] = (
    ("http-0.9", "HTTP/0.9: a body at once", b"<html>OK</html>\r\n"),
    ("http-2", "an HTTP/2 frame", b"\0\0\0\x04\0\0\0\0\0" + b"\r\n" * 2),
    ("status-of-letters", "a status that is no number", b"HTTP/1.1 2OO OK\r\n\r\n"),
    ("status-999", "status 999", b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n"),
    ("escape-codes", "terminal codes in the status line", b"\x1b[2J\x9b31m\r\n\r\n"),
)

#: Answers that are not the honest one.
_PAGES: Final[tuple[ReplyRow[HttpReply], ...]] = (
    ("html-200", "status 200 with a page",
     HttpReply(200, _HTML, b"<html><script>alert(1)</script>OK</html>")),
    ("html-as-xml", "a page that says it is XML", HttpReply(200, "text/xml", b"<html><p>OK</p></html>")),
    ("meta-refresh", "a page that leads elsewhere",
     HttpReply(200, _HTML, _REFRESH, {"Refresh": "0; url={elsewhere}"})),
)

_REDIRECTS: Final = tuple(
    (f"redirect-{status}", f"status {status} that leads inside",
     HttpReply(status, "text/plain", b"", {"Location": "{elsewhere}"}))
    for status in (300, 301, 302, 303, 307, 308)
)

#: The honest answer under another media type, in another coding, or wrapped.
_TYPES: Final[tuple[ReplyRow[Callable[[HttpReply], HttpReply]], ...]] = (
    ("no-type", "the honest answer without a media type", _change_media_type("")),
    ("two-types", "two media types", _change_media_type("text/html, text/xml")),
    ("gzip", "a content coding on plain octets",
     _change_media_type("text/xml; charset=utf-8", **{"Content-Encoding": "gzip"})),
    ("gzip-bomb", "50 MB in 50 KB of gzip", _compress_bomb),
    ("multipart", "the honest answer inside multipart/related", _package_reply),
    ("utf-16", "the honest answer in UTF-16", _recode_reply),
)

_CHARSETS: Final[tuple[ReplyRow[Callable[[HttpReply], HttpReply]], ...]] = (
    ("charset-utf-7", "a charset that hides markup", _change_media_type("text/xml; charset=utf-7")),
    ("charset-bogus", "a charset that nobody knows", _change_media_type("text/xml; charset=bogus")),
)

_HTTP_REPLIES: Final[tuple[ReplyScenario, ...]] = (
    *make_reply_scenarios("APP-08.", _ENDS, use_behavior, _GONE, _BOUNDS),
    *make_reply_scenarios("APP-08.", _TRICKLES, use_behavior, _GONE, _BOUNDS),
    *make_reply_scenarios("APP-08.", _FLOODS, use_behavior, _STRANGE, _BOUNDS),
    *make_reply_scenarios("APP-08.", _SIZES, _send_and_hold, _STRANGE, _BOUNDS),
    *make_reply_scenarios("APP-08.", _FRAMES, _send_with_framing, _STRANGE, _FRAMING),
    *make_reply_scenarios("APP-08.", _CHUNK_SIZES, _send_single_chunk, _STRANGE, _FRAMING),
    *make_reply_scenarios("APP-08.", _HELD, _send_and_hold, _STRANGE, _FRAMING),
    *make_reply_scenarios("APP-08.", _CLOSED, _send_and_close, _STRANGE, _FRAMING),
    *make_reply_scenarios("APP-08.", _PAGES, _send_fixed_reply, _STRANGE, _GUARDS),
    *make_reply_scenarios("APP-08.", _TYPES, _send_changed_reply, _STRANGE, _GUARDS),
    # ebMS has no rule for charsets beyond its MIME headers; the XML declaration decides.
    *make_reply_scenarios("APP-08.", _CHARSETS, _send_changed_reply, {"soap": "GW603"}, _GUARDS),
    *make_reply_scenarios("APP-08.", _REDIRECTS, _send_fixed_reply, _STRANGE, "security.md APP-08; CWE-918"),
    ReplyScenario("APP-08.who-are-you", "status 401 that asks for a password", _GUARDS,
     {"soap": "GW608", "ebms2": "GW608"},
     _send_fixed_reply(HttpReply(401, "text/plain", b"", {"WWW-Authenticate": 'Basic realm="x"'}))),
    ReplyScenario("APP-08.two-answers", "an answer with another one behind it",
     f"{_DESYNC} the second for the next answer", _BOTH_TAKEN, _send_two_replies),
    ReplyScenario("APP-08.answer-to-nothing", "an answer that comes when nothing was asked",
     f"{_DESYNC} it for the next answer", _BOTH_TAKEN, _send_unasked_reply),
)
# fmt: on


def _prepend_doctype(declarations: str, entity_reference: str = "") -> OctetMutation:
    """Return the change that declares an entity and uses it in the Body."""

    def mutate_octets(honest: bytes) -> bytes:
        body = _remove_xml_declaration(honest)
        if entity_reference:
            body = body.replace(b"</soap:Body>", f"<x>{entity_reference}</x></soap:Body>".encode())
        return f"<!DOCTYPE x [{declarations}]>".encode() + body

    return mutate_octets


def _remove_xml_declaration(honest: bytes) -> bytes:
    """Return an answer without its XML declaration."""
    return re.sub(rb"^<\?xml[^>]*>\s*", b"", honest)


def _declare_utf7(honest: bytes) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-7"?>' + _remove_xml_declaration(honest)


def _append_in_body(content: Callable[[], bytes]) -> OctetMutation:
    return lambda honest: honest.replace(b"</soap:Body>", content() + b"</soap:Body>", 1)


_NESTED: Final = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
_INCLUDE: Final = '<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="{elsewhere}" parse="text"/>'
_LOCATION: Final = (
    b'xmlns:i="http://www.w3.org/2001/XMLSchema-instance" '
    b'i:schemaLocation="urn:single-window:agency:1 {elsewhere}"'
)
# fmt: off
_BITES: Final[tuple[ReplyRow[OctetMutation], ...]] = (
    ("DOS-01.laughing-answer", "entities that grow tenfold ten times", _prepend_doctype(_NESTED, "&a9;")),
    ("DOS-01.quadratic-answer", "one long entity, many times",
     _prepend_doctype(f'<!ENTITY a "{"x" * 50_000}">', "&a;" * 2000)),
    ("DOS-02.answer-reading-a-file", "an external entity",
     _prepend_doctype('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;")),
    ("DOS-02.answer-fetching", "an external entity elsewhere",
     _prepend_doctype('<!ENTITY a SYSTEM "{elsewhere}">', "&a;")),
    ("DOS-02.answer-with-parameter-entity", "an external subset",
     _prepend_doctype('<!ENTITY % p SYSTEM "{elsewhere}">%p;')),
    ("DOS-02.answer-with-stylesheet", "a style sheet elsewhere",
     prepend_prolog(lambda: b'<?xml-stylesheet href="{elsewhere}" type="text/xsl"?>')),
    ("DOS-02.answer-with-xinclude", "XInclude", insert_before("</soap:Body>", _INCLUDE)),
    ("DOS-03.answer-with-attributes", "5,000 attributes",
     _append_in_body(lambda: b"<x" + repeat_piece(b" a%d='1'", 5000)() + b"/>")),
    ("DOS-04.answer-with-namespaces", "1,000 declarations on 100 elements", _append_in_body(
     lambda: b"<x" + repeat_piece(b" xmlns:n%d='u'", 1000)() + b">" + b"<y/>" * 100 + b"</x>")),
    ("DOS-05.deep-answer", "90,000 elements deep", _append_in_body(nest_elements(90_000, b"x"))),
    ("DOS-05.wide-answer", "1,000,000 elements", _append_in_body(repeat_piece(b"<x/>", 1_000_000))),
    ("DOS-07.answer-in-utf-7", "UTF-7 by its declaration", _declare_utf7),
)

OCTET_REPLIES: Final[tuple[ReplyScenario, ...]] = (
    *make_reply_scenarios("", _BITES, send_changed_octets, {"soap": "GW603"}, "security.md"),
    # The attribute is allowed outside the signed content; a client must not follow it.
    ReplyScenario("DOS-02.answer-with-schema-location", "a schema elsewhere", "security.md",
                  {"soap": ACCEPTED_ANSWER}, send_changed_octets(add_root_attributes(lambda: _LOCATION))),
    *_HTTP_REPLIES,
)
# fmt: on

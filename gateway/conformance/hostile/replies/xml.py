"""Hostile answers whose XML bites: entities, fetches, depth, width, encodings.

Each is the honest answer of a face with the bite in it, so that a client that reads XML
before it has looked at it pays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.conformance.hostile.replies.server import TAKEN, Conversation, ReplyPlay

__all__ = ["XML_REPLIES"]


def _octets(change: Callable[[bytes, Conversation], bytes]) -> Callable[[Conversation], None]:
    def play(there: Conversation) -> None:
        honest = there.honest()
        changed = change(honest.body, there)
        if changed == honest.body:
            raise LookupError("nothing was changed")
        there.answer(replace(honest, body=changed))

    return play


def _typed(declarations: str, use: str = "") -> Callable[[Conversation], None]:
    def change(honest: bytes, there: Conversation) -> bytes:
        text = declarations.replace("{elsewhere}", there.elsewhere)
        body = _bare(honest)
        if use:
            body = body.replace(b"</soap:Body>", f"<x>{use}</x></soap:Body>".encode())
        return f"<!DOCTYPE x [{text}]>".encode() + body

    return _octets(change)


def _inside(content: Callable[[], bytes]) -> Callable[[Conversation], None]:
    return _octets(lambda honest, _: honest.replace(b"</soap:Body>", content() + b"</soap:Body>", 1))


def _attributes() -> bytes:
    return b"<x" + b"".join(b" a%d='1'" % number for number in range(5000)) + b"/>"


def _namespaces() -> bytes:
    names = b"".join(b" xmlns:n%d='u'" % number for number in range(1000))
    return b"<x" + names + b">" + b"<y/>" * 100 + b"</x>"


def _deep() -> bytes:
    return b"<x>" * 90_000 + b"</x>" * 90_000


def _wide() -> bytes:
    return b"<x/>" * 1_000_000


def _bare(honest: bytes) -> bytes:
    """Return an answer without its XML declaration."""
    return re.sub(rb"^<\?xml[^>]*>\s*", b"", honest)


def _utf7(honest: bytes, _: Conversation) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-7"?>' + _bare(honest)


def _laughs() -> str:
    return '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


def _styled(honest: bytes, there: Conversation) -> bytes:
    return f'<?xml-stylesheet href="{there.elsewhere}" type="text/xsl"?>'.encode() + honest


def _included(honest: bytes, there: Conversation) -> bytes:
    include = f'<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="{there.elsewhere}" parse="text"/>'
    return honest.replace(b"</soap:Body>", include.encode() + b"</soap:Body>")


def _located(honest: bytes, there: Conversation) -> bytes:
    where = (
        ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
        f' i:schemaLocation="urn:single-window:agency:1 {there.elsewhere}"'
    )
    return honest.replace(b"<soap:Envelope", b"<soap:Envelope" + where.encode(), 1)


_ROWS: Final = (
    ("DOS-01.laughing-answer", "entities that grow tenfold ten times", _typed(_laughs(), "&a9;")),
    (
        "DOS-01.quadratic-answer",
        "one long entity, many times",
        _typed(f'<!ENTITY a "{"x" * 50_000}">', "&a;" * 2000),
    ),
    (
        "DOS-02.answer-reading-a-file",
        "an external entity",
        _typed('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;"),
    ),
    (
        "DOS-02.answer-fetching",
        "an external entity elsewhere",
        _typed('<!ENTITY a SYSTEM "{elsewhere}">', "&a;"),
    ),
    (
        "DOS-02.answer-with-parameter-entity",
        "an external subset",
        _typed('<!ENTITY % p SYSTEM "{elsewhere}">%p;'),
    ),
    ("DOS-02.answer-with-stylesheet", "a style sheet elsewhere", _octets(_styled)),
    ("DOS-02.answer-with-xinclude", "XInclude", _octets(_included)),
    ("DOS-03.answer-with-attributes", "5,000 attributes", _inside(_attributes)),
    ("DOS-04.answer-with-namespaces", "1,000 declarations on 100 elements", _inside(_namespaces)),
    ("DOS-05.deep-answer", "90,000 elements deep", _inside(_deep)),
    ("DOS-05.wide-answer", "1,000,000 elements", _inside(_wide)),
    ("DOS-07.answer-in-utf-7", "UTF-7 by its declaration", _octets(_utf7)),
)

XML_REPLIES: Final[tuple[ReplyPlay, ...]] = (
    *(ReplyPlay(name, title, "security.md", {"soap": "GW603"}, play) for name, title, play in _ROWS),
    # Nothing forbids the attribute outside of what is signed: it must only never be followed.
    ReplyPlay(
        "DOS-02.answer-with-schema-location",
        "a schema elsewhere",
        "security.md",
        {"soap": TAKEN},
        _octets(_located),
    ),
)

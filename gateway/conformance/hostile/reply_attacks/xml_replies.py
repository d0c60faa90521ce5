"""Hostile answers whose XML bites: entities, fetches, depth, width, encodings.

Each is the honest answer of a face with the bite in it, so that a client that reads XML
before it has looked at it pays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.conformance.hostile.reply_attacks.reply_server import TAKEN, ReplyConnection, ReplyScenario

__all__ = ["XML_REPLIES"]


def _send_changed_octets(
    change: Callable[[bytes, ReplyConnection], bytes],
) -> Callable[[ReplyConnection], None]:
    def run_scenario(there: ReplyConnection) -> None:
        honest = there.make_honest_reply()
        changed = change(honest.body, there)
        if changed == honest.body:
            raise LookupError("nothing was changed")
        there.send_reply(replace(honest, body=changed))

    return run_scenario


def _prepend_doctype(declarations: str, use: str = "") -> Callable[[ReplyConnection], None]:
    def mutate_octets(honest: bytes, there: ReplyConnection) -> bytes:
        text = declarations.replace("{elsewhere}", there.elsewhere)
        body = _remove_declaration(honest)
        if use:
            body = body.replace(b"</soap:Body>", f"<x>{use}</x></soap:Body>".encode())
        return f"<!DOCTYPE x [{text}]>".encode() + body

    return _send_changed_octets(mutate_octets)


def _insert_in_body(content: Callable[[], bytes]) -> Callable[[ReplyConnection], None]:
    return _send_changed_octets(
        lambda honest, _: honest.replace(b"</soap:Body>", content() + b"</soap:Body>", 1)
    )


def _build_many_attributes() -> bytes:
    return b"<x" + b"".join(b" a%d='1'" % number for number in range(5000)) + b"/>"


def _build_many_namespaces() -> bytes:
    names = b"".join(b" xmlns:n%d='u'" % number for number in range(1000))
    return b"<x" + names + b">" + b"<y/>" * 100 + b"</x>"


def _build_deep_elements() -> bytes:
    return b"<x>" * 90_000 + b"</x>" * 90_000


def _build_wide_elements() -> bytes:
    return b"<x/>" * 1_000_000


def _remove_declaration(honest: bytes) -> bytes:
    """Return an answer without its XML declaration."""
    return re.sub(rb"^<\?xml[^>]*>\s*", b"", honest)


def _declare_utf7(honest: bytes, _: ReplyConnection) -> bytes:
    return b'<?xml version="1.0" encoding="UTF-7"?>' + _remove_declaration(honest)


def _build_nested_entities() -> str:
    return '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


def _prepend_stylesheet(honest: bytes, there: ReplyConnection) -> bytes:
    return f'<?xml-stylesheet href="{there.elsewhere}" type="text/xsl"?>'.encode() + honest


def _insert_include(honest: bytes, there: ReplyConnection) -> bytes:
    include = f'<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="{there.elsewhere}" parse="text"/>'
    return honest.replace(b"</soap:Body>", include.encode() + b"</soap:Body>")


def _add_schema_location(honest: bytes, there: ReplyConnection) -> bytes:
    where = (
        ' xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
        f' i:schemaLocation="urn:single-window:agency:1 {there.elsewhere}"'
    )
    return honest.replace(b"<soap:Envelope", b"<soap:Envelope" + where.encode(), 1)


_ROWS: Final = (
    (
        "DOS-01.laughing-answer",
        "entities that grow tenfold ten times",
        _prepend_doctype(_build_nested_entities(), "&a9;"),
    ),
    (
        "DOS-01.quadratic-answer",
        "one long entity, many times",
        _prepend_doctype(f'<!ENTITY a "{"x" * 50_000}">', "&a;" * 2000),
    ),
    (
        "DOS-02.answer-reading-a-file",
        "an external entity",
        _prepend_doctype('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;"),
    ),
    (
        "DOS-02.answer-fetching",
        "an external entity elsewhere",
        _prepend_doctype('<!ENTITY a SYSTEM "{elsewhere}">', "&a;"),
    ),
    (
        "DOS-02.answer-with-parameter-entity",
        "an external subset",
        _prepend_doctype('<!ENTITY % p SYSTEM "{elsewhere}">%p;'),
    ),
    ("DOS-02.answer-with-stylesheet", "a style sheet elsewhere", _send_changed_octets(_prepend_stylesheet)),
    ("DOS-02.answer-with-xinclude", "XInclude", _send_changed_octets(_insert_include)),
    ("DOS-03.answer-with-attributes", "5,000 attributes", _insert_in_body(_build_many_attributes)),
    (
        "DOS-04.answer-with-namespaces",
        "1,000 declarations on 100 elements",
        _insert_in_body(_build_many_namespaces),
    ),
    ("DOS-05.deep-answer", "90,000 elements deep", _insert_in_body(_build_deep_elements)),
    ("DOS-05.wide-answer", "1,000,000 elements", _insert_in_body(_build_wide_elements)),
    ("DOS-07.answer-in-utf-7", "UTF-7 by its declaration", _send_changed_octets(_declare_utf7)),
)

XML_REPLIES: Final[tuple[ReplyScenario, ...]] = (
    *(ReplyScenario(name, title, "security.md", {"soap": "GW603"}, play) for name, title, play in _ROWS),
    # Nothing forbids the attribute outside of what is signed: it must only never be followed.
    ReplyScenario(
        "DOS-02.answer-with-schema-location",
        "a schema elsewhere",
        "security.md",
        {"soap": TAKEN},
        _send_changed_octets(_add_schema_location),
    ),
)

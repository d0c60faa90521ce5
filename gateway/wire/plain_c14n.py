"""Canonical forms of plain documents, written from their octets without a tree.

A plain document has no prefixes, no references to entities, no comments and no sections, and declares a
default namespace in its root or none at all. Its canonical form differs from it in the XML declaration, the
ends of lines, and the inside of tags that have attributes, blanks or no content. All other documents are
for libxml2.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["find_plain_form"]

_BLANKS: Final = b" \t\n"
#: A tag that is more than a name: every other one is as it is in the canonical form.
_COMPOUND: Final = re.compile(rb"</?+[A-Za-z0-9_.-]*+(?!>)[^<>]*+>")
_NAME: Final = rb"[A-Za-z_][A-Za-z0-9_.-]*+"
#: No quotation mark in a value, and no white space but blanks: both are written otherwise.
_ATTRIBUTE: Final = rb"[ \t\n]++(%s)[ \t\n]*+=[ \t\n]*+(?:\"([^\"&<>\t\n]*+)\"|'([^'\"&<>\t\n]*+)')" % _NAME
_ATTRIBUTES: Final = re.compile(_ATTRIBUTE)
_START: Final = re.compile(
    rb"<(?P<name>%s)(?P<attributes>(?:%s)*+)[ \t\n]*+(?P<empty>/?+)>" % (_NAME, _ATTRIBUTE)
)
_END: Final = re.compile(rb"</(%s)[ \t\n]++>" % _NAME)
#: The name of a namespace that is certainly absolute, and whose spelling is no question.
_NAMESPACE: Final = re.compile(rb"(?:urn|https?):[A-Za-z0-9:/._~-]++")
#: Beyond so many different tags, a tree is cheaper.
_MOST: Final = 32


def find_plain_form(document: bytes) -> bytes | None:
    """Return the canonical form of a plain document, inclusive and exclusive alike; None for any other one.

    The document has passed the pre-scan, so it is well-formed and has no document type and no instruction.
    """
    # One octet is found faster than two.
    if b"&" in document or (b"!" in document and b"<!" in document):
        return None
    if b"\r" in document:
        document = document.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    start = document.find(b"?>") + 2 if document.startswith(b"<?xml") else 0
    body = document[start:].strip(_BLANKS)
    # Each tag ends with a bracket; where there is no other one, none has to be written otherwise.
    if not body.startswith(b"<") or body.count(b"<") != body.count(b">"):
        return None
    declared = body.find(b"xmlns")
    if declared >= 0 and (body.count(b"xmlns") > 1 or declared > body.index(b">")):
        return None
    return _rewrite_tags(body)


def _rewrite_tags(body: bytes) -> bytes | None:
    """Return the document with each tag in its canonical form; None where one is not plain."""
    found = set(_COMPOUND.findall(body))
    if len(found) > _MOST:
        return None
    for tag in found:
        form = _write_tag(tag)
        if form is None:
            return None
        if form != tag:
            # A bracket stands at tags alone, so whatever is equal is this tag.
            body = body.replace(tag, form)
    return body


def _write_tag(tag: bytes) -> bytes | None:
    """Return the canonical form of one tag, None for one that is not plain."""
    end = _END.fullmatch(tag)
    if end is not None:
        return b"</%s>" % end[1]
    parts = _START.fullmatch(tag)
    if parts is None:
        return None
    name, inside, empty = parts.group("name", "attributes", "empty")
    pairs = {one: double or single for one, double, single in _ATTRIBUTES.findall(inside)}
    space = pairs.pop(b"xmlns", None)
    if space is not None and _NAMESPACE.fullmatch(space) is None:
        return None
    declared = b"" if space is None else b' xmlns="%s"' % space
    attributes = b"".join(b' %s="%s"' % pair for pair in sorted(pairs.items()))
    content = b"></%s>" % name if empty else b">"
    return b"<%s%s%s%s" % (name, declared, attributes, content)

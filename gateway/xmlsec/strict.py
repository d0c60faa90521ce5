"""Reads elements of a signature and refuses everything that was not asked for."""

from __future__ import annotations

import binascii
from typing import Final, NoReturn, cast

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError, Problem
from gateway.wire.xml import xpath_of

__all__ = [
    "algorithm_of",
    "attributes",
    "children",
    "decode_base64",
    "only_child",
    "refuse",
    "select",
    "text_of",
    "without",
]

_SPACE: Final = " \t\r\n"
_LONGEST_VALUE: Final = 64 * 1024


def refuse(
    detail: str, element: etree._Element | None = None, problem: Problem = errors.SIGNATURE_INVALID
) -> NoReturn:
    """Raise the problem with the place of the element."""
    raise GatewayError(problem, detail, "" if element is None else xpath_of(element))


def select(path: etree.XPath, root: etree._Element, **variables: str) -> list[etree._Element]:
    """Return the elements that a compiled path, which selects elements only, finds."""
    return cast("list[etree._Element]", path(root, **variables))


def without(element: etree._Element) -> None:
    """Remove an element from its tree and leave the text behind it."""
    parent, before, tail = element.getparent(), element.getprevious(), element.tail or ""
    if parent is None:
        return
    if before is not None:
        before.tail = (before.tail or "") + tail
    else:
        parent.text = (parent.text or "") + tail
    parent.remove(element)


def children(element: etree._Element) -> list[etree._Element]:
    """Return the child elements; comments, processing instructions and text beside them are refused."""
    found = list(element)
    beside = element.text
    if beside is not None and beside.strip(_SPACE):
        refuse("text where only elements belong", element)
    for child in found:
        if not isinstance(child.tag, str):
            refuse("a comment, processing instruction or entity inside a signature", element)
        beside = child.tail
        if beside is not None and beside.strip(_SPACE):
            refuse("text where only elements belong", element)
    return found


def only_child(element: etree._Element, tag: str) -> etree._Element:
    """Return the one child element, which must be of that name."""
    found = children(element)
    if len(found) != 1 or found[0].tag != tag:
        refuse(f"exactly one {etree.QName(tag).localname} belongs here", element)
    return found[0]


def algorithm_of(element: etree._Element) -> str:
    """Return the Algorithm of an element that has nothing else; parameters are refused."""
    attributes(element, required=("Algorithm",))
    if children(element):
        refuse("parameters of this algorithm are not known", element)
    return element.get("Algorithm", "")


def text_of(element: etree._Element) -> str:
    """Return the text of an element that has nothing but text."""
    if len(element):
        refuse("only text belongs here", element)
    return element.text or ""


def attributes(
    element: etree._Element, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> None:
    """Refuse attributes that are missing or not named."""
    names = element.keys()
    for name in required:
        if name not in names:
            refuse(f"attribute {name} is missing", element)
    for found in names:
        if found not in required and found not in optional:
            refuse(f"attribute {str(found)[:80]} does not belong here", element)


def decode_base64(element: etree._Element, limit: int = _LONGEST_VALUE) -> bytes:
    """Return the octets of a base64 value; XML white space may stand in it, and nothing else.

    The spelling must be the only one for its octets (RFC 4648 §3.5): otherwise two
    different messages would carry the same signature.
    """
    try:
        text = text_of(element).encode("ascii").translate(None, _SPACE.encode())
    except UnicodeEncodeError:
        refuse("not base64", element)
    if len(text) > limit:
        refuse(f"a base64 value of more than {limit} characters", element)
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        refuse("not base64", element)
    last = data[(len(data) - 1) // 3 * 3 :]
    if not data or binascii.b2a_base64(last, newline=False) != text[-4:]:
        refuse("not base64 in its canonical spelling", element)
    return data

"""Reads elements of a signature and rejects all unexpected content."""

from __future__ import annotations

import binascii
from typing import Final, NoReturn, cast

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError, Problem
from gateway.wire import build_xpath

__all__ = [
    "check_attributes",
    "decode_base64",
    "decode_base64_octets",
    "get_only_child",
    "list_children",
    "raise_signature_error",
    "read_algorithm",
    "read_text",
    "remove_element",
    "select_elements",
]

_SPACE: Final = " \t\r\n"
_LONGEST_VALUE: Final = 64 * 1024


def raise_signature_error(
    detail: str, element: etree._Element | None = None, problem: Problem = errors.SIGNATURE_INVALID
) -> NoReturn:
    """Raise the problem with the XPath of the element."""
    raise GatewayError(problem, detail, "" if element is None else build_xpath(element))


def select_elements(path: etree.XPath, root: etree._Element, **variables: str) -> list[etree._Element]:
    """Return the elements that a compiled path selects; it must select elements only."""
    return cast("list[etree._Element]", path(root, **variables))


def remove_element(element: etree._Element) -> None:
    """Remove an element from its tree and keep the text after it."""
    parent, before, tail = element.getparent(), element.getprevious(), element.tail or ""
    if parent is None:
        return
    if before is not None:
        before.tail = (before.tail or "") + tail
    else:
        parent.text = (parent.text or "") + tail
    parent.remove(element)


def list_children(element: etree._Element) -> list[etree._Element]:
    """Return the child elements; raise for comments, processing instructions and text between them."""
    found = list(element)
    beside = element.text
    if beside is not None and beside.strip(_SPACE):
        raise_signature_error("text where only elements belong", element)
    for child in found:
        if not isinstance(child.tag, str):
            raise_signature_error("a comment, processing instruction or entity inside a signature", element)
        beside = child.tail
        if beside is not None and beside.strip(_SPACE):
            raise_signature_error("text where only elements belong", element)
    return found


def get_only_child(element: etree._Element, tag: str) -> etree._Element:
    """Return the only child element; raise unless it has that name."""
    found = list_children(element)
    if len(found) != 1 or found[0].tag != tag:
        raise_signature_error(f"exactly one {etree.QName(tag).localname} belongs here", element)
    return found[0]


def read_algorithm(element: etree._Element) -> str:
    """Return the Algorithm of an element that has no other content; raise for parameters."""
    check_attributes(element, required=("Algorithm",))
    if list_children(element):
        raise_signature_error("parameters of this algorithm are not known", element)
    return element.get("Algorithm", "")


def read_text(element: etree._Element) -> str:
    """Return the text of an element; raise when it has child nodes."""
    if len(element):
        raise_signature_error("only text belongs here", element)
    return element.text or ""


def check_attributes(
    element: etree._Element, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()
) -> None:
    """Raise when a required attribute is missing or an unnamed one is present."""
    names = element.keys()
    for name in required:
        if name not in names:
            raise_signature_error(f"attribute {name} is missing", element)
    for found in names:
        if found not in required and found not in optional:
            raise_signature_error(f"attribute {str(found)[:80]} does not belong here", element)


def decode_base64(element: etree._Element, limit: int = _LONGEST_VALUE) -> bytes:
    """Return the octets of a base64 value, which may contain XML white space and nothing else.

    The encoding must be the canonical one for its octets (RFC 4648 §3.5): otherwise two
    different messages would have the same signature.
    """
    try:
        text = read_text(element).encode("ascii").translate(None, _SPACE.encode())
    except UnicodeEncodeError:
        raise_signature_error("not base64", element)
    if len(text) > limit:
        raise_signature_error(f"a base64 value of more than {limit} characters", element)
    data = decode_base64_octets(text)
    if data is None:
        raise_signature_error("not base64 in its canonical spelling", element)
    return data


def decode_base64_octets(text: bytes) -> bytes | None:
    """Return the octets of base64 without white space in its canonical spelling; None for all else."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    last = data[(len(data) - 1) // 3 * 3 :]
    if not data or binascii.b2a_base64(last, newline=False) != text[-4:]:
        return None
    return data

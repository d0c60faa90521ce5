"""Writes XML as text that is already in canonical form, for the parts of every message.

Names are constants of the caller; attributes are given in canonical order (by namespace name,
then local name), and namespaces are declared by the caller on the root only. A value that no
XML document can contain raises GW901.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import OUR_MISTAKE, GatewayError

__all__ = ["is_xml_text", "write_attribute", "write_element", "write_leaf"]

# Characters that must be escaped, or that no document may contain (XML 1.0 §2.2).
_IN_TEXT: Final = re.compile("[^\t\n -%'-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_ATTRIBUTE: Final = re.compile("[^ !#-%'-;=-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES: Final = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;",
}  # fmt: skip


def is_xml_text(text: str) -> bool:
    """Return whether a text has only characters that a document may contain (XML 1.0 §2.2)."""
    return all(found[0] in _ESCAPES for found in _IN_TEXT.finditer(text))


def _escape_character(found: re.Match[str]) -> str:
    escape = _ESCAPES.get(found[0])
    if escape is None:
        raise GatewayError(OUR_MISTAKE, "a value cannot be written as XML")
    return escape


def write_attribute(name: str, value: str) -> str:
    """Return an attribute with a leading space."""
    if _IN_ATTRIBUTE.search(value):
        value = _IN_ATTRIBUTE.sub(_escape_character, value)
    return f' {name}="{value}"'


def write_element(name: str, content: str = "", attributes: str = "") -> str:
    """Return an element around `content`, which is already written as XML."""
    return f"<{name}{attributes}>{content}</{name}>"


def write_leaf(name: str, value: str, attributes: str = "") -> str:
    """Return an element that contains the text `value`."""
    if _IN_TEXT.search(value):
        value = _IN_TEXT.sub(_escape_character, value)
    return f"<{name}{attributes}>{value}</{name}>"

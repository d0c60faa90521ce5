"""XML written as text, in its canonical form from the start: for what is written with every message.

Names are constants of the caller; attributes are given in canonical order (by namespace
name, then local name), and namespaces are declared by the caller on the root alone.  A value
that no document can hold is GW901.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import OUR_MISTAKE, GatewayError

__all__ = ["write_attribute", "write_element", "write_leaf"]

# Whatever cannot stand as it is: to be escaped, or in no document at all (XML 1.0 §2.2).
_IN_TEXT: Final = re.compile("[^\t\n -%'-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_IN_ATTRIBUTE: Final = re.compile("[^ !#-%'-;=-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES: Final = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;",
}  # fmt: skip


def _escape_character(found: re.Match[str]) -> str:
    escape = _ESCAPES.get(found[0])
    if escape is None:
        raise GatewayError(OUR_MISTAKE, "a value cannot be written as XML")
    return escape


def write_attribute(name: str, value: str) -> str:
    """Return an attribute with the blank before it."""
    if _IN_ATTRIBUTE.search(value):
        value = _IN_ATTRIBUTE.sub(_escape_character, value)
    return f' {name}="{value}"'


def write_element(name: str, content: str = "", attributes: str = "") -> str:
    """Return an element around content that is written already."""
    return f"<{name}{attributes}>{content}</{name}>"


def write_leaf(name: str, value: str, attributes: str = "") -> str:
    """Return an element that holds a value."""
    if _IN_TEXT.search(value):
        value = _IN_TEXT.sub(_escape_character, value)
    return f"<{name}{attributes}>{value}</{name}>"

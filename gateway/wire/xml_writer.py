"""Writes XML as text that is already in canonical form, for the parts of every message.

Names are constants of the caller; attributes are given in canonical order (by namespace name,
then local name), and namespaces are declared by the caller on the root only. A value that no
XML document can contain raises GW901.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from gateway.errors import OUR_MISTAKE, GatewayError

# Characters that no document may contain (XML 1.0 §2.2).
_INVALID_CHARACTER: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Those, and the ones that must be escaped.
_ESCAPED_IN_TEXT: Final = re.compile("[^\t\n -%'-;=?-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPED_IN_ATTRIBUTE: Final = re.compile("[^ !#-%'-;=-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES: Final = {
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;",
}  # fmt: skip


def is_xml_text(text: str) -> bool:
    """Return whether a text has only characters that a document may contain (XML 1.0 §2.2)."""
    return _INVALID_CHARACTER.search(text) is None


def find_invalid_xml_character(text: str) -> str:
    """Return the first character of `text` that XML does not allow, escaped; empty if all are allowed."""
    match = _INVALID_CHARACTER.search(text)
    return ascii(match[0])[1:-1] if match else ""


def replace_invalid_xml_characters(text: str, replacement: str) -> str:
    """Return a text with `replacement` for each character that no document may contain."""
    return _INVALID_CHARACTER.sub(replacement, text)


def _escape_character(match: re.Match[str]) -> str:
    escape = _ESCAPES.get(match[0])
    if escape is None:
        raise GatewayError(OUR_MISTAKE, "a value cannot be written as XML")
    return escape


def write_attribute(name: str, value: str) -> str:
    """Return an attribute with a leading space."""
    if _ESCAPED_IN_ATTRIBUTE.search(value):
        value = _ESCAPED_IN_ATTRIBUTE.sub(_escape_character, value)
    return f' {name}="{value}"'


def write_element(name: str, content: str = "", attributes: str = "") -> str:
    """Return an element around `content`, which is already written as XML."""
    return f"<{name}{attributes}>{content}</{name}>"


def write_leaf(name: str, value: str, attributes: str = "") -> str:
    """Return an element that contains the text `value`."""
    if _ESCAPED_IN_TEXT.search(value):
        value = _ESCAPED_IN_TEXT.sub(_escape_character, value)
    return f"<{name}{attributes}>{value}</{name}>"


def write_octets(name: str, octets: bytes, attributes: str = "") -> str:
    """Return an element that contains `octets` in base64, which has no character that XML escapes."""
    return write_element(name, base64.b64encode(octets).decode("ascii"), attributes)


def write_algorithm(name: str, uri: str, content: str = "", attributes: str = "") -> str:
    """Return an element whose last attribute names an algorithm; its parameters are in `content`."""
    return write_element(name, content, attributes + write_attribute("Algorithm", uri))

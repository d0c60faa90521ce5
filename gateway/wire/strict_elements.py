"""Reads elements exactly as their form defines them, and refuses all else with the XPath of the place."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Final, NoReturn

from lxml import etree

from gateway.errors import GatewayError, Problem
from gateway.wire.element_access import build_xpath, read_attribute
from gateway.wire.namespaces import EB, EB3, SOAP11, SOAP12

XML_SPACE: Final = " \t\r\n"
_MAX_VALUE_LENGTH: Final = 64 * 1024
_NEVER_FOREIGN: Final = tuple(f"{{{namespace}}}" for namespace in (EB, EB3, SOAP11, SOAP12))


@dataclass(frozen=True, slots=True)
class ElementReader:
    """Reads the elements of one form, and refuses other content with the problem `problem`.

    A comment or instruction in a value would split the value, so that two readers would see two values:
    such a comment or instruction is always refused.
    """

    problem: Problem
    #: Whether comments and instructions between elements are left out; otherwise they are refused.
    allows_comments: bool = False
    #: Whether a required attribute must have a value.
    rejects_empty: bool = False
    #: Whether base64 is refused that is not the canonical one of its octets (RFC 4648 §3.5). Two spellings
    #: would give two messages the same signature.
    canonical_base64: bool = True

    def raise_error(
        self, element: etree._Element, detail: str, problem: Problem | None = None, at: str = ""
    ) -> NoReturn:
        """Raise the problem with the XPath of `element`; `at` names an attribute of it."""
        raise GatewayError(problem or self.problem, detail, build_xpath(element) + (f"/@{at}" if at else ""))

    def list_children(self, element: etree._Element) -> list[etree._Element]:
        """Return the child elements; raise for text between them."""
        children = []
        text_between = element.text
        for child in element:
            if text_between and text_between.strip(XML_SPACE):
                break
            text_between = child.tail
            if isinstance(child.tag, str):
                children.append(child)
            elif not self.allows_comments:
                self.raise_error(element, "a comment or instruction where only elements belong")
        if text_between and text_between.strip(XML_SPACE):
            self.raise_error(element, "text where only elements belong")
        return children

    def get_exact_children(self, element: etree._Element, *tags: str) -> list[etree._Element]:
        """Return the child elements, which must have exactly these qualified names."""
        children = self.list_children(element)
        if [child.tag for child in children] != list(tags):
            names = ", ".join(etree.QName(tag).localname for tag in tags)
            self.raise_error(element, f"this element must hold exactly {names}")
        return children

    def get_only_child(self, element: etree._Element, tag: str) -> etree._Element:
        """Return the only child element; raise unless it has that name."""
        (child,) = self.get_exact_children(element, tag)
        return child

    def read_text(self, element: etree._Element) -> str:
        """Return the text of an element; raise when it has child nodes."""
        if len(element):
            self.raise_error(element, "this element must hold only text, without elements or comments")
        return element.text or ""

    def decode_base64(self, element: etree._Element, limit: int = _MAX_VALUE_LENGTH) -> bytes:
        """Return the octets of a value of at most `limit` characters of base64, white space left out."""
        try:
            base64_text = self.read_text(element).encode("ascii").translate(None, XML_SPACE.encode())
        except UnicodeEncodeError:
            self.raise_error(element, "not base64")
        if len(base64_text) > limit:
            self.raise_error(element, f"a base64 value of more than {limit} characters")
        if self.canonical_base64:
            octets = decode_base64_octets(base64_text)
            if octets is None:
                self.raise_error(element, "not base64 in its canonical spelling")
            return octets
        try:
            return binascii.a2b_base64(base64_text, strict_mode=True)
        except binascii.Error:
            self.raise_error(element, "not base64")

    def check_attributes(
        self,
        element: etree._Element,
        required: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
        *,
        foreign: bool = False,
    ) -> None:
        """Raise when a required attribute is missing, or an unnamed one is present.

        With `foreign`, attributes of other namespaces may be there. One of SOAP or ebMS is never foreign:
        soap:actor in an unexpected place would remove its element from the signature.
        """
        attribute_names = element.keys()
        if not attribute_names and not required:
            return
        for name in required:
            value = read_attribute(element, name)
            if value is None or (self.rejects_empty and not value.strip(XML_SPACE)):
                fault = "missing or empty" if self.rejects_empty else "missing"
                self.raise_error(element, f"attribute {etree.QName(name).localname} is {fault}")
        for name in map(str, attribute_names):
            if name in required or name in optional:
                continue
            if not foreign or name[0] != "{" or name.startswith(_NEVER_FOREIGN):
                self.raise_error(element, f"attribute {name[:120]} is not allowed here")


def decode_base64_octets(base64_text: bytes) -> bytes | None:
    """Return the octets of base64 without white space in its canonical spelling; None for all else."""
    try:
        octets = binascii.a2b_base64(base64_text, strict_mode=True)
    except binascii.Error:
        return None
    last_octets = octets[(len(octets) - 1) // 3 * 3 :]
    if not octets or binascii.b2a_base64(last_octets, newline=False) != base64_text[-4:]:
        return None
    return octets

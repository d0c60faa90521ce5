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
_LONGEST_VALUE: Final = 64 * 1024
_NEVER_FOREIGN: Final = tuple(f"{{{namespace}}}" for namespace in (EB, EB3, SOAP11, SOAP12))


@dataclass(frozen=True, slots=True)
class ElementReader:
    """Reads the elements of one form, and refuses other content with the problem `problem`.

    A comment or instruction in a value would split the value, so that two readers would see two values:
    such a comment or instruction is always refused.
    """

    problem: Problem
    #: Whether comments and instructions between elements are left out; otherwise they are refused.
    skips_comments: bool = False
    #: Whether a required attribute must have a value.
    refuses_empty: bool = False
    #: Whether base64 is refused that is not the canonical one of its octets (RFC 4648 §3.5). Two spellings
    #: would give two messages the same signature.
    canonical_base64: bool = True

    def refuse(
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
            elif not self.skips_comments:
                self.refuse(element, "a comment or instruction where only elements belong")
        if text_between and text_between.strip(XML_SPACE):
            self.refuse(element, "text where only elements belong")
        return children

    def take_children(self, element: etree._Element, *tags: str) -> list[etree._Element]:
        """Return the child elements, which must have exactly these qualified names."""
        children = self.list_children(element)
        if [child.tag for child in children] != list(tags):
            names = ", ".join(etree.QName(tag).localname for tag in tags)
            self.refuse(element, f"exactly {names} belongs here")
        return children

    def get_only_child(self, element: etree._Element, tag: str) -> etree._Element:
        """Return the only child element; raise unless it has that name."""
        (child,) = self.take_children(element, tag)
        return child

    def read_text(self, element: etree._Element) -> str:
        """Return the text of an element; raise when it has child nodes."""
        if len(element):
            self.refuse(element, "only text belongs here, without elements or comments")
        return element.text or ""

    def decode_base64(self, element: etree._Element, limit: int = _LONGEST_VALUE) -> bytes:
        """Return the octets of a value of at most `limit` characters of base64, white space left out."""
        try:
            text = self.read_text(element).encode("ascii").translate(None, XML_SPACE.encode())
        except UnicodeEncodeError:
            self.refuse(element, "not base64")
        if len(text) > limit:
            self.refuse(element, f"a base64 value of more than {limit} characters")
        if self.canonical_base64:
            octets = decode_base64_octets(text)
            if octets is None:
                self.refuse(element, "not base64 in its canonical spelling")
            return octets
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            self.refuse(element, "not base64")

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
        present = element.keys()
        if not present and not required:
            return
        for name in required:
            value = read_attribute(element, name)
            if value is None or (self.refuses_empty and not value.strip(XML_SPACE)):
                lack = "missing or empty" if self.refuses_empty else "missing"
                self.refuse(element, f"attribute {etree.QName(name).localname} is {lack}")
        for name in map(str, present):
            if name in required or name in optional:
                continue
            if not foreign or name[0] != "{" or name.startswith(_NEVER_FOREIGN):
                self.refuse(element, f"attribute {name[:120]} does not belong here")


def decode_base64_octets(text: bytes) -> bytes | None:
    """Return the octets of base64 without white space in its canonical spelling; None for all else."""
    try:
        octets = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    last = octets[(len(octets) - 1) // 3 * 3 :]
    if not octets or binascii.b2a_base64(last, newline=False) != text[-4:]:
        return None
    return octets

"""Reads elements of a signature and rejects all unexpected content."""

from __future__ import annotations

from typing import Final, NoReturn, cast

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError, Problem
from gateway.wire import ElementReader, build_xpath

_READER: Final = ElementReader(errors.SIGNATURE_INVALID)
list_children = _READER.list_children
get_only_child = _READER.get_only_child
read_text = _READER.read_text
check_attributes = _READER.check_attributes
decode_base64 = _READER.decode_base64


def raise_signature_error(
    detail: str, element: etree._Element | None = None, problem: Problem = errors.SIGNATURE_INVALID
) -> NoReturn:
    """Raise the problem with the XPath of the element."""
    raise GatewayError(problem, detail, "" if element is None else build_xpath(element))


def select_elements(xpath: etree.XPath, root: etree._Element, **variables: str) -> list[etree._Element]:
    """Return the elements that a compiled path selects; it must select elements only."""
    return cast("list[etree._Element]", xpath(root, **variables))


def reject_hidden_nodes(signed_element: etree._Element, element_kind: str) -> None:
    """Raise GW202 if `signed_element` contains a comment, a processing instruction or an entity reference.

    A signature does not cover comments, and they split values. `element_kind` is used in the error text.
    """
    for hidden_node in signed_element.iter(etree.Comment, etree.ProcessingInstruction, etree.Entity):
        raise_signature_error(
            f"a comment or processing instruction in a signed {element_kind}", hidden_node.getparent()
        )


def remove_element(element: etree._Element) -> None:
    """Remove an element from its tree and keep the text after it."""
    parent, previous_element, tail_text = element.getparent(), element.getprevious(), element.tail or ""
    if parent is None:
        return
    if previous_element is not None:
        previous_element.tail = (previous_element.tail or "") + tail_text
    else:
        parent.text = (parent.text or "") + tail_text
    parent.remove(element)


def read_algorithm(element: etree._Element) -> str:
    """Return the Algorithm of an element that has no other content; raise for parameters."""
    check_attributes(element, required=("Algorithm",))
    if list_children(element):
        raise_signature_error("parameters of this algorithm are not known", element)
    return element.get("Algorithm", "")

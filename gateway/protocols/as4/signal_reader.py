"""Reads the signals of ebMS 3.0 that answer a message: receipts and errors (core §5.2.3)."""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway.errors import HEADER_INCONSISTENT, NOT_SUPPORTED
from gateway.message_model import DigestReference, ErrorEntry, ErrorSignal, Receipt
from gateway.protocols.as4.signal_values import LANG, MessageInfo, make_eb3_name, read_optional_attribute
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    list_elements,
    raise_header_error,
    read_text,
)
from gateway.protocols.signed_references import read_references
from gateway.wire import DS, EB3, EBBP

__all__ = ["read_error_signal", "read_receipt"]

_MAX_TEXT: Final = 8192
_NRI: Final = f"{{{EBBP}}}NonRepudiationInformation"
_PART: Final = f"{{{EBBP}}}MessagePartNRInformation"
_REFERENCE: Final = f"{{{DS}}}Reference"
_ATTRIBUTES: Final = ("category", "refToMessageInError", "origin", "shortDescription")


def read_receipt(element: etree._Element, info: MessageInfo) -> Receipt:
    """Return a receipt; its references are those of NonRepudiationInformation, if it has one.

    A receipt of an unsigned message repeats its UserMessage instead. Elements of others beside the
    information are not read: handlers add marks of their own.
    """
    check_attributes(element)
    if info.ref_to_message_id is None:
        raise_header_error(element, "a receipt names the message that it is about")
    children = list_elements(element)
    if not children:
        raise_header_error(element, "the receipt is empty")
    for one in children:
        if etree.QName(one).namespace == EB3 and one.tag != make_eb3_name("UserMessage"):
            raise_header_error(one, "this element does not belong into a receipt")
    found = [one for one in children if one.tag == _NRI]
    if len(found) > 1:
        raise_header_error(found[1], "a receipt has one NonRepudiationInformation")
    return Receipt(
        **info.make_unit_values(),
        ref_to_message_id=info.ref_to_message_id,
        received_at=info.timestamp,
        references=tuple(reference for one in found for reference in _read_information(one)),
    )


def _read_information(element: etree._Element) -> tuple[DigestReference, ...]:
    check_attributes(element)
    sequence = ElementSequence(element)
    parts = sequence.take_all(_PART, least=1)
    sequence.check_end()
    return read_references(_take_reference(one) for one in parts)


def _take_reference(part: etree._Element) -> etree._Element:
    check_attributes(part)
    children = list_elements(part)
    if len(children) != 1 or children[0].tag != _REFERENCE:
        # AS4 §5.1.8: MessagePartIdentifier is not used.
        raise_header_error(part, "a part of the information is one ds:Reference", NOT_SUPPORTED)
    return children[0]


def read_error_signal(elements: list[etree._Element], info: MessageInfo) -> ErrorSignal:
    """Return the errors of a signal, and which message they are about."""
    named = {info.ref_to_message_id} | {one.get("refToMessageInError") for one in elements}
    about = sorted(one for one in named if one)
    if len(about) > 1:
        raise_header_error(elements[0], "the errors are about several messages", HEADER_INCONSISTENT)
    return ErrorSignal(
        **info.make_unit_values(),
        ref_to_message_id=about[0] if about else None,
        errors=tuple(_read_error(one) for one in elements),
    )


def _read_error(element: etree._Element) -> ErrorEntry:
    check_attributes(element, required=("errorCode", "severity"), optional=_ATTRIBUTES)
    sequence = ElementSequence(element)
    description = sequence.take_optional(make_eb3_name("Description"))
    detail = sequence.take_optional(make_eb3_name("ErrorDetail"))
    sequence.check_end()
    if description is not None:
        check_attributes(description, required=(LANG,))
    if detail is not None:
        check_attributes(detail)
    # Handlers write "Failure" and "error" too; what is no warning counts as a failure.
    warned = element.get("severity", "").strip().lower() == "warning"
    return ErrorEntry(
        code=read_optional_attribute(element, "errorCode") or "",
        severity="Warning" if warned else "Error",
        location="" if detail is None else read_text(detail, limit=_MAX_TEXT),
        description="" if description is None else read_text(description, limit=_MAX_TEXT),
        category=read_optional_attribute(element, "category") or "",
        origin=read_optional_attribute(element, "origin") or "",
        title=read_optional_attribute(element, "shortDescription") or "",
    )

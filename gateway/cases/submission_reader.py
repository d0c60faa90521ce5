"""Reads a submission as values, which the hub needs to open a case.

The tree has been validated against its schema before.  This module checks the rules that a schema cannot
express: that two places agree, that names are unique, and that each payload has the declared
size and digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.errors import ATTACHMENT_MISMATCH, DOCUMENT_INVALID, RULE_BROKEN, SOURCES_DISAGREE, GatewayError
from gateway.message_model import Body, as_body, count_octets
from gateway.wire import (
    SUB,
    WCO_DEC,
    WCO_MD,
    PointerIndex,
    check_clear_id,
    load_wco_elements,
    read_attribute,
    read_leaf_text,
)

_DEC: Final = f"{{{WCO_DEC}}}"
_SHIPMENT: Final = f"{_DEC}GoodsShipment"
_ID: Final = f"{_DEC}ID"
#: A UCR is in one of the two: WCO 016, or 009, where it is the number that the trader gave.
_UCR_ELEMENTS: Final = (_ID, f"{_DEC}TraderAssignedReferenceID")
_BILL_OF_LADING: Final = "Declaration/GoodsShipment/Consignment/TransportContractDocument/ID"


_ORIGINAL_FUNCTION: Final = "9"


@dataclass(frozen=True, slots=True)
class GoodsReference:
    """A reference of the goods: its kind (ucr, bill_of_lading, container or cargo) and its value."""

    kind: str
    value: str


def read_ucr(declaration: etree._Element) -> str | None:
    """Return the UCR of the shipment: its ID, else the reference that the trader assigned."""
    texts = (_read_reference_text(declaration.find(f"{_SHIPMENT}/{_DEC}UCR/{tag}")) for tag in _UCR_ELEMENTS)
    return next((text for text in texts if text), None)


def list_goods_references(root: etree._Element, declaration: etree._Element) -> tuple[GoodsReference, ...]:
    """Return each reference of a submission `root` once: of the shipment, its items, and the supplement."""
    return tuple(
        dict.fromkeys(reference for reference in _iterate_references(root, declaration) if reference.value)
    )


def _iterate_references(root: etree._Element, declaration: etree._Element) -> Iterator[GoodsReference]:
    """Yield the references to goods: UCR, containers, cargo (previous documents) and bills of lading."""
    for ucr in declaration.iter(f"{_DEC}UCR"):
        for tag in _UCR_ELEMENTS:
            yield GoodsReference("ucr", _read_reference_text(ucr.find(tag)))
    for equipment in declaration.iter(f"{_DEC}TransportEquipment"):
        yield GoodsReference("container", _read_reference_text(equipment.find(_ID)))
    for previous_document in declaration.iter(f"{_DEC}PreviousDocument"):
        yield GoodsReference("cargo", _read_reference_text(previous_document.find(_ID)))
    for supplement_value in root.iterfind(f"{{{SUB}}}Supplement/{{{SUB}}}Value"):
        if read_attribute(supplement_value, "path", "").strip() == _BILL_OF_LADING:
            yield GoodsReference("bill_of_lading", _read_reference_text(supplement_value))


def _read_reference_text(element: etree._Element | None) -> str:
    return "" if element is None else read_leaf_text(element).strip()


_SUB = f"{{{SUB}}}"
_MD = f"{{{WCO_MD}}}"
_ITEM_PATH = "Declaration/GoodsShipment/GovernmentAgencyGoodsItem"
#: At most as long as a column of the store; a fraction of zeros is accepted and ignored.
_WHOLE_NUMBER = re.compile(r"\+?([0-9]{1,18})(?:\.0*)?")
#: Where the declaration may stand: bare or in its shell, with or without the wrapper element.
_DECLARATION_PATHS = (
    f"{_DEC}Declaration",
    f"{_MD}MetaData/{_DEC}Declaration",
    f"{_SUB}Declaration/{_DEC}Declaration",
    f"{_SUB}Declaration/{_MD}MetaData/{_DEC}Declaration",
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """The declared properties of one further payload; `sha256` is in lower-case hexadecimal."""

    content_id: str
    media_type: str
    sha256: str
    size: int
    kind: str


@dataclass(frozen=True, slots=True)
class Application:
    """One application of an agency document: `position` counts from 1 in the submission."""

    position: int
    id: str
    document: str
    items: tuple[int, ...]
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class Disclaimer:
    """The declarant's statement that a law does not apply to an item, with the reason (A, B, C, Z)."""

    item: int
    law: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission; `function` is 9 original, 35 supplement, 13 amendment, 1 cancellation."""

    reference: str
    function: str
    declaration: etree._Element
    declarant_id: str
    agent_id: str | None
    ucr: str | None
    type_code: str
    items: tuple[int, ...]
    applications: tuple[Application, ...]
    disclaimers: tuple[Disclaimer, ...]
    references: tuple[GoodsReference, ...]

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Return the attachments of all applications, in document order."""
        return tuple(
            attachment for application in self.applications for attachment in application.attachments
        )


def read_submission(root: etree._Element) -> Submission:
    """Return the submission of a schema-valid tree; raise GW402, GW404 or GW505 with the place."""
    declaration = _get_declaration(root)
    items = _read_item_numbers(declaration)
    reference, function = _read_text(root, f"{_SUB}Reference"), _read_text(root, f"{_SUB}Function")
    _check_reference(reference, declaration)
    if function == _ORIGINAL_FUNCTION:
        # Every other function names an existing case, whose reference was checked when it was opened.
        check_clear_id(reference, "/Submission/Reference")
        if "  " in reference:
            detail = "two spaces in a row look like one: a reference has single ones"
            raise GatewayError(RULE_BROKEN, detail, "/Submission/Reference")
    applications = tuple(
        _read_application(element, position, frozenset(items))
        for position, element in enumerate(root.findall(f"{_SUB}Application"), start=1)
    )
    _check_applications(applications)
    _check_supplement(root, frozenset(items))
    disclaimers = tuple(
        _read_disclaimer(element, f"/Submission/Disclaimer[{position}]", frozenset(items))
        for position, element in enumerate(root.findall(f"{_SUB}Disclaimer"), start=1)
    )
    _check_distinct(
        (f"law {disclaimer.law} for item {disclaimer.item}", f"/Submission/Disclaimer[{position}]")
        for position, disclaimer in enumerate(disclaimers, start=1)
    )
    return Submission(
        reference=reference,
        function=function,
        declaration=declaration,
        declarant_id=_read_text(declaration, f"{_DEC}Declarant/{_DEC}ID"),
        agent_id=_read_text(declaration, f"{_DEC}Agent/{_DEC}ID") or None,
        ucr=read_ucr(declaration),
        references=list_goods_references(root, declaration),
        type_code=_read_text(declaration, f"{_DEC}TypeCode"),
        items=items,
        applications=applications,
        disclaimers=disclaimers,
    )


def check_attachments(
    submission: Submission, payloads: Mapping[str, bytes | Body]
) -> tuple[GatewayError, ...]:
    """Compare each attachment with the payload of its content id; return a GW408 for each difference.

    A payload that no application names is reported too, since it would reach no agency.
    """
    attachments = {attachment.content_id: attachment for attachment in submission.attachments}
    mismatches = {
        content_id: _describe_mismatch(attachment, payloads.get(content_id))
        for content_id, attachment in attachments.items()
    }
    mismatches |= {
        content_id: "no application names this payload"
        for content_id in payloads
        if content_id not in attachments
    }
    return tuple(
        GatewayError(ATTACHMENT_MISMATCH, difference, f"cid:{content_id}")
        for content_id, difference in mismatches.items()
        if difference
    )


def _describe_mismatch(attachment: Attachment, content: bytes | Body | None) -> str:
    """Return how the received octets differ from the declared size or SHA-256, else an empty text."""
    if content is None:
        return "the attachment is not in the message"
    if count_octets(content) != attachment.size:
        return f"{count_octets(content)} octets came, {attachment.size} were declared"
    if as_body(content).sha256_hex != attachment.sha256:
        return "the SHA-256 is not the declared one"
    return ""


def _get_declaration(root: etree._Element) -> etree._Element:
    """Return the Declaration element of a submission; raise GW402 if `root` is no Submission or has none."""
    if root.tag != f"{_SUB}Submission":
        raise GatewayError(DOCUMENT_INVALID, "the payload is not a Submission", "/")
    declaration = next((root.find(path) for path in _DECLARATION_PATHS if root.find(path) is not None), None)
    if declaration is None:
        raise GatewayError(
            DOCUMENT_INVALID, "the submission contains no declaration", "/Submission/Declaration"
        )
    return declaration


def _read_item_numbers(declaration: etree._Element) -> tuple[int, ...]:
    """Return the sequence numbers of the goods items in their order; raise for a repeated one."""
    number_path = f"{_DEC}GoodsShipment/{_DEC}GovernmentAgencyGoodsItem/{_DEC}SequenceNumeric"
    # The schema's type is a decimal without fraction, which may be written 1.0 as well.
    location = "42A/67A[1]/68A"
    texts = [read_leaf_text(element).strip() or "0" for element in declaration.findall(number_path)]
    item_numbers = tuple(
        _parse_whole_number(text, f"{location}[{position}]/006") for position, text in enumerate(texts, 1)
    )
    _check_distinct((number, f"{location}[{number}]/006") for number in item_numbers)
    return item_numbers


def _check_applications(applications: Iterable[Application]) -> None:
    """Raise GW505, at the second place, for a value that two applications may not share."""
    all_applications = tuple(applications)
    for application in all_applications:
        check_clear_id(application.id, f"APP[{application.position}]/@id")
    _check_distinct((application.id, f"APP[{application.position}]/@id") for application in all_applications)
    # Decisions are identified by item and law, so two applications of one document for one item
    # would collide.
    _check_distinct(
        (f"{application.document} for item {item}", f"APP[{application.position}]/Items")
        for application in all_applications
        for item in application.items
    )
    _check_distinct(
        (attachment.content_id, f"APP[{application.position}]/Attachment{f'[{n}]' if n > 1 else ''}/@cid")
        for application in all_applications
        for n, attachment in enumerate(application.attachments, 1)
    )


def _check_reference(reference: str, declaration: etree._Element) -> None:
    """Raise GW505 if the declaration states another FunctionalReferenceID than `reference`."""
    declared_reference = _read_text(declaration, f"{_DEC}FunctionalReferenceID")
    if declared_reference and declared_reference != reference:
        detail = f"Reference {reference[:40]!r} is not FunctionalReferenceID {declared_reference[:40]!r}"
        raise GatewayError(SOURCES_DISAGREE, detail, "42A/D026")


def _read_application(element: etree._Element, position: int, declared_items: frozenset[int]) -> Application:
    """Return an Application element as values; raise GW505 for an item that the declaration does not have."""
    location = f"APP[{position}]"
    items = tuple(
        _parse_whole_number(item_text, f"{location}/Items")
        for item_text in _read_text(element, f"{_SUB}Items").split()
    )
    _check_distinct((item, f"{location}/Items") for item in items)
    for item in items:
        if item not in declared_items:
            raise GatewayError(SOURCES_DISAGREE, f"the declaration has no item {item}", f"{location}/Items")
    return Application(
        position=position,
        id=read_attribute(element, "id", ""),
        document=read_attribute(element, "document", ""),
        items=items,
        attachments=tuple(
            _read_attachment(child, location) for child in element.findall(f"{_SUB}Attachment")
        ),
    )


def _read_attachment(element: etree._Element, location: str) -> Attachment:
    return Attachment(
        content_id=read_attribute(element, "cid", ""),
        media_type=read_attribute(element, "mediaType", ""),
        sha256=read_attribute(element, "sha256", "").lower(),
        size=_parse_whole_number(read_attribute(element, "size", "0"), f"{location}/Attachment/@size"),
        kind=read_attribute(element, "kind", ""),
    )


def _read_disclaimer(element: etree._Element, location: str, declared_items: frozenset[int]) -> Disclaimer:
    """Return a disclaimer; raise GW505 for an item that is not declared, GW404 for Z without a text."""
    item = _parse_whole_number(read_attribute(element, "item", "0"), f"{location}/@item")
    reason, text = read_attribute(element, "reason", ""), read_leaf_text(element).strip()
    if item not in declared_items:
        raise GatewayError(SOURCES_DISAGREE, f"the declaration has no item {item}", f"{location}/@item")
    if reason == "Z" and not text:
        raise GatewayError(RULE_BROKEN, "reason Z needs a text that tells the reason", location)
    return Disclaimer(item=item, law=read_attribute(element, "law", ""), reason=reason, text=text)


def _check_supplement(root: etree._Element, items: frozenset[int]) -> None:
    """Raise GW505 for a repeated value of the supplement, GW404 for one with a wrong item or WCO id."""
    seen_keys: set[tuple[str, int | None, int]] = set()
    pointers = PointerIndex()

    def read_number(value_element: etree._Element, attribute_name: str, number_text: str) -> int:
        """Return the whole number `number_text`; raise with the pointer of its element for another text."""
        # A pointer is made only for a problem, because it has to count elements.
        pointer = (
            ""
            if _WHOLE_NUMBER.fullmatch(number_text.strip())
            else pointers.get_pointer(value_element, attribute_name)
        )
        return _parse_whole_number(number_text, pointer)

    for value_element in root.findall(f"{_SUB}Supplement/{_SUB}Value"):
        value_path, item_text, wco_element = (
            read_attribute(value_element, "path", ""),
            read_attribute(value_element, "item"),
            load_wco_elements().get(read_attribute(value_element, "path", "")),
        )
        item = None if item_text is None else read_number(value_element, "item", item_text)
        problem_text = ""
        if item is not None and not value_path.startswith(f"{_ITEM_PATH}/"):
            problem_text = "it belongs to no goods item, and names one"
        elif item is not None and item not in items:
            problem_text = f"the declaration has no item {item}"
        elif (
            wco_element is not None
            and read_attribute(value_element, "wcoID", wco_element.wco_id) != wco_element.wco_id
        ):
            problem_text = f"the WCO id of this path is {wco_element.wco_id}"
        if problem_text:
            raise GatewayError(
                RULE_BROKEN, f"{value_path[:200]}: {problem_text}", pointers.get_pointer(value_element)
            )
        value_key = value_path, item, read_number(value_element, "n", read_attribute(value_element, "n", "1"))
        if value_key in seen_keys:
            raise GatewayError(
                SOURCES_DISAGREE, f"{value_path[:200]} is given again", pointers.get_pointer(value_element)
            )
        seen_keys.add(value_key)


def _check_distinct(located_values: Iterable[tuple[object, str]]) -> None:
    """Raise GW505 for a repeated value, at the place of its second occurrence."""
    seen_values: set[object] = set()
    for value, location in located_values:
        if value in seen_values:
            raise GatewayError(SOURCES_DISAGREE, f"{str(value)[:40]!r} occurs more than once", location)
        seen_values.add(value)


def _parse_whole_number(text: str, location: str) -> int:
    """Return a whole number, also for ``01`` or ``1.0``; raise GW402 at `location` for other text."""
    match = _WHOLE_NUMBER.fullmatch(text.strip())
    if match is None:
        raise GatewayError(DOCUMENT_INVALID, f"{text[:40]!r} is not a whole number", location)
    return int(match[1])


def _read_text(element: etree._Element, path: str) -> str:
    child = element.find(path)
    return "" if child is None else read_leaf_text(child).strip()


#: The StatementTypeCode of the words that explain an amendment or a withdrawal.
_EXPLANATION_TYPE: Final = "AES"


@dataclass(frozen=True, slots=True)
class ChangeReason:
    """Why a declaration is changed or withdrawn: the code of customs, and words; `text` may be empty."""

    code: str
    text: str = ""

    @property
    def sentence(self) -> str:
        """Return code and words in one line."""
        return f"{self.code}: {self.text}" if self.text else self.code


def read_change_reason(declaration: etree._Element) -> ChangeReason:
    """Return the reason of an amendment or a withdrawal; raise GW404 where no code is given."""
    codes = [
        _read_reason_text(element, "ChangeReasonCode") for element in declaration.findall(f"{_DEC}Amendment")
    ]
    code = next(filter(None, codes), "")
    if not code:
        detail = "an amendment and a withdrawal state their reason: Amendment/ChangeReasonCode"
        raise GatewayError(RULE_BROKEN, detail, "42A/06A[1]/099")
    explanations = (
        " ".join(_read_reason_text(element, "StatementDescription").split())
        for element in declaration.findall(f"{_DEC}AdditionalInformation")
        if _read_reason_text(element, "StatementTypeCode") == _EXPLANATION_TYPE
    )
    return ChangeReason(code, next(filter(None, explanations), ""))


def _read_reason_text(element: etree._Element, child_name: str) -> str:
    child = element.find(f"{_DEC}{child_name}")
    return "" if child is None else read_leaf_text(child).strip()

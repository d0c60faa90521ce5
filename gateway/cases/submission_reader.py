"""Reads a submission as values, which the hub needs to open a case.

The tree has been validated against its schema before.  This module checks what a schema cannot
express: that two places agree, that names are unique, and that each payload has the declared
size and digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lxml import etree

from gateway.errors import ATTACHMENT_MISMATCH, DOCUMENT_INVALID, RULE_BROKEN, SOURCES_DISAGREE, GatewayError
from gateway.message_model import Body, as_body, count_octets
from gateway.wire import SUB, WCO_DEC, WCO_MD, PointerIndex, load_wco_elements, read_leaf_text

__all__ = ["Application", "Attachment", "Disclaimer", "Submission", "check_attachments", "read_submission"]

_SUB = f"{{{SUB}}}"
_DEC = f"{{{WCO_DEC}}}"
_MD = f"{{{WCO_MD}}}"
_ITEM = "Declaration/GoodsShipment/GovernmentAgencyGoodsItem"
#: At most as long as a column of the store; a fraction of zeros is accepted and ignored.
_WHOLE = re.compile(r"\+?([0-9]{1,18})(?:\.0*)?")
#: Where the declaration may stand: bare or in its shell, with or without the wrapper element.
_DECLARATIONS = (
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

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Return the attachments of all applications, in document order."""
        return tuple(one for application in self.applications for one in application.attachments)


def read_submission(root: etree._Element) -> Submission:
    """Return the submission of a schema-valid tree; raise GW402, GW404 or GW505 with the place."""
    declaration = _get_declaration(root)
    items = _read_items(declaration)
    reference = _read_text(root, f"{_SUB}Reference")
    _check_reference(reference, declaration)
    applications = tuple(
        _read_application(element, position, frozenset(items))
        for position, element in enumerate(root.findall(f"{_SUB}Application"), start=1)
    )
    _check_applications(applications)
    _check_supplement(root, frozenset(items))
    disclaimers = tuple(
        _read_disclaimer(element, f"/Submission/Disclaimer[{n}]", frozenset(items))
        for n, element in enumerate(root.findall(f"{_SUB}Disclaimer"), start=1)
    )
    _check_distinct(
        (f"law {one.law} for item {one.item}", f"/Submission/Disclaimer[{n}]")
        for n, one in enumerate(disclaimers, start=1)
    )
    return Submission(
        reference=reference,
        function=_read_text(root, f"{_SUB}Function"),
        declaration=declaration,
        declarant_id=_read_text(declaration, f"{_DEC}Declarant/{_DEC}ID"),
        agent_id=_read_text(declaration, f"{_DEC}Agent/{_DEC}ID") or None,
        ucr=_read_text(declaration, f"{_DEC}GoodsShipment/{_DEC}UCR/{_DEC}ID") or None,
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
    named = {attachment.content_id: attachment for attachment in submission.attachments}
    wrong = {cid: _describe_mismatch(one, payloads.get(cid)) for cid, one in named.items()}
    wrong |= {cid: "no application names this payload" for cid in payloads if cid not in named}
    return tuple(
        GatewayError(ATTACHMENT_MISMATCH, difference, f"cid:{cid}")
        for cid, difference in wrong.items()
        if difference
    )


def _describe_mismatch(attachment: Attachment, content: bytes | Body | None) -> str:
    if content is None:
        return "the attachment is not in the message"
    if count_octets(content) != attachment.size:
        return f"{count_octets(content)} octets came, {attachment.size} were declared"
    if as_body(content).sha256_hex != attachment.sha256:
        return "the SHA-256 is not the declared one"
    return ""


def _get_declaration(root: etree._Element) -> etree._Element:
    if root.tag != f"{_SUB}Submission":
        raise GatewayError(DOCUMENT_INVALID, "the payload is not a Submission", "/")
    found = next((root.find(path) for path in _DECLARATIONS if root.find(path) is not None), None)
    if found is None:
        raise GatewayError(
            DOCUMENT_INVALID, "the submission contains no declaration", "/Submission/Declaration"
        )
    return found


def _read_items(declaration: etree._Element) -> tuple[int, ...]:
    path = f"{_DEC}GoodsShipment/{_DEC}GovernmentAgencyGoodsItem/{_DEC}SequenceNumeric"
    # The schema's type is a decimal without fraction, which may be written 1.0 as well.
    where = "42A/67A[1]/68A"
    texts = [read_leaf_text(element).strip() or "0" for element in declaration.findall(path)]
    numbers = tuple(_parse_whole_number(text, f"{where}[{n}]/006") for n, text in enumerate(texts, 1))
    _check_distinct((number, f"{where}[{number}]/006") for number in numbers)
    return numbers


def _check_applications(applications: Iterable[Application]) -> None:
    """Raise GW505, at the second place, for a value that two applications may not share."""
    known = tuple(applications)
    _check_distinct((one.id, f"APP[{one.position}]/@id") for one in known)
    # Decisions are identified by item and law, so two applications of one document for one item
    # would collide.
    _check_distinct(
        (f"{one.document} for item {item}", f"APP[{one.position}]/Items")
        for one in known
        for item in one.items
    )
    _check_distinct(
        (attachment.content_id, f"APP[{one.position}]/Attachment{f'[{n}]' if n > 1 else ''}/@cid")
        for one in known
        for n, attachment in enumerate(one.attachments, 1)
    )


def _check_reference(reference: str, declaration: etree._Element) -> None:
    inside = _read_text(declaration, f"{_DEC}FunctionalReferenceID")
    if inside and inside != reference:
        detail = f"Reference {reference[:40]!r} is not FunctionalReferenceID {inside[:40]!r}"
        raise GatewayError(SOURCES_DISAGREE, detail, "42A/D026")


def _read_application(element: etree._Element, position: int, known: frozenset[int]) -> Application:
    where = f"APP[{position}]"
    items = tuple(
        _parse_whole_number(number, f"{where}/Items")
        for number in _read_text(element, f"{_SUB}Items").split()
    )
    _check_distinct((item, f"{where}/Items") for item in items)
    for item in items:
        if item not in known:
            raise GatewayError(SOURCES_DISAGREE, f"the declaration has no item {item}", f"{where}/Items")
    return Application(
        position=position,
        id=element.get("id", ""),
        document=element.get("document", ""),
        items=items,
        attachments=tuple(_read_attachment(child, where) for child in element.findall(f"{_SUB}Attachment")),
    )


def _read_attachment(element: etree._Element, where: str) -> Attachment:
    return Attachment(
        content_id=element.get("cid", ""),
        media_type=element.get("mediaType", ""),
        sha256=element.get("sha256", "").lower(),
        size=_parse_whole_number(element.get("size", "0"), f"{where}/Attachment/@size"),
        kind=element.get("kind", ""),
    )


def _read_disclaimer(element: etree._Element, where: str, known: frozenset[int]) -> Disclaimer:
    """Return a disclaimer; raise GW505 for an item that is not declared, GW404 for Z without a text."""
    item = _parse_whole_number(element.get("item", "0"), f"{where}/@item")
    reason, text = element.get("reason", ""), read_leaf_text(element).strip()
    if item not in known:
        raise GatewayError(SOURCES_DISAGREE, f"the declaration has no item {item}", f"{where}/@item")
    if reason == "Z" and not text:
        raise GatewayError(RULE_BROKEN, "reason Z needs a text that tells the reason", where)
    return Disclaimer(item=item, law=element.get("law", ""), reason=reason, text=text)


def _check_supplement(root: etree._Element, items: frozenset[int]) -> None:
    """Raise GW505 for a repeated value of the supplement, GW404 for one with a wrong item or WCO id."""
    seen: set[tuple[str, int | None, int]] = set()
    places = PointerIndex()

    def read_number(value: etree._Element, name: str, text: str) -> int:
        # The pointer counts elements: it is made for a problem only.
        where = "" if _WHOLE.fullmatch(text.strip()) else places.get_pointer(value, name)
        return _parse_whole_number(text, where)

    for value in root.findall(f"{_SUB}Supplement/{_SUB}Value"):
        path, stated, tag = (
            value.get("path", ""),
            value.get("item"),
            load_wco_elements().get(value.get("path", "")),
        )
        item = None if stated is None else read_number(value, "item", stated)
        finding = ""
        if item is not None and not path.startswith(f"{_ITEM}/"):
            finding = "it belongs to no goods item, and names one"
        elif item is not None and item not in items:
            finding = f"the declaration has no item {item}"
        elif tag is not None and value.get("wcoID", tag.wco_id) != tag.wco_id:
            finding = f"the WCO id of this path is {tag.wco_id}"
        if finding:
            raise GatewayError(RULE_BROKEN, f"{path[:200]}: {finding}", places.get_pointer(value))
        key = path, item, read_number(value, "n", value.get("n", "1"))
        if key in seen:
            raise GatewayError(SOURCES_DISAGREE, f"{path[:200]} is given again", places.get_pointer(value))
        seen.add(key)


def _check_distinct(values: Iterable[tuple[object, str]]) -> None:
    """Raise GW505 for a repeated value, at the place of its second occurrence."""
    seen: set[object] = set()
    for value, where in values:
        if value in seen:
            raise GatewayError(SOURCES_DISAGREE, f"{str(value)[:40]!r} occurs more than once", where)
        seen.add(value)


def _parse_whole_number(text: str, where: str) -> int:
    """Return a whole number, also for ``01`` or ``1.0``; raise GW402 at `where` for other text."""
    match = _WHOLE.fullmatch(text.strip())
    if match is None:
        raise GatewayError(DOCUMENT_INVALID, f"{text[:40]!r} is not a whole number", where)
    return int(match[1])


def _read_text(element: etree._Element, path: str) -> str:
    found = element.find(path)
    return "" if found is None else read_leaf_text(found).strip()

"""A submission as values: what the hub must know of it to open a case.

The tree has been judged by its schema before; this room reads it and checks what a schema
cannot say: that two places agree, that names are not given twice, that what an attachment
promises is what has come.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lxml import etree

from gateway.errors import ATTACHMENT_MISMATCH, DOCUMENT_INVALID, SOURCES_DISAGREE, GatewayError
from gateway.wire.namespaces import SUB, WCO_DEC, WCO_MD

__all__ = ["Application", "Attachment", "Disclaimer", "Submission", "check_attachments", "read_submission"]

_SUB = f"{{{SUB}}}"
_DEC = f"{{{WCO_DEC}}}"
_MD = f"{{{WCO_MD}}}"
#: Where the declaration may stand: bare or in its shell, with or without the wrapper element.
_DECLARATIONS = (
    f"{_DEC}Declaration",
    f"{_MD}MetaData/{_DEC}Declaration",
    f"{_SUB}Declaration/{_DEC}Declaration",
    f"{_SUB}Declaration/{_MD}MetaData/{_DEC}Declaration",
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a submission promises about one further payload; `sha256` in lower-case hexadecimal."""

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
    """The declarant says that a law does not apply to an item, and why (A, B, C, Z)."""

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
    """Return the submission of a schema-valid tree; raises GW402, GW505 with the place."""
    declaration = _declaration(root)
    items = _items(declaration)
    reference = _text(root, f"{_SUB}Reference")
    _check_reference(reference, declaration)
    applications = tuple(
        _application(element, position, frozenset(items))
        for position, element in enumerate(root.findall(f"{_SUB}Application"), start=1)
    )
    _check_distinct((one.id for one in applications), "Application/@id")
    # Decisions stand by item and law: two applications of one document for one item would collide.
    asked = (f"{one.document} for item {item}" for one in applications for item in one.items)
    _check_distinct(asked, "/Submission/Application/Items")
    _check_distinct(
        (one.content_id for application in applications for one in application.attachments), "Attachment/@cid"
    )
    return Submission(
        reference=reference,
        function=_text(root, f"{_SUB}Function"),
        declaration=declaration,
        declarant_id=_text(declaration, f"{_DEC}Declarant/{_DEC}ID"),
        agent_id=_text(declaration, f"{_DEC}Agent/{_DEC}ID") or None,
        ucr=_text(declaration, f"{_DEC}GoodsShipment/{_DEC}UCR/{_DEC}ID") or None,
        type_code=_text(declaration, f"{_DEC}TypeCode"),
        items=items,
        applications=applications,
        disclaimers=tuple(_disclaimer(element) for element in root.findall(f"{_SUB}Disclaimer")),
    )


def check_attachments(submission: Submission, payloads: Mapping[str, bytes]) -> tuple[GatewayError, ...]:
    """Hold each attachment against the payload of its content id; return a GW408 for each that differs.

    Payloads that no application names are wrong as well: nobody would see them.
    """
    named = {attachment.content_id: attachment for attachment in submission.attachments}
    wrong = {cid: _difference(one, payloads.get(cid)) for cid, one in named.items()}
    wrong |= {cid: "no application names this payload" for cid in payloads if cid not in named}
    return tuple(
        GatewayError(ATTACHMENT_MISMATCH, difference, f"cid:{cid}")
        for cid, difference in wrong.items()
        if difference
    )


def _difference(attachment: Attachment, content: bytes | None) -> str:
    if content is None:
        return "the attachment did not come with the message"
    if len(content) != attachment.size:
        return f"{len(content)} octets came, {attachment.size} were declared"
    if hashlib.sha256(content).hexdigest() != attachment.sha256:
        return "the SHA-256 is not the declared one"
    return ""


def _declaration(root: etree._Element) -> etree._Element:
    if root.tag != f"{_SUB}Submission":
        raise GatewayError(DOCUMENT_INVALID, "the payload is not a Submission", "/")
    found = next((root.find(path) for path in _DECLARATIONS if root.find(path) is not None), None)
    if found is None:
        raise GatewayError(DOCUMENT_INVALID, "the submission holds no declaration", "/Submission/Declaration")
    return found


def _items(declaration: etree._Element) -> tuple[int, ...]:
    path = f"{_DEC}GoodsShipment/{_DEC}GovernmentAgencyGoodsItem/{_DEC}SequenceNumeric"
    numbers = tuple(int((element.text or "0").strip()) for element in declaration.findall(path))
    _check_distinct(numbers, "42A/67A[1]/68A/006")
    return numbers


def _check_reference(reference: str, declaration: etree._Element) -> None:
    inside = _text(declaration, f"{_DEC}FunctionalReferenceID")
    if inside and inside != reference:
        detail = f"Reference {reference[:40]!r} is not FunctionalReferenceID {inside[:40]!r}"
        raise GatewayError(SOURCES_DISAGREE, detail, "42A/D026")


def _application(element: etree._Element, position: int, known: frozenset[int]) -> Application:
    where = f"APP[{position}]"
    items = tuple(int(number) for number in _text(element, f"{_SUB}Items").split())
    _check_distinct(items, f"{where}/Items")
    for item in items:
        if item not in known:
            raise GatewayError(SOURCES_DISAGREE, f"the declaration has no item {item}", f"{where}/Items")
    return Application(
        position=position,
        id=element.get("id", ""),
        document=element.get("document", ""),
        items=items,
        attachments=tuple(_attachment(child) for child in element.findall(f"{_SUB}Attachment")),
    )


def _attachment(element: etree._Element) -> Attachment:
    return Attachment(
        content_id=element.get("cid", ""),
        media_type=element.get("mediaType", ""),
        sha256=element.get("sha256", "").lower(),
        size=int(element.get("size", "0")),
        kind=element.get("kind", ""),
    )


def _disclaimer(element: etree._Element) -> Disclaimer:
    return Disclaimer(
        item=int(element.get("item", "0")),
        law=element.get("law", ""),
        reason=element.get("reason", ""),
        text=(element.text or "").strip(),
    )


def _check_distinct(values: Iterable[object], where: str) -> None:
    for value, times in Counter(values).items():
        if times > 1:
            raise GatewayError(SOURCES_DISAGREE, f"{str(value)[:40]!r} stands {times} times", where)


def _text(element: etree._Element, path: str) -> str:
    return (element.findtext(path) or "").strip()

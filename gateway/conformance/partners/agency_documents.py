"""Documents of an agency: reads applications by their schemas, and writes decisions and notices."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.resources.abc import Traversable
from typing import Any, Final

import yaml
from lxml import etree

from gateway.conformance.partners.agency_plan import AgencyPlan
from gateway.conformance.partners.carried_form import load_carried_form
from gateway.conformance.partners.item_places import find_item_place
from gateway.errors import (
    ATTACHMENT_MISMATCH,
    DOCUMENT_INVALID,
    DOCUMENT_UNKNOWN,
    MISUSE,
    RULE_BROKEN,
    GatewayError,
)
from gateway.share import get_data_folder
from gateway.wire import AGENCY, SERVICE_AGENCY, SchemaSet, make_document_namespace

# The agency's own item code: three characters of the document, then the number (FR2001).
_CODE: Final = re.compile(r"[A-Z]{2}[0-9A-Z]([0-9]{3})")


@dataclass(frozen=True, slots=True)
class GoodsItem:
    """One item of the goods in an application."""

    number: int
    hs: str
    #: By what the document itself names the item.
    key: str = ""


@dataclass(frozen=True, slots=True)
class ReceivedApplication:
    """A valid application; `root` is its document, `type_code` the code of its kind."""

    number: str
    case: str
    document: str
    items: tuple[GoodsItem, ...]
    root: etree._Element
    type_code: str = ""

    @property
    def values(self) -> Iterator[str]:
        """Yield all texts of its document."""
        return (one.text for one in self.root.iter("*") if one.text and not len(one))


@dataclass(frozen=True, slots=True)
class _DocumentForm:
    document: str
    laws: tuple[str, ...]
    schema: SchemaSet
    mapping: str = field(repr=False, default="")


class DocumentCatalogue:
    """The documents of one agency: schemas compiled once, and the laws under which it decides.

    `schemas` and `mappings` are folders that replace the shipped ones. `layouts` is the folder of the printed
    layouts, of which an agency has need whose form is fixed records.
    """

    def __init__(
        self,
        agency: str,
        schemas: Traversable | None = None,
        mappings: Traversable | None = None,
        layouts: Traversable | None = None,
    ) -> None:
        schemas, mappings = schemas or get_data_folder("xsd"), mappings or get_data_folder("mappings")
        place = schemas.joinpath("agencies", agency)
        if not re.fullmatch(r"[A-Z0-9]{1,20}", agency) or not place.is_dir():
            raise GatewayError(
                MISUSE, f"no schemas of an agency {agency[:40]!r}", f"xsd/agencies/{agency[:40]}"
            )
        self.agency = agency
        self._forms = dict(self._load_forms(agency, schemas, mappings.joinpath("agencies", agency)))
        #: The form in which the agency speaks; None for XML.
        self.carried = load_carried_form(agency, schemas, mappings, layouts)

    @staticmethod
    def _load_forms(
        agency: str, schemas: Traversable, mappings: Traversable
    ) -> Iterator[tuple[str, _DocumentForm]]:
        for file in sorted(one.name for one in mappings.iterdir() if one.name.endswith(".yaml")):
            document = file.removesuffix(".yaml")
            words = mappings.joinpath(file).read_text(encoding="utf-8")
            schema = SchemaSet.load_cached(schemas, f"agencies/{agency}/{document}.xsd")
            yield make_document_namespace(document), _DocumentForm(document, _read_laws(words), schema, words)

    def get_document_laws(self, document: str) -> tuple[str, ...]:
        """Return the laws under which a document's items are decided."""
        return next(form.laws for form in self._forms.values() if form.document == document)

    def read_items(self, root: etree._Element) -> tuple[GoodsItem, ...]:
        """Return the items of a valid document; raise GW402 for one that carries no number of an item."""
        items = tuple(_read_items(root))
        if items:
            return items
        form = self._forms[etree.QName(root).namespace or ""]
        # Read where it is needed alone: it takes longer than all else.
        place = find_item_place(yaml.safe_load(form.mapping))
        if place is None:
            detail = f"the mapping of {form.document} puts no item.sequence: no decision could name an item"
            raise GatewayError(DOCUMENT_INVALID, detail, str(root.tag)[:120])
        items = tuple(GoodsItem(number, "", code) for number, code in place.read_numbers(root))
        if not items:
            raise GatewayError(DOCUMENT_INVALID, "the document has no item", str(root.tag)[:120])
        return items

    def validate_document(self, root: etree._Element) -> str:
        """Return the name of the document at `root`; raise GW401 or GW402 unless it is valid."""
        form = self._forms.get(etree.QName(root).namespace or "")
        if form is None:
            raise GatewayError(DOCUMENT_UNKNOWN, f"{self.agency} has no such document", str(root.tag)[:120])
        form.schema.validate_document(root)
        return form.document


def _read_laws(text: str) -> tuple[str, ...]:
    # Only the head of the file is parsed, which is faster: the rest is the mapping.
    head = text.split("\nneeds:", 1)[0]
    row: Any = yaml.safe_load(head)
    return tuple(str(law) for law in row.get("law", ()))


def read_application(content: etree._Element, catalogue: DocumentCatalogue) -> ReceivedApplication:
    """Return the application in a SubmitApplication or SubmitSupplement; raise for an invalid one."""
    texts = {etree.QName(child).localname: child for child in content.iterchildren("*")}
    root = _open_document(next(texts["Document"].iterchildren("*")), catalogue)
    document = catalogue.validate_document(root)
    _check_attachment_digests(root, content)
    number = " ".join((texts["ApplicationNumber"].text or "").split())
    if number not in {" ".join((one.text or "").split()) for one in root.iterchildren("*")}:
        raise GatewayError(RULE_BROKEN, "the document has another application number", "ApplicationNumber")
    items = catalogue.read_items(root)
    case = " ".join((texts["CaseNumber"].text or "").split())
    return ReceivedApplication(number, case, document, items, root, root.findtext("{*}TypeCode") or "")


def _open_document(root: etree._Element, catalogue: DocumentCatalogue) -> etree._Element:
    """Return the document of a call, out of the agency's form; it is never XML for one with a form."""
    if catalogue.carried is not None:
        return catalogue.carried.open_document(root)
    return root


def _read_items(root: etree._Element) -> Iterator[GoodsItem]:
    """Yield the items of either form of document: Item with its number, or Commodity with an item code."""
    for item in root.iterfind("{*}Item"):
        number = item.findtext("{*}ItemNumber") or "0"
        yield GoodsItem(int(number), item.findtext("{*}Hs") or "", number)
    for commodity in root.iterfind(".//{*}ConsignmentItem/{*}Commodity"):
        code = _CODE.fullmatch(commodity.findtext("{*}ID") or "")
        if code is not None:
            yield GoodsItem(int(code[1]), commodity.findtext("{*}Classification/{*}ID") or "", code[0])


def _check_attachment_digests(root: etree._Element, content: etree._Element) -> None:
    """Raise for an attachment with another digest than stated, and for a named attachment that is missing."""
    brought: Mapping[str, str] = {
        one.get("cid", ""): _digest_attachment(one) for one in content.iterchildren("{*}Attachment")
    }
    for one in content.iterchildren("{*}Attachment"):
        if brought[one.get("cid", "")] != one.get("sha256"):
            raise GatewayError(ATTACHMENT_MISMATCH, "the digest does not match", f"cid:{one.get('cid')}")
    for named in root.iter("*"):
        cid = named.get("cid")
        if cid is not None and cid not in brought:
            raise GatewayError(ATTACHMENT_MISMATCH, "the attachment is missing", f"cid:{cid[:80]}")


def _digest_attachment(element: etree._Element) -> str:
    try:
        return hashlib.sha256(
            base64.b64decode("".join((element.text or "").split()), validate=True)
        ).hexdigest()
    except binascii.Error:
        return ""


_APPROVING: Final = frozenset({"APPROVED", "APPROVED_WITH_CONDITIONS", "NOT_CONCERNED"})


@dataclass(frozen=True, slots=True)
class ItemDecision:
    """One decision: item, law, decision code, number of the permit, date, conditions."""

    item: int
    law: str
    decision: str
    number: str | None
    date: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecidingNotice:
    """A deciding notice: its number, its time, its status code, its decisions."""

    number: str
    issued_at: datetime
    status: str
    decisions: tuple[ItemDecision, ...] = ()


def decide_application(
    application: ReceivedApplication, plan: AgencyPlan, laws: tuple[str, ...], notice: tuple[str, datetime]
) -> DecidingNotice:
    """Decide every item of an application under every law of the plan; `notice` is number and time."""
    number, at = notice
    decided = tuple(
        _decide_item(application, item.number, law, (plan.find_rule(item.number, item.hs), at))
        for item in application.items
        for law in plan.laws or laws[:1]
    )
    return DecidingNotice(number, at, plan.status or _derive_status_code(decided), decided)


def _decide_item(
    application: ReceivedApplication, item: int, law: str, how: tuple[Any, datetime]
) -> ItemDecision:
    rule, at = how
    approved = rule.decision in ("APPROVED", "APPROVED_WITH_CONDITIONS")
    permit = f"{application.number}-{law}-{item:03d}" if approved else None
    return ItemDecision(item, law, rule.decision, permit, at.date().isoformat(), rule.conditions)


def _derive_status_code(decided: tuple[ItemDecision, ...]) -> str:
    """Return the status code for the decisions: R01 passed, R04 failed, F02 failed in part."""
    good = [one.decision in _APPROVING for one in decided]
    return "R01" if all(good) else "F02" if any(good) else "R04"


def build_acknowledgment(response: str, receipt: str) -> etree._Element:
    """Return the response element (Clark notation) that acknowledges a call."""
    root, answer = _start_response(response)
    _add_text(etree.SubElement(answer, _qualify_name(root, "Acknowledged")), "ReceiptNumber", receipt)
    return root


def build_notice_answer(response: str, said: DecidingNotice) -> etree._Element:
    """Return the response element with a notice: an immediate decision, or an answer to a cancellation."""
    root, answer = _start_response(response)
    notice = etree.SubElement(answer, _qualify_name(root, "Notice"))
    _write_notice(notice, said.number, said.issued_at, said.status)
    _write_decisions(notice, said.decisions)
    return root


def build_decision_call(application: str, said: DecidingNotice) -> etree._Element:
    """Return the SubmitDecision that decides an application."""
    root = _start_call("SubmitDecision", application)
    _write_notice(root, said.number, said.issued_at, said.status)
    _write_decisions(root, said.decisions)
    return root


def build_delivery_call(document: etree._Element) -> etree._Element:
    """Return the DeliverNotice with a document of the agency's own form."""
    nsmap: Any = {None: SERVICE_AGENCY}
    root = etree.Element(f"{{{SERVICE_AGENCY}}}DeliverNotice", nsmap=nsmap)
    etree.SubElement(root, _qualify_name(root, "Document")).append(document)
    return root


def build_status_call(application: str, number: str, issued_at: datetime, status: str) -> etree._Element:
    """Return the SubmitDecision that reports a status without a decision."""
    root = _start_call("SubmitDecision", application)
    _write_notice(root, number, issued_at, status)
    return root


def build_information_call(
    application: str, number: str, issued_at: datetime, plan: AgencyPlan
) -> etree._Element:
    """Return the RequestInformation with the text of the plan."""
    root = _start_call("RequestInformation", application)
    _write_notice(root, number, issued_at, None)
    for pointer in plan.pointers:
        _add_text(root, "Pointer", pointer)
    _add_text(root, "Text", plan.text)
    _add_text(root, "Deadline", _format_instant(issued_at + timedelta(seconds=plan.deadline)))
    return root


def _start_response(name: str) -> tuple[etree._Element, etree._Element]:
    # The stubs of lxml do not support the default namespace.
    nsmap: Any = {None: etree.QName(name).namespace or AGENCY}
    root = etree.Element(name, nsmap=nsmap)
    return root, etree.SubElement(root, _qualify_name(root, "Answer"))


def _start_call(operation: str, application: str) -> etree._Element:
    nsmap: Any = {None: SERVICE_AGENCY}
    root = etree.Element(f"{{{SERVICE_AGENCY}}}{operation}", nsmap=nsmap)
    _add_text(root, "ApplicationNumber", application)
    return root


def _write_notice(parent: etree._Element, number: str, issued_at: datetime, status: str | None) -> None:
    _add_text(parent, "NoticeNumber", number)
    _add_text(parent, "IssuedAt", _format_instant(issued_at))
    if status is not None:
        _add_text(parent, "StatusCode", status)


def _write_decisions(parent: etree._Element, decisions: Iterable[ItemDecision]) -> None:
    for one in decisions:
        element = etree.SubElement(parent, _qualify_name(parent, "Decision"))
        _add_text(element, "item", str(one.item))
        _add_text(element, "law", one.law)
        _add_text(element, "decision", one.decision)
        if one.number is not None:
            _add_text(element, "number", one.number)
        _add_text(element, "date", one.date)
        for condition in one.conditions:
            _add_text(element, "condition", condition)


def _qualify_name(parent: etree._Element, name: str) -> str:
    return f"{{{etree.QName(parent).namespace}}}{name}"


def _add_text(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, _qualify_name(parent, name)).text = text


def _format_instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

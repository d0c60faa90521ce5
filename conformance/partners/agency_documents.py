"""Documents of an agency: reads applications by their schemas, and writes decisions and notices.

The simulated agency decides each item by its number. For most shipped documents the agency knows the place
of the number; for any other document the mapping states the place: the repetition over the items, and the
line in it that carries the number.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from importlib.resources.abc import Traversable
from typing import Any, Final

import yaml
from lxml import etree

from gateway.errors import (
    ATTACHMENT_MISMATCH,
    DOCUMENT_INVALID,
    DOCUMENT_UNKNOWN,
    MISUSE,
    RULE_BROKEN,
    GatewayError,
)
from gateway.share import get_data_folder
from gateway.wire import AGENCY, SERVICE_AGENCY, SchemaSet, format_instant, make_document_namespace
from gateway_conformance.partners.agency_plan import AgencyPlan, ItemRule
from gateway_conformance.partners.carried_format import load_carried_format

_SEQUENCE: Final = "item.sequence"


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """The path of the element of an item, the path of the number in it, and the prefix of the number."""

    item_path: str
    number_path: str
    prefix: str = ""

    def read_numbers(self, root: etree._Element) -> Iterator[tuple[int, str]]:
        """Yield the number of each item of a request, and the text that states it."""
        for element in root.iterfind(self.item_path):
            path, _, attribute = self.number_path.partition("@")
            holder = element.find(path.rstrip("/")) if path else element
            if holder is not None:
                text = ((holder.get(attribute) if attribute else holder.text) or "").strip()
                digits = text.removeprefix(self.prefix)
                if digits.isdecimal():
                    yield int(digits), text


def find_item_place(mapping: Any) -> ItemPlace | None:
    """Return the place of the items in a mapping as read from YAML; None where no line has their number."""
    for path, spec in _list_lines(mapping.get("puts"), ""):
        each = spec.get("each")
        if isinstance(each, dict) and each.get("item") == "application.items":
            for inner, line in _list_lines(spec.get("puts"), ""):
                serial = str(line.get("serial", ""))
                if serial and line.get("from") == _SEQUENCE:
                    return ItemPlace(path, inner, serial.partition("%")[0])
                if line.get("common") == _SEQUENCE:
                    return ItemPlace(path, inner)
    return None


def _list_lines(puts: Any, parent_path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the lines of a mapping with their paths, in any namespace, and those below them."""
    for line in puts or ():
        for target, spec in line.items():
            if not isinstance(spec, dict) or "[" in target or "{" in target:
                continue
            path = parent_path + "/".join(_qualify_step(step) for step in target.split("/"))
            yield path, spec
            yield from _list_lines(spec.get("puts"), f"{path}/")


def _qualify_step(step: str) -> str:
    return step if step.startswith("@") else f"{{*}}{step}"


# The agency's own item code: three characters of the document, then the number (FR2001).
#: Agencies count days where they are.
_ZONE: Final = timezone(timedelta(hours=9))
_CODE: Final = re.compile(r"[A-Z]{2}[0-9A-Z]([0-9]{3})")


@dataclass(frozen=True, slots=True)
class GoodsItem:
    """One item of the goods in an application."""

    number: int
    hs: str
    #: The identifier of the item in the document itself.
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
        return (element.text for element in self.root.iter("*") if element.text and not len(element))


@dataclass(frozen=True, slots=True)
class _DocumentDefinition:
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
        folder = schemas.joinpath("agencies", agency)
        if not re.fullmatch(r"[A-Z0-9]{1,20}", agency) or not folder.is_dir():
            raise GatewayError(
                MISUSE, f"no schemas of an agency {agency[:40]!r}", f"xsd/agencies/{agency[:40]}"
            )
        self.agency = agency
        self._definitions = dict(
            self._load_definitions(agency, schemas, mappings.joinpath("agencies", agency))
        )
        #: The form in which the agency speaks; None for XML.
        self.carried = load_carried_format(agency, schemas, mappings, layouts)

    @staticmethod
    def _load_definitions(
        agency: str, schemas: Traversable, mappings: Traversable
    ) -> Iterator[tuple[str, _DocumentDefinition]]:
        for file in sorted(entry.name for entry in mappings.iterdir() if entry.name.endswith(".yaml")):
            document = file.removesuffix(".yaml")
            mapping = mappings.joinpath(file).read_text(encoding="utf-8")
            schema = SchemaSet.load_cached(schemas, f"agencies/{agency}/{document}.xsd")
            yield (
                make_document_namespace(document),
                _DocumentDefinition(document, _read_laws(mapping), schema, mapping),
            )

    def get_document_laws(self, document: str) -> tuple[str, ...]:
        """Return the laws under which a document's items are decided."""
        return next(
            definition.laws for definition in self._definitions.values() if definition.document == document
        )

    def read_items(self, root: etree._Element) -> tuple[GoodsItem, ...]:
        """Return the items of a valid document; raise GW402 for one that carries no number of an item."""
        items = tuple(_read_items(root))
        if items:
            return items
        definition = self._definitions[etree.QName(root).namespace or ""]
        # Read where it is needed alone: it takes longer than all else.
        item_place = find_item_place(yaml.safe_load(definition.mapping))
        if item_place is None:
            detail = (
                f"the mapping of {definition.document} puts no item.sequence: no decision could name an item"
            )
            raise GatewayError(DOCUMENT_INVALID, detail, str(root.tag)[:120])
        items = tuple(GoodsItem(number, "", code) for number, code in item_place.read_numbers(root))
        if not items:
            raise GatewayError(DOCUMENT_INVALID, "the document has no item", str(root.tag)[:120])
        return items

    def validate_document(self, root: etree._Element) -> str:
        """Return the name of the document at `root`; raise GW401 or GW402 unless it is valid."""
        definition = self._definitions.get(etree.QName(root).namespace or "")
        if definition is None:
            raise GatewayError(DOCUMENT_UNKNOWN, f"{self.agency} has no such document", str(root.tag)[:120])
        definition.schema.validate_document(root)
        return definition.document


def _read_laws(mapping_text: str) -> tuple[str, ...]:
    # Only the head of the file is parsed, which is faster: the rest is the mapping.
    head = mapping_text.split("\nneeds:", 1)[0]
    row: Any = yaml.safe_load(head)
    return tuple(str(law) for law in row.get("law", ()))


def read_application(content: etree._Element, catalogue: DocumentCatalogue) -> ReceivedApplication:
    """Return the application in a SubmitApplication or SubmitSupplement; raise for an invalid one."""
    texts = {etree.QName(child).localname: child for child in content.iterchildren("*")}
    root = _open_document(next(texts["Document"].iterchildren("*")), catalogue)
    document = catalogue.validate_document(root)
    _check_attachment_digests(root, content)
    number = " ".join((texts["ApplicationNumber"].text or "").split())
    if number not in {" ".join((child.text or "").split()) for child in root.iterchildren("*")}:
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
        attachment.get("cid", ""): _digest_attachment(attachment)
        for attachment in content.iterchildren("{*}Attachment")
    }
    for attachment in content.iterchildren("{*}Attachment"):
        if brought[attachment.get("cid", "")] != attachment.get("sha256"):
            raise GatewayError(
                ATTACHMENT_MISMATCH, "the digest does not match", f"cid:{attachment.get('cid')}"
            )
    for element in root.iter("*"):
        cid = element.get("cid")
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
    application: ReceivedApplication,
    plan: AgencyPlan,
    laws: tuple[str, ...],
    notice_number: str,
    at: datetime,
) -> DecidingNotice:
    """Decide every item of an application under every law of the plan, by the notice `number` at a time."""
    item_decisions = tuple(
        _decide_item(application, item.number, law, plan.find_rule(item.number, item.hs), at)
        for item in application.items
        for law in plan.laws or laws[:1]
    )
    return DecidingNotice(
        notice_number, at, plan.status or _derive_status_code(item_decisions), item_decisions
    )


def _decide_item(
    application: ReceivedApplication, item: int, law: str, rule: ItemRule, at: datetime
) -> ItemDecision:
    approved = rule.decision in ("APPROVED", "APPROVED_WITH_CONDITIONS")
    permit = f"{application.number}-{law}-{item:03d}" if approved else None
    day = at.astimezone(_ZONE).date().isoformat()
    return ItemDecision(item, law, rule.decision, permit, day, rule.conditions)


def _derive_status_code(item_decisions: tuple[ItemDecision, ...]) -> str:
    """Return the status code for the decisions: R01 passed, R04 failed, F02 failed in part."""
    good = [decision.decision in _APPROVING for decision in item_decisions]
    return "R01" if all(good) else "F02" if any(good) else "R04"


def build_acknowledgment(response: str, receipt: str) -> etree._Element:
    """Return the response element (Clark notation) that acknowledges a call."""
    root, answer = _start_response(response)
    _add_text(etree.SubElement(answer, _qualify_name(root, "Acknowledged")), "ReceiptNumber", receipt)
    return root


def build_notice_answer(response: str, decision: DecidingNotice) -> etree._Element:
    """Return the response element with a notice: an immediate decision, or an answer to a cancellation."""
    root, answer = _start_response(response)
    notice = etree.SubElement(answer, _qualify_name(root, "Notice"))
    _write_notice(notice, decision.number, decision.issued_at, decision.status)
    _write_decisions(notice, decision.decisions)
    return root


def build_decision_call(application: str, decision: DecidingNotice) -> etree._Element:
    """Return the SubmitDecision that decides an application."""
    root = _start_call("SubmitDecision", application)
    _write_notice(root, decision.number, decision.issued_at, decision.status)
    _write_decisions(root, decision.decisions)
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
    application: str, notice_number: str, issued_at: datetime, plan: AgencyPlan
) -> etree._Element:
    """Return the RequestInformation with the text of the plan."""
    root = _start_call("RequestInformation", application)
    _write_notice(root, notice_number, issued_at, None)
    for pointer in plan.pointers:
        _add_text(root, "Pointer", pointer)
    _add_text(root, "Text", plan.text)
    _add_text(root, "Deadline", format_instant(issued_at + timedelta(seconds=plan.deadline)))
    return root


def _start_response(response_name: str) -> tuple[etree._Element, etree._Element]:
    # The stubs of lxml do not support the default namespace.
    nsmap: Any = {None: etree.QName(response_name).namespace or AGENCY}
    root = etree.Element(response_name, nsmap=nsmap)
    return root, etree.SubElement(root, _qualify_name(root, "Answer"))


def _start_call(operation: str, application: str) -> etree._Element:
    nsmap: Any = {None: SERVICE_AGENCY}
    root = etree.Element(f"{{{SERVICE_AGENCY}}}{operation}", nsmap=nsmap)
    _add_text(root, "ApplicationNumber", application)
    return root


def _write_notice(
    parent: etree._Element, notice_number: str, issued_at: datetime, status: str | None
) -> None:
    _add_text(parent, "NoticeNumber", notice_number)
    _add_text(parent, "IssuedAt", format_instant(issued_at))
    if status is not None:
        _add_text(parent, "StatusCode", status)


def _write_decisions(parent: etree._Element, decisions: Iterable[ItemDecision]) -> None:
    for decision in decisions:
        element = etree.SubElement(parent, _qualify_name(parent, "Decision"))
        _add_text(element, "item", str(decision.item))
        _add_text(element, "law", decision.law)
        _add_text(element, "decision", decision.decision)
        if decision.number is not None:
            _add_text(element, "number", decision.number)
        _add_text(element, "date", decision.date)
        for condition in decision.conditions:
            _add_text(element, "condition", condition)


def _qualify_name(parent: etree._Element, name: str) -> str:
    return f"{{{etree.QName(parent).namespace}}}{name}"


def _add_text(parent: etree._Element, name: str, text: str) -> None:
    etree.SubElement(parent, _qualify_name(parent, name)).text = text

"""Makes the later documents of a broker about its submission: amendment, withdrawal, retransmission.

For an amendment, goods items are removed, and others are added that are like the items that stay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from typing import Any, Final

from lxml import etree

from gateway.errors import RULE_BROKEN, GatewayError
from gateway.wire import DS, SUB, WCO_DEC, parse_xml, serialize_element

_DEC: Final = f"{{{WCO_DEC}}}"
_SUB: Final = f"{{{SUB}}}"
_ITEM: Final = f"{_DEC}GovernmentAgencyGoodsItem"


def change_items(content: bytes, removed: Collection[int], added: Collection[Mapping[str, Any]]) -> bytes:
    """Return a submission without the items `removed`, and with each item of `added`.

    A row of `added` has the number `item`, the item that it is `like`, and its `description`. It goes
    into the applications of the item that it is like. An application without items is left out.
    """
    root = parse_xml(content)
    for row in added:
        _add_item(root, str(row["item"]), str(row["like"]), row["description"])
    for item in map(str, removed):
        for old in (_find_goods_item(root, item), *_find_item_values(root, item)):
            _detach(old)
    for application in root.findall(f"{_SUB}Application"):
        items = application.find(f"{_SUB}Items")
        stay = (
            [number for number in (items.text or "").split() if int(number) not in removed]
            if items is not None
            else []
        )
        if items is not None and stay:
            items.text = " ".join(stay)
        else:
            root.remove(application)
    return serialize_element(root)


def _find_goods_item(root: etree._Element, item: str) -> etree._Element:
    for goods in root.iter(_ITEM):
        if goods.findtext(f"{_DEC}SequenceNumeric") == item:
            return goods
    raise GatewayError(RULE_BROKEN, f"the declaration has no item {item}", "/Submission/Declaration")


def _find_item_values(root: etree._Element, item: str) -> list[etree._Element]:
    """Return the elements of an item outside the declaration: values of the supplement, and answers."""
    values = root.findall(f"{_SUB}Supplement/{_SUB}Value[@item='{item}']")
    return [*values, *root.findall(f"{_SUB}Application/{_SUB}Fields/*[@sequence='{item}']")]


def _add_item(root: etree._Element, item: str, like: str, description: str) -> None:
    goods = deepcopy(_find_goods_item(root, like))
    for path, text in (("SequenceNumeric", item), (f"Commodity/{_DEC}Description", description)):
        element = goods.find(f"{_DEC}{path}")
        if element is not None:
            element.text = text
    [*root.iter(_ITEM)][-1].addnext(goods)
    for item_value in _find_item_values(root, like):
        name = "item" if item_value.get("item") is not None else "sequence"
        copy = deepcopy(item_value)
        copy.set(name, item)
        item_value.addnext(copy)
    for items in root.findall(f"{_SUB}Application/{_SUB}Items"):
        if like in (items.text or "").split():
            items.text = f"{items.text} {item}"


def _detach(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


#: The elements of a declaration before its AdditionalInformation.
_BEFORE_STATEMENT: Final = (
    *("AcceptanceDateTime", "FunctionCode", "FunctionalReferenceID", "ID", "IssueDateTime"),
    *("IssueLocationID", "TypeCode", "GoodsItemQuantity", "DeclarationOfficeID", "InvoiceAmount"),
    *("LoadingListQuantity", "TotalGrossMassMeasure", "TotalPackageQuantity"),
    *("SpecificCircumstancesCodeCode", "Authentication", "Submitter", "AdditionalDocument"),
)
#: The elements of its declaration that a withdrawal keeps, in the order of the schema.
_WITHDRAWAL_ELEMENTS: Final = ("FunctionCode", "FunctionalReferenceID", "Agent", "Declarant")


def make_amendment(content: bytes, reason_code: str, reason_text: str, changes: Mapping[str, str]) -> bytes:
    """Return the unsigned amendment of the submission in `content`, with its reason as code and words.

    `changes` has new texts of the fields of the applications, by their local names.
    """
    root = parse_xml(content)
    for old in root.findall(f"{{{DS}}}Signature"):
        root.remove(old)
    for field in root.iterfind(f"{{{SUB}}}Application//*"):
        new = changes.get(etree.QName(field).localname)
        if new is not None and not len(field):
            field.text = new
    function, declaration = root.find(f"{{{SUB}}}Function"), next(root.iter(f"{_DEC}Declaration"), None)
    if function is None or declaration is None:
        raise GatewayError(RULE_BROKEN, "there is no declaration to amend", "/Submission/Declaration")
    function.text = "13"
    _write_reason(declaration, reason_code, reason_text)
    return serialize_element(root)


def make_withdrawal(content: bytes, reason_code: str, reason_text: str) -> bytes:
    """Return the unsigned withdrawal of the submission in `content`, with its reason as code and words."""
    root = parse_xml(content)
    for name in (
        f"{{{DS}}}Signature",
        *(f"{{{SUB}}}{name}" for name in ("Application", "Supplement", "Disclaimer")),
    ):
        for old in root.findall(name):
            root.remove(old)
    function, declaration = root.find(f"{{{SUB}}}Function"), next(root.iter(f"{_DEC}Declaration"), None)
    if function is None or declaration is None:
        raise GatewayError(RULE_BROKEN, "there is no declaration to withdraw", "/Submission/Declaration")
    function.text = "1"
    for child in list(declaration):
        if etree.QName(child).localname not in _WITHDRAWAL_ELEMENTS:
            declaration.remove(child)
    _write_reason(declaration, reason_code, reason_text)
    return serialize_element(root)


def make_child_declaration(
    content: bytes, parent: str, reference: str, items: Mapping[str, Mapping[str, str]]
) -> bytes:
    """Return the unsigned child declaration that takes `items` of the case `parent`, under a new reference.

    `items` has for each item number the quantities of its measures that leave, by their local names.
    """
    root = parse_xml(content)
    for name in (f"{{{DS}}}Signature", f"{{{SUB}}}Application", f"{{{SUB}}}Supplement"):
        for old in root.findall(name):
            root.remove(old)
    for element in (root.find(f"{{{SUB}}}Reference"), next(root.iter(f"{_DEC}FunctionalReferenceID"), None)):
        if element is not None:
            element.text = reference
    for goods in list(root.iter(f"{_DEC}GovernmentAgencyGoodsItem")):
        quantities = items.get(goods.findtext(f"{_DEC}SequenceNumeric") or "")
        shipment = goods.getparent()
        if quantities is not None:
            _write_released_goods(goods, parent, quantities)
        elif shipment is not None:
            shipment.remove(goods)
    for count in root.iter(f"{_DEC}GoodsItemQuantity"):
        count.text = str(len(items))
    return serialize_element(root)


def _write_released_goods(goods: etree._Element, parent: str, quantities: Mapping[str, str]) -> None:
    for old in goods.findall(f"{_DEC}AdditionalDocument"):
        goods.remove(old)
    for name, quantity in quantities.items():
        for measure in goods.iter(f"{_DEC}{name}"):
            measure.text = quantity
    previous = etree.SubElement(goods, f"{_DEC}PreviousDocument")
    etree.SubElement(previous, f"{_DEC}ID").text = parent
    etree.SubElement(previous, f"{_DEC}TypeCode").text = "998"
    etree.SubElement(previous, f"{_DEC}LineNumeric").text = goods.findtext(f"{_DEC}SequenceNumeric")


def add_used_certificate(content: bytes, item: int, number: str, quantity: str, unit: str) -> bytes:
    """Return the submission in `content` with one more certificate that an item uses."""
    root = parse_xml(content)
    for goods in root.iter(f"{_DEC}GovernmentAgencyGoodsItem"):
        if goods.findtext(f"{_DEC}SequenceNumeric") != str(item):
            continue
        document = etree.Element(f"{_DEC}AdditionalDocument")
        etree.SubElement(document, f"{_DEC}ID").text = number
        used = etree.SubElement(etree.SubElement(document, f"{_DEC}WriteOff"), f"{_DEC}QuantityQuantity")
        used.set("unitCode", unit)
        used.text = quantity
        commodity = goods.find(f"{_DEC}Commodity")
        if commodity is not None:
            commodity.addprevious(document)
            return serialize_element(root)
    raise GatewayError(RULE_BROKEN, f"the declaration has no item {item}", "/Submission/Declaration")


def make_retransmission(content: bytes) -> bytes:
    """Return the unsigned whole submission again (Function 35): the answer to a hold."""
    root = parse_xml(content)
    for old in root.findall(f"{{{DS}}}Signature"):
        root.remove(old)
    function = root.find(f"{{{SUB}}}Function")
    if function is None:
        raise GatewayError(RULE_BROKEN, "there is no submission to send again", "/Submission/Function")
    function.text = "35"
    return serialize_element(root)


def leave_applications_out(content: bytes, documents: Collection[str]) -> bytes:
    """Return a submission without its applications of some documents, and without its signature."""
    root = parse_xml(content)
    for old in root.findall(f"{{{DS}}}Signature"):
        root.remove(old)
    for application in root.findall(f"{{{SUB}}}Application"):
        if application.get("document") in documents:
            root.remove(application)
    return serialize_element(root)


def _write_reason(declaration: etree._Element, reason_code: str, reason_text: str) -> None:
    """Write code and words of a reason in front of the parties that come after them."""
    statement = etree.Element(f"{_DEC}AdditionalInformation")
    etree.SubElement(statement, f"{_DEC}StatementDescription").text = reason_text
    etree.SubElement(statement, f"{_DEC}StatementTypeCode").text = "AES"
    change = etree.Element(f"{_DEC}Amendment")
    etree.SubElement(change, f"{_DEC}ChangeReasonCode").text = reason_code
    names = [etree.QName(child).localname for child in declaration]
    declaration.insert(_find_insertion_index(names, _BEFORE_STATEMENT), statement)
    declaration.insert(_find_insertion_index(names, (*_BEFORE_STATEMENT, "Agent")) + 1, change)


def _find_insertion_index(names: list[str], earlier: tuple[str, ...]) -> int:
    """Return the place behind the elements of these names."""
    return 1 + max((position for position, name in enumerate(names) if name in earlier), default=-1)


def make_supplement(content: bytes, application: str, changes: Mapping[str, str]) -> bytes:
    """Return the unsigned supplement to a submission: one application with some of its fields changed.

    `changes` has new texts by the local name of the field; the other applications are left
    out.
    """
    root = parse_xml(content)
    for old in root.findall(f"{{{DS}}}Signature"):
        root.remove(old)
    for element in root.findall(f"{{{SUB}}}Application"):
        if element.get("id") != application:
            root.remove(element)
            continue
        for field in element.iter("*"):
            new = changes.get(etree.QName(field).localname)
            if new is not None and not len(field):
                field.text = new
    function = root.find(f"{{{SUB}}}Function")
    if function is None or root.find(f"{{{SUB}}}Application") is None:
        raise GatewayError(
            RULE_BROKEN, f"there is no application {application[:40]!r}", "/Submission/Application"
        )
    function.text = "35"
    return serialize_element(root)

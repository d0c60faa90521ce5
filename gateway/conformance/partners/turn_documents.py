"""Makes what a broker sends later about a submission of its own: amendment, withdrawal, retransmission."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from lxml import etree

from gateway.errors import RULE_BROKEN, GatewayError
from gateway.wire import DS, SUB, WCO_DEC, parse_xml, serialize_element

__all__ = [
    "leave_applications_out",
    "make_amendment",
    "make_child",
    "make_retransmission",
    "make_withdrawal",
    "name_requirement",
]

_DEC: Final = f"{{{WCO_DEC}}}"
#: The elements of a declaration before its AdditionalInformation.
_BEFORE_STATEMENT: Final = (
    *("AcceptanceDateTime", "FunctionCode", "FunctionalReferenceID", "ID", "IssueDateTime"),
    *("IssueLocationID", "TypeCode", "GoodsItemQuantity", "DeclarationOfficeID", "InvoiceAmount"),
    *("LoadingListQuantity", "TotalGrossMassMeasure", "TotalPackageQuantity"),
    *("SpecificCircumstancesCodeCode", "Authentication", "Submitter", "AdditionalDocument"),
)
#: What a withdrawal says of its declaration, in the order of the schema.
_KEPT: Final = ("FunctionCode", "FunctionalReferenceID", "Agent", "Declarant")


def make_amendment(content: bytes, code: str, text: str, changes: Mapping[str, str]) -> bytes:
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
    _state_reason(declaration, code, text)
    return serialize_element(root)


def make_withdrawal(content: bytes, code: str, text: str) -> bytes:
    """Return the unsigned withdrawal of the submission in `content`, with its reason as code and words."""
    root = parse_xml(content)
    for name in (
        f"{{{DS}}}Signature",
        *(f"{{{SUB}}}{one}" for one in ("Application", "Supplement", "Disclaimer")),
    ):
        for old in root.findall(name):
            root.remove(old)
    function, declaration = root.find(f"{{{SUB}}}Function"), next(root.iter(f"{_DEC}Declaration"), None)
    if function is None or declaration is None:
        raise GatewayError(RULE_BROKEN, "there is no declaration to withdraw", "/Submission/Declaration")
    function.text = "1"
    for child in list(declaration):
        if etree.QName(child).localname not in _KEPT:
            declaration.remove(child)
    _state_reason(declaration, code, text)
    return serialize_element(root)


def make_child(content: bytes, parent: str, reference: str, items: Mapping[str, Mapping[str, str]]) -> bytes:
    """Return the unsigned child declaration that takes `items` of the case `parent`, under a new reference.

    `items` has for each item number the quantities of its measures that leave, by their local names.
    """
    root = parse_xml(content)
    for name in (f"{{{DS}}}Signature", f"{{{SUB}}}Application", f"{{{SUB}}}Supplement"):
        for old in root.findall(name):
            root.remove(old)
    for place in (root.find(f"{{{SUB}}}Reference"), next(root.iter(f"{_DEC}FunctionalReferenceID"), None)):
        if place is not None:
            place.text = reference
    for goods in list(root.iter(f"{_DEC}GovernmentAgencyGoodsItem")):
        taken = items.get(goods.findtext(f"{_DEC}SequenceNumeric") or "")
        shipment = goods.getparent()
        if taken is not None:
            _take_goods(goods, parent, taken)
        elif shipment is not None:
            shipment.remove(goods)
    for count in root.iter(f"{_DEC}GoodsItemQuantity"):
        count.text = str(len(items))
    return serialize_element(root)


def _take_goods(goods: etree._Element, parent: str, taken: Mapping[str, str]) -> None:
    for old in goods.findall(f"{_DEC}AdditionalDocument"):
        goods.remove(old)
    for name, quantity in taken.items():
        for measure in goods.iter(f"{_DEC}{name}"):
            measure.text = quantity
    previous = etree.SubElement(goods, f"{_DEC}PreviousDocument")
    etree.SubElement(previous, f"{_DEC}ID").text = parent
    etree.SubElement(previous, f"{_DEC}TypeCode").text = "998"
    etree.SubElement(previous, f"{_DEC}LineNumeric").text = goods.findtext(f"{_DEC}SequenceNumeric")


def name_requirement(content: bytes, item: int, number: str, quantity: str, unit: str) -> bytes:
    """Return the submission in `content` with one more certificate that an item uses."""
    root = parse_xml(content)
    for goods in root.iter(f"{_DEC}GovernmentAgencyGoodsItem"):
        if goods.findtext(f"{_DEC}SequenceNumeric") != str(item):
            continue
        named = etree.Element(f"{_DEC}AdditionalDocument")
        etree.SubElement(named, f"{_DEC}ID").text = number
        used = etree.SubElement(etree.SubElement(named, f"{_DEC}WriteOff"), f"{_DEC}QuantityQuantity")
        used.set("unitCode", unit)
        used.text = quantity
        commodity = goods.find(f"{_DEC}Commodity")
        if commodity is not None:
            commodity.addprevious(named)
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
    for one in root.findall(f"{{{SUB}}}Application"):
        if one.get("document") in documents:
            root.remove(one)
    return serialize_element(root)


def _state_reason(declaration: etree._Element, code: str, text: str) -> None:
    """Write code and words of a reason in front of the parties that come after them."""
    said = etree.Element(f"{_DEC}AdditionalInformation")
    etree.SubElement(said, f"{_DEC}StatementDescription").text = text
    etree.SubElement(said, f"{_DEC}StatementTypeCode").text = "AES"
    change = etree.Element(f"{_DEC}Amendment")
    etree.SubElement(change, f"{_DEC}ChangeReasonCode").text = code
    names = [etree.QName(one).localname for one in declaration]
    declaration.insert(_find_place(names, _BEFORE_STATEMENT), said)
    declaration.insert(_find_place(names, (*_BEFORE_STATEMENT, "Agent")) + 1, change)


def _find_place(names: list[str], earlier: tuple[str, ...]) -> int:
    """Return the place behind the elements of these names."""
    return 1 + max((place for place, name in enumerate(names) if name in earlier), default=-1)

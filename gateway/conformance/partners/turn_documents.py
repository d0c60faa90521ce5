"""Makes what a broker sends later about a submission of its own: its withdrawal."""

from __future__ import annotations

from typing import Final

from lxml import etree

from gateway.errors import RULE_BROKEN, GatewayError
from gateway.wire import DS, SUB, WCO_DEC, parse_xml, serialize_element

__all__ = ["make_withdrawal"]

_DEC: Final = f"{{{WCO_DEC}}}"
#: What a withdrawal says of its declaration, in the order of the schema.
_KEPT: Final = ("FunctionCode", "FunctionalReferenceID", "Agent", "Declarant")


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


def _state_reason(declaration: etree._Element, code: str, text: str) -> None:
    """Write code and words of a reason in front of the parties that come after them."""
    said = etree.Element(f"{_DEC}AdditionalInformation")
    etree.SubElement(said, f"{_DEC}StatementDescription").text = text
    etree.SubElement(said, f"{_DEC}StatementTypeCode").text = "AES"
    change = etree.Element(f"{_DEC}Amendment")
    etree.SubElement(change, f"{_DEC}ChangeReasonCode").text = code
    leaves = [one for one in declaration if not len(one)]
    declaration.insert(len(leaves), said)
    agent = declaration.find(f"{_DEC}Agent")
    declaration.insert(len(leaves) + (1 if agent is None else 2), change)

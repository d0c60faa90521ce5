"""Reads the answer of a partner's service: an ``Answer`` as values, or a fault as a problem."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Final

from lxml import etree

from gateway.cases import (
    AgencyAcknowledgment,
    CustomsNotice,
    CustomsReason,
    Decision,
    DecisionCode,
    NamedFee,
    Notice,
    PartnerAnswer,
    read_named_fee,
)
from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    PARTNER_FAULT,
    REFUSED_FOR_GOOD,
    GatewayError,
    describe_exception,
)
from gateway.wire import CUSTOMS, SoapFault, collapse_whitespace, parse_instant

__all__ = ["make_fault_error", "make_status_error", "read_partner_answer"]

# For these fault codes the partner would answer the same octets in the same way again. Everything else
# may pass: a fault of its own, a clock, a certificate that is not loaded yet. A repeat is signed anew.
_FOR_GOOD: Final = frozenset({"Client", "VersionMismatch", "MustUnderstand"})
_STATUS_FOR_GOOD: Final = frozenset({400, 405, 406, 411, 413, 414, 415, 422, 431})

#: The children of an element by their names without namespace, in their order.
_Children = dict[str, list[etree._Element]]


def read_partner_answer(wrapper: etree._Element) -> PartnerAnswer:
    """Return the content of the response element `wrapper`, which its schema has validated."""
    said = wrapper[0][0]
    try:
        if etree.QName(said).localname == "Acknowledged":
            return AgencyAcknowledgment(receipt_number=_get_text(_read_children(said), "ReceiptNumber"))
        if etree.QName(said).namespace == CUSTOMS:
            return _read_customs_notice(said)
        return _read_notice(said)
    except (ValueError, OverflowError, ArithmeticError) as problem:
        detail = f"a value of the answer cannot be used: {describe_exception(problem)}"
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "/soap:Envelope/soap:Body") from problem


def _read_notice(element: etree._Element) -> Notice:
    said = _read_children(element)
    deadline, last_day = _find_text(said, "Deadline"), _find_text(said, "ValidUntil")
    return Notice(
        number=_get_text(said, "NoticeNumber"),
        issued_at=parse_instant(_get_text(said, "IssuedAt")),
        status_code=_get_text(said, "StatusCode"),
        decisions=tuple([_read_decision(one) for one in said.get("Decision", ())]),
        text=_get_text(said, "Text"),
        pointers=tuple([collapse_whitespace(one.text or "") for one in said.get("Pointer", ())]),
        deadline=None if deadline is None else parse_instant(deadline),
        fee=_read_fee(said["Fee"][0]) if "Fee" in said else None,
        valid_until=None if last_day is None else date.fromisoformat(last_day),
    )


def _read_fee(element: etree._Element) -> NamedFee:
    """Return the fee of a notice; raises GW711 for what is no exact amount."""
    said = _read_children(element)
    due = _find_text(said, "dueDate")
    return read_named_fee(
        (_get_text(said, "amount"), _get_text(said, "currency")),
        None if due is None else date.fromisoformat(due),
        _get_text(said, "paymentNotice"),
        refundable=_get_text(said, "refundable") in ("true", "1"),
    )


def _read_customs_notice(element: etree._Element) -> CustomsNotice:
    said = _read_children(element)
    return CustomsNotice(
        number=_get_text(said, "NoticeNumber"),
        issued_at=parse_instant(_get_text(said, "IssuedAt")),
        code=_get_text(said, "ResultCode"),
        text=_get_text(said, "Text"),
        reasons=tuple([_read_reason(one) for one in said.get("Reason", ())]),
    )


def _read_reason(element: etree._Element) -> CustomsReason:
    said = _read_children(element)
    return CustomsReason(_get_text(said, "Text"), _get_text(said, "Pointer"), _get_text(said, "Code"))


def _read_decision(element: etree._Element) -> Decision:
    said = _read_children(element)
    day, quantity = _find_text(said, "date"), _find_text(said, "quantity")
    return Decision(
        item=int(_get_text(said, "item")),
        law=_get_text(said, "law"),
        decision=DecisionCode(_get_text(said, "decision")),
        number=_find_text(said, "number"),
        date=None if day is None else date.fromisoformat(day),
        quantity=None if quantity is None else Decimal(quantity),
        unit=_find_text(said, "unit"),
        conditions=tuple([one.text or "" for one in said.get("condition", ())]),
    )


def _read_children(parent: etree._Element) -> _Children:
    """Return the child elements by their names without namespace: each is looked at once."""
    found: _Children = {}
    for one in parent.iterchildren("*"):
        found.setdefault(one.tag.rpartition("}")[2], []).append(one)
    return found


def _find_text(said: _Children, name: str) -> str | None:
    """Return the text of the first child of a name; None where there is none."""
    if name not in said:
        return None
    text = said[name][0].text or ""
    # Sentences keep their white space; every other type of the contracts is a token or collapses.
    return text if name == "Text" else collapse_whitespace(text)


def _get_text(said: _Children, name: str) -> str:
    return _find_text(said, name) or ""


def make_fault_error(fault: SoapFault, authentic: bool) -> GatewayError:
    """Return GW602 for a fault that will be repeated, GW608 for one that may pass.

    An unsigned fault never ends a delivery: anyone may have sent it.
    """
    code = fault.code.rpartition("}")[2].rpartition(":")[2].partition(".")[0]
    known = code in _FOR_GOOD and not fault.code.startswith("{") and not fault.code.startswith("wsse:")
    detail = "it answered with a fault" if authentic else "it answered with a fault that it did not sign"
    return GatewayError(
        REFUSED_FOR_GOOD if known and authentic else PARTNER_FAULT,
        detail,
        "/soap:Envelope/soap:Body/soap:Fault",
        theirs=f"fault {fault.code[:120]}: {fault.text[:500]}",
    )


def make_status_error(status: int) -> GatewayError:
    """Return the problem for an HTTP status without SOAP envelope."""
    theirs = f"HTTP status {status}"
    if status >= 400:
        problem = REFUSED_FOR_GOOD if status in _STATUS_FOR_GOOD else PARTNER_FAULT
        return GatewayError(problem, "it answered with an error and no SOAP envelope", "HTTP", theirs=theirs)
    return GatewayError(ANSWER_NOT_UNDERSTOOD, "it answered without a SOAP envelope", "HTTP", theirs=theirs)

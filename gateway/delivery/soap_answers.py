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


def read_partner_answer(wrapper: etree._Element) -> PartnerAnswer:
    """Return the content of the response element `wrapper`, which its schema has validated."""
    said = wrapper[0][0]
    try:
        if etree.QName(said).localname == "Acknowledged":
            return AgencyAcknowledgment(receipt_number=_read_required_text(said, "ReceiptNumber"))
        if etree.QName(said).namespace == CUSTOMS:
            return _read_customs_notice(said)
        return _read_notice(said)
    except (ValueError, OverflowError, ArithmeticError) as problem:
        detail = f"a value of the answer cannot be used: {describe_exception(problem)}"
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "/soap:Envelope/soap:Body") from problem


def _read_notice(element: etree._Element) -> Notice:
    deadline, last_day = (_find_child_text(element, name) for name in ("Deadline", "ValidUntil"))
    return Notice(
        number=_read_required_text(element, "NoticeNumber"),
        issued_at=parse_instant(_read_required_text(element, "IssuedAt")),
        status_code=_read_required_text(element, "StatusCode"),
        decisions=tuple(_read_decision(one) for one in _list_children(element, "Decision")),
        text=_find_child_text(element, "Text") or "",
        pointers=tuple(collapse_whitespace(one.text or "") for one in _list_children(element, "Pointer")),
        deadline=None if deadline is None else parse_instant(deadline),
        fee=_read_fee(element),
        valid_until=None if last_day is None else date.fromisoformat(last_day),
    )


def _read_fee(notice: etree._Element) -> NamedFee | None:
    """Return the fee of a notice; raises GW711 for what is no exact amount."""
    element = notice.find("{*}Fee")
    if element is None:
        return None
    due = _find_child_text(element, "dueDate")
    return read_named_fee(
        (_read_required_text(element, "amount"), _read_required_text(element, "currency")),
        None if due is None else date.fromisoformat(due),
        _read_required_text(element, "paymentNotice"),
        refundable=_find_child_text(element, "refundable") in ("true", "1"),
    )


def _read_customs_notice(element: etree._Element) -> CustomsNotice:
    return CustomsNotice(
        number=_read_required_text(element, "NoticeNumber"),
        issued_at=parse_instant(_read_required_text(element, "IssuedAt")),
        code=_read_required_text(element, "ResultCode"),
        text=_find_child_text(element, "Text") or "",
        reasons=tuple(
            CustomsReason(
                _find_child_text(one, "Text") or "",
                _find_child_text(one, "Pointer") or "",
                _find_child_text(one, "Code") or "",
            )
            for one in _list_children(element, "Reason")
        ),
    )


def _read_decision(element: etree._Element) -> Decision:
    day, quantity = _find_child_text(element, "date"), _find_child_text(element, "quantity")
    return Decision(
        item=int(_read_required_text(element, "item")),
        law=_read_required_text(element, "law"),
        decision=DecisionCode(_read_required_text(element, "decision")),
        number=_find_child_text(element, "number"),
        date=None if day is None else date.fromisoformat(day),
        quantity=None if quantity is None else Decimal(quantity),
        unit=_find_child_text(element, "unit"),
        conditions=tuple(one.text or "" for one in _list_children(element, "condition")),
    )


def _list_children(parent: etree._Element, name: str) -> list[etree._Element]:
    return parent.findall(f"{{*}}{name}")


def _find_child_text(parent: etree._Element, name: str) -> str | None:
    found = parent.find(f"{{*}}{name}")
    if found is None:
        return None
    # Sentences keep their white space; every other type of the contracts is a token or collapses.
    return (found.text or "") if name == "Text" else collapse_whitespace(found.text or "")


def _read_required_text(parent: etree._Element, name: str) -> str:
    return _find_child_text(parent, name) or ""


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

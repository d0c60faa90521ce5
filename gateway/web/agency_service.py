"""Builds the SOAP service that agencies call, ``/soap/agency``: Spyne behind the SOAP security gate.

A test compares types and operations with ``wsdl/hub-agency.wsdl``.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final, Protocol

from lxml import etree

from gateway.cases import AgencyAcknowledgment, AgencyCallback, DecisionCode, NamedFee, Notice, read_named_fee
from gateway.cases import Decision as DecisionValue
from gateway.errors import GatewayError
from gateway.web.soap_security import Caller, SoapSecurityGate, SoapSecurityPolicy
from gateway.web.spyne_service import (
    Code,
    Instant,
    ItemNumber,
    Number,
    Pointer,
    Sentence,
    build_soap_service,
    build_spyne_application,
    call_handler,
    declare_operation,
    get_verified_call,
    make_optional,
    make_repeatable,
    make_token_type,
    refuse_call,
)
from gateway.web.spyne_shim import ComplexModel, ServiceBase, primitive
from gateway.wire import SERVICE_AGENCY, collapse_whitespace

__all__ = ["WSDL", "CallBackHandler", "build_agency_application", "build_agency_service"]

WSDL: Final = "hub-agency.wsdl"
#: Requirement status "supplement requested, with deadline": the meaning of RequestInformation.
INFORMATION_REQUESTED: Final = "D01"


class CallBackHandler(Protocol):
    """Applies the calls of the service; each method returns only after its commit.

    A method raises GatewayError to reject a call, and accepts a repeated notice without effect.
    """

    def acknowledge(self, said: AgencyCallback, caller: Caller) -> None:
        """Record that the agency has an application, with its receipt number."""

    def request_information(self, said: AgencyCallback, caller: Caller) -> None:
        """Apply a request for a supplement."""

    def submit_decision(self, said: AgencyCallback, caller: Caller) -> None:
        """Apply a notice: decisions, or another state of the request."""

    def deliver_notice(self, document: etree._Element, caller: Caller) -> None:
        """Apply a document of the agency's own form."""


StatusCode = make_token_type("StatusCode", pattern="[A-Z][0-9A-Z]{2}")
Decided = make_token_type("DecisionCode", values=[code.value for code in DecisionCode])
Quantity = primitive.Decimal(18, 6, type_name="Quantity", ge=0, min_occurs=1, nillable=False)
Day = primitive.Date(type_name="Day", pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}", min_occurs=1, nillable=False)
Amount = make_token_type("Amount", pattern=r"[0-9]{1,15}(\.[0-9]{1,4})?")
Currency = make_token_type("Currency", pattern="[A-Z]{3}")
PaymentNotice = make_token_type("PaymentNotice", pattern="[!-~]{1,19}")


class DecisionElement(ComplexModel):  # type: ignore[misc]
    """One decision about one item under one law."""

    __namespace__ = SERVICE_AGENCY
    _type_info = [  # noqa: RUF012  # Spyne reads it once
        ("item", ItemNumber),
        ("law", Code),
        ("decision", Decided),
        ("number", make_optional(Number)),
        ("date", make_optional(Day)),
        ("quantity", make_optional(Quantity)),
        ("unit", make_optional(Code)),
        ("condition", make_repeatable(Sentence)),
    ]


class DocumentElement(ComplexModel):  # type: ignore[misc]
    """A document of the agency's own form; the handler reads it by the mappings."""

    __namespace__ = SERVICE_AGENCY
    __type_name__ = "DocumentContent"
    _type_info = [  # noqa: RUF012  # Spyne reads it once
        (
            "any",
            primitive.AnyXml(
                schema_tag="{http://www.w3.org/2001/XMLSchema}any",
                namespace="##other",
                process_contents="lax",
                min_occurs=1,
            ),
        )
    ]


class FeeElement(ComplexModel):  # type: ignore[misc]
    """What is to be paid, or given back."""

    __namespace__ = SERVICE_AGENCY
    __type_name__ = "FeeContent"
    _type_info = [  # noqa: RUF012  # Spyne reads it once
        ("amount", make_optional(Amount)),
        ("currency", make_optional(Currency)),
        ("dueDate", make_optional(Day)),
        ("paymentNotice", make_optional(PaymentNotice)),
        ("refundable", primitive.Boolean(min_occurs=0)),
    ]


_EITHER: Final = "either"


class AgencyService(ServiceBase):  # type: ignore[misc]
    """The four operations; each converts its arguments to values and calls the handler."""

    @declare_operation("Acknowledge", ApplicationNumber=Number, ReceiptNumber=Number)
    def acknowledge(ctx: Any, application: str, receipt: str) -> None:  # noqa: N805
        """Handle an agency's acknowledgment that it has the application."""
        said = AgencyCallback(
            AgencyAcknowledgment(collapse_whitespace(receipt)),
            application_number=collapse_whitespace(application),
        )
        call_handler(ctx, "acknowledge", said)

    @declare_operation(
        "RequestInformation",
        ApplicationNumber=Number,
        NoticeNumber=Number,
        IssuedAt=Instant,
        Pointer=make_repeatable(Pointer),
        Text=Sentence,
        Deadline=make_optional(Instant),
    )
    def request_information(
        ctx: Any,  # noqa: N805
        application: str,
        number: str,
        issued_at: datetime,
        pointers: list[str] | None,
        text: str,
        deadline: datetime | None,
    ) -> None:
        """Handle an agency's request for a supplement."""
        notice = Notice(
            number=collapse_whitespace(number),
            issued_at=issued_at,
            status_code=INFORMATION_REQUESTED,
            text=text,
            pointers=tuple(collapse_whitespace(one) for one in pointers or ()),
            deadline=deadline,
        )
        said = AgencyCallback(notice, application_number=collapse_whitespace(application))
        call_handler(ctx, "request_information", said)

    @declare_operation(
        "SubmitDecision",
        ApplicationNumber=Number.customize(xml_choice_group=_EITHER),
        RequirementNumber=Number.customize(xml_choice_group=_EITHER),
        NoticeNumber=Number,
        IssuedAt=Instant,
        StatusCode=StatusCode,
        Decision=make_repeatable(DecisionElement),
        ReceiptNumber=make_optional(Number),
        Text=make_optional(Sentence),
        Pointer=make_repeatable(Pointer),
        Deadline=make_optional(Instant),
        Fee=FeeElement.customize(min_occurs=0),
        ValidUntil=make_optional(Day),
    )
    def submit_decision(
        ctx: Any,  # noqa: N805
        application: str | None,
        requirement: str | None,
        number: str,
        issued_at: datetime,
        status: str,
        decisions: list[Any] | None,
        receipt: str | None,
        text: str | None,
        pointers: list[str] | None,
        deadline: datetime | None,
        fee: Any,
        valid_until: date | None,
    ) -> None:
        """Handle decisions, a fee, or another new state of the request."""
        notice = Notice(
            number=collapse_whitespace(number),
            issued_at=issued_at,
            status_code=collapse_whitespace(status),
            decisions=tuple(_make_decision(one) for one in decisions or ()),
            text=text or "",
            pointers=tuple(collapse_whitespace(one) for one in pointers or ()),
            deadline=deadline,
            receipt_number=None if receipt is None else collapse_whitespace(receipt),
            fee=None if fee is None else _make_fee(ctx, fee),
            valid_until=valid_until,
        )
        said = AgencyCallback(
            notice,
            application_number=None if application is None else collapse_whitespace(application),
            requirement_number=None if requirement is None else collapse_whitespace(requirement),
        )
        call_handler(ctx, "submit_decision", said)

    @declare_operation("DeliverNotice", Document=DocumentElement.customize(min_occurs=1, nillable=False))
    def deliver_notice(ctx: Any, _document: Any) -> None:  # noqa: N805
        """Handle a document of the agency's own form, which is taken from the verified tree."""
        (wrapper,) = get_verified_call(ctx).content.iterchildren(tag=etree.Element)
        (document,) = wrapper.iterchildren(tag=etree.Element)
        call_handler(ctx, "deliver_notice", document)


def _make_decision(content: Any) -> DecisionValue:
    return DecisionValue(
        item=content.item,
        law=collapse_whitespace(content.law),
        decision=DecisionCode(collapse_whitespace(content.decision)),
        number=None if content.number is None else collapse_whitespace(content.number),
        date=content.date,
        quantity=content.quantity,
        unit=None if content.unit is None else collapse_whitespace(content.unit),
        conditions=tuple(content.condition or ()),
    )


def _make_fee(ctx: Any, content: Any) -> NamedFee:
    """Return the fee of a call; a wrong amount is stored in the environment, as `call_handler` does."""
    words = [content.amount, content.currency, content.paymentNotice]
    amount, currency, number = (collapse_whitespace(one or "") for one in words)
    try:
        return read_named_fee(
            (amount, currency), content.dueDate, number, refundable=bool(content.refundable)
        )
    except GatewayError as problem:
        refuse_call(ctx, problem)


def build_agency_application() -> Any:
    """Return the Spyne application; its namespace and names are those of ``wsdl/hub-agency.wsdl``."""
    return build_spyne_application(AgencyService, SERVICE_AGENCY, "HubAgency")


def build_agency_service(handler: CallBackHandler, security: SoapSecurityPolicy) -> SoapSecurityGate:
    """Return the WSGI application for ``/soap/agency``: security gate, Spyne, `handler`."""
    return build_soap_service(build_agency_application(), WSDL, handler, security)

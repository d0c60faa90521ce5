"""The SOAP services of the hub for agencies and for customs, and the effects of their calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import partial
from typing import Any, Final

from lxml import etree

from gateway.cases import (
    INFORMATION_REQUESTED,
    AgencyAcknowledgment,
    AgencyCallback,
    ClearedItem,
    CustomsCall,
    CustomsNotice,
    CustomsReason,
    DecisionCode,
    NamedFee,
    Notice,
    read_named_fee,
)
from gateway.cases import Decision as DecisionValue
from gateway.config import AgencySettings
from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.hub import (
    Hub,
    SenderConnection,
    apply_customs_call,
    check_client_certificate,
    take_agency_document,
    take_call_back,
)
from gateway.pki import Certificate, CertificateUse
from gateway.web.replay_cache import ReplayCache
from gateway.web.server import Environ
from gateway.web.soap_security import AnswerHeader, Caller, SoapSecurityGate, SoapSecurityPolicy
from gateway.web.spyne_service import (
    LONGEST_NUMBER,
    Code,
    ComplexModel,
    HubService,
    Instant,
    ItemNumber,
    Number,
    Pointer,
    Sentence,
    build_soap_service,
    build_spyne_application,
    declare_operation,
    get_verified_call,
    make_optional,
    make_repeatable,
    make_token_type,
    primitive,
)
from gateway.wire import SERVICE_AGENCY, SERVICE_CUSTOMS, format_instant

WSDL: Final = "hub-agency.wsdl"


#: Applies a call: its content, or the document in the agency's own form. It returns after its commit,
#: accepts a repeated notice without effect, and raises GatewayError to reject a call. It returns a header
#: block for the answer, or None.
ApplyAgencyCall = Callable[[AgencyCallback | etree._Element, Caller], AnswerHeader | None]


StatusCode = make_token_type("StatusCode", pattern="[A-Z][0-9A-Z]{2}")
Decided = make_token_type("DecisionCode", values=[code.value for code in DecisionCode])
Quantity = primitive.Decimal(
    18, 6, type_name="Quantity", ge=0, max_str_len=LONGEST_NUMBER, min_occurs=0, nillable=False
)
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
        ("quantity", Quantity),
        ("unit", make_optional(Code)),
        ("condition", make_repeatable(Sentence)),
    ]


class DocumentElement(ComplexModel):  # type: ignore[misc]
    """A document in the agency's own format, which the mappings read; the schema requires exactly one."""

    __namespace__ = SERVICE_AGENCY
    __type_name__ = "DocumentContent"
    _type_info = [  # noqa: RUF012  # Spyne reads it once
        (
            "any",
            primitive.AnyXml(
                schema_tag="{http://www.w3.org/2001/XMLSchema}any",
                namespace="##other",
                process_contents="lax",
            ),
        )
    ]


class FeeElement(ComplexModel):  # type: ignore[misc]
    """The amount of a fee to pay or to give back, with its due date and payment notice."""

    __namespace__ = SERVICE_AGENCY
    __type_name__ = "FeeContent"
    _type_info = [  # noqa: RUF012  # Spyne reads it once
        ("amount", make_optional(Amount)),
        ("currency", make_optional(Currency)),
        ("dueDate", make_optional(Day)),
        ("paymentNotice", make_optional(PaymentNotice)),
        ("refundable", primitive.Boolean(min_occurs=0)),
    ]


#: The type of each of two numbers; a call states exactly one of them.
_EitherNumber: Final = Number.customize(min_occurs=0, xml_choice_group="either")


class AgencyService(HubService):
    """The four operations for agencies; each returns the content of the call, which `apply` then applies."""

    @declare_operation("Acknowledge", ApplicationNumber=Number, ReceiptNumber=Number)
    def acknowledge(ctx: Any, application: str, receipt: str) -> AgencyCallback:  # noqa: N805
        """Return an agency's acknowledgment that it has the application."""
        return AgencyCallback(AgencyAcknowledgment(receipt), application)

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
        notice_number: str,
        issued_at: datetime,
        pointers: list[str] | None,
        text: str,
        deadline: datetime | None,
    ) -> AgencyCallback:
        """Return an agency's request for a supplement."""
        notice = Notice(
            number=notice_number,
            issued_at=issued_at,
            status_code=INFORMATION_REQUESTED,
            text=text,
            pointers=tuple(pointers or ()),
            deadline=deadline,
        )
        return AgencyCallback(notice, application)

    @declare_operation(
        "SubmitDecision",
        ApplicationNumber=_EitherNumber,
        RequirementNumber=_EitherNumber,
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
        notice_number: str,
        issued_at: datetime,
        status: str,
        decisions: list[Any] | None,
        receipt: str | None,
        text: str | None,
        pointers: list[str] | None,
        deadline: datetime | None,
        fee: Any,
        valid_until: date | None,
    ) -> AgencyCallback:
        """Return decisions, a fee, or another new state of the request."""
        notice = Notice(
            number=notice_number,
            issued_at=issued_at,
            status_code=status,
            decisions=tuple(_make_decision(decision) for decision in decisions or ()),
            text=text or "",
            pointers=tuple(pointers or ()),
            deadline=deadline,
            receipt_number=receipt,
            fee=None if fee is None else _make_fee(fee),
            valid_until=valid_until,
        )
        return AgencyCallback(notice, application, requirement)

    @declare_operation("DeliverNotice", Document=DocumentElement.customize(min_occurs=1, nillable=False))
    def deliver_notice(ctx: Any, _document: Any) -> etree._Element:  # noqa: N805
        """Return the document in the agency's own format, which is taken from the verified tree."""
        (wrapper,) = get_verified_call(ctx).content.iterchildren(tag=etree.Element)
        (document,) = wrapper.iterchildren(tag=etree.Element)
        return document


def _make_decision(content: Any) -> DecisionValue:
    """Return the decision in a SOAP element, which Spyne has read into the object `content`."""
    return DecisionValue(
        item=content.item,
        law=content.law,
        decision=DecisionCode(content.decision),
        number=content.number,
        date=content.date,
        quantity=content.quantity,
        unit=content.unit,
        conditions=tuple(content.condition or ()),
    )


def _make_fee(content: Any) -> NamedFee:
    """Return the fee of a call; raises GW711 if its amount is not exact."""
    return read_named_fee(
        content.amount or "",
        content.currency or "",
        content.dueDate,
        content.paymentNotice or "",
        refundable=bool(content.refundable),
    )


def build_agency_application() -> Any:
    """Return the Spyne application; its namespace and names are those of ``wsdl/hub-agency.wsdl``."""
    return build_spyne_application(AgencyService, SERVICE_AGENCY, "HubAgency")


def build_agency_service(apply: ApplyAgencyCall, security: SoapSecurityPolicy) -> SoapSecurityGate:
    """Return the WSGI application for ``/soap/agency``: security gate, Spyne, `apply`."""
    return build_soap_service(build_agency_application(), WSDL, apply, security)


_TOKEN = "/soap:Envelope/soap:Header/wsse:Security/wsse:BinarySecurityToken"  # noqa: S105


#: The header block of the answer to a notice that is taken and has no effect.
_OVERRULED: Final = "Overruled"
#: The header block of the answer to a notice with a time ahead of the clock: from when it counts.
_AHEAD: Final = "CountsFrom"


def apply_agency_call(
    hub: Hub,
    sections: Mapping[str, AgencySettings],
    call: AgencyCallback | etree._Element,
    caller: Caller,
) -> AnswerHeader | None:
    """Apply the call of an agency, or the document in the agency's own format that the call delivers.

    Return the header block of the answer to a notice that has no effect: the number of the one that counts;
    to one with a time ahead of the clock: from when it counts.
    `sections` are the settings of agencies by their codes, `caller` is the party that signed the call. Raises
    GW209 for a party that is no agency, or more than one.
    """
    agency = find_agency_code(caller.party, sections)
    if isinstance(call, AgencyCallback):
        answer = take_call_back(hub, agency, call, caller.signed_reply, record=caller.record)
    else:
        answer = take_agency_document(hub, agency, call, caller.signed_reply, caller.record)
    if answer.overruled_by is not None:
        return AnswerHeader(_OVERRULED, answer.overruled_by)
    return None if answer.counts_from is None else AnswerHeader(_AHEAD, format_instant(answer.counts_from))


def find_agency_code(party: str, sections: Mapping[str, AgencySettings]) -> str:
    """Return the code of the agency that a party of the register is: its own name if no section has it.

    Raises GW209 for the party of several agencies, and for one with the code of an agency that is another
    party.
    """
    codes = [code for code, section in sections.items() if section.get_party(code) == party]
    if len(codes) > 1:
        detail = f"{party[:80]} is the party of several agencies ({', '.join(codes)[:200]})"
    elif codes or party not in sections:
        return codes[0] if codes else party
    else:
        detail = f"{party[:80]} is not the party of the agency of this name"
    raise GatewayError(SIGNER_MISMATCH, detail, _TOKEN)


def admit_agency_signer(hub: Hub, certificate: Certificate, at: datetime) -> str:
    """Return the active party that a certificate belongs to, for a signature at the time `at`.

    Raises GW209 if no active party has the certificate, or the problem that makes it unacceptable.
    """
    # A suspension must take effect at the next call, so the snapshot is refreshed.
    party = hub.refresh_snapshot().find_certificate_party(certificate.sha256, at)
    if party is None:
        raise GatewayError(SIGNER_MISMATCH, f"{certificate.subject[:120]} belongs to no active party", _TOKEN)
    hub.judge(certificate.der, CertificateUse.SIGNING, at).raise_unless_accepted(_TOKEN)
    return party


def build_soap_security(
    hub: Hub, addresses: tuple[str, ...] = (), find_address: Callable[[Environ], str] | None = None
) -> SoapSecurityPolicy:
    """Return the security policy of the SOAP service, based on the hub's register."""

    def admit_connection(party: str, fingerprint: str | None, at: datetime) -> None:
        check_client_certificate(hub, SenderConnection(party, fingerprint), hub.get_snapshot(), at)

    return SoapSecurityPolicy(
        signer=lambda: hub.signer,
        admit=lambda certificate, at: admit_agency_signer(hub, certificate, at),
        clock=hub.clock,
        memory=ReplayCache(hub.engine),
        new_id=lambda: f"urn:uuid:{hub.new_uuid()}",
        addresses=addresses,
        find_address=find_address,
        limits=hub.limits,
        admit_client=admit_connection,
        tell_refusal=partial(hub.tally.count_refusal, is_signed=True),
    )


CUSTOMS_WSDL: Final = "hub-customs.wsdl"


#: Applies a call; as `gateway.web.agency_service.ApplyAgencyCall` does.
ApplyCustomsCall = Callable[[CustomsCall, Caller], None]


class ReasonElement(ComplexModel):  # type: ignore[misc]
    """One error that customs reports."""

    __namespace__ = SERVICE_CUSTOMS
    _type_info = [  # noqa: RUF012  # Spyne reads it once
        ("Code", make_optional(Code)),
        ("Pointer", make_optional(Pointer)),
        ("Text", Sentence),
    ]


class ItemElement(ComplexModel):  # type: ignore[misc]
    """The result of clearance for one item."""

    __namespace__ = SERVICE_CUSTOMS
    _type_info = [  # noqa: RUF012
        ("item", ItemNumber),
        ("ResultCode", Code),
    ]


class CustomsService(HubService):
    """The two operations for customs; each returns the content of the call, which `apply` then applies."""

    @declare_operation(
        "ReportAnswer",
        CaseNumber=Number,
        NoticeNumber=Number,
        IssuedAt=Instant,
        ResultCode=Code,
        Text=make_optional(Sentence),
        Reason=make_repeatable(ReasonElement),
    )
    def report_answer(
        ctx: Any,  # noqa: N805
        case: str,
        notice_number: str,
        issued_at: datetime,
        result_code: str,
        text: str | None,
        reasons: list[Any] | None,
    ) -> CustomsCall:
        """Return the answer of customs to a call that the hub has made, as a call to be applied."""
        customs_reasons = tuple(
            CustomsReason(item.Text, item.Pointer or "", item.Code or "") for item in reasons or ()
        )
        notice = CustomsNotice(notice_number, issued_at, result_code, text or "", reasons=customs_reasons)
        return CustomsCall(notice, case_number=case, is_clearance_result=False)

    @declare_operation(
        "ReportClearance",
        CaseNumber=_EitherNumber,
        DeclarationReference=_EitherNumber,
        NoticeNumber=Number,
        IssuedAt=Instant,
        ResultCode=Code,
        Text=make_optional(Sentence),
        Item=make_repeatable(ItemElement),
    )
    def report_clearance(
        ctx: Any,  # noqa: N805
        case: str | None,
        reference: str | None,
        notice_number: str,
        issued_at: datetime,
        result_code: str,
        text: str | None,
        items: list[Any] | None,
    ) -> CustomsCall:
        """Return a result of clearance."""
        cleared = tuple(ClearedItem(item.item, item.ResultCode) for item in items or ())
        return CustomsCall(
            CustomsNotice(notice_number, issued_at, result_code, text or "", items=cleared), case, reference
        )


def apply_call_of_customs(hub: Hub, customs: str, call: CustomsCall, caller: Caller) -> None:
    """Apply a call of `customs`, the party of customs in the register; raises GW209 for another party."""
    if caller.party != customs:
        detail = f"{caller.party[:80]} is not customs: this service is for customs alone"
        raise GatewayError(SIGNER_MISMATCH, detail, _TOKEN)
    apply_customs_call(hub, call, caller.signed_reply, caller.record)


def build_customs_application() -> Any:
    """Return the Spyne application; its namespace and names are those of ``wsdl/hub-customs.wsdl``."""
    return build_spyne_application(CustomsService, SERVICE_CUSTOMS, "HubCustoms")


def build_customs_service(apply: ApplyCustomsCall, security: SoapSecurityPolicy) -> SoapSecurityGate:
    """Return the WSGI application for ``/soap/customs``: security gate, Spyne, `apply`."""
    return build_soap_service(build_customs_application(), CUSTOMS_WSDL, apply, security)

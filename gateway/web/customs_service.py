"""Builds the SOAP service that customs calls, ``/soap/customs``: Spyne behind the SOAP security gate.

A test compares types and operations with ``wsdl/hub-customs.wsdl``. The security policy is that of
``/soap/agency``; beyond it, the party that signed a call must be customs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Protocol

from gateway.cases import ClearedItem, CustomsCall, CustomsNotice, CustomsReason, SignedReply
from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.hub import Hub, apply_customs_call
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
    make_optional,
    make_repeatable,
)
from gateway.web.spyne_shim import ComplexModel, ServiceBase
from gateway.wire import SERVICE_CUSTOMS, collapse_whitespace

__all__ = [
    "WSDL",
    "CustomsCallHandler",
    "HubCustomsHandler",
    "build_customs_application",
    "build_customs_service",
]

WSDL: Final = "hub-customs.wsdl"
_TOKEN: Final = "/soap:Envelope/soap:Header/wsse:Security/wsse:BinarySecurityToken"  # noqa: S105
_EITHER: Final = "either"


class CustomsCallHandler(Protocol):
    """Applies the calls of the service; each method returns only after its commit.

    A method raises GatewayError to reject a call, and accepts a repeated notice without effect.
    """

    def report_answer(self, said: CustomsCall, caller: Caller) -> None:
        """Apply the answer of customs to a call of ours."""

    def report_clearance(self, said: CustomsCall, caller: Caller) -> None:
        """Apply a result of clearance."""


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


class CustomsService(ServiceBase):  # type: ignore[misc]
    """The two operations; each converts its arguments to values and calls the handler."""

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
        number: str,
        issued_at: datetime,
        code: str,
        text: str | None,
        reasons: list[Any] | None,
    ) -> None:
        """Handle the answer of customs to a call of ours."""
        notice = CustomsNotice(
            collapse_whitespace(number),
            issued_at,
            collapse_whitespace(code),
            text or "",
            tuple(_make_reason(one) for one in reasons or ()),
        )
        call_handler(ctx, "report_answer", CustomsCall(notice, case_number=collapse_whitespace(case)))

    @declare_operation(
        "ReportClearance",
        CaseNumber=Number.customize(xml_choice_group=_EITHER),
        DeclarationReference=Number.customize(xml_choice_group=_EITHER),
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
        number: str,
        issued_at: datetime,
        code: str,
        text: str | None,
        items: list[Any] | None,
    ) -> None:
        """Handle a result of clearance."""
        notice = CustomsNotice(
            collapse_whitespace(number),
            issued_at,
            collapse_whitespace(code),
            text or "",
            items=tuple(ClearedItem(one.item, collapse_whitespace(one.ResultCode)) for one in items or ()),
        )
        said = CustomsCall(
            notice,
            case_number=None if case is None else collapse_whitespace(case),
            reference=None if reference is None else collapse_whitespace(reference),
        )
        call_handler(ctx, "report_clearance", said)


def _make_reason(content: Any) -> CustomsReason:
    return CustomsReason(
        content.Text,
        "" if content.Pointer is None else collapse_whitespace(content.Pointer),
        "" if content.Code is None else collapse_whitespace(content.Code),
    )


class HubCustomsHandler:
    """Gives calls of customs to the hub; `party` is the party of customs in the register."""

    def __init__(self, hub: Hub, party: str) -> None:
        self._hub = hub
        self._party = party

    def report_answer(self, said: CustomsCall, caller: Caller) -> None:
        """Apply the answer of customs to a call of ours."""
        self._apply_call(said, caller, clears=False)

    def report_clearance(self, said: CustomsCall, caller: Caller) -> None:
        """Apply a result of clearance."""
        self._apply_call(said, caller, clears=True)

    def _apply_call(self, said: CustomsCall, caller: Caller, *, clears: bool) -> None:
        if caller.party != self._party:
            detail = f"{caller.party[:80]} is not customs: this service is for customs alone"
            raise GatewayError(SIGNER_MISMATCH, detail, _TOKEN)
        spoken = SignedReply(caller.envelope, caller.certificate.sha256)
        apply_customs_call(self._hub, said, spoken, clears=clears)


def build_customs_application() -> Any:
    """Return the Spyne application; its namespace and names are those of ``wsdl/hub-customs.wsdl``."""
    return build_spyne_application(CustomsService, SERVICE_CUSTOMS, "HubCustoms")


def build_customs_service(handler: CustomsCallHandler, security: SoapSecurityPolicy) -> SoapSecurityGate:
    """Return the WSGI application for ``/soap/customs``: security gate, Spyne, `handler`."""
    return build_soap_service(build_customs_application(), WSDL, handler, security)

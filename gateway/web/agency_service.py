"""Builds the SOAP service that agencies call, ``/soap/agency``: Spyne behind the SOAP security gate.

Spyne gets the verified tree, not octets. It finds the operation and makes values of the elements. A
test compares types and operations with ``wsdl/hub-agency.wsdl``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Protocol

from lxml import etree

from gateway.cases import AgencyAcknowledgment, AgencyCallback, DecisionCode, Notice
from gateway.cases import Decision as DecisionValue
from gateway.errors import DOCUMENT_INVALID, OUR_MISTAKE, GatewayError
from gateway.share import get_data_folder
from gateway.web.server import make_wsgi_environ
from gateway.web.soap_security import Caller, SoapSecurityGate, SoapSecurityPolicy, VerifiedCall
from gateway.web.spyne_shim import (
    Application,
    ComplexModel,
    Fault,
    ServiceBase,
    Soap11,
    WsgiApplication,
    primitive,
    rpc,
)
from gateway.wire import SERVICE_AGENCY, SOAP11, collapse_whitespace, parse_instant, read_wsdl

__all__ = ["WSDL", "CallBackHandler", "build_agency_service", "build_spyne_application"]

WSDL: Final = "hub-agency.wsdl"
#: Requirement status "supplement requested, with deadline": the meaning of RequestInformation.
INFORMATION_REQUESTED: Final = "D01"
_CALL: Final = "gateway.call"
_HANDLER: Final = "gateway.handler"
_PROBLEM: Final = "gateway.problem"
_CONTEXTS: Final = "gateway.contexts"


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


def _make_token_type(name: str, most: int | None = None, **facets: Any) -> Any:
    limits = {} if most is None else {"min_len": 1, "max_len": most}
    return primitive.Token(type_name=name, min_occurs=1, nillable=False, **limits, **facets)


_INSTANT: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+\-][0-9]{2}:[0-9]{2})"
)
Number = _make_token_type("Number", 128)
Code = _make_token_type("Code", 17)
Pointer = _make_token_type("Pointer", 512)
StatusCode = _make_token_type("StatusCode", pattern="[A-Z][0-9A-Z]{2}")
Decided = _make_token_type("DecisionCode", values=[code.value for code in DecisionCode])
Sentence = primitive.Unicode(type_name="Sentence", min_len=1, max_len=4000, min_occurs=1, nillable=False)
ItemNumber = primitive.Integer32(type_name="ItemNumber", ge=1, le=99999, min_occurs=1, nillable=False)
Quantity = primitive.Decimal(18, 6, type_name="Quantity", ge=0, min_occurs=1, nillable=False)
Day = primitive.Date(type_name="Day", pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}", min_occurs=1, nillable=False)
Instant = primitive.DateTime(type_name="Instant", pattern=_INSTANT, min_occurs=1, nillable=False)


def _make_optional(kind: Any) -> Any:
    return kind.customize(min_occurs=0)


def _make_repeatable(kind: Any) -> Any:
    return kind.customize(min_occurs=0, max_occurs="unbounded")


class DecisionElement(ComplexModel):  # type: ignore[misc]
    """One decision about one item under one law."""

    __namespace__ = SERVICE_AGENCY
    _type_info = [  # noqa: RUF012  # Spyne reads it once
        ("item", ItemNumber),
        ("law", Code),
        ("decision", Decided),
        ("number", _make_optional(Number)),
        ("date", _make_optional(Day)),
        ("quantity", _make_optional(Quantity)),
        ("unit", _make_optional(Code)),
        ("condition", _make_repeatable(Sentence)),
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


def _declare_operation(name: str, **parameters: Any) -> Callable[[Any], Any]:
    decorate: Callable[[Any], Any] = rpc(
        *parameters.values(),
        _args=tuple(parameters),
        _operation_name=name,
        _out_message_name=f"{name}Response",
    )
    return decorate


_EITHER: Final = "either"


class AgencyService(ServiceBase):  # type: ignore[misc]
    """The four operations; each converts its arguments to values and calls the handler."""

    @_declare_operation("Acknowledge", ApplicationNumber=Number, ReceiptNumber=Number)
    def acknowledge(ctx: Any, application: str, receipt: str) -> None:  # noqa: N805
        """Handle an agency's acknowledgment that it has the application."""
        said = AgencyCallback(
            AgencyAcknowledgment(collapse_whitespace(receipt)),
            application_number=collapse_whitespace(application),
        )
        _call_handler(ctx, "acknowledge", said)

    @_declare_operation(
        "RequestInformation",
        ApplicationNumber=Number,
        NoticeNumber=Number,
        IssuedAt=Instant,
        Pointer=_make_repeatable(Pointer),
        Text=Sentence,
        Deadline=_make_optional(Instant),
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
        _call_handler(ctx, "request_information", said)

    @_declare_operation(
        "SubmitDecision",
        ApplicationNumber=Number.customize(xml_choice_group=_EITHER),
        RequirementNumber=Number.customize(xml_choice_group=_EITHER),
        NoticeNumber=Number,
        IssuedAt=Instant,
        StatusCode=StatusCode,
        Decision=_make_repeatable(DecisionElement),
        ReceiptNumber=_make_optional(Number),
        Text=_make_optional(Sentence),
        Pointer=_make_repeatable(Pointer),
        Deadline=_make_optional(Instant),
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
    ) -> None:
        """Handle decisions, or another new state of the request."""
        notice = Notice(
            number=collapse_whitespace(number),
            issued_at=issued_at,
            status_code=collapse_whitespace(status),
            decisions=tuple(_make_decision(one) for one in decisions or ()),
            text=text or "",
            pointers=tuple(collapse_whitespace(one) for one in pointers or ()),
            deadline=deadline,
            receipt_number=None if receipt is None else collapse_whitespace(receipt),
        )
        said = AgencyCallback(
            notice,
            application_number=None if application is None else collapse_whitespace(application),
            requirement_number=None if requirement is None else collapse_whitespace(requirement),
        )
        _call_handler(ctx, "submit_decision", said)

    @_declare_operation("DeliverNotice", Document=DocumentElement.customize(min_occurs=1, nillable=False))
    def deliver_notice(ctx: Any, _document: Any) -> None:  # noqa: N805
        """Handle a document of the agency's own form, which is taken from the verified tree."""
        call: VerifiedCall = ctx.transport.req_env[_CALL]
        wrapper = call.root.find(f"{{{SOAP11}}}Body/{{{SERVICE_AGENCY}}}DeliverNotice")
        assert wrapper is not None
        (document,) = wrapper[0].iterchildren(tag=etree.Element)
        _call_handler(ctx, "deliver_notice", document)


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


def _call_handler(ctx: Any, operation: str, said: AgencyCallback | etree._Element) -> None:
    """Call the handler.

    An exception is stored in the environment, because Spyne would log it and write the fault
    itself.
    """
    environ = ctx.transport.req_env
    call: VerifiedCall = environ[_CALL]
    try:
        getattr(environ[_HANDLER], operation)(said, call.caller)
    except Exception as problem:
        environ[_PROBLEM] = problem
        raise Fault("Server", "put aside") from None


class _VerifiedTreeProtocol(Soap11):  # type: ignore[misc]
    """SOAP 1.1 on the tree that the gate has verified; Spyne parses nothing itself."""

    def __init__(self) -> None:
        super().__init__(validator=None, parse_xsi_type=False)
        self._from_unicode_handlers[primitive.DateTime] = lambda _, text: _convert_text(parse_instant, text)
        self._from_unicode_handlers[primitive.Date] = lambda _, text: _convert_text(date.fromisoformat, text)
        self._from_unicode_handlers[primitive.Decimal] = lambda _, text: _convert_text(Decimal, text)
        self._from_unicode_handlers[primitive.Integer32] = lambda _, text: _convert_text(int, text)

    def create_in_document(self, ctx: Any, charset: str | None = None) -> None:  # noqa: ARG002
        """Set the verified tree, without identifiers, so that no references are resolved."""
        ctx.in_document = (ctx.transport.req_env[_CALL].root, {})

    def generate_method_contexts(self, prime_ctx: Any) -> Any:
        """Return Spyne's contexts, one for each service, and record them so that they can be cleared."""
        found = super().generate_method_contexts(prime_ctx)
        prime_ctx.transport.req_env[_CONTEXTS] += (prime_ctx, *found)
        return found


def _convert_text(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text.strip())
    except (ValueError, OverflowError, InvalidOperation) as problem:
        raise GatewayError(
            DOCUMENT_INVALID, f"{text[:60]!r} cannot be used", "/soap:Envelope/soap:Body"
        ) from problem


def build_spyne_application() -> Any:
    """Return the Spyne application; its namespace and names are those of ``wsdl/hub-agency.wsdl``."""
    # Spyne's log may quote the request; rejections are logged where they are decided.
    logging.getLogger("spyne").setLevel(logging.CRITICAL + 1)
    return Application(
        [AgencyService],
        SERVICE_AGENCY,
        name="HubAgency",
        in_protocol=_VerifiedTreeProtocol(),
        out_protocol=Soap11(),
    )


def build_agency_service(handler: CallBackHandler, security: SoapSecurityPolicy) -> SoapSecurityGate:
    """Return the WSGI application for ``/soap/agency``: security gate, Spyne, `handler`."""
    wsdl = get_data_folder("wsdl").joinpath(WSDL).read_bytes()
    inner = WsgiApplication(build_spyne_application())

    def serve_call(call: VerifiedCall) -> etree._Element:
        return _call_spyne(inner, handler, call)

    return SoapSecurityGate(serve_call, read_wsdl(wsdl), wsdl, security)


def _call_spyne(inner: Any, handler: CallBackHandler, call: VerifiedCall) -> etree._Element:
    status: list[str] = []
    contexts: list[Any] = []
    environ = {
        **make_wsgi_environ("POST", "/", b""),
        "CONTENT_TYPE": "text/xml; charset=utf-8",
        _CALL: call,
        _HANDLER: handler,
        _CONTEXTS: contexts,
    }
    try:
        octets = b"".join(inner(environ, lambda line, *_: status.append(line)))
        problem = environ.pop(_PROBLEM, None)
        if isinstance(problem, Exception):
            raise problem
    finally:
        # Spyne's contexts refer to each other, and the traceback of a problem refers to them: the tree of
        # the call would stay in memory until the garbage collector runs.
        problem = None
        for context in contexts:
            vars(context).clear()
    if status != ["200 OK"]:
        raise GatewayError(OUR_MISTAKE, "the service did not take a call that fits its schema")
    # Spyne's output is generated by us, is small, and contains no value of the call.
    body = etree.fromstring(octets)[-1]
    return body[0]

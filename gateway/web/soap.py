"""The SOAP service that agencies call, ``/soap/agency``: Spyne behind the guard.

Spyne takes the tree that was verified, not octets, finds the operation and makes values of
the elements; types and operations are compared with ``wsdl/hub-agency.wsdl`` by a test.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Protocol

from lxml import etree

from gateway.cases.notices import Acknowledged, CallBack, DecisionCode, Notice
from gateway.cases.notices import Decision as DecisionValue
from gateway.errors import DOCUMENT_INVALID, OUR_MISTAKE, GatewayError
from gateway.share import folder
from gateway.web.guard import Caller, Guard, SoapSecurity, VerifiedCall
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
from gateway.wire.namespaces import SERVICE_AGENCY
from gateway.wire.schemas import collapsed
from gateway.wire.wsdl import read_wsdl

__all__ = ["WSDL", "AgencyHandler", "soap_application", "spyne_application"]

WSDL: Final = "hub-agency.wsdl"
#: Requirement status "supplement requested, with deadline": what RequestInformation means.
INFORMATION_REQUESTED: Final = "D01"
_CALL: Final = "gateway.call"
_HANDLER: Final = "gateway.handler"
_PROBLEM: Final = "gateway.problem"
_CONTEXTS: Final = "gateway.contexts"


class AgencyHandler(Protocol):
    """What the service does with a call; each method answers only after its commit.

    A method raises GatewayError to refuse, and treats a repeated notice as done.
    """

    def acknowledge(self, said: CallBack, caller: Caller) -> None:
        """Take note that the agency has an application, under its receipt number."""

    def request_information(self, said: CallBack, caller: Caller) -> None:
        """Take a request for a supplement."""

    def submit_decision(self, said: CallBack, caller: Caller) -> None:
        """Take a notice: decisions, or another state of the request."""


def _token(name: str, most: int | None = None, **facets: Any) -> Any:
    limits = {} if most is None else {"min_len": 1, "max_len": most}
    return primitive.Token(type_name=name, min_occurs=1, nillable=False, **limits, **facets)


_INSTANT: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+\-][0-9]{2}:[0-9]{2})"
)
Number = _token("Number", 128)
Code = _token("Code", 17)
Pointer = _token("Pointer", 512)
StatusCode = _token("StatusCode", pattern="[A-Z][0-9A-Z]{2}")
Decided = _token("DecisionCode", values=[code.value for code in DecisionCode])
Sentence = primitive.Unicode(type_name="Sentence", min_len=1, max_len=4000, min_occurs=1, nillable=False)
ItemNumber = primitive.Integer32(type_name="ItemNumber", ge=1, le=99999, min_occurs=1, nillable=False)
Quantity = primitive.Decimal(18, 6, type_name="Quantity", ge=0, min_occurs=1, nillable=False)
Day = primitive.Date(type_name="Day", pattern="[0-9]{4}-[0-9]{2}-[0-9]{2}", min_occurs=1, nillable=False)
Instant = primitive.DateTime(type_name="Instant", pattern=_INSTANT, min_occurs=1, nillable=False)


def _optional(kind: Any) -> Any:
    return kind.customize(min_occurs=0)


def _many(kind: Any) -> Any:
    return kind.customize(min_occurs=0, max_occurs="unbounded")


class DecisionContent(ComplexModel):  # type: ignore[misc]
    """One decision about one item under one law."""

    __namespace__ = SERVICE_AGENCY
    _type_info = [  # noqa: RUF012  # Spyne reads it once
        ("item", ItemNumber),
        ("law", Code),
        ("decision", Decided),
        ("number", _optional(Number)),
        ("date", _optional(Day)),
        ("quantity", _optional(Quantity)),
        ("unit", _optional(Code)),
        ("condition", _many(Sentence)),
    ]


def _operation(name: str, **parameters: Any) -> Callable[[Any], Any]:
    decorate: Callable[[Any], Any] = rpc(
        *parameters.values(),
        _args=tuple(parameters),
        _operation_name=name,
        _out_message_name=f"{name}Response",
    )
    return decorate


_EITHER: Final = "either"


class AgencyService(ServiceBase):  # type: ignore[misc]
    """The three operations; each turns its arguments into values and hands them to the handler."""

    @_operation("Acknowledge", ApplicationNumber=Number, ReceiptNumber=Number)
    def acknowledge(ctx: Any, application: str, receipt: str) -> None:  # noqa: N805
        """Take the agency's word that it has the application."""
        said = CallBack(Acknowledged(collapsed(receipt)), application_number=collapsed(application))
        _hand_over(ctx, "acknowledge", said)

    @_operation(
        "RequestInformation",
        ApplicationNumber=Number,
        NoticeNumber=Number,
        IssuedAt=Instant,
        Pointer=_many(Pointer),
        Text=Sentence,
        Deadline=_optional(Instant),
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
        """Take the agency's request for a supplement."""
        notice = Notice(
            number=collapsed(number),
            issued_at=issued_at,
            status_code=INFORMATION_REQUESTED,
            text=text,
            pointers=tuple(collapsed(one) for one in pointers or ()),
            deadline=deadline,
        )
        said = CallBack(notice, application_number=collapsed(application))
        _hand_over(ctx, "request_information", said)

    @_operation(
        "SubmitDecision",
        ApplicationNumber=Number.customize(xml_choice_group=_EITHER),
        RequirementNumber=Number.customize(xml_choice_group=_EITHER),
        NoticeNumber=Number,
        IssuedAt=Instant,
        StatusCode=StatusCode,
        Decision=_many(DecisionContent),
    )
    def submit_decision(
        ctx: Any,  # noqa: N805
        application: str | None,
        requirement: str | None,
        number: str,
        issued_at: datetime,
        status: str,
        decisions: list[Any] | None,
    ) -> None:
        """Take decisions, or another new state of the request."""
        notice = Notice(
            number=collapsed(number),
            issued_at=issued_at,
            status_code=collapsed(status),
            decisions=tuple(_decision(one) for one in decisions or ()),
        )
        said = CallBack(
            notice,
            application_number=None if application is None else collapsed(application),
            requirement_number=None if requirement is None else collapsed(requirement),
        )
        _hand_over(ctx, "submit_decision", said)


def _decision(content: Any) -> DecisionValue:
    return DecisionValue(
        item=content.item,
        law=collapsed(content.law),
        decision=DecisionCode(collapsed(content.decision)),
        number=None if content.number is None else collapsed(content.number),
        date=content.date,
        quantity=content.quantity,
        unit=None if content.unit is None else collapsed(content.unit),
        conditions=tuple(content.condition or ()),
    )


def _hand_over(ctx: Any, operation: str, said: CallBack) -> None:
    """Call the handler.  A refusal is put aside: Spyne would log it and word the fault itself."""
    environ = ctx.transport.req_env
    call: VerifiedCall = environ[_CALL]
    try:
        getattr(environ[_HANDLER], operation)(said, call.caller)
    except Exception as problem:
        environ[_PROBLEM] = problem
        raise Fault("Server", "put aside") from None


class _VerifiedTree(Soap11):  # type: ignore[misc]
    """SOAP 1.1 on the tree that the guard has verified; Spyne parses nothing itself."""

    def __init__(self) -> None:
        super().__init__(validator=None, parse_xsi_type=False)
        self._from_unicode_handlers[primitive.DateTime] = lambda _, text: _value(_instant, text)
        self._from_unicode_handlers[primitive.Date] = lambda _, text: _value(date.fromisoformat, text)
        self._from_unicode_handlers[primitive.Decimal] = lambda _, text: _value(Decimal, text)
        self._from_unicode_handlers[primitive.Integer32] = lambda _, text: _value(int, text)

    def create_in_document(self, ctx: Any, charset: str | None = None) -> None:  # noqa: ARG002
        """Take the verified tree; without identifiers, so that nothing is resolved by them."""
        ctx.in_document = (ctx.transport.req_env[_CALL].root, {})

    def generate_method_contexts(self, prime_ctx: Any) -> Any:
        """Return what Spyne works in, one context for each service, and tell whoever is to clear them."""
        found = super().generate_method_contexts(prime_ctx)
        prime_ctx.transport.req_env[_CONTEXTS] += (prime_ctx, *found)
        return found


def _value(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text.strip())
    except (ValueError, OverflowError, InvalidOperation) as problem:
        # A schema takes the hour 24 and the year 0000, which are no instants here.
        raise GatewayError(
            DOCUMENT_INVALID, f"{text[:60]!r} cannot be used", "/soap:Envelope/soap:Body"
        ) from problem


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def spyne_application() -> Any:
    """Return the Spyne application; its namespace and names are those of ``wsdl/hub-agency.wsdl``."""
    # What Spyne logs may quote what was sent; refusals are logged by those who decide them.
    logging.getLogger("spyne").setLevel(logging.CRITICAL + 1)
    return Application(
        [AgencyService], SERVICE_AGENCY, name="HubAgency", in_protocol=_VerifiedTree(), out_protocol=Soap11()
    )


def soap_application(handler: AgencyHandler, security: SoapSecurity) -> Guard:
    """Return the WSGI application for ``/soap/agency``: guard, Spyne, `handler`."""
    wsdl = folder("wsdl").joinpath(WSDL).read_bytes()
    inner = WsgiApplication(spyne_application())

    def serve(call: VerifiedCall) -> etree._Element:
        return _call_spyne(inner, handler, call)

    return Guard(serve, read_wsdl(wsdl), wsdl, security)


def _call_spyne(inner: Any, handler: AgencyHandler, call: VerifiedCall) -> etree._Element:
    status: list[str] = []
    contexts: list[Any] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "CONTENT_TYPE": "text/xml; charset=utf-8",
        "CONTENT_LENGTH": "0",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
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
        # Spyne's contexts hold each other, and a problem is held by its traceback: the tree of the call
        # would stay with them until the garbage collector comes.
        problem = None
        for context in contexts:
            vars(context).clear()
    if status != ["200 OK"]:
        raise GatewayError(OUR_MISTAKE, "the service did not take a call that fits its schema")
    # What Spyne writes is ours, small and without any value of the call.
    body = etree.fromstring(octets)[-1]
    return body[0]

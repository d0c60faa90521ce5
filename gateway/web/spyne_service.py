"""What the SOAP services of the hub share: Spyne behind the security gate, types, and the call of a handler.

Spyne gets the verified tree, not octets. It finds the operation and makes values of the elements. A test
compares types and operations of each service with its WSDL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, OUR_MISTAKE, GatewayError
from gateway.share import get_data_folder
from gateway.web.server import make_wsgi_environ
from gateway.web.soap_security import SoapSecurityGate, SoapSecurityPolicy, VerifiedCall
from gateway.web.spyne_shim import Application, Fault, Soap11, WsgiApplication, primitive, rpc
from gateway.wire import parse_instant, read_wsdl

__all__ = [
    "Code",
    "Instant",
    "ItemNumber",
    "Number",
    "Pointer",
    "Sentence",
    "build_soap_service",
    "build_spyne_application",
    "call_handler",
    "declare_operation",
    "get_verified_call",
    "make_optional",
    "make_repeatable",
    "make_token_type",
    "refuse_call",
]

_CALL: Final = "gateway.call"
_HANDLER: Final = "gateway.handler"
_PROBLEM: Final = "gateway.problem"
_CONTEXTS: Final = "gateway.contexts"


def make_token_type(name: str, most: int | None = None, **facets: Any) -> Any:
    """Return a required token type of at most `most` characters."""
    limits = {} if most is None else {"min_len": 1, "max_len": most}
    return primitive.Token(type_name=name, min_occurs=1, nillable=False, **limits, **facets)


_INSTANT: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+\-][0-9]{2}:[0-9]{2})"
)
Number = make_token_type("Number", 128)
Code = make_token_type("Code", 17)
Pointer = make_token_type("Pointer", 512)
Sentence = primitive.Unicode(type_name="Sentence", min_len=1, max_len=4000, min_occurs=1, nillable=False)
ItemNumber = primitive.Integer32(type_name="ItemNumber", ge=1, le=99999, min_occurs=1, nillable=False)
Instant = primitive.DateTime(type_name="Instant", pattern=_INSTANT, min_occurs=1, nillable=False)


def make_optional(kind: Any) -> Any:
    """Return the type of an element that may be absent."""
    return kind.customize(min_occurs=0)


def make_repeatable(kind: Any) -> Any:
    """Return the type of an element that may occur any number of times."""
    return kind.customize(min_occurs=0, max_occurs="unbounded")


def declare_operation(name: str, **parameters: Any) -> Callable[[Any], Any]:
    """Return what makes a method the operation of this name, with these parameters in this order."""
    decorate: Callable[[Any], Any] = rpc(
        *parameters.values(),
        _args=tuple(parameters),
        _operation_name=name,
        _out_message_name=f"{name}Response",
    )
    return decorate


def get_verified_call(ctx: Any) -> VerifiedCall:
    """Return the call that an operation answers: its verified tree and its caller."""
    call: VerifiedCall = ctx.transport.req_env[_CALL]
    return call


def call_handler(ctx: Any, operation: str, said: object) -> None:
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


def refuse_call(ctx: Any, problem: GatewayError) -> NoReturn:
    """Refuse a call before its handler is called; the problem is stored as `call_handler` does."""
    ctx.transport.req_env[_PROBLEM] = problem
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


def build_spyne_application(service: Any, namespace: str, name: str) -> Any:
    """Return the Spyne application of a service; namespace and name are those of its WSDL."""
    # Spyne's log may quote the request; rejections are logged where they are decided.
    logging.getLogger("spyne").setLevel(logging.CRITICAL + 1)
    return Application(
        [service], namespace, name=name, in_protocol=_VerifiedTreeProtocol(), out_protocol=Soap11()
    )


def build_soap_service(
    application: Any, file: str, handler: object, security: SoapSecurityPolicy
) -> SoapSecurityGate:
    """Return the WSGI application of a service: security gate, Spyne, `handler`; `file` is its WSDL."""
    wsdl = get_data_folder("wsdl").joinpath(file).read_bytes()
    inner = WsgiApplication(application)

    def serve_call(call: VerifiedCall) -> etree._Element:
        return _call_spyne(inner, handler, call)

    return SoapSecurityGate(serve_call, read_wsdl(wsdl), wsdl, security)


def _call_spyne(inner: Any, handler: object, call: VerifiedCall) -> etree._Element:
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

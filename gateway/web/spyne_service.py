"""What the SOAP services of the hub share: Spyne behind the security gate, types, and the call of a handler.

Spyne gets the verified element of a call, not octets, and no HTTP. It finds the operation, has values made of
the elements and calls the method. A test compares types and operations of each service with its WSDL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, OUR_MISTAKE, GatewayError
from gateway.share import get_data_folder
from gateway.web.soap_security import SoapSecurityGate, SoapSecurityPolicy, VerifiedCall
from gateway.web.spyne_shim import Application, Fault, MethodContext, ServerBase, Soap11, primitive, rpc
from gateway.web.spyne_values import MemberReader, TextConverters
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

_NOT_TAKEN: Final = "the service did not take a call that fits its schema"


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


@dataclass(slots=True)
class _CallState:
    """What Spyne carries through a call: the call, who handles it, and why it was refused."""

    call: VerifiedCall
    handler: object
    problem: Exception | None = None


def get_verified_call(ctx: Any) -> VerifiedCall:
    """Return the call that an operation answers: its verified element and its caller."""
    state: _CallState = ctx.udc
    return state.call


def call_handler(ctx: Any, operation: str, said: object) -> None:
    """Call the handler.

    An exception is put aside, because Spyne would log it and write the fault itself.
    """
    state: _CallState = ctx.udc
    try:
        getattr(state.handler, operation)(said, state.call.caller)
    except Exception as problem:
        state.problem = problem
        raise Fault("Server", "put aside") from None


def refuse_call(ctx: Any, problem: GatewayError) -> NoReturn:
    """Refuse a call before its handler is called; the problem is put aside as `call_handler` does."""
    ctx.udc.problem = problem
    raise Fault("Server", "put aside") from None


def _convert_text(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return what makes a value of a text; what the schema accepts and Python does not is refused."""

    def convert(text: str) -> Any:
        try:
            return read(text.strip())
        except (ValueError, OverflowError, InvalidOperation) as problem:
            detail = f"{text[:60]!r} cannot be used"
            raise GatewayError(DOCUMENT_INVALID, detail, "/soap:Envelope/soap:Body") from problem

    return convert


_CONVERTERS: Final[TextConverters] = {
    primitive.DateTime: _convert_text(parse_instant),
    primitive.Date: _convert_text(date.fromisoformat),
    primitive.Decimal: _convert_text(Decimal),
    primitive.Integer32: _convert_text(int),
    primitive.Boolean: _convert_text(lambda text: text in ("true", "1")),
}


class _VerifiedTreeProtocol(Soap11):  # type: ignore[misc]
    """SOAP 1.1 on the tree that the gate has verified; Spyne parses nothing itself."""

    def __init__(self) -> None:
        super().__init__(validator=None, parse_xsi_type=False)
        self._readers: dict[str, MemberReader] = {}

    def compile_readers(self) -> None:
        """Compile how each request of the application is read."""
        for name, (method,) in self.app.interface.service_method_map.items():
            self._readers[name] = MemberReader(method.in_message, _CONVERTERS)

    def create_in_document(self, ctx: Any, charset: str | None = None) -> None:  # noqa: ARG002
        """Set the verified element of the call."""
        ctx.in_document = get_verified_call(ctx).content

    def decompose_incoming_envelope(self, ctx: Any, message: Any = Soap11.REQUEST) -> None:  # noqa: ARG002
        """Set what is called; the gate has read the envelope."""
        ctx.in_body_doc = ctx.in_document
        ctx.method_request_string = ctx.in_document.tag

    def generate_method_contexts(self, prime_ctx: Any) -> Any:
        """Return the context of the call; each name is that of one operation."""
        (prime_ctx.descriptor,) = self.get_call_handles(prime_ctx)
        return [prime_ctx]

    def deserialize(self, ctx: Any, message: Any = Soap11.REQUEST) -> None:  # noqa: ARG002
        """Set the arguments of the operation, in their order."""
        ctx.in_object = list(self._readers[ctx.method_request_string].read_values(ctx.in_body_doc).values())


def build_spyne_application(service: Any, namespace: str, name: str) -> Any:
    """Return the Spyne application of a service; namespace and name are those of its WSDL."""
    # Spyne's log may quote the request; rejections are logged where they are decided.
    logging.getLogger("spyne").setLevel(logging.CRITICAL + 1)
    protocol = _VerifiedTreeProtocol()
    application = Application([service], namespace, name=name, in_protocol=protocol, out_protocol=Soap11())
    protocol.compile_readers()
    return application


def build_soap_service(
    application: Any, file: str, handler: object, security: SoapSecurityPolicy
) -> SoapSecurityGate:
    """Return the WSGI application of a service: security gate, Spyne, `handler`; `file` is its WSDL."""
    wsdl = get_data_folder("wsdl").joinpath(file).read_bytes()
    server = _CallServer(application, handler)
    return SoapSecurityGate(server.answer_call, read_wsdl(wsdl), wsdl, security)


class _CallServer(ServerBase):  # type: ignore[misc]
    """Gives verified calls to the operations of a service."""

    transport = "gateway"

    def __init__(self, application: Any, handler: object) -> None:
        super().__init__(application)
        self._handler = handler
        self._responses: dict[str, etree._Element] = {}

    def answer_call(self, call: VerifiedCall) -> etree._Element:
        """Return the response to a call; raise what its handler raised."""
        state = _CallState(call, self._handler)
        context = MethodContext(self, MethodContext.SERVER)
        context.udc = state
        try:
            self.generate_contexts(context)
            self.get_in_object(context)
            self.get_out_object(context)
            if state.problem is not None:
                raise state.problem
            if context.out_error is not None:
                raise GatewayError(OUR_MISTAKE, _NOT_TAKEN)
            return self._make_response(context)
        finally:
            # The parts of Spyne's context refer to each other, and the traceback of a problem refers to them:
            # the tree of the call would stay in memory until the garbage collector runs.
            state.problem = None
            vars(context).clear()

    def _make_response(self, context: Any) -> etree._Element:
        """Return the response of an operation; Spyne writes it once, because nothing of a call is in it."""
        name = context.descriptor.name
        if name not in self._responses:
            self.get_out_string(context)
            self._responses[name] = etree.fromstring(b"".join(context.out_string))[-1][0]
        return deepcopy(self._responses[name])

"""The common base of the hub's SOAP services: Spyne behind the security gate, and types of elements.

Spyne gets the canonical octets of the verified element of a call, and no HTTP. It finds the operation, makes
values of the elements by its types, calls the method and writes the response. A test compares types and
operations of each service with its WSDL.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any, Final

from lxml import etree

from gateway.errors import DOCUMENT_INVALID, NO_ROOM, OUR_MISTAKE, GatewayError
from gateway.share import get_data_folder
from gateway.web.soap_security import (
    AnswerHeader,
    Caller,
    ServiceAnswer,
    SoapSecurityGate,
    SoapSecurityPolicy,
    VerifiedCall,
)
from gateway.wire import collapse_whitespace, normalize_text, parse_instant, read_wsdl

#: Spyne 2.14 contains a copy of ``six`` whose import hook predates ``find_spec``: Python 3.12 no longer
#: calls it, and Python 3.11 warns at each import that fails anywhere. A finder of this module answers for
#: ``spyne.util.six.moves`` instead, and the old hook is removed.
_SIX = "spyne.util.six"
_MOVES = _SIX + ".moves"


def _get_moved_modules() -> dict[str, Any]:
    """Return the table of moved modules, by full name, that the vendored six has filled."""
    table: dict[str, Any] = sys.modules[_SIX]._importer.known_modules  # noqa: SLF001
    return table


class _MovesFinder(MetaPathFinder, Loader):
    """Finds ``spyne.util.six.moves`` and the modules below it."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Return a spec for a module of the table, None for every other."""
        if fullname != _MOVES and not fullname.startswith(_MOVES + "."):
            return None
        moved = _get_moved_modules().get(fullname)
        if moved is None:
            return None
        return spec_from_loader(fullname, self, is_package=hasattr(moved, "__path__"))

    def create_module(self, _spec: ModuleSpec, /) -> ModuleType | None:
        """Return None, so that the import system makes an empty module: the real one keeps its own spec."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Make `module` resolve each name in the real module (PEP 562)."""
        moved = _get_moved_modules()[module.__name__]
        real = moved._resolve() if hasattr(moved, "_resolve") else moved  # noqa: SLF001
        module.__getattr__ = lambda name: getattr(real, name)  # type: ignore[method-assign]


@contextmanager
def _silence_import_warnings() -> Iterator[None]:
    """Silence the warnings that Spyne's own modules cause during their import, and no others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"_SixMetaPathImporter\.find_", ImportWarning)
        warnings.filterwarnings("ignore", "invalid escape sequence", DeprecationWarning)
        warnings.filterwarnings("ignore", "invalid escape sequence", SyntaxWarning)
        yield


def _install_finder() -> None:
    """Install the finder first, import Spyne, and remove the old hook from the import system."""
    if not any(isinstance(finder, _MovesFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _MovesFinder())
    with _silence_import_warnings():
        for name in ("spyne", "spyne.protocol.xml", "spyne.server"):
            import_module(name)
    old = sys.modules[_SIX]._importer  # noqa: SLF001
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not old]


_install_finder()

_spyne = import_module("spyne")
primitive = import_module("spyne.model.primitive")
Application = _spyne.Application
ComplexModel: Any = _spyne.ComplexModel
Fault: Any = _spyne.Fault
MethodContext = _spyne.MethodContext
ServerBase: Any = import_module("spyne.server").ServerBase
ServiceBase: Any = _spyne.ServiceBase
rpc = _spyne.rpc
XmlDocument = import_module("spyne.protocol.xml").XmlDocument
Wsdl11 = import_module("spyne.interface.wsdl").Wsdl11

_BODY: Final = "/soap:Envelope/soap:Body"
#: Characters of a number, zeros in front included.
LONGEST_NUMBER: Final = 100


def make_token_type(name: str, max_length: int | None = None, **facets: Any) -> Any:
    """Return a required token type of at most `max_length` characters."""
    limits = {} if max_length is None else {"min_len": 1, "max_len": max_length}
    return primitive.Token(type_name=name, min_occurs=1, nillable=False, **limits, **facets)


_INSTANT: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+\-][0-9]{2}:[0-9]{2})"
)
Number = make_token_type("Number", 128)
Code = make_token_type("Code", 17)
Pointer = make_token_type("Pointer", 512)
Sentence = primitive.Unicode(type_name="Sentence", min_len=1, max_len=4000, min_occurs=1, nillable=False)
ItemNumber = primitive.Integer32(
    type_name="ItemNumber", ge=1, le=99999, max_str_len=LONGEST_NUMBER, min_occurs=1, nillable=False
)


def make_optional(element_type: Any) -> Any:
    """Return the type of an element that may be absent."""
    return element_type.customize(min_occurs=0)


def make_repeatable(element_type: Any) -> Any:
    """Return the type of an element that may occur any number of times."""
    return element_type.customize(min_occurs=0, max_occurs="unbounded")


def declare_operation(name: str, **parameters: Any) -> Callable[[Any], Any]:
    """Return a decorator that makes a method the operation of this name, with these parameters in order."""
    decorate: Callable[[Any], Any] = rpc(
        *parameters.values(),
        _args=tuple(parameters),
        _operation_name=name,
        _out_message_name=f"{name}Response",
    )
    return decorate


class CallRefusal(Fault):  # type: ignore[misc]
    """Carries the reason of a refusal through Spyne, which logs and replaces other exceptions."""

    def __init__(self, problem: Exception) -> None:
        super().__init__("Client")
        self.problem = problem


#: Applies the value of a call; returns a header block for the answer, or None.
ApplyCallValue = Callable[[Any, Caller], AnswerHeader | None]


@dataclass(slots=True)
class _CallState:
    """The state of a call inside Spyne: the verified call, and the function that applies its value.

    `answer_header` is what that function has returned.
    """

    call: VerifiedCall
    apply_value: ApplyCallValue
    answer_header: AnswerHeader | None = None


def get_verified_call(ctx: Any) -> VerifiedCall:
    """Return the call that an operation answers: its verified element and its caller."""
    state: _CallState = ctx.udc
    return state.call


class HubService(ServiceBase):  # type: ignore[misc]
    """A service whose operations return the content of a call, which is applied before the answer."""

    @classmethod
    def call_wrapper(cls, ctx: Any, args: Any = None) -> None:
        """Call an operation, and apply the value that it returns."""
        try:
            state: _CallState = ctx.udc
            state.answer_header = state.apply_value(super().call_wrapper(ctx, args), state.call.caller)
        except Exception as problem:
            raise CallRefusal(problem) from None


def _read_instant(_protocol: object, _kind: object, text: str) -> datetime:
    """Return the time of an element; refuse a text that the schema accepts but that is no valid time."""
    try:
        return parse_instant(text)
    except ValueError as problem:
        detail = f"{text[:60]!r} cannot be used"
        raise CallRefusal(GatewayError(DOCUMENT_INVALID, detail, _BODY)) from problem


Instant = primitive.DateTime(
    type_name="Instant", pattern=_INSTANT, min_occurs=1, nillable=False, parser=_read_instant
)


def _normalize_values(ctx: Any) -> None:
    """Write each value of a call as Spyne reads it: letters composed, white space as its schema treats it."""
    _normalize_members(ctx.descriptor.in_message, ctx.in_body_doc)


def _normalize_members(complex_type: Any, element: etree._Element) -> None:
    """Collapse white space in every value but sentences (XML Schema part 2 §4.3.6)."""
    members = complex_type.get_flat_type_info(complex_type)
    for child in element:
        member = members.get(etree.QName(child).localname)
        if member is None:  # a document of any form, which is taken from the verified tree
            continue
        if issubclass(member, ComplexModel):
            _normalize_members(member, child)
            continue
        text = normalize_text(child.text or "")
        keeps = issubclass(member, primitive.Unicode) and not issubclass(member, primitive.Token)
        child.text = text if keeps else collapse_whitespace(text)


def build_spyne_application(service: Any, namespace: str, name: str) -> Any:
    """Return the Spyne application of a service; namespace and name are those of its WSDL."""
    # Spyne's log may quote the request; rejections are logged where they are decided.
    logging.getLogger("spyne").setLevel(logging.CRITICAL + 1)
    protocol = XmlDocument(validator="soft", parse_xsi_type=False)
    protocol.event_manager.add_listener("before_deserialize", _normalize_values)
    return Application([service], namespace, name=name, in_protocol=protocol, out_protocol=XmlDocument())


def build_soap_service(
    application: Any, file: str, apply: ApplyCallValue, security: SoapSecurityPolicy
) -> SoapSecurityGate:
    """Return the WSGI application of a service: security gate, Spyne, `apply`; `file` is its WSDL."""
    wsdl = get_data_folder("wsdl").joinpath(file).read_bytes()
    server = _CallServer(application, apply)
    return SoapSecurityGate(server.answer_call, read_wsdl(wsdl), wsdl, security)


class _CallServer(ServerBase):  # type: ignore[misc]
    """Gives verified calls to the operations of a service."""

    transport = "gateway"

    def __init__(self, application: Any, apply: ApplyCallValue) -> None:
        super().__init__(application)
        self._apply = apply

    def answer_call(self, call: VerifiedCall) -> ServiceAnswer:
        """Return the answer to a call; raise the problem of its operation, GW402 for a refusal by Spyne."""
        arrived = MethodContext(self, MethodContext.SERVER)
        state = _CallState(call, self._apply)
        arrived.in_string, arrived.udc = [call.canonical], state
        (context,) = self.generate_contexts(arrived)
        try:
            if context.in_error is None:
                self.get_in_object(context)
            if context.in_error is None:
                self.get_out_object(context)
            if context.out_error is not None:
                raise _get_problem(context.out_error)
            self.get_out_string(context)
            return ServiceAnswer(context.out_document, state.answer_header)
        finally:
            # The parts of Spyne's contexts refer to each other: the tree of the call would stay in memory
            # until the garbage collector runs.
            vars(arrived).clear()
            vars(context).clear()


def _get_problem(fault: Any) -> Exception:
    """Return the problem of the catalogue, or the exception, that a fault of Spyne stands for."""
    if isinstance(fault, CallRefusal):
        return fault.problem
    if fault.faultcode == "Client.XMLSyntaxError":
        # The canonical form that we have just written is well-formed: libxml2 has no memory to read it.
        return GatewayError(NO_ROOM, "memory is used up")
    problem = DOCUMENT_INVALID if fault.faultcode.startswith("Client") else OUR_MISTAKE
    return GatewayError(problem, str(fault.faultstring)[:200], _BODY)

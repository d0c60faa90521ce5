"""Loads the WSDLs of the partners once through zeep, and composes calls by them.

A composed call is an unsigned envelope whose MessageID and Body never change: it is stored, and
signed anew for each attempt. Nothing is fetched: zeep gets the one WSDL and cannot reach anything
else. A WSDL is frozen (``wsdl_files``): a changed one is not read.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from lxml import etree

from gateway.delivery.call_forms import (
    CallForms,
    PlainValues,
    make_form,
    may_have_form,
    read_plain_values,
)
from gateway.delivery.synchronous_zeep import Transport, zeep
from gateway.delivery.wsdl_files import WsdlFile, read_wsdl_file
from gateway.errors import REQUEST_INVALID, SETTINGS_WRONG, GatewayError, describe_exception
from gateway.wire import (
    DEFAULT_LIMITS,
    SOAP11,
    AddressingHeaders,
    ServiceDescription,
    TextTemplate,
    WrittenElement,
    WsdlOperation,
    make_written_element,
    prescan_xml,
    read_own_element,
    read_wsdl,
    remove_schema_imports,
    serialize_element,
    write_addressing,
)

__all__ = ["CallAttachment", "ServiceCall", "ServiceContract", "load_contract"]

# zeep requires a URL; this one points to no real location.
_BASE: Final = "file:///shipped/wsdl/"
_SETTINGS: Final[dict[str, bool]] = {
    "strict": True,
    "forbid_dtd": True,
    "forbid_entities": True,
    "forbid_external": True,
    "xml_huge_tree": False,
}
# A marker that the text of an element cannot contain.
_MARK: Final = b"<!--document-->"
_ATTACHMENT: Final = "Attachment"


@dataclass(frozen=True, slots=True)
class CallAttachment:
    """A file that is sent inside the call; its digest is computed here, from the sent content."""

    content_id: str
    media_type: str
    content: bytes

    def to_zeep_argument(self) -> dict[str, Any]:
        """Return the value that zeep serialises."""
        return {
            "_value_1": self.content,
            "cid": self.content_id,
            "mediaType": self.media_type,
            "sha256": hashlib.sha256(self.content).hexdigest(),
        }


@dataclass(frozen=True, slots=True)
class ServiceCall:
    """One call: operation, simple arguments by name, the document for the open part, MessageID, address.

    `to` is None where the address is not known yet.

    `scope` has lists of values by the name of an attribute beside the document. A list is left out
    where the WSDL has no such attribute.
    """

    operation: str
    message_id: str
    to: str | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    document: etree._Element | WrittenElement | None = None
    attachments: tuple[CallAttachment, ...] = ()
    scope: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _OfflineTransport(Transport):  # type: ignore[misc]
    """Gives zeep the one WSDL that it was made for, and reaches nothing else."""

    def __init__(self, url: str, data: bytes) -> None:
        super().__init__()
        self._url = url
        self._data = data

    def load(self, url: str) -> bytes:
        """Return the WSDL; raise for every other URL."""
        if url != self._url:
            raise GatewayError(SETTINGS_WRONG, "a WSDL refers to another file", url[:200])
        return self._data

    def get(self, address: str, *_: Any) -> Any:
        """Raise: nothing is fetched."""
        raise GatewayError(SETTINGS_WRONG, "nothing is fetched", address[:200])

    def post(self, address: str, *_: Any) -> Any:
        """Raise: calls are sent elsewhere."""
        raise GatewayError(SETTINGS_WRONG, "nothing is sent from here", address[:200])


class ServiceContract:
    """One WSDL, ready to compose calls; safe to share between threads.

    The document schemas that it imports are left out: documents are given as elements and validated
    before.
    """

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.description: ServiceDescription = read_wsdl(data)
        self._forms = CallForms()
        url = _BASE + name
        try:
            client = zeep.Client(
                url,
                transport=_OfflineTransport(url, remove_schema_imports(data)),
                settings=zeep.Settings(**_SETTINGS),
            )
            # What zeep would add to its Body (addressing with an id of its own) is not wanted.
            self._binding: Any = client.service._binding
        except GatewayError:
            raise
        except Exception as problem:
            detail = f"zeep cannot read the WSDL: {describe_exception(problem)}"
            raise GatewayError(SETTINGS_WRONG, detail, name) from problem

    def compose_envelope(self, call: ServiceCall) -> bytes:
        """Return the unsigned envelope of `call`; raises GW504 when it does not fit the WSDL."""
        operation = self.description.operations.get(call.operation)
        if operation is None:
            detail = f"the WSDL has no operation {call.operation[:80]!r}"
            raise GatewayError(REQUEST_INVALID, detail, self.name)
        octets = self._write_by_form(call, operation) or self._write_by_zeep(call, operation)
        if call.document is not None:
            octets = octets.replace(_MARK, _write_document(call.document), 1)
        if len(octets) > DEFAULT_LIMITS.text:  # an unreadable envelope must not be stored
            prescan_xml(octets)
        return octets

    def _write_by_form(self, call: ServiceCall, operation: WsdlOperation) -> bytes | None:
        """Return the envelope of a call like one that zeep composed; None for all else, and what is invalid.

        It has a mark in place of the document, as one by zeep.
        """
        if not may_have_form([one.content for one in call.attachments]):
            return None
        content = _list_content(call, operation)
        values = read_plain_values(content)
        if values is None:
            return None
        tag = None if call.document is None else call.document.tag
        shape = (call.operation, tag, values.shape)
        if not self._forms.is_known(shape):
            self._forms.add(shape, self._learn_form(call, operation, content, values))
        octets = self._forms.write_envelope(shape, values)
        if octets is None:
            return None
        held = b"" if tag is None else serialize_element(etree.Element(tag))
        try:
            body = read_own_element(octets.replace(_MARK, held))[-1]
            self.description.schema.validate_element(body[0])
        except GatewayError:
            return None  # by zeep it is refused with a place in its own tree
        return octets

    def _learn_form(
        self, call: ServiceCall, operation: WsdlOperation, content: dict[str, Any], values: PlainValues
    ) -> TextTemplate | None:
        """Return the form of calls like this one, which must be valid itself; None where they have none."""
        written = self._write_by_zeep(call, operation)

        def write_other(other: dict[str, Any]) -> bytes:
            return self._write_by_zeep(_change_content(call, other), operation, check=False)

        try:
            return make_form(content, values, written, write_other)
        except GatewayError:
            return None

    def _write_by_zeep(self, call: ServiceCall, operation: WsdlOperation, *, check: bool = True) -> bytes:
        """Return the envelope of a call as zeep composes it; raises GW504 for an invalid one, on `check`."""
        arguments = _build_arguments(call, operation)
        try:
            envelope = self._binding.get(call.operation).create(**arguments).content
        except Exception as problem:
            detail = f"{call.operation} cannot be composed: {describe_exception(problem)}"
            raise GatewayError(REQUEST_INVALID, detail, self.name) from problem
        body = envelope.find(f"{{{SOAP11}}}Body")
        try:
            if check:
                self.description.schema.validate_element(body[0])
        except GatewayError as problem:
            raise GatewayError(REQUEST_INVALID, problem.detail, problem.location) from problem
        whole = _build_addressed_envelope(
            body, AddressingHeaders(operation.action, call.message_id, to=call.to)
        )
        if call.document is not None:
            _mark_document(whole, operation)
        return serialize_element(whole)


def _list_content(call: ServiceCall, operation: WsdlOperation) -> dict[str, Any]:
    """Return all values of a call, those in its document left out."""
    scope = _choose_scope(call, operation) if call.document is not None else {}
    return {
        "message_id": call.message_id,
        "to": {} if call.to is None else {"address": call.to},
        "arguments": _list_arguments(call),
        "scope": {name: " ".join(one) for name, one in scope.items()},
    }


def _list_arguments(call: ServiceCall) -> Mapping[str, Any]:
    """Return the arguments of a call, its attachments among them."""
    if not call.attachments:
        return call.arguments
    return {**call.arguments, _ATTACHMENT: [one.to_zeep_argument() for one in call.attachments]}


def _change_content(call: ServiceCall, content: dict[str, Any]) -> ServiceCall:
    """Return a call with other values (see `_list_content`), its attachments among its arguments."""
    return replace(
        call,
        message_id=content["message_id"],
        to=content["to"].get("address"),
        arguments=content["arguments"],
        attachments=(),
        scope={name: (text,) for name, text in content["scope"].items()},
    )


def _choose_scope(call: ServiceCall, operation: WsdlOperation) -> dict[str, tuple[str, ...]]:
    """Return the lists of values for which the operation has an attribute."""
    return {name: call.scope[name] for name in sorted(operation.open_part_attributes & call.scope.keys())}


def _build_arguments(call: ServiceCall, operation: WsdlOperation) -> dict[str, Any]:
    """Return the arguments for zeep, with a placeholder element in place of the document."""
    arguments = dict(_list_arguments(call))
    if call.document is not None:
        content: dict[str, Any] = {"_value_1": etree.Element(call.document.tag)}
        content |= {name: list(one) for name, one in _choose_scope(call, operation).items()}
        arguments[operation.open_part or "Document"] = content
    return arguments


def _mark_document(envelope: etree._Element, operation: WsdlOperation) -> None:
    """Put a mark in place of the placeholder element that zeep was given."""
    part = envelope[-1][0].find(f"{{{etree.QName(operation.request).namespace}}}{operation.open_part}")
    if part is None:
        raise GatewayError(REQUEST_INVALID, f"{operation.name} takes no document", "/soap:Envelope/soap:Body")
    part.replace(part[0], etree.Comment("document"))


def _write_document(document: etree._Element | WrittenElement) -> bytes:
    """Return the octets of a document, which replace the mark.

    An element that moves between trees loses declarations that repeat an outer one, and with them its
    prefixes.
    """
    written = document if isinstance(document, WrittenElement) else make_written_element(document)
    return written.octets


def _build_addressed_envelope(body: etree._Element, values: AddressingHeaders) -> etree._Element:
    """Return a new envelope around `body`: zeep's own addressing makes another id at each call."""
    envelope = etree.Element(f"{{{SOAP11}}}Envelope", nsmap={"soap": SOAP11})
    header = etree.SubElement(envelope, f"{{{SOAP11}}}Header")
    write_addressing(header, values)
    envelope.append(body)
    return envelope


_loading = threading.Lock()


@lru_cache(maxsize=256)
def _load_contract_file(file: WsdlFile) -> ServiceContract:
    return ServiceContract(file.name, read_wsdl_file(file))


def load_contract(file: WsdlFile | str) -> ServiceContract:
    """Return the contract of a WSDL (a name means a shipped one), loaded at the first call and cached."""
    with _loading:
        return _load_contract_file(WsdlFile(file) if isinstance(file, str) else file)

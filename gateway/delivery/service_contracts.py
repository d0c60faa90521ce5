"""Loads the WSDLs of the partners once through zeep, and composes calls by them.

A composed call is an unsigned envelope whose MessageID and Body never change: it is stored, and
signed anew for each attempt. Nothing is fetched: zeep gets the one WSDL and cannot reach anything
else. A WSDL is frozen (``wsdl_files``): a changed one is not read.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from lxml import etree

from gateway.delivery.synchronous_zeep import Transport, zeep
from gateway.delivery.wsdl_files import WsdlFile, read_wsdl_file
from gateway.errors import REQUEST_INVALID, SETTINGS_WRONG, GatewayError, describe_exception
from gateway.wire import (
    DEFAULT_LIMITS,
    SOAP11,
    AddressingHeaders,
    ServiceDescription,
    WrittenElement,
    WsdlOperation,
    make_written_element,
    prescan_xml,
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
        arguments = _build_arguments(call, operation)
        try:
            envelope = self._binding.get(call.operation).create(**arguments).content
        except Exception as problem:
            detail = f"{call.operation} cannot be composed: {describe_exception(problem)}"
            raise GatewayError(REQUEST_INVALID, detail, self.name) from problem
        body = envelope.find(f"{{{SOAP11}}}Body")
        try:
            self.description.schema.validate_element(body[0])
        except GatewayError as problem:
            raise GatewayError(REQUEST_INVALID, problem.detail, problem.location) from problem
        whole = _build_addressed_envelope(
            body, AddressingHeaders(operation.action, call.message_id, to=call.to)
        )
        octets = _insert_document(whole, operation, call.document)
        if len(octets) > DEFAULT_LIMITS.text:  # an unreadable envelope must not be stored
            prescan_xml(octets)
        return octets


def _build_arguments(call: ServiceCall, operation: WsdlOperation) -> dict[str, Any]:
    """Return the arguments for zeep, with a placeholder element in place of the document."""
    arguments = dict(call.arguments)
    if call.attachments:
        arguments["Attachment"] = [one.to_zeep_argument() for one in call.attachments]
    if call.document is not None:
        content: dict[str, Any] = {"_value_1": etree.Element(call.document.tag)}
        known = operation.open_part_attributes & call.scope.keys()
        content |= {name: list(call.scope[name]) for name in sorted(known)}
        arguments[operation.open_part or "Document"] = content
    return arguments


def _insert_document(
    envelope: etree._Element, operation: WsdlOperation, document: etree._Element | WrittenElement | None
) -> bytes:
    """Return the envelope with `document` in place of the placeholder element that zeep was given.

    The document is inserted as octets: an element that moves between trees loses declarations that
    repeat an outer one, and with them its prefixes.
    """
    if document is None:
        return serialize_element(envelope)
    part = envelope[-1][0].find(f"{{{etree.QName(operation.request).namespace}}}{operation.open_part}")
    if part is None:
        raise GatewayError(REQUEST_INVALID, f"{operation.name} takes no document", "/soap:Envelope/soap:Body")
    part.replace(part[0], etree.Comment("document"))
    written = document if isinstance(document, WrittenElement) else make_written_element(document)
    return serialize_element(envelope).replace(_MARK, written.octets, 1)


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

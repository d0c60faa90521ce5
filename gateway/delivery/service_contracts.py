"""Contracts of agencies' services: their WSDL files, read and compared."""

from __future__ import annotations

import hashlib
import posixpath
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache, lru_cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

import zeep
from lxml import etree
from zeep.transports import Transport

from gateway.errors import (
    CALL_UNFIT,
    REQUEST_INVALID,
    SETTINGS_WRONG,
    GatewayError,
    describe_exception,
    raise_resource_problem,
)
from gateway.share import get_data_folder
from gateway.wire import (
    CARRIED,
    DEFAULT_LIMITS,
    SOAP11,
    AddressingHeaders,
    ServiceDescription,
    WrittenElement,
    WsdlOperation,
    compile_schema,
    find_document_schemas,
    find_violation,
    make_written_element,
    prescan_xml,
    read_wsdl,
    remove_schema_imports,
    serialize_element,
    write_addressing,
)

#: The digests of the shipped files, in the form of sha256sum.
SUMS: Final = "SHA256SUMS"
#: Octets of a WSDL; the largest shipped has some ten thousand.
_MOST: Final = 1024 * 1024
#: The data folders in which an imported schema may be.
_FOLDERS: Final = ("xsd", "wsdl")
_LINE: Final = re.compile(r"([0-9a-f]{64})  (\S+)")


@dataclass(frozen=True, slots=True)
class WsdlFile:
    """A WSDL by its path below ``wsdl/``: in one of `folders`, else among the shipped ones.

    `sha256` is the configured digest; `key` is the name of that setting.
    """

    name: str
    sha256: str | None = None
    folders: tuple[Path, ...] = ()
    key: str = field(default="wsdl_sha256", compare=False)


def read_wsdl_file(file: WsdlFile) -> bytes:
    """Return the octets of a WSDL; raises GW801 when it is missing, too large, or has another digest."""
    path, shipped = _find_wsdl_file(file)
    with path.open("rb") as stream:
        data: bytes = stream.read(_MOST + 1)
    if len(data) > _MOST:
        raise GatewayError(SETTINGS_WRONG, f"a WSDL has at most {_MOST} octets", str(path)[-200:])
    digest = hashlib.sha256(data).hexdigest()
    agreed = file.sha256 or (_load_shipped_digests().get(file.name) if shipped else None)
    if agreed is None:
        detail = (
            f'the SHA-256 of the WSDL is not configured; if the file is correct, set {file.key} = "{digest}"'
        )
        raise GatewayError(SETTINGS_WRONG, detail, str(path)[-200:])
    if digest != agreed:
        detail = f"the WSDL has changed: its SHA-256 is {digest}, agreed was {agreed} ({file.key})"
        raise GatewayError(SETTINGS_WRONG, detail, str(path)[-200:])
    return data


def has_wsdl_file(file: WsdlFile) -> bool:
    """Return whether the file exists; its content is not checked."""
    return any(path.is_file() for path, _ in _list_wsdl_paths(file))


def read_imported_schema(file: WsdlFile, location: str) -> bytes | None:
    """Return the schema at a location that a WSDL names, relative to itself; None where it is not there.

    It is searched for in the folder of the WSDL alone, below ``xsd`` or ``wsdl``. Raises GW801 as
    `read_wsdl_file` does, and for a schema that is too large.
    """
    wsdl_path, shipped = _find_wsdl_file(file)
    name = posixpath.normpath(posixpath.join("wsdl", posixpath.dirname(file.name), location))
    top, _, rest = name.partition("/")
    if top not in _FOLDERS or not rest or "://" in location:
        return None
    if shipped:
        schema_path = get_data_folder(top).joinpath(rest)
    else:
        schema_path = (
            next(folder for folder in file.folders if folder / "wsdl" / file.name == wsdl_path) / name
        )
    if not schema_path.is_file():
        return None
    with schema_path.open("rb") as stream:
        data: bytes = stream.read(_MOST + 1)
    if len(data) > _MOST:
        raise GatewayError(SETTINGS_WRONG, f"a schema has at most {_MOST} octets", str(schema_path)[-200:])
    return data


def _find_wsdl_file(file: WsdlFile) -> tuple[Traversable, bool]:
    """Return the file, and whether it is a shipped one."""
    if not file.name or any(step in ("", ".", "..") for step in file.name.split("/")):
        raise GatewayError(SETTINGS_WRONG, "the name of a WSDL is a path below wsdl/", file.name[:200])
    for path, shipped in _list_wsdl_paths(file):
        if path.is_file():
            return path, shipped
    raise GatewayError(SETTINGS_WRONG, "there is no such WSDL", f"wsdl/{file.name[:200]}")


def _list_wsdl_paths(file: WsdlFile) -> list[tuple[Traversable, bool]]:
    paths: list[tuple[Traversable, bool]] = [(folder / "wsdl" / file.name, False) for folder in file.folders]
    return [*paths, (get_data_folder("wsdl").joinpath(file.name), True)]


@cache
def _load_shipped_digests() -> dict[str, str]:
    text = get_data_folder("wsdl").joinpath(SUMS).read_text(encoding="utf-8")
    return {
        line_match[2]: line_match[1] for line in text.splitlines() if (line_match := _LINE.fullmatch(line))
    }


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
    """Gives zeep the one WSDL that it was made for, and reaches nothing else; calls are sent elsewhere."""

    def __init__(self, url: str, data: bytes) -> None:
        super().__init__()
        self._url = url
        self._data = data

    def load(self, url: str) -> bytes:
        """Return the WSDL; raise for every other URL."""
        if url != self._url:
            raise GatewayError(SETTINGS_WRONG, "a WSDL refers to another file", url[:200])
        return self._data


class ServiceContract:
    """One WSDL, ready to compose calls; safe to share between threads.

    The document schemas that it imports are left out: documents are given as elements and validated
    before.
    """

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        #: Of the octets of the WSDL, in lower-case hexadecimal.
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.description: ServiceDescription = read_wsdl(data)
        url = _BASE + name
        try:
            self._client = zeep.Client(
                url,
                transport=_OfflineTransport(url, remove_schema_imports(data)),
                settings=zeep.Settings(**_SETTINGS),
            )
        except GatewayError:
            raise
        except Exception as problem:
            raise_resource_problem(problem)
            detail = f"zeep cannot read the WSDL: {describe_exception(problem)}"
            raise GatewayError(SETTINGS_WRONG, detail, name) from problem

    def compose_envelope(self, call: ServiceCall) -> bytes:
        """Return the unsigned envelope of `call`; raises GW504 when it does not fit the WSDL."""
        operation = self.description.operations.get(call.operation)
        if operation is None:
            detail = f"the WSDL has no operation {call.operation[:80]!r}"
            raise GatewayError(REQUEST_INVALID, detail, self.name)
        octets = self._write_envelope(call, operation)
        if call.document is not None:
            octets = octets.replace(_MARK, _write_document(call.document), 1)
        if len(octets) > DEFAULT_LIMITS.text:  # an unreadable envelope must not be stored
            prescan_xml(octets)
        return octets

    def _write_envelope(self, call: ServiceCall, operation: WsdlOperation) -> bytes:
        """Return the envelope of a call with a mark in place of its document; raises GW504."""
        arguments = _build_arguments(call, operation)
        try:
            envelope = self._client.create_message(self._client.service, call.operation, **arguments)
        except Exception as problem:
            raise_resource_problem(problem)
            detail = f"{call.operation} cannot be composed: {describe_exception(problem)}"
            raise GatewayError(REQUEST_INVALID, detail, self.name) from problem
        body = envelope.find(f"{{{SOAP11}}}Body")
        try:
            self.description.schema.validate_element(body[0])
        except GatewayError as problem:
            raise_resource_problem(problem)
            raise GatewayError(REQUEST_INVALID, problem.detail, problem.location) from problem
        whole = _build_addressed_envelope(
            body, AddressingHeaders(operation.action, call.message_id, to=call.to)
        )
        if call.document is not None:
            _mark_document(whole, operation)
        return serialize_element(whole)


def _choose_scope(call: ServiceCall, operation: WsdlOperation) -> dict[str, tuple[str, ...]]:
    """Return the lists of values for which the operation has an attribute."""
    return {name: call.scope[name] for name in sorted(operation.open_part_attributes & call.scope.keys())}


def _build_arguments(call: ServiceCall, operation: WsdlOperation) -> dict[str, Any]:
    """Return the arguments for zeep, with a placeholder element in place of the document."""
    arguments = {name: _write_days(value) for name, value in call.arguments.items()}
    if call.attachments:
        arguments[_ATTACHMENT] = [attachment.to_zeep_argument() for attachment in call.attachments]
    if call.document is not None:
        content: dict[str, Any] = {"_value_1": etree.Element(call.document.tag)}
        content |= {name: list(elements) for name, elements in _choose_scope(call, operation).items()}
        arguments[operation.open_part or "Document"] = content
    return arguments


def _write_days(value: Any) -> Any:
    """Return an argument with its days as text: zeep writes years before 1000 with less than four digits."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _write_days(inner) for name, inner in value.items()}
    return [_write_days(inner) for inner in value] if isinstance(value, list) else value


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


#: The namespace values of a wildcard that allow documents of any namespace.
_ANY: Final = frozenset({"##any", "##other"})


@dataclass(frozen=True, slots=True)
class BoundSchemas:
    """The document namespaces that a WSDL takes (None: every one), and the schemas that it has of them."""

    namespaces: frozenset[str] | None
    schemas: Mapping[str, bytes]

    def takes_document(self, namespace: str) -> bool:
        """Return whether an element of a namespace may be the document of a call."""
        return self.namespaces is None or namespace in self.namespaces

    def check_document(self, document: etree._Element) -> None:
        """Raise GW720 for a document that is invalid by the schema of its namespace, where there is one."""
        octets = self.schemas.get(etree.QName(document).namespace or "")
        violation = None if octets is None else find_violation(compile_schema(octets), document)
        if violation is not None:
            raise GatewayError(CALL_UNFIT, violation.message[:300], (violation.path or "/")[:300])

    def takes_carried(self) -> bool:
        """Return whether a call may carry a document in JSON or records."""
        return self.takes_document(CARRIED)


def read_bound_schemas(file: WsdlFile | str) -> BoundSchemas:
    """Return the schemas that a WSDL binds (a name means a shipped WSDL); raises GW801 for an unreadable one.

    A schema that the WSDL imports and that is not beside it is left out.
    """
    file = WsdlFile(file) if isinstance(file, str) else file
    namespaces = load_contract(file).description.documents
    if not namespaces or namespaces & _ANY:
        return BoundSchemas(None, {})
    schemas: dict[str, bytes] = {}
    for name, schema_location in find_document_schemas(read_wsdl_file(file)).items():
        octets = (
            read_imported_schema(file, schema_location)
            if isinstance(schema_location, str)
            else schema_location
        )
        if name in namespaces and octets is not None:
            schemas[name] = octets
    return BoundSchemas(namespaces, schemas)

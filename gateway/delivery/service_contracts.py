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
DIGESTS_FILE: Final = "SHA256SUMS"
#: Octets of a WSDL; the largest shipped has some ten thousand.
_MAX_FILE_OCTETS: Final = 1024 * 1024
#: The data folders in which an imported schema may be.
_SCHEMA_FOLDERS: Final = ("xsd", "wsdl")
_DIGEST_LINE_PATTERN: Final = re.compile(r"([0-9a-f]{64})  (\S+)")


@dataclass(frozen=True, slots=True)
class WsdlFile:
    """A WSDL by its path below ``wsdl/``: in one of `folders`, else among the shipped ones.

    `sha256` is the configured digest; `key` is the name of that setting.
    """

    relative_path: str
    sha256: str | None = None
    folders: tuple[Path, ...] = ()
    key: str = field(default="wsdl_sha256", compare=False)


def read_wsdl_file(file: WsdlFile) -> bytes:
    """Return the octets of a WSDL; raises GW801 when it is missing, too large, or has another digest."""
    wsdl_path, is_shipped = _find_wsdl_file(file)
    with wsdl_path.open("rb") as stream:
        wsdl_octets: bytes = stream.read(_MAX_FILE_OCTETS + 1)
    if len(wsdl_octets) > _MAX_FILE_OCTETS:
        raise GatewayError(
            SETTINGS_WRONG, f"a WSDL may have at most {_MAX_FILE_OCTETS} octets", str(wsdl_path)[-200:]
        )
    digest = hashlib.sha256(wsdl_octets).hexdigest()
    agreed = file.sha256 or (_load_shipped_digests().get(file.relative_path) if is_shipped else None)
    if agreed is None:
        detail = (
            f'the SHA-256 of the WSDL is not configured; if the file is correct, set {file.key} = "{digest}"'
        )
        raise GatewayError(SETTINGS_WRONG, detail, str(wsdl_path)[-200:])
    if digest != agreed:
        detail = f"the WSDL has changed: its SHA-256 is {digest}, agreed was {agreed} ({file.key})"
        raise GatewayError(SETTINGS_WRONG, detail, str(wsdl_path)[-200:])
    return wsdl_octets


def has_wsdl_file(wsdl_file: WsdlFile) -> bool:
    """Return whether the file exists; its content is not checked."""
    return any(path.is_file() for path, _ in _list_wsdl_paths(wsdl_file))


def has_shipped_digest(relative_path: str, sha256: str) -> bool:
    """Return whether the shipped WSDL at a path has this digest."""
    return _load_shipped_digests().get(relative_path) == sha256


def read_imported_schema(wsdl_file: WsdlFile, location: str) -> bytes | None:
    """Return the schema at a location that a WSDL names, relative to itself; None where it is not there.

    It is searched for in the folder of the WSDL alone, below ``xsd`` or ``wsdl``. Raises GW801 as
    `read_wsdl_file` does, and for a schema that is too large.
    """
    wsdl_path, is_shipped = _find_wsdl_file(wsdl_file)
    schema_name = posixpath.normpath(
        posixpath.join("wsdl", posixpath.dirname(wsdl_file.relative_path), location)
    )
    top_folder, _, path_below = schema_name.partition("/")
    if top_folder not in _SCHEMA_FOLDERS or not path_below or "://" in location:
        return None
    if is_shipped:
        schema_path = get_data_folder(top_folder).joinpath(path_below)
    else:
        schema_path = (
            next(
                folder
                for folder in wsdl_file.folders
                if folder / "wsdl" / wsdl_file.relative_path == wsdl_path
            )
            / schema_name
        )
    if not schema_path.is_file():
        return None
    with schema_path.open("rb") as stream:
        schema_octets: bytes = stream.read(_MAX_FILE_OCTETS + 1)
    if len(schema_octets) > _MAX_FILE_OCTETS:
        raise GatewayError(
            SETTINGS_WRONG, f"a schema may have at most {_MAX_FILE_OCTETS} octets", str(schema_path)[-200:]
        )
    return schema_octets


def _find_wsdl_file(wsdl_file: WsdlFile) -> tuple[Traversable, bool]:
    """Return the file, and whether it is a shipped one."""
    if not wsdl_file.relative_path or any(
        step in ("", ".", "..") for step in wsdl_file.relative_path.split("/")
    ):
        raise GatewayError(
            SETTINGS_WRONG, "the name of a WSDL must be a path below wsdl/", wsdl_file.relative_path[:200]
        )
    for path, is_shipped in _list_wsdl_paths(wsdl_file):
        if path.is_file():
            return path, is_shipped
    detail = "there is no such WSDL"
    if wsdl_file.sha256 is not None:
        detail = (
            f"this node has no such WSDL in a folder of share.folders, and {wsdl_file.key} is not that of "
            "the template"
        )
    raise GatewayError(SETTINGS_WRONG, detail, f"wsdl/{wsdl_file.relative_path[:200]}")


def _list_wsdl_paths(wsdl_file: WsdlFile) -> list[tuple[Traversable, bool]]:
    paths: list[tuple[Traversable, bool]] = [
        (folder / "wsdl" / wsdl_file.relative_path, False) for folder in wsdl_file.folders
    ]
    return [*paths, (get_data_folder("wsdl").joinpath(wsdl_file.relative_path), True)]


@cache
def _load_shipped_digests() -> dict[str, str]:
    """Return the SHA-256 digest of each shipped file that the digests file lists, by its path there."""
    text = get_data_folder("wsdl").joinpath(DIGESTS_FILE).read_text(encoding="utf-8")
    return {
        line_match[2]: line_match[1]
        for line in text.splitlines()
        if (line_match := _DIGEST_LINE_PATTERN.fullmatch(line))
    }


# zeep requires a URL; this one points to no real location.
_WSDL_BASE_URL: Final = "file:///shipped/wsdl/"
_ZEEP_SETTINGS: Final[dict[str, bool]] = {
    "strict": True,
    "forbid_dtd": True,
    "forbid_entities": True,
    "forbid_external": True,
    "xml_huge_tree": False,
}
# A marker that the text of an element cannot contain.
_DOCUMENT_PLACEHOLDER: Final = b"<!--document-->"
_ATTACHMENT_ARGUMENT: Final = "Attachment"


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

    `address` is None where the address is not known yet.

    `attribute_values` has lists of values by the name of an attribute beside the document. A list is left out
    where the WSDL has no such attribute.
    """

    operation: str
    message_id: str
    address: str | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    document: etree._Element | WrittenElement | None = None
    attachments: tuple[CallAttachment, ...] = ()
    attribute_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _OfflineTransport(Transport):  # type: ignore[misc]
    """Gives zeep the one WSDL that it was made for, and reaches nothing else; calls are sent elsewhere."""

    def __init__(self, url: str, wsdl_octets: bytes) -> None:
        super().__init__()
        self._url = url
        self._wsdl_octets = wsdl_octets

    def load(self, url: str) -> bytes:
        """Return the WSDL; raise for every other URL."""
        if url != self._url:
            raise GatewayError(SETTINGS_WRONG, "a WSDL refers to another file", url[:200])
        return self._wsdl_octets


class ServiceContract:
    """One WSDL, ready to compose calls; safe to share between threads.

    The document schemas that it imports are left out: documents are given as elements and validated
    before.
    """

    def __init__(self, wsdl_name: str, wsdl_octets: bytes) -> None:
        self.wsdl_name = wsdl_name
        #: Of the octets of the WSDL, in lower-case hexadecimal.
        self.sha256 = hashlib.sha256(wsdl_octets).hexdigest()
        self.description: ServiceDescription = read_wsdl(wsdl_octets)
        url = _WSDL_BASE_URL + wsdl_name
        try:
            self._client = zeep.Client(
                url,
                transport=_OfflineTransport(url, remove_schema_imports(wsdl_octets)),
                settings=zeep.Settings(**_ZEEP_SETTINGS),
            )
        except GatewayError:
            raise
        except Exception as problem:
            raise_resource_problem(problem)
            detail = f"zeep cannot read the WSDL: {describe_exception(problem)}"
            raise GatewayError(SETTINGS_WRONG, detail, wsdl_name) from problem

    def compose_envelope(self, call: ServiceCall) -> bytes:
        """Return the unsigned envelope of `call`; raises GW504 when it does not fit the WSDL."""
        operation = self.description.operations.get(call.operation)
        if operation is None:
            detail = f"the WSDL has no operation {call.operation[:80]!r}"
            raise GatewayError(REQUEST_INVALID, detail, self.wsdl_name)
        octets = self._write_envelope(call, operation)
        if call.document is not None:
            octets = octets.replace(_DOCUMENT_PLACEHOLDER, _write_document(call.document), 1)
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
            raise GatewayError(REQUEST_INVALID, detail, self.wsdl_name) from problem
        body = envelope.find(f"{{{SOAP11}}}Body")
        try:
            self.description.schema.validate_element(body[0])
        except GatewayError as problem:
            raise_resource_problem(problem)
            raise GatewayError(REQUEST_INVALID, problem.detail, problem.location) from problem
        addressed_envelope = _build_addressed_envelope(
            body, AddressingHeaders(operation.action, call.message_id, to=call.address)
        )
        if call.document is not None:
            _insert_document_placeholder(addressed_envelope, operation)
        return serialize_element(addressed_envelope)


def _choose_scope(call: ServiceCall, operation: WsdlOperation) -> dict[str, tuple[str, ...]]:
    """Return the lists of values for which the operation has an attribute."""
    return {
        attribute_name: call.attribute_values[attribute_name]
        for attribute_name in sorted(operation.open_part_attributes & call.attribute_values.keys())
    }


def _build_arguments(call: ServiceCall, operation: WsdlOperation) -> dict[str, Any]:
    """Return the arguments for zeep, with a placeholder element in place of the document."""
    arguments = {name: _format_dates(value) for name, value in call.arguments.items()}
    if call.attachments:
        arguments[_ATTACHMENT_ARGUMENT] = [attachment.to_zeep_argument() for attachment in call.attachments]
    if call.document is not None:
        document_argument: dict[str, Any] = {"_value_1": etree.Element(call.document.tag)}
        document_argument |= {
            name: list(elements) for name, elements in _choose_scope(call, operation).items()
        }
        arguments[operation.open_part or "Document"] = document_argument
    return arguments


def _format_dates(value: Any) -> Any:
    """Return an argument with its days as text: zeep writes years before 1000 with less than four digits."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _format_dates(inner) for name, inner in value.items()}
    return [_format_dates(inner) for inner in value] if isinstance(value, list) else value


def _insert_document_placeholder(envelope: etree._Element, operation: WsdlOperation) -> None:
    """Put a mark in place of the placeholder element that zeep was given."""
    open_part = envelope[-1][0].find(f"{{{etree.QName(operation.request).namespace}}}{operation.open_part}")
    if open_part is None:
        raise GatewayError(REQUEST_INVALID, f"{operation.name} takes no document", "/soap:Envelope/soap:Body")
    open_part.replace(open_part[0], etree.Comment("document"))


def _write_document(document: etree._Element | WrittenElement) -> bytes:
    """Return the octets of a document, which replace the mark.

    An element that moves between trees loses declarations that repeat an outer one, and with them its
    prefixes.
    """
    written_element = document if isinstance(document, WrittenElement) else make_written_element(document)
    return written_element.octets


def _build_addressed_envelope(body: etree._Element, addressing: AddressingHeaders) -> etree._Element:
    """Return a new envelope around `body`: zeep's own addressing makes another id at each call."""
    envelope = etree.Element(f"{{{SOAP11}}}Envelope", nsmap={"soap": SOAP11})
    header = etree.SubElement(envelope, f"{{{SOAP11}}}Header")
    write_addressing(header, addressing)
    envelope.append(body)
    return envelope


_loading_lock = threading.Lock()


@lru_cache(maxsize=256)
def _load_contract_file(wsdl_file: WsdlFile) -> ServiceContract:
    return ServiceContract(wsdl_file.relative_path, read_wsdl_file(wsdl_file))


def load_contract(wsdl_file: WsdlFile | str) -> ServiceContract:
    """Return the contract of a WSDL (a name means a shipped one), loaded at the first call and cached."""
    with _loading_lock:
        return _load_contract_file(WsdlFile(wsdl_file) if isinstance(wsdl_file, str) else wsdl_file)


#: The namespace values of a wildcard that allow documents of any namespace.
_ANY_NAMESPACE: Final = frozenset({"##any", "##other"})


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

    def takes_carrier_document(self) -> bool:
        """Return whether a call may carry a document in JSON or records."""
        return self.takes_document(CARRIED)


def read_bound_schemas(wsdl_file: WsdlFile | str) -> BoundSchemas:
    """Return the schemas that a WSDL binds (a name means a shipped WSDL); raises GW801 for an unreadable one.

    A schema that the WSDL imports and that is not beside it is left out.
    """
    wsdl_file = WsdlFile(wsdl_file) if isinstance(wsdl_file, str) else wsdl_file
    namespaces = load_contract(wsdl_file).description.document_namespaces
    if not namespaces or namespaces & _ANY_NAMESPACE:
        return BoundSchemas(None, {})
    schemas: dict[str, bytes] = {}
    for namespace, schema_location in find_document_schemas(read_wsdl_file(wsdl_file)).items():
        octets = (
            read_imported_schema(wsdl_file, schema_location)
            if isinstance(schema_location, str)
            else schema_location
        )
        if namespace in namespaces and octets is not None:
            schemas[namespace] = octets
    return BoundSchemas(namespaces, schemas)

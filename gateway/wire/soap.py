"""SOAP 1.1 and 1.2: the envelope, its header blocks and its faults."""

from __future__ import annotations

from collections.abc import Collection, Container
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final, Literal

from lxml import etree

from gateway.errors import HEADER_INVALID, NOT_SOAP, NOT_UNDERSTOOD, TOO_LARGE, GatewayError
from gateway.wire.element_access import build_xpath, read_attribute
from gateway.wire.namespaces import (
    PREFIXES,
    SOAP11,
    SOAP11_NEXT,
    SOAP12,
    SOAP12_NEXT,
    SOAP12_ULTIMATE_RECEIVER,
    XML,
)
from gateway.wire.xml import serialize_element
from gateway.wire.xml_writer import replace_invalid_xml_characters

SoapVersion = Literal["1.1", "1.2"]

_VERSIONS: Final[dict[str, SoapVersion]] = {SOAP11: "1.1", SOAP12: "1.2"}
_NAMESPACES: Final[dict[SoapVersion, str]] = {"1.1": SOAP11, "1.2": SOAP12}
_ACTOR_ATTRIBUTE: Final[dict[SoapVersion, str]] = {"1.1": f"{{{SOAP11}}}actor", "1.2": f"{{{SOAP12}}}role"}
_NEXT_ACTOR: Final[dict[SoapVersion, str]] = {"1.1": SOAP11_NEXT, "1.2": SOAP12_NEXT}
# SOAP 1.2 §5.2.3 accepts every xs:boolean; SOAP 1.1 defines 0 and 1, but JAXB writes "true".
_FLAGS: Final = {"1": True, "true": True, "0": False, "false": False}
_TO_SOAP12: Final = {"Client": "Sender", "Server": "Receiver"}
_FROM_SOAP12: Final = {name: old for old, name in _TO_SOAP12.items()}
_PREFIX_BY_NAMESPACE: Final = {uri: prefix for prefix, uri in PREFIXES.items()}
_S12: Final = f"{{{SOAP12}}}"
_MAX_TEXT_LENGTH: Final = 2000
# ebMS 2.0 has seven header blocks, WS-Addressing and WS-Security together ten.
_MAX_BLOCKS: Final = 256


@dataclass(frozen=True, slots=True)
class SoapEnvelope:
    """A SOAP envelope whose outer structure was checked."""

    root: etree._Element
    header: etree._Element | None
    body: etree._Element
    version: SoapVersion

    @property
    def header_blocks(self) -> list[etree._Element]:
        """Return the header blocks in their order."""
        return [] if self.header is None else _list_elements(self.header)

    @property
    def body_elements(self) -> list[etree._Element]:
        """Return the elements directly in the Body."""
        return _list_elements(self.body)


@dataclass(frozen=True, slots=True)
class SoapFault:
    """A SOAP fault in terms common to both versions.

    ``code`` is ``Client``, ``Server``, ``MustUnderstand`` or ``VersionMismatch``, or a name
    in another namespace: ``wsse:FailedCheck`` with a prefix of the gateway, or
    ``{namespace}name`` for a namespace without one. A ``Subcode`` of SOAP 1.2 is the code, and
    ``main_code`` the one above it, where there is one.
    """

    code: str
    text: str
    detail: tuple[etree._Element, ...] = ()
    actor: str = ""
    main_code: str = field(default="", compare=False)

    @property
    def is_server_fault(self) -> bool:
        """Return whether the fault is the receiver's, and not that of the message: it may pass.

        ``Server.userException`` is a kind of ``Server``, too (SOAP 1.1 §4.4.1).
        """
        code = self.main_code or self.code
        return code.rpartition(":")[2].partition(".")[0] == "Server"


def read_envelope(root: etree._Element) -> SoapEnvelope:
    """Return the envelope at `root`: at most one Header, then exactly one Body, then nothing.

    Raises the problems NOT_SOAP and HEADER_INVALID, and TOO_LARGE for too many blocks.
    """
    qualified_name = etree.QName(root)
    version = _VERSIONS.get(qualified_name.namespace or "")
    if version is None or qualified_name.localname != "Envelope":
        raise GatewayError(NOT_SOAP, "the root element is not a SOAP 1.1 or 1.2 Envelope", build_xpath(root))
    namespace = qualified_name.namespace
    _check_child_count(root)
    children = _list_elements(root)
    tags = [child.tag for child in children]
    expected_tags = [f"{{{namespace}}}Header", f"{{{namespace}}}Body"]
    if tags not in (expected_tags, expected_tags[1:]):
        raise GatewayError(
            HEADER_INVALID,
            "an Envelope must hold at most one Header, then one Body, and nothing else",
            "/soap:Envelope",
        )
    envelope = SoapEnvelope(root, children[0] if len(children) == 2 else None, children[-1], version)
    if envelope.header is not None:
        _check_child_count(envelope.header)
    soap_tag_start = f"{{{namespace}}}"
    for block in envelope.header_blocks:
        tag = str(block.tag)
        if tag[0] != "{" or tag.startswith(soap_tag_start):
            raise GatewayError(
                HEADER_INVALID,
                "a header block must have a namespace, and not that of SOAP",
                build_xpath(block),
            )
    return envelope


def _check_child_count(parent: etree._Element) -> None:
    """Raise when `parent` has more children than any real header, before objects are made of them."""
    if len(parent) > _MAX_BLOCKS:
        raise GatewayError(TOO_LARGE, f"there are more than {_MAX_BLOCKS} blocks", build_xpath(parent))


def list_not_understood_blocks(
    envelope: SoapEnvelope, understood_names: Container[str], actors: Collection[str] = ()
) -> list[etree._Element]:
    """Return the mandatory header blocks addressed to the gateway whose names are not in `understood_names`.

    A block is addressed to the gateway when it names no actor, the next one, or one of
    `actors`. Names are in Clark notation.
    """
    return [
        block
        for block in envelope.header_blocks
        if str(block.tag) not in understood_names
        and is_for_receiver(block, envelope.version, actors)
        and _is_mandatory(block, envelope.version)
    ]


def is_for_receiver(block: etree._Element, version: SoapVersion, actors: Collection[str] = ()) -> bool:
    """Return whether a header block is for the last receiver of the message, which is the gateway.

    Such a block names no actor, the actor "next", or one of `actors`; in SOAP 1.2 also the role of the
    ultimate receiver, which means the same as no role (part 1 §2.2, §5.2.2).
    """
    actor = read_attribute(block, _ACTOR_ATTRIBUTE[version], "").strip()
    receiver_actors = (
        ("", _NEXT_ACTOR[version]) if version == "1.1" else ("", SOAP12_NEXT, SOAP12_ULTIMATE_RECEIVER)
    )
    return actor in receiver_actors or actor in actors


def check_must_understand(
    envelope: SoapEnvelope, understood_names: Container[str], actors: Collection[str] = ()
) -> None:
    """Raise when the envelope has a mandatory header block that is not understood."""
    not_understood_blocks = list_not_understood_blocks(envelope, understood_names, actors)
    if not_understood_blocks:
        block_names = " and ".join(_describe_block_name(block) for block in not_understood_blocks[:5])
        raise GatewayError(
            NOT_UNDERSTOOD,
            f"the header {block_names} is not understood",
            build_xpath(not_understood_blocks[0]),
        )


def _describe_block_name(block: etree._Element) -> str:
    """Return the name of a header block in words, with its namespace."""
    qualified_name = etree.QName(block)
    return (
        f"{qualified_name.localname[:100]} of '{qualified_name.namespace[:200]}'"
        if qualified_name.namespace
        else qualified_name.localname[:100]
    )


def read_fault(envelope: SoapEnvelope) -> SoapFault | None:
    """Return the fault that the envelope carries, or None."""
    content = envelope.body_elements
    if not content or content[0].tag != f"{{{_NAMESPACES[envelope.version]}}}Fault":
        return None
    fault = content[0]
    if envelope.version == "1.1":
        return SoapFault(
            _read_fault_code(fault.find("faultcode")),
            _read_text(fault.find("faultstring")),
            tuple(_list_elements(fault.find("detail"))),
            _read_text(fault.find("faultactor")),
        )
    subcode = fault.find(f"{_S12}Code/{_S12}Subcode/{_S12}Value")
    main_code = _read_fault_code(fault.find(f"{_S12}Code/{_S12}Value"))
    return SoapFault(
        main_code if subcode is None else _read_fault_code(subcode),
        _read_text(fault.find(f"{_S12}Reason/{_S12}Text")),
        tuple(_list_elements(fault.find(f"{_S12}Detail"))),
        _read_text(fault.find(f"{_S12}Role")),
        "" if subcode is None else main_code,
    )


def write_fault_envelope(fault: SoapFault, version: SoapVersion = "1.1") -> bytes:
    """Return the octets of an envelope that carries `fault`."""
    namespace = _NAMESPACES[version]
    code_namespaces, code = _write_fault_code(fault.code, version)
    root = etree.Element(f"{{{namespace}}}Envelope", nsmap={"soap": namespace} | code_namespaces)
    body = etree.SubElement(root, f"{{{namespace}}}Body")
    fault_element = etree.SubElement(body, f"{{{namespace}}}Fault")
    append_fault = _append_soap11_fault if version == "1.1" else _append_soap12_fault
    append_fault(fault_element, fault, code)
    return serialize_element(root)


def _write_fault_code(code: str, version: SoapVersion) -> tuple[dict[str, str], str]:
    """Return the namespace declaration that `code` needs, and the code as a qualified name."""
    if code.startswith("{"):
        namespace, _, local_name = code[1:].partition("}")
        return {"code": namespace}, f"code:{local_name}"
    prefix, _, local_name = code.rpartition(":")
    if prefix in PREFIXES:
        return {prefix: PREFIXES[prefix]}, code
    return {}, f"soap:{local_name if version == '1.1' else _TO_SOAP12.get(local_name, local_name)}"


def _append_soap11_fault(element: etree._Element, fault: SoapFault, code: str) -> None:
    # The children of a SOAP 1.1 Fault have no namespace.
    for name, text in (("faultcode", code), ("faultstring", fault.text), ("faultactor", fault.actor)):
        if text or name != "faultactor":
            etree.SubElement(element, name).text = _replace_invalid_characters(text)
    if fault.detail:
        etree.SubElement(element, "detail").extend(deepcopy(entry) for entry in fault.detail)


def _append_soap12_fault(element: etree._Element, fault: SoapFault, code: str) -> None:
    code_element = etree.SubElement(element, f"{_S12}Code")
    # Only the five codes of SOAP 1.2 are allowed as first Value; any other is a Subcode of Sender.
    etree.SubElement(code_element, f"{_S12}Value").text = code if code.startswith("soap:") else "soap:Sender"
    if not code.startswith("soap:"):
        etree.SubElement(etree.SubElement(code_element, f"{_S12}Subcode"), f"{_S12}Value").text = code
    reason = etree.SubElement(etree.SubElement(element, f"{_S12}Reason"), f"{_S12}Text")
    reason.set(f"{{{XML}}}lang", "en")
    reason.text = _replace_invalid_characters(fault.text)
    if fault.actor:
        etree.SubElement(element, f"{_S12}Role").text = _replace_invalid_characters(fault.actor)
    if fault.detail:
        etree.SubElement(element, f"{_S12}Detail").extend(deepcopy(entry) for entry in fault.detail)


def _replace_invalid_characters(text: str) -> str:
    return replace_invalid_xml_characters(text, "\ufffd")


def _list_elements(parent: etree._Element | None) -> list[etree._Element]:
    return [] if parent is None else list(parent.iterchildren("*"))


def _is_mandatory(block: etree._Element, version: SoapVersion) -> bool:
    """Return whether a header block has mustUnderstand; raise GW107 for a value that is no truth value."""
    value = read_attribute(block, f"{{{_NAMESPACES[version]}}}mustUnderstand", "0").strip()
    flag = _FLAGS.get(value)
    if flag is None:
        raise GatewayError(
            HEADER_INVALID, f"mustUnderstand is {value[:40]!r}, it must be 0 or 1", build_xpath(block)
        )
    return flag


def _read_text(element: etree._Element | None) -> str:
    return (
        ""
        if element is None
        else "".join(str(text) for text in element.itertext()).strip()[:_MAX_TEXT_LENGTH]
    )


def _read_fault_code(element: etree._Element | None) -> str:
    """Return the code in `element` in the form of `SoapFault.code`; as written if its prefix is unbound."""
    text = _read_text(element)
    prefix, separator, local_name = text.rpartition(":")
    namespace = None if element is None else element.nsmap.get(prefix or None)
    if namespace is None or (separator and not prefix):
        return text
    if namespace in _VERSIONS:
        return _FROM_SOAP12.get(local_name, local_name)
    standard_prefix = _PREFIX_BY_NAMESPACE.get(namespace)
    return f"{standard_prefix}:{local_name}" if standard_prefix else f"{{{namespace}}}{local_name}"

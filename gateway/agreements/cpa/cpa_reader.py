"""Reads a CPA or CPP of CPPA 2.0 from its octets: hardened XML, the schema, then the values.

A document that the schema refuses has no values. Its problems have line, XPath, and the expected content.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.cpa_model import (
    ActionBinding,
    BusinessCharacteristics,
    CollaborationRole,
    Composite,
    Constituent,
    CpaCertificate,
    CpaDocument,
    CpaParty,
    DeliveryChannel,
    DigitalEnvelope,
    DocExchange,
    DocumentBinding,
    Endpoint,
    MshOverride,
    NonRepudiation,
    PackagingTerms,
    PartyName,
    Place,
    SecurityDetails,
    SimplePart,
    Transport,
    TransportSecurity,
    TransportSide,
)
from gateway.agreements.cpa.cpa_values import TERMS_NAMESPACE, CpaElements, parse_cpa_time
from gateway.errors import AGREEMENT_UNWORKABLE, GatewayError
from gateway.wire import (
    DS,
    TP,
    XLINK,
    build_xpath,
    collapse_whitespace,
    list_attributes,
    load_shipped_schemas,
    parse_xml,
)

#: How a certificate is named whose octets the writer did not have (``ds:KeyName``).
DIGEST_NAME_PREFIX: Final = "sha-256:"

#: The ``ds:KeyName`` that stands for any certificate that the party has registered.
REGISTERED_NAME: Final = "registered certificate"

_DIGEST_NAME: Final = re.compile(r"sha-256:([0-9a-f]{64})")
_TERMS_TAG: Final = f"{{{TERMS_NAMESPACE}}}Terms"
_CONTEXT_ATTRIBUTES: Final = ("binaryCollaboration", "businessTransactionActivity", "requestOrResponseAction")
_INVALID_BASE64: Final = "the certificate is not in Base64"


def read_party(reader: CpaElements, element: etree._Element) -> CpaParty:
    """Return one party."""
    channels = [read_channel(reader, child) for child in reader.list_children(element, "DeliveryChannel")]
    transports = [read_transport(reader, child) for child in reader.list_children(element, "Transport")]
    exchanges = [read_doc_exchange(reader, child) for child in reader.list_children(element, "DocExchange")]
    certificates = [
        _read_certificate(reader, child) for child in reader.list_children(element, "Certificate")
    ]
    security_details = [
        _read_security(reader, child) for child in reader.list_children(element, "SecurityDetails")
    ]
    return CpaParty(
        reader.find_place(element),
        reader.read_attribute(element, "partyName"),
        reader.read_reference(element, "defaultMshChannelId", "DeliveryChannel"),
        reader.read_reference(element, "defaultMshPackageId", "Packaging"),
        tuple(_read_party_name(reader, child) for child in reader.list_children(element, "PartyId")),
        tuple(_read_role(reader, child) for child in reader.list_children(element, "CollaborationRole")),
        {certificate.id: certificate for certificate in certificates},
        {details.id: details for details in security_details},
        {channel.id: channel for channel in channels},
        {transport.id: transport for transport in transports},
        {exchange.id: exchange for exchange in exchanges},
        tuple(
            _read_override(reader, child)
            for child in reader.list_children(element, "OverrideMshActionBinding")
        ),
    )


def _read_party_name(reader: CpaElements, element: etree._Element) -> PartyName:
    return PartyName(
        reader.find_place(element), reader.read_text(element), reader.read_token(element, "type") or None
    )


def _read_override(reader: CpaElements, element: etree._Element) -> MshOverride:
    return MshOverride(
        reader.find_place(element),
        reader.read_attribute(element, "action"),
        reader.read_reference(element, "channelId", "DeliveryChannel"),
    )


def _read_certificate(reader: CpaElements, element: etree._Element) -> CpaCertificate:
    """Return a Certificate: its octets (DER), or the digest in its KeyName if it has none.

    If nothing can be read, the result has a `read_error`.
    """
    location, certificate_id = reader.find_place(element), reader.read_id(element, "certId")
    key_names = [(key_name.text or "").strip() for key_name in element.iter(f"{{{DS}}}KeyName")]
    digest = next((match[1] for match in map(_DIGEST_NAME.fullmatch, key_names) if match is not None), None)
    certificate_octets = []
    for child in element.iter(f"{{{DS}}}X509Certificate"):
        try:
            certificate_octets.append(
                base64.b64decode("".join(reader.read_text(child).split()), validate=True)
            )
        except (binascii.Error, ValueError):
            return CpaCertificate(location, certificate_id, read_error=_INVALID_BASE64)
    if not certificate_octets and digest is None and REGISTERED_NAME not in key_names:
        return CpaCertificate(location, certificate_id, read_error="there is no X509Certificate in it")
    return CpaCertificate(location, certificate_id, tuple(certificate_octets), digest)


def _read_security(reader: CpaElements, element: etree._Element) -> SecurityDetails:
    anchors = reader.list_children(reader.find_child(element, "TrustAnchors"), "AnchorCertificateRef")
    return SecurityDetails(
        reader.find_place(element),
        reader.read_id(element, "securityId"),
        tuple(reader.read_reference(anchor, "certId", "Certificate") for anchor in anchors),
    )


def _read_role(reader: CpaElements, element: etree._Element) -> CollaborationRole:
    binding = reader.find_child(element, "ServiceBinding")
    process, role = reader.find_child(element, "ProcessSpecification"), reader.find_child(element, "Role")
    service = reader.find_child(binding, "Service")
    assert process is not None, "the schema wants it"
    assert role is not None, "the schema wants it"
    assert service is not None, "the schema wants it"
    return CollaborationRole(
        reader.find_place(element),
        reader.read_attribute(process, "name"),
        reader.read_attribute(process, "version"),
        str(process.get(f"{{{XLINK}}}href", "")),
        reader.read_attribute(role, "name"),
        reader.read_text(service),
        reader.read_optional(service, "type"),
        tuple(
            _read_binding(reader, child) for child in reader.list_children(binding, "CanSend", "CanReceive")
        ),
        reader.find_place(service),
        tuple(
            reader.read_reference(child, "certId", "Certificate")
            for child in reader.list_children(element, "ApplicationCertificateRef")
        ),
        reader.read_child_reference(
            element, "ApplicationSecurityDetailsRef", "securityId", "SecurityDetails"
        ),
    )


def _read_binding(reader: CpaElements, element: etree._Element) -> ActionBinding:
    """Return a CanSend or CanReceive element with the bindings nested in it, which answer it."""
    party_binding, other_name = (
        reader.find_child(element, "ThisPartyActionBinding"),
        "OtherPartyActionBinding",
    )
    assert party_binding is not None, "the schema wants it"
    foreign_elements = [
        child for child in party_binding.iterchildren("*") if etree.QName(child).namespace != TP
    ]
    terms_element = next((child for child in foreign_elements if child.tag == _TERMS_TAG), None)
    return ActionBinding(
        reader.find_place(party_binding),
        etree.QName(element).localname == "CanSend",
        reader.read_id(party_binding, "id"),
        reader.read_attribute(party_binding, "action"),
        reader.read_reference(party_binding, "packageId", "Packaging"),
        _read_business(reader, party_binding),
        tuple(
            reader.read_text_reference(child, "DeliveryChannel")
            for child in reader.list_children(party_binding, "ChannelId")
        ),
        next(
            (
                reader.read_text_reference(child, "ThisPartyActionBinding")
                for child in reader.list_children(element, other_name)
            ),
            None,
        ),
        tuple(
            _read_binding(reader, child) for child in reader.list_children(element, "CanSend", "CanReceive")
        ),
        _read_context(reader, party_binding),
        {str(key): str(value) for key, value in list_attributes(terms_element)}
        if terms_element is not None
        else None,
        tuple(collapse_whitespace(str(child.tag)) for child in foreign_elements if child.tag != _TERMS_TAG),
    )


def _read_context(reader: CpaElements, element: etree._Element) -> dict[str, str] | None:
    context = reader.find_child(element, "ActionContext")
    if context is None:
        return None
    return {name: reader.read_attribute(context, name) for name in _CONTEXT_ATTRIBUTES}


def _read_business(reader: CpaElements, element: etree._Element) -> BusinessCharacteristics:
    characteristics = reader.find_child(element, "BusinessTransactionCharacteristics")
    assert characteristics is not None, "the schema wants it"
    return BusinessCharacteristics(
        reader.find_place(characteristics),
        reader.read_boolean(characteristics, "isNonRepudiationRequired"),
        reader.read_boolean(characteristics, "isNonRepudiationReceiptRequired"),
        reader.read_boolean(characteristics, "isAuthorizationRequired"),
        reader.read_boolean(characteristics, "isIntelligibleCheckRequired"),
        reader.read_token(characteristics, "isConfidential") or None,
        reader.read_token(characteristics, "isAuthenticated") or None,
        reader.read_token(characteristics, "isTamperProof") or None,
        reader.read_seconds(characteristics, "timeToAcknowledgeReceipt"),
        reader.read_seconds(characteristics, "timeToAcknowledgeAcceptance"),
        reader.read_seconds(characteristics, "timeToPerform"),
        reader.read_integer(characteristics, "retryCount"),
    )


def read_channel(reader: CpaElements, element: etree._Element) -> DeliveryChannel:
    """Return a delivery channel."""
    terms = reader.find_child(element, "MessagingCharacteristics")
    assert terms is not None, "the schema wants it"
    return DeliveryChannel(
        reader.find_place(element),
        reader.read_id(element, "channelId"),
        reader.read_reference(element, "transportId", "Transport"),
        reader.read_reference(element, "docExchangeId", "DocExchange"),
        reader.read_token(terms, "syncReplyMode", "none"),
        reader.read_token(terms, "ackRequested", "perMessage"),
        reader.read_token(terms, "ackSignatureRequested", "perMessage"),
        reader.read_token(terms, "duplicateElimination", "perMessage"),
        reader.read_token(terms, "actor") or None,
    )


def read_transport(reader: CpaElements, element: etree._Element) -> Transport:
    """Return a transport."""
    sender, receiver = (reader.find_child(element, name) for name in ("TransportSender", "TransportReceiver"))
    return Transport(
        reader.find_place(element),
        reader.read_id(element, "transportId"),
        _read_side(reader, sender, "TransportClientSecurity") if sender is not None else None,
        _read_side(reader, receiver, "TransportServerSecurity") if receiver is not None else None,
    )


def _read_side(reader: CpaElements, element: etree._Element, security_name: str) -> TransportSide:
    """Return a TransportSender or TransportReceiver; `security_name` is the name of its TLS element."""
    protocol, security_element = (
        reader.find_child(element, "TransportProtocol"),
        reader.find_child(element, security_name),
    )
    return TransportSide(
        reader.find_place(element),
        collapse_whitespace(reader.read_text(protocol)),
        reader.read_optional(protocol, "version") if protocol is not None else None,
        tuple(
            collapse_whitespace(reader.read_text(child))
            for child in reader.list_children(element, "AccessAuthentication")
        ),
        tuple(
            Endpoint(
                reader.find_place(child),
                reader.read_token(child, "uri"),
                reader.read_token(child, "type", "allPurpose"),
            )
            for child in reader.list_children(element, "Endpoint")
        ),
        _read_transport_security(reader, security_element) if security_element is not None else None,
    )


def _read_transport_security(reader: CpaElements, element: etree._Element) -> TransportSecurity:
    """Return a TransportClientSecurity or TransportServerSecurity element."""
    protocol = reader.find_child(element, "TransportSecurityProtocol")
    read_reference = reader.read_child_reference
    return TransportSecurity(
        reader.find_place(element),
        collapse_whitespace(reader.read_text(protocol)),
        reader.read_optional(protocol, "version") if protocol is not None else None,
        read_reference(element, "ClientCertificateRef", "certId", "Certificate")
        or read_reference(element, "ServerCertificateRef", "certId", "Certificate"),
        read_reference(element, "ServerSecurityDetailsRef", "securityId", "SecurityDetails")
        or read_reference(element, "ClientSecurityDetailsRef", "securityId", "SecurityDetails"),
        reader.read_algorithms(element, "EncryptionAlgorithm"),
    )


def read_doc_exchange(reader: CpaElements, element: etree._Element) -> DocExchange:
    """Return a document exchange."""
    sender = reader.find_child(element, "ebXMLSenderBinding")
    receiver = reader.find_child(element, "ebXMLReceiverBinding")
    return DocExchange(
        reader.find_place(element),
        reader.read_id(element, "docExchangeId"),
        _read_document_binding(reader, sender, "Sender") if sender is not None else None,
        _read_document_binding(reader, receiver, "Receiver") if receiver is not None else None,
    )


def _read_document_binding(reader: CpaElements, element: etree._Element, side_name: str) -> DocumentBinding:
    """Return an ebXMLSenderBinding or ebXMLReceiverBinding; `side_name` is ``Sender`` or ``Receiver``."""
    reliable_element = reader.find_child(element, "ReliableMessaging")
    order_semantics = collapse_whitespace(
        reader.read_text(reader.find_child(reliable_element, "MessageOrderSemantics"))
    )
    signature_element = reader.find_child(element, f"{side_name}NonRepudiation")
    envelope_element = reader.find_child(element, f"{side_name}DigitalEnvelope")
    return DocumentBinding(
        reader.find_place(element),
        reader.read_attribute(element, "version"),
        reliable_element is not None,
        reader.read_child_integer(reliable_element, "Retries"),
        reader.read_child_seconds(reliable_element, "RetryInterval"),
        order_semantics == "Guaranteed",
        reader.read_child_seconds(element, "PersistDuration"),
        _read_non_repudiation(reader, signature_element) if signature_element is not None else None,
        _read_envelope(reader, envelope_element) if envelope_element is not None else None,
    )


def _read_non_repudiation(reader: CpaElements, element: etree._Element) -> NonRepudiation:
    return NonRepudiation(
        reader.find_place(element),
        collapse_whitespace(reader.read_text(reader.find_child(element, "NonRepudiationProtocol"))),
        collapse_whitespace(reader.read_text(reader.find_child(element, "HashFunction"))),
        reader.read_algorithms(element, "SignatureAlgorithm"),
        reader.read_child_reference(element, "SigningCertificateRef", "certId", "Certificate"),
        reader.read_child_reference(element, "SigningSecurityDetailsRef", "securityId", "SecurityDetails"),
    )


def _read_envelope(reader: CpaElements, element: etree._Element) -> DigitalEnvelope:
    protocol = reader.find_child(element, "DigitalEnvelopeProtocol")
    return DigitalEnvelope(
        reader.find_place(element),
        collapse_whitespace(reader.read_text(protocol)),
        reader.read_optional(protocol, "version") if protocol is not None else None,
        reader.read_algorithms(element, "EncryptionAlgorithm"),
        reader.read_child_reference(element, "EncryptionCertificateRef", "certId", "Certificate"),
        reader.read_child_reference(element, "EncryptionSecurityDetailsRef", "securityId", "SecurityDetails"),
    )


def read_simple_parts(reader: CpaElements, root: etree._Element) -> dict[str, SimplePart]:
    """Return the simple parts of a document by id."""
    parts = (
        SimplePart(
            reader.find_place(element),
            reader.read_id(element, "id"),
            reader.read_attribute(element, "mimetype"),
            reader.read_optional(element, "mimeparameters"),
            element.get(f"{{{XLINK}}}role"),
            tuple(
                collapse_whitespace(reader.read_text(name))
                for name in reader.list_children(element, "NamespaceSupported")
            ),
        )
        for element in reader.list_children(root, "SimplePart")
    )
    return {part.id: part for part in parts}


def read_packages(reader: CpaElements, root: etree._Element) -> dict[str, PackagingTerms]:
    """Return the packages of a document by id."""
    packages = (_read_package(reader, element) for element in reader.list_children(root, "Packaging"))
    return {package.id: package for package in packages}


def _read_package(reader: CpaElements, element: etree._Element) -> PackagingTerms:
    """Return a Packaging element with its composites; no ProcessingCapabilities counts as false."""
    capabilities = reader.find_child(element, "ProcessingCapabilities")
    return PackagingTerms(
        reader.find_place(element),
        reader.read_id(element, "id"),
        capabilities is not None and bool(reader.read_boolean(capabilities, "parse")),
        capabilities is not None and bool(reader.read_boolean(capabilities, "generate")),
        tuple(
            _read_composite(reader, child)
            for composites in reader.list_children(element, "CompositeList")
            for child in reader.list_children(composites, "Composite", "Encapsulation")
        ),
    )


def _read_composite(reader: CpaElements, element: etree._Element) -> Composite:
    return Composite(
        reader.find_place(element),
        reader.read_id(element, "id"),
        reader.read_attribute(element, "mimetype"),
        reader.read_optional(element, "mimeparameters"),
        tuple(_read_constituent(reader, child) for child in reader.list_children(element, "Constituent")),
        is_encapsulation=etree.QName(element).localname == "Encapsulation",
    )


def _read_constituent(reader: CpaElements, element: etree._Element) -> Constituent:
    return Constituent(
        reader.find_place(element),
        reader.read_reference(element, "idref", "SimplePart", "Composite", "Encapsulation"),
        bool(reader.read_boolean(element, "excludedFromSignature")),
        reader.read_integer(element, "minOccurs"),
        reader.read_integer(element, "maxOccurs"),
        tuple(
            str(transform.get("Algorithm"))
            for transforms_element in reader.list_children(element, "SignatureTransforms")
            for transform in transforms_element.iterchildren(f"{{{DS}}}Transform")
        ),
    )


_SCHEMA: Final = "ebms2/cpp-cpa-2_0.xsd"
_MAX_OCTETS: Final = 4 << 20
_AGREEMENT_TAG: Final = f"{{{TP}}}CollaborationProtocolAgreement"
_PROFILE_TAG: Final = f"{{{TP}}}CollaborationProtocolProfile"
_MAX_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class ValidityProblem:
    """A reason why a document is no CPA: the place, and the content expected there."""

    location: Place
    message: str


def is_xml_document(file_octets: bytes) -> bool:
    """Return whether a file is meant as XML rather than as YAML: by its first character."""
    if file_octets.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00")):
        return True
    return file_octets.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").startswith(b"<")


def find_validity_problems(
    file_octets: bytes, file_name: str, *, is_profile: bool = False
) -> tuple[ValidityProblem, ...]:
    """Return why octets are no CPA (no CPP if `is_profile`): at most fifty reasons, none if they are one."""
    try:
        root = _parse_document(file_octets)
    except GatewayError as refused:
        line = refused.location.removeprefix("line ").partition(",")[0]
        return (ValidityProblem(Place("/", int(line) if line.isdigit() else 0, file_name), refused.detail),)
    # The code that explains violations takes a comment for an element; a schema ignores comments.
    etree.strip_tags(root, etree.Comment)
    return _find_root_problems(root, file_name, is_profile) or tuple(
        ValidityProblem(Place(violation.xpath or "/", violation.line, file_name), violation.message)
        for violation in load_shipped_schemas(_SCHEMA).list_violations(root)
    )


def read_cpa(file_octets: bytes, file_name: str, *, is_profile: bool = False) -> CpaDocument:
    """Return the content of a CPA (a CPP with `is_profile`); raise GW313 with file, line and XPath.

    The rules of a CPA are not checked: an id may refer to nothing.
    """
    problems = find_validity_problems(file_octets, file_name, is_profile=is_profile)
    if problems:
        raise GatewayError(AGREEMENT_UNWORKABLE, problems[0].message, str(problems[0].location))
    return _build_document(_parse_document(file_octets), file_name)


def _parse_document(file_octets: bytes) -> etree._Element:
    if len(file_octets) > _MAX_OCTETS:
        raise GatewayError(AGREEMENT_UNWORKABLE, f"a CPA may have at most {_MAX_OCTETS >> 20} MB")
    return parse_xml(file_octets)


def _find_root_problems(
    root: etree._Element, file_name: str, is_profile: bool
) -> tuple[ValidityProblem, ...]:
    """Return a problem unless the root element is that of a CPP (if `is_profile`) or of a CPA."""
    expected_tag = _PROFILE_TAG if is_profile else _AGREEMENT_TAG
    if root.tag == expected_tag:
        return ()
    root_name = etree.QName(root)
    text = f"the root element is {root_name.localname[:_MAX_CHARACTERS]}"
    text += f" of {(root_name.namespace or 'no namespace')[:_MAX_CHARACTERS]}; "
    text += f"expected is {expected_tag.rpartition('}')[2]} of {TP}"
    line: Any = root.sourceline
    return (ValidityProblem(Place(build_xpath(root), int(line or 0), file_name), text),)


def _build_document(root: etree._Element, file_name: str) -> CpaDocument:
    """Return the document below `root`, a CPA or CPP that conforms to the schema."""
    reader = CpaElements(file_name)
    is_agreement = root.tag == _AGREEMENT_TAG
    parties = tuple(read_party(reader, child) for child in reader.list_children(root, "PartyInfo"))
    parts, packages = read_simple_parts(reader, root), read_packages(reader, root)
    status_element, limits_element = (
        reader.find_child(root, "Status"),
        reader.find_child(root, "ConversationConstraints"),
    )
    start_element, end_element = reader.find_child(root, "Start"), reader.find_child(root, "End")
    root_place = reader.find_place(root)
    element_places = [
        root_place if element is None else reader.find_place(element)
        for element in (start_element, end_element, status_element)
    ]
    return CpaDocument(
        root_place,
        file_name,
        reader.read_attribute(root, "cpaid" if is_agreement else "cppid"),
        reader.read_attribute(root, "version"),
        parties,
        parts,
        packages,
        status=reader.read_token(status_element, "value") if status_element is not None else None,
        start=parse_cpa_time(reader.read_text(start_element)) if start_element is not None else None,
        end=parse_cpa_time(reader.read_text(end_element)) if end_element is not None else None,
        start_place=element_places[0],
        end_place=element_places[1],
        status_place=element_places[2],
        invocation_limit=reader.read_integer(limits_element, "invocationLimit")
        if limits_element is not None
        else None,
        concurrent_conversations=(
            reader.read_integer(limits_element, "concurrentConversations")
            if limits_element is not None
            else None
        ),
        constraints_place=reader.find_place(limits_element) if limits_element is not None else None,
        signatures=tuple(
            reader.find_place(signature)
            for holder in reader.list_children(root, "Signature")
            for signature in holder.iterchildren(f"{{{DS}}}Signature")
        ),
        elements_by_id=reader.elements_by_id,
        references=tuple(reader.references),
        root=root,
    )

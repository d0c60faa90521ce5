"""Reads how messages travel: ``DeliveryChannel``, ``Transport`` and ``DocExchange``."""

from __future__ import annotations

from lxml import etree

from gateway.agreements.cpa.cpa_model import (
    DeliveryChannel,
    DigitalEnvelope,
    DocExchange,
    DocumentBinding,
    Endpoint,
    NonRepudiation,
    Transport,
    TransportSecurity,
    TransportSide,
)
from gateway.agreements.cpa.cpa_values import CpaElements
from gateway.wire import collapse_whitespace

__all__ = ["read_channel", "read_doc_exchange", "read_transport"]


def read_channel(found: CpaElements, element: etree._Element) -> DeliveryChannel:
    """Return a delivery channel."""
    terms = found.find_child(element, "MessagingCharacteristics")
    assert terms is not None, "the schema wants it"
    return DeliveryChannel(
        found.find_place(element),
        found.read_name(element, "channelId"),
        found.read_reference(element, "transportId", "Transport"),
        found.read_reference(element, "docExchangeId", "DocExchange"),
        found.read_word(terms, "syncReplyMode", "none"),
        found.read_word(terms, "ackRequested", "perMessage"),
        found.read_word(terms, "ackSignatureRequested", "perMessage"),
        found.read_word(terms, "duplicateElimination", "perMessage"),
        found.read_word(terms, "actor") or None,
    )


def read_transport(found: CpaElements, element: etree._Element) -> Transport:
    """Return a transport."""
    sender, receiver = (found.find_child(element, name) for name in ("TransportSender", "TransportReceiver"))
    return Transport(
        found.find_place(element),
        found.read_name(element, "transportId"),
        _read_side(found, sender, "TransportClientSecurity") if sender is not None else None,
        _read_side(found, receiver, "TransportServerSecurity") if receiver is not None else None,
    )


def _read_side(found: CpaElements, element: etree._Element, security: str) -> TransportSide:
    protocol, secured = found.find_child(element, "TransportProtocol"), found.find_child(element, security)
    return TransportSide(
        found.find_place(element),
        collapse_whitespace(found.read_text(protocol)),
        found.read_optional(protocol, "version") if protocol is not None else None,
        tuple(
            collapse_whitespace(found.read_text(one))
            for one in found.list_children(element, "AccessAuthentication")
        ),
        tuple(
            Endpoint(
                found.find_place(one),
                found.read_word(one, "uri"),
                found.read_word(one, "type", "allPurpose"),
            )
            for one in found.list_children(element, "Endpoint")
        ),
        _read_transport_security(found, secured) if secured is not None else None,
    )


def _read_transport_security(found: CpaElements, element: etree._Element) -> TransportSecurity:
    protocol = found.find_child(element, "TransportSecurityProtocol")
    refer = found.read_child_reference
    return TransportSecurity(
        found.find_place(element),
        collapse_whitespace(found.read_text(protocol)),
        found.read_optional(protocol, "version") if protocol is not None else None,
        refer(element, "ClientCertificateRef", "certId", "Certificate")
        or refer(element, "ServerCertificateRef", "certId", "Certificate"),
        refer(element, "ServerSecurityDetailsRef", "securityId", "SecurityDetails")
        or refer(element, "ClientSecurityDetailsRef", "securityId", "SecurityDetails"),
        found.read_algorithms(element, "EncryptionAlgorithm"),
    )


def read_doc_exchange(found: CpaElements, element: etree._Element) -> DocExchange:
    """Return a document exchange."""
    sender = found.find_child(element, "ebXMLSenderBinding")
    receiver = found.find_child(element, "ebXMLReceiverBinding")
    return DocExchange(
        found.find_place(element),
        found.read_name(element, "docExchangeId"),
        _read_document_binding(found, sender, "Sender") if sender is not None else None,
        _read_document_binding(found, receiver, "Receiver") if receiver is not None else None,
    )


def _read_document_binding(found: CpaElements, element: etree._Element, side: str) -> DocumentBinding:
    reliable = found.find_child(element, "ReliableMessaging")
    order = collapse_whitespace(found.read_text(found.find_child(reliable, "MessageOrderSemantics")))
    signed = found.find_child(element, f"{side}NonRepudiation")
    envelope = found.find_child(element, f"{side}DigitalEnvelope")
    return DocumentBinding(
        found.find_place(element),
        found.read_attribute(element, "version"),
        reliable is not None,
        found.read_child_integer(reliable, "Retries"),
        found.read_child_seconds(reliable, "RetryInterval"),
        order == "Guaranteed",
        found.read_child_seconds(element, "PersistDuration"),
        _read_non_repudiation(found, signed) if signed is not None else None,
        _read_envelope(found, envelope) if envelope is not None else None,
    )


def _read_non_repudiation(found: CpaElements, element: etree._Element) -> NonRepudiation:
    return NonRepudiation(
        found.find_place(element),
        collapse_whitespace(found.read_text(found.find_child(element, "NonRepudiationProtocol"))),
        collapse_whitespace(found.read_text(found.find_child(element, "HashFunction"))),
        found.read_algorithms(element, "SignatureAlgorithm"),
        found.read_child_reference(element, "SigningCertificateRef", "certId", "Certificate"),
        found.read_child_reference(element, "SigningSecurityDetailsRef", "securityId", "SecurityDetails"),
    )


def _read_envelope(found: CpaElements, element: etree._Element) -> DigitalEnvelope:
    protocol = found.find_child(element, "DigitalEnvelopeProtocol")
    return DigitalEnvelope(
        found.find_place(element),
        collapse_whitespace(found.read_text(protocol)),
        found.read_optional(protocol, "version") if protocol is not None else None,
        found.read_algorithms(element, "EncryptionAlgorithm"),
        found.read_child_reference(element, "EncryptionCertificateRef", "certId", "Certificate"),
        found.read_child_reference(element, "EncryptionSecurityDetailsRef", "securityId", "SecurityDetails"),
    )

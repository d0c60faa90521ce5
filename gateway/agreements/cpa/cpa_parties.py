"""Reads a ``PartyInfo``: who a party is, what it does, and by which channels."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from lxml import etree

from gateway.agreements.cpa.channel_reader import read_channel, read_doc_exchange, read_transport
from gateway.agreements.cpa.cpa_model import (
    ActionBinding,
    BusinessCharacteristics,
    CertificateHolder,
    CollaborationRole,
    CpaParty,
    MshOverride,
    PartyName,
    SecurityDetails,
)
from gateway.agreements.cpa.cpa_values import TERMS, CpaElements
from gateway.wire import DS, TP, XLINK, collapse_whitespace

__all__ = ["DIGEST_NAME", "REGISTERED", "read_party"]

#: How a certificate is named whose octets the writer did not have (``ds:KeyName``).
DIGEST_NAME: Final = "sha-256:"

#: Stands for whatever certificate the party has registered (``ds:KeyName``).
REGISTERED: Final = "registered certificate"

_DIGEST: Final = re.compile(r"sha-256:([0-9a-f]{64})")
_TERMS: Final = f"{{{TERMS}}}Terms"
_CONTEXT: Final = ("binaryCollaboration", "businessTransactionActivity", "requestOrResponseAction")
_NOT_READ: Final = "the certificate is not in Base64"


def read_party(found: CpaElements, element: etree._Element) -> CpaParty:
    """Return one party."""
    channels = [read_channel(found, one) for one in found.list_children(element, "DeliveryChannel")]
    transports = [read_transport(found, one) for one in found.list_children(element, "Transport")]
    exchanges = [read_doc_exchange(found, one) for one in found.list_children(element, "DocExchange")]
    certificates = [_read_certificate(found, one) for one in found.list_children(element, "Certificate")]
    security = [_read_security(found, one) for one in found.list_children(element, "SecurityDetails")]
    return CpaParty(
        found.find_place(element),
        found.read_attribute(element, "partyName"),
        found.read_reference(element, "defaultMshChannelId", "DeliveryChannel"),
        found.read_reference(element, "defaultMshPackageId", "Packaging"),
        tuple(_read_party_name(found, one) for one in found.list_children(element, "PartyId")),
        tuple(_read_role(found, one) for one in found.list_children(element, "CollaborationRole")),
        {one.id: one for one in certificates},
        {one.id: one for one in security},
        {one.id: one for one in channels},
        {one.id: one for one in transports},
        {one.id: one for one in exchanges},
        tuple(_read_override(found, one) for one in found.list_children(element, "OverrideMshActionBinding")),
    )


def _read_party_name(found: CpaElements, element: etree._Element) -> PartyName:
    return PartyName(
        found.find_place(element), found.read_text(element), found.read_word(element, "type") or None
    )


def _read_override(found: CpaElements, element: etree._Element) -> MshOverride:
    return MshOverride(
        found.find_place(element),
        found.read_attribute(element, "action"),
        found.read_reference(element, "channelId", "DeliveryChannel"),
    )


def _read_certificate(found: CpaElements, element: etree._Element) -> CertificateHolder:
    place, name = found.find_place(element), found.read_name(element, "certId")
    names = [(one.text or "").strip() for one in element.iter(f"{{{DS}}}KeyName")]
    digest = next((found[1] for found in map(_DIGEST.fullmatch, names) if found is not None), None)
    chain = []
    for one in element.iter(f"{{{DS}}}X509Certificate"):
        try:
            chain.append(base64.b64decode("".join(found.read_text(one).split()), validate=True))
        except (binascii.Error, ValueError):
            return CertificateHolder(place, name, broken=_NOT_READ)
    if not chain and digest is None and REGISTERED not in names:
        return CertificateHolder(place, name, broken="there is no X509Certificate in it")
    return CertificateHolder(place, name, tuple(chain), digest)


def _read_security(found: CpaElements, element: etree._Element) -> SecurityDetails:
    anchors = found.list_children(found.find_child(element, "TrustAnchors"), "AnchorCertificateRef")
    return SecurityDetails(
        found.find_place(element),
        found.read_name(element, "securityId"),
        tuple(found.read_reference(one, "certId", "Certificate") for one in anchors),
    )


def _read_role(found: CpaElements, element: etree._Element) -> CollaborationRole:
    binding = found.find_child(element, "ServiceBinding")
    process, role = found.find_child(element, "ProcessSpecification"), found.find_child(element, "Role")
    service = found.find_child(binding, "Service")
    assert process is not None, "the schema wants it"
    assert role is not None, "the schema wants it"
    assert service is not None, "the schema wants it"
    return CollaborationRole(
        found.find_place(element),
        found.read_attribute(process, "name"),
        found.read_attribute(process, "version"),
        str(process.get(f"{{{XLINK}}}href", "")),
        found.read_attribute(role, "name"),
        str(role.get(f"{{{XLINK}}}href", "")),
        found.read_text(service),
        found.read_optional(service, "type"),
        tuple(_read_binding(found, one) for one in found.list_children(binding, "CanSend", "CanReceive")),
        found.find_place(service),
        tuple(
            found.read_reference(one, "certId", "Certificate")
            for one in found.list_children(element, "ApplicationCertificateRef")
        ),
        found.read_child_reference(element, "ApplicationSecurityDetailsRef", "securityId", "SecurityDetails"),
    )


def _read_binding(found: CpaElements, element: etree._Element) -> ActionBinding:
    this, other = found.find_child(element, "ThisPartyActionBinding"), "OtherPartyActionBinding"
    assert this is not None, "the schema wants it"
    foreign = [one for one in this.iterchildren("*") if etree.QName(one).namespace != TP]
    terms = next((one for one in foreign if one.tag == _TERMS), None)
    return ActionBinding(
        found.find_place(this),
        etree.QName(element).localname == "CanSend",
        found.read_name(this, "id"),
        found.read_attribute(this, "action"),
        found.read_reference(this, "packageId", "Packaging"),
        _read_business(found, this),
        tuple(
            found.read_text_reference(one, "DeliveryChannel")
            for one in found.list_children(this, "ChannelId")
        ),
        next(
            (
                found.read_text_reference(one, "ThisPartyActionBinding")
                for one in found.list_children(element, other)
            ),
            None,
        ),
        tuple(_read_binding(found, one) for one in found.list_children(element, "CanSend", "CanReceive")),
        _read_context(found, this),
        {str(key): str(value) for key, value in terms.attrib.items()} if terms is not None else None,
        tuple(collapse_whitespace(str(one.tag)) for one in foreign if one.tag != _TERMS),
    )


def _read_context(found: CpaElements, element: etree._Element) -> dict[str, str] | None:
    context = found.find_child(element, "ActionContext")
    if context is None:
        return None
    return {name: found.read_attribute(context, name) for name in _CONTEXT}


def _read_business(found: CpaElements, element: etree._Element) -> BusinessCharacteristics:
    business = found.find_child(element, "BusinessTransactionCharacteristics")
    assert business is not None, "the schema wants it"
    return BusinessCharacteristics(
        found.find_place(business),
        found.read_boolean(business, "isNonRepudiationRequired"),
        found.read_boolean(business, "isNonRepudiationReceiptRequired"),
        found.read_boolean(business, "isAuthorizationRequired"),
        found.read_boolean(business, "isIntelligibleCheckRequired"),
        found.read_word(business, "isConfidential") or None,
        found.read_word(business, "isAuthenticated") or None,
        found.read_word(business, "isTamperProof") or None,
        found.read_seconds(business, "timeToAcknowledgeReceipt"),
        found.read_seconds(business, "timeToAcknowledgeAcceptance"),
        found.read_seconds(business, "timeToPerform"),
        found.read_integer(business, "retryCount"),
    )

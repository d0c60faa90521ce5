"""Checks a business message of AS4 that was read: its agreement, its signer, its signature, its exchange.

The checks take values and read no XML. The envelope of a message that resembles an earlier one is not
parsed: its values come from an `EnvelopeReading`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from lxml import etree

from gateway.agreements import PMode
from gateway.errors import (
    HEADER_INCONSISTENT,
    NOT_SUPPORTED,
    PARTY_UNKNOWN,
    REFERENCE_UNKNOWN,
    GatewayError,
    raise_resource_problem,
)
from gateway.message_model import Party, Unit, UserMessage
from gateway.pki import Certificate
from gateway.protocols.as4.fragment_header import MESSAGE_FRAGMENT
from gateway.protocols.as4.header_reader import read_messaging
from gateway.protocols.as4.header_values import SIGNATURE, PartInfo
from gateway.protocols.as4.message_reading import (
    As4Message,
    MessageReading,
    check_signature,
    make_opened_message,
    read_sent_header,
    read_signature,
    require_signature,
)
from gateway.protocols.as4.packaging import SOAP_TYPE, check_parts_named, find_messaging
from gateway.protocols.as4.pmode_matching import match_agreed_pmode
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, SentUnit
from gateway.protocols.payload_parts import index_parts
from gateway.protocols.signer_checks import check_agreed_algorithms, check_signer
from gateway.wire import RelatedParts, WireLimits, build_xpath, canonicalize_element, parse_xml
from gateway.wire import read_envelope as read_soap_envelope
from gateway.xmlsec import (
    SignatureOctets,
    SignatureReading,
    VerifiedSignature,
    collect_signature_octets,
    find_swa_security,
    get_signature_policy,
    read_swa_signature,
)

_UNIT: Final = "/soap12:Envelope/soap12:Header/eb3:Messaging/eb3:UserMessage"
REFERENCE_XPATH: Final = f"{_UNIT}/eb3:MessageInfo/eb3:RefToMessageId"


def get_request_id(unit: UserMessage, pmode: PMode) -> str | None:
    """Return the MessageId of the request that a message answers; None for a message that is no reply.

    Raises GW304 (EBMS:0003) for a request that refers to a message, and for a reply that refers to none.
    """
    ref_to_message_id = unit.ref_to_message_id
    if pmode.leg == "request" and ref_to_message_id is not None:
        detail = f"a request by {pmode.mep_binding} refers to no message"
        raise GatewayError(HEADER_INCONSISTENT, detail, REFERENCE_XPATH)
    if pmode.leg == "reply" and ref_to_message_id is None:
        detail = f"a reply by {pmode.mep_binding} refers to its request"
        raise GatewayError(HEADER_INCONSISTENT, detail, f"{_UNIT}/eb3:MessageInfo")
    return ref_to_message_id if pmode.leg == "reply" else None


def check_request(reply: UserMessage, request: Unit, pmode: PMode, context: ProtocolContext) -> None:
    """Raise unless a message that we sent is the request of a reply.

    Raises GW307 (EBMS:0001) for a message that is no request of the exchange, GW304 (EBMS:0003) for a
    request of another conversation.
    """
    if not isinstance(request, UserMessage) or not _is_request(request, pmode, context):
        detail = f"it is no request by {pmode.mep_binding} in this agreement and service"
        raise GatewayError(REFERENCE_UNKNOWN, detail, REFERENCE_XPATH)
    if request.conversation_id != reply.conversation_id:
        location = f"{_UNIT}/eb3:CollaborationInfo/eb3:ConversationId"
        raise GatewayError(HEADER_INCONSISTENT, "its request is of another conversation", location)


def _is_request(request: UserMessage, pmode: PMode, context: ProtocolContext) -> bool:
    """Return whether `request` is agreed as the request of the exchange whose reply `pmode` governs."""
    try:
        request_pmode, _ = match_agreed_pmode(request, "as4", context)
    except GatewayError:
        # No P-Mode agrees to the request any more.
        return False
    return (
        (request_pmode.leg, request_pmode.mep_binding) == ("request", pmode.mep_binding)
        and (request_pmode.agreement, request_pmode.service, request_pmode.service_type)
        == (pmode.agreement, pmode.service, pmode.service_type)
        and (request_pmode.from_party, request_pmode.to_party) == (pmode.to_party, pmode.from_party)
    )


def match_own_pmode(
    unit: UserMessage, element: etree._Element | None, context: ProtocolContext
) -> tuple[PMode, UserMessage]:
    """Return the P-Mode of a message to us, and the message with the terms that the P-Mode gives it.

    Raises GW301 to GW304 and GW311 for a message that is not agreed, GW302 at its `element` for a message
    to another handler. No signature is read here.
    """
    pmode, agreed_unit = match_agreed_pmode(unit, "as4", context)
    if context.find_party_name(unit.receiver.ids[0]) not in context.signers:
        location = "" if element is None else f"{build_xpath(element)}/eb3:PartyInfo/eb3:To"
        raise GatewayError(PARTY_UNKNOWN, "this message is for another handler", location)
    return pmode, agreed_unit


def iterate_candidates(party_names: Iterable[str], context: ProtocolContext) -> Iterator[Certificate]:
    """Yield the certificates that a signature of these parties may name without containing them.

    They are read only for a signature that contains none. A party of which no certificate can be read takes
    nothing from the others; raises GW205 where there is no other certificate.
    """
    yield from context.candidate_certificates
    is_empty, refusal = not context.candidate_certificates, None
    for party_name in party_names:
        try:
            certificates = context.list_party_certificates(party_name)
        except GatewayError as problem:
            raise_resource_problem(problem)
            refusal = problem
            continue
        is_empty = is_empty and not certificates
        yield from certificates
    if refusal is not None and is_empty:
        raise refusal


def read_agreed_signature(
    message: As4Message, pmode: PMode, sender: Party, context: ProtocolContext
) -> SignatureReading | None:
    """Return the signature of a message, read by the policy of its P-Mode; no key is used."""
    candidate_certificates = iterate_candidates((context.get_party_name(sender),), context)
    return read_signature(message, pmode.security.policy, context.limits, candidate_certificates)


def check_business_message(
    reading: MessageReading,
    signature: SignatureReading | None,
    pmode: PMode,
    parcel: Parcel,
    context: ProtocolContext,
) -> OpenedMessage:
    """Return a business message of a P-Mode after all its checks; no reader is called any more."""
    unit = reading.unit
    assert isinstance(unit, UserMessage)
    verified_signature = check_signer_signature(reading, signature, pmode, unit.sender, context)
    require_signature(unit, verified_signature)
    if reading.fragment is None:
        # For a fragment, the joined message is checked instead.
        check_exchange_leg(unit, pmode, context)
    return make_opened_message(reading, verified_signature, pmode, parcel, context.limits)


def check_signer_signature(
    reading: MessageReading,
    signature: SignatureReading | None,
    pmode: PMode,
    sender: Party,
    context: ProtocolContext,
) -> VerifiedSignature | None:
    """Return the verified signature, of a registered and valid certificate of the sender."""

    def check_signer_certificate(certificate: Certificate) -> None:
        # Called before the signature is verified. With encrypted parts, the certificate must be valid before
        # anything is decrypted; without them, its validity is checked after the signature.
        check_signer(certificate, pmode, sender, context, SIGNATURE)
        if signature is not None:
            check_agreed_algorithms(signature.algorithm, signature.references, pmode)
        if reading.encrypted_parts:
            context.check_signing_certificate(certificate, SIGNATURE)

    verified_signature = check_signature(signature, reading, context.limits, check_signer_certificate)
    if verified_signature is not None:
        context.check_signing_certificate(verified_signature.certificate, SIGNATURE)
    return verified_signature


def check_exchange_leg(unit: UserMessage, pmode: PMode, context: ProtocolContext) -> None:
    """Raise for a message that is not the request or the reply that the binding of its exchange says."""
    request_id = get_request_id(unit, pmode)
    request_parcel = None if request_id is None else context.find_sent_parcel("as4", request_id)
    if request_parcel is not None:
        check_request(unit, read_sent_header(request_parcel, context.limits).unit, pmode, context)
    elif request_id is not None and context.has_all_sent_messages:
        raise GatewayError(REFERENCE_UNKNOWN, "no message of ours has this id", REFERENCE_XPATH)


@dataclass(frozen=True, slots=True)
class EnvelopeReading:
    """One signed business message without payloads: its unit, the parts that it names, its signature.

    `canonical_header` is the canonical form of its unit. Nothing is verified yet.
    """

    unit: UserMessage
    named_parts: tuple[PartInfo, ...]
    canonical_header: bytes
    signature: SignatureOctets


def read_envelope(envelope_octets: bytes, policy: str, limits: WireLimits) -> EnvelopeReading | None:
    """Return the values of an envelope, read by a signature policy; None for one that is always opened whole.

    Always opened whole: a signal, several units, a fragment, and a message without wsse:Security. Raises for
    a signature whose certificate is not in the envelope. Not checked here: mustUnderstand of other header
    blocks, and a UsernameToken beside the message. An envelope is learned only after it was accepted when
    opened whole, and a later one is read by it only if its octets outside the values are the same.
    """
    envelope = read_soap_envelope(parse_xml(envelope_octets, limits, is_envelope=True))
    header, security = read_messaging(find_messaging(envelope)), find_swa_security(envelope.root)
    is_fragment = next(envelope.root.iter(MESSAGE_FRAGMENT), None) is not None
    if not isinstance(header.unit, UserMessage) or header.bundled_units or security is None or is_fragment:
        return None
    content_ids = tuple(part.content_id for part in header.parts)
    covered_elements, signature_policy = (header.element, envelope.body), get_signature_policy(policy)
    signature = read_swa_signature(security, covered_elements, content_ids, signature_policy, limits=limits)
    return EnvelopeReading(
        header.unit,
        header.parts,
        canonicalize_element(header.unit_element, exclusive=True),
        collect_signature_octets(signature),
    )


def open_reading(
    reading: EnvelopeReading,
    policy: str,
    related: RelatedParts,
    parcel: Parcel,
    context: ProtocolContext,
    expected_unit: SentUnit | None = None,
) -> OpenedMessage:
    """Return a posted message whose envelope needs no reading, after all checks; raise GatewayError.

    It was read by a signature `policy`. A message that is refused here may be accepted when it is opened as
    a whole.
    """
    pmode, agreed_unit = match_own_pmode(reading.unit, None, context)
    is_plain = pmode.encryption is None and pmode.pull is None and pmode.security.policy == policy
    if related.root.media_type != SOAP_TYPE or expected_unit is not None or not is_plain:
        raise GatewayError(NOT_SUPPORTED, "a message of this kind must be opened as a whole")
    parts = index_parts(related.attachments)
    check_parts_named(reading.named_parts, parts)
    message = MessageReading(agreed_unit, reading.named_parts, parts, lambda: (reading.canonical_header,))
    return check_business_message(message, reading.signature, pmode, parcel, context)

"""Opens AS4 parcels: reads them, verifies them in the order of cost, and returns their units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from lxml import etree

from gateway.agreements import PMode
from gateway.errors import (
    HEADER_INCONSISTENT,
    NOT_SUPPORTED,
    NOT_UNDERSTOOD,
    PARTY_UNKNOWN,
    PMODE_UNKNOWN,
    RECEIPT_MISMATCH,
    REFERENCE_UNKNOWN,
    SIGNER_MISMATCH,
    GatewayError,
)
from gateway.message_model import ErrorSignal, Party, PullRequest, Receipt, Unit, UserMessage
from gateway.pki import Certificate
from gateway.protocols.as4.agreed_algorithms import check_agreed_algorithms
from gateway.protocols.as4.answer_signals import check_answer, name_answer_parties
from gateway.protocols.as4.exchange_legs import REFERENCE, check_request, find_answered_request
from gateway.protocols.as4.fragment_header import FRAGMENT
from gateway.protocols.as4.fragment_joining import read_joined_message
from gateway.protocols.as4.header_values import SIGNATURE, RefusedBundle
from gateway.protocols.as4.known_messages import open_known_message, remember_envelope
from gateway.protocols.as4.message_reading import (
    As4Message,
    make_opened_message,
    read_message,
    read_related_message,
    require_signature,
    verify_signature,
)
from gateway.protocols.as4.packaging import open_as4_package
from gateway.protocols.as4.pmode_matching import match_agreed_pmode
from gateway.protocols.as4.pull_requests import open_pull_request
from gateway.protocols.as4.secret_parts import read_agreed_secrets, read_secrets
from gateway.protocols.as4.sent_messages import read_sent_header
from gateway.protocols.as4.signal_values import make_eb3_name
from gateway.protocols.as4.username_tokens import find_authorization
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, RefusedMessage, SentUnit
from gateway.protocols.fragment_values import GroupTally
from gateway.protocols.payload_parts import format_cid_uri
from gateway.protocols.signer_checks import check_pinned_signer, check_signer
from gateway.wire import XENC, SoapFault, WireLimits, build_xpath
from gateway.xmlsec import SHA256, VerifiedSignature, is_signed_as_is

__all__ = [
    "collect_payload_digests",
    "find_fault",
    "find_refused_message",
    "open",
    "open_joined",
    "verify_parcel",
]

_MESSAGE_ID: Final = f"{make_eb3_name('MessageInfo')}/{make_eb3_name('MessageId')}"
_MESSAGING: Final = "/soap12:Envelope/soap12:Header/eb3:Messaging"


def verify_parcel(
    parcel: Parcel, policy: str, context: ProtocolContext, encryption: str = "strict"
) -> OpenedMessage:
    """Return the unit of a parcel verified without agreement: structure, signature and certificate.

    A business message or a receipt must be signed; other signals need no signature. Encrypted payloads are
    decrypted with the keys of the context by the policy `encryption`.
    """
    message = read_message(parcel, context.limits)
    if message.fragment is not None:
        raise GatewayError(NOT_UNDERSTOOD, "a fragment is no message of its own", FRAGMENT)
    _check_authorization_use(message)
    secret = read_secrets(message.security, message.package.parts, encryption, context)
    message = replace(message, secret=secret)
    signed = verify_signature(message, policy, context.limits, None, context.known_certificates)
    require_signature(message, signed)
    if signed is not None:
        context.check_signing_certificate(signed.certificate, SIGNATURE)
    opened = make_opened_message(message, signed, None, parcel, context.limits)
    return replace(opened, units=(*opened.units, *message.header.bundled))


def open(parcel: Parcel, context: ProtocolContext, expecting: SentUnit | None = None) -> OpenedMessage:
    """Return the unit of a parcel after all checks; raise GatewayError.

    `expecting` is the message that we sent on the connection of this parcel. A signal names no party: one
    that is posted by itself is about the message of ours to which it refers.
    """
    related = parcel.read_parts(context.limits)
    known = open_known_message(related, parcel, context) if expecting is None else None
    if known is not None:
        return known
    message = read_related_message(related, context.limits)
    try:
        _check_authorization_use(message)
        if expecting is None:
            opened = _open_posted_message(message, parcel, context)
            remember_envelope(message, opened, related.root.content, context)
            return opened
        if isinstance(expecting.unit, PullRequest):
            return _open_pulled_message(message, expecting.unit, parcel, context)
        return _open_answer(message, parcel, context, expecting)
    except GatewayError as refused:
        # The answer to a refusal needs no second reading of the envelope.
        refused.heard = refused.heard or message.header.unit
        raise


def _open_posted_message(message: As4Message, parcel: Parcel, context: ProtocolContext) -> OpenedMessage:
    """Return a message that was posted to us: a business message, or a signal about one of ours."""
    unit = message.header.unit
    if isinstance(unit, ErrorSignal) and message.header.bundled:
        message = _choose_error(message, lambda about: context.find_sent_parcel("as4", about) is not None)
        unit = message.header.unit
    if isinstance(unit, Receipt | ErrorSignal):
        return _open_answer(message, parcel, context, _find_sent_unit(message, unit, context))
    if isinstance(unit, PullRequest):
        opened = open_pull_request(message, unit, parcel, context)
    elif isinstance(unit, UserMessage):
        opened = _open_business_message(message, unit, parcel, context)
        if opened.pmode is not None and opened.pmode.pull is not None:
            place = f"{build_xpath(message.header.unit_element)}/eb3:CollaborationInfo"
            raise GatewayError(PMODE_UNKNOWN, "such messages are pulled, not posted", place)
    else:
        detail = f"a {type(unit).__name__} that is posted by itself"
        raise GatewayError(NOT_SUPPORTED, detail, build_xpath(message.header.unit_element))
    bundled = _open_bundled_answers(message, opened, context)
    return replace(opened, units=(*opened.units, *bundled)) if bundled else opened


def _open_pulled_message(
    message: As4Message, asked: PullRequest, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage:
    """Return what answers a PullRequest of ours: a message of its channel, or an error, unproved."""
    message = _choose_error(message, lambda about: about == asked.message_id)
    unit = message.header.unit
    if message.header.bundled:
        raise GatewayError(NOT_SUPPORTED, "several units in an answer", _MESSAGING)
    if isinstance(unit, UserMessage):
        opened = _open_business_message(message, unit, parcel, context)
        agreed = opened.pmode
        if agreed is None or agreed.pull is None or agreed.pull_channel != asked.mpc:
            raise GatewayError(HEADER_INCONSISTENT, "it is of another channel than asked", _MESSAGING)
        return opened
    if not isinstance(unit, ErrorSignal) or unit.ref_to_message_id not in (None, asked.message_id):
        raise GatewayError(NOT_SUPPORTED, "a PullRequest is answered by a message or an error", _MESSAGING)
    named = name_answer_parties(unit, SentUnit(asked))
    opened = make_opened_message(message, None, None, parcel, context.limits)
    return replace(opened, units=(named,))


def _check_authorization_use(message: As4Message) -> None:
    """Raise GW311 for a name and a password in anything but a PullRequest."""
    header = find_authorization(message.package.envelope.root)
    if header is not None and not isinstance(message.header.unit, PullRequest):
        detail = "a name with a password authorises a PullRequest alone"
        raise GatewayError(NOT_SUPPORTED, detail, build_xpath(header))


def _open_bundled_answers(
    message: As4Message, opened: OpenedMessage, context: ProtocolContext
) -> tuple[Unit, ...]:
    """Return the answers that came beside a unit; raise for a receipt that is refused.

    An error that would be refused is left out: one that comes alone gets no answer either (core §6).
    """
    found: list[Unit] = []
    for one in message.header.bundled:
        try:
            found.append(_name_bundled_answer(message, one, opened, context))
        except GatewayError as refused:
            if isinstance(one, ErrorSignal) and not refused.problem.ours:
                continue
            beside = opened.unit
            if isinstance(one, Receipt) and isinstance(beside, UserMessage | PullRequest):
                named = replace(one, sender=beside.sender, receiver=beside.receiver)
                refused.heard = RefusedBundle(named, beside)
            raise
    return tuple(found)


def _name_bundled_answer(
    message: As4Message, unit: Receipt | ErrorSignal, opened: OpenedMessage, context: ProtocolContext
) -> Unit:
    """Return an answer that came beside another unit, with its parties; raise for one of another party."""
    return _name_checked_answer(unit, _find_sent_unit(message, unit, context), opened, context)


def _name_checked_answer(
    unit: Receipt | ErrorSignal, sent: SentUnit, opened: OpenedMessage, context: ProtocolContext
) -> Unit:
    """Return an answer to what was sent, with its parties; raise for one of another party or message."""
    named = name_answer_parties(unit, sent)
    if context.get_party_name(named.sender) != context.get_party_name(opened.unit.sender):
        raise GatewayError(SIGNER_MISMATCH, "the answer is about a message to another party", SIGNATURE)
    if opened.signed is not None and isinstance(sent.unit, UserMessage):
        pmode, _ = match_agreed_pmode(sent.unit, "as4", context)
        check_pinned_signer(opened.signed.certificate, pmode, named.sender, SIGNATURE)
    check_answer(replace(opened, units=(named,)), sent)
    return named


def _find_sent_unit(message: As4Message, unit: Receipt | ErrorSignal, context: ProtocolContext) -> SentUnit:
    """Return the message of ours that a signal is about; raise GW307 where there is none."""
    about = unit.ref_to_message_id
    sent = context.find_sent_parcel("as4", about) if about is not None else None
    if sent is None:
        where = f"{build_xpath(_find_signal_element(message, unit))}/eb3:MessageInfo/eb3:RefToMessageId"
        raise GatewayError(REFERENCE_UNKNOWN, "no message of ours has this id", where)
    return read_sent_header(sent, context.limits)


def _find_signal_element(message: As4Message, unit: Receipt | ErrorSignal) -> etree._Element:
    found = message.header.element.iterchildren(make_eb3_name("SignalMessage"))
    named = (one for one in found if one.findtext(_MESSAGE_ID) == unit.message_id)
    return next(named, message.header.unit_element)


def _open_business_message(
    message: As4Message, unit: UserMessage, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage:
    pmode, agreed = match_agreed_pmode(unit, "as4", context)
    if context.find_party_name(unit.receiver.ids[0]) not in context.keys:
        place = f"{build_xpath(message.header.unit_element)}/eb3:PartyInfo/eb3:To"
        raise GatewayError(PARTY_UNKNOWN, "this message is for another handler", place)
    if message.fragment is not None and pmode.splitting is None:
        raise GatewayError(NOT_SUPPORTED, "nothing is agreed of messages in fragments", FRAGMENT)
    secret = read_agreed_secrets(message.security, message.package.parts, pmode.encryption, context)
    message = replace(message, header=replace(message.header, unit=agreed), secret=secret)
    signed = _verify_signer(message, pmode, agreed.sender, context)
    require_signature(message, signed)
    if message.fragment is None:
        # Of what came in fragments the joined message is looked at.
        _check_exchange_leg(agreed, pmode, context)
    return make_opened_message(message, signed, pmode, parcel, context.limits)


def _check_exchange_leg(unit: UserMessage, pmode: PMode, context: ProtocolContext) -> None:
    """Raise for a message that is not the request or the reply that the binding of its exchange says."""
    about = find_answered_request(unit, pmode)
    sent = None if about is None else context.find_sent_parcel("as4", about)
    if sent is not None:
        check_request(unit, read_sent_header(sent, context.limits).unit, pmode, context)
    elif about is not None and context.knows_all_sent:
        raise GatewayError(REFERENCE_UNKNOWN, "no message of ours has this id", REFERENCE)


def open_joined(tally: GroupTally, parcel: Parcel, context: ProtocolContext) -> OpenedMessage:
    """Return a joined message after all checks; raise GW352 where it is not what its fragments said.

    Its fragments are signed, each by itself, and it need not be (eDelivery AS4 1.15 §1.5.6.5). A signature
    that it has is verified as that of any message.
    """
    message = read_joined_message(tally, parcel, context.limits)
    _check_authorization_use(message)
    assert isinstance(message.header.unit, UserMessage)
    pmode, agreed = match_agreed_pmode(message.header.unit, "as4", context)
    message = replace(message, header=replace(message.header, unit=agreed))
    _check_exchange_leg(agreed, pmode, context)
    if message.security is None:
        return make_opened_message(message, None, pmode, parcel, context.limits)
    if message.security.find(f"{{{XENC}}}EncryptedData") is not None:
        secret = read_agreed_secrets(message.security, message.package.parts, pmode.encryption, context)
        message = replace(message, secret=secret)
    signed = _verify_signer(message, pmode, agreed.sender, context)
    return make_opened_message(message, signed, pmode, parcel, context.limits)


def _verify_signer(
    message: As4Message, pmode: PMode, sender: Party, context: ProtocolContext
) -> VerifiedSignature | None:
    """Return the signature, of a registered and valid certificate of the sender."""

    def check_signer_certificate(certificate: Certificate) -> None:
        check_signer(certificate, pmode, sender, context, SIGNATURE)
        if message.secret:
            context.check_signing_certificate(certificate, SIGNATURE)

    known = (*context.known_certificates, *context.list_party_certificates(context.get_party_name(sender)))
    signed = verify_signature(message, pmode.security.policy, context.limits, check_signer_certificate, known)
    if signed is not None:
        check_agreed_algorithms(signed, pmode)
        context.check_signing_certificate(signed.certificate, SIGNATURE)
    return signed


def _open_answer(
    message: As4Message, parcel: Parcel, context: ProtocolContext, sent: SentUnit
) -> OpenedMessage:
    """Return the signal about a message of ours, in its HTTP answer or posted."""
    if not isinstance(sent.unit, UserMessage):
        raise GatewayError(NOT_SUPPORTED, "an answer to what was no message", _MESSAGING)
    if isinstance(message.header.unit, UserMessage):
        return _open_response(message, message.header.unit, parcel, context, sent)
    about = sent.unit.message_id
    message = _choose_error(message, lambda named: named == about)
    if message.header.bundled:
        raise GatewayError(NOT_SUPPORTED, "several units in an answer", _MESSAGING)
    pmode, asked = match_agreed_pmode(sent.unit, "as4", context)
    unit = name_answer_parties(message.header.unit, replace(sent, unit=asked))
    message = replace(message, header=replace(message.header, unit=unit))
    try:
        signed = _verify_signer(message, pmode, unit.sender, context)
        opened = make_opened_message(message, signed, pmode, parcel, context.limits)
        check_answer(opened, sent)
    except GatewayError as refused:
        told = refused
        if refused.problem is SIGNER_MISMATCH and isinstance(unit, Receipt):
            told = GatewayError(RECEIPT_MISMATCH, refused.detail, refused.location)
        # It is of a known P-Mode: the error about it is signed.
        told.heard = unit
        raise told from refused.__cause__
    return opened


def _choose_error(message: As4Message, is_ours: Callable[[str], bool]) -> As4Message:
    """Return a message whose unit is, of several errors alone, the one about something of ours."""
    units = (message.header.unit, *message.header.bundled)
    if len(units) == 1 or not all(isinstance(one, ErrorSignal) for one in units):
        return message
    for one in units:
        about = getattr(one, "ref_to_message_id", None)
        if about is not None and is_ours(about):
            return replace(message, header=replace(message.header, unit=one, bundled=()))
    return message


def _open_response(
    message: As4Message, unit: UserMessage, parcel: Parcel, context: ProtocolContext, sent: SentUnit
) -> OpenedMessage:
    """Return the business message in the HTTP answer to one of ours, with the receipt beside it.

    Raises GW311 where the P-Mode of ours has no response in its answer.
    """
    assert isinstance(sent.unit, UserMessage)
    if message.fragment is not None:
        # Part 2 §4.4.2: what is split is not answered on its connection.
        raise GatewayError(NOT_SUPPORTED, "a fragment in an HTTP answer", FRAGMENT)
    agreed, _ = match_agreed_pmode(sent.unit, "as4", context)
    if not agreed.has_response_in_answer:
        raise GatewayError(NOT_SUPPORTED, "a business message in an HTTP answer", _MESSAGING)
    if unit.ref_to_message_id != sent.unit.message_id:
        where = f"{_MESSAGING}/eb3:UserMessage/eb3:MessageInfo/eb3:RefToMessageId"
        raise GatewayError(REFERENCE_UNKNOWN, "the response is to another message", where)
    opened = _open_business_message(message, unit, parcel, context)
    bundled = [_name_checked_answer(one, sent, opened, context) for one in message.header.bundled]
    return replace(opened, units=(*opened.units, *bundled))


def find_fault(parcel: Parcel, limits: WireLimits) -> SoapFault | None:
    """Return the SOAP Fault in a parcel, None when it contains something else."""
    return open_as4_package(parcel, limits).fault


def find_refused_message(parcel: Parcel, limits: WireLimits) -> RefusedMessage | None:
    """Return what can be read of a refused parcel, None where its header cannot be read."""
    try:
        unit = read_message(parcel, limits).header.unit
    except GatewayError:
        return None
    return RefusedMessage(unit.message_id, type(unit).__name__, not isinstance(unit, Receipt | ErrorSignal))


def collect_payload_digests(opened: OpenedMessage) -> dict[str, str]:
    """Return the SHA-256 of payloads by content id, if the signature was verified with it.

    What is signed of XML and of other text is not the octets of the part, nor is it for a compressed one.
    """
    if opened.signed is None or not isinstance(opened.unit, UserMessage):
        return {}
    packed = {one.content_id for one in opened.unwrapped if one.compressed}
    plain = {
        format_cid_uri(one.content_id): one.content_id
        for one in opened.unit.payloads
        if one.content_id not in packed and is_signed_as_is(one.media_type)
    }
    return {
        plain[one.uri]: one.digest_value.hex()
        for one in opened.signed.references
        if one.uri in plain and one.digest_algorithm == SHA256
    }

"""Opens AS4 parcels: reads them, verifies them in the order of cost, and returns their units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from lxml import etree

from gateway.errors import (
    HEADER_INCONSISTENT,
    NOT_SUPPORTED,
    NOT_UNDERSTOOD,
    PMODE_UNKNOWN,
    RECEIPT_MISMATCH,
    REFERENCE_UNKNOWN,
    SIGNER_MISMATCH,
    GatewayError,
)
from gateway.message_model import ErrorSignal, PullRequest, Receipt, Unit, UserMessage
from gateway.pki import Certificate
from gateway.protocols.as4.answer_signals import add_answer_parties, check_answer
from gateway.protocols.as4.encrypted_parts import read_agreed_parts, read_encrypted_parts
from gateway.protocols.as4.fragment_header import FRAGMENT
from gateway.protocols.as4.fragment_joining import read_joined_message
from gateway.protocols.as4.header_values import SIGNATURE, RefusedBundle, make_eb3_name
from gateway.protocols.as4.message_checks import (
    check_business_message,
    check_exchange_leg,
    check_signer_signature,
    match_own_pmode,
    read_agreed_signature,
)
from gateway.protocols.as4.message_reading import (
    As4Message,
    check_signature,
    make_opened_message,
    read_message,
    read_related_message,
    read_sent_header,
    read_signature,
    require_signature,
)
from gateway.protocols.as4.packaging import open_as4_package
from gateway.protocols.as4.pmode_matching import match_agreed_pmode
from gateway.protocols.as4.pull_requests import find_authorization_header, open_pull_request
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext, RefusedMessage, SentUnit
from gateway.protocols.fragment_values import GroupTally
from gateway.protocols.signer_checks import check_agreed_strength, check_pinned_signer
from gateway.wire import XENC, RelatedParts, SoapFault, WireLimits, build_xpath

_MESSAGE_ID: Final = f"{make_eb3_name('MessageInfo')}/{make_eb3_name('MessageId')}"
_MESSAGING: Final = "/soap12:Envelope/soap12:Header/eb3:Messaging"


def verify_parcel(
    parcel: Parcel, signature_policy: str, context: ProtocolContext, encryption_policy: str = "strict"
) -> OpenedMessage:
    """Return the unit of a parcel verified without agreement: structure, signature and certificate.

    A business message or a receipt must be signed; other signals need no signature. Encrypted payloads are
    decrypted with the keys of the context by the policy `encryption_policy`.
    """
    message = read_message(parcel, context.limits)
    if message.fragment is not None:
        raise GatewayError(NOT_UNDERSTOOD, "a fragment must not be opened as a message", FRAGMENT)
    _check_authorization_use(message)
    encrypted_parts = read_encrypted_parts(
        message.security, message.package.parts, encryption_policy, context
    )
    message = replace(message, encrypted_parts=encrypted_parts)
    signature = read_signature(message, signature_policy, context.limits, context.candidate_certificates)
    reading = message.make_reading()

    def check_certificate(certificate: Certificate) -> None:
        context.check_signing_certificate(certificate, SIGNATURE)

    # Decryption needs a valid certificate; in a message without encryption, the signature is checked first.
    verified_signature = check_signature(
        signature, reading, context.limits, check_certificate if encrypted_parts else None
    )
    require_signature(reading.unit, verified_signature)
    if verified_signature is not None:
        check_certificate(verified_signature.certificate)
    opened = make_opened_message(reading, verified_signature, None, parcel, context.limits)
    return replace(opened, units=(*opened.units, *message.header.bundled_units))


def open_units(
    parcel: Parcel, context: ProtocolContext, expected_unit: SentUnit | None = None
) -> OpenedMessage:
    """Return the unit of a parcel after all checks; raise GatewayError.

    `expected_unit` is the message that we sent on the connection of this parcel. A signal names no party: one
    that is posted by itself is about our message that its RefToMessageId names.
    """
    return open_related(parcel.read_parts(context.limits), parcel, context, expected_unit)


def open_related(
    related: RelatedParts, parcel: Parcel, context: ProtocolContext, expected_unit: SentUnit | None = None
) -> OpenedMessage:
    """Return the unit of a parcel of which the MIME parts were read; see `open_units`."""
    message = read_related_message(related, context.limits)
    try:
        _check_authorization_use(message)
        if expected_unit is None:
            return _open_posted_message(message, parcel, context)
        if isinstance(expected_unit.unit, PullRequest):
            return _open_pulled_message(message, expected_unit.unit, parcel, context)
        return _open_answer(message, parcel, context, expected_unit)
    except GatewayError as refused:
        # The answer to a refusal needs no second reading of the envelope.
        refused.message_part = refused.message_part or message.header.unit
        raise


def _open_posted_message(message: As4Message, parcel: Parcel, context: ProtocolContext) -> OpenedMessage:
    """Return a message that was posted to us: a business message, or a signal about our message."""
    unit = message.header.unit
    if isinstance(unit, ErrorSignal) and message.header.bundled_units:
        message = _choose_error(
            message, lambda message_id: context.find_sent_parcel("as4", message_id) is not None
        )
        unit = message.header.unit
    if isinstance(unit, Receipt | ErrorSignal):
        return _open_answer(message, parcel, context, _find_sent_unit(message, unit, context))
    if isinstance(unit, PullRequest):
        opened = open_pull_request(message, unit, parcel, context)
    elif isinstance(unit, UserMessage):
        opened = _open_business_message(message, unit, parcel, context)
        if opened.pmode is not None and opened.pmode.pull is not None:
            location = f"{build_xpath(message.header.unit_element)}/eb3:CollaborationInfo"
            raise GatewayError(PMODE_UNKNOWN, "messages of this kind must be pulled, not posted", location)
    else:
        detail = f"a {type(unit).__name__} that is posted by itself"
        raise GatewayError(NOT_SUPPORTED, detail, build_xpath(message.header.unit_element))
    bundled = _open_bundled_answers(message, opened, context)
    return replace(opened, units=(*opened.units, *bundled)) if bundled else opened


def _open_pulled_message(
    message: As4Message, request: PullRequest, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage:
    """Return the answer to our PullRequest: a message of its channel, or an Error, which is not verified."""
    message = _choose_error(message, lambda message_id: message_id == request.message_id)
    unit = message.header.unit
    if message.header.bundled_units:
        raise GatewayError(NOT_SUPPORTED, "several units in an answer", _MESSAGING)
    if isinstance(unit, UserMessage):
        opened = _open_business_message(message, unit, parcel, context)
        agreed_pmode = opened.pmode
        if agreed_pmode is None or agreed_pmode.pull is None or agreed_pmode.pull_channel != request.mpc:
            raise GatewayError(HEADER_INCONSISTENT, "it is of another channel than asked", _MESSAGING)
        return opened
    if not isinstance(unit, ErrorSignal) or unit.ref_to_message_id not in (None, request.message_id):
        raise GatewayError(
            NOT_SUPPORTED, "a PullRequest must be answered by a message or an error", _MESSAGING
        )
    answer = add_answer_parties(unit, SentUnit(request))
    opened = make_opened_message(message.make_reading(), None, None, parcel, context.limits)
    return replace(opened, units=(answer,))


def _check_authorization_use(message: As4Message) -> None:
    """Raise GW311 for a name and a password in a business message.

    A handler may write them into each of its signals; in a receipt or an error they say nothing.
    """
    header = find_authorization_header(message.package.envelope.root)
    if header is not None and isinstance(message.header.unit, UserMessage):
        detail = "a name with a password may authorise only a PullRequest"
        raise GatewayError(NOT_SUPPORTED, detail, build_xpath(header))


def _open_bundled_answers(
    message: As4Message, opened: OpenedMessage, context: ProtocolContext
) -> tuple[Unit, ...]:
    """Return the answers that are bundled with a unit; raise for a receipt that is refused.

    An error that would be refused is left out: an error alone gets no answer either (core §6).
    """
    answers: list[Unit] = []
    for answer in message.header.bundled_units:
        try:
            answers.append(_name_bundled_answer(message, answer, opened, context))
        except GatewayError as refused:
            if isinstance(answer, ErrorSignal) and not refused.problem.ours:
                continue
            main_unit = opened.unit
            if isinstance(answer, Receipt) and isinstance(main_unit, UserMessage | PullRequest):
                receipt = replace(answer, sender=main_unit.sender, receiver=main_unit.receiver)
                refused.message_part = RefusedBundle(receipt, main_unit)
            raise
    return tuple(answers)


def _name_bundled_answer(
    message: As4Message, unit: Receipt | ErrorSignal, opened: OpenedMessage, context: ProtocolContext
) -> Unit:
    """Return an answer that was bundled with a unit, with its parties; raise for one of another party."""
    return _name_checked_answer(unit, _find_sent_unit(message, unit, context), opened, context)


def _name_checked_answer(
    unit: Receipt | ErrorSignal, sent_unit: SentUnit, opened: OpenedMessage, context: ProtocolContext
) -> Unit:
    """Return an answer with its parties; raise if it is of another party, or answers another message."""
    answer = add_answer_parties(unit, sent_unit)
    if context.get_party_name(answer.sender) != context.get_party_name(opened.unit.sender):
        raise GatewayError(SIGNER_MISMATCH, "the answer is about a message to another party", SIGNATURE)
    if opened.verified_signature is not None and isinstance(sent_unit.unit, UserMessage):
        pmode, _ = match_agreed_pmode(sent_unit.unit, "as4", context)
        check_pinned_signer(opened.verified_signature.certificate, pmode, answer.sender, SIGNATURE)
        # One signature is for both: that of the message is compared exactly, here only a weaker one refused.
        check_agreed_strength(
            opened.verified_signature.signature_algorithm, opened.verified_signature.references, pmode
        )
    check_answer(replace(opened, units=(answer,)), sent_unit)
    return answer


def _find_sent_unit(message: As4Message, unit: Receipt | ErrorSignal, context: ProtocolContext) -> SentUnit:
    """Return our message that a signal is about; raise GW307 where its RefToMessageId names none."""
    message_id = unit.ref_to_message_id
    sent_unit = context.find_sent_parcel("as4", message_id) if message_id is not None else None
    if sent_unit is None:
        location = f"{build_xpath(_find_signal_element(message, unit))}/eb3:MessageInfo/eb3:RefToMessageId"
        raise GatewayError(REFERENCE_UNKNOWN, "no message of ours has this id", location)
    return read_sent_header(sent_unit, context.limits)


def _find_signal_element(message: As4Message, unit: Receipt | ErrorSignal) -> etree._Element:
    signals = message.header.element.iterchildren(make_eb3_name("SignalMessage"))
    matching = (signal for signal in signals if signal.findtext(_MESSAGE_ID) == unit.message_id)
    return next(matching, message.header.unit_element)


def _open_business_message(
    message: As4Message, unit: UserMessage, parcel: Parcel, context: ProtocolContext
) -> OpenedMessage:
    """Return a business message, or one fragment of it, after all checks by its P-Mode."""
    pmode, agreed_unit = match_own_pmode(unit, message.header.unit_element, context)
    if message.fragment is not None and pmode.splitting is None:
        raise GatewayError(NOT_SUPPORTED, "nothing is agreed of messages in fragments", FRAGMENT)
    encrypted_parts = read_agreed_parts(message.security, message.package.parts, pmode.encryption, context)
    message = replace(
        message, header=replace(message.header, unit=agreed_unit), encrypted_parts=encrypted_parts
    )
    signature = read_agreed_signature(message, pmode, agreed_unit.sender, context)
    return check_business_message(message.make_reading(), signature, pmode, parcel, context)


def open_joined(tally: GroupTally, parcel: Parcel, context: ProtocolContext) -> OpenedMessage:
    """Return a joined message after all checks; raise GW352 where it contradicts its fragments.

    Each fragment is signed; the joined message need not be (eDelivery AS4 1.15 §1.5.6.5). If it has a
    signature, that is verified like the signature of any message.
    """
    message = read_joined_message(tally, parcel, context.limits)
    _check_authorization_use(message)
    assert isinstance(message.header.unit, UserMessage)
    pmode, agreed_unit = match_agreed_pmode(message.header.unit, "as4", context)
    message = replace(message, header=replace(message.header, unit=agreed_unit))
    check_exchange_leg(agreed_unit, pmode, context)
    if message.security is None:
        return make_opened_message(message.make_reading(), None, pmode, parcel, context.limits)
    if message.security.find(f"{{{XENC}}}EncryptedData") is not None:
        encrypted_parts = read_agreed_parts(
            message.security, message.package.parts, pmode.encryption, context
        )
        message = replace(message, encrypted_parts=encrypted_parts)
    signature = read_agreed_signature(message, pmode, agreed_unit.sender, context)
    reading = message.make_reading()
    verified_signature = check_signer_signature(reading, signature, pmode, agreed_unit.sender, context)
    return make_opened_message(reading, verified_signature, pmode, parcel, context.limits)


def _open_answer(
    message: As4Message, parcel: Parcel, context: ProtocolContext, sent_unit: SentUnit
) -> OpenedMessage:
    """Return the signal, or the response, to our message `sent_unit`, in the HTTP answer or posted."""
    if not isinstance(sent_unit.unit, UserMessage):
        raise GatewayError(NOT_SUPPORTED, "an answer to what was no message", _MESSAGING)
    if isinstance(message.header.unit, UserMessage):
        return _open_response(message, message.header.unit, parcel, context, sent_unit)
    message_id = sent_unit.unit.message_id
    message = _choose_error(message, lambda ref_to_message_id: ref_to_message_id == message_id)
    if message.header.bundled_units:
        raise GatewayError(NOT_SUPPORTED, "several units in an answer", _MESSAGING)
    pmode, request = match_agreed_pmode(sent_unit.unit, "as4", context)
    unit = add_answer_parties(message.header.unit, replace(sent_unit, unit=request))
    message = replace(message, header=replace(message.header, unit=unit))
    try:
        signature = read_agreed_signature(message, pmode, unit.sender, context)
        reading = message.make_reading()
        verified_signature = check_signer_signature(reading, signature, pmode, unit.sender, context)
        opened = make_opened_message(reading, verified_signature, pmode, parcel, context.limits)
        check_answer(opened, sent_unit)
    except GatewayError as refused:
        reported_error = refused
        if refused.problem is SIGNER_MISMATCH and isinstance(unit, Receipt):
            reported_error = GatewayError(RECEIPT_MISMATCH, refused.detail, refused.location)
        # It is of a known P-Mode: the error about it is signed.
        reported_error.message_part = unit
        raise reported_error from refused.__cause__
    return opened


def _choose_error(message: As4Message, is_ours: Callable[[str], bool]) -> As4Message:
    """Return a message of several Errors with only that one as its unit that is about our message.

    `is_ours` says of a MessageId whether it is that of our message. A message with another content, or
    without such an Error, is returned unchanged.
    """
    units = (message.header.unit, *message.header.bundled_units)
    if len(units) == 1 or not all(isinstance(unit, ErrorSignal) for unit in units):
        return message
    for unit in units:
        message_id = getattr(unit, "ref_to_message_id", None)
        if message_id is not None and is_ours(message_id):
            return replace(message, header=replace(message.header, unit=unit, bundled_units=()))
    return message


def _open_response(
    message: As4Message, unit: UserMessage, parcel: Parcel, context: ProtocolContext, sent_unit: SentUnit
) -> OpenedMessage:
    """Return the business message in the HTTP answer to our message, with the receipt beside it.

    Raises GW311 where the P-Mode of our message has no response in the HTTP answer, or for a fragment, and
    GW307 where the response refers to another message.
    """
    assert isinstance(sent_unit.unit, UserMessage)
    if message.fragment is not None:
        # Part 2 §4.4.2: a split message is never a synchronous response.
        raise GatewayError(NOT_SUPPORTED, "a fragment in an HTTP answer", FRAGMENT)
    request_pmode, _ = match_agreed_pmode(sent_unit.unit, "as4", context)
    if not request_pmode.has_response_in_answer:
        raise GatewayError(NOT_SUPPORTED, "a business message in an HTTP answer", _MESSAGING)
    if unit.ref_to_message_id != sent_unit.unit.message_id:
        location = f"{_MESSAGING}/eb3:UserMessage/eb3:MessageInfo/eb3:RefToMessageId"
        raise GatewayError(REFERENCE_UNKNOWN, "the response is to another message", location)
    opened = _open_business_message(message, unit, parcel, context)
    bundled = [
        _name_checked_answer(answer, sent_unit, opened, context) for answer in message.header.bundled_units
    ]
    return replace(opened, units=(*opened.units, *bundled))


def find_fault(parcel: Parcel, limits: WireLimits) -> SoapFault | None:
    """Return the SOAP Fault in a parcel, None when it contains something else."""
    return open_as4_package(parcel, limits).fault


def find_refused_message(parcel: Parcel, limits: WireLimits) -> RefusedMessage | None:
    """Return the outline of a refused parcel, None where its header cannot be read."""
    try:
        unit = read_message(parcel, limits).header.unit
    except GatewayError:
        return None
    return RefusedMessage(unit.message_id, type(unit).__name__, not isinstance(unit, Receipt | ErrorSignal))

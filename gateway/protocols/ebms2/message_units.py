"""The units of a message: the business message, and the signals between handlers.

Signals are Acknowledgment, MessageError, Ping, Pong, StatusRequest and StatusResponse (ebMS
2.0 §4.2, §6.3.2, chapter 7 and 8); an Acknowledgment or a list of warnings may also be
bundled with a business message, and warnings with an Acknowledgment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from lxml import etree

from gateway.errors import (
    HEADER_INCONSISTENT,
    HEADER_INVALID,
    NOT_SUPPORTED,
    PMODE_UNKNOWN,
    GatewayError,
)
from gateway.message_model import (
    ErrorEntry,
    ErrorSignal,
    Payload,
    Ping,
    Pong,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
    UserMessage,
)
from gateway.protocols.ebms2.header_blocks import (
    HeaderBlocks,
    MessageHeader,
    check_block_attributes,
    check_element_version,
    read_actor,
    read_party,
)
from gateway.protocols.ebms2.packaging import SoapBodyContent
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    make_eb_name,
    make_soap_name,
    raise_header_error,
    read_free_text,
    read_instant,
    read_message_id,
)
from gateway.protocols.signed_values import read_references
from gateway.wire import DS, read_attribute

_HEADER: Final = "/soap:Envelope/soap:Header/eb:MessageHeader"
_VERSION, _ID, _ACTOR = make_eb_name("version"), make_eb_name("id"), make_soap_name("actor")
_SEVERITIES: Final = ("Warning", "Error")
_STATUSES: Final = ("UnAuthorized", "NotRecognized", "Received", "Processed", "Forwarded")

UNIT_TYPE_BY_ACTION: Final = {
    "Acknowledgment": Receipt,
    "MessageError": ErrorSignal,
    "Ping": Ping,
    "Pong": Pong,
    "StatusRequest": StatusRequest,
    "StatusResponse": StatusResponse,
}


@dataclass(frozen=True, slots=True)
class MessageContent:
    """The parsed content of one message, before it is converted to units."""

    blocks: HeaderBlocks
    body: SoapBodyContent
    payloads: tuple[Payload, ...]


def get_unit_kind(header: MessageHeader) -> str:
    """Return the name of the unit that the header announces; raise GW303 for an unknown action."""
    if not header.is_signal:
        return "UserMessage"
    if header.action not in UNIT_TYPE_BY_ACTION:
        detail = f"{header.action[:80]!r} is no action between handlers"
        raise GatewayError(PMODE_UNKNOWN, detail, f"{_HEADER}/eb:Action")
    return UNIT_TYPE_BY_ACTION[header.action].__name__


def make_units(content: MessageContent) -> tuple[Unit, ...]:
    """Return the units of a message; raise for content that contradicts its Service and Action."""
    header = content.blocks.header
    unit_kind = get_unit_kind(header)
    if header.is_signal:
        _check_signal_blocks(content, unit_kind)
        unit = _SIGNAL_READERS[unit_kind](content)
        return (unit, *_read_bundled_warnings(content)) if unit_kind == "Receipt" else (unit,)
    if content.body.status_request is not None or content.body.status_response is not None:
        raise GatewayError(
            HEADER_INCONSISTENT, "a business message asks for no status", f"{_HEADER}/eb:Action"
        )
    _check_hop_acknowledgment_alone(content.blocks)
    return (_make_user_message(content), *_make_bundled_units(content))


def _copy_header_fields(header: MessageHeader) -> dict[str, Any]:
    """Return the values of a MessageHeader that every unit has, by the name of the unit's field."""
    return {
        "message_id": header.message_id,
        "conversation_id": header.conversation_id,
        "sender": header.sender,
        "receiver": header.receiver,
        "agreement": header.agreement,
        "timestamp": header.timestamp,
    }


def _make_user_message(content: MessageContent) -> UserMessage:
    header = content.blocks.header
    return UserMessage(
        **_copy_header_fields(header),
        service=header.service,
        service_type=header.service_type,
        action=header.action,
        ref_to_message_id=header.ref_to_message_id,
        expires_at=header.expires_at,
        duplicate_elimination=header.duplicate_elimination,
        ack_requested=content.blocks.ack_requested,
        hop_ack_requested=content.blocks.hop_ack_requested,
        sync_reply=content.blocks.sync_reply,
        payloads=content.payloads,
        description=header.description,
        sequence=content.blocks.sequence,
    )


def _make_bundled_units(content: MessageContent) -> tuple[Unit, ...]:
    """Return the units bundled with a message: an Acknowledgment, a list of warnings."""
    receipt = () if content.blocks.acknowledgment is None else (_read_receipt(content),)
    return (*receipt, *_read_bundled_warnings(content))


def _read_bundled_warnings(content: MessageContent) -> tuple[ErrorSignal, ...]:
    """Return the warnings of a bundled ErrorList as one signal, if any; raise GW304 for severity Error."""
    error_list = content.blocks.error_list
    if error_list is None:
        return ()
    warning_signal = _read_error_signal(content)
    if warning_signal.highest_severity == "Error":
        # ebMS 2.0 §4.2.3.1: an ErrorList of that severity is not bundled.
        raise_header_error(error_list, "an ErrorList of severity Error travels alone", HEADER_INCONSISTENT)
    return (warning_signal,)


def _check_hop_acknowledgment_alone(blocks: HeaderBlocks) -> None:
    """Raise for an Acknowledgment of the next handler that is bundled with anything.

    No signature covers it. In a message of its own the signed MessageHeader names the message that it
    acknowledges.
    """
    if blocks.hop_acknowledgment is not None:
        raise_header_error(
            blocks.hop_acknowledgment, "an Acknowledgment of the next handler travels alone", NOT_SUPPORTED
        )


def _check_signal_blocks(content: MessageContent, unit_kind: str) -> None:
    """Raise for blocks that do not belong to a signal of this kind (ebMS 2.0 chapter 10)."""
    blocks, body = content.blocks, content.body
    misplaced_blocks = {
        "eb:Manifest": bool(body.manifest),
        "eb:MessageOrder": blocks.sequence is not None,
        "eb:AckRequested": (blocks.ack_requested or blocks.hop_ack_requested) is not None,
        "eb:Acknowledgment": blocks.acknowledgment is not None and unit_kind != "Receipt",
        "eb:ErrorList": blocks.error_list is not None and unit_kind not in ("ErrorSignal", "Receipt"),
        "eb:StatusRequest": body.status_request is not None and unit_kind != "StatusRequest",
        "eb:StatusResponse": body.status_response is not None and unit_kind != "StatusResponse",
    }
    for block_name, is_present in misplaced_blocks.items():
        if is_present:
            detail = f"{block_name} does not belong into {blocks.header.action}"
            raise GatewayError(HEADER_INCONSISTENT, detail, f"{_HEADER}/eb:Action")
    if unit_kind != "Receipt" or blocks.acknowledgment is not None:
        _check_hop_acknowledgment_alone(blocks)


def _require_element(element: etree._Element | None, element_name: str) -> etree._Element:
    if element is None:
        raise GatewayError(HEADER_INVALID, f"{element_name} is missing", f"{_HEADER}/eb:Action")
    return element


def _require_reference(header: MessageHeader) -> str:
    if header.ref_to_message_id is None:
        raise GatewayError(HEADER_INVALID, "this signal answers a message", f"{_HEADER}/eb:MessageData")
    return header.ref_to_message_id


def _read_receipt(content: MessageContent) -> Receipt:
    """Return the receipt in eb:Acknowledgment (ebMS 2.0 §6.3.2)."""
    header = content.blocks.header
    blocks = content.blocks
    acknowledgment = blocks.acknowledgment if blocks.acknowledgment is not None else blocks.hop_acknowledgment
    element = _require_element(acknowledgment, "eb:Acknowledgment")
    check_block_attributes(element, optional=(_ACTOR,))
    sequence = ElementSequence(element)
    timestamp_element = sequence.take_required(make_eb_name("Timestamp"))
    reference_element = sequence.take_required(make_eb_name("RefToMessageId"))
    acting_party_element = sequence.take_optional(make_eb_name("From"))
    digest_elements = sequence.take_all(f"{{{DS}}}Reference")
    sequence.check_end()
    check_attributes(timestamp_element)
    ref_to_message_id = read_message_id(reference_element)
    # An Acknowledgment addressed to the next handler is not signed: the signed MessageHeader must name the
    # acknowledged message.
    permitted_references = (
        (ref_to_message_id,) if blocks.acknowledgment is None else (None, ref_to_message_id)
    )
    if header.is_signal and header.ref_to_message_id not in permitted_references:
        raise_header_error(
            reference_element, "Acknowledgment and MessageData name different messages", HEADER_INCONSISTENT
        )
    return Receipt(
        **_copy_header_fields(header),
        ref_to_message_id=ref_to_message_id,
        received_at=read_instant(timestamp_element),
        references=read_references(digest_elements),
        acting_party=None if acting_party_element is None else read_party(acting_party_element),
        actor=read_actor(element),
    )


def _read_error_signal(content: MessageContent) -> ErrorSignal:
    """Return the error signal in eb:ErrorList (ebMS 2.0 §4.2.3)."""
    element = _require_element(content.blocks.error_list, "eb:ErrorList")
    check_block_attributes(element, required=(make_eb_name("highestSeverity"),))
    sequence = ElementSequence(element)
    entries = tuple(
        _read_error_entry(child) for child in sequence.take_all(make_eb_name("Error"), min_count=1)
    )
    sequence.skip_extensions()
    sequence.check_end()
    header = content.blocks.header
    signal = ErrorSignal(
        **_copy_header_fields(header), ref_to_message_id=header.ref_to_message_id, errors=entries
    )
    if read_attribute(element, make_eb_name("highestSeverity"), "").strip() != signal.highest_severity:
        raise_header_error(
            element,
            "highestSeverity must be the highest severity of the errors",
            HEADER_INCONSISTENT,
            at="eb:highestSeverity",
        )
    return signal


def _read_error_entry(element: etree._Element) -> ErrorEntry:
    code_attribute, severity_attribute, location_attribute, context_attribute = (
        make_eb_name(name) for name in ("errorCode", "severity", "location", "codeContext")
    )
    check_attributes(
        element,
        required=(code_attribute, severity_attribute),
        optional=(_ID, location_attribute, context_attribute),
        foreign=True,
    )
    if read_attribute(element, severity_attribute) not in _SEVERITIES:
        raise_header_error(element, "a severity must be Warning or Error", at="eb:severity")
    sequence = ElementSequence(element)
    description = read_free_text(sequence.take_all(make_eb_name("Description")))
    sequence.skip_extensions()
    sequence.check_end()
    entry = ErrorEntry(
        read_attribute(element, code_attribute, ""),
        read_attribute(element, severity_attribute, ""),
        read_attribute(element, location_attribute, ""),
        description,
    )
    return replace(entry, context=read_attribute(element, context_attribute) or entry.context)


def _make_ping(content: MessageContent) -> Ping:
    return Ping(**_copy_header_fields(content.blocks.header), sync_reply=content.blocks.sync_reply)


def _make_pong(content: MessageContent) -> Pong:
    header = content.blocks.header
    return Pong(**_copy_header_fields(header), ref_to_message_id=_require_reference(header))


def _read_status_request(content: MessageContent) -> StatusRequest:
    element = _require_element(content.body.status_request, "eb:StatusRequest")
    check_attributes(element, required=(_VERSION,), optional=(_ID,), foreign=True)
    check_element_version(element)
    sequence = ElementSequence(element)
    queried_message_id = read_message_id(sequence.take_required(make_eb_name("RefToMessageId")))
    sequence.check_end(extensible=True)
    header = content.blocks.header
    return StatusRequest(
        **_copy_header_fields(header),
        queried_message_id=queried_message_id,
        sync_reply=content.blocks.sync_reply,
    )


def _read_status_response(content: MessageContent) -> StatusResponse:
    element = _require_element(content.body.status_response, "eb:StatusResponse")
    check_attributes(
        element, required=(_VERSION, make_eb_name("messageStatus")), optional=(_ID,), foreign=True
    )
    check_element_version(element)
    status = read_attribute(element, make_eb_name("messageStatus"), "")
    if status not in _STATUSES:
        raise_header_error(element, f"{status[:80]!r} is not a status", at="eb:messageStatus")
    sequence = ElementSequence(element)
    queried_message_id = read_message_id(sequence.take_required(make_eb_name("RefToMessageId")))
    received_element = sequence.take_optional(make_eb_name("Timestamp"))
    sequence.check_end(extensible=True)
    if received_element is not None:
        check_attributes(received_element)
    header = content.blocks.header
    return StatusResponse(
        **_copy_header_fields(header),
        ref_to_message_id=_require_reference(header),
        queried_message_id=queried_message_id,
        status=status,
        received_at=None if received_element is None else read_instant(received_element),
    )


_SIGNAL_READERS: Final[dict[str, Callable[[MessageContent], Unit]]] = {
    "Receipt": _read_receipt,
    "ErrorSignal": _read_error_signal,
    "Ping": _make_ping,
    "Pong": _make_pong,
    "StatusRequest": _read_status_request,
    "StatusResponse": _read_status_response,
}

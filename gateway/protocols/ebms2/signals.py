"""The units of a message: the business message, and the signals between handlers.

Signals are Acknowledgment, MessageError, Ping, Pong, StatusRequest and StatusResponse
(ebMS 2.0 §4.2, §6.3.2, chapter 7 and 8); an Acknowledgment or a list of warnings may also
ride with a business message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from lxml import etree

from gateway.errors import (
    HEADER_INCONSISTENT,
    HEADER_INVALID,
    PMODE_UNKNOWN,
    GatewayError,
)
from gateway.model import (
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
from gateway.protocols.ebms2.elements import Sequence, attributes, eb, moment, refuse, soap, text
from gateway.protocols.ebms2.header import (
    Blocks,
    MessageHeader,
    block,
    check_actor,
    read_message_id,
    read_party,
)
from gateway.protocols.ebms2.package import BodyContent
from gateway.protocols.ebms2.signature import read_references
from gateway.wire.namespaces import DS, XML

__all__ = [
    "ACTIONS",
    "Content",
    "kind_of",
    "units_of",
]

_HEADER: Final = "/soap:Envelope/soap:Header/eb:MessageHeader"
_VERSION, _ID, _ACTOR = eb("version"), eb("id"), soap("actor")
_LANG: Final = f"{{{XML}}}lang"
_MAX_DESCRIPTION: Final = 8192
_SEVERITIES: Final = ("Warning", "Error")
_STATUSES: Final = ("UnAuthorized", "NotRecognized", "Received", "Processed", "Forwarded")

ACTIONS: Final = {
    "Acknowledgment": Receipt,
    "MessageError": ErrorSignal,
    "Ping": Ping,
    "Pong": Pong,
    "StatusRequest": StatusRequest,
    "StatusResponse": StatusResponse,
}


@dataclass(frozen=True, slots=True)
class Content:
    """All that was read of one message, before it is a unit."""

    blocks: Blocks
    body: BodyContent
    payloads: tuple[Payload, ...]


def kind_of(header: MessageHeader) -> str:
    """Return the name of the unit that the header announces."""
    if not header.signal:
        return "UserMessage"
    if header.action not in ACTIONS:
        detail = f"{header.action[:80]!r} is no action between handlers"
        raise GatewayError(PMODE_UNKNOWN, detail, f"{_HEADER}/eb:Action")
    return ACTIONS[header.action].__name__


def units_of(content: Content) -> tuple[Unit, ...]:
    """Return the units of a message; what contradicts its Service and Action is refused."""
    header = content.blocks.header
    kind = kind_of(header)
    if header.signal:
        _check_signal(content, kind)
        return (_SIGNALS[kind](content),)
    if content.body.status_request is not None or content.body.status_response is not None:
        raise GatewayError(
            HEADER_INCONSISTENT, "a business message asks for no status", f"{_HEADER}/eb:Action"
        )
    return (_user_message(content), *_riders(content))


def _addressed(header: MessageHeader) -> dict[str, Any]:
    return {
        "message_id": header.message_id,
        "conversation_id": header.conversation_id,
        "sender": header.sender,
        "receiver": header.receiver,
        "agreement": header.agreement,
        "timestamp": header.timestamp,
    }


def _user_message(content: Content) -> UserMessage:
    header = content.blocks.header
    return UserMessage(
        **_addressed(header),
        service=header.service,
        service_type=header.service_type,
        action=header.action,
        ref_to_message_id=header.ref_to_message_id,
        expires_at=header.expires_at,
        duplicate_elimination=header.duplicate_elimination,
        ack_requested=content.blocks.ack_requested,
        sync_reply=content.blocks.sync_reply,
        payloads=content.payloads,
        description=header.description,
    )


def _riders(content: Content) -> tuple[Unit, ...]:
    """Return what rides with a business message: an Acknowledgment, a list of warnings."""
    riders: list[Unit] = []
    if content.blocks.acknowledgment is not None:
        riders.append(_receipt(content))
    if content.blocks.error_list is not None:
        warnings = _error_signal(content)
        if warnings.severity == "Error":
            # ebMS 2.0 §4.2.3.1: a list of that severity travels alone.
            refuse(
                content.blocks.error_list, "an ErrorList of severity Error travels alone", HEADER_INCONSISTENT
            )
        riders.append(warnings)
    return tuple(riders)


def _check_signal(content: Content, kind: str) -> None:
    """Refuse blocks that do not belong to a signal of this kind (ebMS 2.0 chapter 10)."""
    blocks, body = content.blocks, content.body
    wrong = {
        "eb:Manifest": bool(body.manifest),
        "eb:AckRequested": blocks.ack_requested is not None,
        "eb:Acknowledgment": blocks.acknowledgment is not None and kind != "Receipt",
        "eb:ErrorList": blocks.error_list is not None and kind != "ErrorSignal",
        "eb:StatusRequest": body.status_request is not None and kind != "StatusRequest",
        "eb:StatusResponse": body.status_response is not None and kind != "StatusResponse",
    }
    for name, found in wrong.items():
        if found:
            detail = f"{name} does not belong into {blocks.header.action}"
            raise GatewayError(HEADER_INCONSISTENT, detail, f"{_HEADER}/eb:Action")


def _demand(element: etree._Element | None, name: str) -> etree._Element:
    if element is None:
        raise GatewayError(HEADER_INVALID, f"{name} is missing", f"{_HEADER}/eb:Action")
    return element


def _reference(header: MessageHeader) -> str:
    if header.ref_to_message_id is None:
        raise GatewayError(HEADER_INVALID, "this signal answers a message", f"{_HEADER}/eb:MessageData")
    return header.ref_to_message_id


def _receipt(content: Content) -> Receipt:
    """Return what eb:Acknowledgment says (ebMS 2.0 §6.3.2)."""
    header = content.blocks.header
    element = _demand(content.blocks.acknowledgment, "eb:Acknowledgment")
    block(element, optional=(_ACTOR,))
    check_actor(element)
    sequence = Sequence(element)
    stamp = sequence.required(eb("Timestamp"))
    reference = sequence.required(eb("RefToMessageId"))
    acting = sequence.optional(eb("From"))
    repeated = sequence.many(f"{{{DS}}}Reference")
    sequence.end()
    attributes(stamp)
    about = read_message_id(reference)
    if header.signal and header.ref_to_message_id not in (None, about):
        refuse(reference, "Acknowledgment and MessageData name different messages", HEADER_INCONSISTENT)
    return Receipt(
        **_addressed(header),
        ref_to_message_id=about,
        received_at=moment(stamp),
        references=read_references(repeated),
        acting_party=None if acting is None else read_party(acting),
    )


def _error_signal(content: Content) -> ErrorSignal:
    """Return what eb:ErrorList says (ebMS 2.0 §4.2.3)."""
    element = _demand(content.blocks.error_list, "eb:ErrorList")
    block(element, required=(eb("highestSeverity"),))
    sequence = Sequence(element)
    entries = tuple(_entry(one) for one in sequence.many(eb("Error"), least=1))
    sequence.end(extensible=True)
    header = content.blocks.header
    signal = ErrorSignal(**_addressed(header), ref_to_message_id=header.ref_to_message_id, errors=entries)
    if element.get(eb("highestSeverity"), "").strip() != signal.severity:
        refuse(element, "another severity is the highest", HEADER_INCONSISTENT, at="eb:highestSeverity")
    return signal


def _entry(element: etree._Element) -> ErrorEntry:
    code, severity, location, context = (
        eb(name) for name in ("errorCode", "severity", "location", "codeContext")
    )
    attributes(element, required=(code, severity), optional=(_ID, location, context), foreign=True)
    if element.get(severity) not in _SEVERITIES:
        refuse(element, "a severity is Warning or Error", at="eb:severity")
    sequence = Sequence(element)
    description = sequence.optional(eb("Description"))
    sequence.end(extensible=True)
    words = ""
    if description is not None:
        attributes(description, required=(_LANG,))
        words = text(description, limit=_MAX_DESCRIPTION)
    entry = ErrorEntry(element.get(code, ""), element.get(severity, ""), element.get(location, ""), words)
    return replace(entry, context=element.get(context) or entry.context)


def _ping(content: Content) -> Ping:
    return Ping(**_addressed(content.blocks.header), sync_reply=content.blocks.sync_reply)


def _pong(content: Content) -> Pong:
    header = content.blocks.header
    return Pong(**_addressed(header), ref_to_message_id=_reference(header))


def _status_request(content: Content) -> StatusRequest:
    element = _demand(content.body.status_request, "eb:StatusRequest")
    attributes(element, required=(_VERSION,), optional=(_ID,), foreign=True)
    sequence = Sequence(element)
    about = read_message_id(sequence.required(eb("RefToMessageId")))
    sequence.end(extensible=True)
    header = content.blocks.header
    return StatusRequest(**_addressed(header), about=about, sync_reply=content.blocks.sync_reply)


def _status_response(content: Content) -> StatusResponse:
    element = _demand(content.body.status_response, "eb:StatusResponse")
    attributes(element, required=(_VERSION, eb("messageStatus")), optional=(_ID,), foreign=True)
    status = element.get(eb("messageStatus"), "")
    if status not in _STATUSES:
        refuse(element, f"{status[:80]!r} is no status", at="eb:messageStatus")
    sequence = Sequence(element)
    about = read_message_id(sequence.required(eb("RefToMessageId")))
    received = sequence.optional(eb("Timestamp"))
    sequence.end(extensible=True)
    if received is not None:
        attributes(received)
    header = content.blocks.header
    return StatusResponse(
        **_addressed(header),
        ref_to_message_id=_reference(header),
        about=about,
        status=status,
        received_at=None if received is None else moment(received),
    )


_SIGNALS: Final[dict[str, Callable[[Content], Unit]]] = {
    "Receipt": _receipt,
    "ErrorSignal": _error_signal,
    "Ping": _ping,
    "Pong": _pong,
    "StatusRequest": _status_request,
    "StatusResponse": _status_response,
}

"""Reads eb:Messaging of ebMS 3.0: one business message or one signal, exactly as the schema defines them.

Values that the schema allows and two readers may understand differently are refused: white space
around a value, a comment inside one. An extension element is refused, because it is not understood.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from lxml import etree

from gateway.agreements import is_uri
from gateway.errors import (
    HEADER_INCONSISTENT,
    MIME_MALFORMED,
    NOT_SUPPORTED,
    PART_MISSING,
    GatewayError,
)
from gateway.message_model import (
    ErrorSignal,
    MessageProperty,
    Party,
    PartyId,
    PullRequest,
    Receipt,
    Unit,
    UserMessage,
)
from gateway.protocols.as4.header_values import GZIP_TYPE, MessagingHeader, PartInfo, locate_part
from gateway.protocols.as4.signal_reader import read_error_signal, read_receipt
from gateway.protocols.as4.signal_values import (
    LANG,
    make_eb3_name,
    read_message_info,
    read_optional_attribute,
)
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    raise_header_error,
    read_boolean_attribute,
    read_text,
)
from gateway.protocols.payload_parts import decode_cid_uri
from gateway.wire import SOAP12, WSU, SoapEnvelope, collapse_whitespace, is_for_receiver

__all__ = ["read_message_id", "read_messaging", "read_outline"]

_MUST_UNDERSTAND: Final = f"{{{SOAP12}}}mustUnderstand"
_ROLE: Final = f"{{{SOAP12}}}role"
_ID: Final = f"{{{WSU}}}Id"
_SIGNAL: Final = make_eb3_name("SignalMessage")
_USER_MESSAGE: Final = make_eb3_name("UserMessage")
#: A receipt and an error beside what they are bundled with.
_MOST_SIGNALS: Final = 3
_LONGEST_PROPERTY: Final = 8192
_OUTLINED_MESSAGE: Final = f"{make_eb3_name('Messaging')}/{make_eb3_name('UserMessage')}"
_OUTLINED_ID: Final = f"{make_eb3_name('MessageInfo')}/{make_eb3_name('MessageId')}"
_LONGEST_ID: Final = 1024
_LONGEST_CHANNEL: Final = 1024
#: Of a message that is refused the time is not used.
_NO_TIME: Final = datetime.fromtimestamp(0, UTC)
_NO_COLLABORATION: Final = {"service": "", "action": "", "conversation_id": "", "agreement": ""}
_MEDIA_TYPE: Final = re.compile(r"[!#$&^_.+\-\w]+/[!#$&^_.+\-\w]+(?:[ \t]*;[ -~]*)?", re.ASCII)
_NAME: Final = re.compile(r"[^\W\d][\w.\-]*")
_ENCODING_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


def read_messaging(element: etree._Element) -> MessagingHeader:
    """Return the content of eb:Messaging; raise GW107 for what the schema forbids, GW304, GW311."""
    check_attributes(element, optional=(_ID, "id", _MUST_UNDERSTAND, _ROLE), foreign=True)
    _check_attribute_values(element)
    sequence = ElementSequence(element)
    signals = sequence.take_all(_SIGNAL)
    messages = sequence.take_all(_USER_MESSAGE)
    sequence.check_end(extensible=True)
    if not signals and not messages:
        raise_header_error(element, "there is no message unit")
    if len(signals) > _MOST_SIGNALS or len(messages) > 1:
        raise_header_error(element, "so many units are not supported", NOT_SUPPORTED)
    headers = [MessagingHeader(element, one, _read_signal(one)) for one in signals]
    headers += [_read_user_message(element, one) for one in messages]
    return _bundle_units(element, headers)


def _check_attribute_values(element: etree._Element) -> None:
    if not is_for_receiver(element, "1.2"):
        raise_header_error(element, "this header is for another role", at="soap12:role")
    if _MUST_UNDERSTAND in element.attrib:
        read_boolean_attribute(element, _MUST_UNDERSTAND)
    if "id" in element.attrib and not _NAME.fullmatch(element.get("id", "")):
        raise_header_error(element, "an id is a name without colon", at="id")


def _bundle_units(element: etree._Element, headers: list[MessagingHeader]) -> MessagingHeader:
    """Return a business message or a PullRequest with the answers beside it; or the only unit.

    Errors alone are about the units of one bundle of ours (part 2 §3.5).
    """
    if len(headers) == 1:
        return headers[0]
    answers = [one.unit for one in headers if isinstance(one.unit, Receipt | ErrorSignal)]
    asking = [one for one in headers if not isinstance(one.unit, Receipt | ErrorSignal)]
    if all(isinstance(one, ErrorSignal) for one in answers) and not asking:
        return replace(headers[0], bundled=tuple(answers[1:]))
    if len(asking) != 1:
        detail = "answers are bundled with one business message or one PullRequest"
        raise_header_error(element, detail, NOT_SUPPORTED)
    return replace(asking[0], bundled=tuple(answers))


def _read_signal(element: etree._Element) -> Unit:
    check_attributes(element)
    sequence = ElementSequence(element)
    info = read_message_info(sequence.take_required(make_eb3_name("MessageInfo")))
    pulled = sequence.take_optional(make_eb3_name("PullRequest"))
    receipt = sequence.take_optional(make_eb3_name("Receipt"))
    errors = sequence.take_all(make_eb3_name("Error"))
    sequence.check_end(extensible=True)
    if sum((pulled is not None, receipt is not None, bool(errors))) != 1:
        raise_header_error(element, "a signal is a PullRequest, a Receipt or Errors", NOT_SUPPORTED)
    if receipt is not None:
        return read_receipt(receipt, info)
    if errors:
        return read_error_signal(errors, info)
    assert pulled is not None  # one of the three is there
    check_attributes(pulled, optional=("mpc",))
    ElementSequence(pulled).check_end(extensible=True)
    if info.ref_to_message_id is not None:
        raise_header_error(element, "a PullRequest refers to no message", HEADER_INCONSISTENT)
    return PullRequest(**info.make_unit_values(), mpc=_read_uri_attribute(pulled, "mpc"))


def _read_uri_attribute(element: etree._Element, name: str) -> str | None:
    value = read_optional_attribute(element, name)
    if value is not None and not is_uri(value):
        raise_header_error(element, "this attribute is a URI", at=name)
    return value


def _read_user_message(messaging: etree._Element, element: etree._Element) -> MessagingHeader:
    check_attributes(element, optional=("mpc",))
    sequence = ElementSequence(element)
    info = read_message_info(sequence.take_required(make_eb3_name("MessageInfo")))
    sender, receiver = _read_party_info(sequence.take_required(make_eb3_name("PartyInfo")))
    collaboration = _read_collaboration(sequence.take_required(make_eb3_name("CollaborationInfo")))
    properties = sequence.take_optional(make_eb3_name("MessageProperties"))
    payloads = sequence.take_optional(make_eb3_name("PayloadInfo"))
    sequence.check_end()
    unit = UserMessage(
        message_id=info.message_id,
        timestamp=info.timestamp,
        ref_to_message_id=info.ref_to_message_id,
        sender=sender,
        receiver=receiver,
        mpc=_read_uri_attribute(element, "mpc"),
        properties=() if properties is None else _read_properties(properties),
        **collaboration,
    )
    return MessagingHeader(messaging, element, unit, () if payloads is None else _read_parts(payloads))


def _read_party_info(element: etree._Element) -> tuple[Party, Party]:
    check_attributes(element)
    sequence = ElementSequence(element)
    found = tuple(_read_party(sequence.take_required(make_eb3_name(name))) for name in ("From", "To"))
    sequence.check_end()
    return found[0], found[1]


def _read_party(element: etree._Element) -> Party:
    check_attributes(element)
    sequence = ElementSequence(element)
    ids = tuple(
        PartyId(*_read_typed_value(one)) for one in sequence.take_all(make_eb3_name("PartyId"), least=1)
    )
    role = sequence.take_required(make_eb3_name("Role"))
    sequence.check_end()
    check_attributes(role)
    if len({one.type for one in ids}) < len(ids):
        raise_header_error(element, "two ids of one party have the same type", HEADER_INCONSISTENT)
    return Party(ids, read_text(role))


def _read_typed_value(element: etree._Element) -> tuple[str, str | None]:
    """Return value and type of a PartyId or Service; without a type it must be a URI (core §5.2.2)."""
    check_attributes(element, optional=("type",))
    value, kind = read_text(element), read_optional_attribute(element, "type")
    if kind is None and not is_uri(value):
        raise_header_error(element, "without a type the value must be a URI", HEADER_INCONSISTENT)
    return value, kind


def _read_collaboration(element: etree._Element) -> dict[str, Any]:
    """Return the values of eb:CollaborationInfo by the names that the message model has for them."""
    check_attributes(element)
    sequence = ElementSequence(element)
    agreement = sequence.take_optional(make_eb3_name("AgreementRef"))
    service, service_type = _read_typed_value(sequence.take_required(make_eb3_name("Service")))
    action = sequence.take_required(make_eb3_name("Action"))
    conversation = sequence.take_required(make_eb3_name("ConversationId"))
    sequence.check_end()
    check_attributes(action)
    check_attributes(conversation)
    values = {
        "service": service,
        "service_type": service_type,
        "action": read_text(action),
        # The schema permits an empty ConversationId, and handlers send it.
        "conversation_id": read_text(conversation) if len(conversation) or conversation.text else "",
        "agreement": "",
    }
    if agreement is not None:
        check_attributes(agreement, optional=("type", "pmode"))
        values["agreement"] = read_text(agreement)
        values["agreement_type"] = read_optional_attribute(agreement, "type")
        values["pmode_named"] = read_optional_attribute(agreement, "pmode")
    return values


def _read_properties(element: etree._Element) -> tuple[MessageProperty, ...]:
    check_attributes(element)
    sequence = ElementSequence(element)
    found = tuple(_read_property(one) for one in sequence.take_all(make_eb3_name("Property"), least=1))
    sequence.check_end()
    return found


def _read_property(element: etree._Element) -> MessageProperty:
    check_attributes(element, required=("name",), optional=("type",))
    name = read_optional_attribute(element, "name") or ""
    value = read_text(element, limit=_LONGEST_PROPERTY)
    return MessageProperty(name, value, read_optional_attribute(element, "type"))


def _read_parts(element: etree._Element) -> tuple[PartInfo, ...]:
    check_attributes(element)
    sequence = ElementSequence(element)
    found = tuple(_read_part_info(one) for one in sequence.take_all(make_eb3_name("PartInfo"), least=1))
    sequence.check_end()
    if len({one.content_id for one in found}) < len(found):
        raise_header_error(element, "PayloadInfo names one part twice", HEADER_INCONSISTENT)
    return found


def _read_part_info(element: etree._Element) -> PartInfo:
    check_attributes(element, optional=("href",))
    href = collapse_whitespace(element.get("href", ""))
    content_id = decode_cid_uri(href)
    if content_id is None:
        # AS4 §5.1.1 and eDelivery: the Body is empty, and an external payload is never fetched.
        raise_header_error(element, f"a payload must be a part: {href[:120]!r} is no cid: URI", PART_MISSING)
    sequence = ElementSequence(element)
    schema = sequence.take_optional(make_eb3_name("Schema"))
    description = sequence.take_optional(make_eb3_name("Description"))
    given = sequence.take_optional(make_eb3_name("PartProperties"))
    sequence.check_end()
    if schema is not None:
        check_attributes(schema, required=("location",), optional=("version", "namespace"))
    if description is not None:
        check_attributes(description, required=(LANG,))
    properties = () if given is None else _read_part_properties(given)
    return _make_part_info(element, content_id, properties)


def _read_part_properties(element: etree._Element) -> tuple[tuple[str, str], ...]:
    found = _read_properties(element)
    if any(one.type is not None for one in found):
        raise_header_error(element, "a part property with a type is not supported", NOT_SUPPORTED)
    return tuple((one.name, one.value) for one in found)


def _make_part_info(
    element: etree._Element, content_id: str, properties: tuple[tuple[str, str], ...]
) -> PartInfo:
    """Return a part with its compression and its media type (AS4 §3.1)."""
    said = dict(properties)
    if len(said) < len(properties):
        raise_header_error(element, "one part property stands twice", HEADER_INCONSISTENT)
    compression, media_type = said.pop("CompressionType", None), said.pop("MimeType", None)
    if compression not in (None, GZIP_TYPE):
        raise_header_error(element, f"CompressionType is {GZIP_TYPE}", HEADER_INCONSISTENT)
    if compression is not None and media_type is None:
        raise_header_error(element, "a compressed part states its MimeType", HEADER_INCONSISTENT)
    if media_type is not None and not _MEDIA_TYPE.fullmatch(media_type):
        raise_header_error(element, "MimeType is no media type", MIME_MALFORMED)
    charset = said.get("CharacterSet")
    # AS4 §3.1: a name of XML 1.0 §4.3.3.
    if compression is not None and charset is not None and not _ENCODING_NAME.fullmatch(charset):
        raise_header_error(element, "CharacterSet is no name of an encoding", HEADER_INCONSISTENT)
    return PartInfo(
        content_id, tuple(said.items()), media_type, compression is not None, locate_part(content_id)
    )


def read_outline(envelope: SoapEnvelope) -> UserMessage | None:
    """Return the first business message of a header, None where its parties cannot be read.

    It is for the answer to a header that is refused: an error about a message between known parties is
    signed and goes where their P-Mode says, whatever else is wrong. Nothing of it is verified. It has no
    payloads and no properties; what else cannot be read of it is empty.
    """
    element = None if envelope.header is None else envelope.header.find(_OUTLINED_MESSAGE)
    parties = None if element is None else element.find(make_eb3_name("PartyInfo"))
    if element is None or parties is None:
        return None
    try:
        sender, receiver = _read_party_info(parties)
    except GatewayError:
        return None
    return UserMessage(
        message_id=read_message_id(element.find(_OUTLINED_ID)) or "",
        timestamp=_NO_TIME,
        sender=sender,
        receiver=receiver,
        mpc=element.get("mpc", "")[:_LONGEST_CHANNEL] or None,
        **_outline_collaboration(element),
    )


def _outline_collaboration(element: etree._Element) -> dict[str, Any]:
    found = element.find(make_eb3_name("CollaborationInfo"))
    try:
        return _NO_COLLABORATION if found is None else _read_collaboration(found)
    except GatewayError:
        return _NO_COLLABORATION


def read_message_id(element: etree._Element | None) -> str | None:
    """Return the id in an element as far as it can be repeated in an answer, None where there is none."""
    value = "" if element is None else (element.text or "").strip()
    return value[:_LONGEST_ID] or None

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
from gateway.errors import HEADER_INCONSISTENT, MIME_MALFORMED, NOT_SUPPORTED, PART_MISSING, GatewayError
from gateway.message_model import (
    DigestReference,
    ErrorEntry,
    ErrorSignal,
    MessageProperty,
    Party,
    PartyId,
    PullRequest,
    Receipt,
    Unit,
    UserMessage,
)
from gateway.protocols.as4.header_values import (
    GZIP_TYPE,
    MessageInfo,
    MessagingHeader,
    PartInfo,
    format_part_location,
    make_eb3_name,
    read_message_info,
    read_optional_attribute,
)
from gateway.protocols.element_reader import (
    ElementSequence,
    check_attributes,
    check_value_length,
    list_elements,
    raise_header_error,
    read_boolean_attribute,
    read_free_text,
    read_long_text,
    read_text,
)
from gateway.protocols.payload_parts import decode_cid_uri
from gateway.protocols.signed_values import read_references
from gateway.wire import (
    DS,
    EB3,
    EBBP,
    SOAP12,
    WSU,
    SoapEnvelope,
    collapse_whitespace,
    is_for_receiver,
    read_attribute,
)

_MAX_CODE_CHARACTERS: Final = 1024
_MAX_ATTRIBUTE_CHARACTERS: Final = 1024
_INFORMATION: Final = f"{{{EBBP}}}NonRepudiationInformation"
_PART_INFORMATION: Final = f"{{{EBBP}}}MessagePartNRInformation"
_REFERENCE: Final = f"{{{DS}}}Reference"
_DESCRIPTION: Final = make_eb3_name("Description")
_ERROR_DETAIL: Final = make_eb3_name("ErrorDetail")
_ERROR_ATTRIBUTES: Final = ("category", "refToMessageInError", "origin", "shortDescription")


def read_receipt(element: etree._Element, info: MessageInfo) -> Receipt:
    """Return a receipt; its references are those of NonRepudiationInformation, if it has one.

    A receipt of an unsigned message repeats its UserMessage instead. Elements of others beside the
    information are not read: handlers add marks of their own.
    """
    check_attributes(element)
    if info.ref_to_message_id is None:
        raise_header_error(element, "a receipt must name the message that it is about")
    children = list_elements(element)
    if not children:
        raise_header_error(element, "the receipt must not be empty")
    for child in children:
        if etree.QName(child).namespace == EB3 and child.tag != make_eb3_name("UserMessage"):
            raise_header_error(child, "this element is not allowed in a receipt")
    informations = [child for child in children if child.tag == _INFORMATION]
    if len(informations) > 1:
        raise_header_error(informations[1], "a receipt must have one NonRepudiationInformation")
    return Receipt(
        **info.make_unit_values(),
        ref_to_message_id=info.ref_to_message_id,
        received_at=info.timestamp,
        references=tuple(reference for child in informations for reference in _read_information(child)),
    )


def _read_information(element: etree._Element) -> tuple[DigestReference, ...]:
    check_attributes(element)
    sequence = ElementSequence(element)
    parts = sequence.take_all(_PART_INFORMATION, min_count=1)
    sequence.check_end()
    return read_references(_get_part_reference(part) for part in parts)


def _get_part_reference(part: etree._Element) -> etree._Element:
    """Return the ds:Reference in a MessagePartNRInformation of a receipt; raise GW311 for other content."""
    check_attributes(part)
    children = list_elements(part)
    if len(children) != 1 or children[0].tag != _REFERENCE:
        # AS4 §5.1.8: MessagePartIdentifier is not used.
        raise_header_error(part, "a MessagePartNRInformation must hold one ds:Reference", NOT_SUPPORTED)
    return children[0]


def read_error_signal(elements: list[etree._Element], info: MessageInfo) -> ErrorSignal:
    """Return the errors of a signal, and which message they are about."""
    message_ids = {info.ref_to_message_id}
    for element in elements:
        message_id = read_attribute(element, "refToMessageInError", "")
        check_value_length(element, message_id, "refToMessageInError")
        message_ids.add(message_id)
    referenced_ids = sorted(message_id for message_id in message_ids if message_id)
    if len(referenced_ids) > 1:
        raise_header_error(elements[0], "the errors are about several messages", HEADER_INCONSISTENT)
    return ErrorSignal(
        **info.make_unit_values(),
        ref_to_message_id=referenced_ids[0] if referenced_ids else None,
        errors=tuple(_read_error(element) for element in elements),
    )


def _read_error(element: etree._Element) -> ErrorEntry:
    """Return an error: its code and severity decide, and texts for people are read without checks."""
    check_attributes(element, required=("errorCode", "severity"), optional=_ERROR_ATTRIBUTES)
    children = list_elements(element)
    for child in children:
        if child.tag not in (_DESCRIPTION, _ERROR_DETAIL):
            raise_header_error(child, "this element is not allowed in an error")
    # Handlers write "Failure" and "error" too; each value except "warning" counts as a failure.
    is_warning = read_attribute(element, "severity", "").strip().lower() == "warning"
    return ErrorEntry(
        code=collapse_whitespace(read_attribute(element, "errorCode", ""))[:_MAX_CODE_CHARACTERS],
        severity="Warning" if is_warning else "Error",
        location=read_free_text(child for child in children if child.tag == _ERROR_DETAIL),
        description=read_free_text(child for child in children if child.tag == _DESCRIPTION),
        category=_read_short_attribute(element, "category"),
        origin=_read_short_attribute(element, "origin"),
        title=_read_short_attribute(element, "shortDescription"),
    )


def _read_short_attribute(element: etree._Element, attribute_name: str) -> str:
    return collapse_whitespace(read_attribute(element, attribute_name, ""))[
        :_MAX_ATTRIBUTE_CHARACTERS
    ].rstrip()


_MUST_UNDERSTAND: Final = f"{{{SOAP12}}}mustUnderstand"
_ROLE: Final = f"{{{SOAP12}}}role"
_ID: Final = f"{{{WSU}}}Id"
_SIGNAL: Final = make_eb3_name("SignalMessage")
_USER_MESSAGE: Final = make_eb3_name("UserMessage")
#: The largest number of signals in a message: a PullRequest, a receipt and an error, or three errors.
_MAX_SIGNALS: Final = 3
_MAX_PROPERTY_CHARACTERS: Final = 8192
_OUTLINED_MESSAGE: Final = f"{make_eb3_name('Messaging')}/{make_eb3_name('UserMessage')}"
_OUTLINED_ID: Final = f"{make_eb3_name('MessageInfo')}/{make_eb3_name('MessageId')}"
_MAX_ID_OCTETS: Final = 1024
_MAX_CHANNEL_CHARACTERS: Final = 1024
#: Of a message that is refused the time is not used.
_NO_TIME: Final = datetime.fromtimestamp(0, UTC)
_NO_COLLABORATION: Final = {"service": "", "action": "", "conversation_id": "", "agreement": ""}
_MEDIA_TYPE: Final = re.compile(r"[!#$&^_.+\-\w]+/[!#$&^_.+\-\w]+(?:[ \t]*;[ -~]*)?", re.ASCII)
_NAME: Final = re.compile(r"[^\W\d][\w.\-]*")
_ENCODING_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


def read_messaging(element: etree._Element) -> MessagingHeader:
    """Return the content of eb:Messaging; raise GW107 where the schema forbids it, GW304, GW311."""
    check_attributes(element, optional=(_ID, "id", _MUST_UNDERSTAND, _ROLE), foreign=True)
    _check_attribute_values(element)
    sequence = ElementSequence(element)
    signals = sequence.take_all(_SIGNAL)
    messages = sequence.take_all(_USER_MESSAGE)
    sequence.check_end(extensible=True)
    if not signals and not messages:
        raise_header_error(element, "there is no message unit")
    if len(signals) > _MAX_SIGNALS or len(messages) > 1:
        raise_header_error(element, "more message units than are supported", NOT_SUPPORTED)
    headers = [MessagingHeader(element, signal, _read_signal(signal)) for signal in signals]
    headers += [_read_user_message(element, message) for message in messages]
    return _bundle_units(element, headers)


def _check_attribute_values(element: etree._Element) -> None:
    """Raise unless a header block is for us, and its mustUnderstand and its id have valid values."""
    if not is_for_receiver(element, "1.2"):
        raise_header_error(element, "this header is for another role", at="soap12:role")
    if _MUST_UNDERSTAND in element.attrib:
        read_boolean_attribute(element, _MUST_UNDERSTAND)
    if "id" in element.attrib and not _NAME.fullmatch(read_attribute(element, "id", "")):
        raise_header_error(element, "an id must be a name without colon", at="id")


def _bundle_units(element: etree._Element, headers: list[MessagingHeader]) -> MessagingHeader:
    """Return a business message or a PullRequest with the answers that are bundled with it; or the only unit.

    Several Errors alone are about the units of one bundle that the hub sent (part 2 §3.5): the first one is
    returned, and the others are bundled with it. Raises GW311 for any other bundle.
    """
    if len(headers) == 1:
        return headers[0]
    answers = [header.unit for header in headers if isinstance(header.unit, Receipt | ErrorSignal)]
    request_headers = [header for header in headers if not isinstance(header.unit, Receipt | ErrorSignal)]
    if all(isinstance(answer, ErrorSignal) for answer in answers) and not request_headers:
        return replace(headers[0], bundled_units=tuple(answers[1:]))
    if len(request_headers) != 1:
        detail = "answers must be bundled with one business message or one PullRequest"
        raise_header_error(element, detail, NOT_SUPPORTED)
    return replace(request_headers[0], bundled_units=tuple(answers))


def _read_signal(element: etree._Element) -> Unit:
    """Return the unit of an eb:SignalMessage: one PullRequest, one Receipt or one or more Errors."""
    check_attributes(element)
    sequence = ElementSequence(element)
    info = read_message_info(sequence.take_required(make_eb3_name("MessageInfo")))
    pull_element = sequence.take_optional(make_eb3_name("PullRequest"))
    receipt_element = sequence.take_optional(make_eb3_name("Receipt"))
    error_elements = sequence.take_all(make_eb3_name("Error"))
    sequence.check_end(extensible=True)
    if sum((pull_element is not None, receipt_element is not None, bool(error_elements))) != 1:
        raise_header_error(element, "a signal must be a PullRequest, a Receipt or Errors", NOT_SUPPORTED)
    if receipt_element is not None:
        return read_receipt(receipt_element, info)
    if error_elements:
        return read_error_signal(error_elements, info)
    assert pull_element is not None  # one of the three is there
    check_attributes(pull_element, optional=("mpc",))
    ElementSequence(pull_element).check_end(extensible=True)
    if info.ref_to_message_id is not None:
        raise_header_error(element, "a PullRequest refers to no message", HEADER_INCONSISTENT)
    return PullRequest(**info.make_unit_values(), mpc=_read_uri_attribute(pull_element, "mpc"))


def _read_uri_attribute(element: etree._Element, attribute_name: str) -> str | None:
    value = read_optional_attribute(element, attribute_name)
    if value is not None and not is_uri(value):
        raise_header_error(element, "this attribute must be a URI", at=attribute_name)
    return value


def _read_user_message(messaging: etree._Element, element: etree._Element) -> MessagingHeader:
    check_attributes(element, optional=("mpc",))
    sequence = ElementSequence(element)
    info = read_message_info(sequence.take_required(make_eb3_name("MessageInfo")))
    sender, receiver = _read_party_info(sequence.take_required(make_eb3_name("PartyInfo")))
    collaboration = _read_collaboration(sequence.take_required(make_eb3_name("CollaborationInfo")))
    properties_element = sequence.take_optional(make_eb3_name("MessageProperties"))
    payload_info = sequence.take_optional(make_eb3_name("PayloadInfo"))
    sequence.check_end()
    unit = UserMessage(
        message_id=info.message_id,
        timestamp=info.timestamp,
        ref_to_message_id=info.ref_to_message_id,
        sender=sender,
        receiver=receiver,
        mpc=_read_uri_attribute(element, "mpc"),
        properties=() if properties_element is None else _read_properties(properties_element),
        **collaboration,
    )
    return MessagingHeader(
        messaging, element, unit, () if payload_info is None else _read_parts(payload_info)
    )


def _read_party_info(element: etree._Element) -> tuple[Party, Party]:
    check_attributes(element)
    sequence = ElementSequence(element)
    parties = tuple(_read_party(sequence.take_required(make_eb3_name(name))) for name in ("From", "To"))
    sequence.check_end()
    return parties[0], parties[1]


def _read_party(element: etree._Element) -> Party:
    check_attributes(element)
    sequence = ElementSequence(element)
    ids = tuple(
        PartyId(*_read_typed_value(id_element))
        for id_element in sequence.take_all(make_eb3_name("PartyId"), min_count=1)
    )
    role = sequence.take_required(make_eb3_name("Role"))
    sequence.check_end()
    check_attributes(role)
    if len({party_id.type for party_id in ids}) < len(ids):
        raise_header_error(element, "two ids of one party have the same type", HEADER_INCONSISTENT)
    return Party(ids, read_text(role))


def _read_typed_value(element: etree._Element) -> tuple[str, str | None]:
    """Return value and type of a PartyId or Service; without a type it must be a URI (core §5.2.2)."""
    check_attributes(element, optional=("type",))
    value, value_type = read_text(element), read_optional_attribute(element, "type")
    if value_type is None and not is_uri(value):
        raise_header_error(element, "without a type the value must be a URI", HEADER_INCONSISTENT)
    return value, value_type


def _read_collaboration(element: etree._Element) -> dict[str, Any]:
    """Return the values of eb:CollaborationInfo by the names that the message model has for them."""
    check_attributes(element)
    sequence = ElementSequence(element)
    agreement_element = sequence.take_optional(make_eb3_name("AgreementRef"))
    service, service_type = _read_typed_value(sequence.take_required(make_eb3_name("Service")))
    action_element = sequence.take_required(make_eb3_name("Action"))
    conversation_element = sequence.take_required(make_eb3_name("ConversationId"))
    sequence.check_end()
    check_attributes(action_element)
    check_attributes(conversation_element)
    values = {
        "service": service,
        "service_type": service_type,
        "action": read_text(action_element),
        # The schema permits an empty ConversationId, and handlers send it.
        "conversation_id": read_text(conversation_element)
        if len(conversation_element) or conversation_element.text
        else "",
        "agreement": "",
    }
    if agreement_element is not None:
        check_attributes(agreement_element, optional=("type", "pmode"))
        values["agreement"] = read_text(agreement_element)
        values["agreement_type"] = read_optional_attribute(agreement_element, "type")
        values["pmode_id"] = read_optional_attribute(agreement_element, "pmode")
    return values


def _read_properties(element: etree._Element) -> tuple[MessageProperty, ...]:
    check_attributes(element)
    sequence = ElementSequence(element)
    properties = tuple(
        _read_property(property_element)
        for property_element in sequence.take_all(make_eb3_name("Property"), min_count=1)
    )
    sequence.check_end()
    return properties


def _read_property(element: etree._Element) -> MessageProperty:
    check_attributes(element, required=("name",), optional=("type",))
    name = read_optional_attribute(element, "name") or ""
    value = read_long_text(element, _MAX_PROPERTY_CHARACTERS)
    return MessageProperty(name, value, read_optional_attribute(element, "type"))


def _read_parts(element: etree._Element) -> tuple[PartInfo, ...]:
    check_attributes(element)
    sequence = ElementSequence(element)
    parts = tuple(
        _read_part_info(part_element)
        for part_element in sequence.take_all(make_eb3_name("PartInfo"), min_count=1)
    )
    sequence.check_end()
    if len({part.content_id for part in parts}) < len(parts):
        raise_header_error(element, "PayloadInfo names one part twice", HEADER_INCONSISTENT)
    return parts


def _read_part_info(element: etree._Element) -> PartInfo:
    """Return a PartInfo; raise GW108 unless its href is the cid: URI of a part."""
    check_attributes(element, optional=("href",))
    href = collapse_whitespace(read_attribute(element, "href", ""))
    content_id = decode_cid_uri(href)
    if content_id is None:
        # AS4 §5.1.1 and eDelivery: the Body is empty, and an external payload is never fetched.
        raise_header_error(element, f"a payload must be a part: {href[:120]!r} is no cid: URI", PART_MISSING)
    sequence = ElementSequence(element)
    schema = sequence.take_optional(make_eb3_name("Schema"))
    sequence.take_all(make_eb3_name("Description"))  # it is for people, and is not read
    properties_element = sequence.take_optional(make_eb3_name("PartProperties"))
    sequence.check_end()
    if schema is not None:
        check_attributes(schema, required=("location",), optional=("version", "namespace"))
    properties = () if properties_element is None else _read_part_properties(properties_element)
    return _make_part_info(element, content_id, properties)


def _read_part_properties(element: etree._Element) -> tuple[tuple[str, str], ...]:
    properties = _read_properties(element)
    if any(part_property.type is not None for part_property in properties):
        raise_header_error(element, "a part property with a type is not supported", NOT_SUPPORTED)
    return tuple((part_property.name, part_property.value) for part_property in properties)


def _make_part_info(
    element: etree._Element, content_id: str, properties: tuple[tuple[str, str], ...]
) -> PartInfo:
    """Return a part with its compression and its media type (AS4 §3.1)."""
    property_values = dict(properties)
    if len(property_values) < len(properties):
        raise_header_error(element, "one part property stands twice", HEADER_INCONSISTENT)
    compression, media_type = (
        property_values.pop("CompressionType", None),
        property_values.pop("MimeType", None),
    )
    if compression not in (None, GZIP_TYPE):
        raise_header_error(element, f"CompressionType must be {GZIP_TYPE}", HEADER_INCONSISTENT)
    if compression is not None and media_type is None:
        raise_header_error(element, "a compressed part states its MimeType", HEADER_INCONSISTENT)
    if media_type is not None and not _MEDIA_TYPE.fullmatch(media_type):
        raise_header_error(element, "MimeType must be a media type", MIME_MALFORMED)
    charset = property_values.get("CharacterSet")
    # AS4 §3.1: a name of XML 1.0 §4.3.3.
    if compression is not None and charset is not None and not _ENCODING_NAME.fullmatch(charset):
        raise_header_error(element, "CharacterSet must be the name of an encoding", HEADER_INCONSISTENT)
    return PartInfo(
        content_id,
        tuple(property_values.items()),
        media_type,
        compression is not None,
        format_part_location(content_id),
    )


def read_outline(envelope: SoapEnvelope) -> UserMessage | None:
    """Return the first business message of a header, None where its parties cannot be read.

    It is for the answer to a refused header: an error about a message between registered parties is
    signed, and goes where their P-Mode says. The returned message is not verified. It has no payloads and
    no properties; any other value that cannot be read is empty.
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
        mpc=read_attribute(element, "mpc", "")[:_MAX_CHANNEL_CHARACTERS] or None,
        **_outline_collaboration(element),
    )


def _outline_collaboration(element: etree._Element) -> dict[str, Any]:
    collaboration = element.find(make_eb3_name("CollaborationInfo"))
    try:
        return _NO_COLLABORATION if collaboration is None else _read_collaboration(collaboration)
    except GatewayError:
        return _NO_COLLABORATION


def read_message_id(element: etree._Element | None) -> str | None:
    """Return the id in an element as far as it can be repeated in an answer, None where there is none."""
    value = "" if element is None else (element.text or "").strip()
    # A cut may go through a character, which is then left out.
    return value.encode()[:_MAX_ID_OCTETS].decode(errors="ignore") or None

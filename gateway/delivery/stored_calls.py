"""Calls and messages as the outbox stores them, and their posting."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from gateway.delivery.attempt_outcome import MESSAGE_ANSWERS, AnswerKind
from gateway.delivery.http_answer_reader import HttpAnswer, make_status_error
from gateway.delivery.http_client import HttpClient
from gateway.delivery.service_contracts import CallAttachment, ServiceCall, load_contract
from gateway.delivery.soap_client import SoapDestination
from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    CALL_UNFIT,
    NO_ROOM,
    REFUSED_FOR_GOOD,
    REQUEST_INVALID,
    GatewayError,
    raise_resource_problem,
)
from gateway.hub import ComposedEnvelope, Hub, RegisterSnapshot
from gateway.message_model import Body, ErrorSignal
from gateway.protocols import OpenedMessage, ProtocolContext, ProtocolCore, make_refusal_error, open_message
from gateway.store import DeliveryLease, payloads, read_transaction
from gateway.wire import (
    DEFAULT_LIMITS,
    WireLimits,
    canonicalize_element,
    list_attributes,
    parse_xml,
    read_addressing,
    read_envelope,
    read_own_element,
)

#: The WSDL that takes any document, in any form.
_TEMPLATE_WSDL: Final = "agency-template.wsdl"


def compose_draft(call: ServiceCall) -> bytes:
    """Return the draft of a call to an agency; raises GW504 for one that fits no contract at all."""
    return load_contract(_TEMPLATE_WSDL).compose_envelope(call)


def compose_from_draft(draft: bytes, operation: str, destination: SoapDestination) -> ComposedEnvelope:
    """Return the envelope of a drafted call by the contract of its agency; raises GW720 where it fits not."""
    try:
        contract = load_contract(destination.wsdl)
        call = read_stored_call(draft, operation, destination.endpoint, destination.answer_policy.limits)
        return ComposedEnvelope(contract.compose_envelope(call), contract.sha256)
    except GatewayError as problem:
        raise_resource_problem(problem)
        raise GatewayError(CALL_UNFIT, problem.detail, problem.location) from problem


def read_stored_call(
    envelope: bytes, operation: str, address: str | None, limits: WireLimits = DEFAULT_LIMITS
) -> ServiceCall:
    """Return the call of an operation that an envelope was composed of, to the address that it has now.

    It is read by the names of its elements, whichever WSDL it was composed by.
    """
    stored_envelope = read_envelope(parse_xml(envelope, limits, is_envelope=True))
    if stored_envelope.header is None or not stored_envelope.body_elements:
        raise GatewayError(REQUEST_INVALID, "the stored octets are no call", "/soap:Envelope")
    operation_element = stored_envelope.body_elements[0]
    arguments: dict[str, Any] = {}
    attachments: list[CallAttachment] = []
    document, attribute_values = None, {}
    for element in operation_element.iterchildren(tag=etree.Element):
        if element.get("cid") is not None:
            attachments.append(_read_attachment(element))
        elif _has_document(element, operation_element):
            document = _copy_document(element)
            attribute_values = {
                str(name): tuple(str(text).split()) for name, text in list_attributes(element)
            }
        else:
            _add_element_value(arguments, element)
    message_id = read_addressing(stored_envelope.header).message_id
    return ServiceCall(
        operation, message_id, address, arguments, document, tuple(attachments), attribute_values
    )


def is_same_call(first: bytes, second: bytes) -> bool:
    """Return whether two envelopes go to the same address and have the same Body, however it is written."""
    return _read_address_and_body(first) == _read_address_and_body(second)


def _read_address_and_body(envelope: bytes) -> tuple[str | None, bytes]:
    stored_envelope = read_envelope(parse_xml(envelope, is_envelope=True))
    address = None if stored_envelope.header is None else read_addressing(stored_envelope.header).to
    return address, canonicalize_element(stored_envelope.root[-1], exclusive=True)


def list_call_names(envelope: bytes) -> dict[str, None]:
    """Return the names in the Body of a call, but for its document, as paths without prefixes, in order."""
    operation_element = parse_xml(envelope, is_envelope=True)[-1][0]
    operation_name = etree.QName(operation_element)
    names = {f"the namespace {operation_name.namespace}": None}

    def add_names(element: etree._Element, parent_path: str) -> None:
        names.update(
            {f"{parent_path}/@{etree.QName(attribute).localname}": None for attribute in element.attrib}
        )
        for child in element.iterchildren(tag=etree.Element):
            child_name = etree.QName(child)
            if child_name.namespace == operation_name.namespace:
                child_path = f"{parent_path}/{child_name.localname}" if parent_path else child_name.localname
                names[child_path] = None
                add_names(child, child_path)

    add_names(operation_element, "")
    return names


def _has_document(element: etree._Element, operation_element: etree._Element) -> bool:
    """Return whether an element is the open part of a call: it holds an element of another namespace."""
    namespace = etree.QName(operation_element).namespace
    return len(element) == 1 and etree.QName(element[0]).namespace != namespace


def _copy_document(element: etree._Element) -> etree._Element:
    """Return the document in the open part of a call as a tree of its own, with the prefixes it declares.

    A value may have a prefix, which is kept also where no name has it.
    """
    outer_prefixes = element.nsmap
    declarations = (inner.nsmap.items() for inner in element[0].iter(tag=etree.Element))
    prefixes = {
        prefix
        for declaration in declarations
        for prefix, uri in declaration
        if prefix and outer_prefixes.get(prefix) != uri
    }
    return read_own_element(canonicalize_element(element[0], exclusive=True, prefixes=sorted(prefixes)))


def _add_element_value(values: dict[str, Any], element: etree._Element) -> None:
    """Add the value of an element under its name: a text, or the values in it; several are a list."""
    element_name = etree.QName(element).localname
    element_value: Any = element.text or ""
    if len(element):
        element_value = {}
        for child in element.iterchildren(tag=etree.Element):
            _add_element_value(element_value, child)
    if element_name not in values:
        values[element_name] = element_value
    elif isinstance(values[element_name], list):
        values[element_name].append(element_value)
    else:
        values[element_name] = [values[element_name], element_value]


def _read_attachment(element: etree._Element) -> CallAttachment:
    content = base64.b64decode(element.text or "")
    return CallAttachment(element.get("cid", ""), element.get("mediaType", ""), content)


@dataclass(frozen=True, slots=True)
class PostedMessage:
    """The octets that were posted, the answer to them, and the register as it was known before."""

    octets: bytes | Body
    answer: HttpAnswer
    snapshot: RegisterSnapshot


def post_stored_message(hub: Hub, http_client: HttpClient, lease: DeliveryLease) -> PostedMessage:
    """Post the octets of a delivery to its endpoint; return them with the answer, for every status."""
    headers = dict(lease.parameters["headers"])
    with read_transaction(hub.engine) as conn:
        octets = payloads.open_payload(conn, lease.payload_sha256 or "")
    # The version is compared when the effect of the answer is stored.
    snapshot = hub.get_snapshot()
    answer = http_client.post(str(lease.parameters["endpoint"]), headers, octets)
    return PostedMessage(octets, answer, snapshot)


def check_answer_status(answer: HttpAnswer) -> None:
    """Raise for an answer that is neither a success nor SOAP, which the handler itself may have written."""
    if MESSAGE_ANSWERS.classify_answer(answer) is AnswerKind.PASSING_ERROR:
        raise make_status_error(answer)


def has_refusal(answer: HttpAnswer, protocol: ProtocolCore, hub: Hub, context: ProtocolContext) -> bool:
    """Return whether an answer has a Fault or an ErrorList in it; its sender is not checked.

    Most handlers refuse under status 200. An answer that is no message, such as an empty Envelope, is no
    refusal.
    """
    if not answer.body.strip():
        return False
    answer_parcel = hub.make_parcel({"Content-Type": answer.headers.get("content-type", "")}, answer.body)
    try:
        if protocol.find_fault(answer_parcel, context.limits) is not None:
            return True
        refused_message = protocol.find_refused_message(answer_parcel, context.limits)
    except GatewayError as error:
        raise_resource_problem(error)
        return False
    return refused_message is not None and refused_message.message_kind == "ErrorSignal"


def open_answer(
    hub: Hub,
    lease: DeliveryLease,
    posted_message: PostedMessage,
    protocol: ProtocolCore,
    context: ProtocolContext,
    *,
    is_signing_agreed: bool,
) -> OpenedMessage:
    """Return the verified content of an answer to a posted message, compared with the octets sent.

    A message that this process sealed just now is not read again. `is_signing_agreed` says that the parties
    sign what they send: then a Fault, which is never signed, is not trusted, because an intermediary may have
    written it.

    Raises GW602 for a final refusal, and GW603 for any other answer that does not match: such an answer does
    not prove that the partner has the message, so the message is sent again.
    """
    sent_unit = hub.sent_units.take_unit(lease.payload_sha256)
    if sent_unit is None:
        sent_parcel = hub.make_parcel(dict(lease.parameters["headers"]), posted_message.octets)
        sent_unit = protocol.read_sent_header(sent_parcel, context.limits)
    answer = posted_message.answer
    answer_parcel = hub.make_parcel({"Content-Type": answer.headers.get("content-type", "")}, answer.body)
    try:
        return open_message(protocol, answer_parcel, context, sent_unit)
    except GatewayError as error:
        detail = f"{error.problem.id} {error.detail}"[:500]
        if error.problem is REFUSED_FOR_GOOD and is_signing_agreed:
            detail = "it answered with a fault that nobody signed"
        elif error.problem in (REFUSED_FOR_GOOD, NO_ROOM):
            raise
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, error.location, theirs=error.theirs) from error


def make_unsigned_error(unit: ErrorSignal) -> GatewayError:
    """Return the problem of an unsigned error where signatures are agreed: the message is sent again."""
    refusal = make_refusal_error(unit)
    return GatewayError(
        ANSWER_NOT_UNDERSTOOD,
        "it answered with an error that nobody signed",
        "ds:Signature",
        theirs=refusal.theirs if refusal is not None else "",
    )

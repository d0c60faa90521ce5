"""Calls and messages as the outbox stores them, and their posting."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

from lxml import etree

from gateway.delivery.attempt_outcome import MESSAGES, AnswerKind
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
_TEMPLATE: Final = "agency-template.wsdl"


def compose_draft(call: ServiceCall) -> bytes:
    """Return the draft of a call to an agency; raises GW504 for one that fits no contract at all."""
    return load_contract(_TEMPLATE).compose_envelope(call)


def compose_from_draft(draft: bytes, operation: str, destination: SoapDestination) -> ComposedEnvelope:
    """Return the envelope of a drafted call by the contract of its agency; raises GW720 where it fits not."""
    try:
        contract = load_contract(destination.wsdl)
        call = read_stored_call(draft, operation, destination.endpoint, destination.rules.limits)
        return ComposedEnvelope(contract.compose_envelope(call), contract.sha256)
    except GatewayError as problem:
        raise_resource_problem(problem)
        raise GatewayError(CALL_UNFIT, problem.detail, problem.location) from problem


def read_stored_call(
    envelope: bytes, operation: str, to: str | None, limits: WireLimits = DEFAULT_LIMITS
) -> ServiceCall:
    """Return the call of an operation that an envelope was composed of, to the address that it has now.

    It is read by the names of its elements, whichever WSDL it was composed by.
    """
    stored = read_envelope(parse_xml(envelope, limits, envelope=True))
    if stored.header is None or not stored.body_elements:
        raise GatewayError(REQUEST_INVALID, "the stored octets are no call", "/soap:Envelope")
    content = stored.body_elements[0]
    arguments: dict[str, Any] = {}
    attachments: list[CallAttachment] = []
    document, scope = None, {}
    for element in content.iterchildren(tag=etree.Element):
        if element.get("cid") is not None:
            attachments.append(_read_attachment(element))
        elif _has_document(element, content):
            document = _cut_document(element)
            scope = {str(name): tuple(str(text).split()) for name, text in list_attributes(element)}
        else:
            _add_value(arguments, element)
    message_id = read_addressing(stored.header).message_id
    return ServiceCall(operation, message_id, to, arguments, document, tuple(attachments), scope)


def is_same_call(first: bytes, second: bytes) -> bool:
    """Return whether two envelopes go to the same address and have the same Body, however it is written."""
    return _read_address_and_body(first) == _read_address_and_body(second)


def _read_address_and_body(envelope: bytes) -> tuple[str | None, bytes]:
    stored = read_envelope(parse_xml(envelope, envelope=True))
    to = None if stored.header is None else read_addressing(stored.header).to
    return to, canonicalize_element(stored.root[-1], exclusive=True)


def list_call_names(envelope: bytes) -> dict[str, None]:
    """Return the names in the Body of a call, but for its document, as paths without prefixes, in order."""
    content = parse_xml(envelope, envelope=True)[-1][0]
    name = etree.QName(content)
    names = {f"the namespace {name.namespace}": None}

    def add_names(element: etree._Element, path: str) -> None:
        names.update({f"{path}/@{etree.QName(attribute).localname}": None for attribute in element.attrib})
        for inner in element.iterchildren(tag=etree.Element):
            inner_name = etree.QName(inner)
            if inner_name.namespace == name.namespace:
                inner_path = f"{path}/{inner_name.localname}" if path else inner_name.localname
                names[inner_path] = None
                add_names(inner, inner_path)

    add_names(content, "")
    return names


def _has_document(element: etree._Element, content: etree._Element) -> bool:
    """Return whether an element is the open part of a call: it holds an element of another namespace."""
    namespace = etree.QName(content).namespace
    return len(element) == 1 and etree.QName(element[0]).namespace != namespace


def _cut_document(element: etree._Element) -> etree._Element:
    """Return the document in the open part of a call as a tree of its own, with the prefixes it declares.

    A value may have a prefix, which is kept also where no name has it.
    """
    outer_prefixes = element.nsmap
    declared = (inner.nsmap.items() for inner in element[0].iter(tag=etree.Element))
    prefixes = {
        prefix for each in declared for prefix, uri in each if prefix and outer_prefixes.get(prefix) != uri
    }
    return read_own_element(canonicalize_element(element[0], exclusive=True, prefixes=sorted(prefixes)))


def _add_value(values: dict[str, Any], element: etree._Element) -> None:
    """Add the value of an element under its name: a text, or the values in it; several are a list."""
    name = etree.QName(element).localname
    value: Any = element.text or ""
    if len(element):
        value = {}
        for inner in element.iterchildren(tag=etree.Element):
            _add_value(value, inner)
    if name not in values:
        values[name] = value
    elif isinstance(values[name], list):
        values[name].append(value)
    else:
        values[name] = [values[name], value]


def _read_attachment(element: etree._Element) -> CallAttachment:
    content = base64.b64decode(element.text or "")
    return CallAttachment(element.get("cid", ""), element.get("mediaType", ""), content)


@dataclass(frozen=True, slots=True)
class PostedMessage:
    """The octets that were posted, the answer to them, and the register as it was known before."""

    octets: bytes | Body
    answer: HttpAnswer
    knowledge: RegisterSnapshot


def post_stored_message(hub: Hub, sender: HttpClient, lease: DeliveryLease) -> PostedMessage:
    """Post the octets of a delivery to its endpoint; return them with the answer, for every status."""
    headers = dict(lease.parameters["headers"])
    with read_transaction(hub.engine) as conn:
        octets = payloads.open_payload(conn, lease.payload_sha256 or "")
    # The version is compared when the effect of the answer is stored.
    knowledge = hub.get_snapshot()
    answer = sender.post(str(lease.parameters["endpoint"]), headers, octets)
    return PostedMessage(octets, answer, knowledge)


def check_answer_status(answer: HttpAnswer) -> None:
    """Raise for an answer that is neither a success nor SOAP, which the handler itself may have written."""
    if MESSAGES.classify_answer(answer) is AnswerKind.PASSING_ERROR:
        raise make_status_error(answer)


def has_refusal(answer: HttpAnswer, protocol: ProtocolCore, hub: Hub, context: ProtocolContext) -> bool:
    """Return whether an answer has a Fault or an ErrorList in it; its sender is not checked.

    Most handlers refuse under status 200. An answer that is no message, such as an empty Envelope, is no
    refusal.
    """
    if not answer.body.strip():
        return False
    back = hub.make_parcel({"Content-Type": answer.headers.get("content-type", "")}, answer.body)
    try:
        if protocol.find_fault(back, context.limits) is not None:
            return True
        refused = protocol.find_refused_message(back, context.limits)
    except GatewayError as error:
        raise_resource_problem(error)
        return False
    return refused is not None and refused.kind == "ErrorSignal"


def open_answer(
    hub: Hub,
    lease: DeliveryLease,
    posted: PostedMessage,
    protocol: ProtocolCore,
    context: ProtocolContext,
    *,
    signed: bool,
) -> OpenedMessage:
    """Return the verified content of an answer to a posted message, compared with the octets sent.

    A message that this process sealed just now is not read again. `signed` says that the parties sign what
    they send: then a Fault, which is never signed, is not trusted, because an intermediary may have written
    it.

    Raises GW602 for a final refusal, and GW603 for any other answer that does not match: such an answer does
    not prove that the partner has the message, so the message is sent again.
    """
    sent = hub.sent_units.take_unit(lease.payload_sha256)
    if sent is None:
        parcel = hub.make_parcel(dict(lease.parameters["headers"]), posted.octets)
        sent = protocol.read_sent_header(parcel, context.limits)
    answer = posted.answer
    back = hub.make_parcel({"Content-Type": answer.headers.get("content-type", "")}, answer.body)
    try:
        return open_message(protocol, back, context, sent)
    except GatewayError as error:
        detail = f"{error.problem.id} {error.detail}"[:500]
        if error.problem is REFUSED_FOR_GOOD and signed:
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

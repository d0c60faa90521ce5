"""Listens where the tested gateway sends to the suite, and answers as agreed, or wrongly.

Each message is given to the play whose conversation it is. A message that no play waits for is acknowledged
as agreed, so that the gateway ends its retries.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.client import EBMS2, HttpReply, IncomingRequest, PartnerServer, parse_listening_address
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import ErrorEntry, ErrorSignal, MemoryBody, Receipt
from gateway.pki import Signer
from gateway.protocols import SOAP_ACTION, OpenedMessage, Parcel, build_envelope_tree, to_model_reference
from gateway.wire import SoapFault, serialize_element, write_fault_envelope
from gateway.xmlsec import STRICT
from gateway_conformance.hostile import HttpRequest
from gateway_conformance.message_signing import sign_message, verify_message_signature
from gateway_conformance.partner_files import make_stranger
from gateway_conformance.reports import ExchangeLog, RecordedMessage, record_message
from gateway_conformance.standard.received_message import CALLBACK, ReceivedMessage, find_text
from gateway_conformance.standard.suite_party import SuiteParty

_TEXT_XML: Final = "text/xml; charset=UTF-8"
#: A late Acknowledgment comes after this share of the interval.
_LATE: Final = 0.5


@dataclass(frozen=True)
class Replier:
    """The suite as it answers under one kind of agreement; `post` sends a signal by a POST of its own."""

    party: SuiteParty
    kind: str
    post: Callable[[HttpRequest], Any]


def make_attempt_reply(replier: Replier, reply_name: str, message: ReceivedMessage) -> HttpReply:
    """Return the answer of that name: an HTTP status, or a word of this module; raise GW901 for another."""
    if reply_name.isdigit():
        return HttpReply(
            int(reply_name), "text/plain", b"" if reply_name == "204" else b"the suite says so\n"
        )
    if reply_name not in _REPLIES:
        raise GatewayError(OUR_MISTAKE, f"there is no reply {reply_name!r}", replier.kind)
    return _REPLIES[reply_name](replier, message)


def make_end_acknowledgment(party: SuiteParty, message: ReceivedMessage) -> HttpReply:
    """Return the Acknowledgment of the party behind an intermediary: signed by that party, to the sender."""
    agreement = party.agreements["passing"]
    pmode, at = agreement.pmodes[0], party.get_current_time()
    if party.behind is None or message.root is None:
        raise GatewayError(OUR_MISTAKE, "nothing can be acknowledged behind the gateway", agreement.kind)
    contents = {part.content_id: part.content for part in message.parts[1:]}
    signed = verify_message_signature(deepcopy(message.root), contents, STRICT)
    receipt = Receipt(
        message_id=party.make_message_id(),
        conversation_id=message.conversation,
        sender=pmode.receiver,
        receiver=pmode.sender,
        agreement=pmode.agreement,
        timestamp=at,
        ref_to_message_id=message.message_id,
        received_at=at,
        references=tuple(to_model_reference(reference) for reference in signed.references),
    )
    tree = build_envelope_tree((receipt,))
    sign_message(tree, {}, party.behind)
    return HttpReply(200, _TEXT_XML, serialize_element(tree))


def _open_message(replier: Replier, message: ReceivedMessage) -> OpenedMessage:
    headers = {
        "Content-Type": message.headers.get("content-type", ""),
        "SOAPAction": message.headers.get("soapaction", ""),
    }
    context = replier.party.build_context(replier.kind)
    return EBMS2.open_units(Parcel(headers, MemoryBody(message.body)), context)


def _make_receipt(replier: Replier, message: ReceivedMessage) -> Receipt:
    context = replier.party.build_context(replier.kind)
    return EBMS2.make_receipt(_open_message(replier, message), context)


def _write_signal(
    replier: Replier, signal: Receipt | ErrorSignal, signer: Signer | None = None, *, is_signed: bool = True
) -> HttpReply:
    """Return a signal as HTTP answer, signed by the suite unless told otherwise."""
    tree = build_envelope_tree((signal,))
    if is_signed:
        default_signer = replier.party.agreements[replier.kind].membership.identity.signer
        sign_message(tree, {}, signer or default_signer)
    return HttpReply(200, _TEXT_XML, serialize_element(tree))


def _send_signal(replier: Replier, reply: HttpReply, seconds: float = 0.0) -> HttpReply:
    """Send a signal by the way that was agreed: on this connection, or by a POST of its own."""
    agreement = replier.party.agreements[replier.kind]
    modes = {pmode.sync_reply_mode for pmode in agreement.find_receiving_pmodes()}
    if modes & {"mshSignalsOnly", "signalsOnly", "signalsAndResponse"} and not seconds:
        return reply
    headers = {"Content-Type": reply.content_type, "SOAPAction": SOAP_ACTION}

    def post_signal() -> None:
        time.sleep(seconds)
        replier.post(HttpRequest("ebms2", headers, reply.body))

    threading.Thread(target=post_signal, daemon=True).start()
    return HttpReply(204)


def _reply_acknowledgment(replier: Replier, message: ReceivedMessage) -> HttpReply:
    context = replier.party.build_context(replier.kind)
    opened = _open_message(replier, message)
    receipt = EBMS2.make_receipt(opened, context)
    ack_request = getattr(opened.unit, "ack_requested", None)
    if ack_request is None:
        return HttpReply(204)
    return _send_signal(replier, _write_signal(replier, receipt, is_signed=ack_request.signed))


def _reply_late_acknowledgment(replier: Replier, message: ReceivedMessage) -> HttpReply:
    pmodes = replier.party.agreements[replier.kind].find_receiving_pmodes()
    seconds = pmodes[0].reliability.retry_interval * _LATE
    return _send_signal(replier, _write_signal(replier, _make_receipt(replier, message)), seconds)


def _reply_wrong_digests(replier: Replier, message: ReceivedMessage) -> HttpReply:
    good = _make_receipt(replier, message)
    references = tuple(
        replace(reference, digest=bytes(reversed(reference.digest))) for reference in good.references
    )
    return _send_signal(replier, _write_signal(replier, replace(good, references=references)))


def _reply_missing_digests(replier: Replier, message: ReceivedMessage) -> HttpReply:
    good = _make_receipt(replier, message)
    return _send_signal(replier, _write_signal(replier, replace(good, references=good.references[:1])))


def _reply_unsigned_acknowledgment(replier: Replier, message: ReceivedMessage) -> HttpReply:
    return _send_signal(replier, _write_signal(replier, _make_receipt(replier, message), is_signed=False))


def _reply_stranger_acknowledgment(replier: Replier, message: ReceivedMessage) -> HttpReply:
    signer = make_stranger(replier.party.get_current_time().year).signer
    return _send_signal(replier, _write_signal(replier, _make_receipt(replier, message), signer))


def _reply_other_message(replier: Replier, message: ReceivedMessage) -> HttpReply:
    receipt = replace(_make_receipt(replier, message), ref_to_message_id=replier.party.make_message_id())
    return _send_signal(replier, _write_signal(replier, receipt))


def _make_error(replier: Replier, message: ReceivedMessage, code: str, severity: str) -> ErrorSignal:
    receipt = _make_receipt(replier, message)
    return ErrorSignal(
        message_id=receipt.message_id,
        conversation_id=receipt.conversation_id,
        sender=receipt.sender,
        receiver=receipt.receiver,
        agreement=receipt.agreement,
        timestamp=receipt.timestamp,
        ref_to_message_id=receipt.ref_to_message_id,
        errors=(ErrorEntry(code, severity, "", "made by the suite"),),
    )


def _reply_error(replier: Replier, message: ReceivedMessage) -> HttpReply:
    return _send_signal(
        replier, _write_signal(replier, _make_error(replier, message, "ValueNotRecognized", "Error"))
    )


def _reply_warning(replier: Replier, message: ReceivedMessage) -> HttpReply:
    return _send_signal(replier, _write_signal(replier, _make_error(replier, message, "Unknown", "Warning")))


def _make_fault_reply(code: str) -> Callable[[Replier, ReceivedMessage], HttpReply]:
    octets = write_fault_envelope(SoapFault(code, "made by the suite"))
    return lambda _, __: HttpReply(500, _TEXT_XML, octets)


_REPLIES: Final[Mapping[str, Callable[[Replier, ReceivedMessage], HttpReply]]] = {
    "ack": _reply_acknowledgment,
    "late-ack": _reply_late_acknowledgment,
    "wrong-digests": _reply_wrong_digests,
    "missing-digests": _reply_missing_digests,
    "unsigned-ack": _reply_unsigned_acknowledgment,
    "stranger-ack": _reply_stranger_acknowledgment,
    "other-ack": _reply_other_message,
    "error": _reply_error,
    "warning": _reply_warning,
    "server-fault": _make_fault_reply("Server"),
    "client-fault": _make_fault_reply("Client"),
    "close": lambda _, __: HttpReply(closes_connection=True),
    "garbage": lambda _, __: HttpReply(200, _TEXT_XML, b"<soap:Envelope>\xff</nothing>"),
    "empty": lambda _, __: HttpReply(200, _TEXT_XML, b""),
}


_NOTHING: Final = HttpReply(204)


@dataclass(frozen=True)
class Arrival:
    """A message of the gateway at the suite, the time of its arrival, and the answer of the suite."""

    message: ReceivedMessage
    at: float
    reply: HttpReply


#: Answers a message of the gateway: gets the message, and how many came before it in the conversation.
ReplyMaker = Callable[[ReceivedMessage, int], HttpReply]


@dataclass
class Inbox:
    """The messages that have arrived for one conversation; `answer` replies to each, by default as agreed."""

    conversation: str
    log: ExchangeLog
    answer: ReplyMaker | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(
        self, is_wanted: Callable[[ReceivedMessage], bool], seconds: float, count: int = 1
    ) -> list[Arrival]:
        """Return the arrivals that are wanted, as soon as there are `count`, or when the time is over."""

        def find_arrivals() -> list[Arrival]:
            return [arrival for arrival in self.arrivals if is_wanted(arrival.message)]

        with self.changed:
            self.changed.wait_for(lambda: len(find_arrivals()) >= count, seconds)
            return find_arrivals()


class CallbackListener:
    """An HTTP server at the endpoint of the suite in its agreements."""

    def __init__(
        self, party: SuiteParty, post: Callable[[HttpRequest], Any], address: str | None = None
    ) -> None:
        """Listen from now on at HOST:PORT, by default that of the endpoint in the agreements; raise GW808.

        `post` sends the signals that, by the agreement, the suite sends by a POST of its own.
        """
        self._party = party
        self._post = post
        self._kinds = {
            urlsplit(agreement.endpoint or "").path: kind
            for kind, agreement in party.agreements.items()
            if agreement.endpoint
        }
        self._boxes: dict[str, Inbox] = {}
        self._lock = threading.Lock()
        self._server = PartnerServer(self._serve_request, *_choose_listening_address(party, address))
        self.port = self._server.port

    def start(self) -> None:
        """Start to answer."""
        self._server.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    def open_inbox(self, conversation: str, log: ExchangeLog) -> Inbox:
        """Return a new inbox for the messages of a conversation."""
        inbox = Inbox(conversation, log)
        with self._lock:
            self._boxes[conversation] = inbox
        return inbox

    def add_conversation(self, conversation: str, inbox: Inbox) -> None:
        """Give the messages of a further conversation to an inbox."""
        with self._lock:
            self._boxes[conversation] = inbox

    def _serve_request(self, request: IncomingRequest) -> HttpReply:
        message = ReceivedMessage(CALLBACK, None, request.headers, request.body, request.path)
        with self._lock:
            inbox = self._boxes.get(message.conversation)
        if inbox is None:
            return self.answer_message(message)
        with inbox.changed:
            before = len(inbox.arrivals)
        reply = inbox.answer(message, before) if inbox.answer else self.answer_message(message)
        sent = record_message(f"POST {request.path} HTTP/1.1", request.headers, request.body)
        inbox.log.add_exchange(sent, _record_reply(reply), to_gateway=False)
        with inbox.changed:
            inbox.arrivals.append(Arrival(message, time.monotonic(), reply))
            inbox.changed.notify_all()
        return reply

    def answer_message(self, message: ReceivedMessage) -> HttpReply:
        """Return the answer that was agreed: an Acknowledgment of a business message, else nothing."""
        kind = self._kinds.get(message.path.partition("?")[0], "")
        if not kind or find_text(message.root, "//eb:MessageHeader/eb:Service").endswith("ebxml-msg:service"):
            return _NOTHING
        try:
            return make_attempt_reply(Replier(self._party, kind, self._post), "ack", message)
        except GatewayError:
            return _NOTHING


def _choose_listening_address(party: SuiteParty, address: str | None) -> tuple[str, int]:
    if address is None:
        ends = (urlsplit(agreement.endpoint or "") for agreement in party.agreements.values())
        end = next((candidate for candidate in ends if candidate.hostname), None)
        if end is None:
            return "127.0.0.1", 0
        default_port = 443 if end.scheme == "https" else 80
        return end.hostname or "127.0.0.1", default_port if end.port is None else end.port
    return parse_listening_address(address)


def _record_reply(reply: HttpReply) -> RecordedMessage | None:
    if reply.closes_connection:
        return None
    headers = dict(reply.headers)
    if reply.body:
        headers["Content-Type"] = reply.content_type
    return record_message(f"HTTP/1.1 {reply.status}", headers, reply.body)

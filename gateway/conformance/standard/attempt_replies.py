"""What the suite answers to an attempt of the tested gateway: the agreed Acknowledgment, or a wrong one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from gateway.conformance.hostile import HttpRequest
from gateway.conformance.partners import EBMS2, HttpReply
from gateway.conformance.standard.received_message import ReceivedMessage
from gateway.conformance.standard.suite_party import SuiteParty
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import ErrorEntry, ErrorSignal, MemoryBody, Receipt
from gateway.pki import CertificateOrder, Signer, issue_certificate, make_authority
from gateway.protocols import SOAP_ACTION, OpenedMessage, Parcel, build_envelope_tree, to_model_reference
from gateway.wire import SoapFault, serialize_element, write_fault_envelope
from gateway.xmlsec import STRICT, sign_message, verify_message_signature

__all__ = ["Replier", "make_attempt_reply", "make_end_acknowledgment", "make_stranger_signer"]

_TEXT_XML: Final = "text/xml; charset=UTF-8"
#: A late Acknowledgment comes after this share of the interval.
_LATE: Final = 0.5


@dataclass(frozen=True)
class Replier:
    """The suite as it answers under one kind of agreement; `post` sends a signal by a POST of its own."""

    party: SuiteParty
    kind: str
    post: Callable[[HttpRequest], Any]


@cache
def make_stranger_signer(year: int) -> Signer:
    """Return a key that nobody knows, with a certificate of another authority valid in that year."""
    at = datetime.fromisoformat(f"{year}-01-01T00:00:00Z")
    authority = make_authority("CN=Somebody else", at - timedelta(days=1))
    return issue_certificate(
        authority, "CN=Conformance suite,O=Conformance suite", at, CertificateOrder(days=730)
    ).signer


def make_attempt_reply(replier: Replier, name: str, message: ReceivedMessage) -> HttpReply:
    """Return the answer of that name: an HTTP status, or a word of this module; raise GW901 for another."""
    if name.isdigit():
        return HttpReply(int(name), "text/plain", b"" if name == "204" else b"the suite says so\n")
    if name not in _REPLIES:
        raise GatewayError(OUR_MISTAKE, f"there is no reply {name!r}", replier.kind)
    return _REPLIES[name](replier, message)


def make_end_acknowledgment(party: SuiteParty, message: ReceivedMessage) -> HttpReply:
    """Return the Acknowledgment of the party behind an intermediary: signed by that party, to the sender."""
    agreement = party.agreements["passing"]
    pmode, at = agreement.pmodes[0], party.get_current_time()
    if party.behind is None or message.root is None:
        raise GatewayError(OUR_MISTAKE, "nothing can be acknowledged behind the gateway", agreement.kind)
    contents = {one.content_id: one.content for one in message.parts[1:]}
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
        references=tuple(to_model_reference(one) for one in signed.references),
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
    return EBMS2.open(Parcel(headers, MemoryBody(message.body)), context)


def _make_receipt(replier: Replier, message: ReceivedMessage) -> Receipt:
    context = replier.party.build_context(replier.kind)
    return EBMS2.make_receipt(_open_message(replier, message), context)


def _write_signal(
    replier: Replier, signal: Receipt | ErrorSignal, signer: Signer | None = None, *, signed: bool = True
) -> HttpReply:
    """Return a signal as HTTP answer, signed by the suite unless told otherwise."""
    tree = build_envelope_tree((signal,))
    if signed:
        own = replier.party.agreements[replier.kind].membership.identity.signer
        sign_message(tree, {}, signer or own)
    return HttpReply(200, _TEXT_XML, serialize_element(tree))


def _send_signal(replier: Replier, reply: HttpReply, seconds: float = 0.0) -> HttpReply:
    """Send a signal by the way that was agreed: on this connection, or by a POST of its own."""
    agreement = replier.party.agreements[replier.kind]
    modes = {one.sync_reply_mode for one in agreement.find_receiving_pmodes()}
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
    asked = getattr(opened.unit, "ack_requested", None)
    if asked is None:
        return HttpReply(204)
    return _send_signal(replier, _write_signal(replier, receipt, signed=asked.signed))


def _reply_late(replier: Replier, message: ReceivedMessage) -> HttpReply:
    pmodes = replier.party.agreements[replier.kind].find_receiving_pmodes()
    seconds = pmodes[0].reliability.retry_interval * _LATE
    return _send_signal(replier, _write_signal(replier, _make_receipt(replier, message)), seconds)


def _reply_wrong_digests(replier: Replier, message: ReceivedMessage) -> HttpReply:
    good = _make_receipt(replier, message)
    references = tuple(replace(one, digest=bytes(reversed(one.digest))) for one in good.references)
    return _send_signal(replier, _write_signal(replier, replace(good, references=references)))


def _reply_missing_digests(replier: Replier, message: ReceivedMessage) -> HttpReply:
    good = _make_receipt(replier, message)
    return _send_signal(replier, _write_signal(replier, replace(good, references=good.references[:1])))


def _reply_unsigned(replier: Replier, message: ReceivedMessage) -> HttpReply:
    return _send_signal(replier, _write_signal(replier, _make_receipt(replier, message), signed=False))


def _reply_stranger(replier: Replier, message: ReceivedMessage) -> HttpReply:
    signer = make_stranger_signer(replier.party.get_current_time().year)
    return _send_signal(replier, _write_signal(replier, _make_receipt(replier, message), signer))


def _reply_other_message(replier: Replier, message: ReceivedMessage) -> HttpReply:
    other = replace(_make_receipt(replier, message), ref_to_message_id=replier.party.make_message_id())
    return _send_signal(replier, _write_signal(replier, other))


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


def _reply_fault(code: str) -> Callable[[Replier, ReceivedMessage], HttpReply]:
    octets = write_fault_envelope(SoapFault(code, "made by the suite"))
    return lambda _, __: HttpReply(500, _TEXT_XML, octets)


_REPLIES: Final[Mapping[str, Callable[[Replier, ReceivedMessage], HttpReply]]] = {
    "ack": _reply_acknowledgment,
    "late-ack": _reply_late,
    "wrong-digests": _reply_wrong_digests,
    "missing-digests": _reply_missing_digests,
    "unsigned-ack": _reply_unsigned,
    "stranger-ack": _reply_stranger,
    "other-ack": _reply_other_message,
    "error": _reply_error,
    "warning": _reply_warning,
    "server-fault": _reply_fault("Server"),
    "client-fault": _reply_fault("Client"),
    "close": lambda _, __: HttpReply(closes=True),
    "garbage": lambda _, __: HttpReply(200, _TEXT_XML, b"<soap:Envelope>\xff</nothing>"),
    "empty": lambda _, __: HttpReply(200, _TEXT_XML, b""),
}

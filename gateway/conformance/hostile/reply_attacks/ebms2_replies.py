"""Hostile answers to an ebMS 2.0 message: invalid receipts and errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lxml import etree

from gateway.conformance.hostile.octet_mutations import prepend_prolog
from gateway.conformance.hostile.reply_attacks.reply_server import (
    ReplyBehavior,
    ReplyConnection,
    ReplyRow,
    ReplyScenario,
    make_reply_scenarios,
    play_behavior,
    send_changed_octets,
)
from gateway.conformance.partners import EBMS2, HttpReply, IncomingRequest
from gateway.errors import SIGNATURE_INVALID, GatewayError
from gateway.message_model import MemoryBody, Receipt, Unit
from gateway.pki import Signer
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext
from gateway.wire import DS

__all__ = ["EBMS2_REPLIES", "BrokerReplyForger"]

_ELSEWHERE: Final = "earlier@else.suite.invalid"


@dataclass
class BrokerReplyForger:
    """Makes a message handler's answers, signed with its own key, or as `stranger` or `other` party."""

    context: Callable[[], ProtocolContext]
    other: Signer
    stranger: Signer
    history: dict[str, HttpReply] = field(default_factory=dict)
    face: str = "ebms2"

    def open_message(self, request: IncomingRequest) -> OpenedMessage:
        """Return the verified message that was sent; raises GatewayError."""
        kept = {"Content-Type": "content-type", "SOAPAction": "soapaction"}
        headers = {name: request.headers.get(key, "") for name, key in kept.items()}
        return EBMS2.open(Parcel(headers, MemoryBody(request.body)), self.context())

    def make_honest_reply(self, request: IncomingRequest) -> HttpReply:
        """Return the signed receipt of a message."""
        opened = self.open_message(request)
        reply = self.seal_signal(EBMS2.make_receipt(opened, self.context()), opened)
        self.history[opened.unit.message_id] = reply
        return reply

    def seal_signal(self, unit: Unit, opened: OpenedMessage, signer: Signer | None = None) -> HttpReply:
        """Return a signal as the answer to a message."""
        context = self.context()
        if signer is not None:
            context = replace(context, keys=dict.fromkeys(context.keys, signer))
        parcel = EBMS2.seal((unit,), opened.pmode, context)
        return HttpReply(200, parcel.get_header("Content-Type"), parcel.read_octets())


def _get_broker_forger(there: ReplyConnection) -> BrokerReplyForger:
    if not isinstance(there.forger, BrokerReplyForger):
        raise TypeError("this play is for a message handler")
    return there.forger


def _send_changed_receipt(change: Callable[[Receipt], Unit], by: str = "") -> ReplyBehavior:
    """Return the behaviour that changes the receipt and signs it as partner, `other` or `stranger`."""

    def run_scenario(there: ReplyConnection) -> None:
        forger = _get_broker_forger(there)
        opened = forger.open_message(there.request)
        unit = change(EBMS2.make_receipt(opened, forger.context()))
        there.send_reply(forger.seal_signal(unit, opened, getattr(forger, by) if by else None))

    return run_scenario


def _change_receipt(**fields: Any) -> ReplyBehavior:
    return _send_changed_receipt(lambda receipt: replace(receipt, **fields))


def _remove_signatures(octets: bytes) -> bytes:
    root = etree.fromstring(octets)
    for one in list(root.iter(f"{{{DS}}}Signature")):
        one.getparent().remove(one)  # type: ignore[union-attr]
    return etree.tostring(root)


def _replay_earlier_receipt(there: ReplyConnection) -> None:
    """Answer with the earlier receipt of another message."""
    forger = _get_broker_forger(there)
    here = forger.open_message(there.request).unit.message_id
    earlier = [reply for name, reply in forger.history.items() if name != here]
    if earlier:
        there.send_reply(earlier[-1])
    else:
        _change_receipt(ref_to_message_id=_ELSEWHERE)(there)


def _make_error_reply(there: ReplyConnection, about: str = "") -> HttpReply:
    """Return a signed MessageError about what was sent, or about another message."""
    forger = _get_broker_forger(there)
    opened = forger.open_message(there.request)
    problem = GatewayError(SIGNATURE_INVALID, "the digest differs", "eb:Body")
    unit = EBMS2.make_error_signal(problem, opened.unit, forger.context())
    if unit is None:
        raise LookupError("there is no such error")
    return forger.seal_signal(replace(unit, ref_to_message_id=about or unit.ref_to_message_id), opened)


def _send_signed_error(about: str = "") -> ReplyBehavior:
    return lambda there: there.send_reply(_make_error_reply(there, about))


def _send_unsigned_error(there: ReplyConnection) -> None:
    reply = _make_error_reply(there)
    there.send_reply(replace(reply, body=_remove_signatures(reply.body)))


def _reflect_message(there: ReplyConnection) -> None:
    there.send_reply(HttpReply(200, there.request.headers.get("content-type", ""), there.request.body))


def _send_many_parts(there: ReplyConnection) -> None:
    parts = b"--b\r\n\r\n\r\n" * 20_000 + b"--b--\r\n"
    there.send_reply(HttpReply(200, 'multipart/related; boundary=b; type="text/xml"', parts))


def _replace_first_digest(unit: Receipt) -> Unit:
    first = replace(unit.references[0], digest=bytes(len(unit.references[0].digest)))
    return replace(unit, references=(first, *unit.references[1:]))


# fmt: off
_REPLIES: Final[tuple[ReplyRow[ReplyBehavior], ...]] = (
    ("REP-07.unsigned-receipt", "the receipt without its signature", send_changed_octets(_remove_signatures)),
    ("REP-07.receipt-by-a-stranger", "a receipt by another authority's certificate",
     _send_changed_receipt(replace, "stranger")),
    ("REP-07.receipt-by-another-party", "a receipt by another party",
     _send_changed_receipt(replace, "other")),
    ("REP-07.receipt-of-another-message", "a receipt that names another message",
     _change_receipt(ref_to_message_id=_ELSEWHERE)),
    ("REP-07.receipt-of-other-octets", "a receipt with another digest",
     _send_changed_receipt(_replace_first_digest)),
    ("REP-07.receipt-of-nothing", "a receipt without digests", _change_receipt(references=())),
    ("REP-07.replayed-receipt", "the receipt of another message, as it was given", _replay_earlier_receipt),
    ("REP-07.unsigned-error", "an error that nobody signed", _send_unsigned_error),
    ("REP-07.error-of-another-message", "an error about another message", _send_signed_error(_ELSEWHERE)),
    ("APP-08.mirrored-message", "our own message, sent back", _reflect_message),
    ("DOS-08.many-parts", "an answer of 20,000 empty parts", _send_many_parts),
    ("DOS-01.laughing-receipt", "a receipt with a document type",
     send_changed_octets(prepend_prolog(lambda: b"<!DOCTYPE x>"))),
)

EBMS2_REPLIES: Final[tuple[ReplyScenario, ...]] = (
    *make_reply_scenarios("", _REPLIES, play_behavior, {"ebms2": "GW603"}, "security.md"),
    ReplyScenario("REP-07.signed-error",
     "the partner's own error: the delivery ends, the message is not acknowledged", "ebMS 2.0 §4.2.3",
     {"ebms2": "GW602"}, _send_signed_error()),
)
# fmt: on

"""Whether an answer proves that the gateway took what was sent.

A status 200 proves nothing: a proxy, or a gateway that believes everybody, says it too.  A
message is taken when the gateway's signed Acknowledgment names it and repeats its digests,
a call when the gateway's signed answer relates to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.conformance.handler import EBMS2
from gateway.conformance.hostile.case import Answer, Post, Step
from gateway.conformance.hub_answers import read_hub_answer
from gateway.errors import RECEIPT_MISMATCH, GatewayError
from gateway.model import Octets, Receipt, UserMessage
from gateway.protocols import Parcel, Sent
from gateway.wire.addressing import read_addressing
from gateway.wire.prescan import DEFAULT_LIMITS
from gateway.wire.soap import read_envelope
from gateway.wire.xml import parse_xml

if TYPE_CHECKING:
    from gateway.conformance.hostile.bench import Bench

__all__ = ["unproved"]


def unproved(bench: Bench, step: Step, answer: Answer) -> str:
    """Return why an answer that refuses nothing does not prove that the step was taken, "" when it does.

    What asks for no proof (a signal, a message without AckRequested, octets that are no
    message) needs none.
    """
    if not isinstance(step, Post):
        return ""
    try:
        if step.face == "soap":
            _check_answer(bench, step, answer)
        else:
            _check_receipt(bench, step, answer)
    except GatewayError as wrong:
        return f"answered without proof: {str(wrong)[:200]}"
    return ""


def _check_receipt(bench: Bench, step: Post, answer: Answer) -> None:
    sent = _sent(step)
    if sent is None:
        return
    member = next((one for one, known in bench.members.items() if sent.unit.sender.ids[0] in known.ours), "")
    if not member:
        return
    opened = EBMS2.open(_parcel(answer.headers, answer.body), bench.context(member), sent)
    if not any(isinstance(one, Receipt) for one in opened.units):
        raise GatewayError(RECEIPT_MISMATCH, "no Acknowledgment", "/soap:Envelope/soap:Header")


def _sent(step: Post) -> Sent | None:
    """Return the message of a step that asks for an Acknowledgment, None for what does not."""
    try:
        sent = EBMS2.sent(_parcel(step.headers, step.body), DEFAULT_LIMITS)
    except GatewayError:
        return None
    asks = isinstance(sent.unit, UserMessage) and sent.unit.ack_requested is not None
    return sent if asks else None


def _parcel(headers: Mapping[str, str], body: bytes) -> Parcel:
    return Parcel(headers, Octets(body))


def _check_answer(bench: Bench, step: Post, answer: Answer) -> None:
    try:
        header = read_envelope(parse_xml(step.body)).header
        asked = read_addressing(header).message_id if header is not None else ""
    except GatewayError:
        return
    read_hub_answer(answer.body, asked, bench.members["a"].identity, bench.now())

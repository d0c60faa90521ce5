"""Whether an answer proves that the gateway took what was sent.

A status 200 proves nothing: a proxy, or a gateway that believes everybody, says it too.  A
message is taken when the gateway's signed Acknowledgment names it and repeats its digests,
a call when the gateway's signed answer relates to it.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import Answer, HttpRequest, Step
from gateway.conformance.partners.hub_answers import read_hub_answer
from gateway.conformance.partners.message_handler import EBMS2
from gateway.errors import RECEIPT_MISMATCH, GatewayError
from gateway.message_model import MemoryBody, Receipt, UserMessage
from gateway.protocols import Parcel, SentUnit
from gateway.wire.addressing import read_addressing
from gateway.wire.soap import read_envelope
from gateway.wire.xml import parse_xml
from gateway.wire.xml_prescan import DEFAULT_LIMITS

__all__ = ["explain_missing_proof"]


def explain_missing_proof(bench: AttackerKit, step: Step, answer: Answer) -> str:
    """Return why an answer that refuses nothing does not prove that the step was taken, "" when it does.

    What asks for no proof (a signal, a message without AckRequested, octets that are no
    message) needs none.
    """
    if not isinstance(step, HttpRequest):
        return ""
    try:
        if step.face == "soap":
            _verify_answer(bench, step, answer)
        else:
            _verify_receipt(bench, step, answer)
    except GatewayError as wrong:
        return f"answered without proof: {str(wrong)[:200]}"
    return ""


def _verify_receipt(bench: AttackerKit, step: HttpRequest, answer: Answer) -> None:
    sent = _read_sent_message(step)
    if sent is None:
        return
    member = next((one for one, known in bench.members.items() if sent.unit.sender.ids[0] in known.ours), "")
    if not member:
        return
    opened = EBMS2.open(_make_parcel(answer.headers, answer.body), bench.build_context(member), sent)
    if not any(isinstance(one, Receipt) for one in opened.units):
        raise GatewayError(RECEIPT_MISMATCH, "no Acknowledgment", "/soap:Envelope/soap:Header")


def _read_sent_message(step: HttpRequest) -> SentUnit | None:
    """Return the message of a step that asks for an Acknowledgment, None for what does not."""
    try:
        sent = EBMS2.read_sent_unit(_make_parcel(step.headers, step.body), DEFAULT_LIMITS)
    except GatewayError:
        return None
    asks = isinstance(sent.unit, UserMessage) and sent.unit.ack_requested is not None
    return sent if asks else None


def _make_parcel(headers: Mapping[str, str], body: bytes) -> Parcel:
    return Parcel(headers, MemoryBody(body))


def _verify_answer(bench: AttackerKit, step: HttpRequest, answer: Answer) -> None:
    try:
        header = read_envelope(parse_xml(step.body)).header
        asked = read_addressing(header).message_id if header is not None else ""
    except GatewayError:
        return
    read_hub_answer(answer.body, asked, bench.members["a"].identity, bench.get_current_time())

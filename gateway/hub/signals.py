"""Signals between handlers: what is asked of us is answered, what answers us is settled."""

from __future__ import annotations

from gateway.errors import REFUSED_FOR_GOOD, GatewayError
from gateway.evidence.log import record
from gateway.hub import relay
from gateway.hub.hub import Hub
from gateway.model import ErrorSignal, Receipt, StatusRequest, StatusResponse
from gateway.protocols import Context, Opened, Protocol
from gateway.store import deliveries, messages, upkeep
from gateway.store.engine import reading, transaction

__all__ = ["conclude", "refusal", "settle", "status"]

#: What became of a stored message, in the words of ebMS 2.0 §7.1.2.
_STATUS = {
    "RECEIVED": "Received",
    "ACCEPTED": "Received",
    "FAILED": "Received",
    "PROCESSED": "Processed",
    "REFUSED": "UnAuthorized",
}


def status(
    hub: Hub, protocol: Protocol, unit: StatusRequest, heard: tuple[Opened, Context]
) -> StatusResponse:
    """Answer a StatusRequest; a party is told of its own messages only.

    Where it has to be signed, one that is not is `UnAuthorized` whatever it asks about: who
    has seen a MessageId, or guesses one, learns nothing by it.
    """
    opened, context = heard
    if opened.signed is None and (opened.pmode is None or opened.pmode.security.asks_signed):
        return protocol.status_response(unit, "UnAuthorized", None, context)
    with reading(hub.engine) as conn:
        row = messages.find(conn, "in", context.party(unit.sender), unit.about)
    if row is None:
        return protocol.status_response(unit, "NotRecognized", None, context)
    word = _STATUS[row.state]
    return protocol.status_response(unit, word, None if word == "UnAuthorized" else row.received_at, context)


def settle(hub: Hub, protocol: Protocol, opened: Opened, context: Context) -> None:
    """Apply the receipts and errors among the units to the deliveries that they are about.

    One that is about nothing of ours, or about something settled before, changes nothing
    and is not answered (ebMS 2.0 §4.2.4.3, §6.3.2.7); one that does not match raises GW309.
    """
    for unit in opened.units:
        if isinstance(unit, Receipt | ErrorSignal) and _weighs(unit, opened):
            _settle(hub, protocol, unit, (opened, context))


def _settle(hub: Hub, protocol: Protocol, unit: Receipt | ErrorSignal, heard: tuple[Opened, Context]) -> None:
    opened, context = heard
    about = unit.ref_to_message_id
    if about is None:
        return
    with reading(hub.engine) as conn:
        delivery = deliveries.by_wire_id(conn, about)
        message = messages.find(conn, "out", hub.party, about)
        if delivery is None or message is None or delivery.destination != context.party(unit.sender):
            return
        parcel = hub.parcel(*messages.parcel_of(conn, message.id))
    protocol.check_answer(opened, protocol.sent(parcel, context.limits))
    conclude(hub, delivery.id, unit, (opened, context))


def conclude(hub: Hub, delivery: int, unit: Receipt | ErrorSignal, heard: tuple[Opened, Context]) -> None:
    """Store that a delivery was acknowledged, or refused by the other handler."""
    opened, context = heard
    problem = refusal(unit)
    with transaction(hub.engine, "signals.settled") as conn:
        case = relay.lock_case_of(conn, delivery)
        if not upkeep.settle(conn, delivery, context.now, "receive", problem.problem.id if problem else None):
            return
        kind = "NRR" if problem is None else "refusal"
        data = {
            "message_id": unit.message_id,
            "about": unit.ref_to_message_id or "",
            "detail": problem.detail if problem else "",
        }
        record(conn, kind, "delivery", delivery, opened.identity, data, context.now)
        relay.close_when_done(conn, case, context.now)


def _weighs(unit: Receipt | ErrorSignal, opened: Opened) -> bool:
    """Tell whether a signal that came by itself may end a delivery.

    A warning ends nothing.  Nor does an error that nobody signed: anyone may have sent it,
    and the delivery is repeated until its P-Mode says it is enough.
    """
    return isinstance(unit, Receipt) or (opened.signed is not None and unit.severity == "Error")


def refusal(unit: Receipt | ErrorSignal) -> GatewayError | None:
    """Return the problem that an ErrorList is; None for a receipt."""
    if isinstance(unit, Receipt):
        return None
    worst = next((entry for entry in unit.errors if entry.severity == "Error"), unit.errors[0])
    return GatewayError(REFUSED_FOR_GOOD, f"{worst.code}: {worst.description[:200]}", worst.location)

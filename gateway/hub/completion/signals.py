"""Answers StatusRequests and applies receipts and errors to the deliveries that they refer to."""

from __future__ import annotations

import logging
from datetime import datetime

from sqlalchemy import Connection

from gateway.errors import GatewayError
from gateway.evidence import record_evidence
from gateway.hub.completion.case_closing import closing_transaction
from gateway.hub.hub import Hub
from gateway.hub.outbox import end_failed_fragment
from gateway.hub.register import RegisterSnapshot
from gateway.message_model import ErrorSignal, Receipt, StatusRequest, StatusResponse
from gateway.protocols import OpenedMessage, ProtocolContext, ProtocolCore, make_refusal_error
from gateway.store import (
    AttemptOutcome,
    DeliveryLease,
    cases,
    deliveries,
    delivery_leases,
    delivery_maintenance,
    make_attempt_outcome,
    messages,
    ordered_deliveries,
    read_transaction,
    sent_groups,
)

__all__ = ["answer_status_request", "settle_delivery", "settle_signals"]

_log = logging.getLogger(__name__)

#: The status of a stored message, as ebMS 2.0 §7.1.2 names it.
_STATUS = {
    "RECEIVED": "Received",
    "ACCEPTED": "Received",
    "FAILED": "Received",
    "PROCESSED": "Processed",
    "REFUSED": "UnAuthorized",
}


def answer_status_request(
    hub: Hub, protocol: ProtocolCore, unit: StatusRequest, heard: tuple[OpenedMessage, ProtocolContext]
) -> StatusResponse:
    """Answer a StatusRequest; a party learns the status of its own messages only.

    Where a StatusRequest must be signed, an unsigned one is answered `UnAuthorized` for every
    MessageId. A sender who has seen or guessed a MessageId learns nothing from that. Outside of any
    agreement a party learns only of what was passed on for it.
    """
    opened, context = heard
    if opened.signed is None and (opened.pmode is None or opened.pmode.security.needs_signed_status):
        return protocol.make_status_response(unit, "UnAuthorized", None, context)
    with read_transaction(hub.engine, promises=True) as conn:
        row = messages.find_by_message_id(conn, "in", context.get_party_name(unit.sender), unit.about)
    passing = row is not None and row.to_party != hub.party
    if row is None or not (passing or opened.pmode is not None):
        return protocol.make_status_response(unit, "NotRecognized", None, context)
    word = "Forwarded" if passing and row.state == "PROCESSED" else _STATUS[row.state]
    return protocol.make_status_response(
        unit, word, None if word == "UnAuthorized" else row.received_at, context
    )


def settle_signals(hub: Hub, protocol: ProtocolCore, opened: OpenedMessage, context: ProtocolContext) -> None:
    """Apply the receipts and errors among the units to the deliveries that they refer to.

    A signal that refers to no delivery of ours, or to one that is settled already, changes nothing
    and is not answered (ebMS 2.0 §4.2.4.3, §6.3.2.7). A receipt that does not match raises GW309.
    """
    for unit in opened.units:
        if isinstance(unit, Receipt | ErrorSignal) and _can_settle_delivery(unit, opened):
            _settle_signal(hub, protocol, unit, (opened, context))


def _settle_signal(
    hub: Hub,
    protocol: ProtocolCore,
    unit: Receipt | ErrorSignal,
    heard: tuple[OpenedMessage, ProtocolContext],
) -> None:
    opened, context = heard
    about = unit.ref_to_message_id
    if about is None:
        return
    with read_transaction(hub.engine) as conn:
        delivery = deliveries.find_by_wire_id(conn, about)
        message = messages.find_by_message_id(conn, "out", hub.party, about)
        if delivery is None or message is None or delivery.destination != context.get_party_name(unit.sender):
            return
        parcel = hub.make_parcel(*messages.open_parcel(conn, message.id))
    protocol.check_answer(opened, protocol.read_sent_header(parcel, context.limits))
    split = "split" in delivery.parameters
    settle_delivery(hub, (delivery.id, delivery.case_id), unit, (opened, context), split=split)


def settle_delivery(
    hub: Hub,
    about: tuple[int, int | None],
    unit: Receipt | ErrorSignal,
    heard: tuple[OpenedMessage, ProtocolContext],
    *,
    knowledge: RegisterSnapshot | None = None,
    lease: DeliveryLease | None = None,
    split: bool = False,
) -> None:
    """Store that the other handler acknowledged or refused a delivery; `about` is its id and its case.

    Raises StaleSnapshotError when the register is not that of `knowledge`, by which the signal was opened.
    `lease` is held by the attempt that the signal answers. `split` says that the message went in fragments.
    """
    opened, context = heard
    delivery, case_id = about
    problem = make_refusal_error(unit)
    closing = closing_transaction(hub.engine, "signals.settled", delivery, context.now, case_id=case_id)
    with closing as conn:
        if not _settle_lease(conn, lease, problem, context.now, knowledge):
            if knowledge is not None:
                hub.check_snapshot_current(conn, knowledge)
            if not delivery_maintenance.settle_receipt(
                conn, delivery, context.now, "receive", _make_refusal_outcome(problem)
            ):
                return
        kind = "NRR" if problem is None else "refusal"
        data = {
            "message_id": unit.message_id,
            "about": unit.ref_to_message_id or "",
            "detail": problem.detail if problem else "",
        }
        record_evidence(conn, kind, "delivery", delivery, opened.identity, data, context.now)
        if split:
            sent_groups.end_group(conn, delivery, context.now, receipted=problem is None)
        if problem is None:
            return
        row = deliveries.find_by_id(conn, delivery)
        if row is not None and "fragment" in row.parameters:
            end_failed_fragment(conn, row, problem, context.now)
        if row is not None and row.parameters.get("ordered"):
            ordered_deliveries.give_up_place(conn, delivery, context.now)
        case = cases.find_by_id(conn, row.case_id) if row is not None and row.case_id is not None else None
    if row is not None:
        of_case = "" if case is None else f" of case {case.number}"
        words = make_attempt_outcome(problem).theirs or problem.problem.title
        _log.error(
            "delivery %d%s to %s has FAILED: %s it refused the message; they said: %s",
            *(delivery, of_case, row.destination, problem.problem.id, words),
        )


def _settle_lease(
    conn: Connection,
    lease: DeliveryLease | None,
    problem: GatewayError | None,
    now: datetime,
    knowledge: RegisterSnapshot | None,
) -> bool:
    """End the lease of a receipted attempt in one statement; False where that is not how it stands."""
    if lease is None or problem is not None or knowledge is None:
        return False
    return delivery_leases.mark_receipted(conn, lease, now, "receive", register=knowledge.epoch)


def _make_refusal_outcome(problem: GatewayError | None) -> AttemptOutcome | None:
    """Return the refusal as an outcome, with the partner's words apart; None for a receipt."""
    if problem is None:
        return None
    ours = GatewayError(problem.problem, "it refused the message", theirs=problem.theirs)
    return make_attempt_outcome(ours)


def _can_settle_delivery(unit: Receipt | ErrorSignal, opened: OpenedMessage) -> bool:
    """Return whether a signal that arrived in a message of its own may end a delivery.

    A warning ends no delivery. An unsigned error ends none either, because anyone may have sent it;
    the delivery is then repeated as often as its P-Mode allows.
    """
    return isinstance(unit, Receipt) or (opened.signed is not None and unit.highest_severity == "Error")

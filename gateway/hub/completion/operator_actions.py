"""The operator's actions on deliveries; each action moves dependent objects and records evidence.

The functions have the parameters of the store functions: connection, delivery, time, actor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.errors import MISUSE, TRANSITION_REFUSED, GatewayError
from gateway.evidence import record_evidence, record_register_leaf
from gateway.hub.answers.case_progress import end_cancellation
from gateway.hub.completion import case_closing
from gateway.hub.completion.standing_demands import is_cancellation_open
from gateway.hub.fees.fee_ends import check_no_fee_gate
from gateway.hub.intake.message_order import (
    ConversationMessage,
    admit_late_message,
    check_conversation_limits,
)
from gateway.hub.outbox.outgoing_calls import CANCELLATION, CLEARANCE_NEWS
from gateway.hub.register.effective_pmodes import load_effective_pmodes
from gateway.hub.trust.fetch_sources import AGENT, FetchSource
from gateway.state_machines import DELIVERY
from gateway.store import (
    CaseRow,
    DeliveryRow,
    LaneBacklog,
    LaneRow,
    NewDelivery,
    StateEvent,
    agency_requests,
    agreements,
    cases,
    deliveries,
    fetched_lists,
    lanes,
    mailbox_messages,
    mapping_bundles,
    officer_work,
    ordered_deliveries,
    payloads,
)


def requeue_delivery(
    conn: Connection, delivery: int, at: datetime, actor: str, reason: str | None = None
) -> None:
    """Requeue a failed delivery with the same octets; a STRANDED request is resent by its application.

    A question whether its agency cancels it, or news of clearance, does not bring the application there.
    """
    case_closing.lock_delivery_case(conn, delivery)
    deliveries.requeue_delivery(conn, delivery, at, actor, why=reason)
    row = deliveries.find_by_id(conn, delivery)
    if row is not None and row.parameters.get("ordered"):
        ordered_deliveries.restore_position(conn, delivery, at)
    if row is not None and row.subject_type == "request":
        request = agency_requests.find_by_id(conn, int(row.subject_id))
        is_aside = row.parameters.get("operation") in (CANCELLATION, CLEARANCE_NEWS)
        if request is not None and request.state == "STRANDED" and not is_aside:
            agency_requests.apply_event(conn, request.id, StateEvent("resend", at, actor))
    _record_action(conn, "requeue", delivery, at, actor, reason)


@dataclass(frozen=True, slots=True)
class RenewedCall:
    """The call of a delivery as it is composed anew: its octets, and the digest of those that it replaces.

    `parameters` are those of the delivery from then on. `bundle_digest` is the digest of the mappings that
    wrote its document, where these are others than before, and `packed_bundle` their files where they are not
    stored.
    """

    delivery_id: int
    former_sha256: str
    octets: bytes
    parameters: Mapping[str, Any]
    bundle_digest: str | None = None
    packed_bundle: bytes | None = None


def replace_delivery_content(
    conn: Connection, call: RenewedCall, at: datetime, actor: str, reason: str | None = None
) -> None:
    """Let a delivery send its call as composed anew, and requeue the delivery if it has failed.

    The former octets stay as evidence of the refused call. Raises GW705 where the delivery has changed since
    the call was composed.
    """
    if call.bundle_digest is not None and call.packed_bundle is not None:
        mapping_bundles.store_bundle(conn, call.bundle_digest, call.packed_bundle, at)
    case_closing.lock_delivery_case(conn, call.delivery_id)
    digest = payloads.store_payload(conn, call.octets, at)
    if not deliveries.replace_waiting_content(
        conn, call.delivery_id, call.former_sha256, digest, call.parameters
    ):
        detail = f"delivery {call.delivery_id} has changed while its call was composed: run the verb again"
        raise GatewayError(TRANSITION_REFUSED, detail, "delivery")
    row = deliveries.find_by_id(conn, call.delivery_id)
    if row is not None and row.subject_type == "request":
        request = agency_requests.find_by_id(conn, int(row.subject_id))
        if request is not None and request.document_sha256 == call.former_sha256:
            agency_requests.set_sent_document(conn, request.id, digest)
        if request is not None and call.bundle_digest is not None:
            agency_requests.set_mappings(conn, request.id, call.bundle_digest)
    change = {"before": call.former_sha256, "after": digest}
    change |= {"mappings": call.bundle_digest} if call.bundle_digest is not None else {}
    act = _describe_act("compose", actor, reason) | change
    record_evidence(conn, "operator", "delivery", call.delivery_id, call.former_sha256, act, at)
    if row is not None and row.state == "FAILED":
        requeue_delivery(conn, call.delivery_id, at, actor, reason)


def cancel_delivery(
    conn: Connection, delivery: int, at: datetime, actor: str, reason: str | None = None
) -> None:
    """Cancel a delivery that waits, is held or has failed, and close the case that waited for it alone.

    Without the question whether it cancels, an agency keeps the application that it has acknowledged.
    Raises GW705 for an application that waits for its fee: the applicant withdraws it, or pays.
    Raises GW705 for the task that ends the hold of a case that is held.
    """
    case = case_closing.lock_delivery_case(conn, delivery)
    row = deliveries.find_by_id(conn, delivery)
    if row is not None:
        check_no_fee_gate(conn, row)
        _check_hold_not_needed(case, row)
    has_failed = row is not None and row.state == "FAILED"
    end = deliveries.give_up_delivery if has_failed else deliveries.cancel_delivery
    end(conn, delivery, at, actor, reason)
    if row is not None and row.parameters.get("ordered"):
        ordered_deliveries.give_up_position(conn, delivery, at)
    if row is not None and row.parameters.get("operation") == CANCELLATION and case is not None:
        end_cancellation(conn, case, int(row.subject_id), StateEvent("cancel", at, actor, reason))
        case = cases.lock_case(conn, case.id)
    _record_action(conn, "cancel", delivery, at, actor, reason)
    case_closing.close_case_when_done(conn, case, at)


def _check_hold_not_needed(case: CaseRow | None, delivery: DeliveryRow) -> None:
    """Raise GW705 for the task without which a held, locked case would be held for ever."""
    if case is None or case.state != "HELD" or delivery.parameters.get("task") != "end_hold":
        return
    until = ((case.detail or {}).get("held") or {}).get("until", "")
    detail = (
        f"case {case.number} is HELD until {until}, and this task refuses it then: without it the case "
        "would be held for ever. The declarant goes on with it, or withdraws it"
    )
    raise GatewayError(TRANSITION_REFUSED, detail, "delivery")


def end_question(conn: Connection, request: int, at: datetime, actor: str, reason: str) -> None:
    """End the question whether an agency cancels its application: it was asked, and has not answered.

    The application stays in force, as if the agency had refused, and the agency may still cancel it. Raises
    GW705 where there is no open question, and where the question has not arrived: then the operator can
    cancel its delivery.
    """
    row = agency_requests.find_by_id(conn, request)
    case = None if row is None else cases.lock_case(conn, row.case_id)
    row = agency_requests.find_by_id(conn, request)
    if row is None or case is None or not is_cancellation_open(row):
        name = "" if row is None else f"{row.agency} is not asked whether it cancels {row.number}"
        raise GatewayError(TRANSITION_REFUSED, name or "there is no such application", "application")
    waiting = list(filter(_is_open_question, deliveries.list_by_request(conn, case.id, request)))
    if waiting:
        detail = f"the question has not arrived: `gateway queue cancel {waiting[-1].id}` gives it up"
        raise GatewayError(TRANSITION_REFUSED, detail, "application")
    end_cancellation(conn, case, request, StateEvent("cancel", at, actor, reason))
    record_evidence(conn, "operator", "request", request, None, _describe_act("unask", actor, reason), at)
    case_closing.close_case_when_done(conn, cases.lock_case(conn, case.id), at)


def _is_open_question(row: DeliveryRow) -> bool:
    ended = row.state in DELIVERY.final_states
    return bool(row.parameters.get("operation") == CANCELLATION and not ended)


def hold_delivery(
    conn: Connection, delivery: int, at: datetime, actor: str, reason: str | None = None
) -> None:
    """Hold a queued delivery until it is released."""
    deliveries.hold_delivery(conn, delivery, at, actor, reason)
    _record_action(conn, "hold", delivery, at, actor, reason)


def try_delivery(
    conn: Connection, delivery: int, at: datetime, actor: str, reason: str | None = None
) -> None:
    """Make a queued delivery due now; raises GW705 when its lane is held."""
    row = deliveries.find_by_id(conn, delivery)
    if row is not None:
        # Every act on a lane locks it before its deliveries: else two acts wait for each other.
        lanes.lock_unheld_lane(conn, row.lane)
    deliveries.try_delivery(conn, delivery, at, actor, reason)
    _record_action(conn, "try", delivery, at, actor, reason)


def hold_lane(conn: Connection, lane: str, at: datetime, actor: str, reason: str) -> LaneBacklog:
    """Hold a lane with a reason, also for deliveries that are queued later; return its backlog."""
    lanes.hold_lane(conn, lane, at, actor, reason)
    record_evidence(
        conn, "operator", "lane", lane, None, {"act": "hold", "actor": actor, "reason": reason}, at
    )
    return lanes.read_lane_backlog(conn, lane)


def release_lane(
    conn: Connection, lane: str, at: datetime, actor: str, reason: str | None = None
) -> tuple[LaneRow, LaneBacklog]:
    """Release a held lane; return its former hold, and its backlog."""
    former_hold = lanes.release_lane(conn, lane, at)
    record_evidence(conn, "operator", "lane", lane, None, _describe_act("release", actor, reason), at)
    return former_hold, lanes.read_lane_backlog(conn, lane)


def try_lane(
    conn: Connection, lane: str, at: datetime, actor: str, reason: str | None = None
) -> tuple[int, ...]:
    """Make the waiting deliveries of a lane due now; return those that had to wait."""
    tried = lanes.make_lane_due(conn, lane, at, actor)
    record_evidence(
        conn,
        "operator",
        "lane",
        lane,
        None,
        _describe_act("try", actor, reason) | {"deliveries": list(tried)},
        at,
    )
    return tried


def release_delivery(
    conn: Connection, delivery: int, at: datetime, actor: str, reason: str | None = None
) -> None:
    """Release a held delivery at once; raises GW705 for one that waits for its fee."""
    row = deliveries.find_by_id(conn, delivery)
    if row is not None:
        check_no_fee_gate(conn, row)
    deliveries.release_delivery(conn, delivery, at, actor, reason)
    _record_action(conn, "release", delivery, at, actor, reason)


@dataclass(frozen=True, slots=True)
class ConsoleSwitch:
    """A switch that was made: the deliveries of the lane, those due now, applications in the mailbox."""

    backlog: LaneBacklog
    due: tuple[int, ...]
    undecided_count: int


def switch_agency_to_console(
    conn: Connection, agency: str, at: datetime, actor: str, reason: str
) -> ConsoleSwitch:
    """Let the officers of an agency decide at the console; raises GW705 when they do already.

    The deliveries that wait in the lane are due now, and their calls come to rest in the mailbox. A call
    that is being made goes to the agency's own system.
    """
    deliveries.ensure_lanes(conn, agency)
    officer_work.insert_switch(conn, agency, at, actor, reason)
    record_evidence(
        conn, "operator", "agency", agency, None, {"act": "console", "actor": actor, "reason": reason}, at
    )
    return _describe_switch(conn, agency, try_lane(conn, agency, at, actor))


def switch_agency_back(conn: Connection, agency: str, at: datetime, actor: str, reason: str) -> ConsoleSwitch:
    """Give an agency's new applications to its own system again; raises GW705 when it was not switched.

    Calls that rest in the mailbox stay there, and its officers decide them.
    """
    held = officer_work.end_switch(conn, agency)
    before = {"since": held.since.isoformat(), "switched_by": held.switched_by}
    record_evidence(
        conn,
        "operator",
        "agency",
        agency,
        None,
        {"act": "own system", "actor": actor, "reason": reason} | before,
        at,
    )
    return _describe_switch(conn, agency, try_lane(conn, agency, at, actor))


def _describe_switch(conn: Connection, agency: str, due: tuple[int, ...]) -> ConsoleSwitch:
    backlog = lanes.read_lane_backlog(conn, agency)
    return ConsoleSwitch(backlog, due, officer_work.count_undecided(conn, agency))


def admit_resting_message(
    conn: Connection, message: int, at: datetime, actor: str, reason: str | None = None
) -> int:
    """Queue the task that admits a message which rests in the mailbox; return its delivery.

    If its P-Mode is gone because the agreement was loaded anew, the P-Mode of the same service and action
    counts. Raises GW705 for a message that does not rest in the mailbox, for one whose agreement has no
    P-Mode for its action any more, and for one whose agreement still delivers it to the mailbox; GW316 if its
    conversation would exceed the limit of open conversations.
    """
    row = mailbox_messages.lock_resting_message(conn, message)
    if row is None:
        raise GatewayError(TRANSITION_REFUSED, f"message {message} does not rest in the mailbox", "message")
    agreement = agreements.find_agreement(conn, row.agreement_id or "")
    pmodes = load_effective_pmodes(conn, agreement, at) if agreement is not None else ()
    fitting = [pmode for pmode in pmodes if pmode.id == row.pmode_id] or [
        pmode for pmode in pmodes if (pmode.service, pmode.action) == (row.service, row.action)
    ]
    if not fitting:
        detail = (
            f"agreement {str(row.agreement_id)[:80]} of message {message} has no P-Mode for {row.action} any "
            "more: load it with one first"
        )
        raise GatewayError(TRANSITION_REFUSED, detail, "message")
    pmode = next((pmode for pmode in fitting if pmode.deliver_to == "case"), None)
    if pmode is None:
        detail = (
            f"the agreement of message {message} delivers {row.action} to the mailbox: `gateway agreement "
            f"override {str(row.agreement_id)[:80]} --deliver-to case` first"
        )
        raise GatewayError(TRANSITION_REFUSED, detail, "message")
    late_message = ConversationMessage(pmode.agreement, row.conversation_id, message, is_for_case=True)
    check_conversation_limits(conn, pmode.conversations, late_message, at)
    delivery = admit_late_message(conn, message, at)
    record_evidence(conn, "operator", "message", message, None, _describe_act("admit", actor, reason), at)
    return delivery


def fetch_source_now(conn: Connection, source: FetchSource, at: datetime, actor: str) -> int:
    """Queue a fetch from a source now, in addition to its schedule, and return the delivery."""
    new = NewDelivery(
        agent=AGENT,
        destination=source.name,
        lane=source.lane,
        subject_type="turn",
        subject_id=f"fetch:{source.name}:asked",
        dedupe_key=f"fetch:{source.name}:{at.isoformat()}",
        expires_at=at + source.settings.every,
    )
    delivery = deliveries.enqueue_delivery(conn, new, at)
    if delivery is None:
        raise GatewayError(
            TRANSITION_REFUSED, "the same fetch was requested at the same time before", source.name
        )
    _record_action(conn, "fetch", delivery, at, actor)
    return delivery


def delete_fetched_lists(conn: Connection, name: str, at: datetime, actor: str) -> int:
    """Delete the lists fetched from a source, effective from the next message; return the number of rows."""
    if fetched_lists.find_source(conn, name) is None:
        raise GatewayError(MISUSE, f"nothing was ever fetched from {name[:40]!r}", "source")
    deleted_count = fetched_lists.delete_source(conn, name)
    record_register_leaf(
        conn, "forgotten", "source", name, None, {"words": deleted_count, "actor": actor}, at
    )
    return deleted_count


def _record_action(
    conn: Connection, act: str, delivery: int, at: datetime, actor: str, reason: str | None = None
) -> None:
    record_evidence(conn, "operator", "delivery", delivery, None, _describe_act(act, actor, reason), at)


def _describe_act(act: str, actor: str, reason: str | None) -> dict[str, Any]:
    return {"act": act, "actor": actor} | ({"reason": reason} if reason else {})

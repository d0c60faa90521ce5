"""The operator's actions on deliveries; each action moves dependent objects and records evidence.

The functions have the parameters of the store functions: connection, delivery, time, actor.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.errors import MISUSE, TRANSITION_REFUSED, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.case_progress import end_cancellation
from gateway.hub.completion import case_closing, is_cancellation_open
from gateway.hub.fees import check_no_fee_gate
from gateway.hub.outbox import CANCELLATION
from gateway.hub.trust import AGENT, FetchSource
from gateway.state_machines import DELIVERY
from gateway.store import (
    LaneBacklog,
    NewDelivery,
    StateEvent,
    agency_requests,
    cases,
    deliveries,
    fetched_lists,
    lane_holds,
    ordered_deliveries,
)

__all__ = [
    "cancel_delivery",
    "end_question",
    "fetch_source_now",
    "hold_delivery",
    "hold_lane",
    "release_delivery",
    "release_lane",
    "requeue_delivery",
    "try_delivery",
    "try_lane",
    "withdraw_fetched_lists",
]


def requeue_delivery(
    conn: Connection, delivery: int, at: datetime, actor: str, reason: str | None = None
) -> None:
    """Requeue a failed delivery with the same octets; a STRANDED request of it is resent."""
    case_closing.lock_delivery_case(conn, delivery)
    deliveries.requeue_delivery(conn, delivery, at, actor, why=reason)
    row = deliveries.find_by_id(conn, delivery)
    if row is not None and row.parameters.get("ordered"):
        ordered_deliveries.restore_place(conn, delivery, at)
    if row is not None and row.subject_type == "request":
        request = agency_requests.find_by_id(conn, int(row.subject_id))
        if request is not None and request.state == "STRANDED":
            agency_requests.apply_event(conn, request.id, StateEvent("resend", at, actor))
    _record_action(conn, "requeue", delivery, at, actor, reason)


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
    end = (
        deliveries.give_up_delivery
        if row is not None and row.state == "FAILED"
        else deliveries.cancel_delivery
    )
    end(conn, delivery, at, actor, reason)
    if row is not None and row.parameters.get("ordered"):
        ordered_deliveries.give_up_place(conn, delivery, at)
    if row is not None and row.parameters.get("operation") == CANCELLATION and case is not None:
        end_cancellation(conn, case, int(row.subject_id), StateEvent("cancel", at, actor, reason))
        case = cases.lock_case(conn, case.id)
    _record_action(conn, "cancel", delivery, at, actor, reason)
    case_closing.close_case_when_done(conn, case, at)


def _check_hold_not_needed(case: Row[Any] | None, delivery: Row[Any]) -> None:
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
    """Ask an agency no longer whether it cancels: it was asked, and has not answered.

    Its application stands, as if it had refused, and it may still cancel it. Raises GW705 where
    nothing is asked, and where the question has not arrived: that is a delivery to cancel.
    """
    row = agency_requests.find_by_id(conn, request)
    case = None if row is None else cases.lock_case(conn, row.case_id)
    row = agency_requests.find_by_id(conn, request)
    if row is None or case is None or not is_cancellation_open(row):
        name = "" if row is None else f"{row.agency} is not asked whether it cancels {row.number}"
        raise GatewayError(TRANSITION_REFUSED, name or "there is no such application", "application")
    waiting = [one for one in deliveries.list_by_request(conn, case.id, request) if _is_open_question(one)]
    if waiting:
        detail = f"the question has not arrived: `gateway queue cancel {waiting[-1].id}` gives it up"
        raise GatewayError(TRANSITION_REFUSED, detail, "application")
    end_cancellation(conn, case, request, StateEvent("cancel", at, actor, reason))
    data = _describe_act("unask", actor, reason)
    record_evidence(conn, "operator", "request", request, None, data, at)
    case_closing.close_case_when_done(conn, cases.lock_case(conn, case.id), at)


def _is_open_question(row: Row[Any]) -> bool:
    ended = row.state in DELIVERY.final
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
    """Make a queued delivery due now, and close the circuit of its lane; raises GW705 when that is held."""
    row = deliveries.find_by_id(conn, delivery)
    if row is not None:
        # Every act on a lane locks it before its deliveries: else two acts wait for each other.
        lane_holds.close_lane_circuit(conn, row.lane)
    deliveries.try_delivery(conn, delivery, at, actor, reason)
    _record_action(conn, "try", delivery, at, actor, reason)


def hold_lane(conn: Connection, lane: str, at: datetime, actor: str, reason: str) -> LaneBacklog:
    """Hold a lane with a reason, also for deliveries that come later; return what it contains."""
    lane_holds.hold_lane(conn, lane, at, actor, reason)
    data = {"act": "hold", "actor": actor, "reason": reason}
    record_evidence(conn, "operator", "lane", lane, None, data, at)
    return lane_holds.read_lane_backlog(conn, lane)


def release_lane(
    conn: Connection, lane: str, at: datetime, actor: str, reason: str | None = None
) -> tuple[Row[Any], LaneBacklog]:
    """Release a held lane; return how it was held, and what waited in it."""
    held = lane_holds.release_lane(conn, lane, at)
    record_evidence(conn, "operator", "lane", lane, None, _describe_act("release", actor, reason), at)
    return held, lane_holds.read_lane_backlog(conn, lane)


def try_lane(
    conn: Connection, lane: str, at: datetime, actor: str, reason: str | None = None
) -> tuple[int, ...]:
    """Make the waiting deliveries of a lane due now, and close its circuit; return those that had to wait."""
    tried = lane_holds.try_lane(conn, lane, at, actor)
    data = _describe_act("try", actor, reason) | {"deliveries": list(tried)}
    record_evidence(conn, "operator", "lane", lane, None, data, at)
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


def withdraw_fetched_lists(conn: Connection, name: str, at: datetime, actor: str) -> int:
    """Delete what was fetched from a source, effective from the next message; return the number of rows."""
    if fetched_lists.find_source(conn, name) is None:
        raise GatewayError(MISUSE, f"nothing was ever fetched from {name[:40]!r}", "source")
    gone = fetched_lists.delete_source(conn, name)
    record_evidence(conn, "forgotten", "source", name, None, {"words": gone, "actor": actor}, at)
    return gone


def _record_action(
    conn: Connection, what: str, delivery: int, at: datetime, actor: str, reason: str | None = None
) -> None:
    data = _describe_act(what, actor, reason)
    record_evidence(conn, "operator", "delivery", delivery, None, data, at)


def _describe_act(what: str, actor: str, reason: str | None) -> dict[str, Any]:
    return {"act": what, "actor": actor} | ({"reason": reason} if reason else {})

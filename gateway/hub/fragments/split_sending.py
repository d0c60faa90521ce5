"""Sends a message of ours in its fragments, and fails it with the first that fails (part 2 §4.3.1).

The delivery of the whole message queues one delivery for each fragment, and waits for the receipt of the
whole: it says that all were joined (eDelivery AS4 1.15 §1.5.6.6). The whole is never posted itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.errors import ATTEMPTS_USED_UP, FRAGMENT_UNWANTED, OUR_MISTAKE, PROBLEMS, GatewayError
from gateway.hub.completion import closing_transaction
from gateway.hub.hub import Hub
from gateway.hub.outbox import FinishLease, record_delivery_failure
from gateway.store import (
    DeliveryLease,
    NewDelivery,
    deliveries,
    delivery_leases,
    delivery_maintenance,
    make_attempt_outcome,
    read_transaction,
    sent_groups,
    write_transaction,
)

__all__ = ["cancel_unwanted_fragment", "drop_unwanted_fragment", "fail_split", "queue_fragments"]

_log = logging.getLogger(__name__)

_ACTOR: Final = "msh"
_UNWANTED: Final = "its message is not sent any more, or is sent anew"


def queue_fragments(hub: Hub, lease: DeliveryLease) -> None:
    """Queue the fragments of a message that have no receipt, and let the message wait for its own.

    They go with the octets that were sealed. A repeat by an operator sends all where all have receipts: then
    only that of the whole is missing. Raises GW604 where that did not come in time.
    """
    now = hub.clock()
    with write_transaction(hub.engine, "fragments.queued") as conn:
        if not delivery_leases.lock_active_lease(conn, lease):
            return
        group = sent_groups.find_by_delivery(conn, lease.id)
        if group is None:
            raise GatewayError(OUR_MISTAKE, f"the fragments of delivery {lease.id} are gone")
        if group.state == "SENDING":
            detail = f"{group.count} fragments were sent, and no receipt of the whole message came"
            raise GatewayError(ATTEMPTS_USED_UP, detail, "splitting/join_interval")
        times = lease.parameters["split"]
        _queue_round(conn, lease, sent_groups.list_fragments(conn, lease.id), now)
        until = lease.expires_at or now + timedelta(seconds=times["wait"])
        delivery_leases.mark_sent(conn, lease, now, until)


def _queue_round(conn: Connection, lease: DeliveryLease, pieces: Sequence[Row[Any]], now: datetime) -> None:
    round_ = sent_groups.begin_round(conn, lease.id)
    for row in sent_groups.list_idle_deliveries(conn, lease.id):
        # One of a former round, which would find out by itself that it is not wanted.
        _cancel_delivery(conn, row, now)
    left = [one for one in pieces if one.delivery_state != "DELIVERED"] or pieces
    new = [_make_delivery(lease, one, round_, now) for one in left]
    for piece, queued in zip(left, deliveries.enqueue_deliveries(conn, new, now), strict=True):
        assert queued is not None  # the number of the round is new
        sent_groups.set_fragment_delivery(conn, piece.message, queued)


def _make_delivery(lease: DeliveryLease, piece: Row[Any], round_: int, now: datetime) -> NewDelivery:
    given = {name: value for name, value in lease.parameters.items() if name != "split"}
    split = lease.parameters["split"]
    words = f"fragment {piece.number} of {split['count']} of {given['action']}"
    place = {"whole": lease.id, "number": piece.number, "round": round_}
    return NewDelivery(
        agent="msh",
        destination=lease.destination,
        # Deliveries of older versions name none.
        lane=split.get("lane", lease.lane),
        subject_type="fragment",
        subject_id=str(piece.message),
        dedupe_key=f"fragment:{piece.message}:{round_}",
        wire_id=piece.message_id,
        payload_sha256=piece.parcel_sha256,
        parameters={
            **given,
            "endpoint": split["endpoint"],
            "headers": dict(piece.parcel_headers),
            "action": words,
            "fragment": place,
        },
        expires_at=now + timedelta(seconds=split["live"]),
    )


def _cancel_delivery(conn: Connection, row: Row[Any], now: datetime) -> None:
    end = deliveries.give_up_delivery if row.state == "FAILED" else deliveries.cancel_delivery
    end(conn, row.id, now, _ACTOR, _UNWANTED)


def cancel_unwanted_fragment(conn: Connection, row: Row[Any], now: datetime) -> bool:
    """Cancel a locked, queued fragment that is to be pulled, as `drop_unwanted_fragment` does."""
    place = row.parameters.get("fragment")
    if place is None or sent_groups.is_current_round(conn, place["whole"], place["round"]):
        return False
    _cancel_delivery(conn, row, now)
    return True


def drop_unwanted_fragment(hub: Hub, lease: DeliveryLease) -> bool:
    """Cancel a fragment whose message has a receipt, has failed, or is sent anew; return whether it was."""
    place, now = lease.parameters["fragment"], hub.clock()
    with read_transaction(hub.engine) as conn:
        if sent_groups.is_current_round(conn, place["whole"], place["round"]):
            return False
    outcome = make_attempt_outcome(GatewayError(FRAGMENT_UNWANTED))
    with write_transaction(hub.engine, "fragments.unwanted") as conn:
        if delivery_leases.fail_delivery(conn, lease, now, outcome):
            deliveries.give_up_delivery(conn, lease.id, now, _ACTOR, _UNWANTED)
    return True


def fail_split(hub: Hub, whole: int, said: Mapping[str, Any], finish: FinishLease) -> None:
    """Fail the delivery of a message one of whose fragments has failed, and cancel the others.

    Those that are being sent meanwhile end by themselves. What failed in an earlier round changes nothing.
    """
    now = hub.clock()
    with closing_transaction(hub.engine, "fragments.failed", whole, now) as conn:
        current = sent_groups.is_current_round(conn, whole, said["round"])
        failed = _fail_whole(conn, whole, said, now) if current else None
        finish(conn)
    if failed is not None:
        words = (failed.destination, said["problem"], said["number"])
        _log.error("delivery %d to %s has FAILED: %s at fragment %d of its message", whole, *words)


def _fail_whole(conn: Connection, whole: int, said: Mapping[str, Any], now: datetime) -> Row[Any] | None:
    """Fail the delivery of a message and return it; None where it waits for nothing any more."""
    detail = f"fragment {said['number']}: {said['detail']}"
    problem = GatewayError(PROBLEMS[said["problem"]], detail, theirs=said["theirs"])
    outcome = make_attempt_outcome(problem)
    if not delivery_maintenance.settle_receipt(conn, whole, now, _ACTOR, outcome):
        return None
    sent_groups.end_group(conn, whole, now, receipted=False)
    for row in sent_groups.list_idle_deliveries(conn, whole):
        _cancel_delivery(conn, row, now)
    delivery = deliveries.find_by_id(conn, whole)
    assert delivery is not None  # it was settled
    record_delivery_failure(conn, delivery, said["problem"], now, fragment=said["number"])
    return delivery

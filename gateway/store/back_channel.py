"""Hands out messages in HTTP answers: to a partner that pulls them, or as responses to its requests.

Pulled messages are handed out oldest first, and the request that pulled each is stored. A message that was
handed out waits for its receipt like a message that was posted. If the receipt does not arrive in time, the
message can be pulled again, with the same octets. After the last try it expires when that receipt is late.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Select,
    Table,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)

from gateway.state_machines import DELIVERY, get_next_state
from gateway.store import transitions
from gateway.store.deliveries import DeliveryRow, deliveries, delivery_attempts, lanes
from gateway.store.lanes import MAY_FOLLOW
from gateway.store.messages import messages
from gateway.store.prepared_statements import InsertIfAbsent, build_state_condition
from gateway.store.table_types import CODE_TEXT, Instant, make_required_column, metadata
from gateway.store.transitions import StateEvent

# A digest of the request, or of the login in it, for as long as its own time is accepted.
pull_requests = Table(
    "pull_requests",
    metadata,
    Column("digest", CODE_TEXT, primary_key=True),
    make_required_column("seen_at", Instant),
    Index("ix_pull_requests_seen_at", "seen_at"),
)


_INSERT = InsertIfAbsent(pull_requests, ("digest",), "digest")
_NOW: Final = bindparam("now", type_=Instant())
_ACTIVE: Final = get_next_state(DELIVERY, "QUEUED", "lease")
_AWAITING: Final = get_next_state(DELIVERY, _ACTIVE, "sent")
_LANE_HOLD: Final = select(lanes.c.held_at).where(lanes.c.name == bindparam("in_lane"))
_OLDEST_DELIVERY: Final = (
    select(deliveries)
    .where(
        build_state_condition(deliveries, "QUEUED"),
        deliveries.c.lane == bindparam("in_lane"),
        deliveries.c.due_at <= _NOW,
        or_(deliveries.c.expires_at.is_(None), deliveries.c.expires_at > _NOW),
        MAY_FOLLOW,
    )
    .order_by(deliveries.c.id)
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True)
)


def record_pull_request(conn: Connection, digest: str, at: datetime, remove_before: datetime) -> bool:
    """Store the digest of a pull request; return False for a repeat.

    First remove the digests that were seen before `remove_before`.
    """
    conn.execute(delete(pull_requests).where(pull_requests.c.seen_at < remove_before))
    return _INSERT.insert_one(conn, {"digest": digest, "seen_at": at}) is not None


def find_waiting_message(conn: Connection, lane: str, at: datetime) -> DeliveryRow | None:
    """Lock and return the oldest message of a lane that waits; None without one.

    A lane that an operator holds hands out nothing.
    """
    if conn.execute(_LANE_HOLD, {"in_lane": lane}).scalar() is not None:
        return None
    return conn.execute(_OLDEST_DELIVERY, {"in_lane": lane, "now": at}).first()


def hand_out_message(conn: Connection, row: DeliveryRow, at: datetime, actor: str) -> None:
    """Store that a locked message is sent in the answer to a pull request, and when its receipt is due."""
    receipt_due = at + timedelta(seconds=int(row.parameters["retry_interval"]))
    is_last_try = row.tries >= int(row.parameters["retries"])
    values = {
        "state": _AWAITING,
        "attempt": row.attempt + 1,
        "tries": row.tries + 1,
        "due_at": receipt_due,
        "expires_at": receipt_due if is_last_try else row.expires_at,
    }
    conn.execute(update(deliveries).where(deliveries.c.id == row.id).values(**values))
    tried = {"delivery": row.id, "attempt": row.attempt + 1, "started_at": at}
    conn.execute(insert(delivery_attempts).values(**tried, finished_at=at, outcome="sent"))
    for event, before, after in (("lease", "QUEUED", _ACTIVE), ("sent", _ACTIVE, _AWAITING)):
        transitions.record_transitions(
            conn, DELIVERY, [(row.id, before, after)], StateEvent(event, at, actor)
        )


_GIVEN_DETAIL: Final = "given in the HTTP answer to its request"
_requests, _responses = messages.alias("asked"), messages.alias("said")
# A response that an operator holds back or has cancelled is not given.
_RESPONSES: Final[Select[Any]] = (
    select(
        _requests.c.id.label("request"),
        _responses.c.id.label("message"),
        _responses.c.pmode_id,
        deliveries.c.id.label("delivery"),
    )
    .join(_responses, _responses.c.case_id == _requests.c.case_id)
    .join(deliveries, deliveries.c.wire_id == _responses.c.message_id)
    .join(lanes, lanes.c.name == deliveries.c.lane)
    .where(
        _requests.c.id.in_(bindparam("wanted", expanding=True)),
        _requests.c.case_id.is_not(None),
        _responses.c.case_id.is_not(None),
        deliveries.c.wire_id.is_not(None),
        _responses.c.direction == "out",
        _responses.c.purged_at.is_(None),
        _responses.c.ref_to_message_id == _requests.c.message_id,
        deliveries.c.state.not_in(("HELD", "CANCELLED")),
        lanes.c.held_at.is_(None),
    )
    .order_by(_responses.c.id)
)


class ResponseRow(Protocol):
    """A message that responds to a received message (`request`), with its delivery."""

    request: int
    message: int
    pmode_id: str | None
    delivery: int


def list_responses(conn: Connection, message_ids: Sequence[int]) -> Sequence[ResponseRow]:
    """Return the messages that respond to received messages, the oldest first, each with its delivery."""
    return conn.execute(_RESPONSES, {"wanted": list(message_ids)}).all()


def mark_response_given(conn: Connection, delivery: int, at: datetime, receipt_due: datetime) -> bool:
    """Store that a response was given in the HTTP answer; return False when it was not queued any more.

    A response that asks for no receipt is delivered; another one waits for its receipt until
    `receipt_due`, and is then posted.
    """
    query = select(deliveries.c.state, deliveries.c.parameters).where(deliveries.c.id == delivery)
    row = conn.execute(query.with_for_update(key_share=True)).first()
    if row is None or row.state != "QUEUED":
        return False
    is_receipt_due = bool(row.parameters.get("receipt"))
    event = "given_for_receipt" if is_receipt_due else "given"
    after = get_next_state(DELIVERY, row.state, event)
    values: dict[str, Any] = {"due_at": receipt_due} if is_receipt_due else {"finished_at": at}
    conn.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery)
        .values(state=after, problem=None, last_sentence=None, **values)
    )
    state_event = StateEvent(event, at, "receive", _GIVEN_DETAIL)
    transitions.record_transitions(conn, DELIVERY, [(delivery, row.state, after)], state_event)
    return True

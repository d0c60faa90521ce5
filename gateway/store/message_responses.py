"""Finds the responses to received messages, and stores that one was given in the HTTP answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, bindparam, select, update

from gateway.state_machines import DELIVERY, get_next_state
from gateway.store import transitions
from gateway.store.tables import deliveries, lanes, messages
from gateway.store.transitions import StateEvent

__all__ = ["list_responses", "mark_response_given"]

_GIVEN: Final = "given in the HTTP answer to its request"
_asked, _said = messages.alias("asked"), messages.alias("said")
# What an operator holds back or has cancelled is not given.
_RESPONSES: Final[Select[Any]] = (
    select(
        _asked.c.id.label("request"),
        _said.c.id.label("message"),
        _said.c.pmode_id,
        deliveries.c.id.label("delivery"),
    )
    .join(_said, _said.c.case_id == _asked.c.case_id)
    .join(deliveries, deliveries.c.wire_id == _said.c.message_id)
    .join(lanes, lanes.c.name == deliveries.c.lane)
    .where(
        _asked.c.id.in_(bindparam("wanted", expanding=True)),
        _asked.c.case_id.is_not(None),
        _said.c.case_id.is_not(None),
        deliveries.c.wire_id.is_not(None),
        _said.c.direction == "out",
        _said.c.purged_at.is_(None),
        _said.c.ref_to_message_id == _asked.c.message_id,
        deliveries.c.state.not_in(("HELD", "CANCELLED")),
        lanes.c.held_at.is_(None),
    )
    .order_by(_said.c.id)
)


def list_responses(conn: Connection, requests: Sequence[int]) -> Sequence[Row[Any]]:
    """Return the messages that respond to received messages, the oldest first, each with its delivery."""
    return conn.execute(_RESPONSES, {"wanted": list(requests)}).all()


def mark_response_given(conn: Connection, delivery: int, at: datetime, receipt_due: datetime) -> bool:
    """Store that a response was given in the HTTP answer; return False when it was not queued any more.

    A response that asks for no receipt is delivered; another one waits for its receipt until
    `receipt_due`, and is then posted.
    """
    found = select(deliveries.c.state, deliveries.c.parameters).where(deliveries.c.id == delivery)
    row = conn.execute(found.with_for_update(key_share=True)).first()
    if row is None or row.state != "QUEUED":
        return False
    receipted = bool(row.parameters.get("receipt"))
    event = "given_for_receipt" if receipted else "given"
    after = get_next_state(DELIVERY, row.state, event)
    values: dict[str, Any] = {"due_at": receipt_due} if receipted else {"finished_at": at}
    conn.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery)
        .values(state=after, problem=None, last_sentence=None, **values)
    )
    what = StateEvent(event, at, "receive", _GIVEN)
    transitions.record_transitions(conn, DELIVERY, [(delivery, row.state, after)], what)
    return True

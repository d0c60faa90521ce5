"""Counts what came in and what was delivered in a span of time, from indexes alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select

from gateway.store.prepared_statements import build_state_condition
from gateway.store.tables import Instant, cases, deliveries, lanes, messages

__all__ = ["TrafficCount", "count_traffic", "list_last_delivered"]

_SINCE: Final = bindparam("since", type_=Instant())
_UNTIL: Final = bindparam("until", type_=Instant())


@dataclass(frozen=True, slots=True)
class TrafficCount:
    """How many messages were stored, cases opened, and deliveries made in a span of time."""

    messages: int
    cases: int
    delivered: int


def _count_between(moment: Any) -> Any:
    return select(func.count()).where(moment >= _SINCE, moment < _UNTIL)


def _build_delivered(what: Any) -> Any:
    """Return a question about what a lane has delivered, for the row of the lane."""
    of_lane = deliveries.c.lane == lanes.c.name
    return select(what).where(of_lane, build_state_condition(deliveries, "DELIVERED")).correlate(lanes)


# Lane by lane, so that the index of what is done is entered once for each.
_IN_SPAN: Final = (deliveries.c.finished_at >= _SINCE, deliveries.c.finished_at < _UNTIL)
_DELIVERED: Final = select(
    func.coalesce(func.sum(_build_delivered(func.count()).where(*_IN_SPAN).scalar_subquery()), 0)
).select_from(lanes)
_LAST: Final = select(
    lanes.c.name, _build_delivered(func.max(deliveries.c.finished_at)).scalar_subquery().label("last")
)
_MESSAGES: Final = _count_between(messages.c.received_at)
_CASES: Final = _count_between(cases.c.opened_at)


def count_traffic(conn: Connection, since: datetime, until: datetime) -> TrafficCount:
    """Return what there was from `since` on and before `until`."""
    span = {"since": since, "until": until}
    stored, opened, made = (conn.execute(one, span).scalar_one() for one in (_MESSAGES, _CASES, _DELIVERED))
    return TrafficCount(int(stored), int(opened), int(made))


def list_last_delivered(conn: Connection) -> dict[str, datetime]:
    """Return the time of the last delivery of each lane that has one."""
    return {row.name: row.last for row in conn.execute(_LAST) if row.last is not None}

"""Counts for monitoring systems: rows by state, and the messages, cases and deliveries of a span of time.

Rows by state are sums of a roll-up, which triggers keep in the transaction of each change. So a query costs
the same however long the history is, and its result is that of a count of all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    Table,
    bindparam,
    func,
    select,
    text,
    union_all,
)

from gateway.errors import PUT_ASIDE
from gateway.state_machines import DELIVERY
from gateway.store import (
    fragment_groups,
    mailbox_messages,
    message_sequences,
    refusal_counts,
    register_version,
)
from gateway.store.cases import cases
from gateway.store.deliveries import deliveries, lanes
from gateway.store.engine import read_transaction, write_transaction
from gateway.store.messages import messages
from gateway.store.prepared_statements import build_state_condition
from gateway.store.table_types import (
    CODE_TEXT,
    LANE_TEXT,
    Instant,
    make_identity_column,
    make_required_column,
    metadata,
)

# How many rows there are with these labels: a measure, and up to two labels of it.
state_totals = Table(
    "state_totals",
    metadata,
    Column("measure", CODE_TEXT, primary_key=True),
    Column("label", LANE_TEXT, primary_key=True),
    Column("state", CODE_TEXT, primary_key=True),
    make_required_column("number", BigInteger),
)

# On PostgreSQL each transaction adds rows here instead, so that no two wait for each other; these rows are
# counted with the totals, and moved into them now and then. SQLite has one writer, and leaves this empty.
state_changes = Table(
    "state_changes",
    metadata,
    make_identity_column(),
    make_required_column("measure"),
    make_required_column("label"),
    make_required_column("state"),
    make_required_column("number", Integer),
)


_ROWS: Final = union_all(
    *(select(one.c.measure, one.c.label, one.c.state, one.c.number) for one in (state_totals, state_changes))
).subquery()
#: One statement, so that a fold between two would not be counted twice.
_COUNTED: Final = (
    select(_ROWS.c.measure, _ROWS.c.label, _ROWS.c.state, func.sum(_ROWS.c.number).label("number"))
    .group_by(_ROWS.c.measure, _ROWS.c.label, _ROWS.c.state)
    .having(func.sum(_ROWS.c.number) != 0)
)
#: Rows that one fold moves at most, so that none holds them long.
_FOLDED: Final = 20_000
#: Locks the rows that are moved: a second fold at the same time takes others, and none is counted twice.
_FOLD: Final = text(
    "WITH chosen AS (SELECT id FROM state_changes ORDER BY id LIMIT CAST(:most AS bigint) "
    "FOR UPDATE SKIP LOCKED), "
    "moved AS (DELETE FROM state_changes WHERE id IN (SELECT id FROM chosen) RETURNING *), "
    "summed AS (SELECT measure, label, state, SUM(number) AS number FROM moved "
    "GROUP BY measure, label, state ORDER BY measure, label, state), "
    "added AS (INSERT INTO state_totals (measure, label, state, number) "
    "SELECT measure, label, state, number FROM summed WHERE number <> 0 "
    "ON CONFLICT (measure, label, state) DO UPDATE SET number = state_totals.number + excluded.number) "
    "SELECT COUNT(*) FROM moved"
).bindparams(bindparam("most"))


def sum_states(conn: Connection) -> Sequence[Any]:
    """Return measure, label, state and number of all rows that there are."""
    return conn.execute(_COUNTED).all()


def fold_state_changes(engine: Engine) -> int:
    """Move the rows that transactions have added into the totals; return how many rows were moved.

    On SQLite each transaction adds to the totals itself.
    """
    if engine.dialect.name == "sqlite":
        return 0
    with read_transaction(engine) as conn:
        if conn.execute(select(state_changes.c.id).limit(1)).first() is None:
            return 0
    with write_transaction(engine, "states.fold") as conn:
        return int(conn.execute(_FOLD, {"most": _FOLDED}).scalar_one())


def count_deliveries(conn: Connection) -> dict[str, int]:
    """Return how many deliveries are in each state."""
    counts = dict.fromkeys(DELIVERY.states, 0)
    for row in sum_states(conn):
        if row.measure == "deliveries":
            counts[row.state] += int(row.number)
    return counts


Labels = tuple[tuple[str, str], ...]
#: The metric of each measure of the roll-up, and its labels in the order in which they are shown: the
#: name of each, and the column that has its value.
_METRICS: Final[Mapping[str, tuple[str, tuple[tuple[str, str], ...]]]] = {
    "messages": ("gateway_messages", (("direction", "label"), ("state", "state"))),
    "cases": ("gateway_cases", (("state", "state"), ("outcome", "label"))),
    "requests": ("gateway_requests", (("agency", "label"), ("state", "state"))),
    "deliveries": ("gateway_deliveries", (("lane", "label"), ("state", "state"))),
    "problems": ("gateway_delivery_problems", (("problem", "label"), ("state", "state"))),
}


def count_states(conn: Connection) -> Mapping[str, Mapping[Labels, float]]:
    """Return the counts of each measure by their labels."""
    counted: dict[str, dict[Labels, float]] = {metric: {} for metric, _ in _METRICS.values()}
    for row in sum_states(conn):
        metric, labels = _METRICS[row.measure]
        values = tuple((name, getattr(row, column)) for name, column in labels)
        counted[metric][values] = float(row.number)
    aside = counted["gateway_delivery_problems"].get((("problem", PUT_ASIDE.id), ("state", "FAILED")), 0.0)
    return {
        **counted,
        "gateway_deliveries_put_aside": {(): aside},
        "gateway_refusals": {
            (("problem", problem),): float(number)
            for problem, number in refusal_counts.count_by_problem(conn).items()
        },
        "gateway_held_messages": {(): float(message_sequences.count_all_held(conn))},
        "gateway_mailbox_messages": {
            (("action", action),): float(number)
            for action, number in mailbox_messages.count_by_action(conn).items()
        },
        "gateway_fragment_groups": {
            (("state", state),): float(number)
            for state, number in fragment_groups.count_by_state(conn).items()
        },
        "gateway_trust_epoch": {(): float(register_version.get_register_version(conn))},
    }


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


def _build_delivered(measured: Any) -> Any:
    """Return a query that measures the delivered deliveries of a lane, for the row of the lane."""
    of_lane = deliveries.c.lane == lanes.c.name
    return select(measured).where(of_lane, build_state_condition(deliveries, "DELIVERED")).correlate(lanes)


# Lane by lane, so that the index of finished deliveries is entered once for each lane.
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
    """Return the counts from `since` on and before `until`."""
    span = {"since": since, "until": until}
    stored, opened, delivered = (
        conn.execute(query, span).scalar_one() for query in (_MESSAGES, _CASES, _DELIVERED)
    )
    return TrafficCount(int(stored), int(opened), int(delivered))


def list_last_delivered(conn: Connection) -> dict[str, datetime]:
    """Return the time of the last delivery of each lane that has one."""
    return {row.name: row.last for row in conn.execute(_LAST) if row.last is not None}

"""Counts how many rows are in each state, in a few statements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Table, func, select

from gateway.errors import PUT_ASIDE
from gateway.store import message_sequences, refusal_counts, register_version
from gateway.store.prepared_statements import build_state_condition
from gateway.store.tables import agency_requests, cases, deliveries, messages

__all__ = ["count_states"]

Labels = tuple[tuple[str, str], ...]


def count_states(conn: Connection) -> Mapping[str, Mapping[Labels, float]]:
    """Return the counts of each measure by their labels."""
    return {
        "gateway_messages": _count_by_columns(conn, messages, messages.c.direction, messages.c.state),
        "gateway_cases": _count_by_columns(conn, cases, cases.c.state, cases.c.outcome),
        "gateway_requests": _count_by_columns(
            conn, agency_requests, agency_requests.c.agency, agency_requests.c.state
        ),
        "gateway_deliveries": _count_by_columns(conn, deliveries, deliveries.c.lane, deliveries.c.state),
        "gateway_deliveries_put_aside": _count_put_aside(conn),
        "gateway_delivery_problems": _count_delivery_problems(conn),
        "gateway_refusals": {
            (("problem", problem),): float(number)
            for problem, number in refusal_counts.count_by_problem(conn).items()
        },
        "gateway_held_messages": {(): float(message_sequences.count_all_held(conn))},
        "gateway_trust_epoch": {(): float(register_version.get_register_version(conn))},
    }


def _count_put_aside(conn: Connection) -> dict[Labels, float]:
    """Return how many deliveries wait for the operator because workers died during them."""
    found = select(func.count()).where(
        build_state_condition(deliveries, "FAILED"), deliveries.c.problem == PUT_ASIDE.id
    )
    return {(): float(conn.execute(found).scalar_one())}


def _count_delivery_problems(conn: Connection) -> dict[Labels, float]:
    d = deliveries.c
    found = select(d.problem, d.state, func.count()).where(
        d.problem.is_not(None), d.state.in_(("QUEUED", "ACTIVE", "AWAITING_RECEIPT", "HELD", "FAILED"))
    )
    rows = conn.execute(found.group_by(d.problem, d.state))
    return {(("problem", problem), ("state", state)): float(number) for problem, state, number in rows}


def _count_by_columns(conn: Connection, table: Table, *columns: Column[Any]) -> dict[Labels, float]:
    rows = conn.execute(select(*columns, func.count()).select_from(table).group_by(*columns))
    return {
        tuple(
            (column.name, str(value or "")) for column, value in zip(columns, row[:-1], strict=True)
        ): float(row[-1])
        for row in rows
    }

"""Counts of everything that is in a state, in a few statements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Table, func, select

from gateway.errors import PUT_ASIDE
from gateway.store import epochs
from gateway.store.statements import in_state
from gateway.store.tables import agency_requests, cases, deliveries, messages

__all__ = ["take"]

Labels = tuple[tuple[str, str], ...]


def take(conn: Connection) -> Mapping[str, Mapping[Labels, float]]:
    """Return each measure by its labels."""
    return {
        "gateway_messages": _counted(conn, messages, messages.c.direction, messages.c.state),
        "gateway_cases": _counted(conn, cases, cases.c.state, cases.c.outcome),
        "gateway_requests": _counted(
            conn, agency_requests, agency_requests.c.agency, agency_requests.c.state
        ),
        "gateway_deliveries": _counted(conn, deliveries, deliveries.c.lane, deliveries.c.state),
        "gateway_deliveries_put_aside": _put_aside(conn),
        "gateway_trust_epoch": {(): float(epochs.current(conn))},
    }


def _put_aside(conn: Connection) -> dict[Labels, float]:
    """Return how many deliveries wait for the operator because workers died over them."""
    found = select(func.count()).where(in_state(deliveries, "FAILED"), deliveries.c.problem == PUT_ASIDE.id)
    return {(): float(conn.execute(found).scalar_one())}


def _counted(conn: Connection, table: Table, *columns: Column[Any]) -> dict[Labels, float]:
    rows = conn.execute(select(*columns, func.count()).select_from(table).group_by(*columns))
    return {
        tuple(
            (column.name, str(value or "")) for column, value in zip(columns, row[:-1], strict=True)
        ): float(row[-1])
        for row in rows
    }

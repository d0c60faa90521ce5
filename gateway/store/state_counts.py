"""Returns how many rows are in each state, for monitoring systems: sums of a roll-up, no counts of rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection

from gateway.errors import PUT_ASIDE
from gateway.store import fragment_groups, message_sequences, refusal_counts, register_version
from gateway.store.state_rollup import sum_states

__all__ = ["count_states"]

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
        "gateway_fragment_groups": {
            (("state", state),): float(number)
            for state, number in fragment_groups.count_by_state(conn).items()
        },
        "gateway_trust_epoch": {(): float(register_version.get_register_version(conn))},
    }

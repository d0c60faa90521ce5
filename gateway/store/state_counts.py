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
#: The names of both labels of each measure of the roll-up, in the order in which they are shown.
_LABELS: Final = {
    "messages": ("direction", "state"),
    "cases": ("outcome", "state"),
    "requests": ("agency", "state"),
    "deliveries": ("lane", "state"),
    "problems": ("problem", "state"),
}
_METRICS: Final = {
    "messages": "gateway_messages",
    "cases": "gateway_cases",
    "requests": "gateway_requests",
    "deliveries": "gateway_deliveries",
    "problems": "gateway_delivery_problems",
}


def count_states(conn: Connection) -> Mapping[str, Mapping[Labels, float]]:
    """Return the counts of each measure by their labels."""
    counted: dict[str, dict[Labels, float]] = {measure: {} for measure in _METRICS}
    for row in sum_states(conn):
        values = dict(zip(_LABELS[row.measure], (row.label, row.state), strict=True))
        if row.measure == "cases":
            values = {"state": row.state, "outcome": row.label}
        counted[row.measure][tuple(values.items())] = float(row.number)
    aside = counted["problems"].get((("problem", PUT_ASIDE.id), ("state", "FAILED")), 0.0)
    return {
        **{_METRICS[measure]: found for measure, found in counted.items() if measure != "problems"},
        "gateway_deliveries_put_aside": {(): aside},
        _METRICS["problems"]: counted["problems"],
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

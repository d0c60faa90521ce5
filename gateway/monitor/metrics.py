"""Counts for a monitoring system, in the text format that Prometheus reads.

They are read from the rows, so that they are the same whichever process is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import Engine

from gateway.store import census
from gateway.store.engine import reading

__all__ = ["render"]

_HELP = {
    "gateway_messages": "Messages stored, by direction and state.",
    "gateway_cases": "Cases, by state and outcome.",
    "gateway_requests": "Requests to agencies, by agency and state.",
    "gateway_deliveries": "Deliveries, by lane and state.",
    "gateway_trust_epoch": "Number of changes of the register.",
}


def render(engine: Engine) -> str:
    """Return every metric as text."""
    with reading(engine) as conn:
        found = census.take(conn)
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]) -> Iterator[str]:
    for name, values in found.items():
        yield f"# HELP {name} {_HELP[name]}"
        yield f"# TYPE {name} gauge"
        for labels, value in sorted(values.items()):
            yield f"{name}{_labels(labels)} {value:g}"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

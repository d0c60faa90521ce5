"""Compares the states of messages, cases, applications, fees and clearances with their transitions.

Each object has one row for each step of its state machine. The steps must follow one another, each as its
machine permits, and the last one must lead to the state of the object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, Table, select

from gateway.evidence.rows.row_findings import ComparedTable, RowFindings
from gateway.state_machines import CASE, CLEARANCE, FEE, MESSAGE, REQUEST, StateMachine
from gateway.store import TransitionRow, agency_requests, cases, customs_notices, fees, messages
from gateway.store.transitions import transitions


@dataclass(frozen=True, slots=True)
class _StatefulTable:
    """A table with the column `state`; `owner` is the column by which its rows are chosen."""

    machine: StateMachine
    table: Table
    owner: str


_OF_MESSAGES: Final = (_StatefulTable(MESSAGE, messages.messages, "id"),)
_OF_CASES: Final = (
    _StatefulTable(CASE, cases.cases, "id"),
    _StatefulTable(REQUEST, agency_requests.agency_requests, "case_id"),
    _StatefulTable(FEE, fees.fees, "case_id"),
    _StatefulTable(CLEARANCE, customs_notices.clearances, "id"),
)
_TRANSITIONS: Final = "the rows of `transitions` about it"
COMPARED: Final = (
    *(ComparedTable(each.table.name, ("state",), _TRANSITIONS) for each in (*_OF_MESSAGES, *_OF_CASES)),
    ComparedTable(
        "transitions",
        ("from_state", "event", "to_state"),
        "each other, and the state machine; told at their object",
    ),
)


def compare_message_states(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare the states of messages (row ids) with their transitions."""
    for each in _OF_MESSAGES:
        _compare_states(conn, each, ids, findings)


def compare_case_states(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare the states of cases (row ids), and of what belongs to them, with their transitions."""
    for each in _OF_CASES:
        _compare_states(conn, each, ids, findings)


def _compare_states(
    conn: Connection, stateful: _StatefulTable, owners: Sequence[int], findings: RowFindings
) -> None:
    table, machine = stateful.table, stateful.machine
    chosen = select(table.c.id, table.c.state).where(table.c[stateful.owner].in_(owners))
    states = {row.id: row.state for row in conn.execute(chosen).all()}
    query = select(transitions).where(
        transitions.c.machine == machine.name, transitions.c.object_id.in_(list(states))
    )
    steps: dict[int, list[TransitionRow]] = defaultdict(list)
    for step in conn.execute(query.order_by(transitions.c.id)).all():
        steps[step.object_id].append(step)
    for object_id, state in states.items():
        findings.compared["transitions"] += len(steps[object_id])
        detail = _find_wrong_step(machine, state, steps[object_id])
        if detail is not None:
            findings.add_difference(table.name, object_id, detail)


def _find_wrong_step(machine: StateMachine, state: str, steps: Sequence[TransitionRow]) -> str | None:
    """Return the fault of the steps that led to a state, None if there is none."""
    before = machine.initial_state
    for step in steps:
        if step.from_state != before or machine.transitions[before].get(step.event) != step.to_state:
            return f"transition {step.id}: {step.event} from {step.from_state} to {step.to_state} is no step"
        before = step.to_state
    return None if state == before else f"state is {state}; its transitions say {before}"

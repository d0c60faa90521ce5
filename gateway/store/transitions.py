"""Stores the logs with the changes that they record: transitions of state machines, events, and evidence.

Every step writes its log rows in the transaction of its change. The hashes of the evidence, which are valid
once the transaction is committed, are noted beside them (`CommitNotes`), and so are the rows of the register
that were changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Index,
    Insert,
    Select,
    Table,
    Text,
    UniqueConstraint,
    Update,
    bindparam,
    case,
    insert,
    select,
    update,
)

from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.state_machines import CASE, REQUEST, StateMachine, get_next_state
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    Instant,
    PartialIndex,
    make_identity_column,
    make_partial_index,
    make_required_column,
    metadata,
)

# Append-only except `seq`, which the sequencer sets; `data` is exactly the text that was hashed.
evidence = Table(
    "evidence",
    metadata,
    make_identity_column(),
    make_required_column("at", Instant),
    make_required_column("kind"),
    make_required_column("subject_type", CODE_TEXT),
    make_required_column("subject_id", ID_TEXT),
    Column("digest", Text),
    make_required_column("leaf_hash"),
    make_required_column("data"),
    Column("seq", BigInteger),
    make_partial_index("uq_evidence_seq", "seq", unique=True),
    # PostgreSQL commits rows in another order than it numbers them, so rows without `seq` must be
    # searched for. SQLite has one writer and keeps the order; its index contains no row.
    PartialIndex("ix_evidence_unsealed", "id", where="seq < 0", on_postgresql="seq IS NULL"),
    Index("ix_evidence_subject", "subject_type", "subject_id"),
)


class EvidenceRow(Protocol):
    """A row of the table `evidence`."""

    id: int
    at: datetime
    kind: str
    subject_type: str
    subject_id: str
    digest: str | None
    leaf_hash: str
    data: str
    seq: int | None


_Row = Mapping[str, Any]
#: Execution option of the connection of a write transaction.
_NOTES: Final = "gateway_notes"


@dataclass(slots=True)
class CommitNotes:
    """The hashes of the evidence that one transaction has stored; they are valid once it is committed.

    The first `settled` of `leaves` stay when later work fails and is rolled back to a savepoint.
    `changed_rows` are the keys of the rows of the register, by table, that the transaction has changed and
    that no leaf states yet.
    """

    leaves: list[str] = field(default_factory=list)
    settled: int = 0
    changed_rows: dict[str, set[str]] = field(default_factory=dict)


def begin_notes(conn: Connection) -> CommitNotes:
    """Return new notes, to which the transaction of this connection adds the evidence that it stores."""
    notes = CommitNotes()
    conn.execution_options(**{_NOTES: notes})
    return notes


def _find_notes(conn: Connection) -> CommitNotes | None:
    """Return the notes of the transaction of a connection; None if it is no write transaction."""
    return conn.get_execution_options().get(_NOTES)


def note_changed_row(conn: Connection, table: str, key: str | int) -> None:
    """Note that the transaction has stored, changed or removed a row of the register, for its evidence."""
    notes = _find_notes(conn)
    if notes is not None:
        notes.changed_rows.setdefault(table, set()).add(str(key))


def take_changed_rows(conn: Connection) -> dict[str, set[str]] | None:
    """Return the keys of the changed rows of the register by table, and forget them.

    Returns None where nothing is noted, as the connection is in no write transaction.
    """
    notes = _find_notes(conn)
    if notes is None:
        return None
    changed_rows, notes.changed_rows = notes.changed_rows, {}
    return changed_rows


@cache
def _build_insert(log: Table) -> Insert:
    return insert(log).inline()


def insert_log_rows(conn: Connection, log: Table, rows: Sequence[_Row]) -> None:
    """Insert rows of a log."""
    if not rows:
        return
    for row in rows:
        if row["at"].tzinfo is None:
            raise ValueError(f"a time without a zone in {log.name}")
    conn.execute(_build_insert(log), dict(rows[0]) if len(rows) == 1 else list(rows))
    notes = _find_notes(conn)
    if notes is not None and log is evidence:
        notes.leaves += [str(row["leaf_hash"]) for row in rows]


def settle_notes(conn: Connection) -> None:
    """Keep the notes made so far, even if the work that follows is rolled back to a savepoint."""
    notes = _find_notes(conn)
    if notes is not None:
        notes.settled = len(notes.leaves)


def forget_notes(conn: Connection) -> None:
    """Forget the notes that are not settled: the changes that they record were rolled back."""
    notes = _find_notes(conn)
    if notes is not None:
        del notes.leaves[notes.settled :]


# What happened, written in the transaction of the change. Transactions commit in another order than
# their rows are numbered, so a reader that goes on after the last number would miss rows. The
# sequencer gives `sequence` to rows that are committed; readers follow it alone.
events = Table(
    "events",
    metadata,
    make_identity_column(),
    make_required_column("at", Instant),
    make_required_column("subject_type"),
    make_required_column("subject_id", BigInteger),
    make_required_column("state"),
    Column("sequence", BigInteger),
    CheckConstraint(
        "subject_type IN ('case', 'request', 'notice', 'message', 'requirement')", name="subject_type"
    ),
    # Rows without a place are found by this index, too.
    UniqueConstraint("sequence"),
)


def record_events(conn: Connection, subject: str, changes: Sequence[tuple[int, str]], at: datetime) -> None:
    """Store one event for each (row id of a subject, its new state), in the caller's transaction."""
    rows = [
        {"at": at, "subject_type": subject, "subject_id": subject_id, "state": state}
        for subject_id, state in changes
    ]
    insert_log_rows(conn, events, rows)


transitions = Table(
    "transitions",
    metadata,
    make_identity_column(),
    make_required_column("machine", CODE_TEXT),
    make_required_column("object_id", BigInteger),
    make_required_column("from_state"),
    make_required_column("event"),
    make_required_column("to_state"),
    make_required_column("at", Instant),
    make_required_column("actor"),
    Column("detail", Text),
    Index("ix_transitions_object", "machine", "object_id"),
)


class TransitionRow(Protocol):
    """A row of the table `transitions`."""

    id: int
    machine: str
    object_id: int
    from_state: str
    event: str
    to_state: str
    at: datetime
    actor: str
    detail: str | None


#: The machines whose steps are events for the software of parties.
_EVENT_MACHINES = frozenset({CASE.name, REQUEST.name})


@dataclass(frozen=True, slots=True)
class StateEvent:
    """One event on one object: event, time, actor, and reason."""

    event: str
    at: datetime
    actor: str
    detail: str | None = None


def record_transitions(
    conn: Connection, machine: StateMachine, changes: Sequence[tuple[int, str, str]], event: StateEvent
) -> None:
    """Store one row for each (object id, state before, state after), and the events for parties."""
    rows = [
        {
            "machine": machine.name,
            "object_id": object_id,
            "from_state": before,
            "event": event.event,
            "to_state": after,
            "at": event.at,
            "actor": event.actor,
            "detail": event.detail,
        }
        for object_id, before, after in changes
    ]
    insert_log_rows(conn, transitions, rows)
    if machine.name in _EVENT_MACHINES:
        changed_objects = [
            (object_id, after)
            for object_id, before, after in changes
            if before != after or event.event == "correct"
        ]
        record_events(conn, machine.name, changed_objects, event.at)


def apply_event(
    conn: Connection,
    table: Table,
    machine: StateMachine,
    object_id: int,
    event: StateEvent,
    *,
    before: str | None = None,
    **values: Any,
) -> str:
    """Apply the event to the object's state, set `values`, record the transition; return the new state.

    `before` is the state, where the caller has read it: the object is changed if it is still in that state.
    """
    if before is None:
        before = conn.execute(_build_state_query(table), {"wanted": object_id}).scalar_one_or_none()
    if before is None:
        raise GatewayError(TRANSITION_REFUSED, f"there is no {machine.name} {object_id}")
    after = get_next_state(machine, before, event.event)
    write_state(conn, table, machine, object_id, before, {"state": after, **values})
    record_transitions(conn, machine, [(object_id, before, after)], event)
    return after


def write_state(
    conn: Connection,
    table: Table,
    machine: StateMachine,
    object_id: int,
    before: str,
    values: Mapping[str, Any],
) -> None:
    """Set columns of an object, the state among them, if it is in the state `before`; raise GW705 else.

    The demands of a request follow its state when they are set, or have followed it until now.
    """
    row = {"wanted": object_id, "before": before, **values}
    if "demands_state" in table.c and "demands_state" not in values:
        row["after"] = values["state"]
    if conn.execute(_build_state_update(table, tuple(values)), row).rowcount != 1:
        raise GatewayError(TRANSITION_REFUSED, f"{machine.name} {object_id} was changed by another meanwhile")


@lru_cache(maxsize=16)
def _build_state_query(table: Table) -> Select[tuple[Any]]:
    return select(table.c.state).where(table.c.id == bindparam("wanted"))


@lru_cache(maxsize=128)
def _build_state_update(table: Table, names: tuple[str, ...]) -> Update:
    """Return the statement that sets these columns, if the state is unchanged."""
    unchanged = update(table).where(table.c.id == bindparam("wanted"), table.c.state == bindparam("before"))
    changed: dict[str, Any] = {name: bindparam(name) for name in names}
    if "demands_state" in table.c and "demands_state" not in names:
        after = bindparam("after", type_=Text())
        followed = table.c.demands_state == table.c.state
        changed["demands_state"] = after if "demands" in names else case((followed, after))
    return unchanged.values(changed)


def list_transitions(conn: Connection, machine: StateMachine, object_id: int) -> Sequence[TransitionRow]:
    """Return the stored transitions of an object, oldest first."""
    return conn.execute(
        select(transitions)
        .where(transitions.c.machine == machine.name, transitions.c.object_id == object_id)
        .order_by(transitions.c.id)
    ).all()

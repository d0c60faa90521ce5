"""Stores events in the transactions of their changes, and gives them to readers in one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Integer, Row, bindparam, func, insert, or_, select, update

from gateway.store.event_tables import event_readers, events
from gateway.store.list_lengths import lengthen_list
from gateway.store.prepared_statements import InsertIfAbsent, PreparedStatement
from gateway.store.requirement_tables import requirement_uses, requirements
from gateway.store.tables import agency_requests, cases, epochs, messages, notices
from gateway.store.transaction_rows import insert_log_rows

__all__ = [
    "SequencedEvent",
    "has_waiting_events",
    "list_events",
    "read_last_sequence",
    "record_events",
    "sequence_events",
]

#: Its epoch is the last sequence that was given; its row is the lock of the sequencers.
_NAME: Final = "events"
_BEGIN = InsertIfAbsent(epochs, ("name",))
_LOCK = select(epochs.c.value).where(epochs.c.name == _NAME).with_for_update()
_ADVANCE = update(epochs).where(epochs.c.name == _NAME).values(value=bindparam("last"))
_IS_WAITING = select(events.c.id).where(events.c.sequence.is_(None)).limit(1)
_WAITING = (
    select(events)
    .where(events.c.sequence.is_(None))
    .order_by(events.c.id)
    .limit(bindparam("most", type_=Integer()))
)
_SET = PreparedStatement(
    update(events).where(events.c.id == bindparam("wanted")).values(sequence=bindparam("given"))
)
_TELL = PreparedStatement(insert(event_readers))


@dataclass(frozen=True, slots=True)
class SequencedEvent:
    """An event that has its place: the parties that it is for."""

    sequence: int
    parties: tuple[str, ...]


def record_events(conn: Connection, subject: str, changes: Sequence[tuple[int, str]], at: datetime) -> None:
    """Store one event for each (row id of a subject, its new state), in the caller's transaction."""
    rows = [{"at": at, "subject_type": subject, "subject_id": one, "state": state} for one, state in changes]
    insert_log_rows(conn, events, rows)


def has_waiting_events(conn: Connection) -> bool:
    """Return whether committed events wait for their places."""
    return conn.execute(_IS_WAITING).first() is not None


def sequence_events(conn: Connection, limit: int) -> tuple[SequencedEvent, ...]:
    """Give places to events that are committed, oldest first; one transaction at a time does so."""
    _BEGIN.insert_many(conn, [{"name": _NAME, "value": 0}])
    last = conn.execute(_LOCK).scalar_one()
    rows = conn.execute(_WAITING, {"most": limit}).all()
    if not rows:
        return ()
    placed = [(last + number, row) for number, row in enumerate(rows, start=1)]
    _SET.execute_rows(conn, [{"wanted": row.id, "given": number} for number, row in placed])
    conn.execute(_ADVANCE, {"last": placed[-1][0]})
    found = _find_parties(conn, rows)
    told = []
    for number, row in placed:
        case, parties = found.get((row.subject_type, row.subject_id), (0, ()))
        told += [{"party": party, "sequence": number, "case_id": case} for party in parties]
    if told:
        _TELL.execute_rows(conn, told)
    return tuple(
        SequencedEvent(number, found.get((row.subject_type, row.subject_id), (0, ()))[1])
        for number, row in placed
    )


def _find_parties(
    conn: Connection, rows: Sequence[Row[Any]]
) -> dict[tuple[str, int], tuple[int, tuple[str, ...]]]:
    """Return case and parties of each subject, with one statement for each kind of subject."""
    wanted: dict[str, set[int]] = {}
    for row in rows:
        wanted.setdefault(row.subject_type, set()).add(row.subject_id)
    found = {}
    for kind, ids in wanted.items():
        for one in conn.execute(_PARTIES[kind], {"wanted": lengthen_list(sorted(ids))}):
            found[kind, int(one.subject)] = (
                int(one.id),
                tuple(dict.fromkeys((one.applicant, one.declarant))),
            )
    return found


_asked = cases.join(agency_requests, agency_requests.c.case_id == cases.c.id)
_SOURCES: Final[dict[str, tuple[Any, Any]]] = {
    "case": (cases.c.id, cases),
    "request": (agency_requests.c.id, _asked),
    "notice": (notices.c.id, _asked.join(notices, notices.c.request_id == agency_requests.c.id)),
    "message": (messages.c.id, cases.join(messages, messages.c.case_id == cases.c.id)),
    "requirement": (requirement_uses.c.id, cases.join(requirement_uses)),
}
_PARTIES: Final = {
    kind: select(subject.label("subject"), cases.c.id, cases.c.applicant, cases.c.declarant)
    .select_from(source)
    .where(subject.in_(bindparam("wanted", expanding=True)))
    for kind, (subject, source) in _SOURCES.items()
}


def read_last_sequence(conn: Connection) -> int:
    """Return the last place that was given; 0 before the first."""
    found = conn.execute(select(epochs.c.value).where(epochs.c.name == _NAME)).scalar()
    return int(found or 0)


def list_events(
    conn: Connection, party: str, after: int, limit: int, *, only: int | None = None
) -> Sequence[Row[Any]]:
    """Return events of a party after a place, in order, each with the numbers of what it is about.

    `only` gives the one event at that place.
    """
    about = or_(
        (events.c.subject_type == "request") & (agency_requests.c.id == events.c.subject_id),
        agency_requests.c.id == notices.c.request_id,
    )
    notice = (events.c.subject_type == "notice") & (notices.c.id == events.c.subject_id)
    used = (events.c.subject_type == "requirement") & (requirement_uses.c.id == events.c.subject_id)
    message = (events.c.subject_type == "message") & (messages.c.id == events.c.subject_id)
    source = (
        event_readers.join(events, events.c.sequence == event_readers.c.sequence)
        .join(cases, cases.c.id == event_readers.c.case_id)
        .outerjoin(notices, notice)
        .outerjoin(agency_requests, about)
        .outerjoin(messages, message)
        .outerjoin(requirement_uses, used)
        .outerjoin(requirements, requirements.c.id == requirement_uses.c.requirement_id)
    )
    columns: tuple[Any, ...] = (
        event_readers.c.sequence,
        events.c.at,
        events.c.subject_type,
        events.c.state,
        cases.c.number.label("case_number"),
        agency_requests.c.number.label("application"),
        func.coalesce(agency_requests.c.agency, requirements.c.agency).label("agency"),
        requirements.c.number.label("requirement"),
        notices.c.number.label("notice"),
        messages.c.message_id,
    )
    found = select(*columns).select_from(source).where(event_readers.c.party == party)
    place = event_readers.c.sequence
    found = found.where(place > after) if only is None else found.where(place == only)
    return conn.execute(found.order_by(place).limit(limit)).all()

"""Numbers committed events in one sequence, and stores who reads them: parties and their webhooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    Row,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from gateway.store.agency_requests import agency_requests
from gateway.store.cases import cases
from gateway.store.messages import messages
from gateway.store.notices import notices
from gateway.store.parties import parties
from gateway.store.postgresql_connections import acquire_named_locks
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.register_version import epochs
from gateway.store.requirement_quantities import requirement_uses, requirements
from gateway.store.table_types import (
    NAME_TEXT,
    ClusteredTable,
    Instant,
    make_identity_column,
    make_required_column,
    metadata,
)
from gateway.store.transitions import events

# The parties that an event is for, and the case that it is about.
event_readers = ClusteredTable(
    "event_readers",
    metadata,
    Column("party", NAME_TEXT, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    make_required_column("case_id", BigInteger),
)


#: Its epoch is the last sequence that was given; its row is the lock of the sequencers.
_SEQUENCE_NAME: Final = "events"

_BEGIN = InsertIfAbsent(epochs, ("name",))

_LOCK = select(epochs.c.value).where(epochs.c.name == _SEQUENCE_NAME).with_for_update()

_ADVANCE = update(epochs).where(epochs.c.name == _SEQUENCE_NAME).values(value=bindparam("last"))

_IS_WAITING = select(events.c.id).where(events.c.sequence.is_(None)).limit(1)

_WAITING = (
    select(events)
    .where(events.c.sequence.is_(None))
    .order_by(events.c.id)
    .limit(bindparam("most", type_=Integer()))
)

_SET_SEQUENCE = (
    update(events).where(events.c.id == bindparam("event")).values(sequence=bindparam("new_sequence"))
)


@dataclass(frozen=True, slots=True)
class SequencedEvent:
    """An event that has its number in the sequence, and the parties that may read it."""

    sequence: int
    parties: tuple[str, ...]


def has_waiting_events(conn: Connection) -> bool:
    """Return whether there are committed events without a number."""
    return conn.execute(_IS_WAITING).first() is not None


def sequence_events(conn: Connection, limit: int) -> tuple[SequencedEvent, ...]:
    """Give numbers to at most `limit` committed events, oldest first; one transaction at a time does so."""
    _BEGIN.insert_many(conn, [{"name": _SEQUENCE_NAME, "value": 0}])
    last_number = conn.execute(_LOCK).scalar_one()
    rows = conn.execute(_WAITING, {"most": limit}).all()
    if not rows:
        return ()
    numbered_rows = [(last_number + number, row) for number, row in enumerate(rows, start=1)]
    conn.execute(_SET_SEQUENCE, [{"event": row.id, "new_sequence": number} for number, row in numbered_rows])
    conn.execute(_ADVANCE, {"last": numbered_rows[-1][0]})
    parties_by_subject = _find_parties(conn, rows)
    reader_rows = []
    for number, row in numbered_rows:
        case, parties = parties_by_subject.get((row.subject_type, row.subject_id), (0, ()))
        reader_rows += [{"party": party, "sequence": number, "case_id": case} for party in parties]
    if reader_rows:
        conn.execute(insert(event_readers), reader_rows)
    return tuple(
        SequencedEvent(number, parties_by_subject.get((row.subject_type, row.subject_id), (0, ()))[1])
        for number, row in numbered_rows
    )


def _find_parties(
    conn: Connection, rows: Sequence[Row[Any]]
) -> dict[tuple[str, int], tuple[int, tuple[str, ...]]]:
    """Return the case and the parties of each subject of these events; one statement per kind of subject."""
    ids_by_kind: dict[str, set[int]] = {}
    for row in rows:
        ids_by_kind.setdefault(row.subject_type, set()).add(row.subject_id)
    parties_by_subject = {}
    for subject_type, ids in ids_by_kind.items():
        for case_row in conn.execute(_PARTIES[subject_type], {"wanted": sorted(ids)}):
            parties_by_subject[subject_type, int(case_row.subject)] = (
                int(case_row.id),
                tuple(dict.fromkeys((case_row.applicant, case_row.declarant))),
            )
    return parties_by_subject


_cases_with_requests = cases.join(agency_requests, agency_requests.c.case_id == cases.c.id)

_SOURCES: Final[dict[str, tuple[Any, Any]]] = {
    "case": (cases.c.id, cases),
    "request": (agency_requests.c.id, _cases_with_requests),
    "notice": (
        notices.c.id,
        _cases_with_requests.join(notices, notices.c.request_id == agency_requests.c.id),
    ),
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
    """Return the highest number that an event has; 0 before the first."""
    last = conn.execute(select(epochs.c.value).where(epochs.c.name == _SEQUENCE_NAME)).scalar()
    return int(last or 0)


class PartyEventRow(Protocol):
    """An event of a party, with the numbers of its subjects."""

    sequence: int
    at: datetime
    subject_type: str
    state: str
    case_number: str
    application: str | None
    agency: str | None
    requirement: str | None
    notice: str | None
    message_id: str | None


def list_events(
    conn: Connection, party: str, after: int, limit: int, *, only_sequence: int | None = None
) -> Sequence[PartyEventRow]:
    """Return events of a party with a number above `after`, in order, with the numbers of their subjects.

    With `only_sequence`, return the one event with that number.
    """
    is_request_of_event = or_(
        (events.c.subject_type == "request") & (agency_requests.c.id == events.c.subject_id),
        agency_requests.c.id == notices.c.request_id,
    )
    is_notice_of_event = (events.c.subject_type == "notice") & (notices.c.id == events.c.subject_id)
    used = (events.c.subject_type == "requirement") & (requirement_uses.c.id == events.c.subject_id)
    message = (events.c.subject_type == "message") & (messages.c.id == events.c.subject_id)
    source = (
        event_readers.join(events, events.c.sequence == event_readers.c.sequence)
        .join(cases, cases.c.id == event_readers.c.case_id)
        .outerjoin(notices, is_notice_of_event)
        .outerjoin(agency_requests, is_request_of_event)
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
    query = select(*columns).select_from(source).where(event_readers.c.party == party)
    sequence = event_readers.c.sequence
    query = query.where(sequence > after) if only_sequence is None else query.where(sequence == only_sequence)
    return conn.execute(query.order_by(sequence).limit(limit)).all()


# The addresses at which parties want to receive events. The secret is derived from a key in a file, so it is
# not here.
webhooks = Table(
    "webhooks",
    metadata,
    make_identity_column(),
    make_required_column("name", NAME_TEXT),
    make_required_column("party_id", NAME_TEXT, ForeignKey("parties.id")),
    make_required_column("url"),
    make_required_column("state"),
    make_required_column("created_at", Instant),
    Column("failing_since", Instant),
    Column("last_good_at", Instant),
    Column("reason", Text),
    UniqueConstraint("name"),
    CheckConstraint("state IN ('ACTIVE', 'OFF', 'DELETED')", name="state"),
    Index("ix_webhooks_party_id", "party_id"),
)


class WebhookRow(Protocol):
    """A row of the table `webhooks`."""

    id: int
    name: str
    party_id: str
    url: str
    state: str
    created_at: datetime
    failing_since: datetime | None
    last_good_at: datetime | None
    reason: str | None


_ACTIVE_WEBHOOKS: Final = (
    select(webhooks)
    .join(parties, parties.c.id == webhooks.c.party_id)
    .where(
        webhooks.c.party_id.in_(bindparam("wanted", expanding=True)),
        webhooks.c.state == "ACTIVE",
        # A suspended party gets no event.
        parties.c.status == "ACTIVE",
    )
    .order_by(webhooks.c.id)
)


def insert_webhook(conn: Connection, name: str, party: str, url: str, at: datetime) -> None:
    """Store a webhook of a party; `name` is its public id."""
    row = {"name": name, "party_id": party, "url": url, "state": "ACTIVE", "created_at": at}
    conn.execute(insert(webhooks).values(row))


def find_webhook(conn: Connection, name: str, party: str | None = None) -> WebhookRow | None:
    """Return the webhook of this name, if it is not deleted and is the party's."""
    query = select(webhooks).where(webhooks.c.name == name, webhooks.c.state != "DELETED")
    return conn.execute(query if party is None else query.where(webhooks.c.party_id == party)).first()


def count_webhooks(conn: Connection, party: str) -> int:
    """Return how many webhooks a party has; other transactions that count them wait for the commit."""
    acquire_named_locks(conn, f"webhooks of {party}")
    return len(list_webhooks(conn, party))


def list_webhooks(conn: Connection, party: str) -> Sequence[WebhookRow]:
    """Return the webhooks of a party, oldest first."""
    query = select(webhooks).where(webhooks.c.party_id == party, webhooks.c.state != "DELETED")
    return conn.execute(query.order_by(webhooks.c.id)).all()


def list_all_webhooks(conn: Connection, limit: int | None = None) -> Sequence[WebhookRow]:
    """Return the webhooks of all parties that are not deleted, oldest first; at most `limit` of them."""
    query = select(webhooks).where(webhooks.c.state != "DELETED").order_by(webhooks.c.id)
    return conn.execute(query.limit(limit)).all()


def list_active_webhooks(conn: Connection, parties: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of the webhooks that are called, by party."""
    distinct_parties = sorted(set(parties))
    names_by_party: dict[str, list[str]] = {}
    for row in conn.execute(_ACTIVE_WEBHOOKS, {"wanted": distinct_parties}) if distinct_parties else ():
        names_by_party.setdefault(row.party_id, []).append(row.name)
    return names_by_party


def delete_webhook(conn: Connection, name: str) -> None:
    """Mark a webhook as deleted; calls that are still queued are not made."""
    conn.execute(update(webhooks).where(webhooks.c.name == name).values(state="DELETED"))


def record_good_call(conn: Connection, name: str, at: datetime) -> None:
    """Store that a call of a webhook has succeeded."""
    conn.execute(update(webhooks).where(webhooks.c.name == name).values(last_good_at=at, failing_since=None))


def record_failed_call(conn: Connection, name: str, at: datetime) -> None:
    """Store that a call failed; only the time of the first failure after a successful call is kept."""
    condition = (webhooks.c.name == name) & webhooks.c.failing_since.is_(None)
    conn.execute(update(webhooks).where(condition).values(failing_since=at))


def switch_webhook_off(conn: Connection, name: str, reason: str) -> None:
    """Switch a webhook off, if it is active, and store the reason, which its party can read."""
    condition = (webhooks.c.name == name) & (webhooks.c.state == "ACTIVE")
    conn.execute(update(webhooks).where(condition).values(state="OFF", reason=reason))


def switch_webhook_on(conn: Connection, name: str) -> None:
    """Switch a webhook on again."""
    condition = (webhooks.c.name == name) & (webhooks.c.state != "DELETED")
    conn.execute(update(webhooks).where(condition).values(state="ACTIVE", reason=None, failing_since=None))

"""Finds and removes octets that are no longer needed: of messages, their parts, calls, documents, old drafts.

The rows stay: who sent what and when, digests, states, evidence. So a repeat of a message is still
known, and the evidence is verified as before. Octets that still have another use are not removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Text,
    and_,
    cast,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from gateway.state_machines import CASE, DELIVERY
from gateway.store.agency_requests import agency_requests
from gateway.store.case_answers import case_answer_files, case_answers
from gateway.store.cases import TimedPosition, cases
from gateway.store.deliveries import deliveries, delivery_attempts
from gateway.store.fetched_lists import fetched_lists
from gateway.store.fragment_groups import fragment_groups, fragments, sent_fragments, sent_groups
from gateway.store.message_sequences import ordered_messages
from gateway.store.messages import message_payloads, messages
from gateway.store.officer_work import console_mailbox, officer_acts
from gateway.store.payloads import payloads
from gateway.store.prepared_statements import build_state_condition
from gateway.store.submission_drafts import draft_files, submission_drafts
from gateway.store.transitions import evidence
from gateway.store.verdicts import verdicts

#: The place before all rows.
START: Final = TimedPosition(datetime(1970, 1, 2, tzinfo=UTC), 0)
_ENDED: Final = sorted(CASE.final_states)
_OVER: Final = sorted(DELIVERY.final_states)
#: The kinds of evidence whose octets stay: signed messages, acts of officers, and the data behind verdicts.
_EVIDENCE_KINDS: Final = ("customs", "reply", "verdict", "act", "fetched")


@dataclass(frozen=True, slots=True)
class RemovedOctets:
    """The result of one removal: the digests whose octets were removed, and the number of octets."""

    digests: tuple[str, ...]
    octets: int


class EndedCaseRow(Protocol):
    """A case that has ended."""

    id: int
    number: str
    ended_at: datetime
    opened_at: datetime


def list_ended_cases(
    conn: Connection, before: datetime, after: TimedPosition, limit: int
) -> Sequence[EndedCaseRow]:
    """Return cases that ended before `before` and still have octets, after a position.

    A case with an unfinished delivery has not ended.
    """
    columns: list[ColumnElement[Any]] = [cases.c.id, cases.c.number, _CASE_END, cases.c.opened_at]
    query = select(*columns).where(
        cases.c.purged_at.is_(None),
        cases.c.opened_at < before,
        tuple_(cases.c.opened_at, cases.c.id) > tuple_(*_bind_position(cases.c.opened_at, after)),
        _has_ended(before),
    )
    return conn.execute(query.order_by(cases.c.opened_at, cases.c.id).limit(limit)).all()


_CASE_END: Final = func.coalesce(cases.c.closed_at, cases.c.opened_at).label("ended_at")


def _has_ended(before: datetime) -> ColumnElement[bool]:
    """Return the condition that a case ended before `before`, and all its deliveries are finished."""
    busy = exists().where(deliveries.c.case_id == cases.c.id, deliveries.c.state.not_in(_OVER))
    # Not by the index of states: nearly every case has ended.
    return and_((cases.c.state + "").in_(_ENDED), before > _CASE_END, ~busy)


class KeptMessageRow(Protocol):
    """The columns of a message that decide how long its octets are kept."""

    id: int
    case_id: int | None
    agreement_id: str | None
    pmode_id: str | None
    received_at: datetime


def list_case_messages(conn: Connection, case_ids: Iterable[int]) -> Sequence[KeptMessageRow]:
    """Return the messages of cases, with the columns that decide how long they are kept."""
    return conn.execute(
        _select_messages().where(messages.c.case_id.in_(list(case_ids))).order_by(messages.c.id)
    ).all()


def list_old_caseless_messages(
    conn: Connection, before: datetime, after: TimedPosition, limit: int
) -> Sequence[KeptMessageRow]:
    """Return messages without a case, received before `before`, that still have octets, after a position.

    Leaves out messages that a task still has to admit, and fragments that are still needed. A fragment that
    the hub sent is returned once the octets of its whole message were removed.
    """
    key = literal("admit:") + cast(messages.c.id, Text)
    waiting = exists().where(deliveries.c.dedupe_key == key, deliveries.c.state.not_in(_OVER))
    query = _select_messages().where(
        messages.c.purged_at.is_(None),
        messages.c.case_id.is_(None),
        messages.c.received_at < before,
        tuple_(messages.c.received_at, messages.c.id)
        > tuple_(*_bind_position(messages.c.received_at, after)),
        or_(messages.c.direction == "in", _is_fragment_of_removed()),
        ~waiting,
        ~_is_needed_fragment(before),
    )
    return conn.execute(query.order_by(messages.c.received_at, messages.c.id).limit(limit)).all()


def _is_needed_fragment(before: datetime) -> ColumnElement[bool]:
    """Return the condition that a message is a fragment that is still needed.

    An open or complete group is joined from its fragments. The error message to the sender of a refused group
    is made from its first fragment, so all are kept until then. If a group is joined, its fragments prove the
    joined message until the case of that has ended before `before`.
    """
    group, joined = fragment_groups.c, messages.alias("joined")
    key = literal("fragments-drop:") + cast(group.id, Text)
    untold = exists().where(deliveries.c.dedupe_key == key, deliveries.c.state.not_in(_OVER))
    is_evidence = exists().where(
        joined.c.id == group.message, cases.c.id == joined.c.case_id, ~_has_ended(before)
    )
    return exists().where(
        fragments.c.message == messages.c.id,
        group.id == fragments.c.group,
        or_(group.ended_at.is_(None), untold, is_evidence),
    )


def _is_fragment_of_removed() -> ColumnElement[bool]:
    """Return the condition that a message is a fragment of a sent message whose octets were removed."""
    group, whole = sent_groups.c, messages.alias("whole")
    return exists().where(
        sent_fragments.c.message == messages.c.id,
        group.delivery == sent_fragments.c.group,
        whole.c.id == group.message,
        whole.c.purged_at.is_not(None),
    )


def _bind_position(moment: Any, position: TimedPosition) -> tuple[Any, Any]:
    return literal(position.at, type_=moment.type), literal(position.id)


def _select_messages() -> Any:
    """Return the query of messages that do not wait for an earlier message of their conversation."""
    columns = (messages.c.id, messages.c.case_id, messages.c.agreement_id, messages.c.pmode_id)
    # One that waits for an earlier message of its conversation has no task yet.
    held = exists().where(
        ordered_messages.c.message == messages.c.id, build_state_condition(ordered_messages, "HELD")
    )
    return select(*columns, messages.c.received_at).where(~held)


def list_used_digests(
    conn: Connection, case_ids: Sequence[int], message_ids: Sequence[int]
) -> frozenset[str]:
    """Return the digests of all payloads that the cases, their messages, or `message_ids` refer to."""
    chosen = _is_one_of(messages.c.case_id, case_ids) | _is_one_of(messages.c.id, message_ids)
    whole = select(messages.c.parcel_sha256).where(chosen, messages.c.parcel.is_(None))
    apart = message_payloads.c.parcel_offset.is_(None)
    parts = select(message_payloads.c.sha256).join(messages).where(chosen, apart)
    calls = select(deliveries.c.payload_sha256).where(_is_one_of(deliveries.c.case_id, case_ids))
    documents = select(agency_requests.c.document_sha256).where(
        _is_one_of(agency_requests.c.case_id, case_ids)
    )
    # The earlier octets of calls that were composed anew.
    ended_deliveries = select(cast(deliveries.c.id, Text)).where(_is_one_of(deliveries.c.case_id, case_ids))
    replaced = select(evidence.c.digest).where(
        evidence.c.subject_type == "delivery", evidence.c.subject_id.in_(ended_deliveries)
    )
    used_digests = {
        digest
        for each in (whole, parts, calls, documents, replaced)
        for digest in conn.execute(each).scalars()
    }
    return frozenset(digest for digest in used_digests if digest is not None)


def measure_octets(
    conn: Connection, case_ids: Sequence[int], message_ids: Sequence[int], digests: Iterable[str]
) -> int:
    """Return how many octets the messages of these cases, these messages and the payloads `digests` have."""
    chosen = _is_one_of(messages.c.case_id, case_ids) | _is_one_of(messages.c.id, message_ids)
    parcel_size = func.coalesce(func.length(messages.c.parcel), 0)
    answers = func.coalesce(func.length(messages.c.answer_body), 0)
    rows = conn.execute(select(func.sum(parcel_size + answers)).where(chosen)).scalar()
    apart = conn.execute(
        select(func.sum(payloads.c.size)).where(
            payloads.c.sha256.in_(list(digests)), payloads.c.purged_at.is_(None)
        )
    ).scalar()
    return int(rows or 0) + int(apart or 0)


def _is_one_of(column: Any, values: Sequence[int]) -> ColumnElement[bool]:
    chosen: ColumnElement[bool] = column.in_(list(values))
    return chosen


def remove_octets(
    conn: Connection, case_ids: Sequence[int], message_ids: Sequence[int], at: datetime
) -> RemovedOctets:
    """Remove the octets of `case_ids` cases and of `message_ids`, which are messages without a case.

    A payload that another case or message needs stays, and is removed with the last of them. The rows of the
    payloads are locked first: a transaction that stores the same octets meanwhile waits, then stores them.
    """
    digests = sorted(list_used_digests(conn, case_ids, message_ids))
    locked = select(payloads.c.sha256).where(payloads.c.sha256.in_(digests), payloads.c.purged_at.is_(None))
    present_digests = conn.execute(locked.order_by(payloads.c.sha256).with_for_update()).scalars().all()
    count = measure_octets(conn, case_ids, message_ids, ())
    chosen = and_(
        _is_one_of(messages.c.case_id, case_ids) | _is_one_of(messages.c.id, message_ids),
        messages.c.purged_at.is_(None),
    )
    parcel_digests = list(
        conn.execute(select(messages.c.parcel_sha256).where(chosen, messages.c.parcel.is_not(None))).scalars()
    )
    conn.execute(update(messages).where(chosen).values(parcel=None, answer_body=None, purged_at=at))
    conn.execute(update(cases).where(_is_one_of(cases.c.id, case_ids)).values(purged_at=at))
    needed = _list_needed(conn, present_digests)
    unneeded_digests = [digest for digest in present_digests if digest not in needed]
    sizes = select(func.sum(payloads.c.size)).where(payloads.c.sha256.in_(unneeded_digests))
    count += int(conn.execute(sizes).scalar() or 0)
    conn.execute(
        update(payloads)
        .where(payloads.c.sha256.in_(unneeded_digests))
        .values(content=b"", stored_in=None, purged_at=at)
    )
    return RemovedOctets(tuple(sorted({*unneeded_digests, *parcel_digests})), count)


def _list_needed(conn: Connection, digests: Sequence[str]) -> frozenset[str]:
    """Return those digests whose octets are still needed: by a case or message that is kept, or evidence."""
    is_kept = messages.c.purged_at.is_(None)
    live = cases.c.purged_at.is_(None)
    part, call, document = (
        message_payloads.c.sha256,
        deliveries.c.payload_sha256,
        agency_requests.c.document_sha256,
    )
    # A fragment that the hub sends is needed as long as its own message is kept; it has no case.
    needed = and_(live, deliveries.c.subject_type != "fragment")
    queries = [
        select(messages.c.parcel_sha256).where(
            messages.c.parcel_sha256.in_(digests), messages.c.parcel.is_(None), is_kept
        ),
        select(part)
        .join(messages)
        .where(part.in_(digests), message_payloads.c.parcel_offset.is_(None), is_kept),
        select(call)
        .join(cases, cases.c.id == deliveries.c.case_id, isouter=True)
        .where(call.in_(digests), call.is_not(None), needed),
        select(document).join(cases).where(document.in_(digests), live),
    ]
    evidence_columns = (
        agency_requests.c.reply_sha256,
        delivery_attempts.c.answer_sha256,
        console_mailbox.c.call_sha256,
        officer_acts.c.content,
        officer_acts.c.shown_sha256,
        officer_acts.c.call_sha256,
        fetched_lists.c.sha256,
        verdicts.c.digest,
    )
    queries += [select(column).where(column.in_(digests)) for column in evidence_columns]
    evidence_query = select(evidence.c.digest).where(evidence.c.digest.in_(digests))
    queries.append(evidence_query.where(evidence.c.kind.in_(_EVIDENCE_KINDS)))
    return frozenset(
        needed_digest for question in queries for needed_digest in conn.execute(question).scalars()
    )


@dataclass(frozen=True, slots=True)
class OldDrafts:
    """Drafts and answers that nobody has changed for long: their number, their octets, the oldest change."""

    number: int
    octets: int
    oldest: datetime | None


def count_old_drafts(conn: Connection, before: datetime) -> OldDrafts:
    """Return the drafts and answers that were last changed before `before`."""
    numbers, octets, oldest = [], 0, []
    for table, changed, files, owner in _DRAFTS:
        old = changed < before
        row = conn.execute(select(func.count(), func.min(changed)).select_from(table).where(old)).one()
        numbers.append(row[0])
        oldest += [row[1]] if row[1] is not None else []
        size = func.length(files.c.content)
        joined = select(func.sum(size)).join(table, owner == table.c.id).where(old)
        octets += int(conn.execute(joined).scalar() or 0)
        octets += int(conn.execute(select(func.sum(func.length(table.c.content))).where(old)).scalar() or 0)
    return OldDrafts(sum(numbers), octets, min(oldest, default=None))


_DRAFTS: Final[tuple[Any, ...]] = (
    (
        submission_drafts,
        func.coalesce(submission_drafts.c.handed_in_at, submission_drafts.c.changed_at),
        draft_files,
        draft_files.c.draft_id,
    ),
    (
        case_answers,
        func.coalesce(case_answers.c.handed_in_at, case_answers.c.created_at),
        case_answer_files,
        case_answer_files.c.answer,
    ),
)


def remove_old_drafts(conn: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` drafts and prepared answers last changed before `before`; return how many.

    Their files are removed with them.
    """
    removed = 0
    for table, changed, files, owner in _DRAFTS:
        query = select(table.c.id).where(changed < before).order_by(table.c.id).limit(limit - removed)
        ids = conn.execute(query).scalars().all()
        conn.execute(delete(files).where(owner.in_(ids)))
        conn.execute(delete(table).where(table.c.id.in_(ids)))
        removed += len(ids)
    return removed


def compact_database(engine: Engine) -> tuple[int, int]:
    """Give the space of removed octets back to the file system; return the octets before and after.

    SQLite writes the whole file anew, for which the disk needs its size once more; PostgreSQL writes
    the tables with octets anew, and locks each meanwhile.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        return _compact_tables(conn)


def _compact_tables(conn: Any) -> tuple[int, int]:
    """Rewrite the tables without free space; return the octets of the database before and after."""
    if conn.dialect.name == "sqlite":
        before = _measure_file(conn)
        conn.exec_driver_sql("VACUUM")
        conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return before, _measure_file(conn)
    size = "SELECT pg_database_size(current_database())"
    before = int(conn.exec_driver_sql(size).scalar())
    for table in (messages, payloads, submission_drafts, draft_files, case_answers, case_answer_files):
        conn.exec_driver_sql(f"VACUUM FULL {table.name}")
    return before, int(conn.exec_driver_sql(size).scalar())


def _measure_file(conn: Any) -> int:
    pages, size = (conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("page_count", "page_size"))
    return int(pages) * int(size)

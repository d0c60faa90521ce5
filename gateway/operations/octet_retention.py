"""Reports the octets that retention may remove, and removes them in short, audited transactions.

Each transaction has a row of audit and evidence. Octets of a case may go when the case has ended, all its
deliveries are over, the time of the settings has passed since, and the PersistDuration of each of its
messages has passed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine

from gateway.agreements import PModeIndex, Reliability
from gateway.config import Settings
from gateway.errors import AGREEMENT_UNREAD, GatewayError
from gateway.evidence import record_evidence
from gateway.hub import get_current_time, load_register_snapshot
from gateway.operations.audited_changes import Act, open_change
from gateway.store import (
    EndedCaseRow,
    InsufficientStorageError,
    KeptMessageRow,
    RemovedOctets,
    TimedPosition,
    octet_removal,
    read_transaction,
    remove_unnamed_objects,
)

_log = logging.getLogger(__name__)
#: Cases or messages of one transaction.
_BATCH_SIZE: Final = 20
_MAX_CANDIDATES: Final = 200
_DEFAULT_RELIABILITY: Final = Reliability()


@dataclass(slots=True)
class RetentionReport:
    """The content that may be removed, or was removed: numbers, octets, and the end of the oldest case.

    `before` is the time before which a case or a letter must have ended, and `drafts_before` the time before
    which a draft must have changed last; each is None where the settings keep everything. `unread` are the
    agreements that this version does not read: their messages stay, as nobody knows how long they are
    kept.
    """

    before: datetime | None = None
    drafts_before: datetime | None = None
    cases: int = 0
    letters: int = 0
    messages: int = 0
    drafts: int = 0
    octets: int = 0
    oldest: datetime | None = None
    audit: list[int] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)

    def include_time(self, ended_at: datetime) -> None:
        """Update `oldest` with the end of a case, a letter or a draft whose octets may go."""
        self.oldest = ended_at if self.oldest is None else min(self.oldest, ended_at)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some cases or letters whose octets may go, and the last row that was checked."""

    cases: tuple[EndedCaseRow, ...]
    letters: tuple[KeptMessageRow, ...]
    message_count: int
    last_checked: TimedPosition


@dataclass(frozen=True, slots=True)
class _Terms:
    """The terms of removal: a case or letter ended before `end_limit`, and its PersistDuration is over.

    `now` is the time at which the PersistDuration must be over; `book` has the P-Modes that set it. `report`
    gets the agreements that cannot be read.
    """

    end_limit: datetime
    now: datetime
    book: PModeIndex
    report: RetentionReport

    def must_keep_message(self, message_row: KeptMessageRow) -> bool:
        """Return whether the agreement still keeps a message, also one that this version does not read.

        The default counts where its P-Mode is gone.
        """
        try:
            pmode = self.book.find_by_id(
                message_row.agreement_id, message_row.pmode_id or "", message_row.received_at
            )
        except GatewayError as problem:
            if problem.problem is not AGREEMENT_UNREAD:
                raise
            if message_row.agreement_id not in self.report.unread:
                self.report.unread.append(str(message_row.agreement_id))
                _log.warning("the octets of its messages stay: %s", problem)
            return True
        reliability = _DEFAULT_RELIABILITY if pmode is None else pmode.reliability
        persist_until: datetime = message_row.received_at + timedelta(seconds=reliability.persist_duration)
        return persist_until > self.now


def _make_report(settings: Settings, now: datetime) -> RetentionReport:
    octet_time, draft_time = settings.retention.octets, settings.retention.drafts
    return RetentionReport(
        None if octet_time is None else now - octet_time, None if draft_time is None else now - draft_time
    )


def read_retention_report(
    conn: Connection, settings: Settings, now: datetime | None = None
) -> RetentionReport:
    """Return the content that may be removed now; `octets` is an upper bound: some may have another use."""
    now = now or get_current_time()
    report = _make_report(settings, now)
    if report.before is not None:
        terms = _Terms(report.before, now, load_register_snapshot(conn).book, report)
        counted_digests = set[str]()
        for choose_batch in (_choose_cases, _choose_letters):
            for batch in _iterate_batches(choose_batch, conn, terms):
                case_ids = [row.id for row in batch.cases]
                letter_ids = [row.id for row in batch.letters]
                digests = octet_removal.list_used_digests(conn, case_ids, letter_ids) - counted_digests
                counted_digests |= digests
                _count_batch(report, batch, octet_removal.measure_octets(conn, case_ids, letter_ids, digests))
    if report.drafts_before is not None:
        old_drafts = octet_removal.count_old_drafts(conn, report.drafts_before)
        report.drafts = old_drafts.number
        report.octets += old_drafts.octets
        if old_drafts.oldest is not None:
            report.include_time(old_drafts.oldest)
    return report


def _count_batch(report: RetentionReport, batch: _Batch, octet_count: int) -> None:
    """Add one batch and its octets to the counts of `report`, and its times to the oldest time."""
    report.cases += len(batch.cases)
    report.letters += len(batch.letters)
    report.messages += batch.message_count
    report.octets += octet_count
    for moment in (*(row.ended_at for row in batch.cases), *(row.received_at for row in batch.letters)):
        report.include_time(moment)


_ChooseBatch = Callable[[Connection, _Terms, TimedPosition, int], _Batch | None]


def _iterate_batches(choose_batch: _ChooseBatch, conn: Connection, terms: _Terms) -> Iterator[_Batch]:
    position = octet_removal.START
    while (batch := choose_batch(conn, terms, position, _MAX_CANDIDATES)) is not None:
        yield batch
        position = batch.last_checked


def _choose_cases(conn: Connection, terms: _Terms, position: TimedPosition, limit: int) -> _Batch | None:
    """Return the next cases that ended early enough, without those whose agreement keeps a message longer."""
    ended_cases = octet_removal.list_ended_cases(conn, terms.end_limit, position, limit)
    if not ended_cases:
        return None
    message_rows = octet_removal.list_case_messages(conn, [row.id for row in ended_cases])
    kept_cases = {row.case_id for row in message_rows if terms.must_keep_message(row)}
    removable_cases = tuple(row for row in ended_cases if row.id not in kept_cases)
    last_checked = TimedPosition(ended_cases[-1].opened_at, ended_cases[-1].id)
    return _Batch(
        removable_cases, (), sum(row.case_id not in kept_cases for row in message_rows), last_checked
    )


def _choose_letters(conn: Connection, terms: _Terms, position: TimedPosition, limit: int) -> _Batch | None:
    """Return the next messages without case that are old enough, without those that the agreement keeps."""
    letter_rows = octet_removal.list_old_caseless_messages(conn, terms.end_limit, position, limit)
    if not letter_rows:
        return None
    removable_letters = tuple(row for row in letter_rows if not terms.must_keep_message(row))
    last_checked = TimedPosition(letter_rows[-1].received_at, letter_rows[-1].id)
    return _Batch((), removable_letters, len(removable_letters), last_checked)


def purge_octets(
    engine: Engine, settings: Settings, act: Act, *, limit: int | None = None, now: datetime | None = None
) -> RetentionReport:
    """Remove the octets that may go, of at most `limit` cases and letters; return the removed content.

    Each batch is one transaction with its row of audit and a leaf of evidence for each case or
    letter: after a kill, the committed batches are removed and recorded, and the rest is still there.
    """
    now = now or get_current_time()
    report = _make_report(settings, now)
    if report.before is not None:
        with read_transaction(engine) as conn:
            terms = _Terms(report.before, now, load_register_snapshot(conn).book, report)
        for choose_batch in (_choose_cases, _choose_letters):
            purge_run = _PurgeRun(choose_batch, terms, report)
            position: TimedPosition | None = octet_removal.START
            while position is not None and (limit is None or report.cases + report.letters < limit):
                batch_size = (
                    _BATCH_SIZE if limit is None else min(_BATCH_SIZE, limit - report.cases - report.letters)
                )
                position = _purge_batch(engine, settings, act, purge_run, position, batch_size)
    while report.drafts_before is not None and _purge_drafts(engine, settings, act, report):
        pass
    return report


@dataclass(frozen=True, slots=True)
class _PurgeRun:
    """The batches of one kind: the function that chooses them, their terms, the report that counts them."""

    choose_batch: _ChooseBatch
    terms: _Terms
    report: RetentionReport


def _purge_batch(
    engine: Engine,
    settings: Settings,
    act: Act,
    purge_run: _PurgeRun,
    position: TimedPosition,
    limit: int,
) -> TimedPosition | None:
    """Remove the next batch, of at most `limit` rows after a position.

    Returns the last row that was checked, None when nothing is left.
    """
    terms, report = purge_run.terms, purge_run.report
    with open_change(engine, settings, act, "retention.purge", terms.now) as change:
        batch = purge_run.choose_batch(change.conn, terms, position, limit)
        if batch is None or not (batch.cases or batch.letters):
            change.leave_unchanged()
            return None if batch is None else batch.last_checked
        removals = [_remove_object_octets(change.conn, "case", row.id, act, terms.now) for row in batch.cases]
        removals += [
            _remove_object_octets(change.conn, "message", row.id, act, terms.now) for row in batch.letters
        ]
        octet_count = sum(removal.octets for removal in removals)
        description = _describe_batch(batch, octet_count)
        change.record_change("retention", before=description, after={"octets": 0, "before": terms.end_limit})
    # After the commit: until then their rows name them. After a kill here the sweep removes them.
    try:
        remove_unnamed_objects(engine, [digest for removal in removals for digest in removal.digests])
    except InsufficientStorageError as problem:
        _log.warning("large payloads are removed later, by a worker: %s", problem)
    _count_batch(report, batch, octet_count)
    if change.audit_number is not None:
        report.audit.append(change.audit_number)
    return batch.last_checked


def _describe_batch(batch: _Batch, octet_count: int) -> dict[str, Any]:
    description: dict[str, Any] = {"messages": batch.message_count, "octets": octet_count}
    if batch.cases:
        description["cases"] = [row.number for row in batch.cases]
    return description


def _remove_object_octets(
    conn: Connection, object_kind: str, object_id: int, act: Act, now: datetime
) -> RemovedOctets:
    """Remove the octets of a case or a message (row id), with evidence; return the removed digests."""
    case_ids, letter_ids = ((object_id,), ()) if object_kind == "case" else ((), (object_id,))
    removal = octet_removal.remove_octets(conn, case_ids, letter_ids, now)
    evidence_fields = {"digests": list(removal.digests), "octets": removal.octets, "by": act.actor}
    record_evidence(conn, "purged", object_kind, object_id, None, evidence_fields, now)
    return removal


def _purge_drafts(engine: Engine, settings: Settings, act: Act, report: RetentionReport) -> bool:
    """Remove some old drafts; return whether there may be more."""
    assert report.drafts_before is not None
    with open_change(engine, settings, act, "retention.drafts") as change:
        old_drafts = octet_removal.count_old_drafts(change.conn, report.drafts_before)
        if not old_drafts.number:
            change.leave_unchanged()
            return False
        draft_count = octet_removal.remove_old_drafts(change.conn, report.drafts_before, _BATCH_SIZE)
        remaining = octet_removal.count_old_drafts(change.conn, report.drafts_before)
        octet_count = old_drafts.octets - remaining.octets
        change.record_change("drafts", before={"drafts": draft_count, "octets": octet_count}, after={})
    report.drafts += draft_count
    report.octets += octet_count
    if change.audit_number is not None:
        report.audit.append(change.audit_number)
    return remaining.number > 0

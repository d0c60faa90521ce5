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
_BATCH: Final = 20
_MOST_CANDIDATES: Final = 200
_UNKNOWN: Final = Reliability()


@dataclass(slots=True)
class RetentionReport:
    """The content that may be removed, or was removed: numbers, octets, and the end of the oldest case.

    `before` is the time before which a case or a letter must have ended, and `drafts_before` the time before
    which a draft must have changed last; each is None where the settings keep everything.
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

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)

    def note_moment(self, moment: datetime) -> None:
        """Keep the earliest time of the content that would be removed."""
        self.oldest = moment if self.oldest is None else min(self.oldest, moment)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some cases or letters whose octets may go, and the last row that was checked."""

    cases: tuple[EndedCaseRow, ...]
    letters: tuple[KeptMessageRow, ...]
    messages: int
    last: TimedPosition


@dataclass(frozen=True, slots=True)
class _Terms:
    """The terms of removal: an end `before` this time; the agreement's PersistDuration is over `now`."""

    before: datetime
    now: datetime
    book: PModeIndex

    def keep(self, row: KeptMessageRow) -> bool:
        """Return whether the agreement still keeps a message; the default where its P-Mode is gone."""
        pmode = self.book.find_by_id(row.agreement_id, row.pmode_id or "", row.received_at)
        terms = _UNKNOWN if pmode is None else pmode.reliability
        end: datetime = row.received_at + timedelta(seconds=terms.persist_duration)
        return end > self.now


def _make_report(settings: Settings, now: datetime) -> RetentionReport:
    octets, drafts = settings.retention.octets, settings.retention.drafts
    return RetentionReport(None if octets is None else now - octets, None if drafts is None else now - drafts)


def read_retention_report(
    conn: Connection, settings: Settings, now: datetime | None = None
) -> RetentionReport:
    """Return the content that may be removed now; `octets` is an upper bound: some may have another use."""
    now = now or get_current_time()
    report = _make_report(settings, now)
    if report.before is not None:
        terms = _Terms(report.before, now, load_register_snapshot(conn).book)
        seen = set[str]()
        for choose in (_choose_cases, _choose_letters):
            for batch in _iterate_batches(choose, conn, terms):
                cases = [row.id for row in batch.cases]
                letters = [row.id for row in batch.letters]
                digests = octet_removal.list_used_digests(conn, cases, letters) - seen
                seen |= digests
                _count_batch(report, batch, octet_removal.measure_octets(conn, cases, letters, digests))
    if report.drafts_before is not None:
        old_drafts = octet_removal.count_old_drafts(conn, report.drafts_before)
        report.drafts = old_drafts.number
        report.octets += old_drafts.octets
        if old_drafts.oldest is not None:
            report.note_moment(old_drafts.oldest)
    return report


def _count_batch(report: RetentionReport, batch: _Batch, octets: int) -> None:
    report.cases += len(batch.cases)
    report.letters += len(batch.letters)
    report.messages += batch.messages
    report.octets += octets
    for moment in (*(row.ended_at for row in batch.cases), *(row.received_at for row in batch.letters)):
        report.note_moment(moment)


_Choose = Callable[[Connection, _Terms, TimedPosition, int], _Batch | None]


def _iterate_batches(choose: _Choose, conn: Connection, terms: _Terms) -> Iterator[_Batch]:
    after = octet_removal.START
    while (batch := choose(conn, terms, after, _MOST_CANDIDATES)) is not None:
        yield batch
        after = batch.last


def _choose_cases(conn: Connection, terms: _Terms, after: TimedPosition, limit: int) -> _Batch | None:
    """Return the next cases that ended early enough, without those whose agreement keeps a message longer."""
    ended = octet_removal.list_ended_cases(conn, terms.before, after, limit)
    if not ended:
        return None
    rows = octet_removal.list_case_messages(conn, [row.id for row in ended])
    kept_cases = {row.case_id for row in rows if terms.keep(row)}
    chosen = tuple(row for row in ended if row.id not in kept_cases)
    last = TimedPosition(ended[-1].opened_at, ended[-1].id)
    return _Batch(chosen, (), sum(row.case_id not in kept_cases for row in rows), last)


def _choose_letters(conn: Connection, terms: _Terms, after: TimedPosition, limit: int) -> _Batch | None:
    rows = octet_removal.list_old_letters(conn, terms.before, after, limit)
    if not rows:
        return None
    chosen = tuple(row for row in rows if not terms.keep(row))
    last = TimedPosition(rows[-1].received_at, rows[-1].id)
    return _Batch((), chosen, len(chosen), last)


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
            terms = _Terms(report.before, now, load_register_snapshot(conn).book)
        for choose in (_choose_cases, _choose_letters):
            run = _PurgeRun(choose, terms, report)
            after: TimedPosition | None = octet_removal.START
            while after is not None and (limit is None or report.cases + report.letters < limit):
                batch_size = _BATCH if limit is None else min(_BATCH, limit - report.cases - report.letters)
                after = _purge_batch(engine, settings, act, run, after, batch_size)
    while report.drafts_before is not None and _purge_drafts(engine, settings, act, report):
        pass
    return report


@dataclass(frozen=True, slots=True)
class _PurgeRun:
    """The batches of one kind: the function that chooses them, their terms, the report that counts them."""

    choose: _Choose
    terms: _Terms
    report: RetentionReport


def _purge_batch(
    engine: Engine,
    settings: Settings,
    act: Act,
    run: _PurgeRun,
    after: TimedPosition,
    limit: int,
) -> TimedPosition | None:
    """Remove the next batch, of at most `limit` rows after a position.

    Returns the last row that was checked, None when nothing is left.
    """
    terms, report = run.terms, run.report
    with open_change(engine, settings, act, "retention.purge", terms.now) as change:
        batch = run.choose(change.conn, terms, after, limit)
        if batch is None or not (batch.cases or batch.letters):
            change.leave_unchanged()
            return None if batch is None else batch.last
        gone = [_remove_one(change.conn, "case", row.id, act, terms.now) for row in batch.cases]
        gone += [_remove_one(change.conn, "message", row.id, act, terms.now) for row in batch.letters]
        removed = sum(removal.octets for removal in gone)
        description = _describe_batch(batch, removed)
        change.record_change("retention", before=description, after={"octets": 0, "before": terms.before})
    # After the commit: until then their rows name them. After a kill here the sweep removes them.
    try:
        remove_unnamed_objects(engine, [digest for removal in gone for digest in removal.digests])
    except InsufficientStorageError as problem:
        _log.warning("large payloads are removed later, by a worker: %s", problem)
    _count_batch(report, batch, removed)
    if change.number is not None:
        report.audit.append(change.number)
    return batch.last


def _describe_batch(batch: _Batch, octets: int) -> dict[str, Any]:
    description: dict[str, Any] = {"messages": batch.messages, "octets": octets}
    if batch.cases:
        description["cases"] = [row.number for row in batch.cases]
    return description


def _remove_one(conn: Connection, kind: str, number: int, act: Act, now: datetime) -> RemovedOctets:
    cases, letters = ((number,), ()) if kind == "case" else ((), (number,))
    removed = octet_removal.remove_octets(conn, cases, letters, now)
    data = {"digests": list(removed.digests), "octets": removed.octets, "by": act.by}
    record_evidence(conn, "purged", kind, number, None, data, now)
    return removed


def _purge_drafts(engine: Engine, settings: Settings, act: Act, report: RetentionReport) -> bool:
    """Remove some old drafts; return whether there may be more."""
    assert report.drafts_before is not None
    with open_change(engine, settings, act, "retention.drafts") as change:
        old_drafts = octet_removal.count_old_drafts(change.conn, report.drafts_before)
        if not old_drafts.number:
            change.leave_unchanged()
            return False
        removed = octet_removal.remove_old_drafts(change.conn, report.drafts_before, _BATCH)
        remaining = octet_removal.count_old_drafts(change.conn, report.drafts_before)
        octets = old_drafts.octets - remaining.octets
        change.record_change("drafts", before={"drafts": removed, "octets": octets}, after={})
    report.drafts += removed
    report.octets += octets
    if change.number is not None:
        report.audit.append(change.number)
    return remaining.number > 0

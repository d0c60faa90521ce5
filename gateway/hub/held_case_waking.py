"""Lets a held case go on when what it lacks is no longer missing, without another message of its declarant.

What was missing may come from others: an agency approves a number that the declaration names, with an
application of another case or without one, an operator registers the certificate, or the parent case
is decided. The submission that was filed last is then weighed again, as if it had arrived now.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Protocol

from gateway.cases import ReportedProblem
from gateway.hub.amended_places import find_former_message
from gateway.hub.completion import case_closing
from gateway.hub.document_needs import NO_NEEDS
from gateway.hub.held_cases import record_hindrance, record_missing, refuse_with_parent
from gateway.hub.hub import Hub
from gateway.hub.outbox import FinishLease
from gateway.hub.processed_submission import ProcessedSubmission, StoredSubmission
from gateway.hub.split import SubmissionRejectedError, process_submission
from gateway.store import cases, messages, read_transaction, write_transaction

__all__ = ["wake_held_case"]

_log = logging.getLogger(__name__)


class ResumeCase(Protocol):
    """Stores that a held case goes on (`gateway.hub.admit`); False where it is not as it was."""

    def __call__(
        self,
        hub: Hub,
        arrived: StoredSubmission,
        intake: ProcessedSubmission,
        finish: FinishLease,
        now: datetime,
        *,
        again: bool,
    ) -> bool:
        """Resume the case of a submission that was admitted before."""


def wake_held_case(hub: Hub, case_id: int, resume: ResumeCase, finish: FinishLease) -> None:
    """Let a held case go on by `resume` if it lacks nothing any more; leave every other case as it is.

    A case whose submission would be refused now stays held, with the reason: its declarant may file it
    again. One that lacks something else than before stays held, and its declarant is told what. One
    whose parent was withdrawn or refused is refused.
    """
    now = hub.clock()
    arrived = _load_last_submission(hub, case_id)
    problems: tuple[ReportedProblem, ...] = ()
    needs = NO_NEEDS
    if arrived is not None:
        try:
            intake = process_submission(hub, arrived, now)
            needs = intake.needs if intake.held else NO_NEEDS
            if intake.held and not needs.missing and resume(hub, arrived, intake, finish, now, again=True):
                return
        except SubmissionRejectedError as refused:
            _log.info("case row %d is held on: %s", case_id, refused)
            problems = refused.problems
    with write_transaction(hub.engine, "hold.looked") as conn:
        case = cases.lock_case(conn, case_id)
        if not refuse_with_parent(conn, case, problems, now):
            record_hindrance(conn, case, problems)
            if arrived is not None and needs.missing:
                record_missing(conn, cases.lock_case(conn, case_id), needs, arrived.row.id, now)
        finish(conn)
        case_closing.close_case_when_done(conn, case, now)


def _load_last_submission(hub: Hub, case_id: int) -> StoredSubmission | None:
    """Return the submission that was filed last for a held case; None for a case that is not held."""
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_id(conn, case_id)
        if case is None or case.state != "HELD":
            return None
        row = messages.find_by_id(conn, find_former_message(conn, case))
        found = () if row is None else messages.load_payloads(conn, row.id)
    return None if row is None else StoredSubmission(row, found, hub.refresh_snapshot())

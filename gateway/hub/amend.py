"""Step 9, amend: each agency whose request changes gets it again; the others hear nothing.

The input is a split amendment of the declarant, inside `gateway.hub.admit`: the whole submission again.
Before the transaction the mappings make the request of every application, and the request is compared,
octet by octet, with the one that the agency was sent last. When the transaction has committed, the
changed ones are queued behind what went to that agency before, under the same application number, and
one that its agency refused for good is submitted anew; what was decided about them does not count any
more; and customs is told the new declaration. Decisions about unchanged applications stand.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import JudgedChildClaim, ReportedProblem, read_change_reason
from gateway.evidence import record_evidence
from gateway.hub.amended_places import AmendedItems, find_former_message
from gateway.hub.amended_requests import ComposedAmendment, list_compared
from gateway.hub.amended_sending import (
    AmendedTurn,
    add_applications,
    amend_applications,
    drop_applications,
)
from gateway.hub.case_progress import list_rejected_case_items, move_case
from gateway.hub.forward import enqueue_amendment_calls
from gateway.hub.hub import Hub
from gateway.hub.open_cases import check_amendable, check_not_cleared, find_named_case
from gateway.hub.partial_release import judge_released_uses, lock_with_parent, take_items_again
from gateway.hub.processed_submission import ProcessedSubmission, StoredSubmission
from gateway.hub.removed_items import check_released_items, describe_removed_items, tell_removed_items
from gateway.hub.requirement_ledger import (
    claim_requirements,
    give_back_requirements,
    keep_rejected_uses,
    list_former_uses,
    lock_case_requirements,
    write_off_requirements,
)
from gateway.hub.requirement_results import await_unknown_requirements, note_joined_results
from gateway.hub.split import SubmissionRejectedError, describe_findings
from gateway.hub.stated_uses import store_stated_uses
from gateway.store import StateEvent, agency_requests, cases, decisions, messages, requirement_results

__all__ = ["amend_case"]

_ACTOR = "admit"
#: What of the former declaration does not hold for the amended one.
_REPLACED = ("withdrawal", "warnings", "disclaimers", "need_tables", "needed")


def amend_case(
    conn: Connection,
    hub: Hub,
    arrived: StoredSubmission,
    intake: ProcessedSubmission,
    composed: ComposedAmendment,
    now: datetime,
) -> bool:
    """Open a case again for the agencies that have to see the change; raises GW407 when it is too late.

    Returns False, and changes nothing, when the calls rest on what is no longer the last: of two
    amendments at once the second must be compared with the first.
    """
    reason = read_change_reason(intake.submission.declaration)
    named = find_named_case(conn, intake.declarant, intake.submission.reference)
    case = lock_with_parent(conn, named.id, intake.release)
    asked = agency_requests.list_by_case(conn, case.id)
    check_amendable(case, asked)
    check_not_cleared(conn, case)
    amended = intake.amended
    if amended is None or (list_compared(conn, asked), find_former_message(conn, case)) != (
        composed.compared,
        amended.former,
    ):
        return False
    removed, rejected = amended.change.removed, list_rejected_case_items(conn, case)
    check_released_items(conn, case, removed, rejected, only_removes=composed.only_removes)
    messages.set_message_case(conn, arrived.row.id, case.id)
    event = StateEvent("amend", now, _ACTOR, reason.code)
    detail = _describe_turn(case, intake, amended, arrived.row.id) | {"amendment": asdict(reason)}
    detail |= describe_removed_items(case, removed, rejected, (reason, now))
    cases.apply_event(conn, case.id, event, outcome=None, detail=detail)
    agency_requests.forget_refused_cancellations(conn, case.id)
    turn = AmendedTurn(case.id, arrived.row.id, event, reason, removed)
    cancelled = drop_applications(conn, turn, asked, composed.dropped)
    amend_applications(conn, turn, asked, intake, composed)
    add_applications(conn, hub, turn, asked, intake, composed)
    enqueue_amendment_calls(conn, composed.customs, (case.id, arrived.row.id), now)
    _claim_again(conn, case, intake, rejected, now)
    tell_removed_items(conn, case.id, removed, now)
    data = _describe_evidence(case, intake, composed) | {"reason": reason.sentence, "cancelled": cancelled}
    data["refused"] = [item for item in removed if item in rejected]
    record_evidence(conn, "amended", "case", case.id, arrived.row.identity_sha256, data, now)
    case = cases.lock_case(conn, case.id)
    move_case(conn, intake.units, case, reason.code, now, decided=False)
    return True


def _describe_turn(
    case: Row[Any], intake: ProcessedSubmission, amended: AmendedItems, message: int
) -> dict[str, Any]:
    """Return what the row of the case says of its last amendment: items, findings, and its message."""
    # What an earlier withdrawal wanted is over: the declarant goes on with the amended declaration.
    kept = {name: value for name, value in (case.detail or {}).items() if name not in _REPLACED}
    filed = {**describe_findings(intake), **amended.describe_for_case(message)}
    return {**kept, **filed, "items": list(intake.submission.items), "turn": message}


def _describe_evidence(
    case: Row[Any], intake: ProcessedSubmission, composed: ComposedAmendment
) -> dict[str, Any]:
    """Return who amended the case, and what of it is changed."""
    change = intake.amended.change if intake.amended is not None else None
    return {
        "number": case.number,
        "signer": intake.signing.party,
        "changed": sorted(composed.changed.keys() - intake.new),
        "unchanged": [one.number for one in intake.prepared if one.number not in composed.changed],
        "new": sorted(intake.new),
        "added": list(change.added) if change is not None else [],
        "removed": list(change.removed) if change is not None else [],
        "admitted": intake.signing.way,
    }


def _claim_again(
    conn: Connection, case: Row[Any], intake: ProcessedSubmission, before: Collection[int], now: datetime
) -> None:
    """Give back what the former declaration used of certificates, and write off what the amended one uses.

    The items that stay rejected use nothing; what they would use is kept for a corrected decision. `before`
    are those that were rejected before the amendment.
    """
    # The locks of every transaction: the case with the one whose items leave by it, then the requirements.
    # Those that the case was granted are locked with those that it uses: of two cases that amend what the
    # other one uses, the second sees what the first has made of its certificate.
    granted = decisions.list_numbers_of_case(conn, case.id)
    lock_case_requirements(conn, case.id, granted | {use.number for use in intake.requirements.uses})
    former = list_former_uses(conn, case.id, before)
    give_back_requirements(conn, case.id, "amended", now)
    rejected = list_rejected_case_items(conn, cases.lock_case(conn, case.id))
    told = take_items_again(conn, intake.release, case, intake.units, now)
    child = JudgedChildClaim(intake.requirements)
    if intake.release is not None:
        named = (intake.requirements, intake.units, case.id)
        child, wrong = judge_released_uses(conn, intake.release, *named)
        told += wrong
    uses = child.own
    used = claim_requirements(conn, uses, intake.units, now, without=rejected, former=former)
    told += tuple(ReportedProblem(one.problem.id, one.detail, one.pointer) for one in used.problems)
    if told:
        who = intake.declarant, intake.signing
        raise SubmissionRejectedError(told, intake.submission.reference, *who, intake.bundle)
    write_off_requirements(conn, case.id, used.taken, now)
    store_stated_uses(conn, case.id, child.stated, now)
    requirement_results.end_awaited_uses(conn, case.id, "amended", now)
    note_joined_results(conn, case.id, (one.key for _, one in used.taken), now)
    await_unknown_requirements(conn, case.id, (*used.unknown, *child.waiting), now)
    keep_rejected_uses(conn, case.id, uses, used.idle, intake.units, now, former)

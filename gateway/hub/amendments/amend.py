"""Step 9, amend: each agency whose request changes gets it again; the others get no call.

The input is a split amendment of the declarant, inside `gateway.hub.submissions.admit`: the whole
submission again. Before the transaction the mappings make the request of every application, and the request
is compared, octet by octet, with the last request that was sent to the agency. When the transaction has
committed, the changed requests are queued behind the earlier calls to their agencies, under the same
application numbers; a request that its agency has refused for good is submitted anew. Decisions about
changed applications do not count any more. The new declaration is reported to customs. Decisions about
unchanged applications stay in force.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.cases import ChangeReason, ValidatedChildUses, is_decided, read_change_reason
from gateway.evidence import STORED, digest_rows, record_evidence
from gateway.hub.amendments.amended_requests import ComposedAmendment, list_compared_requests
from gateway.hub.amendments.former_items import (
    AmendedItems,
    check_released_items,
    describe_removed_items,
    find_former_message,
    is_dropped,
    list_required_items,
    list_unheard_items,
    record_removed_items,
    unite_items,
)
from gateway.hub.answers.case_progress import list_rejected_case_items, move_case
from gateway.hub.completion.case_closing import find_status_notice
from gateway.hub.completion.standing_demands import (
    end_amended_demands,
    make_request_scope,
    make_standing_decisions,
)
from gateway.hub.fees.fee_ends import keep_fee_due
from gateway.hub.hub import Hub
from gateway.hub.outbox.outgoing_calls import SUBMISSION, end_overtaken_calls
from gateway.hub.requirements.partial_release import (
    lock_with_parent,
    replace_taken_items,
    validate_released_uses,
)
from gateway.hub.requirements.requirement_ledger import (
    give_back_requirements,
    keep_rejected_uses,
    list_former_uses,
    lock_and_judge_uses,
    lock_case_requirements,
    write_off_requirements,
)
from gateway.hub.requirements.requirement_results import await_unknown_requirements, record_joined_results
from gateway.hub.requirements.stated_uses import store_stated_uses
from gateway.hub.submissions.forward import (
    ComposedCall,
    enqueue_amendment_calls,
    enqueue_later_call,
    store_envelopes,
)
from gateway.hub.submissions.open_application import ApplicationBatch, open_applications
from gateway.hub.submissions.open_cases import (
    check_amendable,
    check_not_cleared,
    find_named_case,
    list_cancellable_requests,
)
from gateway.hub.submissions.processed_submission import (
    PreparedApplication,
    ProcessedSubmission,
)
from gateway.hub.submissions.split import SubmissionRejectedError, describe_findings, describe_traders
from gateway.hub.submissions.withdraw import cancel_request
from gateway.store import (
    CaseRow,
    NewAgencyRequest,
    RequestWithFeesRow,
    StateEvent,
    agency_requests,
    cases,
    decisions,
    deliveries,
    messages,
    notices,
    requirement_results,
)

_ACTOR = "admit"


@dataclass(frozen=True, slots=True)
class AmendedTurn:
    """One amendment of a locked case (row id): its message, its event and reason, the items it removes.

    `outdated` collects the decisions (row ids) that do not count any more, and `outdated_up_to` the last
    decision of each application (its number) of which none counts any more.
    """

    case_id: int
    message_row_id: int
    event: StateEvent
    reason: ChangeReason
    removed_items: tuple[int, ...]
    outdated: list[int] = field(default_factory=list)
    outdated_up_to: dict[str, int] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """Return when the case is amended."""
        return self.event.at


def drop_applications(
    conn: Connection,
    turn: AmendedTurn,
    requests: Sequence[RequestWithFeesRow],
    questions: Mapping[int, ComposedCall],
) -> list[str]:
    """Cancel each application that has lost all its items, or ask its agency to; return their numbers.

    The keys of `questions` are the row ids of these requests; each value is the call that asks the agency to
    cancel. A request that was decided without an approval has nothing to cancel, and only loses its items.
    Requests in `requests` that were cancelled before lose the items that the amendment removes.
    """
    for row in requests:
        if row.state == "CANCELLED":
            _remove_items(conn, turn, row, list_required_items(row) - set(turn.removed_items))
    dropped = [row for row in requests if row.id in questions]
    cancellable = {row.id for row in list_cancellable_requests(conn, turn.case_id, dropped)}
    for row in dropped:
        if row.id in cancellable:
            cancel_request(conn, turn.case_id, row, questions, turn.message_row_id, turn.reason, turn.now)
        _remove_items(conn, turn, row, set())
    return [row.number for row in dropped]


def _remove_items(
    conn: Connection, turn: AmendedTurn, request: RequestWithFeesRow, remaining: set[int]
) -> None:
    """Let a request require only those of its items that are in `remaining`.

    Decisions on its other items lapse.
    """
    stays = [pair for pair in request.required if int(pair[0]) in remaining]
    removed = [pair for pair in request.required if int(pair[0]) not in remaining]
    if removed:
        agency_requests.set_required_items(conn, request.id, stays, [*(request.removed or ()), *removed])
        items = {int(item) for item, _ in removed}
        turn.outdated.extend(decisions.outdate_items(conn, request.id, items, turn.now))


def amend_applications(
    conn: Connection,
    turn: AmendedTurn,
    requests: Sequence[RequestWithFeesRow],
    processed: ProcessedSubmission,
    composed_amendment: ComposedAmendment,
) -> None:
    """Send each changed application again; decisions about its former version stay in force, or lapse."""
    prepared = {
        application.application_number: application for application in processed.prepared_applications
    }
    for row in requests:
        call = composed_amendment.changed_calls.get(row.number)
        if call is None or row.state == "CANCELLED" or is_dropped(row):
            continue
        _change_items(conn, turn, row, prepared[row.number])
        _send_amended_application(conn, turn, row, call, composed_amendment.lapsing_items.get(row.number))


def _change_items(
    conn: Connection, turn: AmendedTurn, request: RequestWithFeesRow, application: PreparedApplication
) -> None:
    """Let a request require the items of the amended `application`; decisions on lost items lapse."""
    former_items, new_items = list_required_items(request), set(application.application.items)
    _remove_items(conn, turn, request, new_items)
    if new_items - former_items:
        pairs = [[item, law] for item in application.application.items for law in application.laws]
        current = agency_requests.find_by_id(conn, request.id)
        removed = (current.removed if current is not None else None) or ()
        agency_requests.set_required_items(conn, request.id, pairs, removed)


def _send_amended_application(
    conn: Connection,
    turn: AmendedTurn,
    request: RequestWithFeesRow,
    call: ComposedCall,
    lapsing_items: frozenset[int] | None,
) -> None:
    """Queue the amended application; a decided one stays decided where decisions stay in force.

    The decisions on the items `lapsing_items` lapse, or all decisions if it is None.
    """
    values: dict[str, Any] = {"decided_by": None, "decided_at": None}
    values["demands"] = end_amended_demands(conn, request.id)
    before = decisions.list_by_request(conn, request.id)
    if before and lapsing_items is None:
        values["outdated_decision"] = turn.outdated_up_to[request.number] = max(row.id for row in before)
    if lapsing_items:
        turn.outdated.extend(decisions.outdate_items(conn, request.id, lapsing_items, turn.now))
    earlier = deliveries.list_by_request(conn, turn.case_id, request.id)
    is_new_submission = call.call.operation == SUBMISSION
    agency_requests.apply_event(conn, request.id, turn.event, **values)
    _renew_status_code(conn, request.id)
    store_envelopes(conn, [call], turn.now)
    agency_requests.set_sent_document(conn, request.id, call.envelope_sha256)
    agency_requests.insert_correlation(conn, "wsa", call.call.message_id, turn.case_id, request.id)
    # A change that waits for an operator goes with this one: until then no decision is about it.
    failed = [row for row in earlier if row.state == "FAILED"]
    unheard_items = unite_items(lapsing_items, list_unheard_items(request.number, failed))
    key_prefix = "items" if unheard_items == frozenset() else "amend"
    end_overtaken_calls(conn, earlier, turn.now, _ACTOR, is_sent_anew=is_new_submission)
    key = f"{key_prefix}:{request.number}:{turn.message_row_id}"
    parameters = {"items": ",".join(map(str, sorted(unheard_items)))} if unheard_items else {}
    enqueue_later_call(conn, call, turn.case_id, request.id, key, turn.now, **parameters)
    keep_fee_due(conn, request.id, turn.now)
    _keep_decided_state(conn, turn, request)


def _renew_status_code(conn: Connection, request: int) -> None:
    """Show of a request the status code of the last notice that counts, now that it is amended."""
    request_notices = notices.list_by_request(conn, request)
    status_notice = find_status_notice(
        conn, request, request_notices, max((row.id for row in request_notices), default=0)
    )
    agency_requests.set_status_code(
        conn, request, None if status_notice is None else status_notice.status_code
    )


def _keep_decided_state(conn: Connection, turn: AmendedTurn, request: RequestWithFeesRow) -> None:
    """Mark a request as decided if all of its items have a decision in force."""
    current = agency_requests.find_by_id(conn, request.id)
    rows = decisions.list_by_request(conn, request.id)
    if current is None or not rows:
        return
    standing_decisions = make_standing_decisions(rows, {request.id: request.number})
    if is_decided(make_request_scope(current), standing_decisions):
        event = StateEvent("decide", turn.now, _ACTOR, turn.event.detail)
        by, at = request.decided_by or request.agency, request.decided_at or turn.now
        agency_requests.apply_event(conn, request.id, event, decided_by=by, decided_at=at)


def add_applications(
    conn: Connection,
    hub: Hub,
    turn: AmendedTurn,
    requests: Sequence[RequestWithFeesRow],
    processed: ProcessedSubmission,
    composed_amendment: ComposedAmendment,
) -> list[NewAgencyRequest]:
    """Open the applications that the case did not have, and return their requests."""
    sequence = max((row.sequence for row in requests), default=0)
    new = [
        application
        for application in processed.prepared_applications
        if application.application_number in processed.new_application_numbers
    ]
    calls = [composed_amendment.changed_calls[application.application_number] for application in new]
    batch = ApplicationBatch(turn.case_id, processed.bundle_digest, new, calls, sequence + 1)
    open_applications(conn, hub, batch, turn.now)
    return batch.make_requests()


#: The keys in the detail of a case whose values an amended declaration replaces.
_REPLACED = ("withdrawal", "warnings", "disclaimers", "need_tables", "needed", "importer", "exporter")


def amend_case(
    conn: Connection,
    hub: Hub,
    processed: ProcessedSubmission,
    composed_amendment: ComposedAmendment,
    now: datetime,
) -> bool:
    """Amend a case, and queue its changed requests for their agencies; raises GW407 when it is too late.

    Returns False, and changes nothing, when another amendment was stored after the calls were composed: the
    caller must compare this amendment with that one.
    """
    reason = read_change_reason(processed.submission.declaration)
    named_case = find_named_case(conn, processed.declarant, processed.submission.reference)
    case = lock_with_parent(conn, named_case.id, processed.release)
    requests = agency_requests.list_by_case(conn, case.id)
    check_amendable(case, requests)
    check_not_cleared(conn, case)
    amended = processed.amended_items
    if amended is None or (list_compared_requests(conn, requests), find_former_message(conn, case)) != (
        composed_amendment.compared_requests,
        amended.former_message_row_id,
    ):
        return False
    removed_items, rejected_items = amended.change.removed_items, list_rejected_case_items(conn, case)
    check_released_items(
        conn, case, removed_items, rejected_items, only_removes=composed_amendment.only_removes
    )
    message = processed.message
    messages.set_message_case(conn, message.id, case.id)
    cases.insert_case_references(conn, case.id, processed.submission.references)
    event = StateEvent("amend", now, _ACTOR, reason.code)
    detail = _describe_amended_case(case, processed, amended) | {"amendment": asdict(reason)}
    detail |= describe_removed_items(case, removed_items, rejected_items, reason, now)
    cases.apply_event(conn, case.id, event, outcome=None, detail=detail)
    agency_requests.forget_refused_cancellations(conn, case.id)
    turn = AmendedTurn(case.id, message.id, event, reason, removed_items)
    cancelled = drop_applications(conn, turn, requests, composed_amendment.cancellation_questions)
    amend_applications(conn, turn, requests, processed, composed_amendment)
    new_requests = add_applications(conn, hub, turn, requests, processed, composed_amendment)
    enqueue_amendment_calls(conn, composed_amendment.customs_calls, case.id, message.id, now)
    _write_off_amended_uses(conn, case, processed, rejected_items, now)
    record_removed_items(conn, case.id, removed_items, now)
    data = _describe_evidence(case, processed, composed_amendment) | {
        "reason": reason.sentence,
        "cancelled": cancelled,
    }
    new_numbers = {request.number for request in new_requests}
    opened_requests = [
        row for row in agency_requests.list_by_case(conn, case.id) if row.number in new_numbers
    ]
    data["refused"] = [item for item in removed_items if item in rejected_items]
    data |= {
        STORED: {"agency_requests": digest_rows("agency_requests", opened_requests)},
        "outdated": turn.outdated,
        "outdated_up_to": turn.outdated_up_to,
    }
    record_evidence(conn, "amended", "case", case.id, message.identity_sha256, data, now)
    case = cases.lock_case(conn, case.id)
    move_case(conn, processed.units, case, reason.code, now, has_decision=False)
    return True


def _describe_amended_case(
    case: CaseRow, processed: ProcessedSubmission, amended: AmendedItems
) -> dict[str, Any]:
    """Return the facts of an amendment that the row of the case keeps, such as its items and traders."""
    # An earlier request for withdrawal ends: the declarant goes on with the amended declaration.
    unchanged = {name: value for name, value in (case.detail or {}).items() if name not in _REPLACED}
    filed = {**describe_findings(processed), **amended.describe_for_case(processed.message.id)}
    items = list(processed.submission.items)
    return {**unchanged, **describe_traders(processed), **filed, "items": items, "turn": processed.message.id}


def _describe_evidence(
    case: CaseRow, processed: ProcessedSubmission, composed: ComposedAmendment
) -> dict[str, Any]:
    """Return the evidence of an amendment: who amended the case, and its changed parts."""
    change = processed.amended_items.change if processed.amended_items is not None else None
    return {
        "number": case.number,
        "signer": processed.signer_admission.party,
        "changed": sorted(composed.changed_calls.keys() - processed.new_application_numbers),
        "unchanged": [
            application.application_number
            for application in processed.prepared_applications
            if application.application_number not in composed.changed_calls
        ],
        "new": sorted(processed.new_application_numbers),
        "added": list(change.added_items) if change is not None else [],
        "removed": list(change.removed_items) if change is not None else [],
        "admitted": processed.signer_admission.evidence,
    }


def _write_off_amended_uses(
    conn: Connection,
    case: CaseRow,
    processed: ProcessedSubmission,
    rejected_before: Collection[int],
    now: datetime,
) -> None:
    """Give back the former declaration's uses of certificates, and write off those of the amended one.

    Items that stay rejected use nothing; their uses are stored for a corrected decision. `rejected_before`
    are the items that were rejected before the amendment.
    """
    # The locks of every transaction: the case with the parent whose items it takes, then the requirements.
    # The certificates granted to the case are locked with those that it uses: if each of two cases uses a
    # certificate of the other, the second amendment sees the changes of the first.
    granted = decisions.list_numbers_of_case(conn, case.id)
    lock_case_requirements(conn, case.id, granted | {use.number for use in processed.declared_uses.uses})
    former = list_former_uses(conn, case.id, rejected_before)
    give_back_requirements(conn, case.id, "amended", now)
    rejected = list_rejected_case_items(conn, cases.lock_case(conn, case.id))
    problems = replace_taken_items(conn, processed.release, case, processed.units, now)
    child_uses = ValidatedChildUses(processed.declared_uses)
    if processed.release is not None:
        child_uses, release_problems = validate_released_uses(
            conn, processed.release, processed.declared_uses, processed.units, case.id
        )
        problems += release_problems
    uses = child_uses.own_uses
    validated_uses = lock_and_judge_uses(conn, uses, processed.units, rejected_items=rejected, former=former)
    problems += tuple(finding.report() for finding in validated_uses.problems)
    if problems:
        raise SubmissionRejectedError.from_processed(processed, problems)
    write_off_requirements(conn, case.id, validated_uses.usable_uses, now)
    store_stated_uses(conn, case.id, child_uses.parent_uses, now)
    requirement_results.end_awaited_uses(conn, case.id, "amended", now)
    record_joined_results(conn, case.id, (use.requirement_id for _, use in validated_uses.usable_uses), now)
    await_unknown_requirements(conn, case.id, (*validated_uses.unknown_uses, *child_uses.waiting_uses), now)
    keep_rejected_uses(conn, case.id, uses, validated_uses.idle_uses, processed.units, now, former)

"""Step 2, admit: a stored submission becomes a case, a change of a case, or a refusal.

The input is the delivery of a message that `gateway.hub.intake.receive` has stored. The submission is
processed (`gateway.hub.submissions.split`) and its calls are composed (`gateway.hub.submissions.forward`)
before the transaction. When the transaction has committed, the case is in the database with its requests and
calls, the message is PROCESSED, and the delivery has ended. A refused submission also has a case: its state
is REFUSED, and it lists every problem found. A case that lacks a document may be HELD instead
(`gateway.hub.submissions.held_cases`): only the message to the declarant is queued. A case with requests
waits for the agencies (`gateway.hub.answers.reply`). A case without requests, and a refused one, is concluded
at once (`gateway.hub.completion.conclude`).

A held case goes on without another message of its declarant when others supply the missing document: an
agency approves a number that the declaration names, with an application of another case or without one, an
operator registers the certificate, or the parent case is decided. The submission that was filed last is
then weighed again, as if it had arrived now.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import ReportedProblem, ValidatedChildUses, make_case_number, make_refused_reference
from gateway.errors import OUR_MISTAKE, PROBLEMS, GatewayError
from gateway.evidence import STORED, digest_rows, record_evidence
from gateway.hub.amendments.amend import amend_case
from gateway.hub.amendments.amended_requests import compose_amendment
from gateway.hub.amendments.former_items import find_former_message
from gateway.hub.answers.case_progress import conclude_case_without_applications, wake_held_children
from gateway.hub.completion.case_closing import case_transaction
from gateway.hub.completion.standing_demands import read_demands
from gateway.hub.deadlines.case_deadlines import settle_deadlines
from gateway.hub.fees.fee_ends import keep_fee_due
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import FinishLease, enqueue_task
from gateway.hub.requirements.partial_release import (
    lock_with_parent,
    store_release,
    validate_prepared_release,
    validate_released_uses,
)
from gateway.hub.requirements.requirement_ledger import lock_and_judge_uses, write_off_requirements
from gateway.hub.requirements.requirement_results import await_unknown_requirements, record_joined_results
from gateway.hub.requirements.stated_uses import store_stated_uses
from gateway.hub.submissions.document_needs import NO_NEEDS
from gateway.hub.submissions.forward import (
    ComposedCall,
    compose_application_call,
    compose_registration_calls,
    enqueue_later_call,
    store_envelopes,
)
from gateway.hub.submissions.held_cases import (
    LackingSubmission,
    cancel_hold,
    hold_case,
    record_missing_documents,
    record_refusal_reasons,
    refuse_if_parent_ended,
)
from gateway.hub.submissions.open_application import ApplicationBatch, open_first_applications
from gateway.hub.submissions.open_cases import check_supplementable, find_named_case
from gateway.hub.submissions.processed_submission import (
    BUNDLE_KEY,
    ProcessedSubmission,
    StoredSubmission,
    prepare_bundle,
)
from gateway.hub.submissions.split import (
    SubmissionRejectedError,
    describe_findings,
    describe_traders,
    is_transient_error,
    make_found_problem,
    process_submission,
)
from gateway.hub.submissions.withdraw import compose_cancellations, withdraw_case
from gateway.state_machines import CASE, get_next_state
from gateway.store import (
    CaseRow,
    MessageRow,
    NewCase,
    StateEvent,
    agency_requests,
    cases,
    messages,
    read_transaction,
    run_in_group_commit,
    write_transaction,
)

_ACTOR = "admit"
#: The largest number of attempts to admit a submission while other submissions change its case.
_ATTEMPTS: Final = 20
#: A FAILED message is processed again when an operator requeues its task.
_ADMISSIBLE_STATES = ("ACCEPTED", "FAILED")


def admit_submission(hub: Hub, message: int, end_lease: FinishLease) -> None:
    """Open, supplement or refuse the case of a stored message.

    Raises a GatewayError for a fault of the hub, or one that may pass; the message is then processed again
    later.
    """
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        row = messages.find_with_register(conn, message)
        is_admissible = row is not None and row.state in _ADMISSIBLE_STATES
        loaded_payloads = messages.load_payloads(conn, message) if is_admissible else ()
        register = None if row is None else hub.register.confirm_version(row.register)
    if row is None or register is None or not is_admissible:
        with write_transaction(hub.engine, "admit.again") as conn:
            end_lease(conn)
        return
    stored_submission = StoredSubmission(row, loaded_payloads, register)
    try:
        for _ in range(_ATTEMPTS):
            processed = process_submission(hub, stored_submission, now)
            if _store_case(hub, processed, end_lease, now):
                return
    except SubmissionRejectedError as refused:
        _reject_submission(hub, stored_submission, refused, end_lease, now)
        return
    raise GatewayError(OUR_MISTAKE, "the case of the submission changes too fast")


def _store_case(hub: Hub, processed: ProcessedSubmission, end_lease: FinishLease, now: datetime) -> bool:
    """Store the effect of a submission on its case; return False if the case has changed meanwhile."""
    function = processed.submission.function
    if function == "1":
        return _store_withdrawal(hub, processed, end_lease, now)
    if processed.needs.missing:
        return _store_hold(hub, processed, end_lease, now)
    if processed.is_held:
        return store_resumed_case(hub, processed, end_lease, now)
    if function == "13":
        return _store_amendment(hub, processed, end_lease, now)
    _store_new_case(hub, processed, end_lease, now)
    return True


@contextmanager
def _rejecting_late_errors(processed: ProcessedSubmission) -> Iterator[None]:
    """Turn a GatewayError of the block into a SubmissionRejectedError of the processed submission.

    The error of a fault of the hub, or of one that may pass, is raised unchanged.
    """
    try:
        yield
    except GatewayError as error:
        if is_transient_error(error):
            raise
        raise SubmissionRejectedError.from_processed(processed, (make_found_problem(error),)) from error


def _store_new_case(hub: Hub, processed: ProcessedSubmission, end_lease: FinishLease, now: datetime) -> None:
    """Open a case, or supplement one."""
    is_supplement = processed.submission.function == "35"
    with _rejecting_late_errors(processed):
        calls = _compose_first_calls(hub, processed, is_supplement=is_supplement)
        prepared_bundle = prepare_bundle(hub, processed.bundle_digest)

        def store_case(conn: Connection) -> None:
            prepared_bundle.store_files(conn, now)
            opened_case_id = None
            if is_supplement:
                _supplement_case(conn, hub, processed, calls.application_calls, now)
            else:
                opened_case_id = _start_case(conn, hub, processed, None, calls, now)
            _mark_processed(conn, processed.message, now, opened_case_id=opened_case_id)
            end_lease(conn)

        run_in_group_commit(hub.engine, "admit.case", store_case)


def store_resumed_case(
    hub: Hub,
    processed: ProcessedSubmission,
    end_lease: FinishLease,
    now: datetime,
    *,
    was_admitted_before: bool = False,
) -> bool:
    """Let a held case go on, which has now all that it needs; False when it is held no longer.

    With `was_admitted_before` the message was admitted before: False too when another one was filed since.
    """
    with _rejecting_late_errors(processed):
        calls = _compose_first_calls(hub, processed)
        prepared_bundle = prepare_bundle(hub, processed.bundle_digest)
        with write_transaction(hub.engine, "admit.resumed") as conn:
            prepared_bundle.store_files(conn, now)
            held_case = _lock_held_case(conn, processed)
            if held_case is None or (
                was_admitted_before and find_former_message(conn, held_case) != processed.message.id
            ):
                return False
            _start_case(conn, hub, processed, held_case, calls, now)
            _mark_processed(conn, processed.message, now)
            end_lease(conn)
    return True


@dataclass(frozen=True, slots=True)
class _FirstCalls:
    """The calls to the agencies, one for each application, and those that register the case at customs."""

    application_calls: list[ComposedCall]
    customs_calls: list[ComposedCall]


def _compose_first_calls(
    hub: Hub, processed: ProcessedSubmission, *, is_supplement: bool = False
) -> _FirstCalls:
    """Compose the calls to the agencies, one for each application, and those to customs."""
    calls = [
        compose_application_call(hub, processed, application, is_supplement=is_supplement)
        for application in processed.prepared_applications
    ]
    return _FirstCalls(calls, [] if is_supplement else compose_registration_calls(hub, processed))


def _store_hold(hub: Hub, processed: ProcessedSubmission, end_lease: FinishLease, now: datetime) -> bool:
    """Open a case and hold it, or hold it on; only the declarant gets a notice.

    Returns False when the case that was held is held no longer.
    """
    message = processed.message
    with _rejecting_late_errors(processed):
        prepared_bundle = prepare_bundle(hub, processed.bundle_digest)
        with write_transaction(hub.engine, "admit.held") as conn:
            prepared_bundle.store_files(conn, now)
            held_case = _lock_held_case(conn, processed) if processed.is_held else None
            if processed.is_held and held_case is None:
                return False
            detail = _describe_case(processed)
            stored_rows: dict[str, Any] = {}
            if held_case is None:
                new_case = cases.open_case(conn, _make_case(processed), now)
                case = new_case.id
                stored_rows = {STORED: {"cases": digest_rows("cases", [new_case.values])}}
            else:
                case = int(held_case.id)
                detail["held"] = held_case.detail["held"]
                messages.set_message_case(conn, message.id, case)
            cases.insert_case_references(conn, case, processed.submission.references)
            parent = None if processed.release is None else processed.release.parent_case_id
            lacking = LackingSubmission(processed.needs, processed.declared_uses, parent)
            hold_time = hub.need_policy.hold_time
            until = hold_case(conn, case, detail, lacking, now, hold_time, message.id)
            data = _describe_admission(processed) | {"until": until} | stored_rows
            record_evidence(conn, "held", "case", case, message.identity_sha256, data, now)
            _mark_processed(conn, message, now)
            end_lease(conn)
    return True


def _lock_held_case(conn: Connection, processed: ProcessedSubmission) -> CaseRow | None:
    """Lock and return the held case that a submission is about; None when it has changed since then."""
    named_case = cases.find_by_reference(conn, processed.declarant, processed.submission.reference)
    case = None if named_case is None else lock_with_parent(conn, named_case.id, processed.release)
    if case is None or case.state != "HELD" or processed.amended_items is None:
        return None
    return case if find_former_message(conn, case) == processed.amended_items.former_message_row_id else None


def _store_withdrawal(
    hub: Hub, processed: ProcessedSubmission, end_lease: FinishLease, now: datetime
) -> bool:
    """Withdraw a case; False when it has got requests since the questions to agencies were composed."""
    with _rejecting_late_errors(processed):
        calls = compose_cancellations(hub, processed)
        with write_transaction(hub.engine, "admit.withdrawal") as conn:
            if not withdraw_case(conn, processed, calls, now):
                return False
            _update_deadlines_of_named_case(conn, hub, processed, now)
            _mark_processed(conn, processed.message, now)
            end_lease(conn)
    return True


def _store_amendment(hub: Hub, processed: ProcessedSubmission, end_lease: FinishLease, now: datetime) -> bool:
    """Amend a case; False when another amendment or a notice has come before it."""
    with _rejecting_late_errors(processed):
        composed = compose_amendment(hub, processed)
        with write_transaction(hub.engine, "admit.amendment") as conn:
            if not amend_case(conn, hub, processed, composed, now):
                return False
            _update_deadlines_of_named_case(conn, hub, processed, now, restarted=composed.changed_calls)
            _mark_processed(conn, processed.message, now)
            end_lease(conn)
    return True


def _update_deadlines_of_named_case(
    conn: Connection, hub: Hub, processed: ProcessedSubmission, now: datetime, restarted: Collection[str] = ()
) -> None:
    """Settle the deadlines of the case that a withdrawal or an amendment names."""
    case = find_named_case(conn, processed.declarant, processed.submission.reference)
    settle_deadlines(conn, hub, case.id, now, restarted_numbers=restarted)


def _mark_processed(
    conn: Connection,
    row: MessageRow,
    now: datetime,
    problem: str | None = None,
    opened_case_id: int | None = None,
) -> None:
    """Note that a message is processed; with `opened_case_id` it belongs to that one, which it has opened."""
    if row.state == "PROCESSED":
        return
    if row.state == "FAILED":
        messages.apply_event(conn, row.id, StateEvent("retry", now, _ACTOR))
    before = "ACCEPTED" if row.state == "FAILED" else row.state
    messages.apply_event(
        conn, row.id, StateEvent("process", now, _ACTOR), problem, before=before, case_id=opened_case_id
    )


def _start_case(
    conn: Connection,
    hub: Hub,
    processed: ProcessedSubmission,
    held_case: CaseRow | None,
    calls: _FirstCalls,
    now: datetime,
) -> int:
    """Open a case, or let a held case go on, and queue its calls to agencies and customs.

    `held_case` is the locked held case; None for a new case. Returns the row id of the case; the message of a
    new case does not name it yet. Raises SubmissionRejectedError where its items or certificates cannot be
    used.
    """
    child_uses, release = ValidatedChildUses(processed.declared_uses), processed.release
    problems: tuple[ReportedProblem, ...] = ()
    if release is not None:
        problems = validate_prepared_release(conn, release, processed.units)
        child_uses, release_problems = validate_released_uses(
            conn, release, processed.declared_uses, processed.units
        )
        problems += release_problems
    validated_uses = lock_and_judge_uses(conn, child_uses.own_uses, processed.units)
    problems += tuple(shortage.report() for shortage in validated_uses.problems)
    if problems:
        raise SubmissionRejectedError.from_processed(processed, problems)
    if held_case is None:
        # The row is written once: the event by which it came to its state is recorded below.
        state = (
            get_next_state(CASE, CASE.initial_state, "dispatch")
            if processed.prepared_applications
            else CASE.initial_state
        )
        new_case = cases.open_case(conn, _make_case(processed, state), now, is_linked=True)
        case, stored_rows = new_case.id, {"cases": digest_rows("cases", [new_case.values])}
        values: dict[str, Any] = {}
    else:
        case, stored_rows = int(held_case.id), {}
        messages.set_message_case(conn, processed.message.id, case)
        cancel_hold(conn, case, now)
        values = {"detail": _describe_case(processed)}
    cases.insert_case_references(conn, case, processed.submission.references)
    write_off_requirements(conn, case, validated_uses.usable_uses, now)
    if release is not None:
        store_release(conn, release, case, now)
    store_stated_uses(conn, case, child_uses.parent_uses, now)
    record_joined_results(
        conn, case, (balance.requirement_id for _, balance in validated_uses.usable_uses), now
    )
    is_new_case = held_case is None and release is None
    await_unknown_requirements(
        conn,
        case,
        (*validated_uses.unknown_uses, *child_uses.waiting_uses),
        now,
        is_first_admission=is_new_case,
    )
    store_envelopes(conn, [*calls.application_calls, *calls.customs_calls], now)
    batch = ApplicationBatch(
        case, processed.bundle_digest, processed.prepared_applications, calls.application_calls
    )
    have_deadlines_begun = open_first_applications(conn, hub, batch, calls.customs_calls, now)
    dispatched = StateEvent("dispatch", now, _ACTOR)
    stored_rows["agency_requests"] = digest_rows("agency_requests", agency_requests.list_by_case(conn, case))
    data = _describe_admission(processed) | {"bundle": processed.bundle_digest, STORED: stored_rows}
    if processed.prepared_applications and held_case is None:
        cases.record_opening(conn, case, dispatched)
    elif held_case is not None and processed.prepared_applications:
        cases.apply_event(conn, case, dispatched, before=held_case.state, **values)
    else:
        outcome = conclude_case_without_applications(conn, processed.units, case, now, **values)
        data["outcome"] = outcome.value
        if held_case is not None:
            wake_held_children(conn, held_case.declarant, {case}, f"parent:{case}:{now.isoformat()}", now)
    if not have_deadlines_begun:
        new_numbers = {application.application_number for application in processed.prepared_applications}
        settle_deadlines(conn, hub, case, now, restarted_numbers=new_numbers)
    record_evidence(conn, "admitted", "case", case, processed.message.identity_sha256, data, now)
    return case


def _describe_admission(processed: ProcessedSubmission) -> dict[str, Any]:
    """Return the evidence of a filing: case number, parties, reference, and the way of admission."""
    return {"number": processed.case_number, "signer": processed.signer_admission.party,
            "declarant": processed.declarant, "reference": processed.submission.reference,
            "admitted": processed.signer_admission.evidence}  # fmt: skip


def _make_case(processed: ProcessedSubmission, state: str = CASE.initial_state) -> NewCase:
    """Return the row of the case that a submission opens, in this `state`."""
    submission = processed.submission
    return NewCase(
        number=processed.case_number,
        document=submission.type_code or "-",
        function=submission.function,
        declarant=processed.declarant,
        applicant=processed.message.from_party,
        functional_reference=submission.reference,
        message=processed.message.id,
        agent=submission.agent_id,
        ucr=submission.ucr,
        detail=_describe_case(processed),
        state=state,
    )


def _describe_case(processed: ProcessedSubmission) -> dict[str, Any]:
    """Return the detail of a case's row: its items, mappings and findings, its importer and exporter."""
    base_fields = {"items": list(processed.submission.items), BUNDLE_KEY: processed.bundle_digest}
    amended = processed.amended_items
    filed = {} if amended is None else amended.describe_for_case(processed.message.id)
    return base_fields | describe_findings(processed) | describe_traders(processed) | filed


def _supplement_case(
    conn: Connection, hub: Hub, processed: ProcessedSubmission, calls: list[ComposedCall], now: datetime
) -> None:
    """Queue the supplements of the applications, each after the earlier deliveries to its agency."""
    named_case = find_named_case(conn, processed.declarant, processed.submission.reference)
    case, message = cases.lock_case(conn, named_case.id), processed.message
    # An amendment or a withdrawal may have come since it was read.
    check_supplementable(processed.submission, case, agency_requests.list_by_case(conn, case.id))
    messages.set_message_case(conn, message.id, case.id)
    cases.insert_case_references(conn, case.id, processed.submission.references)
    _add_warnings(conn, case, processed)
    for application, call in zip(processed.prepared_applications, calls, strict=True):
        request = agency_requests.find_by_number(conn, application.application_number)
        assert request is not None  # checked above
        demands = read_demands(request)
        event = StateEvent("supplement", now, _ACTOR)
        open_demands = demands.apply_supplement(message.received_at).describe()
        agency_requests.apply_event(conn, request.id, event, demands=open_demands)
        store_envelopes(conn, [call], now)
        agency_requests.set_sent_document(conn, request.id, call.envelope_sha256)
        agency_requests.insert_correlation(conn, "wsa", call.call.message_id, case.id, request.id)
        key = f"supplement:{application.application_number}:{message.id}"
        enqueue_later_call(conn, call, case.id, request.id, key, now)
        keep_fee_due(conn, request.id, now)
    settle_deadlines(conn, hub, case.id, now, done_at=message.received_at)
    signer_admission = processed.signer_admission
    data = {
        "number": case.number,
        "signer": signer_admission.party,
        "bundle": processed.bundle_digest,
        "admitted": signer_admission.evidence,
    }
    record_evidence(conn, "supplemented", "case", case.id, message.identity_sha256, data, now)


def _add_warnings(conn: Connection, case: CaseRow, processed: ProcessedSubmission) -> None:
    """Keep with the case the warnings of a supplement that it does not have yet."""
    detail = case.detail or {}
    warnings = list(detail.get("warnings", ()))
    stored_texts = {(warning["id"], warning["text"]) for warning in warnings}
    findings = describe_findings(processed)
    new = [
        warning
        for warning in findings.get("warnings", ())
        if (warning["id"], warning["text"]) not in stored_texts
    ]
    if new:
        needed = [*detail.get("needed", ()), *findings.get("needed", ())]
        cases.set_detail(conn, case.id, {**detail, "warnings": [*warnings, *new], "needed": needed})


def _reject_submission(
    hub: Hub,
    stored_submission: StoredSubmission,
    rejection: SubmissionRejectedError,
    end_lease: FinishLease,
    now: datetime,
) -> None:
    """Open a REFUSED case with every problem found, and queue the result for the applicant."""
    row = stored_submission.message_row
    number = make_case_number(stored_submission.origin.serial, stored_submission.origin.year)
    mappings = prepare_bundle(hub, rejection.bundle_digest)
    with write_transaction(hub.engine, "admit.refused") as conn:
        mappings.store_files(conn, now)
        new = NewCase(
            number=number,
            document="-",
            function="-",
            declarant=rejection.declarant or row.from_party,
            applicant=row.from_party,
            functional_reference=rejection.reference or make_refused_reference(row.message_id),
            message=row.id,
            detail={
                "reference": rejection.reference,
                "problems": [asdict(problem) for problem in rejection.problems],
                **mappings.describe_for_case(),
            },
        )
        refused_case = cases.open_refused_case(conn, new, now)
        case = refused_case.id
        cases.apply_event(
            conn, case, StateEvent("refuse", now, _ACTOR, str(rejection)[:200]), outcome="REFUSED"
        )
        _mark_processed(conn, row, now, rejection.problems[0].id)
        enqueue_task(conn, "conclude", "case", case, f"conclude:{case}:1", now)
        stored_rows = {"cases": digest_rows("cases", [refused_case.values])}
        data: dict[str, Any] = {"number": number, "problems": str(rejection), STORED: stored_rows}
        if rejection.signer_admission is not None:
            data |= {
                "signer": rejection.signer_admission.party,
                "admitted": rejection.signer_admission.evidence,
            }
        record_evidence(conn, "refused", "case", case, row.identity_sha256, data, now)
        end_lease(conn)
    for problem in {refused_problem.id: refused_problem for refused_problem in rejection.problems}.values():
        detail = f"submission {row.message_id[:80]}: {problem.text}"
        refused = GatewayError(PROBLEMS[problem.id], detail, problem.pointer)
        hub.tally.count_refusal(row.from_party, refused, is_signed=row.signer_sha256 is not None)


_log = logging.getLogger(__name__)


def wake_held_case(hub: Hub, case_id: int, end_lease: FinishLease) -> None:
    """Let a held case go on if it lacks nothing any more; leave every other case as it is.

    A case whose submission would be refused now stays held, with the reason: its declarant may file it again.
    One that lacks other documents than before stays held, and its declarant gets a notice of them. One whose
    parent was withdrawn or refused is refused.
    """
    now = hub.clock()
    stored_submission = _load_last_submission(hub, case_id)
    problems: tuple[ReportedProblem, ...] = ()
    needs = NO_NEEDS
    if stored_submission is not None:
        try:
            processed = process_submission(hub, stored_submission, now)
            needs = processed.needs if processed.is_held else NO_NEEDS
            if (
                processed.is_held
                and not needs.missing
                and store_resumed_case(hub, processed, end_lease, now, was_admitted_before=True)
            ):
                return
        except SubmissionRejectedError as refused:
            _log.info("the case is held on: %s", refused, extra={"case_id": case_id})
            problems = refused.problems
    with case_transaction(hub, "hold.looked", case_id, end_lease) as (conn, case):
        if not refuse_if_parent_ended(conn, case, problems, now):
            record_refusal_reasons(conn, case, problems)
            if stored_submission is not None and needs.missing:
                record_missing_documents(
                    conn, cases.lock_case(conn, case_id), needs, stored_submission.message_row.id, now
                )


def _load_last_submission(hub: Hub, case_id: int) -> StoredSubmission | None:
    """Return the submission that was filed last for a held case; None for a case that is not held."""
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_id(conn, case_id)
        if case is None or case.state != "HELD":
            return None
        row = messages.find_by_id(conn, find_former_message(conn, case))
        loaded_payloads = () if row is None else messages.load_payloads(conn, row.id)
    return None if row is None else StoredSubmission(row, loaded_payloads, hub.refresh_snapshot())

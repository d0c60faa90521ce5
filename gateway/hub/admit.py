"""Step 2, admit: a stored submission becomes a case, a change of a case, or a refusal.

The input is the delivery of a message that `gateway.hub.receive` has stored. The submission is
processed (`gateway.hub.split`) and its calls are composed (`gateway.hub.forward`) before the
transaction. When the transaction has committed, the case is in the database with its requests and
calls, the message is PROCESSED, and the delivery has ended. A refused submission also has a case:
its state is REFUSED, and it lists every problem found. A case that lacks a document may be HELD
instead (`gateway.hub.held_cases`): nothing is queued for anybody but the declarant. A case with requests
waits for the agencies (`gateway.hub.reply`). A case without requests, and a refused one, is concluded at once
(`gateway.hub.conclude`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import Any, NoReturn

from sqlalchemy import Connection, Row

from gateway.cases import JudgedChildClaim, ReportedProblem, make_case_number
from gateway.errors import NO_OPEN_CASE, PROBLEMS, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.amend import amend_case
from gateway.hub.amended_places import find_former_message
from gateway.hub.amended_requests import compose_amendment
from gateway.hub.case_progress import conclude_unasked_case, wake_held_children
from gateway.hub.completion import read_demands
from gateway.hub.deadlines import settle_deadlines
from gateway.hub.fees import keep_fee_due
from gateway.hub.forward import (
    ComposedCall,
    compose_application_call,
    compose_registration_calls,
    enqueue_later_call,
    store_envelopes,
)
from gateway.hub.held_cases import LackingSubmission, cancel_hold, hold_case
from gateway.hub.hub import Hub
from gateway.hub.open_application import open_first_applications
from gateway.hub.open_cases import find_named_case
from gateway.hub.outbox import FinishLease, enqueue_task
from gateway.hub.partial_release import (
    judge_prepared_release,
    judge_released_uses,
    lock_with_parent,
    store_release,
)
from gateway.hub.pinned_mappings import BUNDLE, prepare_bundle
from gateway.hub.processed_submission import ProcessedSubmission, StoredSubmission
from gateway.hub.requirement_ledger import claim_requirements, write_off_requirements
from gateway.hub.requirement_results import await_unknown_requirements, note_joined_results
from gateway.hub.split import (
    SubmissionRejectedError,
    describe_findings,
    is_transient_error,
    make_found_problem,
    process_submission,
)
from gateway.hub.stated_uses import store_stated_uses
from gateway.hub.withdraw import compose_cancellations, withdraw_case
from gateway.state_machines import CASE, REQUEST, get_next_state
from gateway.store import (
    NewCase,
    StateEvent,
    agency_requests,
    cases,
    correlations,
    messages,
    read_transaction,
    write_transaction,
)

__all__ = ["admit_submission", "store_resumed_case"]


_ACTOR = "admit"
#: A FAILED message is processed again when an operator requeues its task.
_WAITING = ("ACCEPTED", "FAILED")


def admit_submission(hub: Hub, message: int, finish: FinishLease) -> None:
    """Open, supplement or refuse the case of a stored message.

    Raises a GatewayError when the fault is ours or may pass; the message is then processed again
    later.
    """
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        row = messages.find_with_register(conn, message)
        waiting = row is not None and row.state in _WAITING
        found = messages.load_payloads(conn, message) if waiting else ()
        knowledge = None if row is None else hub.confirm_version(row.register)
    if row is None or knowledge is None or not waiting:
        with write_transaction(hub.engine, "admit.again") as conn:
            finish(conn)
        return
    arrived = StoredSubmission(row, found, knowledge)
    try:
        while not _store_case(hub, arrived, process_submission(hub, arrived, now), finish, now):
            pass
    except SubmissionRejectedError as refused:
        _reject_submission(hub, arrived, refused, finish, now)


def _store_case(
    hub: Hub, arrived: StoredSubmission, intake: ProcessedSubmission, finish: FinishLease, now: datetime
) -> bool:
    """Store what a submission does to its case; False when the case is not what it was compared with."""
    function = intake.submission.function
    if function == "1":
        _store_withdrawal(hub, arrived, intake, finish, now)
    elif intake.needs.missing:
        return _store_hold(hub, arrived, intake, finish, now)
    elif intake.held:
        return store_resumed_case(hub, arrived, intake, finish, now)
    elif function == "13":
        return _store_amendment(hub, arrived, intake, finish, now)
    else:
        _store_new_case(hub, arrived, intake, finish, now)
    return True


def _store_new_case(
    hub: Hub, arrived: StoredSubmission, intake: ProcessedSubmission, finish: FinishLease, now: datetime
) -> None:
    """Open a case, or supplement one."""
    supplement = intake.submission.function == "35"
    try:
        worded = _compose_first_calls(hub, intake, supplement=supplement)
        mappings = prepare_bundle(hub, intake.bundle)
        with write_transaction(hub.engine, "admit.case") as conn:
            mappings.store(conn, now)
            opened = None
            if supplement:
                _supplement_case(conn, hub, arrived, intake, worded[0], now)
            else:
                opened = _start_case(conn, hub, arrived, intake, (None, worded), now)
            _mark_processed(conn, arrived.row, now, case=opened)
            finish(conn)
    except GatewayError as error:
        _reject_late(intake, error)


def store_resumed_case(
    hub: Hub,
    arrived: StoredSubmission,
    intake: ProcessedSubmission,
    finish: FinishLease,
    now: datetime,
    *,
    again: bool = False,
) -> bool:
    """Let a held case go on, which has now all that it needs; False when it is held no longer.

    With `again` the message was admitted before: False too when another one was filed since.
    """
    try:
        worded = _compose_first_calls(hub, intake)
        mappings = prepare_bundle(hub, intake.bundle)
        with write_transaction(hub.engine, "admit.resumed") as conn:
            mappings.store(conn, now)
            held = _lock_held_case(conn, intake)
            if held is None or (again and find_former_message(conn, held) != arrived.row.id):
                return False
            _start_case(conn, hub, arrived, intake, (held, worded), now)
            _mark_processed(conn, arrived.row, now)
            finish(conn)
    except GatewayError as error:
        _reject_late(intake, error)
    return True


def _compose_first_calls(
    hub: Hub, intake: ProcessedSubmission, *, supplement: bool = False
) -> tuple[list[ComposedCall], list[ComposedCall]]:
    """Compose the calls to the agencies, one for each application, and those to customs."""
    worded = [compose_application_call(hub, intake, one, supplement=supplement) for one in intake.prepared]
    return worded, [] if supplement else compose_registration_calls(hub, intake)


def _store_hold(
    hub: Hub, arrived: StoredSubmission, intake: ProcessedSubmission, finish: FinishLease, now: datetime
) -> bool:
    """Open a case and hold it, or hold it on; nobody but the declarant is told."""
    try:
        mappings = prepare_bundle(hub, intake.bundle)
        with write_transaction(hub.engine, "admit.held") as conn:
            mappings.store(conn, now)
            held = _lock_held_case(conn, intake) if intake.held else None
            if intake.held and held is None:
                return False
            detail = _describe_case(intake, arrived.row.id)
            if held is None:
                case = cases.open_case(conn, _make_case(arrived, intake), now)
            else:
                case = int(held.id)
                detail["held"] = held.detail["held"]
                messages.set_message_case(conn, arrived.row.id, case)
            span = now, hub.need_policy.hold_time
            parent = None if intake.release is None else intake.release.parent
            lacking = LackingSubmission(intake.needs, intake.requirements, parent)
            until = hold_case(conn, case, detail, lacking, span, arrived.row.id)
            data = _describe_admission(intake) | {"until": until}
            record_evidence(conn, "held", "case", case, arrived.row.identity_sha256, data, now)
            _mark_processed(conn, arrived.row, now)
            finish(conn)
    except GatewayError as error:
        _reject_late(intake, error)
    return True


def _lock_held_case(conn: Connection, intake: ProcessedSubmission) -> Row[Any] | None:
    """Lock and return the held case that a submission is about; None when it is not as it was read."""
    known = cases.find_by_reference(conn, intake.declarant, intake.submission.reference)
    case = None if known is None else lock_with_parent(conn, known.id, intake.release)
    if case is None or case.state != "HELD" or intake.amended is None:
        return None
    return case if find_former_message(conn, case) == intake.amended.former else None


def _store_withdrawal(
    hub: Hub, arrived: StoredSubmission, intake: ProcessedSubmission, finish: FinishLease, now: datetime
) -> None:
    withdrawn = False
    try:
        while not withdrawn:
            calls = compose_cancellations(hub, intake)
            with write_transaction(hub.engine, "admit.withdrawal") as conn:
                withdrawn = withdraw_case(conn, arrived, intake, calls, now)
                if withdrawn:
                    _settle_named_case(conn, hub, intake, now)
                    _mark_processed(conn, arrived.row, now)
                    finish(conn)
    except GatewayError as error:
        _reject_late(intake, error)


def _store_amendment(
    hub: Hub, arrived: StoredSubmission, intake: ProcessedSubmission, finish: FinishLease, now: datetime
) -> bool:
    """Amend a case; False when another amendment or a notice has come before it."""
    try:
        composed = compose_amendment(hub, intake)
        with write_transaction(hub.engine, "admit.amendment") as conn:
            if not amend_case(conn, hub, arrived, intake, composed, now):
                return False
            _settle_named_case(conn, hub, intake, now, begun=composed.changed)
            _mark_processed(conn, arrived.row, now)
            finish(conn)
    except GatewayError as error:
        _reject_late(intake, error)
    return True


def _settle_named_case(
    conn: Connection, hub: Hub, intake: ProcessedSubmission, now: datetime, begun: Collection[str] = ()
) -> None:
    """Settle the deadlines of the case that a withdrawal or an amendment names."""
    case = find_named_case(conn, intake.declarant, intake.submission.reference)
    settle_deadlines(conn, hub, case.id, now, begun=begun)


def _reject_late(intake: ProcessedSubmission, error: GatewayError) -> NoReturn:
    """Reject a submission that was right by itself; a fault that may pass is raised as it is."""
    if is_transient_error(error):
        raise error
    told = (make_found_problem(error),)
    reference, signing = intake.submission.reference, intake.signing
    raise SubmissionRejectedError(told, reference, intake.declarant, signing, intake.bundle) from error


def _mark_processed(
    conn: Connection, row: Row[Any], now: datetime, problem: str | None = None, case: int | None = None
) -> None:
    """Note that a message is processed; with `case` it belongs to that one, which it has opened."""
    if row.state == "PROCESSED":
        return
    if row.state == "FAILED":
        messages.apply_event(conn, row.id, StateEvent("retry", now, _ACTOR))
    before = "ACCEPTED" if row.state == "FAILED" else row.state
    messages.apply_event(conn, row.id, StateEvent("process", now, _ACTOR), problem, before=before, case=case)


def _start_case(
    conn: Connection,
    hub: Hub,
    arrived: StoredSubmission,
    intake: ProcessedSubmission,
    given: tuple[Row[Any] | None, tuple[list[ComposedCall], list[ComposedCall]]],
    now: datetime,
) -> int:
    """Open a case, or take a held one, and ask everybody; `given` has that case and the calls.

    Returns the case; one that it opens is not named in its message yet.
    """
    held, (applications, customs) = given
    child, release = JudgedChildClaim(intake.requirements), intake.release
    told: tuple[ReportedProblem, ...] = ()
    if release is not None:
        told = judge_prepared_release(conn, release, intake.units)
        child, wrong = judge_released_uses(conn, release, intake.requirements, intake.units)
        told += wrong
    used = claim_requirements(conn, child.own, intake.units, now)
    told += tuple(ReportedProblem(one.problem.id, one.detail, one.pointer) for one in used.problems)
    if told:
        who = intake.declarant, intake.signing
        raise SubmissionRejectedError(told, intake.submission.reference, *who, intake.bundle)
    if held is None:
        # The row is written once: the event by which it came to its state is recorded below.
        state = get_next_state(CASE, CASE.initial, "dispatch") if intake.prepared else CASE.initial
        case = cases.open_case(conn, _make_case(arrived, intake, state), now, named=True)
        further: dict[str, Any] = {}
    else:
        case = int(held.id)
        messages.set_message_case(conn, arrived.row.id, case)
        cancel_hold(conn, case, now)
        further = {"detail": _describe_case(intake, arrived.row.id)}
    write_off_requirements(conn, case, used.taken, now)
    if release is not None:
        store_release(conn, release, case, now)
    store_stated_uses(conn, case, child.stated, now)
    note_joined_results(conn, case, (one.key for _, one in used.taken), now)
    first = held is None and release is None
    await_unknown_requirements(conn, case, (*used.unknown, *child.waiting), now, first=first)
    store_envelopes(conn, [*applications, *customs], now)
    asked = list(zip(intake.prepared, applications, strict=True))
    is_timed = open_first_applications(conn, hub, (case, intake.bundle), (asked, customs), now)
    dispatched = StateEvent("dispatch", now, _ACTOR)
    if intake.prepared and held is None:
        cases.record_opening(conn, case, dispatched)
    elif held is not None and intake.prepared:
        cases.apply_event(conn, case, dispatched, before=held.state, **further)
    else:
        conclude_unasked_case(conn, intake.units, case, now, **further)
        if held is not None:
            wake_held_children(conn, held.declarant, {case}, f"parent:{case}:{now.isoformat()}", now)
    if not is_timed:
        settle_deadlines(conn, hub, case, now, begun={one.number for one in intake.prepared})
    data = _describe_admission(intake) | {"bundle": intake.bundle}
    record_evidence(conn, "admitted", "case", case, arrived.row.identity_sha256, data, now)
    return case


def _describe_admission(intake: ProcessedSubmission) -> dict[str, Any]:
    """Return who filed what, for the evidence."""
    return {"number": intake.case_number, "signer": intake.signing.party, "declarant": intake.declarant,
            "reference": intake.submission.reference, "admitted": intake.signing.way}  # fmt: skip


def _make_case(arrived: StoredSubmission, intake: ProcessedSubmission, state: str = CASE.initial) -> NewCase:
    submission = intake.submission
    return NewCase(
        number=intake.case_number,
        document=submission.type_code or "-",
        function=submission.function,
        declarant=intake.declarant,
        applicant=arrived.row.from_party,
        functional_reference=submission.reference,
        message=arrived.row.id,
        agent=submission.agent_id,
        ucr=submission.ucr,
        detail=_describe_case(intake, arrived.row.id),
        state=state,
    )


def _describe_case(intake: ProcessedSubmission, message: int) -> dict[str, Any]:
    known = {"items": list(intake.submission.items), BUNDLE: intake.bundle}
    filed = {} if intake.amended is None else intake.amended.describe_for_case(message)
    return known | describe_findings(intake) | _describe_traders(intake) | filed


def _describe_traders(intake: ProcessedSubmission) -> dict[str, str]:
    """Return the ids of importer and exporter, to whom the agencies' certificates will be issued."""
    used = intake.requirements
    named = {"importer": used.importer, "exporter": used.exporter}
    return {name: value for name, value in named.items() if value}


def _supplement_case(
    conn: Connection,
    hub: Hub,
    arrived: StoredSubmission,
    intake: ProcessedSubmission,
    worded: list[ComposedCall],
    now: datetime,
) -> None:
    """Queue the supplements of the applications, each after the earlier deliveries to its agency."""
    known = cases.find_by_reference(conn, intake.declarant, intake.submission.reference)
    if known is None:
        raise GatewayError(NO_OPEN_CASE, "the case does not exist", "/Submission/Reference")
    case = cases.lock_case(conn, known.id)
    messages.set_message_case(conn, arrived.row.id, case.id)
    _add_warnings(conn, case, intake)
    for one, words in zip(intake.prepared, worded, strict=True):
        request = agency_requests.find_by_number(conn, one.number)
        if request is None or request.state in REQUEST.final:
            detail = f"application {one.application.id[:40]!r} is decided"
            raise GatewayError(NO_OPEN_CASE, detail, f"APP[{one.application.position}]")
        demands = read_demands(conn, request, hub.load_rules_of(conn, request).status_codes)
        event = StateEvent("supplement", now, _ACTOR)
        left = demands.answer(arrived.row.received_at).describe()
        agency_requests.apply_event(conn, request.id, event, demands=left)
        store_envelopes(conn, [words], now)
        agency_requests.set_sent_document(conn, request.id, words.sha256)
        correlations.insert_correlation(conn, "wsa", words.call.message_id, case.id, request.id)
        key = f"supplement:{one.number}:{arrived.row.id}"
        enqueue_later_call(conn, words, (case.id, request.id), key, now)
        keep_fee_due(conn, request.id, now)
    settle_deadlines(conn, hub, case.id, now, done_at=arrived.row.received_at)
    data = {"number": case.number, "signer": intake.signing.party, "bundle": intake.bundle,
            "admitted": intake.signing.way}  # fmt: skip
    record_evidence(conn, "supplemented", "case", case.id, arrived.row.identity_sha256, data, now)


def _add_warnings(conn: Connection, case: Row[Any], intake: ProcessedSubmission) -> None:
    """Keep with the case the warnings of a supplement that it does not have yet."""
    detail = case.detail or {}
    known = list(detail.get("warnings", ()))
    words = {(one["id"], one["text"]) for one in known}
    found = describe_findings(intake)
    new = [one for one in found.get("warnings", ()) if (one["id"], one["text"]) not in words]
    if new:
        needed = [*detail.get("needed", ()), *found.get("needed", ())]
        cases.set_detail(conn, case.id, {**detail, "warnings": [*known, *new], "needed": needed})


def _reject_submission(
    hub: Hub, arrived: StoredSubmission, refused: SubmissionRejectedError, finish: FinishLease, now: datetime
) -> None:
    """Open a REFUSED case with every problem found, and queue the result for the applicant."""
    row = arrived.row
    number = make_case_number(row.id, row.received_at.year)
    mappings = prepare_bundle(hub, refused.bundle)
    with write_transaction(hub.engine, "admit.refused") as conn:
        mappings.store(conn, now)
        new = NewCase(
            number=number,
            document="-",
            function="-",
            declarant=refused.declarant or row.from_party,
            applicant=row.from_party,
            functional_reference=refused.reference or row.message_id,
            message=row.id,
            detail={
                "reference": refused.reference,
                "problems": [asdict(one) for one in refused.problems],
                **mappings.describe_for_case(),
            },
        )
        case = cases.open_refused_case(conn, new, now)
        cases.apply_event(
            conn, case, StateEvent("refuse", now, _ACTOR, str(refused)[:200]), outcome="REFUSED"
        )
        _mark_processed(conn, row, now, refused.problems[0].id)
        enqueue_task(conn, "conclude", ("case", case), f"conclude:{case}:1", now)
        data: dict[str, Any] = {"number": number, "problems": str(refused)}
        if refused.signing is not None:
            data |= {"signer": refused.signing.party, "admitted": refused.signing.way}
        record_evidence(conn, "refused", "case", case, row.identity_sha256, data, now)
        finish(conn)
    for one in {each.id: each for each in refused.problems}.values():
        words = f"submission {row.message_id[:80]}: {one.text}"
        hub.tally.count_refusal(row.from_party, GatewayError(PROBLEMS[one.id], words, one.pointer))

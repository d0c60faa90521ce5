"""A stored submission becomes a case: requests to agencies, calls to customs, or a refusal.

Everything is judged and worded before the transaction; the transaction writes the case
with all that follows from it, and ends the delivery that brought the message here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases.case_numbers import make_case_number
from gateway.errors import NO_OPEN_CASE, GatewayError
from gateway.evidence.evidence_log import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.outbox.local_tasks import enqueue_task
from gateway.hub.outbox.outgoing_calls import CUSTOMS, OutgoingCall
from gateway.hub.split import (
    PreparedApplication,
    ProcessedSubmission,
    StoredSubmission,
    SubmissionRejectedError,
    is_transient_error,
    make_found_problem,
    process_submission,
)
from gateway.state_machines import REQUEST
from gateway.store import agency_requests, cases, correlations, deliveries, messages, payloads
from gateway.store.agency_requests import NewAgencyRequest
from gateway.store.cases import NewCase
from gateway.store.deliveries import NewDelivery
from gateway.store.engine import read_transaction, write_transaction
from gateway.store.transitions import StateEvent

__all__ = ["FinishLease", "admit_submission"]

#: Ends the lease of the delivery in the caller's transaction; raises when the lease is lost.
FinishLease = Callable[[Connection], None]

_ACTOR = "admit"
#: A message that FAILED is looked at again when an operator puts its task back in the queue.
_WAITING = ("ACCEPTED", "FAILED")


@dataclass(frozen=True, slots=True)
class _ComposedCall:
    """A call as it will be sent on every attempt."""

    call: OutgoingCall
    envelope: bytes


def admit_submission(hub: Hub, message: int, finish: FinishLease) -> None:
    """Open, supplement or refuse the case of a stored message.

    Raises the problem when it lies with us or may pass: the message is looked at again.
    """
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        row = messages.find_by_id(conn, message)
        waiting = row is not None and row.state in _WAITING
        found = messages.load_payloads(conn, message) if waiting else ()
    if row is None or not waiting:
        with write_transaction(hub.engine, "admit.again") as conn:
            finish(conn)
        return
    arrived = StoredSubmission(row, found, hub.refresh_snapshot())
    try:
        intake = process_submission(hub, arrived, now)
        _store_case(hub, arrived, intake, finish, now)
    except SubmissionRejectedError as refused:
        _reject_submission(hub, arrived, refused, finish, now)


def _store_case(
    hub: Hub, arrived: StoredSubmission, intake: ProcessedSubmission, finish: FinishLease, now: datetime
) -> None:
    supplement = intake.submission.function == "35"
    try:
        worded = [
            _compose_application_call(hub, intake, one, supplement=supplement) for one in intake.prepared
        ]
        customs = [] if supplement else _compose_customs_calls(hub, intake)
        with write_transaction(hub.engine, "admit.case") as conn:
            if supplement:
                _supplement_case(conn, arrived, intake, worded, now)
            else:
                _open_case(conn, arrived, intake, (worded, customs), now)
            _mark_processed(conn, arrived.row, now)
            finish(conn)
    except GatewayError as error:
        if is_transient_error(error):
            raise
        told = (make_found_problem(error),)
        reference, signing = intake.submission.reference, intake.signing
        raise SubmissionRejectedError(told, reference, intake.declarant, signing) from error


def _mark_processed(conn: Connection, row: Row[Any], now: datetime, problem: str | None = None) -> None:
    if row.state == "FAILED":
        messages.apply_event(conn, row.id, StateEvent("retry", now, _ACTOR))
    messages.apply_event(conn, row.id, StateEvent("process", now, _ACTOR), problem)


def _compose_application_call(
    hub: Hub, intake: ProcessedSubmission, one: PreparedApplication, *, supplement: bool
) -> _ComposedCall:
    call = OutgoingCall(
        destination=one.request.organisation,
        operation="SubmitSupplement" if supplement else "SubmitApplication",
        message_id=f"urn:uuid:{hub.new_uuid()}",
        arguments={"ApplicationNumber": one.number, "CaseNumber": intake.case_number},
        document=one.request.xml,
        attachments=tuple(intake.attachments[cid] for cid in one.request.attachments),
    )
    return _ComposedCall(call, hub.composer.compose_call(call))


def _compose_customs_calls(hub: Hub, intake: ProcessedSubmission) -> list[_ComposedCall]:
    """Return the calls to customs: the declaration, and 18 when agencies must approve first."""
    if not hub.composer.has_destination(CUSTOMS):
        return []
    number = intake.case_number
    wanted: list[tuple[str, dict[str, str], Any]] = [
        ("RegisterDeclaration", {"CaseNumber": number}, intake.submission.declaration)
    ]
    if intake.prepared:
        wanted.append(("ReportRequirements", {"CaseNumber": number, "PendingCode": "18"}, None))
    return [
        _compose_customs_call(hub, operation, arguments, document)
        for operation, arguments, document in wanted
    ]


def _compose_customs_call(
    hub: Hub, operation: str, arguments: Mapping[str, Any], document: Any
) -> _ComposedCall:
    call = OutgoingCall(CUSTOMS, operation, f"urn:uuid:{hub.new_uuid()}", arguments, document)
    return _ComposedCall(call, hub.composer.compose_call(call))


def _open_case(
    conn: Connection,
    arrived: StoredSubmission,
    intake: ProcessedSubmission,
    worded: tuple[list[_ComposedCall], list[_ComposedCall]],
    now: datetime,
) -> None:
    submission = intake.submission
    case = cases.open_case(conn, _make_case(arrived, intake), now)
    applications, customs = worded
    for sequence, (one, words) in enumerate(zip(intake.prepared, applications, strict=True), start=1):
        request = agency_requests.insert_request(
            conn, _make_request(conn, intake.bundle, (case, sequence), one, (words, now))
        )
        correlations.insert_correlation(conn, "wsa", words.call.message_id, case, request)
        _enqueue_call(conn, words, (case, f"submit:{one.number}", ("request", request)), now)
    previous = None
    for words in customs:
        key = f"customs:{words.call.operation}:{words.call.arguments.get('PendingCode', '')}:{case}"
        previous = _enqueue_call(conn, words, (case, key, ("case", case)), now, after=previous)
    if intake.prepared:
        cases.apply_event(conn, case, StateEvent("dispatch", now, _ACTOR))
    else:
        cases.apply_event(conn, case, StateEvent("none_concerned", now, _ACTOR), outcome="APPROVED")
        enqueue_task(conn, "conclude", ("case", case), f"conclude:{case}:1", now)
    data = {"number": intake.case_number, "signer": intake.signing.party, "declarant": intake.declarant,
            "reference": submission.reference, "bundle": intake.bundle,
            "admitted": intake.signing.way}  # fmt: skip
    record_evidence(conn, "admitted", "case", case, arrived.row.identity_sha256, data, now)


def _make_case(arrived: StoredSubmission, intake: ProcessedSubmission) -> NewCase:
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
        detail={"items": list(submission.items)},
    )


def _make_request(
    conn: Connection,
    bundle: str,
    place: tuple[int, int],
    one: PreparedApplication,
    words: tuple[_ComposedCall, datetime],
) -> NewAgencyRequest:
    worded, now = words
    return NewAgencyRequest(
        case_id=place[0],
        number=one.number,
        application=one.application.id,
        agency=one.request.organisation,
        document=one.request.document,
        sequence=place[1],
        mapping=one.request.document,
        mapping_version=bundle[:16],
        mapping_sha256=bundle,
        document_sha256=payloads.store_payload(conn, worded.envelope, now),
        required=[[int(item), law] for item in one.request.items for law in one.request.laws],
    )


def _enqueue_call(
    conn: Connection,
    words: _ComposedCall,
    about: tuple[int, str, tuple[str, int]],
    now: datetime,
    *,
    after: int | None = None,
) -> int | None:
    case, key, subject = about
    return deliveries.enqueue_delivery(
        conn,
        NewDelivery(
            agent="soap",
            destination=words.call.destination,
            subject_type=subject[0],
            subject_id=str(subject[1]),
            dedupe_key=key,
            case_id=case,
            wire_id=words.call.message_id,
            payload_sha256=payloads.store_payload(conn, words.envelope, now),
            parameters={"operation": words.call.operation},
            follows=after,
        ),
        now,
    )


def _supplement_case(
    conn: Connection,
    arrived: StoredSubmission,
    intake: ProcessedSubmission,
    worded: list[_ComposedCall],
    now: datetime,
) -> None:
    """Put the supplemented applications on their way, each behind what went to its agency before."""
    known = cases.find_by_reference(conn, intake.declarant, intake.submission.reference)
    if known is None:
        raise GatewayError(NO_OPEN_CASE, "the case is gone", "/Submission/Reference")
    case = cases.lock_case(conn, known.id)
    messages.set_message_case(conn, arrived.row.id, case.id)
    for one, words in zip(intake.prepared, worded, strict=True):
        request = agency_requests.find_by_number(conn, one.number)
        if request is None or request.state in REQUEST.final:
            detail = f"application {one.application.id[:40]!r} is decided"
            raise GatewayError(NO_OPEN_CASE, detail, f"APP[{one.application.position}]")
        agency_requests.apply_event(conn, request.id, StateEvent("supplement", now, _ACTOR))
        agency_requests.set_sent_document(conn, request.id, payloads.store_payload(conn, words.envelope, now))
        correlations.insert_correlation(conn, "wsa", words.call.message_id, case.id, request.id)
        earlier = [
            row for row in deliveries.list_by_case(conn, case.id) if _is_about_request(row, request.id)
        ]
        key = f"supplement:{one.number}:{arrived.row.id}"
        after = _find_preceding_delivery(earlier)
        _enqueue_call(conn, words, (case.id, key, ("request", request.id)), now, after=after)
    data = {"number": case.number, "signer": intake.signing.party, "admitted": intake.signing.way}
    record_evidence(conn, "supplemented", "case", case.id, arrived.row.identity_sha256, data, now)


def _find_preceding_delivery(earlier: list[Row[Any]]) -> int | None:
    """Return what a supplement waits for: the latest that did not fail, else the application itself.

    A supplement that its agency refused does not hold up the better one that follows; an
    application that never arrived does, until an operator has sent it.
    """
    if not earlier or earlier[0].state == "FAILED":
        return int(earlier[0].id) if earlier else None
    return int(max(row.id for row in earlier if row.state != "FAILED"))


def _is_about_request(delivery: Row[Any], request: int) -> bool:
    return (delivery.subject_type, delivery.subject_id) == ("request", str(request))


def _reject_submission(
    hub: Hub, arrived: StoredSubmission, refused: SubmissionRejectedError, finish: FinishLease, now: datetime
) -> None:
    """Open the case as REFUSED, keep every problem, and let the result be told."""
    row = arrived.row
    number = make_case_number(row.id, row.received_at.year)
    with write_transaction(hub.engine, "admit.refused") as conn:
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
                "problems": [
                    {"id": one.id, "text": one.text, "pointer": one.pointer} for one in refused.problems
                ],
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

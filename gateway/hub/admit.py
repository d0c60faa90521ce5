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

from gateway.cases.numbers import case_number
from gateway.errors import NO_OPEN_CASE, GatewayError
from gateway.evidence.log import record
from gateway.hub.calls import CUSTOMS, OutgoingCall
from gateway.hub.hub import Hub
from gateway.hub.intake import Arrived, Intake, Prepared, RefusedError, examine, found_problem, is_passing
from gateway.hub.tasks import enqueue_task
from gateway.states import REQUEST
from gateway.store import cases, correlations, deliveries, messages, payloads, requests
from gateway.store.cases import NewCase
from gateway.store.deliveries import NewDelivery
from gateway.store.engine import reading, transaction
from gateway.store.requests import NewRequest
from gateway.store.transitions import Step

__all__ = ["Finish", "admit"]

#: Ends the lease of the delivery in the caller's transaction; raises when the lease is lost.
Finish = Callable[[Connection], None]

_ACTOR = "admit"
#: A message that FAILED is looked at again when an operator puts its task back in the queue.
_WAITING = ("ACCEPTED", "FAILED")


@dataclass(frozen=True, slots=True)
class _Worded:
    """A call as it will be sent on every attempt."""

    call: OutgoingCall
    envelope: bytes


def admit(hub: Hub, message: int, finish: Finish) -> None:
    """Open, supplement or refuse the case of a stored message.

    Raises the problem when it lies with us or may pass: the message is looked at again.
    """
    now = hub.clock()
    with reading(hub.engine) as conn:
        row = messages.get(conn, message)
        waiting = row is not None and row.state in _WAITING
        found = messages.payloads_of(conn, message) if waiting else ()
    if row is None or not waiting:
        with transaction(hub.engine, "admit.again") as conn:
            finish(conn)
        return
    arrived = Arrived(row, found, hub.refresh())
    try:
        intake = examine(hub, arrived, now)
        _store(hub, arrived, intake, finish, now)
    except RefusedError as refused:
        _refuse(hub, arrived, refused, finish, now)


def _store(hub: Hub, arrived: Arrived, intake: Intake, finish: Finish, now: datetime) -> None:
    supplement = intake.submission.function == "35"
    try:
        worded = [_word_application(hub, intake, one, supplement=supplement) for one in intake.prepared]
        customs = [] if supplement else _word_customs(hub, intake)
        with transaction(hub.engine, "admit.case") as conn:
            if supplement:
                _supplement(conn, arrived, intake, worded, now)
            else:
                _open(conn, arrived, intake, (worded, customs), now)
            _processed(conn, arrived.row, now)
            finish(conn)
    except GatewayError as error:
        if is_passing(error):
            raise
        told = (found_problem(error),)
        reference, signing = intake.submission.reference, intake.signing
        raise RefusedError(told, reference, intake.declarant, signing) from error


def _processed(conn: Connection, row: Row[Any], now: datetime, problem: str | None = None) -> None:
    if row.state == "FAILED":
        messages.move(conn, row.id, Step("retry", now, _ACTOR))
    messages.move(conn, row.id, Step("process", now, _ACTOR), problem)


def _word_application(hub: Hub, intake: Intake, one: Prepared, *, supplement: bool) -> _Worded:
    call = OutgoingCall(
        destination=one.request.organisation,
        operation="SubmitSupplement" if supplement else "SubmitApplication",
        message_id=f"urn:uuid:{hub.new_uuid()}",
        arguments={"ApplicationNumber": one.number, "CaseNumber": intake.case_number},
        document=one.request.xml,
        attachments=tuple(intake.attachments[cid] for cid in one.request.attachments),
    )
    return _Worded(call, hub.composer.compose(call))


def _word_customs(hub: Hub, intake: Intake) -> list[_Worded]:
    """Return the calls to customs: the declaration, and 18 when agencies must approve first."""
    if not hub.composer.knows(CUSTOMS):
        return []
    number = intake.case_number
    wanted: list[tuple[str, dict[str, str], Any]] = [
        ("RegisterDeclaration", {"CaseNumber": number}, intake.submission.declaration)
    ]
    if intake.prepared:
        wanted.append(("ReportRequirements", {"CaseNumber": number, "PendingCode": "18"}, None))
    return [_word_call(hub, operation, arguments, document) for operation, arguments, document in wanted]


def _word_call(hub: Hub, operation: str, arguments: Mapping[str, Any], document: Any) -> _Worded:
    call = OutgoingCall(CUSTOMS, operation, f"urn:uuid:{hub.new_uuid()}", arguments, document)
    return _Worded(call, hub.composer.compose(call))


def _open(
    conn: Connection,
    arrived: Arrived,
    intake: Intake,
    worded: tuple[list[_Worded], list[_Worded]],
    now: datetime,
) -> None:
    submission = intake.submission
    case = cases.open_case(conn, _new_case(arrived, intake), now)
    applications, customs = worded
    for sequence, (one, words) in enumerate(zip(intake.prepared, applications, strict=True), start=1):
        request = requests.add(conn, _new_request(conn, intake.bundle, (case, sequence), one, (words, now)))
        correlations.add(conn, "wsa", words.call.message_id, case, request)
        _enqueue(conn, words, (case, f"submit:{one.number}", ("request", request)), now)
    previous = None
    for words in customs:
        key = f"customs:{words.call.operation}:{words.call.arguments.get('PendingCode', '')}:{case}"
        previous = _enqueue(conn, words, (case, key, ("case", case)), now, after=previous)
    if intake.prepared:
        cases.move(conn, case, Step("dispatch", now, _ACTOR))
    else:
        cases.move(conn, case, Step("none_concerned", now, _ACTOR), outcome="APPROVED")
        enqueue_task(conn, "conclude", ("case", case), f"conclude:{case}:1", now)
    data = {"number": intake.case_number, "signer": intake.signing.party, "declarant": intake.declarant,
            "reference": submission.reference, "bundle": intake.bundle,
            "admitted": intake.signing.way}  # fmt: skip
    record(conn, "admitted", "case", case, arrived.row.identity_sha256, data, now)


def _new_case(arrived: Arrived, intake: Intake) -> NewCase:
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


def _new_request(
    conn: Connection, bundle: str, place: tuple[int, int], one: Prepared, words: tuple[_Worded, datetime]
) -> NewRequest:
    worded, now = words
    return NewRequest(
        case_id=place[0],
        number=one.number,
        application=one.application.id,
        agency=one.request.organisation,
        document=one.request.document,
        sequence=place[1],
        mapping=one.request.document,
        mapping_version=bundle[:16],
        mapping_sha256=bundle,
        document_sha256=payloads.put(conn, worded.envelope, now),
        required=[[int(item), law] for item in one.request.items for law in one.request.laws],
    )


def _enqueue(
    conn: Connection,
    words: _Worded,
    about: tuple[int, str, tuple[str, int]],
    now: datetime,
    *,
    after: int | None = None,
) -> int | None:
    case, key, subject = about
    return deliveries.enqueue(
        conn,
        NewDelivery(
            agent="soap",
            destination=words.call.destination,
            subject_type=subject[0],
            subject_id=str(subject[1]),
            dedupe_key=key,
            case_id=case,
            wire_id=words.call.message_id,
            payload_sha256=payloads.put(conn, words.envelope, now),
            parameters={"operation": words.call.operation},
            follows=after,
        ),
        now,
    )


def _supplement(
    conn: Connection, arrived: Arrived, intake: Intake, worded: list[_Worded], now: datetime
) -> None:
    """Put the supplemented applications on their way, each behind what went to its agency before."""
    known = cases.by_reference(conn, intake.declarant, intake.submission.reference)
    if known is None:
        raise GatewayError(NO_OPEN_CASE, "the case is gone", "/Submission/Reference")
    case = cases.lock(conn, known.id)
    messages.set_case(conn, arrived.row.id, case.id)
    for one, words in zip(intake.prepared, worded, strict=True):
        request = requests.by_number(conn, one.number)
        if request is None or request.state in REQUEST.final:
            detail = f"application {one.application.id[:40]!r} is decided"
            raise GatewayError(NO_OPEN_CASE, detail, f"APP[{one.application.position}]")
        requests.move(conn, request.id, Step("supplement", now, _ACTOR))
        requests.set_document(conn, request.id, payloads.put(conn, words.envelope, now))
        correlations.add(conn, "wsa", words.call.message_id, case.id, request.id)
        earlier = [row for row in deliveries.of_case(conn, case.id) if _is_about(row, request.id)]
        key = f"supplement:{one.number}:{arrived.row.id}"
        after = _last_that_may_arrive(earlier)
        _enqueue(conn, words, (case.id, key, ("request", request.id)), now, after=after)
    data = {"number": case.number, "signer": intake.signing.party, "admitted": intake.signing.way}
    record(conn, "supplemented", "case", case.id, arrived.row.identity_sha256, data, now)


def _last_that_may_arrive(earlier: list[Row[Any]]) -> int | None:
    """Return what a supplement waits for: the latest that did not fail, else the application itself.

    A supplement that its agency refused does not hold up the better one that follows; an
    application that never arrived does, until an operator has sent it.
    """
    if not earlier or earlier[0].state == "FAILED":
        return int(earlier[0].id) if earlier else None
    return int(max(row.id for row in earlier if row.state != "FAILED"))


def _is_about(delivery: Row[Any], request: int) -> bool:
    return (delivery.subject_type, delivery.subject_id) == ("request", str(request))


def _refuse(hub: Hub, arrived: Arrived, refused: RefusedError, finish: Finish, now: datetime) -> None:
    """Open the case as REFUSED, keep every problem, and let the result be told."""
    row = arrived.row
    number = case_number(row.id, row.received_at.year)
    with transaction(hub.engine, "admit.refused") as conn:
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
        case = cases.open_refused(conn, new, now)
        cases.move(conn, case, Step("refuse", now, _ACTOR, str(refused)[:200]), outcome="REFUSED")
        _processed(conn, row, now, refused.problems[0].id)
        enqueue_task(conn, "conclude", ("case", case), f"conclude:{case}:1", now)
        data: dict[str, Any] = {"number": number, "problems": str(refused)}
        if refused.signing is not None:
            data |= {"signer": refused.signing.party, "admitted": refused.signing.way}
        record(conn, "refused", "case", case, row.identity_sha256, data, now)
        finish(conn)

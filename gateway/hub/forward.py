"""Step 4, forward: the calls to agencies and to customs are composed and queued.

The input is a split submission, or a decided case. Every call is composed before the transaction,
as an envelope whose MessageID and Body are the same on every attempt. When the transaction of the
calling step has committed, the envelope is stored, and a delivery of the agent ``soap`` is queued
for it behind the call that it must not overtake. The delivery worker makes the call.
`gateway.hub.reply` applies the partner's answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import (
    APPROVING,
    CaseOutcome,
    ChangeReason,
    CustomsNotice,
    DecisionCode,
    RankedDecision,
    read_subjects,
)
from gateway.errors import NO_ADDRESS, REQUEST_INVALID, SETTINGS_WRONG, GatewayError
from gateway.hub.carried_documents import carry_request
from gateway.hub.completion import list_told_decisions
from gateway.hub.document_needs import make_disclaimer_attachment
from gateway.hub.hub import Hub
from gateway.hub.outbox import (
    CANCELLATION,
    CLEARANCE_NEWS,
    CUSTOMS,
    DRAFTED,
    CaseSnapshot,
    OutgoingCall,
)
from gateway.hub.processed_submission import PreparedApplication, ProcessedSubmission
from gateway.hub.sent_applications import find_preceding_delivery
from gateway.message_model import as_body
from gateway.store import (
    NewDelivery,
    StateEvent,
    agency_requests,
    deliveries,
    delivery_leases,
    payloads,
)

__all__ = [
    "ComposedCall",
    "compose_amendment_calls",
    "compose_application_call",
    "compose_cancellation_call",
    "compose_clearance_call",
    "compose_late_report",
    "compose_outcome_call",
    "compose_registration_calls",
    "enqueue_amendment_calls",
    "enqueue_application_calls",
    "enqueue_cancellation_call",
    "enqueue_clearance_call",
    "enqueue_late_report",
    "enqueue_later_call",
    "enqueue_outcome_call",
    "has_heard_outcome",
    "must_tell_outcome",
    "store_envelopes",
]

#: Why the contract of an agency may not take a call that is right by itself.
_UNFIT: Final = (REQUEST_INVALID, SETTINGS_WRONG, NO_ADDRESS)
#: The parameter of a call to customs that has the digest of what it tells of an outcome.
_TOLD: Final = "told_sha256"
#: The states of a call that customs has not heard, and does not hear unless an operator does something.
_UNHEARD: Final = ("FAILED", "CANCELLED")


@dataclass(frozen=True, slots=True)
class ComposedCall:
    """A call with the envelope that is sent on every attempt, which alone has document and attachments.

    `sha256` is the digest of the envelope, in lower-case hexadecimal. One that the contract of its agency
    does not take is `drafted`: the envelope is composed when it is sent.
    """

    call: OutgoingCall
    envelope: bytes
    sha256: str
    drafted: bool = False


def compose_application_call(
    hub: Hub, intake: ProcessedSubmission, one: PreparedApplication, *, supplement: bool
) -> ComposedCall:
    """Compose the call that sends an application, or its supplement, to the agency.

    Where the contract of the agency does not take it, a draft stands for it: it holds back nobody else.
    """
    call = OutgoingCall(
        destination=one.request.organisation,
        operation="SubmitSupplement" if supplement else "SubmitApplication",
        message_id=_make_call_id(hub),
        arguments={"ApplicationNumber": one.number, "CaseNumber": intake.case_number},
        document=carry_request((hub.find_pinned_rules(intake.bundle) or hub.rules).bundle, one.request),
        attachments=(
            *(intake.attachments[cid] for cid in one.request.attachments),
            *make_disclaimer_attachment(intake.needs, one.request.organisation, intake.case_number),
        ),
        scope={"items": tuple(str(item) for item in one.request.items), "laws": one.laws},
    )
    try:
        return _compose_call(hub, call)
    except GatewayError as error:
        if error.problem not in _UNFIT:
            raise
        return _make_composed(call, hub.composer.compose_draft(call), drafted=True)


def compose_registration_calls(hub: Hub, intake: ProcessedSubmission) -> list[ComposedCall]:
    """Return the calls to customs: the declaration, and pending code 18 when agencies must approve first."""
    if not hub.composer.has_destination(CUSTOMS):
        return []
    number = intake.case_number
    wanted: list[tuple[str, dict[str, str], Any]] = [
        ("RegisterDeclaration", {"CaseNumber": number}, intake.submission.declaration)
    ]
    if intake.prepared:
        wanted.append(("ReportRequirements", {"CaseNumber": number, "PendingCode": "18"}, None))
    return [
        _compose_call(hub, OutgoingCall(CUSTOMS, operation, _make_call_id(hub), arguments, document))
        for operation, arguments, document in wanted
    ]


def compose_amendment_calls(hub: Hub, intake: ProcessedSubmission, *, reopened: bool) -> list[ComposedCall]:
    """Return the calls to customs: the amended declaration, and code 18 where an agency decides again."""
    if not hub.composer.has_destination(CUSTOMS):
        return []
    number = intake.case_number
    wanted: list[tuple[str, dict[str, str], Any]] = [
        ("AmendDeclaration", {"CaseNumber": number}, intake.submission.declaration)
    ]
    if reopened:
        wanted.append(("ReportRequirements", {"CaseNumber": number, "PendingCode": "18"}, None))
    return [
        _compose_call(hub, OutgoingCall(CUSTOMS, operation, _make_call_id(hub), arguments, document))
        for operation, arguments, document in wanted
    ]


def compose_cancellation_call(hub: Hub, request: Row[Any], reason: ChangeReason) -> ComposedCall:
    """Compose the call that asks an agency to cancel an application, with the declarant's reason."""
    arguments = {"ApplicationNumber": request.number, "Reason": reason.sentence}
    return _compose_call(hub, OutgoingCall(request.agency, CANCELLATION, _make_call_id(hub), arguments))


def compose_outcome_call(hub: Hub, facts: CaseSnapshot) -> ComposedCall | None:
    """Compose what customs is told of an outcome: the approved decisions, or that the case is withdrawn.

    None where customs is not configured, and for a case without decisions; one that was amended, that names
    certificates, or whose parent has a cancelled application, may have had some: code 19 without any is told
    where customs has heard of approvals. For a case that is REJECTED it is code 18, with which customs waits
    again: it is told where customs has heard of approvals.
    """
    if facts.case.outcome == "WITHDRAWN" and hub.composer.has_destination(CUSTOMS):
        reason = ChangeReason(**facts.case.detail["withdrawal"])
        arguments = {"CaseNumber": facts.case.number, "Reason": reason.sentence}
        return _compose_call(hub, OutgoingCall(CUSTOMS, "WithdrawDeclaration", _make_call_id(hub), arguments))
    return _compose_approval_call(hub, facts)


def _compose_approval_call(hub: Hub, facts: CaseSnapshot) -> ComposedCall | None:
    """Compose pending code 19 with the approved decisions, or 18 where none stands."""
    if (
        not (_has_decisions(facts) or _may_have_had_decisions(facts))
        or facts.case.outcome not in (CaseOutcome.APPROVED, CaseOutcome.PARTIAL, CaseOutcome.REJECTED)
        or not hub.composer.has_destination(CUSTOMS)
    ):
        return None
    arguments: dict[str, Any] = {"CaseNumber": facts.case.number, "PendingCode": "18"}
    if facts.case.outcome != CaseOutcome.REJECTED:
        said = list_told_decisions(facts.decisions, hub.rules.bundle.units)
        told = [_make_requirement(one) for one in _list_approvals(said, _list_cancelled(facts))]
        arguments |= {"PendingCode": "19", "Requirement": told}
    return _compose_call(hub, OutgoingCall(CUSTOMS, "ReportRequirements", _make_call_id(hub), arguments))


def _list_approvals(
    said: Sequence[RankedDecision], cancelled: Collection[tuple[int, str]]
) -> list[RankedDecision]:
    """Return the approvals, but for an item and law under which another decision rejects: it counts.

    Under a law whose application was `cancelled` nothing is approved.
    """
    found = [one.decision for one in said]
    against = {(one.item, one.law) for one in found if one.decision is DecisionCode.REJECTED} | {*cancelled}
    return [
        one
        for one, told in zip(said, found, strict=True)
        if told.decision in APPROVING and (told.item, told.law) not in against
    ]


def _list_cancelled(facts: CaseSnapshot) -> set[tuple[int, str]]:
    """Return the items and laws of cancelled applications, those of the parent for what it has of them."""
    mine = {
        pair for row in facts.requests if row.state == "CANCELLED" for pair in read_subjects(row.required)
    }
    above = {
        pair
        for row, items in facts.cancelled_above
        for pair in read_subjects(row.required)
        if pair[0] in items
    }
    return mine | above


def _may_have_had_decisions(facts: CaseSnapshot) -> bool:
    amended = "amendment" in (facts.case.detail or {})
    return amended or bool(facts.cancelled_above) or facts.is_decided_outside


def _has_decisions(facts: CaseSnapshot) -> bool:
    """Return whether agencies decide about a case, or results without an application do."""
    return bool(facts.requests or facts.decisions)


def compose_clearance_call(
    hub: Hub, request: Row[Any], about: tuple[str, Mapping[int, str]], said: tuple[CustomsNotice, str]
) -> ComposedCall:
    """Compose the call that tells an agency how clearance ended; `said` has the status code, or none.

    `about` is the number of the case that customs means, and the codes of those items that are named.
    """
    case, items = about
    notice, status = said
    arguments = {
        "ApplicationNumber": request.number,
        "CaseNumber": case,
        "NoticeNumber": notice.number,
        "IssuedAt": notice.issued_at.astimezone(UTC),
        "ResultCode": notice.code,
        "StatusCode": status,
        "Text": notice.text,
        "Item": [{"item": item, "ResultCode": code} for item, code in items.items()],
    }
    told = {name: value for name, value in arguments.items() if value}
    return _compose_call(hub, OutgoingCall(request.agency, CLEARANCE_NEWS, _make_call_id(hub), told))


def compose_late_report(hub: Hub, about: tuple[str, str], told: Sequence[Mapping[str, Any]]) -> ComposedCall:
    """Compose what customs is told of decisions after clearance; `about` is the case number and the code."""
    case, code = about
    arguments = {"CaseNumber": case, "PendingCode": code, "Requirement": list(told)}
    return _compose_call(hub, OutgoingCall(CUSTOMS, "ReportRequirements", _make_call_id(hub), arguments))


def compose_late_pending_call(
    hub: Hub, facts: CaseSnapshot, outcome: ComposedCall | None
) -> ComposedCall | None:
    """Compose pending code 18 for a case without applications that gets code 19 all the same.

    Customs hears code 18 first. Where agencies were asked, it has heard it with the declaration.
    """
    if outcome is None or facts.requests or outcome.call.arguments.get("PendingCode") != "19":
        return None
    arguments = {"CaseNumber": facts.case.number, "PendingCode": "18"}
    return _compose_call(
        hub, OutgoingCall(CUSTOMS, "ReportRequirements", _make_call_id(hub), arguments, None)
    )


def _make_requirement(standing: RankedDecision) -> dict[str, Any]:
    decision = standing.decision
    told = {
        "item": decision.item,
        "law": decision.law,
        "number": decision.number,
        "date": decision.date,
        "quantity": decision.quantity,
        "unit": decision.unit,
    }
    return {name: value for name, value in told.items() if value is not None}


def _make_call_id(hub: Hub) -> str:
    return f"urn:uuid:{hub.new_uuid()}"


def _compose_call(hub: Hub, call: OutgoingCall) -> ComposedCall:
    return _make_composed(call, hub.composer.compose_call(call))


def _make_composed(call: OutgoingCall, envelope: bytes, *, drafted: bool = False) -> ComposedCall:
    # What the envelope holds is not kept a second time: the tree of a long request takes much more.
    kept = OutgoingCall(call.destination, call.operation, call.message_id, call.arguments, scope=call.scope)
    return ComposedCall(kept, envelope, as_body(envelope).sha256_hex, drafted)


def store_envelopes(conn: Connection, calls: Iterable[ComposedCall], now: datetime) -> None:
    """Store the envelopes of calls together."""
    payloads.store_digested_payloads(conn, [(one.sha256, one.envelope) for one in calls], now)


def enqueue_application_calls(
    conn: Connection,
    calls: Sequence[ComposedCall],
    case: int,
    asked: Sequence[tuple[int, str]],
    now: datetime,
    *,
    customs: Sequence[ComposedCall] = (),
) -> None:
    """Queue the calls that send applications together; `asked` are the requests' row ids and numbers.

    The calls to `customs` register a new case there, one behind the other. The envelopes are stored.
    """
    new = [
        _make_delivery(call, _QueuePlace(case, f"submit:{number}", ("request", request)))
        for call, (request, number) in zip(calls, asked, strict=True)
    ]
    new += [_make_registration(one, case, is_last=len(customs) == 1) for one in customs[:1]]
    *_, previous = None, *deliveries.enqueue_deliveries(conn, new, now)
    for number, one in enumerate(customs[1:], 2):
        behind = _make_registration(one, case, previous, is_last=number == len(customs))
        previous = deliveries.enqueue_delivery(conn, behind, now)


def _make_registration(
    call: ComposedCall, case: int, follows: int | None = None, *, is_last: bool
) -> NewDelivery:
    """Return the delivery that registers a new case at customs; it waits for the one that it `follows`."""
    key = f"customs:{call.call.operation}:{call.call.arguments.get('PendingCode', '')}:{case}"
    place = _QueuePlace(case, key, ("case", case), follows)
    return _make_delivery(call, place, {} if is_last else {delivery_leases.FOLLOWED: "yes"})


def enqueue_amendment_calls(
    conn: Connection, calls: Sequence[ComposedCall], about: tuple[int, int], now: datetime
) -> None:
    """Queue what customs is told of an amendment, behind all it was told; `about` is case and message."""
    case, message = about
    told = [row.id for row in deliveries.list_outlines(conn, case) if row.destination == CUSTOMS]
    previous = max(told, default=None)
    for one in calls:
        key = f"customs:{one.call.operation}:{one.call.arguments.get('PendingCode', '')}:{case}:{message}"
        previous = _enqueue_call(conn, one, _QueuePlace(case, key, ("case", case), previous), now)


def enqueue_later_call(
    conn: Connection,
    call: ComposedCall,
    about: tuple[int, int],
    key: str,
    now: datetime,
    **parameters: str,
) -> None:
    """Queue a supplement or an amended application behind earlier deliveries to the agency.

    `about` is the case id and request id; `parameters` are stored with the delivery. Behind a call that
    has failed it waits for an operator: the request is STRANDED, as it was.
    """
    case, request = about
    before = find_preceding_delivery(deliveries.list_by_request(conn, case, request))
    place = _QueuePlace(case, key, ("request", request), None if before is None else int(before.id))
    _enqueue_call(conn, call, place, now, **parameters)
    if before is not None and before.state == "FAILED":
        why = f"waits for delivery {before.id}, which has failed"
        agency_requests.apply_event(conn, request, StateEvent("undeliverable", now, "admit", why))


def enqueue_cancellation_call(
    conn: Connection,
    call: ComposedCall,
    about: tuple[int, int],
    place: tuple[str, Sequence[Row[Any]]],
    now: datetime,
) -> None:
    """Queue the question whether an agency cancels; `about` is the case id and request id.

    `place` is the key, and the earlier deliveries to the agency: the call goes behind the last of them.
    Behind an application that has FAILED it does not wait: the agency may have it all the same.
    """
    case, request = about
    key, earlier = place
    before = find_preceding_delivery(earlier)
    follows = None if before is None or before.state == "FAILED" else int(before.id)
    _enqueue_call(conn, call, _QueuePlace(case, key, ("request", request), follows), now)


def enqueue_clearance_call(
    conn: Connection,
    call: ComposedCall,
    about: tuple[int, int],
    place: tuple[str, Sequence[Row[Any]]],
    now: datetime,
) -> None:
    """Queue the news of clearance behind what went to the agency; the arguments are as for a cancellation."""
    case, request = about
    key, earlier = place
    before = find_preceding_delivery(earlier)
    follows = None if before is None else int(before.id)
    _enqueue_call(conn, call, _QueuePlace(case, key, ("request", request), follows), now)


def enqueue_late_report(conn: Connection, call: ComposedCall, case: int, key: str, now: datetime) -> None:
    """Queue the report of decisions after clearance, behind all that customs was told."""
    told = [row.id for row in deliveries.list_outlines(conn, case) if row.destination == CUSTOMS]
    place = _QueuePlace(case, key, ("case", case), max(told, default=None))
    _enqueue_call(conn, call, place, now, pending_code=str(call.call.arguments["PendingCode"]))


def enqueue_late_pending_call(
    conn: Connection, call: ComposedCall | None, about: tuple[int, Sequence[Row[Any]]], now: datetime
) -> Sequence[Row[Any]]:
    """Queue code 18 once, behind all that customs was told; return the deliveries of the case then.

    `about` is the case and its deliveries so far; those to the applicant do not count.
    """
    case, earlier = about
    if call is None:
        return earlier
    last = max((row.id for row in earlier if row.destination == CUSTOMS), default=None)
    _enqueue_call(conn, call, _QueuePlace(case, f"customs:late:18:{case}", ("case", case), last), now)
    return deliveries.list_outlines(conn, case)


def must_tell_outcome(facts: CaseSnapshot, case: Row[Any], earlier: Iterable[Row[Any]]) -> bool:
    """Return whether customs must hear the outcome of a locked case; `earlier` are its deliveries so far.

    That a case is REJECTED, or that nobody decides about it any more, it hears only where the last it was
    told is code 19: those approvals were taken back, or given up by an amendment. The latter it hears also
    where it waits because the case was REJECTED. After clearance it hears of each decision (98), and by this
    that nothing is written off any more.
    """
    if case.outcome == CaseOutcome.WITHDRAWN or (
        case.outcome != CaseOutcome.REJECTED and _has_decisions(facts)
    ):
        return True
    reports = [row for row in earlier if row.parameters.get("operation") == "ReportRequirements"]
    # Code 18 that goes with a declaration is stored without its code; 98 says nothing of what stands.
    codes = {row.id: row.parameters.get("pending_code", "18") for row in reports}
    last = max((number for number, code in codes.items() if code in ("18", "19")), default=0)
    rejected = {row.id for row in reports if row.parameters.get("pending_code") == "18"}
    return codes.get(last) == "19" or (case.outcome != CaseOutcome.REJECTED and last in rejected)


def has_heard_outcome(call: ComposedCall, earlier: Iterable[Row[Any]]) -> bool:
    """Return whether the last that customs was told, by these deliveries, is what a call tells.

    Whatever else it heard since, it is told again: it counts what it hears last. So it is of a call that
    failed or was cancelled.
    """
    told = [row for row in earlier if row.destination == CUSTOMS]
    last = max(told, key=lambda row: int(row.id), default=None)
    if last is None or last.state in _UNHEARD:
        return False
    told_before = last.parameters.get(_TOLD)
    return told_before is not None and bool(told_before == _compute_told_digest(call.call))


def _compute_told_digest(call: OutgoingCall) -> str:
    """Return the SHA-256 of what a call tells, in whatever order, in lower-case hexadecimal."""
    said = {
        name: sorted(map(_write_sorted, value)) if isinstance(value, list) else str(value)
        for name, value in call.arguments.items()
    }
    return hashlib.sha256(_write_sorted({"operation": call.operation, **said}).encode()).hexdigest()


def _write_sorted(values: Mapping[str, Any]) -> str:
    return json.dumps(values, default=str, ensure_ascii=False, sort_keys=True)


def enqueue_outcome_call(
    conn: Connection,
    call: ComposedCall,
    about: tuple[int, str],
    earlier: Iterable[Row[Any]],
    now: datetime,
) -> None:
    """Queue the call that tells customs an outcome; `about` is the case id and conclusion key.

    `earlier` are the deliveries of the case so far; the call is queued behind the last one to
    customs. Of a declaration that customs was never told of, no withdrawal is told.
    """
    case, conclusion = about
    last = max((row.id for row in earlier if row.destination == CUSTOMS), default=None)
    if last is None and call.call.operation == "WithdrawDeclaration":
        return
    code = {name: str(value) for name, value in call.call.arguments.items() if name == "PendingCode"}
    told = code.get("PendingCode", call.call.operation)
    place = _QueuePlace(case, f"customs:{told}:{conclusion}", ("case", case), last)
    more = {"pending_code": told} if code else {}
    _enqueue_call(conn, call, place, now, **more, **{_TOLD: _compute_told_digest(call.call)})


@dataclass(frozen=True, slots=True)
class _QueuePlace:
    """A call's place in the queue: case, key, subject (type and row id), the delivery it waits for."""

    case: int
    key: str
    subject: tuple[str, int]
    follows: int | None = None


def _enqueue_call(
    conn: Connection, call: ComposedCall, place: _QueuePlace, now: datetime, **parameters: str
) -> int | None:
    store_envelopes(conn, [call], now)
    return deliveries.enqueue_delivery(conn, _make_delivery(call, place, parameters), now)


def _make_delivery(
    call: ComposedCall, place: _QueuePlace, parameters: Mapping[str, str] | None = None
) -> NewDelivery:
    drafted = {DRAFTED: "yes"} if call.drafted else {}
    return NewDelivery(
        agent="soap",
        destination=call.call.destination,
        subject_type=place.subject[0],
        subject_id=str(place.subject[1]),
        dedupe_key=place.key,
        case_id=place.case,
        wire_id=call.call.message_id,
        payload_sha256=call.sha256,
        parameters={"operation": call.call.operation, **(parameters or {}), **drafted},
        follows=place.follows,
    )

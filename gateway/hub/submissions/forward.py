"""Step 4, forward: the calls to agencies and to customs are composed and queued.

The input is a split submission, or a decided case. Every call is composed before the transaction,
as an envelope whose MessageID and Body are the same on every attempt. When the transaction of the
calling step has committed, the envelope is stored, and a delivery of the agent ``soap`` is queued
for it behind the call that it must not overtake. The delivery worker makes the call.
`gateway.hub.answers.reply` applies the partner's answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import (
    APPROVING_CODES,
    CaseOutcome,
    ChangeReason,
    CustomsNotice,
    DecisionCode,
    RankedDecision,
    read_subjects,
)
from gateway.errors import NO_ADDRESS, REQUEST_INVALID, SETTINGS_WRONG, GatewayError
from gateway.harmonize import get_request_schema
from gateway.hub.completion.outside_decisions import list_reported_decisions
from gateway.hub.hub import Hub
from gateway.hub.outbox.applicant_messages import CaseSnapshot
from gateway.hub.outbox.outgoing_calls import (
    CANCELLATION,
    CLEARANCE_NEWS,
    CUSTOMS,
    DRAFTED,
    SCHEMA_DIGEST,
    WSDL_DIGEST,
    OutgoingCall,
    find_preceding_delivery,
)
from gateway.hub.submissions.application_forms import make_request_element
from gateway.hub.submissions.document_needs import make_disclaimer_attachment
from gateway.hub.submissions.processed_submission import PreparedApplication, ProcessedSubmission
from gateway.message_model import as_body
from gateway.store import (
    AgencyRequestRow,
    CaseRow,
    DeliveryOutlineRow,
    DeliveryRow,
    NewDelivery,
    RequestWithFeesRow,
    StateEvent,
    agency_requests,
    deliveries,
    payloads,
)

#: Why the contract of an agency may not take a call that is right by itself.
_UNFIT: Final = (REQUEST_INVALID, SETTINGS_WRONG, NO_ADDRESS)
#: The parameter of a call to customs that has the digest of the outcome in it.
_DIGEST_PARAMETER: Final = "told_sha256"
#: The states of a call that customs has not heard, and does not hear unless an operator does something.
_UNHEARD: Final = ("FAILED", "CANCELLED")


@dataclass(frozen=True, slots=True)
class ComposedCall:
    """A call with the envelope that is sent on every attempt, which alone has document and attachments.

    `envelope_sha256` is the digest of the envelope, in lower-case hexadecimal. `is_draft` says that the call
    does not fit the contract of its agency: its envelope is composed when it is sent. `contract_digests` has
    the digests of the files it was composed by, as parameters of its delivery.
    """

    call: OutgoingCall
    envelope: bytes
    envelope_sha256: str
    is_draft: bool = False
    contract_digests: Mapping[str, str] = field(default_factory=dict)


def compose_application_call(
    hub: Hub, processed: ProcessedSubmission, application: PreparedApplication, *, is_supplement: bool
) -> ComposedCall:
    """Compose the call that sends an application, or its supplement, to the agency.

    If it does not fit the contract of the agency, a draft is returned instead: other agencies do not wait for
    it.
    """
    bundle = (hub.register.find_pinned_rules(processed.bundle_digest) or hub.rules).bundle
    call = OutgoingCall(
        destination=application.request.organisation,
        operation="SubmitSupplement" if is_supplement else "SubmitApplication",
        message_id=_make_call_id(hub),
        arguments={"ApplicationNumber": application.application_number, "CaseNumber": processed.case_number},
        document=make_request_element(bundle, application.request),
        attachments=(
            *(processed.attachments[cid] for cid in application.request.attachments),
            *make_disclaimer_attachment(
                processed.needs, application.request.organisation, processed.case_number
            ),
        ),
        scope={"items": tuple(str(item) for item in application.request.items), "laws": application.laws},
    )
    schema = get_request_schema(bundle, bundle.documents[application.request.document])
    contract = {SCHEMA_DIGEST: as_body(schema).sha256_hex}
    try:
        return _compose_call(hub, call, contract)
    except GatewayError as error:
        if error.problem not in _UNFIT:
            raise
        return _make_composed_call(call, hub.composer.compose_draft(call), contract, drafted=True)


def compose_registration_calls(hub: Hub, processed: ProcessedSubmission) -> list[ComposedCall]:
    """Return the calls to customs: the declaration, and pending code 18 when agencies must approve first."""
    return _compose_declaration_calls(
        hub, processed, "RegisterDeclaration", pending=bool(processed.prepared_applications)
    )


def compose_amendment_calls(
    hub: Hub, processed: ProcessedSubmission, *, is_reopened: bool
) -> list[ComposedCall]:
    """Return the calls to customs: the amended declaration, and code 18 where an agency decides again."""
    return _compose_declaration_calls(hub, processed, "AmendDeclaration", pending=is_reopened)


def _compose_declaration_calls(
    hub: Hub, processed: ProcessedSubmission, operation: str, *, pending: bool
) -> list[ComposedCall]:
    """Return the call that brings customs a declaration, and code 18 where it is `pending`."""
    if not hub.composer.has_destination(CUSTOMS):
        return []
    number, document = processed.case_number, processed.submission.declaration
    calls = [_compose_customs_call(hub, operation, {"CaseNumber": number}, document)]
    if pending:
        calls.append(_compose_report(hub, number, "18"))
    return calls


def _compose_customs_call(
    hub: Hub, operation: str, arguments: Mapping[str, Any], document: Any = None
) -> ComposedCall:
    return _compose_call(hub, OutgoingCall(CUSTOMS, operation, _make_call_id(hub), arguments, document))


def _compose_report(hub: Hub, case_number: str, code: str, **arguments: Any) -> ComposedCall:
    """Compose the report to customs about the requirements of a case; `code` is the pending code."""
    stated_arguments = {"CaseNumber": case_number, "PendingCode": code, **arguments}
    return _compose_customs_call(hub, "ReportRequirements", stated_arguments)


def compose_cancellation_call(hub: Hub, request: AgencyRequestRow, reason: ChangeReason) -> ComposedCall:
    """Compose the call that asks an agency to cancel an application, with the declarant's reason."""
    arguments = {"ApplicationNumber": request.number, "Reason": reason.sentence}
    return _compose_call(hub, OutgoingCall(request.agency, CANCELLATION, _make_call_id(hub), arguments))


def compose_outcome_call(hub: Hub, case_snapshot: CaseSnapshot) -> ComposedCall | None:
    """Compose the call that reports an outcome to customs: the approved decisions, or a withdrawal.

    Returns None where customs is not configured, and for a case without decisions. A case that was amended,
    that names certificates, or whose parent has a cancelled application may have had decisions before: then
    code 19 without decisions is sent if approvals were reported to customs. For a case that is REJECTED the
    code is 18, by which customs waits again: it is sent if approvals were reported to customs.
    """
    if case_snapshot.case.outcome == "WITHDRAWN" and hub.composer.has_destination(CUSTOMS):
        reason = ChangeReason(**case_snapshot.case.detail["withdrawal"])
        arguments = {"CaseNumber": case_snapshot.case.number, "Reason": reason.sentence}
        return _compose_customs_call(hub, "WithdrawDeclaration", arguments)
    return _compose_approval_call(hub, case_snapshot)


def _compose_approval_call(hub: Hub, case_snapshot: CaseSnapshot) -> ComposedCall | None:
    """Compose pending code 19 with the approved decisions, or code 18 where there are none."""
    if (
        not (_has_decisions(case_snapshot) or _may_have_had_decisions(case_snapshot))
        or case_snapshot.case.outcome not in (CaseOutcome.APPROVED, CaseOutcome.PARTIAL, CaseOutcome.REJECTED)
        or not hub.composer.has_destination(CUSTOMS)
    ):
        return None
    if case_snapshot.case.outcome == CaseOutcome.REJECTED:
        return _compose_report(hub, case_snapshot.case.number, "18")
    ranked_decisions = list_reported_decisions(case_snapshot.decisions, hub.rules.bundle.units)
    approvals = _list_approvals(ranked_decisions, _list_cancelled(case_snapshot))
    requirements = [_make_requirement(ranked) for ranked in approvals]
    return _compose_report(hub, case_snapshot.case.number, "19", Requirement=requirements)


def _list_approvals(
    ranked_decisions: Sequence[RankedDecision], cancelled_subjects: Collection[tuple[int, str]]
) -> list[RankedDecision]:
    """Return the approving decisions without those that another decision or a cancellation overrules.

    An approval is left out where another decision rejects the same item under the same law, and where the
    pair of item and law is in `cancelled_subjects`, because its application was cancelled.
    """
    stated_decisions = [ranked.decision for ranked in ranked_decisions]
    rejected_subjects = {
        (decision.item, decision.law)
        for decision in stated_decisions
        if decision.decision is DecisionCode.REJECTED
    } | {*cancelled_subjects}
    return [
        ranked
        for ranked, decision in zip(ranked_decisions, stated_decisions, strict=True)
        if decision.decision in APPROVING_CODES and (decision.item, decision.law) not in rejected_subjects
    ]


def _list_cancelled(case_snapshot: CaseSnapshot) -> set[tuple[int, str]]:
    """Return the items and laws of cancelled applications, also of the parent's for items taken from it."""
    own_subjects = {
        pair
        for row in case_snapshot.requests
        if row.state == "CANCELLED"
        for pair in read_subjects(row.required)
    }
    inherited = {
        pair
        for row, items in case_snapshot.cancelled_above
        for pair in read_subjects(row.required)
        if pair[0] in items
    }
    return own_subjects | inherited


def _may_have_had_decisions(case_snapshot: CaseSnapshot) -> bool:
    amended = "amendment" in (case_snapshot.case.detail or {})
    return amended or bool(case_snapshot.cancelled_above) or case_snapshot.is_decided_outside


def _has_decisions(case_snapshot: CaseSnapshot) -> bool:
    """Return whether agencies decide about a case, or results without an application do."""
    return bool(case_snapshot.requests or case_snapshot.decisions)


def compose_clearance_call(
    hub: Hub,
    request: RequestWithFeesRow,
    case_number: str,
    items: Mapping[int, str],
    notice: CustomsNotice,
    status_code: str,
) -> ComposedCall:
    """Compose the call that reports the clearance result to an agency.

    `status_code` is the status code of the result, or empty. `case_number` is the number of the case that
    customs means, `items` has the codes of the items that are named.
    """
    arguments = {
        "ApplicationNumber": request.number,
        "CaseNumber": case_number,
        "NoticeNumber": notice.number,
        "IssuedAt": notice.issued_at.astimezone(UTC),
        "ResultCode": notice.code,
        "StatusCode": status_code,
        "Text": notice.text,
        "Item": [{"item": item, "ResultCode": code} for item, code in items.items()],
    }
    filled = {name: value for name, value in arguments.items() if value}
    return _compose_call(hub, OutgoingCall(request.agency, CLEARANCE_NEWS, _make_call_id(hub), filled))


def compose_late_report(
    hub: Hub, case_number: str, code: str, requirements: Sequence[Mapping[str, Any]]
) -> ComposedCall:
    """Compose the report to customs about decisions after clearance; `code` is the pending code."""
    return _compose_report(hub, case_number, code, Requirement=list(requirements))


def compose_late_pending_call(
    hub: Hub, case_snapshot: CaseSnapshot, outcome: ComposedCall | None
) -> ComposedCall | None:
    """Compose pending code 18 for a case without applications that gets code 19 nevertheless.

    Customs gets code 18 first. Where agencies were asked, it has got code 18 with the declaration.
    """
    if outcome is None or case_snapshot.requests or outcome.call.arguments.get("PendingCode") != "19":
        return None
    return _compose_report(hub, case_snapshot.case.number, "18")


def _make_requirement(ranked: RankedDecision) -> dict[str, Any]:
    """Return the values of an approval for a call to customs; values that it does not have are left out."""
    decision = ranked.decision
    values = {
        "item": decision.item,
        "law": decision.law,
        "number": decision.number,
        "date": decision.date,
        "quantity": decision.quantity,
        "unit": decision.unit,
    }
    return {name: value for name, value in values.items() if value is not None}


def _make_call_id(hub: Hub) -> str:
    return f"urn:uuid:{hub.new_uuid()}"


def _compose_call(hub: Hub, call: OutgoingCall, contract: Mapping[str, str] | None = None) -> ComposedCall:
    composed = hub.composer.compose_call(call)
    return _make_composed_call(call, composed.octets, {WSDL_DIGEST: composed.wsdl_sha256, **(contract or {})})


def _make_composed_call(
    call: OutgoingCall, envelope: bytes, contract: Mapping[str, str], *, drafted: bool = False
) -> ComposedCall:
    """Return a call with its envelope and the digest of that, without its document and attachments.

    `contract` has the digests of the files by which it was composed; with `drafted` the envelope is a draft.
    """
    # The content of the envelope is not kept a second time: the tree of a long request takes much more.
    outline = OutgoingCall(
        call.destination, call.operation, call.message_id, call.arguments, scope=call.scope
    )
    return ComposedCall(outline, envelope, as_body(envelope).sha256_hex, drafted, contract)


def store_envelopes(conn: Connection, calls: Iterable[ComposedCall], now: datetime) -> None:
    """Store the envelopes of calls together."""
    payloads.store_digested_payloads(conn, [(call.envelope_sha256, call.envelope) for call in calls], now)


def enqueue_application_calls(
    conn: Connection,
    calls: Sequence[ComposedCall],
    case: int,
    requests: Sequence[tuple[int, str]],
    now: datetime,
    *,
    customs: Sequence[ComposedCall] = (),
) -> None:
    """Queue the calls that send applications together; `requests` are the requests' row ids and numbers.

    The calls to `customs` register a new case there, one behind the other. The envelopes are stored.
    """
    new = [
        _make_delivery(call, case, f"submit:{number}", request=request)
        for call, (request, number) in zip(calls, requests, strict=True)
    ]
    new += [_make_registration(customs_call, case) for customs_call in customs[:1]]
    *_, previous = None, *deliveries.enqueue_deliveries(conn, new, now)
    for customs_call in customs[1:]:
        behind = _make_registration(customs_call, case, previous)
        previous = deliveries.enqueue_delivery(conn, behind, now)


def _make_registration(call: ComposedCall, case: int, follows: int | None = None) -> NewDelivery:
    """Return the delivery that registers a new case at customs; it waits for the delivery `follows`."""
    key = f"customs:{call.call.operation}:{call.call.arguments.get('PendingCode', '')}:{case}"
    return _make_delivery(call, case, key, follows=follows)


def enqueue_amendment_calls(
    conn: Connection, calls: Sequence[ComposedCall], case: int, message: int, now: datetime
) -> None:
    """Queue the calls to customs about an amendment of a case, behind all earlier calls about the case.

    `message` is the row id of the message that amends.
    """
    previous = _find_last_to_customs(deliveries.list_outlines(conn, case))
    for call in calls:
        key = f"customs:{call.call.operation}:{call.call.arguments.get('PendingCode', '')}:{case}:{message}"
        previous = _enqueue_call(conn, call, _make_delivery(call, case, key, follows=previous), now)


def _find_last_to_customs(rows: Iterable[DeliveryOutlineRow]) -> int | None:
    """Return the row id of the last of these deliveries that goes to customs; None where none does."""
    return max((int(row.id) for row in rows if row.destination == CUSTOMS), default=None)


def enqueue_later_call(
    conn: Connection,
    call: ComposedCall,
    case: int,
    request: int,
    key: str,
    now: datetime,
    **parameters: str,
) -> None:
    """Queue a supplement or an amended application behind earlier deliveries to the agency.

    `parameters` are stored with the delivery. Behind a call that has failed it waits for an operator: the
    request is STRANDED, as it was.
    """
    before = find_preceding_delivery(deliveries.list_by_request(conn, case, request))
    follows = None if before is None else int(before.id)
    delivery = _make_delivery(call, case, key, request=request, follows=follows, parameters=parameters)
    _enqueue_call(conn, call, delivery, now)
    if before is not None and before.state == "FAILED":
        why = f"waits for delivery {before.id}, which has failed"
        agency_requests.apply_event(conn, request, StateEvent("undeliverable", now, "admit", why))


def enqueue_cancellation_call(
    conn: Connection,
    call: ComposedCall,
    case: int,
    request: int,
    key: str,
    earlier: Sequence[DeliveryRow],
    now: datetime,
) -> None:
    """Queue the question whether an agency cancels a request of a case (row ids).

    `earlier` are the deliveries to the agency so far: the call is queued behind the last of them. It does not
    wait behind an application that has FAILED: the agency may have received it nevertheless.
    """
    before = find_preceding_delivery(earlier)
    follows = None if before is None or before.state == "FAILED" else int(before.id)
    _enqueue_call(conn, call, _make_delivery(call, case, key, request=request, follows=follows), now)


def enqueue_clearance_call(
    conn: Connection,
    call: ComposedCall,
    case: int,
    request: int,
    key: str,
    earlier: Sequence[DeliveryRow],
    now: datetime,
) -> None:
    """Queue the news of clearance behind the earlier calls to the agency.

    The parameters are those of the call for a cancellation: `earlier` are the deliveries to the agency so
    far.
    """
    before = find_preceding_delivery(earlier)
    follows = None if before is None else int(before.id)
    _enqueue_call(conn, call, _make_delivery(call, case, key, request=request, follows=follows), now)


def enqueue_late_report(conn: Connection, call: ComposedCall, case: int, key: str, now: datetime) -> None:
    """Queue the report of decisions after clearance, behind all earlier reports to customs."""
    follows = _find_last_to_customs(deliveries.list_outlines(conn, case))
    parameters = {"pending_code": str(call.call.arguments["PendingCode"])}
    _enqueue_call(conn, call, _make_delivery(call, case, key, follows=follows, parameters=parameters), now)


def enqueue_late_pending_call(
    conn: Connection,
    call: ComposedCall | None,
    case: int,
    earlier: Sequence[DeliveryOutlineRow],
    now: datetime,
) -> Sequence[DeliveryOutlineRow]:
    """Queue code 18 once, behind all earlier reports to customs; return the deliveries of the case then.

    `earlier` are the deliveries of the case so far; those to the applicant do not count.
    """
    if call is None:
        return earlier
    follows = _find_last_to_customs(earlier)
    _enqueue_call(conn, call, _make_delivery(call, case, f"customs:late:18:{case}", follows=follows), now)
    return deliveries.list_outlines(conn, case)


def must_report_outcome(
    case_snapshot: CaseSnapshot, case: CaseRow, earlier: Iterable[DeliveryOutlineRow]
) -> bool:
    """Return whether the outcome of a locked case must be reported to customs.

    `earlier` are the deliveries of the case so far. That a case is REJECTED, or has no decisions any more, is
    reported only if the last report to customs was code 19: those approvals were taken back, or given up by
    an amendment. The latter is also reported if customs waits because the case was REJECTED. After clearance
    each decision is reported (98), and with it that no quantity is written off any more.
    """
    if case.outcome == CaseOutcome.WITHDRAWN or (
        case.outcome != CaseOutcome.REJECTED and _has_decisions(case_snapshot)
    ):
        return True
    reports = [row for row in earlier if row.parameters.get("operation") == "ReportRequirements"]
    # Code 18 that goes with a declaration is stored without its code; 98 states no decisions in force.
    codes = {row.id: row.parameters.get("pending_code", "18") for row in reports}
    last = max((number for number, code in codes.items() if code in ("18", "19")), default=0)
    rejection_report_ids = {row.id for row in reports if row.parameters.get("pending_code") == "18"}
    return codes.get(last) == "19" or (case.outcome != CaseOutcome.REJECTED and last in rejection_report_ids)


def is_outcome_reported(call: ComposedCall, earlier: Iterable[DeliveryOutlineRow]) -> bool:
    """Return whether the last of these deliveries to customs has the same content as `call`.

    False if the last delivery has failed or was cancelled. Only the last one counts: an outcome that was
    reported before another report must be sent again, because customs acts on the last report.
    """
    customs_deliveries = [row for row in earlier if row.destination == CUSTOMS]
    last = max(customs_deliveries, key=lambda row: int(row.id), default=None)
    if last is None or last.state in _UNHEARD:
        return False
    reported_digest = last.parameters.get(_DIGEST_PARAMETER)
    return reported_digest is not None and bool(reported_digest == _compute_content_digest(call.call))


def _compute_content_digest(call: OutgoingCall) -> str:
    """Return the SHA-256 of a call's content, in lower-case hexadecimal; the order does not matter."""
    content = {
        name: sorted(map(_write_sorted, value)) if isinstance(value, list) else str(value)
        for name, value in call.arguments.items()
    }
    return hashlib.sha256(_write_sorted({"operation": call.operation, **content}).encode()).hexdigest()


def _write_sorted(values: Mapping[str, Any]) -> str:
    return json.dumps(values, default=str, ensure_ascii=False, sort_keys=True)


def enqueue_outcome_call(
    conn: Connection,
    call: ComposedCall,
    case: int,
    conclusion: str,
    earlier: Iterable[DeliveryOutlineRow],
    now: datetime,
) -> None:
    """Queue the call that reports an outcome to customs; `conclusion` is the key of the case's conclusion.

    `earlier` are the deliveries of the case so far; the call is queued behind the last one to customs. A
    withdrawal is not queued if no call about the declaration has been queued for customs.
    """
    last = _find_last_to_customs(earlier)
    if last is None and call.call.operation == "WithdrawDeclaration":
        return
    code = call.call.arguments.get("PendingCode")
    parameters = {} if code is None else {"pending_code": str(code)}
    parameters[_DIGEST_PARAMETER] = _compute_content_digest(call.call)
    key = f"customs:{code or call.call.operation}:{conclusion}"
    _enqueue_call(conn, call, _make_delivery(call, case, key, follows=last, parameters=parameters), now)


def _enqueue_call(conn: Connection, call: ComposedCall, delivery: NewDelivery, now: datetime) -> int | None:
    """Store the envelope of a call and queue its delivery; return the row id of that."""
    store_envelopes(conn, [call], now)
    return deliveries.enqueue_delivery(conn, delivery, now)


def _make_delivery(
    call: ComposedCall,
    case: int,
    key: str,
    *,
    request: int | None = None,
    follows: int | None = None,
    parameters: Mapping[str, str] | None = None,
) -> NewDelivery:
    """Return the delivery of a call about a case, or about one `request` of it (row ids).

    It is queued once under its `key`, waits for the delivery that it `follows`, and has these `parameters`
    beside those of the call.
    """
    drafted = {DRAFTED: "yes"} if call.is_draft else {}
    return NewDelivery(
        agent="soap",
        destination=call.call.destination,
        subject_type="case" if request is None else "request",
        subject_id=str(case if request is None else request),
        dedupe_key=key,
        case_id=case,
        wire_id=call.call.message_id,
        payload_sha256=call.envelope_sha256,
        parameters={
            "operation": call.call.operation,
            **call.contract_digests,
            **(parameters or {}),
            **drafted,
        },
        follows=follows,
    )

"""Step 9, amend: each agency whose request changes gets it again; the others hear nothing.

The input is a split amendment of the declarant, inside `gateway.hub.admit`: the whole submission again.
Before the transaction the mappings make the request of every application, and the request is compared,
octet by octet, with the one that the agency was sent last. When the transaction has committed, the
changed ones are queued behind what went to that agency before, under the same application number, and
one that its agency refused for good is submitted anew; what was decided about them does not count any
more; and customs is told the new declaration. Decisions about unchanged applications stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from lxml import etree
from sqlalchemy import Connection, Row

from gateway.cases import ReportedProblem, read_change_reason
from gateway.errors import OCTETS_PURGED, GatewayError
from gateway.evidence import record_evidence
from gateway.harmonize import index_submission, write_requests
from gateway.hub.amended_places import AMENDED_BY, find_former_message, list_pointer_warnings
from gateway.hub.case_progress import list_rejected_case_items, move_case
from gateway.hub.fees import keep_fee_due
from gateway.hub.forward import (
    ComposedCall,
    compose_amendment_calls,
    compose_application_call,
    enqueue_amendment_calls,
    enqueue_later_call,
)
from gateway.hub.hub import Hub
from gateway.hub.open_cases import check_amendable, check_not_cleared, find_named_case
from gateway.hub.partial_release import check_nothing_released, drop_released_uses, take_items_again
from gateway.hub.requirement_ledger import (
    claim_requirements,
    give_back_requirements,
    keep_rejected_uses,
    lock_case_requirements,
    write_off_requirements,
)
from gateway.hub.requirement_results import await_unknown_requirements, note_joined_results
from gateway.hub.sent_applications import SUBMISSION, end_overtaken_calls, is_refused_for_good
from gateway.hub.split import (
    PreparedApplication,
    ProcessedSubmission,
    StoredSubmission,
    SubmissionRejectedError,
    describe_findings,
)
from gateway.store import (
    StateEvent,
    agency_requests,
    cases,
    correlations,
    decisions,
    deliveries,
    messages,
    payloads,
    read_transaction,
    requirement_results,
)
from gateway.wire import canonicalize_element, parse_xml

__all__ = ["ComposedAmendment", "amend_case", "compose_amendment"]

_ACTOR = "admit"
#: What of the former declaration does not hold for the amended one.
_REPLACED = ("withdrawal", "warnings", "disclaimers", "need_tables")


@dataclass(frozen=True, slots=True)
class ComposedAmendment:
    """The calls for the changed applications by their number, and those to customs.

    `compared` is what they rest on: of each request what its agency was sent last, whether it has
    decided, and whether it has refused the application.
    """

    changed: Mapping[str, ComposedCall]
    customs: tuple[ComposedCall, ...]
    compared: frozenset[tuple[str, str, bool, bool]]
    #: The message with the former declaration, and what its comparison with the amended one has found.
    former: int
    warnings: tuple[Mapping[str, str], ...] = ()


def compose_amendment(hub: Hub, intake: ProcessedSubmission) -> ComposedAmendment:
    """Compose the call of each application that differs from what its agency was sent last."""
    with read_transaction(hub.engine) as conn:
        case = find_named_case(conn, intake.declarant, intake.submission.reference)
        rows = agency_requests.list_by_case(conn, case.id)
        former = find_former_message(case)
        warnings = list_pointer_warnings(conn, former, intake.submission)
        sent = {row.number: _load_sent_content(conn, row) for row in rows}
        compared = _list_compared(conn, rows)
    calls = _compose_changed(hub, intake, sent, intake.prepared)
    # The request of an agency that was told nothing since the first one differs in its function alone.
    again = [one for one in _project_as_first(hub, intake) if one.number in calls] if calls else ()
    first = _compose_changed(hub, intake, sent, again)
    unheard = {number for number, _, _, refused in compared if refused}
    changed = {number: calls[number] for number in first if number not in unheard}
    anew = [one for one in again if one.number in unheard & first.keys()]
    changed |= {one.number: compose_application_call(hub, intake, one, supplement=False) for one in anew}
    reopened = any(row.state == "DECIDED" and row.number in changed for row in rows)
    customs = tuple(compose_amendment_calls(hub, intake, reopened=reopened))
    return ComposedAmendment(changed, customs, compared, former, tuple(warnings))


def _compose_changed(
    hub: Hub,
    intake: ProcessedSubmission,
    sent: Mapping[str, bytes | None],
    applications: Iterable[PreparedApplication],
) -> dict[str, ComposedCall]:
    """Return the calls of applications, by number, whose content is not what their agency was sent last."""
    calls = {one.number: compose_application_call(hub, intake, one, supplement=True) for one in applications}
    return {
        number: call for number, call in calls.items() if sent.get(number) != _read_content(call.envelope)
    }


def _list_compared(conn: Connection, asked: Iterable[Row[Any]]) -> frozenset[tuple[str, str, bool, bool]]:
    return frozenset(
        (
            row.number,
            row.document_sha256,
            row.state == "DECIDED",
            is_refused_for_good(deliveries.list_by_request(conn, row.case_id, row.id)),
        )
        for row in asked
    )


def _load_sent_content(conn: Connection, request: Row[Any]) -> bytes | None:
    """Return what an agency was sent last about a request; None where retention has removed it."""
    try:
        return _read_content(payloads.get_payload_octets(conn, request.document_sha256))
    except GatewayError as error:
        if error.problem is not OCTETS_PURGED:
            raise
        return None


def _read_content(envelope: bytes) -> bytes:
    """Return the canonical content of a call: its arguments, without headers and operation."""
    root = parse_xml(envelope, envelope=True)
    body = root[-1][0]
    return b"".join(
        canonicalize_element(child, exclusive=True) for child in body.iterchildren(tag=etree.Element)
    )


def _project_as_first(hub: Hub, intake: ProcessedSubmission) -> list[PreparedApplication]:
    """Return the applications with Function 9: the requests of agencies that were told nothing since."""
    hub_values = {
        one.application.id: {"application_number": one.number, "function": "9"} for one in intake.prepared
    }
    rules = hub.find_pinned_rules(intake.bundle) or hub.rules
    done = write_requests(index_submission(intake.root), rules.bundle, hub_values)
    requests = {one.application: one for one in done.requests}
    return [
        PreparedApplication(
            one.application, one.number, requests.get(one.application.id, one.request), one.laws
        )
        for one in intake.prepared
    ]


def amend_case(
    conn: Connection,
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
    case = cases.lock_case(conn, find_named_case(conn, intake.declarant, intake.submission.reference).id)
    asked = agency_requests.list_by_case(conn, case.id)
    check_amendable(case, asked)
    check_not_cleared(conn, case)
    check_nothing_released(conn, case)
    if (_list_compared(conn, asked), find_former_message(case)) != (composed.compared, composed.former):
        return False
    messages.set_message_case(conn, arrived.row.id, case.id)
    # What an earlier withdrawal wanted is over: the declarant goes on with the amended declaration.
    kept = {name: value for name, value in (case.detail or {}).items() if name not in _REPLACED}
    detail = {**kept, **_describe_turn(intake, composed, arrived.row.id), "amendment": asdict(reason)}
    event = StateEvent("amend", now, _ACTOR, reason.code)
    cases.apply_event(conn, case.id, event, outcome=None, detail=detail)
    agency_requests.forget_refused_cancellations(conn, case.id)
    for row in asked:
        call = composed.changed.get(row.number)
        if call is not None and row.state != "CANCELLED":
            _send_amended(conn, (case.id, row), call, arrived.row.id, event)
    enqueue_amendment_calls(conn, composed.customs, (case.id, arrived.row.id), now)
    _claim_again(conn, case, intake, now)
    unchanged = [one.number for one in intake.prepared if one.number not in composed.changed]
    data = {"number": case.number, "signer": intake.signing.party, "reason": reason.sentence,
            "changed": sorted(composed.changed), "unchanged": unchanged,
            "admitted": intake.signing.way}  # fmt: skip
    record_evidence(conn, "amended", "case", case.id, arrived.row.identity_sha256, data, now)
    case = cases.lock_case(conn, case.id)
    move_case(conn, intake.units, case, reason.code, now, decided=False)
    return True


def _describe_turn(intake: ProcessedSubmission, composed: ComposedAmendment, message: int) -> dict[str, Any]:
    """Return what the row of the case says of its last amendment: its findings, and its message."""
    found = describe_findings(intake)
    warnings = [*found.get("warnings", ()), *composed.warnings]
    told = {"warnings": warnings} if warnings else {}
    return {**found, **told, "turn": message, AMENDED_BY: message}


def _claim_again(conn: Connection, case: Row[Any], intake: ProcessedSubmission, now: datetime) -> None:
    """Give back what the former declaration used of certificates, and write off what the amended one uses.

    The items that stay rejected use nothing; what they would use is kept for a corrected decision.
    """
    # The locks of every transaction: the case, the case whose items leave by it, then the requirements.
    if intake.release is not None:
        cases.lock_case(conn, intake.release.parent)
    lock_case_requirements(conn, case.id, {use.number for use in intake.requirements.uses})
    give_back_requirements(conn, case.id, "amended", now)
    rejected = list_rejected_case_items(conn, case)
    told = take_items_again(conn, intake.release, case.id, intake.units, now)
    uses = intake.requirements
    if intake.release is not None:
        uses = drop_released_uses(conn, intake.release, uses)
    used = claim_requirements(conn, uses, intake.units, now, without=rejected)
    told += tuple(ReportedProblem(one.problem.id, one.detail, one.pointer) for one in used.problems)
    if told:
        who = intake.declarant, intake.signing
        raise SubmissionRejectedError(told, intake.submission.reference, *who, intake.bundle)
    write_off_requirements(conn, case.id, used.taken, now)
    requirement_results.end_awaited_uses(conn, case.id, "amended", now)
    note_joined_results(conn, case.id, (one.key for _, one in used.taken), now)
    await_unknown_requirements(conn, case.id, used, now)
    keep_rejected_uses(conn, case.id, (intake.requirements, rejected), intake.units, now)


def _send_amended(
    conn: Connection, about: tuple[int, Row[Any]], call: ComposedCall, message: int, event: StateEvent
) -> None:
    """Queue the amended application; the decisions about the former one do not count any more."""
    case, request = about
    before = decisions.list_by_request(conn, request.id)
    values: dict[str, Any] = {"decided_by": None, "decided_at": None}
    if before:
        values["outdated_decision"] = max(row.id for row in before)
    earlier = deliveries.list_by_request(conn, case, request.id)
    anew = call.call.operation == SUBMISSION
    agency_requests.apply_event(conn, request.id, event, **values)
    agency_requests.set_sent_document(conn, request.id, payloads.store_payload(conn, call.envelope, event.at))
    correlations.insert_correlation(conn, "wsa", call.call.message_id, case, request.id)
    end_overtaken_calls(conn, earlier, event.at, _ACTOR, anew=anew)
    key = f"amend:{request.number}:{message}"
    enqueue_later_call(conn, call, (case, request.id), key, event.at)
    keep_fee_due(conn, request.id, event.at)

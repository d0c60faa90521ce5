"""Records the acts of officers: proposed, approved, intended, performed.

An act is recorded as intended before its call is made, with the decision and the facts shown. The transaction
of its effect marks it as performed. After a crash between the two it is performed again, with the same
MessageID and the same Body. Each step leaves evidence and a row of audit in its transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from gateway.cases import (
    CANCELLATION_ANSWERS,
    OfficerAct,
    encode_act,
    get_act_kind,
    may_answer_cancellation,
    may_end_fee,
    may_refund_fee,
)
from gateway.errors import (
    ACT_NOT_PERMITTED,
    REPLY_UNMATCHED,
    SHOWN_CHANGED,
    TRANSITION_REFUSED,
    WORKED_ON_BY_ANOTHER,
    GatewayError,
)
from gateway.evidence import STORED, digest_rows, record_evidence
from gateway.hub.hub import Hub
from gateway.hub.officers.assigned_applications import (
    ActingOfficer,
    ApplicationFacts,
    ConfirmedAct,
    check_not_claimed_by_another,
    read_application_facts,
)
from gateway.hub.outbox.local_tasks import require_row
from gateway.store import (
    AuditEntry,
    NewOfficerAct,
    OfficerActRow,
    OpenRequest,
    agency_requests,
    audit_log,
    cases,
    officer_work,
    payloads,
    write_transaction,
)

#: Acts on an application that is decided already.
_ACTS_AFTER_DECISION = frozenset({"correct", "revoke"})
_NOT_CHANGED = {"correct": "corrected", "revoke": "revoked"}


@dataclass(frozen=True, slots=True)
class ActBegin:
    """An act of an officer that begins: the application, the act, the digest of the facts shown.

    `confirm` checks, in the transaction, how it was confirmed. `is_proposed` says that another officer must
    approve it. `may_act` returns, in the transaction, whether the console handles the application.
    """

    application_number: str
    act: OfficerAct
    shown_digest: str
    confirm: Callable[[Connection], ConfirmedAct]
    is_proposed: bool
    may_act: Callable[[Connection, int], bool]


def begin_act(hub: Hub, officer: ActingOfficer, begin: ActBegin) -> int:
    """Record an act as proposed or intended; return its id.

    Raises GW701 for an application of another agency, GW705 when its state does not allow the act, GW706
    when it has changed since it was shown, GW707 when it is not at the console, and GW708 when another
    person works on it or another act is under way.
    """
    with write_transaction(hub.engine, "officer.begin") as conn:
        facts = _lock_application_facts(conn, officer.agency, begin.application_number)
        request = facts.request
        _check_act_allowed(conn, hub, officer, begin, facts)
        now = hub.clock()
        number = officer_work.count_acts(conn, request.id) + 1
        new = NewOfficerAct(
            request_id=request.id,
            agency=officer.agency,
            kind=get_act_kind(begin.act),
            state="PROPOSED" if begin.is_proposed else "INTENDED",
            content=payloads.store_payload(
                conn, encode_act(begin.application_number, begin.shown_digest, begin.act), now
            ),
            shown_sha256=payloads.store_payload(conn, facts.encode_shown(), now),
            account_id=officer.account,
            name=officer.name,
            role=officer.role,
            confirmation=_store_confirmation(conn, begin.confirm(conn), now),
            message_id=f"urn:uuid:{hub.new_uuid()}",
            notice_number=f"{request.number}-C{number:02d}",
            issued_at=None if begin.is_proposed else _choose_issue_time(facts, now),
        )
        act = officer_work.insert_act(conn, new, now)
        if act is None:
            detail = f"another act about {request.number} is under way"
            raise GatewayError(WORKED_ON_BY_ANOTHER, detail)
        _record_act_step(
            conn, _get_act(conn, act), officer, "proposed" if begin.is_proposed else "intended", now
        )
    return act


def _choose_issue_time(facts: ApplicationFacts, now: datetime) -> datetime:
    """Return the issue time of a notice: now, but after each earlier notice, also one of another clock.

    The latest notice counts, in milliseconds.
    """
    earlier_times = [row.issued_at + timedelta(milliseconds=1) for row in facts.notices]
    latest: datetime = max([now, *earlier_times])
    return latest.replace(microsecond=latest.microsecond // 1000 * 1000)


def _lock_application_facts(conn: Connection, agency: str, number: str) -> ApplicationFacts:
    """Lock the case of an application, and return the facts as they are then."""
    request = agency_requests.find_by_number(conn, number)
    if request is not None and request.agency == agency:
        cases.lock_case(conn, request.case_id)
    facts = read_application_facts(conn, agency, number)
    if facts is None:
        raise GatewayError(REPLY_UNMATCHED, f"{agency} has no application {number[:40]!r}")
    return facts


def _check_act_allowed(
    conn: Connection, hub: Hub, officer: ActingOfficer, begin: ActBegin, facts: ApplicationFacts
) -> None:
    """Check whether an officer may begin an act, by the present `facts` of the locked application.

    Raises GW705 when its state does not allow the act, GW706 when it has changed since it was shown, GW707
    when it is not at the console, and GW708 when another person works on it.
    """
    request, kind = facts.request, get_act_kind(begin.act)
    if not begin.may_act(conn, request.id):
        detail = f"application {request.number} is with the system of {officer.agency}, not at the console"
        raise GatewayError(ACT_NOT_PERMITTED, detail)
    _check_unchanged_since_shown(facts, begin.shown_digest)
    check_not_claimed_by_another(conn, request.id, officer)
    if request.state == "CANCELLED":
        raise GatewayError(TRANSITION_REFUSED, f"application {request.number} was cancelled", "state")
    if kind in _ACTS_AFTER_DECISION and request.state != "DECIDED":
        detail = f"application {request.number} is not decided, and cannot be {_NOT_CHANGED[kind]}"
        raise GatewayError(TRANSITION_REFUSED, detail, "state")
    code = getattr(begin.act, "status_code", "")
    if code in CANCELLATION_ANSWERS:
        if not may_answer_cancellation(request.cancellation, code):
            detail = f"nobody asks whether application {request.number} is cancelled"
            raise GatewayError(TRANSITION_REFUSED, detail, "state")
    elif (
        kind not in _ACTS_AFTER_DECISION
        and request.state == "DECIDED"
        and not _is_about_fee(conn, hub, facts, code)
    ):
        detail = f"application {request.number} is decided; a decision is corrected or revoked"
        raise GatewayError(TRANSITION_REFUSED, detail, "state")


def _is_about_fee(conn: Connection, hub: Hub, facts: ApplicationFacts, status_code: str) -> bool:
    """Return whether a status code ends a fee that is open, or gives back one that was paid."""
    code = hub.load_rules_of(conn, facts.request).status_codes.get(status_code)
    if code is None:
        return False
    return may_end_fee(code, owes_fee=facts.owes_fee) or may_refund_fee(code, was_paid=facts.was_paid)


def _check_unchanged_since_shown(facts: ApplicationFacts, shown_digest: str) -> None:
    if facts.compute_shown_digest() != shown_digest:
        detail = f"application {facts.request.number} was changed after it was shown"
        raise GatewayError(SHOWN_CHANGED, detail, "shown")


def _store_confirmation(conn: Connection, confirmed: ConfirmedAct, at: datetime) -> dict[str, Any]:
    data = dict(confirmed.data)
    if confirmed.octets:
        data["octets"] = payloads.store_payload(conn, confirmed.octets, at)
    return data


@dataclass(frozen=True, slots=True)
class ProposalStep:
    """A step with a proposal: which, its digest as seen, and the digest of the application as shown."""

    act: int
    digest: str
    shown_digest: str | None = None


def approve_proposal(
    hub: Hub,
    officer: ActingOfficer,
    step: ProposalStep,
    confirm: Callable[[Connection, str], ConfirmedAct],
    may_act: Callable[[Connection, int], bool],
) -> None:
    """Record that another officer approves a proposal, which is intended from now on.

    `confirm` gets the octets of the proposal by their digest. Raises GW706 when the proposal or the
    application has changed since it was shown, and GW707 for the person who proposed it.
    """
    with write_transaction(hub.engine, "officer.approve") as conn:
        row = _find_proposal(conn, officer, step)
        facts = _lock_application_facts(conn, officer.agency, _get_application_number(conn, row))
        row = _find_proposal(conn, officer, step)
        if row.account_id == officer.account:
            raise GatewayError(ACT_NOT_PERMITTED, "who proposes a decision does not approve it", "officer")
        if not may_act(conn, row.request_id):
            raise GatewayError(ACT_NOT_PERMITTED, f"{officer.agency} is not at the console")
        _check_unchanged_since_shown(facts, row.shown_sha256)
        _check_unchanged_since_shown(facts, step.shown_digest or "")
        now = hub.clock()
        values = {
            "approver_id": officer.account,
            "approver_name": officer.name,
            "approver_role": officer.role,
            "approver_confirmation": _store_confirmation(conn, confirm(conn, row.content), now),
            "issued_at": _choose_issue_time(facts, now),
        }
        if not officer_work.change_act(conn, row.id, "PROPOSED", "INTENDED", **values):
            raise _make_changed_proposal_error(row)
        _record_act_step(conn, _get_act(conn, row.id), officer, "approved", now)


def end_proposal(hub: Hub, officer: ActingOfficer, step: ProposalStep, reason: str | None) -> None:
    """Return a proposal to its author with a reason; without one, its author withdraws it.

    Raises GW706 when it is not the proposal that was shown, and GW707 for the wrong person.
    """
    with write_transaction(hub.engine, "officer.end_proposal") as conn:
        row = _find_proposal(conn, officer, step)
        is_own = row.account_id == officer.account
        if is_own != (reason is None):
            detail = "only its author withdraws a proposal" if reason is None else "its author withdraws it"
            raise GatewayError(ACT_NOT_PERMITTED, detail, "officer")
        now = hub.clock()
        values: dict[str, Any] = {"ended_at": now, "reason": reason}
        if reason is not None:
            values |= {
                "approver_id": officer.account,
                "approver_name": officer.name,
                "approver_role": officer.role,
            }
        after = "WITHDRAWN" if reason is None else "RETURNED"
        if not officer_work.change_act(conn, row.id, "PROPOSED", after, **values):
            raise _make_changed_proposal_error(row)
        _record_act_step(conn, _get_act(conn, row.id), officer, after.lower(), now, reason)


def _find_proposal(conn: Connection, officer: ActingOfficer, step: ProposalStep) -> OfficerActRow:
    """Return the proposed act that a step is about.

    Raises GW701 if the agency has none with this id, GW706 if it is not the one shown, or has ended.
    """
    row = officer_work.find_act(conn, step.act)
    if row is None or row.agency != officer.agency:
        raise GatewayError(REPLY_UNMATCHED, f"{officer.agency} has no proposal {step.act}")
    if row.state != "PROPOSED" or row.content != step.digest:
        raise _make_changed_proposal_error(row)
    return row


def _make_changed_proposal_error(row: OfficerActRow) -> GatewayError:
    detail = f"proposal {row.id} is not the one that was shown"
    if row.state != "PROPOSED":
        detail = f"proposal {row.id} was {row.state.lower()} in the meantime"
    return GatewayError(SHOWN_CHANGED, detail, "proposal")


def _get_act(conn: Connection, act: int) -> OfficerActRow:
    return require_row(officer_work.find_act(conn, act), f"act {act}")


def _get_application_number(conn: Connection, act: OfficerActRow) -> str:
    request = agency_requests.find_by_id(conn, act.request_id)
    return str(require_row(request, f"the application of act {act.id}").number)


def record_performed_act(
    conn: Connection, message_id: str, request: OpenRequest, envelope: bytes, now: datetime
) -> None:
    """Mark the officer's act with the call `message_id` as performed, in the transaction of its effect.

    The caller has locked the case of `request`; `envelope` is the signed call. Raises GW701 when no act about
    the request has this MessageID, GW706 when the application has changed since it was shown to the officer,
    and GW705 when the act is not in the state INTENDED: it was performed or refused before.
    """
    row = officer_work.find_by_message_id(conn, message_id)
    if row is None or row.request_id != request.id:
        raise GatewayError(REPLY_UNMATCHED, "no officer has intended this call", "wsa:MessageID")
    facts = read_application_facts(conn, row.agency, request.number)
    assert facts is not None
    if row.state == "INTENDED":
        _check_unchanged_since_shown(facts, row.shown_sha256)
    values = {"ended_at": now, "call_sha256": payloads.store_payload(conn, envelope, now)}
    if not officer_work.change_act(conn, row.id, "INTENDED", "PERFORMED", **values):
        raise GatewayError(TRANSITION_REFUSED, f"act {row.id} is {row.state}, not INTENDED", "state")
    _record_act_step(conn, _get_act(conn, row.id), None, "performed", now)


def record_refused_act(hub: Hub, act: int, problem: GatewayError) -> bool:
    """Store that the hub refused the call of an officer's act (row id `act`) for good, because of `problem`.

    Return False, and change nothing, when the act is not in the state INTENDED any more.
    """
    with write_transaction(hub.engine, "officer.refused") as conn:
        now = hub.clock()
        values = {"ended_at": now, "problem": problem.problem.id, "detail": str(problem)[:500]}
        changed = officer_work.change_act(conn, act, "INTENDED", "REFUSED", **values)
        row = officer_work.find_act(conn, act)
        if changed and row is not None:
            _record_act_step(conn, row, None, "refused", now, row.detail)
    return changed


def _record_act_step(
    conn: Connection,
    act: OfficerActRow,
    officer: ActingOfficer | None,
    step: str,
    now: datetime,
    reason: str | None = None,
) -> None:
    """Record a step of an act, as evidence and in the audit.

    `act` is its row after the step; `officer` is None for a step of the hub.
    """
    proposer = {"account": act.account_id, "name": act.name, "role": act.role}
    data: dict[str, Any] = {
        "act": act.id,
        "kind": act.kind,
        "step": step,
        "agency": act.agency,
        "officer": proposer,
        "shown": act.shown_sha256,
        "at": act.at.isoformat(),
        "confirmed": act.confirmation,
        "message": act.message_id,
        "notice": act.notice_number,
        STORED: {"officer_acts": digest_rows("officer_acts", [act])},
    }
    # Who returned a proposal is in the same columns, and has confirmed nothing.
    if act.approver_id is not None and act.approver_confirmation is not None:
        approver = {"account": act.approver_id, "name": act.approver_name, "role": act.approver_role}
        data |= {"approver": approver, "approval": act.approver_confirmation}
    if act.call_sha256 is not None:
        data["call"] = act.call_sha256
    if reason is not None:
        data["reason"] = reason
    record_evidence(conn, "act", "request", act.request_id, act.content, data, now)
    name, role = (officer.name, officer.role) if officer is not None else (act.name, act.role)
    outcome = "refused" if step == "refused" else "done"
    after = {"act": act.id, "step": step, "content": act.content}
    subject = f"application {act.notice_number.rpartition('-')[0]}"
    entry = AuditEntry(name, role, f"officer {act.kind}", subject, outcome, after=after)
    audit_log.record_action(conn, entry, now)

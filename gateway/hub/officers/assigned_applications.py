"""The facts about an application for the officers of its agency, and the officer who works on it.

The shown facts have a digest, so that an act refers to exactly these facts. A claim is made, released and
handed over against the version that the officer saw.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from sqlalchemy import Connection

from gateway.cases import Decision, select_current_decisions
from gateway.errors import REPLY_UNMATCHED, WORKED_ON_BY_ANOTHER, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.completion.standing_demands import make_standing_decisions
from gateway.hub.fees.fee_ends import has_fee_to_refund, is_held_for_fee
from gateway.hub.fees.fee_records import has_open_fee
from gateway.hub.hub import Hub
from gateway.store import (
    AgencyRequestRow,
    AuditEntry,
    CaseRow,
    MailboxCallRow,
    NoticeRow,
    OfficerActRow,
    WorkClaimRow,
    accounts,
    agency_requests,
    audit_log,
    cases,
    decisions,
    fees,
    notices,
    officer_work,
    requirement_quantities,
    write_transaction,
)

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


@dataclass(frozen=True, slots=True)
class ApplicationFacts:
    """An application as rows: request, case, notices, standing decisions, calls, claim, act under way.

    `last_day` is the last day of the certificates which the decisions name, where all have the same. With
    `owes_fee` a fee of the application is open; with `is_held` it is not forwarded before this fee is paid.
    With `was_paid` a part of a fee is left that the agency may give back.
    """

    request: AgencyRequestRow
    case: CaseRow
    notices: Sequence[NoticeRow]
    decisions: tuple[Decision, ...]
    calls: Sequence[MailboxCallRow]
    claim: WorkClaimRow | None
    open_act: OfficerActRow | None
    last_day: date | None = None
    owes_fee: bool = False
    is_held: bool = False
    was_paid: bool = False

    def encode_shown(self) -> bytes:
        """Return the facts that an officer is shown of the application, as octets.

        The octets name the document by its digest, and so cover all of it. Any change of the document, the
        state, the notices, the decisions or the calls gives other octets.
        """
        request = self.request
        return _encode(
            {
                "application": request.number,
                "document": request.document_sha256,
                "state": request.state,
                "status": request.status_code,
                "receipt": request.receipt_number,
                "notices": [[row.number, row.sha256] for row in self.notices],
                "decisions": [repr(decision) for decision in self.decisions],
                "calls": [row.call_sha256 for row in self.calls],
            }
        ).encode()

    def compute_shown_digest(self) -> str:
        """Return the SHA-256 of the facts that an officer is shown, in lower-case hexadecimal."""
        return hashlib.sha256(self.encode_shown()).hexdigest()


def read_application_facts(conn: Connection, agency: str, number: str) -> ApplicationFacts | None:
    """Return the facts of an application; None when this agency has none of this number."""
    request = agency_requests.find_by_number(conn, number)
    if request is None or request.agency != agency:
        return None
    case = cases.find_by_id(conn, request.case_id)
    assert case is not None
    stored = make_standing_decisions(
        decisions.list_by_request(conn, request.id), {request.id: request.number}
    )
    current = tuple(ranked.decision for ranked in select_current_decisions(stored))
    levied = fees.list_by_request(conn, request.id)
    return ApplicationFacts(
        request,
        case,
        notices.list_by_request(conn, request.id),
        current,
        officer_work.list_mailbox_calls(conn, request.id),
        officer_work.find_claim(conn, request.id),
        officer_work.find_open_act(conn, request.id),
        _find_last_day(conn, agency, current),
        has_open_fee(levied),
        is_held_for_fee(request, levied),
        has_fee_to_refund(conn, levied),
    )


def _find_last_day(conn: Connection, agency: str, current: Sequence[Decision]) -> date | None:
    numbers = {decision.number for decision in current if decision.number}
    requirements = requirement_quantities.find_requirements(conn, numbers)
    days = {row.valid_until for row in requirements if row.agency == agency}
    return days.pop() if len(days) == 1 else None


@dataclass(frozen=True, slots=True)
class ClaimChange:
    """A change of a claim: application, new holder (None: no officer), and the version that the officer saw.

    `verb` is claim, release or hand over. With `may_change_any_claim` the claim of another person may be
    changed.
    """

    verb: str
    application_number: str
    account: int | None
    version: int
    may_change_any_claim: bool = False


def change_work_claim(hub: Hub, officer: ActingOfficer, change: ClaimChange) -> WorkClaimRow:
    """Change a claim and return it; raises GW708 when another person has it, or changed it first.

    Raises GW701 for an application of another agency.
    """
    with write_transaction(hub.engine, "officer.claim") as conn:
        request = agency_requests.find_by_number(conn, change.application_number)
        if request is None or request.agency != officer.agency:
            raise GatewayError(
                REPLY_UNMATCHED, f"{officer.agency} has no application {change.application_number[:40]!r}"
            )
        now = hub.clock()
        claim_before = officer_work.find_claim(conn, request.id)
        if not change.may_change_any_claim:
            _check_claim_owner(conn, claim_before, officer)
        if not officer_work.change_claim(
            conn, request.id, officer.agency, change.account, change.version, now
        ):
            detail = f"the claim on {change.application_number[:40]} was changed in the meantime"
            raise GatewayError(WORKED_ON_BY_ANOTHER, detail, "version")
        before, after = _name_owner(conn, claim_before), _name_account(conn, change.account)
        data = {"act": change.verb, "agency": officer.agency, "by": officer.account}
        data |= {"before": before, "after": after}
        record_evidence(conn, "claim", "request", request.id, None, data, now)
        subject = f"application {change.application_number}"
        verb = f"work {change.verb}"
        entry = AuditEntry(officer.name, officer.role, verb, subject, before=before, after=after)
        audit_log.record_action(conn, entry, now)
        claim = officer_work.find_claim(conn, request.id)
        assert claim is not None
    return claim


def check_not_claimed_by_another(conn: Connection, request: int, officer: ActingOfficer) -> None:
    """Raise GW708 when another person works on an application."""
    _check_claim_owner(conn, officer_work.find_claim(conn, request), officer)


def _check_claim_owner(conn: Connection, claim: WorkClaimRow | None, officer: ActingOfficer) -> None:
    if claim is not None and claim.account_id not in (None, officer.account):
        owner = _name_account(conn, claim.account_id)
        raise GatewayError(WORKED_ON_BY_ANOTHER, f"{owner} works on it since {claim.since:%Y-%m-%d %H:%M}Z")


def _name_owner(conn: Connection, claim: WorkClaimRow | None) -> str | None:
    return None if claim is None else _name_account(conn, claim.account_id)


def _name_account(conn: Connection, account: int | None) -> str | None:
    row = None if account is None else accounts.find_by_id(conn, account)
    return None if row is None else str(row.name)


@dataclass(frozen=True, slots=True)
class ActingOfficer:
    """An officer: account id, sign-in name, roles, and the agency that the officer acts for."""

    account: int
    name: str
    role: str
    agency: str

    def describe(self) -> dict[str, Any]:
        """Return the officer for the evidence."""
        return {"account": self.account, "name": self.name, "role": self.role}


@dataclass(frozen=True, slots=True)
class ConfirmedAct:
    """The confirmation of an act: its values for the evidence, and the octets that prove it, if any."""

    data: Mapping[str, Any]
    octets: bytes = field(default=b"", repr=False)

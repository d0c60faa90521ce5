"""Who works on an application: claimed, released, handed over, against the version that was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from gateway.errors import REPLY_UNMATCHED, WORKED_ON_BY_ANOTHER, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.hub import Hub
from gateway.hub.officers.acting_officer import ActingOfficer
from gateway.store import (
    AuditEntry,
    accounts,
    agency_requests,
    audit_log,
    work_claims,
    write_transaction,
)

__all__ = ["ClaimChange", "change_work_claim", "check_claim"]


@dataclass(frozen=True, slots=True)
class ClaimChange:
    """A change of a claim: the application, who has it then (None: nobody), the version that was seen.

    `verb` is claim, release or hand over. With `any_claim` the claim of another person may be changed.
    """

    verb: str
    number: str
    account: int | None
    version: int
    any_claim: bool = False


def change_work_claim(hub: Hub, officer: ActingOfficer, change: ClaimChange) -> Row[Any]:
    """Change a claim and return it; raises GW708 when another person has it, or changed it first.

    Raises GW701 for an application of another agency.
    """
    with write_transaction(hub.engine, "officer.claim") as conn:
        request = agency_requests.find_by_number(conn, change.number)
        if request is None or request.agency != officer.agency:
            raise GatewayError(REPLY_UNMATCHED, f"{officer.agency} has no application {change.number[:40]!r}")
        now = hub.clock()
        known = work_claims.find_claim(conn, request.id)
        if not change.any_claim:
            _check_owner(conn, known, officer)
        about = (request.id, officer.agency)
        if not work_claims.change_claim(conn, about, change.account, change.version, now):
            detail = f"the claim on {change.number[:40]} was changed in the meantime"
            raise GatewayError(WORKED_ON_BY_ANOTHER, detail, "version")
        before, after = _name_owner(conn, known), _name_account(conn, change.account)
        data = {"act": change.verb, "agency": officer.agency, "by": officer.account}
        data |= {"before": before, "after": after}
        record_evidence(conn, "claim", "request", request.id, None, data, now)
        what = f"application {change.number}"
        verb = f"work {change.verb}"
        entry = AuditEntry(officer.name, officer.role, verb, what, before=before, after=after)
        audit_log.record_action(conn, entry, now)
        claim = work_claims.find_claim(conn, request.id)
        assert claim is not None
    return claim


def check_claim(conn: Connection, request: int, officer: ActingOfficer) -> None:
    """Raise GW708 when another person works on an application."""
    _check_owner(conn, work_claims.find_claim(conn, request), officer)


def _check_owner(conn: Connection, claim: Row[Any] | None, officer: ActingOfficer) -> None:
    if claim is not None and claim.account_id not in (None, officer.account):
        owner = _name_account(conn, claim.account_id)
        raise GatewayError(WORKED_ON_BY_ANOTHER, f"{owner} works on it since {claim.since:%Y-%m-%d %H:%M}Z")


def _name_owner(conn: Connection, claim: Row[Any] | None) -> str | None:
    return None if claim is None else _name_account(conn, claim.account_id)


def _name_account(conn: Connection, account: int | None) -> str | None:
    row = None if account is None else accounts.find_by_id(conn, account)
    return None if row is None else str(row.name)

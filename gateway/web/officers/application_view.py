"""An application as an officer sees it, as values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import Decision, OfficerAct, restore_act
from gateway.hub import ApplicationFacts
from gateway.store import accounts, payloads

__all__ = [
    "ApplicationView",
    "ClaimView",
    "MailboxCall",
    "ProposalView",
    "make_application_view",
    "make_claim_view",
]


@dataclass(frozen=True, slots=True)
class ClaimView:
    """Who works on an application (None: nobody), since when; `version` names this state of the claim."""

    account: int | None
    name: str | None
    since: datetime
    version: int


@dataclass(frozen=True, slots=True)
class ProposalView:
    """An act under way: PROPOSED waits for another officer, INTENDED for its call."""

    id: int
    kind: str
    act: OfficerAct
    digest: str
    shown: str
    proposed_by: int
    proposer: str
    proposed_at: datetime
    state: str


@dataclass(frozen=True, slots=True)
class MailboxCall:
    """A call that came to rest: its operation, and the digest of the call as the hub signed it."""

    id: int
    operation: str
    received_at: datetime
    payload_sha256: str
    delivery: int


@dataclass(frozen=True, slots=True)
class ApplicationView:
    """An application: its rows as values, what must be decided, and the digest of what is shown.

    `last_day` is that of the certificates which the decisions name, where they have the same one. With
    `owes_fee` a fee of it is open; with `is_held` it is not forwarded before that is paid. With
    `was_paid` something is left of a fee that the agency may give back.
    """

    request: int
    number: str
    case: int
    case_number: str
    agency: str
    document: str
    state: str
    cancellation: str | None
    status_code: str | None
    receipt_number: str | None
    due_at: datetime | None
    required: tuple[tuple[int, str], ...]
    decisions: tuple[Decision, ...]
    claim: ClaimView | None
    claim_version: int
    proposal: ProposalView | None
    calls: tuple[MailboxCall, ...]
    shown: str
    last_day: date | None
    owes_fee: bool
    is_held: bool
    was_paid: bool


def make_application_view(conn: Connection, facts: ApplicationFacts) -> ApplicationView:
    """Return the view of an application."""
    request, claim = facts.request, facts.claim
    held = claim is not None and claim.account_id is not None
    return ApplicationView(
        request=request.id,
        number=request.number,
        case=facts.case.id,
        case_number=facts.case.number,
        agency=request.agency,
        document=request.document,
        state=request.state,
        cancellation=request.cancellation,
        status_code=request.status_code,
        receipt_number=request.receipt_number,
        due_at=request.due_at,
        required=tuple((int(item), str(law)) for item, law in request.required),
        decisions=facts.decisions,
        claim=make_claim_view(conn, claim) if held and claim is not None else None,
        claim_version=0 if claim is None else claim.version,
        proposal=None if facts.open_act is None else _make_proposal_view(conn, facts.open_act),
        calls=tuple(
            MailboxCall(row.id, row.operation, row.received_at, row.call_sha256, row.delivery_id)
            for row in facts.calls
        ),
        shown=facts.compute_shown_digest(),
        last_day=facts.last_day,
        owes_fee=facts.owes_fee,
        is_held=facts.is_held,
        was_paid=facts.was_paid,
    )


def make_claim_view(conn: Connection, claim: Row[Any]) -> ClaimView:
    """Return the view of a claim, with the name of its owner."""
    owner = None if claim.account_id is None else accounts.find_by_id(conn, claim.account_id)
    name = None if owner is None else owner.display_name
    return ClaimView(claim.account_id, name, claim.since, claim.version)


def _make_proposal_view(conn: Connection, act: Row[Any]) -> ProposalView:
    described = json.loads(payloads.get_payload_octets(conn, act.content))
    return ProposalView(
        id=act.id,
        kind=act.kind,
        act=restore_act(described),
        digest=act.content,
        shown=act.shown_sha256,
        proposed_by=act.account_id,
        proposer=act.name,
        proposed_at=act.at,
        state=act.state,
    )

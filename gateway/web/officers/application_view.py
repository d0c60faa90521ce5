"""An application as an officer sees it, as values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection

from gateway.cases import Decision, OfficerAct, list_agency_only_values, restore_act
from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.hub import ApplicationFacts
from gateway.store import AgencyRequestRow, OfficerActRow, WorkClaimRow, accounts, officer_work, payloads


@dataclass(frozen=True, slots=True)
class ClaimView:
    """The claim on an application: its officer (None: no officer), its time, and its rising `version`."""

    account: int | None
    name: str | None
    since: datetime
    version: int


@dataclass(frozen=True, slots=True)
class ActView:
    """A stored act of an officer, with its content."""

    row: OfficerActRow
    act: OfficerAct

    @property
    def unsent(self) -> tuple[str, ...]:
        """Return the names of the values of the act that only the agency reads."""
        return list_agency_only_values(self.act)


@dataclass(frozen=True, slots=True)
class ApplicationView:
    """An application: its request, the required decisions, and the digest of the shown content.

    `proposal` is the act under way: PROPOSED waits for another officer, INTENDED for its call. `last_day` is
    the last day of the certificates that the decisions name, if all of them have the same one. With
    `owes_fee` a fee of the application is open; with `is_held` the application is not forwarded before that
    fee is paid. With `was_paid` a rest of a paid fee is left that the agency may give back.
    """

    request: AgencyRequestRow
    number: str
    state: str
    required: tuple[tuple[int, str], ...]
    decisions: tuple[Decision, ...]
    claim: ClaimView | None
    claim_version: int
    proposal: ActView | None
    shown_digest: str
    last_day: date | None
    owes_fee: bool
    is_held: bool
    was_paid: bool


def make_application_view(conn: Connection, facts: ApplicationFacts) -> ApplicationView:
    """Return the view of an application."""
    request, claim = facts.request, facts.claim
    held = claim is not None and claim.account_id is not None
    return ApplicationView(
        request=request,
        number=request.number,
        state=request.state,
        required=tuple((int(item), str(law)) for item, law in request.required),  # bounded: a row of our own
        decisions=facts.decisions,
        claim=make_claim_view(conn, claim) if held and claim is not None else None,
        claim_version=0 if claim is None else claim.version,
        proposal=None if facts.open_act is None else read_act(conn, facts.open_act),
        shown_digest=facts.compute_shown_digest(),
        last_day=facts.last_day,
        owes_fee=facts.owes_fee,
        is_held=facts.is_held,
        was_paid=facts.was_paid,
    )


def make_claim_view(conn: Connection, claim: WorkClaimRow) -> ClaimView:
    """Return the view of a claim, with the name of its owner."""
    owner = None if claim.account_id is None else accounts.find_by_id(conn, claim.account_id)
    name = None if owner is None else owner.display_name
    return ClaimView(claim.account_id, name, claim.since, claim.version)


def read_act(conn: Connection, row: OfficerActRow) -> ActView:
    """Return the act of a row; raises GW805 where its octets do not match its digest, or are no act."""
    octets = payloads.get_payload_octets(conn, row.content)
    try:
        return ActView(row, restore_act(json.loads(octets)))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as problem:
        # The digest in the row was changed to that of other octets.
        detail = "the octets of an act of an officer are no act"
        raise GatewayError(EVIDENCE_BROKEN, detail, f"act {row.id}") from problem


def list_act_views(conn: Connection, request: int) -> tuple[ActView, ...]:
    """Return the acts about a request, newest first; raises as `read_act` does."""
    return tuple(read_act(conn, row) for row in reversed(officer_work.list_acts(conn, request)))

"""What the hub knows about an application for the officers of its agency, and the digest of what is shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import Decision, select_current_decisions
from gateway.hub.completion import make_standing_decisions
from gateway.hub.fees import has_fee_to_refund, has_open_fee, is_held_for_fee
from gateway.store import (
    agency_requests,
    cases,
    console_mailbox,
    decisions,
    fees,
    notices,
    officer_acts,
    requirement_quantities,
    work_claims,
)

__all__ = ["ApplicationFacts", "read_application_facts"]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


@dataclass(frozen=True, slots=True)
class ApplicationFacts:
    """An application as rows: request, case, notices, standing decisions, calls, claim, act under way.

    `last_day` is that of the certificates which the decisions name, where they have the same one. With
    `owes_fee` a fee of it is open; with `is_held` it is not forwarded before that is paid. With
    `was_paid` something is left of a fee that the agency may give back.
    """

    request: Row[Any]
    case: Row[Any]
    notices: Sequence[Row[Any]]
    decisions: tuple[Decision, ...]
    calls: Sequence[Row[Any]]
    claim: Row[Any] | None
    open_act: Row[Any] | None
    last_day: date | None = None
    owes_fee: bool = False
    is_held: bool = False
    was_paid: bool = False

    def encode_shown(self) -> bytes:
        """Return what an officer is shown of the application, as octets.

        They name the document by its digest, and so contain all of it. Any change of the document, the
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
                "decisions": [repr(one) for one in self.decisions],
                "calls": [row.call_sha256 for row in self.calls],
            }
        ).encode()

    def compute_shown_digest(self) -> str:
        """Return the SHA-256 of what an officer is shown, in lower-case hexadecimal."""
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
    current = tuple(one.decision for one in select_current_decisions(stored))
    levied = fees.list_by_request(conn, request.id)
    return ApplicationFacts(
        request,
        case,
        notices.list_by_request(conn, request.id),
        current,
        console_mailbox.list_by_request(conn, request.id),
        work_claims.find_claim(conn, request.id),
        officer_acts.find_open_act(conn, request.id),
        _find_last_day(conn, agency, current),
        has_open_fee(levied),
        is_held_for_fee(request, levied),
        has_fee_to_refund(conn, levied),
    )


def _find_last_day(conn: Connection, agency: str, current: Sequence[Decision]) -> date | None:
    numbers = {one.number for one in current if one.number}
    known = requirement_quantities.find_requirements(conn, numbers)
    days = {row.valid_until for row in known if row.agency == agency}
    return days.pop() if len(days) == 1 else None

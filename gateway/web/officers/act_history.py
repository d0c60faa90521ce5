"""The acts of officers about an application, as the officers of the same agency see them again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gateway.cases import OfficerAct, list_unsent_words, restore_act
from gateway.store import officer_acts, payloads

__all__ = ["ActRecord", "list_act_records"]


@dataclass(frozen=True, slots=True)
class ActRecord:
    """An act: who did what and when, what became of it, and what it said besides its call.

    `words` is the reason with which a proposal was returned; `keeps` says whether the act has values
    that the contract cannot say.
    """

    id: int
    kind: str
    act: OfficerAct
    at: datetime
    officer: str
    approver: str | None
    state: str
    problem: str | None
    words: str | None
    keeps: bool


def list_act_records(conn: Connection, request: int) -> tuple[ActRecord, ...]:
    """Return the acts about a request, newest first; the octets of each match its digest, or GW805."""
    found = []
    for row in reversed(officer_acts.list_by_request(conn, request)):
        act = restore_act(json.loads(payloads.get_payload_octets(conn, row.content)))
        found.append(
            ActRecord(
                id=row.id,
                kind=row.kind,
                act=act,
                at=row.at,
                officer=row.name,
                approver=row.approver_name,
                state=row.state,
                problem=row.problem,
                words=row.reason,
                keeps=bool(list_unsent_words(act)),
            )
        )
    return tuple(found)

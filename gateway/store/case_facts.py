"""Reads the facts for a message to the applicant: the case, its submission, a notice with its request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from gateway.store import agency_requests, messages, notices
from gateway.store.cases import cases
from gateway.store.register_version import build_version_column
from gateway.store.requirement_results import awaited_requirements

#: Whether a case waits for a number of a requirement; asked beside it, as most cases wait for none.
_AWAITS: Final = (
    select(awaited_requirements.c.id)
    .where(awaited_requirements.c.case_id == cases.c.id, awaited_requirements.c.ended_at.is_(None))
    .correlate(cases)
    .exists()
)
_CASE: Final = select(cases, build_version_column().label("register"), _AWAITS.label("awaits")).where(
    cases.c.id == bindparam("wanted")
)


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """A case, its submission as far as an answer needs it, and the version of the register at that moment.

    `awaits_requirement` says whether the case waits for the number of a requirement.
    """

    case: Any
    message: Any
    register_version: int
    awaits_requirement: bool


@dataclass(frozen=True, slots=True)
class NoticeWithCase:
    """A notice with the request that it is about, and the facts of its case."""

    notice: Any
    request: Any
    case_facts: CaseFacts


def find_case_facts(conn: Connection, case_id: int) -> CaseFacts | None:
    """Return a case (row id) with its submission; None when it does not exist."""
    case = conn.execute(_CASE, {"wanted": case_id}).first()
    if case is None:
        return None
    return CaseFacts(case, messages.find_by_id(conn, case.message), case.register, bool(case.awaits))


def find_notice_with_case(conn: Connection, notice_id: int) -> NoticeWithCase | None:
    """Return a notice of an agency (row id) with its request and case; None when it does not exist."""
    notice_row = notices.find_by_id(conn, notice_id)
    if notice_row is None:
        return None
    request = agency_requests.find_by_id(conn, notice_row.request_id)
    case_facts = None if request is None else find_case_facts(conn, request.case_id)
    return None if case_facts is None else NoticeWithCase(notice_row, request, case_facts)

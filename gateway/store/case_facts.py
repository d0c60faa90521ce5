"""Reads what a message to the applicant is made of by one statement: the case, its submission, a notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import Column, Connection, FromClause, bindparam, select

from gateway.store.joined_rows import JoinedRows
from gateway.store.register_version import build_version_column
from gateway.store.requirement_tables import awaited_requirements
from gateway.store.tables import agency_requests, cases, messages, notices

__all__ = ["CaseFacts", "NoticeFacts", "find_case_facts", "find_notice_facts"]


def _select(table: FromClause, *names: str) -> tuple[Column[Any], ...]:
    return tuple(cast("Column[Any]", table.c[name]) for name in names)


#: What an answer to a submission needs of it: where it came from, and under which agreement.
_SUBMISSION: Final = _select(
    messages,
    *("id", "message_id", "protocol", "conversation_id", "service", "agreement_id", "pmode_id"),
    "received_at",
)
#: Whether a case waits for a number of a requirement; asked beside it, as most cases wait for none.
_AWAITS: Final = (
    select(awaited_requirements.c.id)
    .where(awaited_requirements.c.case_id == cases.c.id, awaited_requirements.c.ended_at.is_(None))
    .correlate(cases)
    .exists()
)
_OF_CASE: Final = JoinedRows(
    (tuple(cases.c), _SUBMISSION),
    cases.join(messages, messages.c.id == cases.c.message),
    cases.c.id == bindparam("wanted"),
    [build_version_column(), _AWAITS],
)
_OF_NOTICE: Final = JoinedRows(
    (
        _select(cases, "id", "number", "applicant", "functional_reference", "state", "detail"),
        _SUBMISSION,
        _select(notices, "number", "issued_at", "status_code", "text", "pointers", "deadline"),
        _select(agency_requests, "case_id", "application", "document", "agency", "state", "receipt_number"),
    ),
    notices.join(agency_requests, agency_requests.c.id == notices.c.request_id)
    .join(cases, cases.c.id == agency_requests.c.case_id)
    .join(messages, messages.c.id == cases.c.message),
    notices.c.id == bindparam("wanted"),
    [build_version_column()],
)


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """A case, its submission as far as an answer needs it, and the version of the register at that moment.

    `awaits` says whether it waits for a number of a requirement; of a notice that is not asked, and of its
    case only what the document about it says.
    """

    case: Any
    message: Any
    register: int
    awaits: bool = False


@dataclass(frozen=True, slots=True)
class NoticeFacts:
    """A notice with the request that it is about, and the facts of its case."""

    notice: Any
    request: Any
    of_case: CaseFacts


def find_case_facts(conn: Connection, case_id: int) -> CaseFacts | None:
    """Return a case (row id) with its submission; None when it does not exist."""
    found = _OF_CASE.fetch_first(conn, {"wanted": case_id})
    return None if found is None else CaseFacts(*found)


def find_notice_facts(conn: Connection, notice: int) -> NoticeFacts | None:
    """Return a notice of an agency (row id) with its request and case; None when it does not exist."""
    found = _OF_NOTICE.fetch_first(conn, {"wanted": notice})
    if found is None:
        return None
    case, message, said, request, register = found
    return NoticeFacts(said, request, CaseFacts(case, message, register))

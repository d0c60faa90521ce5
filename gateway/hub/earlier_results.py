"""Finds what an agency said of a number before the hub knew which application it decided under it.

A call with a RequirementNumber is about the application that the agency decided under this number. If it
overtakes that decision, it is kept as a result without an application. When the decision comes, what was
kept is applied to the application, as if it had come after it: the order of arrival decides nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import Decision, Notice, check_issued_since, read_subjects
from gateway.errors import GatewayError
from gateway.evidence import record_evidence
from gateway.hub.completion import read_result_decision
from gateway.hub.whole_results import describe_whole, is_taken_back_whole
from gateway.store import notices, requirement_quantities, requirement_results

__all__ = ["describe_notice", "take_earlier_notices"]


def describe_notice(notice: Notice, decision: Decision) -> dict[str, Any]:
    """Return what a result does not keep in columns of its own: the rest of the notice, and the number."""
    return {
        "text": notice.text,
        "pointers": list(notice.pointers),
        "deadline": notice.deadline.isoformat() if notice.deadline else None,
        "receipt_number": notice.receipt_number,
        "valid_until": notice.valid_until.isoformat() if notice.valid_until else None,
        "number": decision.number,
        **describe_whole(notice),
    }


def take_earlier_notices(
    conn: Connection,
    about: tuple[Row[Any], Row[Any]],
    wanted: Collection[int],
    holder: str,
    now: datetime,
) -> list[Notice]:
    """Return what was said of locked requirements (row ids) and is about a request of a locked case.

    From now on what is said of these requirements counts for the request, and they are the certificates of
    its `holder`. A notice of which a decision names what the application does not contain, or that was
    issued before its case, cannot be about it: it is left out as a whole. So is one that counts for an
    application already, and one of which the version before has not stored all that it said.
    """
    case, request = about
    by_notice: dict[tuple[int, str], list[Row[Any]]] = defaultdict(list)
    for row in requirement_results.list_results(conn, wanted):
        if row.said is not None:
            by_notice[row.requirement_id, row.notice_no].append(row)
    known = notices.list_known_numbers(conn, request.agency, {number for _, number in by_notice})
    said = {key: _make_notice(rows, request) for key, rows in by_notice.items() if key[1] not in known}
    mine = {key: one for key, one in said.items() if _concerns(one, case, request)}
    found = {requirement for requirement, _ in mine}
    new = requirement_quantities.note_application(conn, found, holder, now) if found else ()
    for requirement in new:
        record_evidence(conn, "applied", "requirement", requirement, None, {"request": request.number}, now)
    return sorted(mine.values(), key=lambda one: (one.issued_at, one.number))


def _make_notice(rows: Sequence[Row[Any]], request: Row[Any]) -> Notice:
    """Return the notice of which these are the decisions; all of the request, where it takes back all."""
    first, rest = rows[0], rows[0].said
    decided = [replace(read_result_decision(row), number=row.said.get("number")) for row in rows]
    if is_taken_back_whole(first):
        decided = [replace(decided[0], item=item, law=law) for item, law in read_subjects(request.required)]
    return Notice(
        number=first.notice_no,
        issued_at=first.issued_at,
        status_code=first.status_code,
        decisions=tuple(decided),
        text=rest.get("text", ""),
        pointers=tuple(rest.get("pointers", ())),
        deadline=datetime.fromisoformat(rest["deadline"]) if rest.get("deadline") else None,
        receipt_number=rest.get("receipt_number"),
        valid_until=date.fromisoformat(rest["valid_until"]) if rest.get("valid_until") else None,
    )


def _concerns(notice: Notice, case: Row[Any], request: Row[Any]) -> bool:
    """Return whether a notice can be about a request of a case."""
    asked = {*read_subjects(request.required), *read_subjects(request.removed or ())}
    try:
        check_issued_since(notice.issued_at, case.opened_at)
    except GatewayError:
        return False
    return all((one.item, one.law) in asked for one in notice.decisions)

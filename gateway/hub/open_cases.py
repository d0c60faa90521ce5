"""The case that a supplement or a withdrawal is about, and whether it may still have one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import CaseOutcome, Submission, has_approval, read_change_reason
from gateway.errors import NO_OPEN_CASE, RULE_BROKEN, GatewayError
from gateway.hub.completion import is_cancellation_open, list_standing_numbers, make_standing_decisions
from gateway.hub.hub import Hub
from gateway.state_machines import CASE, REQUEST
from gateway.store import agency_requests, cases, decisions, read_transaction

__all__ = ["CaseNumbers", "check_open_case", "check_withdrawable", "list_cancellable_requests"]


@dataclass(frozen=True, slots=True)
class CaseNumbers:
    """The case's number, and the number of each application by its id.

    `laws` has the laws of the applications that a supplement repeats: those they were opened with,
    also when the mappings have changed since.
    """

    case: str
    applications: Mapping[str, str]
    laws: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def check_open_case(hub: Hub, submission: Submission, declarant: str) -> CaseNumbers:
    """Return the numbers of the case that a supplement or a withdrawal is about.

    Raises GW407 where the case may not have it, GW404 for what is wrong in it.
    """
    if submission.function == "1":
        return _check_withdrawal(hub, submission, declarant)
    return _check_supplement(hub, submission, declarant)


def _check_supplement(hub: Hub, submission: Submission, declarant: str) -> CaseNumbers:
    """Return the numbers of the case that is supplemented and of its applications, by their ids.

    Raises GW407 without an open case or application, GW404 for items of another application.
    """
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_reference(conn, declarant, submission.reference)
        if case is None or case.state in CASE.final or case.state == "DECIDED":
            raise _make_absence(f"no open case under {submission.reference!r}")
        asked = {row.application: row for row in agency_requests.list_by_case(conn, case.id)}
    if any(is_cancellation_open(row) for row in asked.values()):
        raise _make_absence(f"case {case.number} is being withdrawn")
    for one in submission.applications:
        row = asked.get(one.id)
        if row is None or row.document != one.document or row.state in REQUEST.final:
            detail = f"case {case.number} has no open application {one.id[:40]!r} of {one.document[:40]!r}"
            raise GatewayError(NO_OPEN_CASE, detail, f"APP[{one.position}]")
        if {item for item, _ in row.required} != set(one.items):
            detail = f"a supplement concerns the items of application {one.id[:40]!r}, no others"
            raise GatewayError(RULE_BROKEN, detail, f"APP[{one.position}]/Items")
    rows = {one.id: asked[one.id] for one in submission.applications}
    return CaseNumbers(
        case.number,
        {key: str(row.number) for key, row in rows.items()},
        {key: tuple(dict.fromkeys(str(law) for _, law in row.required)) for key, row in rows.items()},
    )


def _check_withdrawal(hub: Hub, submission: Submission, declarant: str) -> CaseNumbers:
    """Return the number of the case that is withdrawn; its applications, where repeated, are all named."""
    read_change_reason(submission.declaration)
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_reference(conn, declarant, submission.reference)
        if case is None:
            raise _make_absence(f"no case under {submission.reference!r}")
        asked = agency_requests.list_by_case(conn, case.id)
        check_withdrawable(case, asked)
    _check_repeated_applications(submission, {row.application: row.document for row in asked})
    return CaseNumbers(case.number, {})


def _check_repeated_applications(submission: Submission, known: Mapping[str, str]) -> None:
    for one in submission.applications:
        if known.get(one.id) != one.document:
            detail = f"the case has no application {one.id[:40]!r} of {one.document[:40]!r}"
            raise GatewayError(NO_OPEN_CASE, detail, f"APP[{one.position}]")
    missing = sorted(set(known) - {one.id for one in submission.applications})
    if submission.applications and missing:
        detail = f"a withdrawal is about the whole case: application {missing[0][:40]!r} is not named"
        raise GatewayError(RULE_BROKEN, detail, f"APP[{submission.applications[0].position}]")


def check_withdrawable(case: Row[Any], asked: Iterable[Row[Any]]) -> None:
    """Raise GW407 for a case with nothing left to withdraw, or whose withdrawal is under way."""
    asked = tuple(asked)
    if case.state in ("REFUSED", "WITHDRAWN") or case.outcome == CaseOutcome.REJECTED:
        ended = case.state if case.state in ("REFUSED", "WITHDRAWN") else case.outcome
        raise _make_absence(f"case {case.number} is {ended}: there is nothing to withdraw")
    if any(is_cancellation_open(row) for row in asked):
        raise _make_absence(f"case {case.number} is being withdrawn already")


def list_cancellable_requests(conn: Connection, case: int, asked: Iterable[Row[Any]]) -> list[Row[Any]]:
    """Return the requests of a case that an agency has to cancel: undecided ones and approved ones."""
    asked = tuple(asked)
    standing = make_standing_decisions(decisions.list_by_case(conn, case), list_standing_numbers(asked))
    return [
        row
        for row in asked
        if row.state not in REQUEST.final
        or (row.state == "DECIDED" and has_approval(one for one in standing if one.request == row.number))
    ]


def _make_absence(detail: str) -> GatewayError:
    return GatewayError(NO_OPEN_CASE, detail, "/Submission/Reference")

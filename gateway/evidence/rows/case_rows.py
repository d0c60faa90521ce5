"""Compares cases, and the applications in them, with the evidence.

A case and its applications are stored with a leaf that has the digests of their rows: `admitted`, `held` or
`refused` for the case, `admitted` or `amended` for the applications. What changes later is compared with the
last leaf that states it. What a notice of an agency leaves is compared in
`gateway.evidence.rows.notice_rows`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection, select

from gateway.evidence.rows.notice_rows import (
    NOTICE_TABLES,
    RequestEvidence,
    Statement,
    compare_notices,
    read_notice_rows,
)
from gateway.evidence.rows.row_digests import FIXED_COLUMNS, STORED
from gateway.evidence.rows.row_findings import (
    ComparedTable,
    Leaf,
    RowFindings,
    list_leaves_by_subject,
)
from gateway.store import AgencyRequestRow, CaseRow, agency_requests, cases

COMPARED: Final[tuple[ComparedTable, ...]] = (
    ComparedTable(
        "cases",
        (*FIXED_COLUMNS["cases"], "outcome", "closed_at"),
        "`admitted`, `held` or `refused` about the case; its outcome with the last leaf that states one, "
        "`closed_at` with `closed`",
    ),
    ComparedTable(
        "agency_requests",
        (*FIXED_COLUMNS["agency_requests"], "receipt_number", "outdated_decision"),
        "`admitted` or `amended` about the case; the number of the agency with `acknowledged` and `notice`",
    ),
    *NOTICE_TABLES,
)
#: The kinds of leaves with which a case is opened; the first of them has the digest of its row.
_OPENING_KINDS: Final = ("admitted", "held", "refused")
#: The kinds of leaves that state the outcome of a case, and those after which it has none.
_OUTCOME_KINDS: Final = frozenset({"decided", "corrected", "withdrawn", "closed"})
_UNDECIDED_KINDS: Final = frozenset({"held", "amended", "withdrawal"})
#: At most that many parameters in a statement.
_PORTION: Final = 500


def compare_cases(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare cases (row ids) with their applications, notices and decisions; add what differs."""
    case_leaves = list_leaves_by_subject(conn, "case", ids, findings)
    requests: dict[int, list[AgencyRequestRow]] = defaultdict(list)
    r = agency_requests.agency_requests.c
    query = select(agency_requests.agency_requests).where(r.case_id.in_(ids)).order_by(r.id)
    for row in conn.execute(query):
        requests[row.case_id].append(row)
    request_ids = [request.id for of_case in requests.values() for request in of_case]
    request_leaves: dict[str, list[Leaf]] = {}
    for start in range(0, len(request_ids), _PORTION):
        portion = request_ids[start : start + _PORTION]
        request_leaves |= list_leaves_by_subject(conn, "request", portion, findings)
    notice_rows = read_notice_rows(conn, ids)
    case_rows: Sequence[CaseRow] = conn.execute(select(cases.cases).where(cases.cases.c.id.in_(ids))).all()
    for case in case_rows:
        leaves = case_leaves.get(str(case.id), [])
        _compare_case(case, leaves, findings)
        _compare_applications(case, requests[case.id], leaves, findings)
        for request in requests[case.id]:
            own_leaves = request_leaves.get(str(request.id), [])
            request_evidence = RequestEvidence(
                request.number, find_opening_leaf(request, leaves), leaves, own_leaves
            )
            _compare_request(request, request_evidence, findings)
            compare_notices(request, request_evidence, notice_rows[request.id], findings)


def _compare_case(case: CaseRow, leaves: Sequence[Leaf], findings: RowFindings) -> None:
    findings.compared["cases"] += 1
    opening = next((leaf for leaf in leaves if leaf.kind in _OPENING_KINDS), None)
    if opening is None:
        findings.add_difference("cases", case.id, "there is no evidence of its opening")
        return
    before = findings.difference_count
    columns = {"number": "number", "declarant": "declarant", "reference": "functional_reference"}
    for name, column in columns.items():
        if name in opening.data:
            value = getattr(case, column)
            findings.compare_value("cases", case.id, column, value, opening, opening.data[name])
    if findings.difference_count == before:
        findings.compare_digest("cases", case.id, [case], opening)
    outcome = _find_outcome(leaves)
    if outcome is not None:
        findings.compare_value("cases", case.id, "outcome", case.outcome, outcome.leaf, outcome.value)
    closed = next((leaf for leaf in reversed(leaves) if leaf.kind == "closed"), None)
    if closed is not None:
        findings.compare_value("cases", case.id, "closed_at", case.closed_at, closed, closed.at)
    elif STORED in opening.data:
        findings.compare_value("cases", case.id, "closed_at", case.closed_at, opening, None)


def _find_outcome(leaves: Iterable[Leaf]) -> Statement | None:
    """Return what the leaves of a case state last of its outcome; None if they do not say it."""
    outcome = None
    for leaf in leaves:
        if leaf.kind in _OUTCOME_KINDS:
            outcome = Statement(leaf, leaf.data["outcome"])
        elif leaf.kind == "refused":
            outcome = Statement(leaf, "REFUSED")
        elif leaf.kind in _UNDECIDED_KINDS:
            outcome = Statement(leaf, None)
        elif leaf.kind == "admitted":
            # An earlier version did not say that a case without applications was decided at once.
            outcome = Statement(leaf, leaf.data.get("outcome")) if STORED in leaf.data else None
    return outcome


def find_opening_leaf(request: AgencyRequestRow, case_leaves: Sequence[Leaf]) -> Leaf | None:
    """Return the leaf of its case with which an application was opened; None if there is none."""
    for leaf in case_leaves:
        if leaf.kind == "amended" and request.number in leaf.data.get("new", ()):
            return leaf
    return next((leaf for leaf in case_leaves if leaf.kind == "admitted"), None)


def _compare_applications(
    case: CaseRow, requests: Sequence[AgencyRequestRow], leaves: Sequence[Leaf], findings: RowFindings
) -> None:
    """Compare the applications that each leaf of a case has opened with its digest."""
    findings.compared["agency_requests"] += len(requests)
    opened: dict[int, list[AgencyRequestRow]] = defaultdict(list)
    for request in requests:
        opening = find_opening_leaf(request, leaves)
        if opening is None:
            findings.add_difference("agency_requests", request.number, "there is no evidence of its opening")
        else:
            opened[opening.id].append(request)
    first = next((leaf for leaf in leaves if leaf.kind == "admitted"), None)
    for leaf in leaves:
        if leaf is not first and leaf.kind != "amended":
            continue
        numbers = {request.number for request in opened[leaf.id]}
        removed = [] if leaf is first else [each for each in leaf.data.get("new", ()) if each not in numbers]
        for number in removed:
            detail = f"there is no such row; evidence row {leaf.id} ({leaf.kind}) names it"
            findings.add_difference("agency_requests", number, detail)
        if not removed:
            row = ", ".join(sorted(numbers)) or f"case {case.number}"
            findings.compare_digest("agency_requests", row, opened[leaf.id], leaf)


def _compare_request(
    request: AgencyRequestRow, request_evidence: RequestEvidence, findings: RowFindings
) -> None:
    for column, statement in (
        ("receipt_number", request_evidence.find_receipt()),
        ("outdated_decision", request_evidence.find_outdated_decision()),
    ):
        if statement is not None:
            value = getattr(request, column)
            findings.compare_value(
                "agency_requests", request.number, column, value, statement.leaf, statement.value
            )

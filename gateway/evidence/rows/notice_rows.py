"""Compares the notices of agencies, and the decisions in them, with the evidence.

The leaf `notice` of a notice has the digests of its own row and of its decisions. It also states what the
notice has changed in earlier rows: which decision supersedes which, which decisions do not count any more,
which place a notice that states a day alone has in its day, and which notices are not overruled any more. So
the last leaf about a row has its present value. An amendment states which decisions it has outdated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy import Connection, select

from gateway.evidence.rows.row_digests import FIXED_COLUMNS, STORED
from gateway.evidence.rows.row_findings import ComparedTable, Leaf, RowFindings
from gateway.store import AgencyRequestRow, DecisionRow, NoticeRow, agency_requests, decisions, notices

NOTICE_TABLES: Final = (
    ComparedTable(
        "notices", (*FIXED_COLUMNS["notices"], "stated_at", "overruled_by"), "`notice` about the application"
    ),
    ComparedTable(
        "decisions",
        (*FIXED_COLUMNS["decisions"], "issued_at", "superseded_by", "outdated_at"),
        "`notice` about the application, and `amended` about the case",
    ),
)
_NO_EVIDENCE: Final = "there is no evidence of its arrival"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a leaf of evidence states about the value of a column."""

    leaf: Leaf
    value: object


@dataclass(frozen=True, slots=True)
class NoticeRows:
    """The notices about an application, and their decisions."""

    notices: list[NoticeRow] = field(default_factory=list)
    decisions: list[DecisionRow] = field(default_factory=list)


def read_notice_rows(conn: Connection, case_ids: Sequence[int]) -> Mapping[int, NoticeRows]:
    """Return the notices and decisions of cases (row ids) by the row ids of their applications."""
    rows: dict[int, NoticeRows] = defaultdict(NoticeRows)
    r, n, d = agency_requests.agency_requests.c, notices.notices.c, decisions.decisions.c
    request_ids = select(r.id).where(r.case_id.in_(case_ids))
    for notice in conn.execute(select(notices.notices).where(n.request_id.in_(request_ids))):
        rows[notice.request_id].notices.append(notice)
    for decision in conn.execute(select(decisions.decisions).where(d.request_id.in_(request_ids))):
        rows[decision.request_id].decisions.append(decision)
    return rows


class RequestEvidence:
    """What the evidence states last about an application (its number), its notices and their decisions.

    `opening` is the leaf with which it was opened, `case_leaves` and `own_leaves` are those about its case
    and about itself. A leaf of an earlier version does not state what it has changed: after it, only what
    later leaves state is known.
    """

    def __init__(
        self,
        number: str,
        opening: Leaf | None,
        case_leaves: Iterable[Leaf],
        own_leaves: Iterable[Leaf],
    ) -> None:
        self.notice_leaves: dict[str, Leaf] = {}
        self._number = number
        self._opening = opening
        self._is_complete = opening is not None and STORED in opening.data
        self._statements: dict[tuple[str, object], Statement] = {}
        self._receipt: Statement | None = None
        self._may_have_receipt = False
        amendments = [leaf for leaf in case_leaves if leaf.kind == "amended"]
        for leaf in sorted([*amendments, *own_leaves], key=lambda each: each.id):
            if leaf.kind == "amended":
                self._read_amendment(leaf)
            elif leaf.kind == "notice":
                self._read_notice(leaf)
            elif leaf.kind == "acknowledged":
                self._read_receipt(leaf, leaf.data["receipt"])

    def find_receipt(self) -> Statement | None:
        """Return the statement of the number that the agency gave the application; None if unknown."""
        if self._receipt is None and self._is_complete and self._opening is not None:
            return Statement(self._opening, None)
        return self._receipt

    def find_outdated_decision(self) -> Statement | None:
        """Return the statement of the last decision of which all before do not count; None if unknown."""
        return self.find_statement("outdated_decision", None, self._opening)

    def find_statement(self, column: str, key: object, first: Leaf | None) -> Statement | None:
        """Return the last statement of a value of a column; None if it is unknown.

        `key` is the row of a decision or the number of a notice. `first` is the leaf with which the row was
        stored: without a later statement, the column is empty.
        """
        statement = self._statements.get((column, key))
        if statement is None and self._is_complete and first is not None:
            return Statement(first, None)
        return statement

    def _forget(self) -> None:
        """Take all that was stated as unknown: a leaf of an earlier version may have changed it."""
        self._is_complete = False
        self._statements.clear()

    def _read_receipt(self, leaf: Leaf, receipt: object) -> None:
        # The first number that an agency gives stays.
        if self._receipt is None and not self._may_have_receipt:
            self._receipt = Statement(leaf, receipt)

    def _read_amendment(self, leaf: Leaf) -> None:
        if STORED not in leaf.data:
            self._forget()
            return
        self._read_outdated(leaf)
        last_decision_id = leaf.data.get("outdated_up_to", {}).get(self._number)
        if last_decision_id is not None:
            self._statements["outdated_decision", None] = Statement(leaf, last_decision_id)

    def _read_notice(self, leaf: Leaf) -> None:
        data = leaf.data
        self.notice_leaves[data["number"]] = leaf
        if STORED not in data:
            self._forget()
            # It may have had the number of the agency, if no leaf before it has.
            self._may_have_receipt = self._may_have_receipt or self._receipt is None
            self._read_overruling(leaf)
            return
        if "receipt" in data:
            self._read_receipt(leaf, data["receipt"])
        self._read_outdated(leaf)
        if "outdated_up_to" in data:
            self._statements["outdated_decision", None] = Statement(leaf, data["outdated_up_to"])
        for decision_id, successor in data.get("superseded", {}).items():
            self._statements["superseded_by", int(decision_id)] = Statement(leaf, successor)
        for number, issued_at in data.get("placed", {}).items():
            self._statements["issued_at", number] = Statement(leaf, datetime.fromisoformat(issued_at))
        for number in data.get("revived", ()):
            self._statements["overruled_by", number] = Statement(leaf, None)
        self._read_overruling(leaf)

    def _read_overruling(self, leaf: Leaf) -> None:
        self._statements["overruled_by", leaf.data["number"]] = Statement(leaf, leaf.data.get("overruled_by"))

    def _read_outdated(self, leaf: Leaf) -> None:
        for decision_id in leaf.data.get("outdated", ()):
            self._statements["outdated_at", decision_id] = Statement(leaf, leaf.at)


def compare_notices(
    request: AgencyRequestRow, request_evidence: RequestEvidence, rows: NoticeRows, findings: RowFindings
) -> None:
    """Compare the notices about an application and their decisions with its evidence; add what differs."""
    findings.compared["notices"] += len(rows.notices)
    findings.compared["decisions"] += len(rows.decisions)
    decisions_by_notice: dict[str, list[DecisionRow]] = defaultdict(list)
    for decision in rows.decisions:
        decisions_by_notice[decision.notice_no].append(decision)
    for notice in rows.notices:
        leaf = request_evidence.notice_leaves.get(notice.number)
        if leaf is None:
            findings.add_difference("notices", _name_notice(notice), _NO_EVIDENCE)
            continue
        _compare_notice(notice, leaf, request_evidence, findings)
        for decision in decisions_by_notice[notice.number]:
            _compare_decision(decision, notice, leaf, request_evidence, findings)
    stored_numbers = {notice.number for notice in rows.notices}
    for number, leaf in request_evidence.notice_leaves.items():
        name = f"{request.agency} {number}"
        if number not in stored_numbers:
            detail = f"there is no such row; evidence row {leaf.id} ({leaf.kind}) names it"
            findings.add_difference("notices", name, detail)
        findings.compare_digest("decisions", name, decisions_by_notice[number], leaf)
    for decision in rows.decisions:
        if decision.notice_no not in request_evidence.notice_leaves:
            findings.add_difference("decisions", _name_decision(decision), _NO_EVIDENCE)


def _compare_notice(
    notice: NoticeRow, leaf: Leaf, request_evidence: RequestEvidence, findings: RowFindings
) -> None:
    row = _name_notice(notice)
    before = findings.difference_count
    findings.compare_value("notices", row, "agency", notice.agency, leaf, leaf.data["agency"])
    findings.compare_value("notices", row, "sha256", notice.sha256, leaf, leaf.digest)
    if findings.difference_count == before:
        findings.compare_digest("notices", row, [_make_first_row(notice)], leaf)
    first_issued_at = notice.day_begins_at or notice.stated_at
    if first_issued_at is not None:
        if notice.stated_at is not None and first_issued_at in (notice.day_begins_at, notice.issued_at):
            detail = "it has stated_at, which only notices have that are ahead of the clock"
            findings.add_difference("notices", row, detail)
        placed = request_evidence.find_statement("issued_at", notice.number, leaf)
        if placed is not None:
            issued_at = first_issued_at if placed.value is None else placed.value
            findings.compare_value("notices", row, "issued_at", notice.issued_at, placed.leaf, issued_at)
    overruled_by = request_evidence.find_statement("overruled_by", notice.number, leaf)
    if overruled_by is not None:
        findings.compare_value(
            "notices", row, "overruled_by", notice.overruled_by, overruled_by.leaf, overruled_by.value
        )


def _make_first_row(notice: NoticeRow) -> Any:
    """Return a notice as it was stored, with the time that it states: it had no other place yet."""
    first_issued_at = notice.day_begins_at or notice.stated_at
    if first_issued_at is None:
        return notice
    columns = {name: getattr(notice, name) for name in FIXED_COLUMNS["notices"]}
    return SimpleNamespace(**columns | {"issued_at": first_issued_at})


def _compare_decision(
    decision: DecisionRow,
    notice: NoticeRow,
    leaf: Leaf,
    request_evidence: RequestEvidence,
    findings: RowFindings,
) -> None:
    """Compare the columns of a decision that change, and its time of issue, which is that of its notice."""
    row = _name_decision(decision)
    if STORED in leaf.data and decision.issued_at != notice.issued_at:
        detail = f"issued_at is {decision.issued_at}; that of its notice is {notice.issued_at}"
        findings.add_difference("decisions", row, detail)
    for column, value in (
        ("superseded_by", decision.superseded_by),
        ("outdated_at", decision.outdated_at),
    ):
        statement = request_evidence.find_statement(column, decision.id, leaf)
        if statement is not None:
            findings.compare_value("decisions", row, column, value, statement.leaf, statement.value)


def _name_notice(notice: NoticeRow) -> str:
    return f"{notice.agency} {notice.number}"


def _name_decision(decision: DecisionRow) -> str:
    return f"{decision.agency} {decision.notice_no}, item {decision.item}, law {decision.law}"

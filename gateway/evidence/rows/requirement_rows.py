"""Compares the ledger of certificates with evidence: uses, results of agencies, and registered ones.

`compare_requirement_uses` takes cases, `compare_requirements` takes requirements: what agencies said of them
came without any case.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from gateway.evidence.rows.row_digests import FIXED_COLUMNS, STORED
from gateway.evidence.rows.row_findings import (
    ComparedTable,
    Leaf,
    RowFindings,
    list_leaves_by_subject,
)
from gateway.store import (
    RequirementRow,
    ResultOfRequirementRow,
    UseOfRequirementRow,
    decisions,
    requirement_quantities,
    requirement_results,
)
from gateway.store.transitions import evidence

_USES: Final = "requirement_uses"
_RESULTS: Final = "requirement_results"
_REQUIREMENTS: Final = "requirements"
_USE_TABLE: Final = requirement_quantities.requirement_uses
_LEDGER: Final = requirement_quantities.requirements
_RESULT_TABLE: Final = requirement_results.requirement_results
#: Compared by `compare_requirement_uses`.
COMPARED_BY_CASE: Final[tuple[ComparedTable, ...]] = (
    ComparedTable(
        _USES,
        ("requirement_id", "case_id", "item", "quantity", "unit"),
        "`written_off` and `given_back`: what was ever written off, and which of it stands",
    ),
)
#: Compared by `compare_requirements`.
COMPARED: Final[tuple[ComparedTable, ...]] = (
    ComparedTable(_RESULTS, FIXED_COLUMNS[_RESULTS], "`reply`: the last one about the requirement"),
    ComparedTable(
        _REQUIREMENTS,
        (
            *("number", "agency", "used", "quantity", "unit", "laws", "valid_until", "registered_at"),
            "revoked_at",
        ),
        "the uses that stand; `register` for one that an operator registered (`valid_until` if no agency has "
        "stated anything about it), else the decision or `reply` by which it is known",
    ),
)


class _UseKey(NamedTuple):
    """What evidence states of a use; several uses of a case may have the same."""

    agency: str
    number: str
    item: int
    quantity: str
    unit: str


def compare_requirement_uses(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare what cases (row ids) use of certificates with evidence; add differences to `findings`."""
    leaves = list_leaves_by_subject(conn, "case", ids, findings)
    query = (
        select(_USE_TABLE, _LEDGER.c.number, _LEDGER.c.agency)
        .join(_LEDGER)
        .where(_USE_TABLE.c.case_id.in_(ids), requirement_quantities.IS_USE)
    )
    uses: dict[int, list[UseOfRequirementRow]] = defaultdict(list)
    for row in conn.execute(query):
        uses[row.case_id].append(row)
    for case_id in ids:
        _compare_uses_of_case(case_id, uses[case_id], leaves.get(str(case_id), ()), findings)


def _compare_uses_of_case(
    case_id: int, rows: Sequence[UseOfRequirementRow], leaves: Iterable[Leaf], findings: RowFindings
) -> None:
    """Compare the uses of a case that stand, and whether each one has a row that was ever written off."""
    findings.compared[_USES] += len(rows)
    expected_counts, needed_counts = Counter[_UseKey](), Counter[_UseKey]()
    for leaf in leaves:
        if leaf.kind == "written_off":
            key = _read_use(leaf)
            expected_counts[key] += 1
            needed_counts[key] = max(needed_counts[key], expected_counts[key])
        elif leaf.kind == "given_back":
            expected_counts[_read_use(leaf)] -= 1
    open_counts, row_counts = Counter[_UseKey](), Counter[_UseKey]()
    for row in rows:
        key = _UseKey(row.agency, row.number, row.item, row.quantity, row.unit)
        row_counts[key] += 1
        open_counts[key] += row.returned_at is None
    for key in sorted(expected_counts.keys() | open_counts.keys()):
        if open_counts[key] == expected_counts[key] and row_counts[key] >= needed_counts[key]:
            continue
        detail = (
            f"item {key.item} uses {key.quantity} {key.unit} of {key.number} of {key.agency}"
            f" {open_counts[key]} times in {row_counts[key]} rows; evidence says {expected_counts[key]} times"
        )
        findings.add_difference(_USES, f"case {case_id}", detail)


def _read_use(leaf: Leaf) -> _UseKey:
    data = leaf.data
    return _UseKey(data["agency"], data["requirement"], data["item"], data["quantity"], data["unit"])


def compare_requirements(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare requirements (row ids), with the results about them, with evidence; add to `findings`."""
    rows: Sequence[RequirementRow] = conn.execute(select(_LEDGER).where(_LEDGER.c.id.in_(ids))).all()
    _compare_used_quantities(conn, rows, findings)
    subjects = {f"requirement {row.number} of {row.agency}": row for row in rows}
    registrations = list_leaves_by_subject(conn, "register", subjects, findings)
    replies = list_leaves_by_subject(conn, "requirement", ids, findings)
    decided = _list_decided_numbers(conn, [row.number for row in rows])
    for subject, row in subjects.items():
        findings.compared[_REQUIREMENTS] += 1
        origin = _RequirementOrigin(
            registrations.get(subject, ()),
            [leaf for leaf in replies.get(str(row.id), ()) if leaf.kind == "reply"],
            is_decided=(row.agency, row.number) in decided,
        )
        _compare_origin(row, origin, findings)
    _compare_results(conn, ids, replies, findings)


def add_lost_registrations(conn: Connection, findings: RowFindings) -> None:
    """Add a difference for each certificate that an operator registered, and that is gone."""
    registered = select(_LEDGER.c.number, _LEDGER.c.agency).where(_LEDGER.c.registered_at.is_not(None))
    subjects = {f"requirement {row.number} of {row.agency}" for row in conn.execute(registered)}
    conditions = evidence.c.subject_type == "register", evidence.c.subject_id.like("requirement %")
    for subject in conn.execute(select(evidence.c.subject_id).where(*conditions).distinct()).scalars():
        if subject not in subjects:
            name = subject.removeprefix("requirement ")
            findings.add_difference(
                _REQUIREMENTS, name, "it is gone; the evidence says that it was registered"
            )


@dataclass(frozen=True, slots=True)
class _RequirementOrigin:
    """How a requirement is known: by acts of operators, by results of its agency, or by a decision."""

    registrations: Sequence[Leaf]
    replies: Sequence[Leaf]
    is_decided: bool


def _list_decided_numbers(conn: Connection, numbers: Sequence[str]) -> set[tuple[str, str]]:
    """Return agency and number of each decision with one of these numbers."""
    columns = decisions.decisions.c
    query = select(columns.agency, columns.number).where(columns.number.in_(numbers)).distinct()
    return {(row.agency, row.number) for row in conn.execute(query)}


def _compare_origin(row: RequirementRow, origin: _RequirementOrigin, findings: RowFindings) -> None:
    """Compare a requirement with that by which it is known."""
    name = f"{row.number} of {row.agency}"
    for leaf in origin.replies:
        findings.compare_value(_REQUIREMENTS, name, "number", row.number, leaf, leaf.data["requirement"])
        findings.compare_value(_REQUIREMENTS, name, "agency", row.agency, leaf, leaf.data["agency"])
    is_registered = any(leaf.data["after"] is not None for leaf in origin.registrations)
    if not (is_registered or origin.replies or origin.is_decided):
        findings.add_difference(_REQUIREMENTS, name, "no evidence says how it is known")
    if is_registered:
        _compare_registration(row, origin, findings)
    elif (row.registered_at, row.quantity, row.unit, row.laws, row.revoked_at) != (None,) * 5:
        findings.add_difference(_REQUIREMENTS, name, "there is no evidence that it was registered")


def _compare_used_quantities(conn: Connection, rows: Sequence[RequirementRow], findings: RowFindings) -> None:
    """Compare the quantity written off of each requirement with the uses of it that stand."""
    query = select(_USE_TABLE.c.requirement_id, _USE_TABLE.c.quantity, _USE_TABLE.c.unit).where(
        _USE_TABLE.c.requirement_id.in_([row.id for row in rows]),
        _USE_TABLE.c.returned_at.is_(None),
        requirement_quantities.IS_USE,
    )
    sums: dict[int, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for use in conn.execute(query):
        sums[use.requirement_id][use.unit] += Decimal(use.quantity)
    for row in rows:
        used = _drop_zeros({unit: Decimal(quantity) for unit, quantity in row.used.items()})
        use_sums = _drop_zeros(sums[row.id])
        if used != use_sums:
            detail = f"used is {_format(used)}; its uses that stand are {_format(use_sums)}"
            findings.add_difference(_REQUIREMENTS, f"{row.number} of {row.agency}", detail)


def _drop_zeros(quantities: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
    return {unit: quantity for unit, quantity in quantities.items() if quantity}


def _format(quantities: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{quantity} {unit}" for unit, quantity in sorted(quantities.items())) or "nothing"


def _compare_registration(row: RequirementRow, origin: _RequirementOrigin, findings: RowFindings) -> None:
    """Compare a requirement with the last act of an operator who registered or revoked it."""
    name, leaves = f"{row.number} of {row.agency}", origin.registrations
    registrations = [leaf for leaf in leaves if leaf.data["after"] is not None]
    last, after = registrations[-1], registrations[-1].data["after"]
    findings.compare_value(_REQUIREMENTS, name, "registered_at", row.registered_at, last, last.at)
    findings.compare_value(_REQUIREMENTS, name, "quantity", row.quantity, last, after["quantity"])
    findings.compare_value(_REQUIREMENTS, name, "unit", row.unit, last, after["unit"])
    findings.compare_value(_REQUIREMENTS, name, "laws", list(row.laws or ()), last, after["laws"])
    if not (origin.replies or origin.is_decided):
        until = None if row.valid_until is None else row.valid_until.isoformat()
        findings.compare_value(_REQUIREMENTS, name, "valid_until", until, last, after["valid_until"])
        findings.compare_value(_REQUIREMENTS, name, "holder", row.holder, last, after["holder"])
    revoked_at = None if leaves[-1] is last else leaves[-1].at
    findings.compare_value(_REQUIREMENTS, name, "revoked_at", row.revoked_at, leaves[-1], revoked_at)


def _compare_results(
    conn: Connection, ids: Sequence[int], replies: Mapping[str, Sequence[Leaf]], findings: RowFindings
) -> None:
    """Compare all results about each requirement (row ids) with the last one that evidence proves."""
    query = select(_RESULT_TABLE).where(_RESULT_TABLE.c.requirement_id.in_(ids))
    results: dict[int, list[ResultOfRequirementRow]] = defaultdict(list)
    for row in conn.execute(query):
        results[row.requirement_id].append(row)
    for requirement in ids:
        rows = results[requirement]
        findings.compared[_RESULTS] += len(rows)
        proven = [leaf for leaf in replies.get(str(requirement), ()) if leaf.kind == "reply"]
        name = f"requirement {requirement}"
        if not proven:
            if rows:
                findings.add_difference(_RESULTS, name, "there is no evidence of its results")
            continue
        before = findings.difference_count
        for leaf in proven:
            _compare_decisions(name, rows, leaf, findings)
        if findings.difference_count == before:
            with_digest = [leaf for leaf in proven if leaf.data.get(STORED)]
            findings.compare_digest(_RESULTS, name, rows, (with_digest or proven)[-1])


def _compare_decisions(
    name: str, rows: Sequence[ResultOfRequirementRow], leaf: Leaf, findings: RowFindings
) -> None:
    """Compare the results of one notice with the decisions that its leaf states."""
    of_notice = {f"{row.item}/{row.law} {row.decision}" for row in rows
                 if (row.agency, row.notice_no) == (leaf.data["agency"], leaf.data["notice"])}  # fmt: skip
    for decision_text in leaf.data["decisions"]:
        if decision_text not in of_notice:
            detail = f"evidence row {leaf.id} (reply) says {decision_text} in notice {leaf.data['notice']}"
            findings.add_difference(_RESULTS, name, detail)

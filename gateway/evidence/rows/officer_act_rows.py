"""Compares the acts of officers at the console with evidence: each step of an act has a leaf about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, select

from gateway.evidence.rows.row_digests import FIXED_COLUMNS
from gateway.evidence.rows.row_findings import ComparedTable, Leaf, RowFindings, list_leaves_by_subject
from gateway.store import OfficerActRow, agency_requests, officer_work

_ACTS: Final = "officer_acts"
COMPARED: Final[tuple[ComparedTable, ...]] = (
    ComparedTable(_ACTS, FIXED_COLUMNS[_ACTS], "`act`: the last step of the act"),
)
_STATES: Final = {
    "proposed": "PROPOSED",
    "intended": "INTENDED",
    "approved": "INTENDED",
    "performed": "PERFORMED",
    "refused": "REFUSED",
    "returned": "RETURNED",
    "withdrawn": "WITHDRAWN",
}


def compare_officer_acts(conn: Connection, ids: Sequence[int], findings: RowFindings) -> None:
    """Compare the acts of officers about the applications of cases (row ids) with evidence."""
    requests, acts = agency_requests.agency_requests, officer_work.officer_acts
    of_cases = select(requests.c.id).where(requests.c.case_id.in_(ids))
    request_ids = conn.execute(of_cases).scalars().all()
    last_steps: dict[int, Leaf] = {}
    for about_request in list_leaves_by_subject(conn, "request", request_ids, findings).values():
        last_steps |= {leaf.data["act"]: leaf for leaf in about_request if leaf.kind == "act"}
    query = select(acts).where(acts.c.request_id.in_(request_ids))
    rows: Mapping[int, OfficerActRow] = {row.id: row for row in conn.execute(query)}
    for act, leaf in last_steps.items():
        if act not in rows:
            findings.add_difference(_ACTS, act, f"evidence row {leaf.id} (act) has no row of it")
    for act, row in rows.items():
        findings.compared[_ACTS] += 1
        if act not in last_steps:
            findings.add_difference(_ACTS, act, "there is no evidence of it")
        else:
            _compare_act(row, last_steps[act], findings)


def _compare_act(row: OfficerActRow, leaf: Leaf, findings: RowFindings) -> None:
    """Compare an act with the leaf of its last step: what this states, else the digest of the row."""
    before = findings.difference_count
    for column, stated_value in _list_stated_values(leaf).items():
        value = getattr(row, column)
        findings.compare_value(_ACTS, row.id, column, value, leaf, stated_value)
    findings.compare_value(_ACTS, row.id, "at", row.at.isoformat(), leaf, leaf.data["at"])
    if findings.difference_count == before:
        findings.compare_digest(_ACTS, row.id, [row], leaf)


def _list_stated_values(leaf: Leaf) -> Mapping[str, Any]:
    """Return the values of an act that the leaf of its last step states, by their columns."""
    data, officer = leaf.data, leaf.data["officer"]
    stated_values = {
        "kind": data["kind"],
        "state": _STATES[data["step"]],
        "agency": data["agency"],
        "content": leaf.digest,
        "shown_sha256": data["shown"],
        "account_id": officer["account"],
        "name": officer["name"],
        "role": officer["role"],
        "confirmation": data["confirmed"],
        "message_id": data["message"],
        "notice_number": data["notice"],
    }
    if "approver" in data:
        approver = data["approver"]
        stated_values |= {
            "approver_id": approver["account"],
            "approver_name": approver["name"],
            "approver_role": approver["role"],
            "approver_confirmation": data["approval"],
        }
    if "call" in data:
        stated_values["call_sha256"] = data["call"]
    if "reason" in data:
        # Of an act that is refused it is the problem in words.
        stated_values["detail" if data["step"] == "refused" else "reason"] = data["reason"]
    return stated_values

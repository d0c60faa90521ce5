"""Records what an agency says after clearance under a number of its own, without an application.

The result may be late for each case that uses the number, and for each child declaration with an item of
such a case. It is found by the row id of its first decision.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import Decision, DecisionCode, select_current_decisions, select_current_results
from gateway.harmonize import UnitTable
from gateway.hub.completion import (
    list_cases_above,
    list_counting_uses,
    list_outside_decisions,
    list_told_decisions,
    load_requirement_results,
    make_result_name,
    select_inherited_subjects,
)
from gateway.hub.customs.late_decisions import is_cleared, queue_children, record_late_news
from gateway.store import item_releases, requirement_results

__all__ = ["list_told_results", "record_late_result", "record_results_since"]

_SUBJECT: Final = "requirement_result"


def record_late_result(conn: Connection, case: int, said: int, now: datetime) -> None:
    """Record that a result (row id) decides about a locked case that is cleared.

    Its children look for themselves when this is committed.
    """
    if is_cleared(conn, case):
        _record_notice(conn, case, requirement_results.list_notice(conn, said), now)
    queue_children(conn, case, (_SUBJECT, said), now, "late_result_inherited")


def record_results_since(conn: Connection, case: int, cleared_at: datetime, now: datetime) -> None:
    """Record the results that agencies issued after a clearance of which the hub hears only now."""
    if not item_releases.may_have_outside_decisions(conn, case):
        return
    used = {use.requirement_id for one in (case, *list_cases_above(conn, case))
            for use in list_counting_uses(conn, one)}  # fmt: skip
    since: dict[tuple[int, str], list[Row[Any]]] = {}
    for row in requirement_results.list_results(conn, used):
        if row.issued_at > cleared_at:
            since.setdefault((row.requirement_id, row.notice_no), []).append(row)
    for rows in since.values():
        _record_notice(conn, case, rows, now)


def _record_notice(conn: Connection, case: int, rows: Sequence[Row[Any]], now: datetime) -> None:
    """Record the decisions of one notice for a locked case, where they are about an item of it."""
    first = rows[0]
    if not _list_subjects(conn, case, first.requirement_id, {row.law for row in rows}):
        return
    data = {"agency": first.agency, "requirement": first.number, "number": first.notice_no}
    task = ("late_result", (_SUBJECT, int(first.id)), f"late_result:{first.id}:{case}")
    record_late_news(conn, case, task, data, now)


def _list_subjects(
    conn: Connection, case: int, requirement: int, laws: Collection[str]
) -> set[tuple[int, str]]:
    """Return the items that use a requirement, in a case or in one above it, each with these laws."""
    found: set[tuple[int, str]] = set()
    for owner in (case, *list_cases_above(conn, case)):
        items = {
            int(use.item) for use in list_counting_uses(conn, owner) if use.requirement_id == requirement
        }
        about = {(item, law) for item in items for law in laws}
        found |= select_inherited_subjects(conn, case, owner, about)
    return found


def list_told_results(conn: Connection, case: int, said: int, units: UnitTable) -> list[Decision]:
    """Return what counts for the items of a case (row id) under the laws that a result (row id) decides.

    Nothing where other notices have overtaken it.
    """
    first = requirement_results.list_notice(conn, said)[0]
    mine = {
        one.decision.law: one.decision
        for one in select_current_results(load_requirement_results(conn, [first.requirement_id]))
        if one.notice_number == first.notice_no
    }
    about = _list_subjects(conn, case, first.requirement_id, mine)
    name = make_result_name(first.requirement_id, first.agency)
    standing = [
        one.decision
        if one.decision.decision is not DecisionCode.REJECTED
        else replace(one.decision, quantity=None, unit=None)
        for one in list_told_decisions(select_current_decisions(list_outside_decisions(conn, case)), units)
        if f"{one.request}:".startswith(f"{name}:") and (one.decision.item, one.decision.law) in about
    ]
    unsaid = about - {(one.item, one.law) for one in standing}
    standing += [replace(mine[law], item=item, quantity=None, unit=None) for item, law in sorted(unsaid)]
    return standing

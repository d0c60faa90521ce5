"""Reads the results without an application, and what they decide for the items of a case.

A case has them by the requirements that it uses. What an item gave back because it was rejected still
counts for it: else the rejection would end with itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import (
    DecidedRequest,
    Decision,
    DecisionCode,
    RankedDecision,
    RequirementResult,
    select_law_results,
)
from gateway.store import requirement_quantities, requirement_results

__all__ = ["list_outside_decisions", "list_outside_requests", "load_requirement_results"]

#: Stands before the row of a requirement where a decision has the number of its application.
_PREFIX: Final = "requirement:"
#: No application was made, so there is no document.
_NO_DOCUMENT: Final = "-"


def load_requirement_results(conn: Connection, wanted: Collection[int]) -> tuple[RequirementResult, ...]:
    """Return all results about requirements (row ids), superseded ones too."""
    return tuple(_make_result(row) for row in requirement_results.list_results(conn, wanted))


def _make_result(row: Row[Any]) -> RequirementResult:
    decision = Decision(
        item=row.item,
        law=row.law,
        decision=DecisionCode(row.decision),
        number=row.number,
        date=row.date,
        quantity=None if row.quantity is None else Decimal(row.quantity),
        unit=row.unit,
        conditions=tuple(row.conditions),
    )
    return RequirementResult(row.requirement_id, row.agency, decision, row.issued_at, row.notice_no)


def list_outside_decisions(conn: Connection, case_id: int) -> tuple[RankedDecision, ...]:
    """Return what results without an application decide for the items of a case that use their numbers.

    The quantity is what the item uses.
    """
    uses: dict[int, list[Row[Any]]] = defaultdict(list)
    for use in requirement_quantities.list_uses_of_case(conn, case_id):
        if use.returned_at is None or use.return_reason == "rejected":
            uses[use.requirement_id].append(use)
    found = select_law_results(load_requirement_results(conn, uses)) if uses else ()
    return tuple(_make_item_decision(one, use) for one in found for use in uses[one.subject])


def _make_item_decision(result: RequirementResult, use: Row[Any]) -> RankedDecision:
    decision = replace(result.decision, item=use.item, quantity=Decimal(use.quantity), unit=use.unit)
    name = f"{_PREFIX}{result.subject}:{result.agency}"
    return RankedDecision(name, decision, result.issued_at, result.notice_number)


def list_outside_requests(standing: Iterable[RankedDecision]) -> dict[str, DecidedRequest]:
    """Return in whose name the decisions without an application are told, by the name of their request."""
    names = {one.request for one in standing if one.request.startswith(_PREFIX)}
    return {name: DecidedRequest(name, _NO_DOCUMENT, name.split(":", 2)[2]) for name in names}

"""What agencies decided about a case, and whether it counts, for who looks at the case."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import APPROVING, CaseOutcome, DecisionCode
from gateway.errors import APPLICATION_CANCELLED
from gateway.store import decisions

__all__ = ["NoEffect", "describe_decisions", "explain_no_effect"]


class NoEffect(StrEnum):
    """Why a stored decision does not count for its case."""

    SUPERSEDED = "superseded"
    CANCELLED = "the application is cancelled"
    WITHDRAWN = "the declaration is withdrawn"


def describe_decisions(conn: Connection, case: Row[Any], asked: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """Return the decisions on the applications of a case: `counts`, and why not (`no_effect`)."""
    requests = {row.id: row for row in asked}
    described = []
    for row in decisions.list_by_case(conn, case.id):
        why = explain_no_effect(case, requests[row.request_id], row)
        said = f"{APPLICATION_CANCELLED.id} {why}" if why is NoEffect.CANCELLED else why
        told = {"request": requests[row.request_id].number, "counts": why is None, "no_effect": said}
        described.append(dict(row._mapping) | told)
    return described


def explain_no_effect(case: Row[Any], request: Row[Any], decision: Row[Any]) -> NoEffect | None:
    """Return why a stored decision does not count for its case; None where it counts.

    It was overtaken, its application was cancelled (GW410), or it approves what was withdrawn.
    """
    if decision.superseded_by is not None:
        return NoEffect.SUPERSEDED
    if request.state == "CANCELLED":
        return NoEffect.CANCELLED
    if case.outcome == CaseOutcome.WITHDRAWN and DecisionCode(decision.decision) in APPROVING:
        return NoEffect.WITHDRAWN
    return None

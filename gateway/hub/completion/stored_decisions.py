"""Converts stored decisions and requests to values, and computes the id of a conclusion."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from gateway.cases import (
    CaseOutcome,
    Decision,
    DecisionCode,
    RankedDecision,
    RequestScope,
    select_current_decisions,
)

__all__ = ["compute_conclusion_id", "list_concerns", "make_concern", "make_standing_decisions"]


def compute_conclusion_id(outcome: CaseOutcome, standing: Iterable[RankedDecision]) -> str:
    """Return the id of a conclusion, made from its outcome and decisions; equal decisions conclude once."""
    text = repr((outcome, select_current_decisions(standing)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_concern(request: Row[Any]) -> RequestScope:
    """Return the scope of a request: its items, and the laws that may decide them."""
    pairs = [(int(item), str(law)) for item, law in request.required]
    return RequestScope(
        request.number, frozenset(item for item, _ in pairs), frozenset(law for _, law in pairs)
    )


def list_concerns(asked: Iterable[Row[Any]]) -> tuple[RequestScope, ...]:
    """Return the scopes of the requests of a case; a cancelled request has none."""
    return tuple(make_concern(row) for row in asked if row.state != "CANCELLED")


def make_standing_decisions(rows: Iterable[Row[Any]], numbers: dict[int, str]) -> tuple[RankedDecision, ...]:
    """Return stored decisions as values, each with the number of its request."""
    return tuple(
        RankedDecision(
            request=numbers[row.request_id],
            decision=Decision(
                item=row.item,
                law=row.law,
                decision=DecisionCode(row.decision),
                number=row.number,
                date=row.date,
                quantity=None if row.quantity is None else Decimal(row.quantity),
                unit=row.unit,
                conditions=tuple(row.conditions),
            ),
            issued_at=row.issued_at,
            notice_number=row.notice_no,
        )
        for row in rows
    )

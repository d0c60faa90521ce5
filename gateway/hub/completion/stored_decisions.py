"""Converts stored decisions and requests to values, and computes the id of a conclusion."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Row

from gateway.cases import (
    CaseOutcome,
    Decision,
    DecisionCode,
    RankedDecision,
    RequestScope,
    read_subjects,
    select_current_decisions,
)

__all__ = [
    "compute_conclusion_id",
    "is_cancellation_open",
    "list_cancellations",
    "list_concerns",
    "list_standing_numbers",
    "make_concern",
    "make_standing_decisions",
]


#: The decisions by their stored names.
_CODES: Final = {code.value: code for code in DecisionCode}


def compute_conclusion_id(
    outcome: CaseOutcome, standing: Iterable[RankedDecision], cancellations: Iterable[tuple[str, str]] = ()
) -> str:
    """Return the id of a conclusion; equal decisions and equal cancellations conclude once.

    A withdrawn case stays so. What an agency says afterwards does not overtake that conclusion.
    """
    if outcome is CaseOutcome.WITHDRAWN:
        return hashlib.sha256(repr(outcome).encode()).hexdigest()[:16]
    about: tuple[Any, ...] = (outcome, select_current_decisions(standing))
    known = tuple(cancellations)
    text = repr((*about, known) if known else about)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_cancellation_open(request: Row[Any]) -> bool:
    """Return whether the agency has been asked to cancel a request, and has not said whether it does."""
    return bool(request.cancellation == "ASKED" and request.state != "CANCELLED")


def list_cancellations(asked: Iterable[Row[Any]]) -> tuple[tuple[str, str], ...]:
    """Return the number of each request that is CANCELLED, or whose cancellation was REFUSED, and which.

    One whose items an amendment has removed is named only where its agency keeps it: if it is cancelled,
    nothing of it is left in the case.
    """
    return tuple(
        (row.number, "CANCELLED" if row.state == "CANCELLED" else "REFUSED")
        for row in asked
        if (row.required if row.state == "CANCELLED" else row.cancellation == "REFUSED")
    )


def list_standing_numbers(asked: Iterable[Row[Any]]) -> dict[int, str]:
    """Return the numbers of the requests whose decisions count, by row id: cancelled ones are absent."""
    return {row.id: row.number for row in asked if row.state != "CANCELLED"}


def make_concern(request: Row[Any]) -> RequestScope:
    """Return the scope of a request: its items, and the laws that may decide them."""
    pairs = read_subjects(request.required)
    items, laws = frozenset([item for item, _ in pairs]), frozenset([law for _, law in pairs])
    return RequestScope(request.number, items, laws)


def list_concerns(asked: Iterable[Row[Any]]) -> tuple[RequestScope, ...]:
    """Return the scopes of the requests of a case; a cancelled request has none."""
    return tuple([make_concern(row) for row in asked if row.state != "CANCELLED"])


def make_standing_decisions(rows: Iterable[Row[Any]], numbers: dict[int, str]) -> tuple[RankedDecision, ...]:
    """Return stored decisions of the requests in `numbers` as values, each with its number."""
    found = [
        RankedDecision(
            request=numbers[row.request_id],
            decision=Decision(
                item=row.item,
                law=row.law,
                decision=_CODES[row.decision],
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
        if row.request_id in numbers
    ]
    return tuple(found)

"""Why an agency refused: the reasons of its latest decisions in a span of time."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from gateway.store.tables import agency_requests, decisions

__all__ = ["MOST_DECIDED", "count_refusal_reasons"]

#: At most so many decided applications are read, the latest first.
MOST_DECIDED: Final = 5000


def count_refusal_reasons(
    conn: Connection, agency: str, since: datetime, until: datetime
) -> Counter[tuple[str, str]]:
    """Return how often a law and a sentence stand in a refusal; until is not included.

    A refusal without a sentence counts under an empty one. A refusal that was corrected does not count.
    """
    r, d = agency_requests.c, decisions.c
    decided = (
        select(r.id)
        .where(r.agency == agency, r.decided_at.is_not(None), r.decided_at >= since, r.decided_at < until)
        .order_by(r.decided_at.desc())
        .limit(MOST_DECIDED)
        .subquery()
    )
    found = (
        select(d.law, d.conditions)
        .select_from(decided.join(decisions, d.request_id == decided.c.id))
        .where(d.decision == "REJECTED", d.superseded_by.is_(None))
    )
    counted: Counter[tuple[str, str]] = Counter()
    for law, sentences in conn.execute(found):
        counted.update({(law, sentence) for sentence in sentences or ("",)})
    return counted

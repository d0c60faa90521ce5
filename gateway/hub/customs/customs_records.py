"""Stores a notice of customs about a locked case, moves the state of clearance, and queues what follows.

The same notices lead to the same state in every order: among the results of clearance the one with the
latest issue time counts, then the one with the highest notice number, and so it is among the answers to
what customs was told. A result of clearance counts before every answer. A notice that was overtaken on
the way is stored and told all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import CustomsNotice, check_issue_time, check_issued_since
from gateway.evidence import record_evidence
from gateway.hub.customs.late_decisions import is_cleared, record_decisions_since
from gateway.hub.customs.late_results import record_results_since
from gateway.hub.outbox import enqueue_task
from gateway.store import NewCustomsNotice, StateEvent, customs_notices

__all__ = ["find_leading_result", "record_customs_notice"]

_ACTOR: Final = "customs"
_RESULTS: Final = {"cleared": "clear", "refused": "refuse", "cancelled": "cancel"}
_ANSWERS: Final = {"accepted": "accept", "error": "report_error"}
#: What the software of parties is told in the feed of events.
_EVENTS: Final = {
    "accepted": "CUSTOMS_ACCEPTED",
    "error": "CUSTOMS_ERROR",
    "cleared": "CLEARED",
    "refused": "CLEARANCE_REFUSED",
    "cancelled": "CLEARANCE_CANCELLED",
}


def record_customs_notice(
    conn: Connection,
    case: Row[Any],
    notice: CustomsNotice,
    kind: str,
    proof: tuple[str, dict[str, str | None]],
    now: datetime,
    delivery: int | None = None,
) -> bool:
    """Store a notice of customs about a locked case; return False, and change nothing, for a repeat.

    `kind` is what its code means, `proof` the digest of the signed octets and who signed them, `delivery`
    our call that it answers. Raises GW702 when its number was used for other content, GW719 when it was
    issued more than a day ahead, or before its case.
    """
    check_issue_time(notice.issued_at, now)
    new = NewCustomsNotice(
        case.id,
        notice.number,
        notice.code,
        kind,
        notice.issued_at.astimezone(UTC),
        _describe_content(notice),
        delivery,
    )
    stored = customs_notices.insert_notice(conn, new, now)
    if stored is None:
        return False
    check_issued_since(notice.issued_at, case.opened_at)
    events = _RESULTS if kind in _RESULTS else _ANSWERS
    known = customs_notices.list_by_case(conn, case.id)
    if find_leading_notice(known, frozenset(events)) == stored:
        what = StateEvent(events[kind], now, _ACTOR, f"{notice.code} {notice.number}"[:100])
        customs_notices.apply_event(conn, case.id, what)
    customs_notices.record_case_event(conn, case.id, _EVENTS[kind], now)
    digest, signer = proof
    data = {"number": notice.number, "code": notice.code, "delivery": delivery, **signer}
    record_evidence(conn, "customs_notice", "case", case.id, digest, data, now)
    if kind != "accepted":
        key = f"customs_notice:{stored}"
        enqueue_task(conn, "customs_notice", ("customs_notice", stored), key, now, case_id=case.id)
    # Another result may have overtaken this one: nothing is late for goods that are not cleared.
    if kind == "cleared" and is_cleared(conn, case.id):
        record_decisions_since(conn, case, new.issued_at, now)
        record_results_since(conn, case.id, new.issued_at, now)
    return True


def find_leading_notice(known: Sequence[Row[Any]], kinds: frozenset[str]) -> int | None:
    """Return the notice of these kinds that counts: the one issued last, then of the highest number."""
    meant = [row for row in known if row.kind in kinds]
    return None if not meant else int(max(meant, key=lambda row: (row.issued_at, row.number)).id)


def find_leading_result(conn: Connection, case: int) -> int | None:
    """Return the id of the result of clearance that counts; None before the first."""
    return find_leading_notice(customs_notices.list_by_case(conn, case), frozenset(_RESULTS))


def _describe_content(notice: CustomsNotice) -> dict[str, Any]:
    return {
        "text": notice.text,
        "reasons": [asdict(one) for one in notice.reasons],
        "items": [asdict(one) for one in notice.items],
    }

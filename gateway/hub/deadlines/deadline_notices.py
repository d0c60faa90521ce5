"""Tells the applicant by a signed Notice that an answer or a payment is due soon, or overdue.

The input is the task that the clockwork queued. The document is made, signed and sealed before the
transaction. When the transaction has committed, the message is stored with its delivery, and the task
has ended. Where the agreement has no P-Mode for notices, and where nothing is due any more, the task
ends without a message.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from lxml import etree
from sqlalchemy import Row

from gateway.cases import make_reminder_document
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub.completion import case_closing
from gateway.hub.hub import Hub
from gateway.hub.outbox import (
    CaseSnapshot,
    FinishLease,
    QueuedMessage,
    load_case_snapshot,
    make_case_header,
    make_request_state,
    seal_notice,
    store_message,
)
from gateway.store import agency_requests, cases, deadlines, read_transaction, write_transaction

__all__ = ["send_deadline_notice"]

_WORDS: Final = {
    ("answer", "reminder"): "Reminder: {agency} waits for an answer until {due}.",
    ("answer", "overdue"): "Overdue: {agency} has waited for an answer until {due}. It is still accepted.",
    ("pay", "reminder"): "Reminder: {agency} waits for a payment until {due}.",
    ("pay", "overdue"): "Overdue: {agency} has waited for a payment until {due}.",
}


def send_deadline_notice(hub: Hub, deadline: int, what: str, finish: FinishLease) -> None:
    """Send the applicant a Notice about a deadline (`what`: reminder, overdue) that has not ended."""
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        row = deadlines.find_by_id(conn, deadline)
        request = agency_requests.find_by_id(conn, row.request_id) if row else None
    if row is None or request is None:
        raise GatewayError(OUR_MISTAKE, f"deadline {deadline} is gone")
    outgoing = None
    if row.ended_at is None:
        facts = load_case_snapshot(hub, row.case_id)
        outgoing = seal_notice(hub, facts, _make_document(facts, (request, row), what, now), now)
    with write_transaction(hub.engine, "deadlines.notice") as conn:
        case = cases.lock_case(conn, row.case_id)
        if outgoing is not None:
            store_message(conn, hub, facts, QueuedMessage(outgoing, f"{what}:{deadline}"), now)
        finish(conn)
        case_closing.close_case_when_done(conn, case, now)


def _make_document(
    facts: CaseSnapshot, about: tuple[Row[Any], Row[Any]], what: str, now: datetime
) -> etree._Element:
    request, row = about
    state = make_request_state(request)
    due = row.due_at.isoformat(timespec="minutes")
    words = _WORDS[row.kind, what].format(agency=request.agency, due=due)
    return make_reminder_document(make_case_header(facts, now), state, words, row.due_at)

"""Step 7, notify: one notice of an agency is sent to the applicant while the case is open.

The input is the task that `gateway.hub.reply` queued with the notice. The document is made, signed
and sealed before the transaction. When the transaction has committed, the message is stored with
its delivery, and the task has ended. Where the agreement has no P-Mode for notices, the task ends
without a message. The delivery worker sends the message. The result of the case repeats the content
of all notices.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lxml import etree
from sqlalchemy import Row

from gateway.cases import Notice, make_notice_document
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub.completion import case_closing
from gateway.hub.hub import Hub
from gateway.hub.outbox import (
    CaseSnapshot,
    FinishLease,
    QueuedMessage,
    make_case_header,
    make_request_state,
    make_undecided_snapshot,
    seal_notice,
    store_message,
)
from gateway.store import cases, find_notice_facts, read_transaction, write_transaction

__all__ = ["notify_applicant"]


def notify_applicant(hub: Hub, notice_id: int, finish: FinishLease) -> None:
    """Send the applicant one notice of an agency, where the agreement has a P-Mode for notices."""
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        found = find_notice_facts(conn, notice_id)
    if found is None:
        raise GatewayError(OUR_MISTAKE, f"notice {notice_id} is gone")
    said, request, facts = found.notice, found.request, make_undecided_snapshot(hub, found.of_case)
    outgoing = seal_notice(hub, facts, _make_notice_document(facts, request, said, now), now)
    with write_transaction(hub.engine, "conclude.notice") as conn:
        cases.hold_case(conn, request.case_id)
        queued = outgoing is not None and store_message(
            conn, hub, facts, QueuedMessage(outgoing, f"notice:{notice_id}"), now
        )
        finish(conn)
        if not queued:
            # Otherwise the delivery of the message closes the case.
            case_closing.close_case_when_done(conn, cases.lock_case(conn, request.case_id), now)


def _make_notice_document(
    facts: CaseSnapshot, request: Row[Any], said: Row[Any], now: datetime
) -> etree._Element:
    state = make_request_state(request)
    notice = Notice(
        said.number, said.issued_at, said.status_code, (), said.text, tuple(said.pointers), said.deadline
    )
    return make_notice_document(make_case_header(facts, now), state, notice)

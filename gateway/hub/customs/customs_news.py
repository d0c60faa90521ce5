"""Step 10, clearance: what customs says is told to the applicant, and to the agencies that want to know.

The input is the task that was queued with the notice. Document and calls are made before the
transaction. When it has committed, the Notice is stored with its delivery, and a call NotifyClearance is
queued for each application whose agency wants clearance results: `wants_clearance` in the organisations
of the mappings. Other agencies hear nothing. Of a child declaration they hear under the applications of
its parents, with the items that the child has. A result that another one has overtaken is told to the
applicant alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import (
    CLEARANCE_RESULTS,
    ClearedItem,
    CustomsNotice,
    CustomsReason,
    make_customs_document,
)
from gateway.errors import CUSTOMS_ERROR, OUR_MISTAKE, GatewayError
from gateway.hub.completion import case_closing, list_inherited_requests
from gateway.hub.customs.customs_pointers import list_told_items, turn_back_reasons
from gateway.hub.customs.customs_records import find_leading_result
from gateway.hub.forward import ComposedCall, compose_clearance_call, enqueue_clearance_call
from gateway.hub.hub import Hub
from gateway.hub.outbox import (
    CaseSnapshot,
    FinishLease,
    QueuedMessage,
    load_case_snapshot,
    make_case_header,
    seal_notice,
    store_message,
)
from gateway.hub.sent_applications import find_submission
from gateway.state_machines import CLEARANCE
from gateway.store import cases, customs_notices, deliveries, payloads, read_transaction, write_transaction

__all__ = ["read_stored_notice", "tell_customs_news"]

_UNTOLD: Final = frozenset({"FAILED", "CANCELLED"})


def tell_customs_news(hub: Hub, notice_id: int, finish: FinishLease) -> None:
    """Tell a notice of customs to the applicant, and a result of clearance to the agencies that want it."""
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        row = customs_notices.find_by_id(conn, notice_id)
        if row is None:
            raise GatewayError(OUR_MISTAKE, f"the notice {notice_id} of customs is gone")
        state = customs_notices.find_state(conn, row.case_id) or CLEARANCE.initial
        notice = read_stored_notice(conn, row)
        above = tuple(list_inherited_requests(conn, row.case_id)) if row.kind in CLEARANCE_RESULTS else ()
    facts = load_case_snapshot(hub, row.case_id)
    outgoing = _seal_notice(hub, facts, (row, notice, state), now)
    calls = _compose_calls(hub, facts, (row, notice), above)
    with write_transaction(hub.engine, "customs.told") as conn:
        case = cases.lock_case(conn, row.case_id)
        if outgoing is not None:
            store_message(conn, hub, facts, QueuedMessage(outgoing, f"customs:{notice_id}"), now)
        if find_leading_result(conn, row.case_id) == notice_id:
            _enqueue_calls(conn, (notice_id, calls), now)
        finish(conn)
        case_closing.close_case_when_done(conn, case, now)


def read_stored_notice(conn: Connection, row: Row[Any]) -> CustomsNotice:
    """Return a stored notice of customs, its pointers turned back into the applicant's own message."""
    told: tuple[int, ...] = ()
    call = None if row.delivery_id is None else deliveries.find_by_id(conn, row.delivery_id)
    if call is not None and row.content["reasons"]:
        told = list_told_items(_load_call(conn, call))
    reasons = tuple(CustomsReason(**one) for one in row.content["reasons"])
    return CustomsNotice(
        row.number,
        row.issued_at,
        row.code,
        row.content["text"],
        turn_back_reasons(reasons, told),
        tuple(ClearedItem(**one) for one in row.content["items"]),
    )


def _load_call(conn: Connection, call: Row[Any]) -> bytes:
    """Return the call that customs answered; nothing where retention has removed it."""
    try:
        return payloads.get_payload_octets(conn, call.payload_sha256 or "")
    except GatewayError:
        return b""


def _seal_notice(
    hub: Hub, facts: CaseSnapshot, said: tuple[Row[Any], CustomsNotice, str], now: datetime
) -> Any:
    row, notice, state = said
    code = hub.rules.customs_codes.get(row.code)
    status = "" if code is None else code.status
    document = make_customs_document(make_case_header(facts, now), state, status, notice, CUSTOMS_ERROR.id)
    return seal_notice(hub, facts, document, now)


def _compose_calls(
    hub: Hub,
    facts: CaseSnapshot,
    said: tuple[Row[Any], CustomsNotice],
    above: Sequence[tuple[Row[Any], frozenset[int]]],
) -> Sequence[tuple[Row[Any], ComposedCall]]:
    """Return each application whose agency wants the news, with the call that tells them.

    An agency that gets no items of customs takes the news for all of its application. Of a child that
    is wrong: the items that it has are always named.
    """
    row, notice = said
    if row.kind not in CLEARANCE_RESULTS:
        return ()
    code = hub.rules.customs_codes.get(row.code)
    news = (notice, "" if code is None else code.status)
    named = {one.item: one.code for one in notice.items}
    told = []
    for request in facts.requests:
        own = {int(item) for item, _ in request.required}
        told.append((request, {item: code for item, code in named.items() if item in own}))
    told += [
        (request, {item: named.get(item, notice.code) for item in sorted(items)}) for request, items in above
    ]
    return [
        (request, compose_clearance_call(hub, request, (facts.case.number, items), news))
        for request, items in told
        if _wants_clearance(hub, request.agency)
    ]


def _wants_clearance(hub: Hub, agency: str) -> bool:
    organisation = hub.rules.bundle.organisations.get(agency)
    return organisation is not None and organisation.wants_clearance


def _enqueue_calls(
    conn: Connection, told: tuple[int, Sequence[tuple[Row[Any], ComposedCall]]], now: datetime
) -> None:
    """Queue the news behind what went to each agency; one that never got its application hears nothing.

    Each call belongs to the case of its application.
    """
    notice, calls = told
    for request, call in calls:
        earlier = deliveries.list_by_request(conn, request.case_id, request.id)
        sent = find_submission(earlier)
        if sent is not None and sent.state not in _UNTOLD:
            place = (f"clearance:{notice}:{request.id}", earlier)
            enqueue_clearance_call(conn, call, (request.case_id, request.id), place, now)

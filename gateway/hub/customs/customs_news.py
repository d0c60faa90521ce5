"""Step 10, clearance: customs' news about a case go to the applicant and to the agencies that want them.

The input is the task that was queued with the notice. Document and calls are made before the transaction.
When it has committed, the Notice is stored with its delivery, and a call NotifyClearance is queued for each
application whose agency wants clearance results: `wants_clearance` in the organisations of the mappings.
Other agencies get no call. About a child declaration they are notified under the applications of its parents,
with the items that the child has. A result that a newer one has replaced goes to the applicant alone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import (
    CLEARANCE_RESULT_KINDS,
    ClearedItem,
    CustomsNotice,
    CustomsReason,
    make_customs_document,
)
from gateway.errors import CUSTOMS_ERROR, GatewayError, raise_resource_problem
from gateway.hub.completion.case_closing import case_transaction
from gateway.hub.completion.outside_decisions import list_inherited_requests
from gateway.hub.customs.late_decisions import find_leading_result
from gateway.hub.hub import Hub
from gateway.hub.outbox.applicant_messages import (
    CaseSnapshot,
    QueuedMessage,
    load_case_snapshot,
    make_case_header,
    seal_notice,
    store_message,
)
from gateway.hub.outbox.local_tasks import FinishLease, require_row
from gateway.hub.outbox.outgoing_calls import find_submission_delivery
from gateway.hub.submissions.document_needs import read_unless_removed
from gateway.hub.submissions.forward import ComposedCall, compose_clearance_call, enqueue_clearance_call
from gateway.state_machines import CLEARANCE
from gateway.store import (
    CustomsNoticeRow,
    DeliveryRow,
    RequestWithFeesRow,
    customs_notices,
    deliveries,
    payloads,
    read_transaction,
)
from gateway.wire import parse_xml

_log = logging.getLogger(__name__)
_REQUIREMENT: Final = re.compile(r"Requirement\[([1-9][0-9]{0,5})\](?:/.*)?")


def list_requirement_items(envelope: bytes) -> tuple[int, ...]:
    """Return the item of each requirement in a call to customs, in the order of the call."""
    try:
        content = parse_xml(envelope, is_envelope=True)[-1][0]
    except (GatewayError, IndexError) as error:
        raise_resource_problem(error)
        return ()
    return tuple(
        int(requirement.findtext("{*}item") or "0") for requirement in content.iterfind("{*}Requirement")
    )


def restore_reason_pointers(
    reasons: Sequence[CustomsReason], items: Sequence[int]
) -> tuple[CustomsReason, ...]:
    """Return the reasons with pointers into the applicant's message; `items` are the items of the call."""
    return tuple(replace(reason, pointer=_restore_pointer(reason.pointer, items)) for reason in reasons)


def _restore_pointer(pointer: str, call_items: Sequence[int]) -> str:
    match = _REQUIREMENT.fullmatch(pointer)
    if match is None or int(match[1]) > len(call_items):
        return pointer
    return f"42A/67A[1]/68A[{call_items[int(match[1]) - 1]}]"


_UNSENT_STATES: Final = frozenset({"FAILED", "CANCELLED"})


def forward_customs_notice(hub: Hub, notice_id: int, end_lease: FinishLease) -> None:
    """Queue a notice of customs for the applicant, and a clearance result for the agencies that want it."""
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        found_notice = customs_notices.find_by_id(conn, notice_id)
        row = require_row(found_notice, f"the notice {notice_id} of customs")
        state = customs_notices.find_clearance_state(conn, row.case_id) or CLEARANCE.initial_state
        notice = read_stored_notice(conn, row)
        inherited_requests = (
            tuple(list_inherited_requests(conn, row.case_id)) if row.kind in CLEARANCE_RESULT_KINDS else ()
        )
    case_snapshot = load_case_snapshot(hub, row.case_id)
    sealed_notice = _seal_notice(hub, case_snapshot, row, notice, state, now)
    calls = _compose_clearance_calls(hub, case_snapshot, row, notice, inherited_requests)
    with case_transaction(hub, "customs.told", row.case_id, end_lease) as (conn, _):
        if sealed_notice is not None:
            store_message(conn, hub, case_snapshot, QueuedMessage(sealed_notice, f"customs:{notice_id}"), now)
        if find_leading_result(conn, row.case_id) == notice_id:
            _enqueue_calls(conn, notice_id, calls, now)


def read_shown_notice(conn: Connection, row: CustomsNoticeRow) -> CustomsNotice:
    """Return a stored notice of customs for a page or a report, as `read_stored_notice` does.

    Its pointers stay as customs wrote them where the call that customs answered cannot be read.
    """
    try:
        return read_stored_notice(conn, row)
    except GatewayError as unread:
        text = "the call that customs answered cannot be read: %s"
        _log.warning(text, unread, extra={"case_id": row.case_id})
        return _make_notice(row, ())


def read_stored_notice(conn: Connection, row: CustomsNoticeRow) -> CustomsNotice:
    """Return a stored notice of customs, its pointers turned back into the applicant's own message.

    Where retention has removed the call that customs answered, they stay pointers into that call. Raises
    GW806 where it is not reached, GW805 where its octets have changed.
    """
    call_items: tuple[int, ...] = ()
    call = None if row.delivery_id is None else deliveries.find_by_id(conn, row.delivery_id)
    if call is not None and row.content["reasons"]:
        call_items = list_requirement_items(_load_call(conn, call))
    return _make_notice(row, call_items)


def _make_notice(row: CustomsNoticeRow, call_items: Sequence[int]) -> CustomsNotice:
    reasons = tuple(CustomsReason(**reason) for reason in row.content["reasons"])
    return CustomsNotice(
        row.number,
        row.issued_at,
        row.code,
        row.content["text"],
        restore_reason_pointers(reasons, call_items),
        tuple(ClearedItem(**item) for item in row.content["items"]),
    )


def _load_call(conn: Connection, call: DeliveryRow) -> bytes:
    """Return the call that customs answered; nothing where it has none, or retention has removed it."""
    digest = call.payload_sha256
    if digest is None:
        return b""
    return read_unless_removed(lambda: payloads.get_payload_octets(conn, digest)) or b""


def _seal_notice(
    hub: Hub,
    case_snapshot: CaseSnapshot,
    row: CustomsNoticeRow,
    notice: CustomsNotice,
    state: str,
    now: datetime,
) -> Any:
    """Return the notice of customs sealed for the applicant; None where the agreement has no P-Mode for it.

    `row` is the stored notice, and `notice` is its content; `state` is the state of the case.
    """
    code = hub.rules.customs_codes.get(row.code)
    status = "" if code is None else code.status
    document = make_customs_document(
        make_case_header(case_snapshot, now), state, status, notice, CUSTOMS_ERROR.id
    )
    return seal_notice(hub, case_snapshot, document, now)


def _compose_clearance_calls(
    hub: Hub,
    case_snapshot: CaseSnapshot,
    row: CustomsNoticeRow,
    notice: CustomsNotice,
    inherited_requests: Sequence[tuple[RequestWithFeesRow, frozenset[int]]],
) -> Sequence[tuple[RequestWithFeesRow, ComposedCall]]:
    """Return each application whose agency wants the news, with the call that reports them.

    An agency that gets no items of customs takes the news for the whole of its application. This would be
    wrong for a child: the items that the child has are always named.
    """
    if row.kind not in CLEARANCE_RESULT_KINDS:
        return ()
    code = hub.rules.customs_codes.get(row.code)
    status = "" if code is None else code.status
    codes_by_item = {item.item: item.code for item in notice.items}
    recipients = []
    for request in case_snapshot.requests:
        own_items = {int(item) for item, _ in request.required}
        recipients.append(
            (request, {item: code for item, code in codes_by_item.items() if item in own_items})
        )
    recipients += [
        (request, {item: codes_by_item.get(item, notice.code) for item in sorted(items)})
        for request, items in inherited_requests
    ]
    return [
        (request, compose_clearance_call(hub, request, case_snapshot.case.number, items, notice, status))
        for request, items in recipients
        if _wants_clearance(hub, request.agency)
    ]


def _wants_clearance(hub: Hub, agency: str) -> bool:
    organisation = hub.rules.bundle.organisations.get(agency)
    return organisation is not None and organisation.wants_clearance


def _enqueue_calls(
    conn: Connection, notice_id: int, calls: Sequence[tuple[RequestWithFeesRow, ComposedCall]], now: datetime
) -> None:
    """Queue the news behind the earlier calls to each agency; skip an agency that has no application.

    Each call belongs to the case of its application.
    """
    for request, call in calls:
        earlier = deliveries.list_by_request(conn, request.case_id, request.id)
        sent = find_submission_delivery(earlier)
        if sent is not None and sent.state not in _UNSENT_STATES:
            key = f"clearance:{notice_id}:{request.id}"
            enqueue_clearance_call(conn, call, request.case_id, request.id, key, earlier, now)

"""The applicant is told of a fee: due with its payment address, paid, cancelled, given back.

The input is the task that a step of a fee queued. As in `gateway.hub.notify` the document is sealed
before the transaction. Where the agreement has no P-Mode for notices, the task ends without a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from lxml import etree
from sqlalchemy import Row

from gateway.cases import FeeStep, NamedFee, Notice, StatusCode, make_notice_document
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub.completion import case_closing
from gateway.hub.fees.fee_records import get_fee, read_fee_money
from gateway.hub.hub import Hub
from gateway.hub.outbox import (
    FinishLease,
    QueuedMessage,
    load_case_snapshot,
    make_case_header,
    make_request_state,
    seal_notice,
    store_message,
)
from gateway.store import agency_requests, cases, fees, read_transaction, write_transaction

__all__ = ["notify_of_fee"]

_TEXTS: Final = {
    FeeStep.AWAIT: "The application is forwarded to the agency when this fee is paid.",
    FeeStep.LEVY: "This fee can be paid at the address.",
    FeeStep.PAY: "The fee is paid.",
    FeeStep.CANCEL: "The fee is not due any more.",
    FeeStep.REFUND: "This amount is given back.",
}


def notify_of_fee(hub: Hub, fee: int, said: tuple[str, str], finish: FinishLease) -> None:
    """Send the applicant a Notice about one step of a fee; `said` is the step, and its mark."""
    now = hub.clock()
    step, mark = FeeStep(said[0]), said[1]
    with read_transaction(hub.engine) as conn:
        row = get_fee(conn, fee)
        request = agency_requests.find_by_id(conn, row.request_id)
        moved = fees.find_movement(conn, "refund", mark) if mark else None
        if request is None:
            raise GatewayError(OUR_MISTAKE, f"the application of fee {row.number} is gone")
        codes = hub.load_rules_of(conn, request).status_codes
    facts = load_case_snapshot(hub, row.case_id)
    document = _make_document(codes, (row, moved), request, (step, make_case_header(facts, now)), now)
    outgoing = seal_notice(hub, facts, document, now)
    with write_transaction(hub.engine, "fees.notice") as conn:
        case = cases.lock_case(conn, row.case_id)
        if outgoing is not None:
            key = f"fee:{step}:{row.number}:{mark}:message"
            store_message(conn, hub, facts, QueuedMessage(outgoing, key), now)
        finish(conn)
        case_closing.close_case_when_done(conn, case, now)


def _make_document(
    codes: Mapping[str, StatusCode],
    about: tuple[Row[Any], Row[Any] | None],
    request: Row[Any],
    said: Any,
    now: datetime,
) -> etree._Element:
    fee, moved = about
    step, header = said
    state = make_request_state(request)
    named = NamedFee(read_fee_money(moved or fee), fee.due_on, fee.payment_notice, fee.refundable)
    number = f"{fee.number}-{step.value.upper()}" if moved is None else str(moved.reference)
    notice = Notice(number, now, _find_code(codes, step, fee.kind), text=_TEXTS[step], fee=named)
    due = step in (FeeStep.AWAIT, FeeStep.LEVY)
    return make_notice_document(header, state, notice, (fee.address or "") if due else "")


def _find_code(codes: Mapping[str, StatusCode], step: FeeStep, kind: str) -> str:
    """Return the status code of a step; of a table that has none, the code of a fee that is waited for."""
    found = [one.code for one in codes.values() if one.fee_step == step and one.fee_kind in ("", kind)]
    return found[0] if found else "Y17"

"""The gate before forwarding: an application whose fee is due first is held until it is paid (Y17)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import AgencyAnswer, FeeStep, Notice, StatusCode
from gateway.errors import REPLY_UNMATCHED, TRANSITION_REFUSED, GatewayError
from gateway.hub.fees.fee_ends import HOLD_REASON
from gateway.hub.fees.fee_records import has_open_fee, is_held_for_answer, levy_fee
from gateway.hub.hub import Hub
from gateway.store import NewFee, OpenRequest, StateEvent, agency_requests, deliveries, fees

__all__ = ["check_forwarded", "check_no_fee_gate", "hold_for_payment", "is_held_for_fee"]

_ACTOR: Final = "fees"
#: The state of a request that is held for its fee; it may wait in it for another fee, too.
_HELD: Final = "FEE_DUE"
#: What an agency may say of a fee though it has not got the application yet.
_SETTLING: Final = (FeeStep.CANCEL, FeeStep.CONFIRM)


def hold_for_payment(conn: Connection, hub: Hub, case: int, request: int, now: datetime) -> bool:
    """Levy the fee of a new request and hold its application, where its document has a tariff.

    Returns whether it is held.
    """
    if not (hub.payments.provided and hub.payments.tariffs):
        return False
    row = agency_requests.find_by_id(conn, request)
    tariff = None if row is None else hub.payments.tariffs.get(row.document)
    if row is None or tariff is None:
        return False
    code = hub.load_rules_of(conn, row).status_codes.get(HOLD_REASON)
    due = None if tariff.days is None else now + timedelta(days=tariff.days)
    new = NewFee(
        number=f"{row.number}-F01",
        request_id=request,
        case_id=case,
        agency=row.agency,
        kind=code.fee_kind if code is not None and code.fee_kind else "application",
        gate="forwarding",
        amount=tariff.money.digits,
        currency=tariff.money.currency,
        due_on=None if due is None else due.astimezone(hub.zone).date(),
        payment_notice="",
        refundable=tariff.refundable,
        levied_at=now,
    )
    levy_fee(conn, new, now, ordered=True)
    first = deliveries.list_by_request(conn, case, request)[0]
    deliveries.hold_delivery(conn, first.id, now, _ACTOR, HOLD_REASON)
    event = StateEvent("fee", now, _ACTOR, HOLD_REASON)
    agency_requests.apply_event(conn, request, event, status_code=HOLD_REASON, due_at=due)
    return True


def is_held_for_fee(request: Row[Any], levied: Iterable[Row[Any]]) -> bool:
    """Return whether a request waits for one of its fees and is not forwarded yet."""
    return request.state == _HELD and has_open_fee(levied, "forwarding")


def check_forwarded(
    conn: Connection, request: OpenRequest, answer: AgencyAnswer, codes: Mapping[str, StatusCode]
) -> None:
    """Raise GW701 for what an agency says of a request that is held for its fee: it was not asked yet.

    It may say of the fee alone that it demands it no more, or has it.
    """
    if request.state != _HELD or not has_open_fee(fees.list_by_request(conn, request.id), "forwarding"):
        return
    code = codes.get(answer.status_code) if isinstance(answer, Notice) else None
    if code is None or code.fee_step not in _SETTLING or (isinstance(answer, Notice) and answer.decisions):
        detail = f"{request.agency} was asked nothing under {request.number} yet: its fee is not paid"
        raise GatewayError(REPLY_UNMATCHED, detail, "ApplicationNumber")


def check_no_fee_gate(conn: Connection, delivery: Row[Any]) -> None:
    """Raise GW705 for a delivery that is held until a fee is paid: no operator releases or cancels it.

    So is the order of a fee that can be paid when its agency has said that it does not cancel.
    """
    if is_held_for_answer(delivery):
        detail = f"delivery {delivery.id} waits until its agency has said whether it cancels the application"
        raise GatewayError(TRANSITION_REFUSED, detail, f"delivery/{delivery.state}")
    if delivery.subject_type != "request" or delivery.agent != "soap":
        return
    request = int(delivery.subject_id)
    if has_open_fee(fees.list_by_request(conn, request), "forwarding"):
        detail = f"delivery {delivery.id} waits for a fee that is not paid (gateway fees list)"
        raise GatewayError(TRANSITION_REFUSED, detail, f"delivery/{delivery.state}")

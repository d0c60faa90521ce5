"""An operator ends a fee that is due: it is waived, or was paid elsewhere.

The functions have the parameters of the operator's other actions. Each locks the case of the fee, ends
its order at the payment provider, and lets the application go on as a payment would.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import FeeStep
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.evidence import record_evidence
from gateway.hub.fees.fee_ends import settle_request
from gateway.hub.fees.fee_records import (
    OPEN,
    cancel_fee,
    close_order,
    get_fee,
    record_fee_step,
    tell_applicant,
)
from gateway.store import StateEvent, cases, deadlines, fees

__all__ = ["settle_fee_elsewhere", "waive_fee"]

_LONGEST: Final = 100


def waive_fee(conn: Connection, fee: int, at: datetime, actor: str, reason: str) -> None:
    """Demand a fee (row id) no more; raises GW705 for one that is not due."""
    row = _lock_open_fee(conn, fee)
    cancel_fee(conn, row, StateEvent("cancel", at, actor, reason[:_LONGEST]), ended_at=at)
    _finish_act(conn, row, ("fees waive", actor, reason), FeeStep.CANCEL, at)


def settle_fee_elsewhere(conn: Connection, fee: int, at: datetime, actor: str, reason: str) -> None:
    """Record that a fee (row id) was paid elsewhere; raises GW705 for one that is not due.

    A payment that the provider had before is counted when it is told; a later one is given back.
    """
    row = _lock_open_fee(conn, fee)
    what = StateEvent("confirm", at, actor, reason[:_LONGEST])
    fees.apply_event(conn, row.id, what, ended_at=at)
    record_fee_step(conn, row, "confirmed", at, by=what.detail)
    close_order(conn, row, what)
    _finish_act(conn, row, ("fees settle", actor, reason), FeeStep.PAY, at)


def _lock_open_fee(conn: Connection, fee: int) -> Row[Any]:
    cases.lock_case(conn, get_fee(conn, fee).case_id)
    row = get_fee(conn, fee)
    if row.state not in OPEN:
        detail = f"fee {row.number} is {row.state}: only one that is due is waived or settled"
        raise GatewayError(TRANSITION_REFUSED, detail, "fee")
    return row


def _finish_act(
    conn: Connection, fee: Row[Any], act: tuple[str, str, str], step: FeeStep, at: datetime
) -> None:
    words, actor, reason = act
    settle_request(conn, fee.request_id, at)
    deadlines.wake_fee(conn, fee.request_id, [fee.number, *([fee.notice] if fee.notice else [])], at)
    tell_applicant(conn, fee, step, at)
    data = {"act": words, "actor": actor, "reason": reason, "fee": fee.number}
    record_evidence(conn, "operator", "request", fee.request_id, None, data, at)

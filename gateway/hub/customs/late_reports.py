"""Tells customs what an agency decided after clearance.

ReportRequirements, with the code that the data give for it, names each decision of the notice. For an
application that its agency cancelled it names each item, without a decision.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from gateway.cases import find_late_code
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub.completion import case_closing
from gateway.hub.forward import ComposedCall, compose_late_report, enqueue_late_report
from gateway.hub.hub import Hub
from gateway.hub.outbox import CUSTOMS, FinishLease
from gateway.store import agency_requests, cases, decisions, notices, read_transaction, write_transaction

__all__ = ["tell_late_decision"]


def tell_late_decision(hub: Hub, notice_id: int, finish: FinishLease) -> None:
    """Queue what customs is told of a notice that came after clearance."""
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        notice = notices.find_by_id(conn, notice_id)
        request = agency_requests.find_by_id(conn, notice.request_id) if notice else None
        if notice is None or request is None:
            raise GatewayError(OUR_MISTAKE, f"notice {notice_id} is gone")
        case = cases.find_by_id(conn, request.case_id)
        rows = [row for row in decisions.list_by_request(conn, request.id) if row.notice_no == notice.number]
    if case is None:
        raise GatewayError(OUR_MISTAKE, f"the case of notice {notice_id} is gone")
    call = _compose_report(hub, case, request, rows)
    with write_transaction(hub.engine, "customs.late") as conn:
        locked = cases.lock_case(conn, case.id)
        if call is not None:
            enqueue_late_report(conn, call, case.id, f"customs:late:{notice_id}", now)
        finish(conn)
        case_closing.close_case_when_done(conn, locked, now)


def _compose_report(
    hub: Hub, case: Row[Any], request: Row[Any], decided: list[Row[Any]]
) -> ComposedCall | None:
    if not hub.composer.has_destination(CUSTOMS):
        return None
    code = find_late_code(hub.rules.customs_codes)
    return compose_late_report(hub, (case.number, code), request, decided)

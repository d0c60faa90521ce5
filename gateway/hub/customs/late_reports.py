"""Tells customs what an agency decided after clearance.

ReportRequirements, with the code that the data give for it, names each decision of the notice that is in
force. For an application that its agency cancelled it names each item, without a decision. Of a child
declaration it names the items that the child has.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import find_late_code
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub.completion import case_closing
from gateway.hub.customs.late_decisions import list_late_subjects, queue_children, record_inherited_decision
from gateway.hub.forward import ComposedCall, compose_late_report, enqueue_late_report
from gateway.hub.hub import Hub
from gateway.hub.outbox import CUSTOMS, FinishLease
from gateway.store import agency_requests, cases, decisions, notices, read_transaction, write_transaction

__all__ = ["look_for_late_decision", "tell_late_decision"]


def look_for_late_decision(hub: Hub, notice_id: int, case_id: int, finish: FinishLease) -> None:
    """Record that a notice on a parent is late for a child (row id) that customs has cleared, if it is.

    The children of the child look after it.
    """
    with write_transaction(hub.engine, "customs.inherited") as conn:
        locked = cases.lock_case(conn, case_id)
        now = hub.clock()
        notice, request = _find_notice(conn, notice_id)
        record_inherited_decision(conn, case_id, request, notice, now)
        queue_children(conn, case_id, notice_id, now)
        finish(conn)
        case_closing.close_case_when_done(conn, locked, now)


def tell_late_decision(hub: Hub, notice_id: int, case_id: int | None, finish: FinishLease) -> None:
    """Queue what customs is told about a case (row id) of a notice that came after its clearance."""
    now = hub.clock()
    with read_transaction(hub.engine) as conn:
        notice, request = _find_notice(conn, notice_id)
        case = cases.find_by_id(conn, case_id or request.case_id)
        if case is None:
            raise GatewayError(OUR_MISTAKE, f"the case of notice {notice_id} is gone")
        told = _list_told(conn, case.id, request, notice)
    call = _compose_report(hub, case, told)
    with write_transaction(hub.engine, "customs.late") as conn:
        locked = cases.lock_case(conn, case.id)
        if call is not None:
            enqueue_late_report(conn, call, case.id, _name_report(case.id, request, notice_id), now)
        finish(conn)
        case_closing.close_case_when_done(conn, locked, now)


def _name_report(case: int, request: Row[Any], notice: int) -> str:
    return f"customs:late:{notice}" if case == request.case_id else f"customs:late:{notice}:{case}"


def _find_notice(conn: Connection, notice_id: int) -> tuple[Row[Any], Row[Any]]:
    notice = notices.find_by_id(conn, notice_id)
    request = agency_requests.find_by_id(conn, notice.request_id) if notice else None
    if notice is None or request is None:
        raise GatewayError(OUR_MISTAKE, f"notice {notice_id} is gone")
    return notice, request


def _list_told(conn: Connection, case: int, request: Row[Any], notice: Row[Any]) -> list[dict[str, Any]]:
    """Return what a notice says of the items of a case: its decisions in force, or what it cancels.

    What another notice has overtaken is not told, nor what was decided before the application was
    cancelled: customs counts what it hears last.
    """
    about = list_late_subjects(conn, case, request, notice)
    if not decisions.list_by_notice(conn, request.id, notice.number):
        pairs = ((int(item), str(law)) for item, law in request.required)
        return [{"item": item, "law": law} for item, law in pairs if (item, law) in about]
    if request.state == "CANCELLED":
        return []
    return [
        _describe_decision(row)
        for row in decisions.list_by_request(conn, request.id)
        if row.notice_no == notice.number and row.superseded_by is None and (row.item, row.law) in about
    ]


def _describe_decision(row: Row[Any]) -> dict[str, Any]:
    names = ("item", "law", "number", "date", "quantity", "unit", "decision")
    return {name: getattr(row, name) for name in names if getattr(row, name) is not None}


def _compose_report(hub: Hub, case: Row[Any], told: list[dict[str, Any]]) -> ComposedCall | None:
    if not told or not hub.composer.has_destination(CUSTOMS):
        return None
    return compose_late_report(hub, (case.number, find_late_code(hub.rules.customs_codes)), told)

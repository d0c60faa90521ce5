"""Tells customs what an agency decided after clearance.

ReportRequirements, with the code that the data give for it, names each decision of the notice that is in
force. For an application that its agency cancelled it names each item, without a decision. Of a child
declaration it names the items that the child has. Of a result without an application it names what counts
now for each item that uses the number.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import APPROVING, Decision, find_late_code, read_subjects
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub.completion import case_closing, is_cancellation_open
from gateway.hub.customs.late_decisions import list_late_subjects, queue_children, record_inherited_decision
from gateway.hub.customs.late_results import list_told_results, record_late_result
from gateway.hub.forward import ComposedCall, compose_late_report, enqueue_late_report
from gateway.hub.hub import Hub
from gateway.hub.outbox import CUSTOMS, FinishLease
from gateway.store import agency_requests, cases, decisions, notices, read_transaction, write_transaction

__all__ = [
    "look_for_late_decision",
    "look_for_late_result",
    "tell_late_decision",
    "tell_late_result",
]


def look_for_late_decision(hub: Hub, notice_id: int, case_id: int, finish: FinishLease) -> None:
    """Record that a notice on a parent is late for a child (row id) that customs has cleared, if it is.

    The children of the child look after it.
    """

    def record(conn: Connection, now: datetime) -> None:
        notice, request = _find_notice(conn, notice_id)
        record_inherited_decision(conn, case_id, request, notice, now)
        queue_children(conn, case_id, ("notice", notice_id), now)

    _look(hub, case_id, record, finish)


def look_for_late_result(hub: Hub, said: int, case_id: int, finish: FinishLease) -> None:
    """Record that a result without an application (row id) is late for a child that is cleared, if it is.

    The children of the child look after it.
    """
    _look(hub, case_id, lambda conn, now: record_late_result(conn, case_id, said, now), finish)


def _look(
    hub: Hub, case_id: int, record: Callable[[Connection, datetime], None], finish: FinishLease
) -> None:
    with write_transaction(hub.engine, "customs.inherited") as conn:
        locked = cases.lock_case(conn, case_id)
        now = hub.clock()
        record(conn, now)
        finish(conn)
        case_closing.close_case_when_done(conn, locked, now)


def tell_late_decision(hub: Hub, notice_id: int, case_id: int | None, finish: FinishLease) -> None:
    """Queue what customs is told about a case (row id) of a notice that came after its clearance."""
    with read_transaction(hub.engine) as conn:
        notice, request = _find_notice(conn, notice_id)
        case = _find_case(conn, case_id or request.case_id)
        told = _list_told(conn, case.id, request, notice)
    _queue_report(hub, case, (_name_report(case.id, request, notice_id), told), finish)


def tell_late_result(hub: Hub, said: int, case_id: int, finish: FinishLease) -> None:
    """Queue what customs is told about a case (row id) of a result without an application (row id)."""
    with read_transaction(hub.engine) as conn:
        case = _find_case(conn, case_id)
        results = list_told_results(conn, case_id, said, hub.rules.bundle.units)
    told = [_describe_decision(one) for one in results]
    _queue_report(hub, case, (f"customs:late:result:{said}:{case_id}", told), finish)


def _find_case(conn: Connection, case_id: int) -> Row[Any]:
    case = cases.find_by_id(conn, case_id)
    if case is None:
        raise GatewayError(OUR_MISTAKE, f"case {case_id} of a late decision is gone")
    return case


def _queue_report(
    hub: Hub, case: Row[Any], report: tuple[str, list[dict[str, Any]]], finish: FinishLease
) -> None:
    """Queue a report (its key, and what is told), unless it says nothing."""
    key, told = report
    now = hub.clock()
    call = _compose_report(hub, case, told)
    with write_transaction(hub.engine, "customs.late") as conn:
        locked = cases.lock_case(conn, case.id)
        if call is not None:
            enqueue_late_report(conn, call, case.id, key, now)
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
    cancelled: customs counts what it hears last. Nor is an approval of a withdrawn declaration that its
    agency is asked to cancel: it does not count, and customs knows the withdrawal.
    """
    about = list_late_subjects(conn, case, request, notice)
    if not decisions.list_by_notice(conn, request.id, notice.number):
        pairs = read_subjects(request.required)
        return [{"item": item, "law": law} for item, law in pairs if (item, law) in about]
    if request.state == "CANCELLED":
        return []
    asked = is_cancellation_open(request) and _find_case(conn, request.case_id).state == "WITHDRAWN"
    return [
        _describe_decision(row)
        for row in decisions.list_by_request(conn, request.id)
        if row.notice_no == notice.number and row.superseded_by is None and (row.item, row.law) in about
        if not (asked and row.decision in APPROVING)
    ]


def _describe_decision(said: Row[Any] | Decision) -> dict[str, Any]:
    names = ("item", "law", "number", "date", "quantity", "unit", "decision")
    return {name: value for name in names if (value := getattr(said, name)) is not None}


def _compose_report(hub: Hub, case: Row[Any], told: list[dict[str, Any]]) -> ComposedCall | None:
    if not told or not hub.composer.has_destination(CUSTOMS):
        return None
    return compose_late_report(hub, (case.number, find_late_code(hub.rules.customs_codes)), told)

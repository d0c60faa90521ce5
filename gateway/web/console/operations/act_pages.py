"""Acts: what is about to be done, with its reason; acts that wait for a second person; what was decided."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from flask import Blueprint, abort, redirect, render_template, request
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.errors import GatewayError
from gateway.operations import (
    MOST_DELIVERIES,
    ActOrder,
    Operator,
    OperatorDesk,
    describe_delivery,
    describe_order,
    describe_party,
    read_draft_look,
)
from gateway.store import (
    console_switches,
    fees,
    lane_holds,
    lanes,
    operator_acts,
    read_row_number,
    read_transaction,
)
from gateway.web.console.act_reasons import get_operator, read_reason
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.operations.act_forms import require_act_right
from gateway.web.console.page_guards import get_visitor, require_right
from gateway.web.console.page_notices import leave_notice
from gateway.web.console.page_translations import translate

__all__ = ["add_act_pages"]

_ENDED: Final = ("DONE", "REJECTED", "WITHDRAWN")


def add_act_pages(pages: Blueprint, services: ConsoleServices, desk: OperatorDesk) -> None:
    """Add the pages."""

    @pages.get("/act")
    @require_right(Right.OBSERVE)
    def show_order() -> str:
        order = _read_order(request.args)
        require_act_right(order.act)
        return _render_order(services, order)

    @pages.post("/act")
    @require_right(Right.OBSERVE)
    def submit_order() -> Response | tuple[str, int]:
        order = _read_order(request.form)
        require_act_right(order.act)
        return _answer_order(services, desk, order)

    @pages.get("/acts")
    @require_right(Right.OBSERVE)
    def list_acts() -> str:
        with read_transaction(services.engine) as conn:
            waiting = operator_acts.list_acts(conn, "PENDING")
            ended = [row for state in _ENDED for row in operator_acts.list_acts(conn, state, limit=20)]
        ended.sort(key=lambda row: int(row.id), reverse=True)
        return render_template("operations/acts.html", waiting=waiting, ended=ended[:20])

    @pages.get("/acts/<int:number>")
    @require_right(Right.OBSERVE)
    def show_act(number: int) -> str:
        return _render_act(services, number)

    @pages.post("/acts/<int:number>/<decision>")
    @require_right(Right.OBSERVE)
    def decide_act(number: int, decision: str) -> Response | tuple[str, int]:
        return _answer_decision(services, desk, number, decision)


def _read_order(given: Any) -> ActOrder:
    """Return the act that a URL or a form names."""
    numbers = [one for one in map(read_row_number, given.getlist("delivery")) if one is not None]
    parameters: dict[str, Any] = {}
    if numbers:
        parameters["deliveries"] = numbers[: MOST_DELIVERIES + 1]
    for name, many in (("lane", "lanes"), ("agreement", "agreements")):
        found = [one[:200] for one in given.getlist(name) if one]
        if found:
            parameters[many] = found[:MOST_DELIVERIES]
    for name in ("party", "agency", "fee"):
        if given.get(name):
            parameters[name] = given[name][:200]
    return ActOrder(given.get("act", ""), parameters)


def _render_order(services: ConsoleServices, order: ActOrder, problem: str = "", reason: str = "") -> str:
    with read_transaction(services.engine) as conn:
        concerned = _describe_concerned(conn, order)
    return render_template(
        "operations/act.html",
        order=order,
        what=describe_order(order),
        concerned=concerned,
        problem=problem,
        reason=reason,
        back=_find_return_path(order),
    )


def _describe_concerned(conn: Connection, order: ActOrder) -> list[dict[str, Any]]:
    """Return how those things are now that an act would change."""
    found: list[dict[str, Any]] = []
    for number in order.deliveries[:MOST_DELIVERIES]:
        row = describe_delivery(conn, number)
        if row is not None:
            found.append({"delivery": number, "lane": row["lane"], "state": row["state"]})
    held = lanes.find_lanes(conn, order.lanes) if order.lanes else {}
    for name in order.lanes:
        backlog = lane_holds.read_lane_backlog(conn, name)
        is_held = name in held and held[name].held_at is not None
        found.append({"lane": name, "state": "HELD" if is_held else "", "waiting": backlog.waiting})
    party = describe_party(conn, order.parameters["party"]) if order.parameters.get("party") else None
    if party is not None:
        found.append({"party": party["name"], "state": party["status"]})
    if order.parameters.get("fee"):
        rows = fees.list_fees(conn, limit=1, number=order.parameters["fee"])
        found += [{"fee": row.number, "state": row.state, "case": row.case_number} for row in rows]
    if order.parameters.get("agency"):
        switch = console_switches.find_switch(conn, order.parameters["agency"])
        waiting = lane_holds.read_lane_backlog(conn, order.parameters["agency"]).waiting
        state = "CONSOLE" if switch is not None else ""
        found.append({"agency": order.parameters["agency"], "state": state, "waiting": waiting})
    return found


def _answer_order(
    services: ConsoleServices, desk: OperatorDesk, order: ActOrder
) -> Response | tuple[str, int]:
    """Do the act, or store it for a second person."""
    reason = read_reason()
    if reason is None:
        problem = translate("Give a reason of 1 to 500 characters on one line.")
        given = request.form.get("reason", "")
        return _render_order(services, order, problem, given), HTTPStatus.UNPROCESSABLE_ENTITY
    try:
        number, sentence = desk.submit_order(order, get_operator(), reason)
    except GatewayError as refused:
        return _render_order(services, order, str(refused), reason), HTTPStatus.CONFLICT
    if number is not None:
        leave_notice(services, translate("The act waits for a second person."))
        return redirect(f"/console/operations/acts/{number}")
    leave_notice(services, sentence)
    return redirect(_find_return_path(order))


def _find_return_path(order: ActOrder) -> str:
    """Return the page of what the act is about."""
    base = "/console/operations"
    if len(order.deliveries) == 1:
        return f"{base}/deliveries/{order.deliveries[0]}"
    if order.deliveries:
        return f"{base}/deliveries"
    if len(order.lanes) == 1:
        return f"{base}/deliveries?{urlencode({'lane': order.lanes[0]})}"
    if order.parameters.get("fee"):
        return f"{base}/cases"
    if order.parameters.get("agency"):
        return f"{base}/lanes/{order.parameters['agency']}"
    if order.parameters.get("party"):
        return f"{base}/parties/{order.parameters['party']}"
    return f"{base}/agreements" if order.parameters.get("agreements") else base


def _render_act(services: ConsoleServices, number: int, problem: str = "") -> str:
    visitor = get_visitor()
    with read_transaction(services.engine) as conn:
        row = operator_acts.find_act(conn, number)
        if row is None or (row.state == "DRAFT" and row.proposed_by != visitor.account):
            abort(HTTPStatus.NOT_FOUND)
        look = read_draft_look(conn, services.settings, row, services.clock())
    mine = row.proposed_by == visitor.account
    return render_template(
        "operations/act_look.html",
        row=row,
        look=look,
        mine=mine,
        may_approve=visitor.may(Right.APPROVE_OPERATIONS) and not mine,
        problem=problem,
    )


def _answer_decision(
    services: ConsoleServices, desk: OperatorDesk, number: int, decision: str
) -> Response | tuple[str, int]:
    """Confirm a draft, approve or reject an act of another person, or withdraw one's own."""
    reason, by = read_reason(), get_operator()
    if reason is None and decision != "withdraw":
        problem = translate("Give a reason of 1 to 500 characters on one line.")
        return _render_act(services, number, problem), HTTPStatus.UNPROCESSABLE_ENTITY
    try:
        sentence = _decide(services, desk, number, (decision, reason or ""), by)
    except GatewayError as refused:
        return _render_act(services, number, str(refused)), HTTPStatus.CONFLICT
    leave_notice(services, sentence)
    return redirect(f"/console/operations/acts/{number}")


def _decide(
    services: ConsoleServices, desk: OperatorDesk, number: int, said: tuple[str, str], by: Operator
) -> str:
    decision, reason = said
    if decision in ("approve", "reject"):
        if not get_visitor().may(Right.APPROVE_OPERATIONS):
            abort(HTTPStatus.FORBIDDEN, "Your role does not have the right to do this.")
        if decision == "approve":
            return desk.approve_act(number, by, reason)
        desk.end_act(number, by, "REJECTED", reason)
        return translate("The act is rejected.")
    if decision not in ("confirm", "withdraw"):
        abort(HTTPStatus.NOT_FOUND)
    with read_transaction(services.engine) as conn:
        row = operator_acts.find_act(conn, number)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    require_act_right(row.act)
    if decision == "withdraw":
        desk.end_act(number, by, "WITHDRAWN", reason)
        return translate("The act is withdrawn.")
    done, sentence = desk.confirm_draft(number, by, reason)
    return sentence if done else translate("The act waits for a second person.")

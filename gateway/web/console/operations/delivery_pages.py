"""Deliveries and lanes: lists, one delivery with its attempts, one lane with what waits in it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, abort, render_template
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.operations import (
    add_delivery_waiting,
    describe_delivery_waiting,
    list_lane_reports,
    list_possible_acts,
    load_destinations,
    name_destination,
    read_delivery_report,
)
from gateway.state_machines import DELIVERY
from gateway.store import (
    ListPage,
    cases,
    console_switches,
    deliveries,
    delivery_leases,
    list_searches,
    read_transaction,
    transitions,
)
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.csv_answers import answer_csv
from gateway.web.console.operations.list_requests import (
    build_next_url,
    describe_more,
    is_csv_wanted,
    read_list_request,
    read_text,
)
from gateway.web.console.page_guards import require_right

__all__ = ["add_delivery_pages"]

#: The states of a list; a delivery that is done is found by its case, its message, or its number.
_STATES: Final = tuple(state for state in DELIVERY.states if state not in DELIVERY.final)
_COLUMNS: Final = (
    *("id", "case_number", "lane", "partner", "state", "attempt", "waits_for", "problem"),
    *("last_sentence", "theirs", "created_at", "due_at"),
)


def add_delivery_pages(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the pages."""

    @pages.get("/deliveries")
    @require_right(Right.OBSERVE)
    def list_deliveries() -> str | Response:
        lane = read_text("lane")
        with read_transaction(services.engine) as conn:
            page = _read_page(conn, services, lane)
        if is_csv_wanted():
            return answer_csv("deliveries", _COLUMNS, ([row[one] for one in _COLUMNS] for row in page.rows))
        return render_template(
            "operations/deliveries.html",
            page=page,
            states=_STATES,
            lane=lane,
            more=describe_more(page),
            next_url=build_next_url(page),
        )

    @pages.get("/deliveries/<int:number>")
    @require_right(Right.OBSERVE)
    def show_delivery(number: int) -> str:
        with read_transaction(services.engine) as conn:
            report = _read_delivery(conn, services, number)
        return render_template(
            "operations/delivery.html", report=report, acts=list_possible_acts(report["state"])
        )

    @pages.get("/lanes/<name>")
    @require_right(Right.OBSERVE)
    def show_lane(name: str) -> str:
        with read_transaction(services.engine) as conn:
            known = list_lane_reports(conn, services.settings, services.clock())
            lane = next((one for one in known if one.name == name), None)
            if lane is None:
                abort(HTTPStatus.NOT_FOUND)
            page = _read_page(conn, services, name)
            switch = console_switches.find_switch(conn, name)
        agency = services.settings.agency.get(name)
        return render_template(
            "operations/lane.html",
            lane=lane,
            page=page,
            switch=switch,
            is_agency=agency is not None and not agency.console,
        )


def _read_page(conn: Connection, services: ConsoleServices, lane: str) -> ListPage:
    """Return the deliveries that the URL asks for, each with its partner and what it waits for."""
    equal = [("lane", lane)] if lane else []
    wanted = read_list_request(services.settings.hub.time_zone, _STATES, equal=equal)
    page = list_searches.search_deliveries(conn, wanted)
    known = load_destinations(conn, services.settings)
    said = delivery_leases.list_last_words(conn, [row["id"] for row in page.rows if row["problem"]])
    now = services.clock()
    for row in page.rows:
        row["partner"] = name_destination(known, row).name
        row["waits_for"] = describe_delivery_waiting(row, now)
        row["theirs"] = said.get(row["id"])
    return page


def _read_delivery(conn: Connection, services: ConsoleServices, number: int) -> dict[str, Any]:
    """Return a delivery as `gateway queue show` does, with its partner and the number of its case."""
    row = deliveries.find_by_id(conn, number)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    report = read_delivery_report(conn, row)
    add_delivery_waiting(conn, [report], services.clock())
    case = cases.find_by_id(conn, row.case_id) if row.case_id else None
    steps = transitions.list_transitions(conn, DELIVERY, row.id)
    partner = name_destination(load_destinations(conn, services.settings), report)
    return report | {"case": case, "transitions": steps, "partner": partner}

"""The pages of operators, put together from their sections."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, current_app, render_template
from flask.blueprints import BlueprintSetupState
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from gateway.accounts import Right
from gateway.cases import normalize_hub_number
from gateway.errors import PROBLEMS
from gateway.operations import (
    EndingReport,
    count_hourly_traffic,
    read_endings,
    read_overview,
    set_display_zone,
)
from gateway.store import (
    AuditFilter,
    ListFilter,
    TrafficCount,
    audit_log,
    exact_searches,
    lanes,
    list_searches,
    read_transaction,
    refusal_counts,
)
from gateway.web.console.act_reasons import get_operator_desk, translate_act
from gateway.web.console.charts import Chart, Series, draw_columns, draw_lines
from gateway.web.console.operations.act_pages import pages as act_pages
from gateway.web.console.operations.object_pages import answer_list, read_list_filter
from gateway.web.console.operations.object_pages import pages as object_pages
from gateway.web.console.operations.status_pages import pages as status_pages
from gateway.web.console.page_formats import read_search_text, translate
from gateway.web.console.page_guards import require_right, services
from gateway.wire import convert_to_zone

pages: Final = Blueprint("operations", __name__, url_prefix="/console/operations")
pages.register_blueprint(object_pages)
pages.register_blueprint(act_pages)
pages.register_blueprint(status_pages)

_COLUMNS: Final = ("id", "at", "actor", "account", "action", "object", "outcome", "reason", "remote")


@pages.get("/audit")
@require_right(Right.OBSERVE)
def list_audit() -> str | Response:
    """Show the entries of the audit log."""
    criteria = read_list_filter()
    with read_transaction(services.engine) as conn:
        page = audit_log.search_actions(conn, AuditFilter(), criteria)
    return answer_list("audit", page, _COLUMNS)


@pages.get("/audit/<int:number>")
@require_right(Right.OBSERVE)
def show_audit(number: int) -> str:
    """Show one row of the audit."""
    with read_transaction(services.engine) as conn:
        row = audit_log.find_action(conn, number)
    if row is None:
        abort(HTTPStatus.NOT_FOUND)
    before, after = (
        json.dumps(snapshot, indent=2, ensure_ascii=False) for snapshot in (row.before, row.after)
    )
    return render_template("operations/audit_row.html", row=row, before=before, after=after)


_KINDS = {
    **dict.fromkeys(("DELIVERED", "CLOSED", "PROCESSED", "ACTIVE_PARTY", "DONE", "APPROVED"), "good"),
    **dict.fromkeys(("FAILED", "REFUSED", "SUSPENDED", "STRANDED", "REJECTED"), "bad"),
    **dict.fromkeys(("HELD", "QUEUED", "AWAITING_RECEIPT", "PENDING", "PARTIAL"), "warn"),
}
_SIGNS = {"good": "✓", "bad": "✗", "warn": "!", "idle": "–"}


def describe_state(state: Any) -> tuple[str, str]:
    """Return the kind of a state, and the sign that is shown before its name."""
    kind = _KINDS.get(str(state), "idle")
    return kind, _SIGNS[kind]


@dataclass(frozen=True, slots=True)
class LaneLabel:
    """How a page shows the state of a lane: its CSS class, a sign, and a text."""

    css_class: str
    sign: str
    text: str


def label_lane_state(state: str) -> LaneLabel:
    """Return the label of the state of a lane."""
    return {
        "held": LaneLabel("warn", "!", translate("Held by an operator")),
        "failing": LaneLabel("bad", "✗", translate("Has failed deliveries")),
        "retrying": LaneLabel("warn", "!", translate("Its last attempt failed")),
        "waiting": LaneLabel("idle", "–", translate("Waiting")),
        "good": LaneLabel("good", "✓", translate("In order")),
    }[state]


#: A shorter text would be found in nearly every sentence.
_SHORTEST: Final = 3
_MOST_PARTIES: Final = 10
#: What the page of a search reads.
_NO_MATCHES: Final[Mapping[str, Any]] = {
    "cases": (),
    "messages": (),
    "deliveries": (),
    "problem": None,
    "parties": (),
    "lanes": (),
    "failed": (),
    "refusals": (),
}


@pages.get("/search")
@require_right(Right.OBSERVE)
def show_search() -> str:
    """Show the objects in which a text or a number is found."""
    text = read_search_text("q")
    matches = _NO_MATCHES
    if text:
        with read_transaction(services.engine) as conn:
            matches = _search(conn, text)
    return render_template(
        "operations/search.html",
        text=text,
        found=matches,
        nothing=not any(matches.values()),
        window=exact_searches.MAX_SEARCHED_FAILURES,
        shortest=_SHORTEST,
    )


def _search(conn: Connection, text: str) -> dict[str, Any]:
    """Return the objects with exactly this id or number, and small or recent tables' rows with this text."""
    number = normalize_hub_number(text)
    matches = {
        **_NO_MATCHES,
        "cases": exact_searches.find_cases(conn, text) or exact_searches.find_cases(conn, number),
        "messages": exact_searches.find_messages(conn, text),
        "deliveries": exact_searches.find_deliveries(conn, text),
        "problem": PROBLEMS.get(text.upper()),
    }
    if len(text) >= _SHORTEST:
        criteria = ListFilter(text=text, limit=_MOST_PARTIES)
        matches["parties"] = list_searches.search_parties(conn, criteria).rows
        matches["lanes"] = list(lanes.find_lanes(conn, (text, text.upper(), f"msh:{text}")))
        matches["failed"] = exact_searches.search_failed_deliveries(conn, text)
        matches["refusals"] = exact_searches.search_refusals(conn, text)
    return matches


@pages.get("/problems")
@require_right(Right.OBSERVE)
def list_problems() -> str:
    """List the problems of the catalogue."""
    text = read_search_text("text").casefold()
    with read_transaction(services.engine) as conn:
        refused = refusal_counts.count_by_problem(conn)
    matching = [
        problem
        for problem in PROBLEMS.values()
        if text
        in f"{problem.id} {problem.title} {problem.meaning} {problem.cause} {problem.remedy}".casefold()
    ]
    return render_template("operations/problems.html", problems=matching, refused=refused, text=text)


@pages.get("/problems/<problem>")
@require_right(Right.OBSERVE)
def show_problem(problem: str) -> str:
    """Show a problem, and where it has occurred."""
    definition = PROBLEMS.get(problem.upper())
    if definition is None:
        abort(HTTPStatus.NOT_FOUND)
    with read_transaction(services.engine) as conn:
        return render_template(
            "operations/problem.html",
            problem=definition,
            refusals=refusal_counts.list_refusals(conn, problem=definition.id),
            messages=exact_searches.list_problem_messages(conn, definition.id),
            deliveries=exact_searches.list_problem_deliveries(conn, definition.id),
        )


_HOUR: Final = timedelta(hours=1)
_HOURS: Final = 24
_ENDINGS: Final = timedelta(seconds=60)


class DashboardFigures:
    """The figures that one application keeps between views of the dashboard; safe for many threads.

    Threads that count at the same time do not wait for each other. Otherwise, if the database did not answer,
    each thread would wait for the sum of the waiting times of all threads before it.
    """

    def __init__(self) -> None:
        #: An hour that is over is counted once.
        self._counts_by_hour: dict[datetime, TrafficCount] = {}
        self._endings: tuple[datetime, EndingReport] | None = None

    def read_endings(self) -> EndingReport:
        """Return the certificates, agreements and the like that end soon, as found within the last minute."""
        now, report = services.clock(), self._endings
        if report is None or not now - _ENDINGS < report[0] <= now:
            report = self._endings = (now, read_endings(services.hub, services.settings))
        return report[1]

    def read_hours(self) -> list[tuple[datetime, TrafficCount]]:
        """Return the hours that are over and the present one, each with its start, the oldest first."""
        present = services.clock().replace(minute=0, second=0, microsecond=0)
        starts = [present - _HOUR * back for back in range(_HOURS - 1, -1, -1)]
        counted = self._counts_by_hour
        # The hour before this one may still get rows from transactions that began in it.
        missing = [start for start in starts if start not in counted or start >= present - _HOUR]
        with read_transaction(services.engine) as conn:
            counts = dict(
                zip(missing, count_hourly_traffic(conn, [start + _HOUR for start in missing]), strict=True)
            )
        self._counts_by_hour = {start: counts.get(start) or counted[start] for start in starts}
        return list(self._counts_by_hour.items())


@pages.record
def _keep_figures(state: BlueprintSetupState) -> None:
    state.app.extensions["dashboard"] = DashboardFigures()


@pages.get("")
@require_right(Right.OBSERVE)
def show_dashboard() -> str:
    """Show the present state of the hub."""
    figures: DashboardFigures = current_app.extensions["dashboard"]
    overview = read_overview(services.hub, services.settings, services.readiness.find_verdict().problem)
    zone = ZoneInfo(services.settings.hub.time_zone)
    intake, traffic = _draw_history(figures.read_hours(), zone)
    return render_template(
        "operations/dashboard.html",
        overview=overview,
        endings=figures.read_endings(),
        charts=[(intake, draw_columns(intake)), (traffic, draw_lines(traffic))],
    )


def _draw_history(hours: Sequence[tuple[datetime, TrafficCount]], zone: ZoneInfo) -> tuple[Chart, Chart]:
    """Return two charts over `hours`, labelled in `zone`: cases opened, and messages and deliveries."""
    labels = [f"{convert_to_zone(start, zone):%H:%M}" for start, _ in hours]
    heading = translate("Hour beginning at")
    intake = Chart(
        "intake",
        translate("Cases opened in each hour"),
        heading,
        labels,
        [Series(translate("Cases"), [count.cases for _, count in hours])],
    )
    traffic = Chart(
        "deliveries",
        translate("Messages and deliveries in each hour"),
        heading,
        labels,
        [
            Series(translate("Messages received and sent"), [count.messages for _, count in hours]),
            Series(translate("Deliveries made"), [count.delivered for _, count in hours]),
        ],
    )
    return intake, traffic


@pages.before_request
def _choose_zone() -> None:
    """Let the sentences about operator acts state times in the time zone of the hub."""
    set_display_zone(services.settings.hub.time_zone)


@pages.context_processor
def _list_page_words() -> dict[str, Any]:
    """Return the functions and values that every template of these pages may use."""
    return {
        "describe_state": describe_state,
        "translate_act": translate_act,
        "label_lane_state": label_lane_state,
        "second_person": get_operator_desk().second_person_acts,
    }

"""The first page of operators: what is so now, and how it was in the last 24 hours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from flask import Blueprint, render_template

from gateway.accounts import Right
from gateway.operations import count_hours, read_endings, read_overview
from gateway.store import TrafficCount, read_transaction
from gateway.web.console.charts import Chart, Series, draw_columns, draw_lines
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.operations.timed_value import TimedValue
from gateway.web.console.page_guards import require_right
from gateway.web.console.page_translations import translate

__all__ = ["add_dashboard_page"]

_HOUR: Final = timedelta(hours=1)
_HOURS: Final = 24
_ENDINGS: Final = timedelta(seconds=60)


class TrafficHistory:
    """The traffic of the last hours. An hour that is over is counted once by each process."""

    def __init__(self, services: ConsoleServices) -> None:
        self._services = services
        self._counted: dict[datetime, TrafficCount] = {}

    def read_hours(self) -> list[tuple[datetime, TrafficCount]]:
        """Return the hours that are over and the present one, each with its start, the oldest first."""
        now = self._services.clock()
        present = now.replace(minute=0, second=0, microsecond=0)
        starts = [present - _HOUR * back for back in range(_HOURS - 1, -1, -1)]
        known = self._counted
        # The hour before this one may still get rows from transactions that began in it.
        missing = [one for one in starts if one not in known or one >= present - _HOUR]
        with read_transaction(self._services.engine) as conn:
            found = dict(zip(missing, count_hours(conn, [one + _HOUR for one in missing]), strict=True))
        self._counted = {one: found.get(one) or known[one] for one in starts}
        return list(self._counted.items())


def add_dashboard_page(pages: Blueprint, services: ConsoleServices) -> None:
    """Add the page."""
    history = TrafficHistory(services)
    zone = ZoneInfo(services.settings.hub.time_zone)
    endings = TimedValue(lambda: read_endings(services.hub, services.settings), _ENDINGS, services.clock)

    @pages.get("")
    @require_right(Right.OBSERVE)
    def show_dashboard() -> str:
        overview = read_overview(services.hub, services.settings)
        intake, made = _draw_history(history.read_hours(), zone)
        return render_template(
            "operations/dashboard.html",
            overview=overview,
            endings=endings.get(),
            charts=[(intake, draw_columns(intake)), (made, draw_lines(made))],
        )


def _draw_history(hours: Sequence[tuple[datetime, TrafficCount]], zone: ZoneInfo) -> tuple[Chart, Chart]:
    labels = [f"{start.astimezone(zone):%H:%M}" for start, _ in hours]
    heading = translate("Hour beginning at")
    intake = Chart(
        "intake",
        translate("Cases opened in each hour"),
        heading,
        labels,
        [Series(translate("Cases"), [one.cases for _, one in hours])],
    )
    made = Chart(
        "deliveries",
        translate("Messages and deliveries in each hour"),
        heading,
        labels,
        [
            Series(translate("Messages received and sent"), [one.messages for _, one in hours]),
            Series(translate("Deliveries made"), [one.delivered for _, one in hours]),
        ],
    )
    return intake, made

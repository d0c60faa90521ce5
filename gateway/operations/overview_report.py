"""What is so now, for the first page of operators: lanes, traffic, what is stuck, refused, or ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import Hub, list_own_periods, readiness_checks
from gateway.monitor import health, list_expiry_warnings
from gateway.operations.console_switching import list_console_switches
from gateway.operations.contract_findings import find_contract_warnings
from gateway.operations.delivery_destinations import load_destinations
from gateway.operations.partner_findings import (
    find_failed_deliveries,
    find_missing_addresses,
    find_stuck_deliveries,
)
from gateway.operations.trust_findings import (
    collect_trust_remarks,
    find_source_problems,
    find_stamping_problem,
)
from gateway.operations.waiting_columns import list_lane_holds
from gateway.store import (
    ListFilter,
    deliveries,
    get_disk_reserve,
    lanes,
    operator_acts,
    read_transaction,
    refusal_counts,
    register_searches,
    time_stamps,
    traffic_counts,
)

__all__ = [
    "EndingReport",
    "LaneReport",
    "Overview",
    "count_hours",
    "list_lane_reports",
    "read_endings",
    "read_overview",
]

_LOCAL: Final = "local"
_MOST_REFUSALS: Final = 20


@dataclass(frozen=True, slots=True)
class LaneReport:
    """A lane: the partner it goes to, what it contains, and why it stands still."""

    name: str
    partner: str
    queued: int
    active: int
    awaiting: int
    held: int
    failed: int
    #: When the delivery was queued that has waited for the longest time.
    oldest: datetime | None
    last_good: datetime | None
    #: ``held``, ``open`` (its circuit), ``failing``, ``waiting``, or ``good``.
    state: str
    problem: str | None
    hold: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures and findings of one moment."""

    at: datetime
    unready: GatewayError | None
    problems: tuple[GatewayError, ...]
    warnings: tuple[str, ...]
    lanes: tuple[LaneReport, ...]
    refusals: Sequence[Row[Any]]
    suspended: Sequence[dict[str, Any]]
    pending_acts: int


@dataclass(frozen=True, slots=True)
class EndingReport:
    """What ends or has ended: certificates, lists, keys, disk space, and time stamps."""

    at: datetime
    problems: tuple[GatewayError, ...]
    warnings: tuple[str, ...]
    free_octets: int | None
    reserve_octets: int
    last_stamp: datetime | None
    unstamped_since: datetime | None


def read_overview(hub: Hub, settings: Settings) -> Overview:
    """Return what is so now, by the functions of `gateway check`, `queue lanes` and `message refusals`."""
    now = hub.clock()
    unready = readiness_checks.find_unreadiness(hub) or health.find_readiness_problem(hub.engine)
    hub.refresh_snapshot()
    with read_transaction(hub.engine) as conn:
        return Overview(
            now,
            unready,
            tuple(find_failed_deliveries(conn)),
            (
                *list_lane_holds(conn),
                *list_console_switches(conn),
                *find_stuck_deliveries(conn, now),
                *find_missing_addresses(settings, hub.rules.bundle),
                *find_contract_warnings(conn, settings, now),
            ),
            list_lane_reports(conn, settings, now),
            refusal_counts.list_refusals(conn)[:_MOST_REFUSALS],
            register_searches.search_parties(conn, ListFilter(states=("SUSPENDED",))).rows,
            operator_acts.count_pending(conn),
        )


def list_lane_reports(conn: Connection, settings: Settings, now: datetime) -> tuple[LaneReport, ...]:
    """Return every lane, those that stand still first."""
    rows = lanes.summarize_lanes(conn)
    last = traffic_counts.list_last_delivered(conn)
    failed = {row.lane: row.problem for row in deliveries.summarize_failed(conn)}
    partners = load_destinations(conn, settings)
    oldest = {row.oldest: deliveries.find_by_id(conn, row.oldest) for row in rows if row.oldest}
    found = []
    for row in rows:
        code = row.name.partition(":")[2] or row.name
        known = partners.get(code)
        waiting = oldest.get(row.oldest)
        found.append(
            LaneReport(
                row.name,
                known.name if known else code,
                *(row.queued, row.active, row.awaiting_receipt, row.held, row.failed),
                oldest=waiting.created_at if waiting is not None else None,
                last_good=last.get(row.name),
                state=_judge_lane(row, now),
                problem=row.last_problem or failed.get(row.name),
                hold=row if row.held_at is not None else None,
            )
        )
    return tuple(sorted(found, key=lambda one: (_ORDER.index(one.state), one.name == _LOCAL, one.name)))


_ORDER: Final = ("held", "open", "failing", "waiting", "good")


def _judge_lane(row: Row[Any], now: datetime) -> str:
    if row.held_at is not None:
        return "held"
    if row.open_until is not None and row.open_until > now:
        return "open"
    if row.failed:
        return "failing"
    return "waiting" if row.queued or row.held else "good"


def read_endings(hub: Hub, settings: Settings) -> EndingReport:
    """Return what ends or has ended, by the functions of `gateway check`; it may take a second."""
    now = hub.clock()
    hub.refresh_snapshot()
    certificates = list_expiry_warnings(hub.engine, now, list_own_periods(hub))
    stale, _ = find_stamping_problem(hub)
    problems = (*find_source_problems(settings, hub), *([stale] if stale is not None else []))
    room = get_disk_reserve(hub.engine)
    with read_transaction(hub.engine) as conn:
        stamping = time_stamps.compute_stamping_progress(conn)
    return EndingReport(
        now,
        problems,
        (
            *(one.words for one in certificates),
            *hub.recognizer.list_due_updates(now),
            *collect_trust_remarks(settings, hub),
        ),
        room.measure_free_octets(),
        room.reserve,
        stamping.last_stamp,
        stamping.waiting_since,
    )


def count_hours(conn: Connection, ends: Sequence[datetime]) -> list[traffic_counts.TrafficCount]:
    """Return the traffic of each hour that ends at one of these times."""
    hour = timedelta(hours=1)
    return [traffic_counts.count_traffic(conn, end - hour, end) for end in ends]

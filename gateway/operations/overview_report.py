"""The present state for the first page of operators: lanes, traffic, stuck deliveries, refusals, and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import Hub, list_own_periods
from gateway.monitor import list_expiry_warnings
from gateway.operations.delivery_report import load_destinations
from gateway.operations.operator_acts import list_console_switches
from gateway.operations.partner_findings import (
    collect_trust_remarks,
    find_contract_warnings,
    find_failed_deliveries,
    find_mailbox_filings,
    find_missing_addresses,
    find_resting_filings,
    find_source_problems,
    find_stamping_problem,
    find_stuck_deliveries,
)
from gateway.operations.waiting_reasons import get_partner_party, list_lane_holds, list_recent_refusals
from gateway.store import (
    LaneSummaryRow,
    ListFilter,
    RefusalRow,
    deliveries,
    get_database_state,
    lanes,
    list_searches,
    operator_acts,
    read_transaction,
    refusal_counts,
    state_counts,
    time_stamps,
)

_LOCAL: Final = "local"
_MOST_REFUSALS: Final = 20


@dataclass(frozen=True, slots=True)
class LaneReport:
    """A lane: its partner, how many deliveries are in each state, and the state of the lane itself."""

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
    #: ``held``, ``failing``, ``refused`` (its messages), ``waiting``, or ``good``.
    state: str
    problem: str | None
    hold: LaneSummaryRow | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Overview:
    """The figures and findings of one moment."""

    at: datetime
    unready: GatewayError | None
    problems: tuple[GatewayError, ...]
    warnings: tuple[str, ...]
    lanes: tuple[LaneReport, ...]
    refusals: Sequence[RefusalRow]
    suspended: Sequence[dict[str, Any]]
    pending_acts: int


@dataclass(frozen=True, slots=True)
class EndingReport:
    """Resources that end or have ended: certificates, lists, keys, disk space, and time stamps."""

    at: datetime
    problems: tuple[GatewayError, ...]
    warnings: tuple[str, ...]
    free_octets: int | None
    reserve_octets: int
    last_stamp: datetime | None
    unstamped_since: datetime | None


def read_overview(hub: Hub, settings: Settings, unready: GatewayError | None) -> Overview:
    """Return the present state, by the functions of `gateway check`, `queue lanes` and `message refusals`.

    `unready` is why the hub accepts no new messages.
    """
    now = hub.clock()
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
                *find_mailbox_filings(conn, settings, now),
                *find_resting_filings(conn, now),
            ),
            list_lane_reports(conn, settings, now),
            refusal_counts.list_refusals(conn)[:_MOST_REFUSALS],
            list_searches.search_parties(conn, ListFilter(states=("SUSPENDED",))).rows,
            operator_acts.count_pending(conn),
        )


def list_lane_reports(conn: Connection, settings: Settings, now: datetime) -> tuple[LaneReport, ...]:
    """Return every lane: held ones first, then failing, refused, waiting and good ones."""
    rows = lanes.summarize_lanes(conn)
    last = state_counts.list_last_delivered(conn)
    failed = {row.lane: row.problem for row in deliveries.summarize_failed(conn)}
    partners = load_destinations(conn, settings)
    refused = list_recent_refusals(conn, now)
    oldest = {row.oldest: deliveries.find_by_id(conn, row.oldest) for row in rows if row.oldest}
    reports = []
    for row in rows:
        code = row.name.partition(":")[2] or row.name
        partner = partners.get(code)
        waiting = oldest.get(row.oldest) if row.oldest else None
        refusal = refused.get(get_partner_party(settings, code))
        state = _judge_lane(row)
        if refusal is not None and state in ("waiting", "good"):
            state = "refused"
        reports.append(
            LaneReport(
                row.name,
                partner.name if partner else code,
                *(row.queued, row.active, row.awaiting_receipt, row.held, row.failed),
                oldest=waiting.created_at if waiting is not None else None,
                last_good=last.get(row.name),
                state=state,
                problem=failed.get(row.name) or (None if refusal is None else refusal.problem),
                hold=row if row.held_at is not None else None,
            )
        )
    return tuple(sorted(reports, key=lambda one: (_ORDER.index(one.state), one.name == _LOCAL, one.name)))


_ORDER: Final = ("held", "failing", "refused", "waiting", "good")


def _judge_lane(row: LaneSummaryRow) -> str:
    if row.held_at is not None:
        return "held"
    if row.failed:
        return "failing"
    return "waiting" if row.queued or row.held else "good"


def read_endings(hub: Hub, settings: Settings) -> EndingReport:
    """Return the report of endings, by the functions of `gateway check`; this may take a second."""
    now = hub.clock()
    hub.refresh_snapshot()
    certificates = list_expiry_warnings(hub.engine, now, list_own_periods(hub))
    stale, _ = find_stamping_problem(hub)
    problems = (*find_source_problems(settings, hub), *([stale] if stale is not None else []))
    reserve = get_database_state(hub.engine).reserve
    with read_transaction(hub.engine) as conn:
        stamping = time_stamps.compute_stamping_progress(conn)
    return EndingReport(
        now,
        problems,
        (
            *(warning.text for warning in certificates),
            *hub.recognizer.list_due_updates(now),
            *collect_trust_remarks(settings, hub),
        ),
        reserve.measure_free_octets(),
        reserve.octets,
        stamping.last_stamp,
        stamping.waiting_since,
    )


def count_hours(conn: Connection, ends: Sequence[datetime]) -> list[state_counts.TrafficCount]:
    """Return the traffic of each hour that ends at one of these times."""
    hour = timedelta(hours=1)
    return [state_counts.count_traffic(conn, end - hour, end) for end in ends]

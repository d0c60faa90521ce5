"""The present state for the first page of operators: lanes, traffic, stuck deliveries, refusals, and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import Hub, list_own_periods
from gateway.monitor import list_expiry_warnings
from gateway.operations.check_findings import Finding, Findings
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
from gateway.operations.unread_records import find_unread_agreements, find_unread_certificates
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

_LOCAL_LANE: Final = "local"
_MAX_REFUSALS: Final = 20


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
    """Resources that end or have ended: certificates, lists, keys, disk space, and time stamps.

    Stored agreements and certificates that this version does not read are problems, too.
    """

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
    now, findings = hub.clock(), Findings()
    hub.refresh_snapshot()
    checks: dict[str, Callable[[Connection], Iterable[Finding]]] = {
        "deliveries that have failed": find_failed_deliveries,
        "held lanes": list_lane_holds,
        "agencies without a system": list_console_switches,
        "deliveries that wait": lambda conn: find_stuck_deliveries(conn, now),
        "addresses of agencies": lambda _: find_missing_addresses(settings, hub.rules.bundle),
        "mappings and contracts": lambda conn: find_contract_warnings(conn, settings, now),
        "filings to a mailbox": lambda conn: find_mailbox_filings(conn, settings, now),
        "messages that rest": lambda conn: find_resting_filings(conn, now),
    }
    for name, find in checks.items():
        with findings.check(name), read_transaction(hub.engine) as conn:
            findings.add_all(find(conn))
    with read_transaction(hub.engine) as conn:
        return Overview(
            now,
            unready,
            tuple(findings.problems),
            tuple(findings.warnings),
            list_lane_reports(conn, settings, now),
            refusal_counts.list_refusals(conn)[:_MAX_REFUSALS],
            list_searches.search_parties(conn, ListFilter(states=("SUSPENDED",))).rows,
            operator_acts.count_pending(conn),
        )


def list_lane_reports(conn: Connection, settings: Settings, now: datetime) -> tuple[LaneReport, ...]:
    """Return every lane: held ones first, then failing, refused, waiting and good ones."""
    lane_rows = lanes.summarize_lanes(conn)
    last_delivered = state_counts.list_last_delivered(conn)
    problem_by_lane = {row.lane: row.problem for row in deliveries.summarize_failed(conn)}
    partners = load_destinations(conn, settings)
    refusal_by_party = list_recent_refusals(conn, now)
    oldest_deliveries = {
        row.oldest: deliveries.find_by_id(conn, row.oldest) for row in lane_rows if row.oldest
    }
    reports = []
    for row in lane_rows:
        destination_code = row.name.partition(":")[2] or row.name
        partner = partners.get(destination_code)
        oldest_delivery = oldest_deliveries.get(row.oldest) if row.oldest else None
        refusal = refusal_by_party.get(get_partner_party(settings, destination_code))
        lane_state = _classify_lane(row)
        if refusal is not None and lane_state in ("waiting", "good"):
            lane_state = "refused"
        reports.append(
            LaneReport(
                row.name,
                partner.name if partner else destination_code,
                *(row.queued, row.active, row.awaiting_receipt, row.held, row.failed),
                oldest=oldest_delivery.created_at if oldest_delivery is not None else None,
                last_good=last_delivered.get(row.name),
                state=lane_state,
                problem=problem_by_lane.get(row.name) or (None if refusal is None else refusal.problem),
                hold=row if row.held_at is not None else None,
            )
        )
    return tuple(
        sorted(
            reports,
            key=lambda report: (_STATE_ORDER.index(report.state), report.name == _LOCAL_LANE, report.name),
        )
    )


_STATE_ORDER: Final = ("held", "failing", "refused", "waiting", "good")


def _classify_lane(lane_row: LaneSummaryRow) -> str:
    if lane_row.held_at is not None:
        return "held"
    if lane_row.failed:
        return "failing"
    return "waiting" if lane_row.queued or lane_row.held else "good"


def read_endings(hub: Hub, settings: Settings) -> EndingReport:
    """Return the report of endings, by the functions of `gateway check`; this may take a second."""
    now, findings = hub.clock(), Findings()
    register = hub.refresh_snapshot()
    with findings.check("stored agreements"):
        findings.add_all(find_unread_agreements(register, settings.hub.party))
    with findings.check("registered certificates"):
        findings.add_all(find_unread_certificates(register))
    with findings.check("sources"):
        findings.add_all(find_source_problems(settings, hub))
    with findings.check("time stamps"):
        stamping_problem, _ = find_stamping_problem(hub)
        findings.add_all([stamping_problem] if stamping_problem is not None else [])
    with findings.check("certificates that expire"):
        expiries = list_expiry_warnings(hub.engine, now, list_own_periods(hub))
        findings.add_all(warning.text for warning in expiries)
    with findings.check("trusted and fetched data"):
        findings.add_all(hub.recognizer.list_due_updates(now))
        findings.add_all(collect_trust_remarks(settings, hub))
    disk_reserve = get_database_state(hub.engine).reserve
    with read_transaction(hub.engine) as conn:
        stamping_progress = time_stamps.compute_stamping_progress(conn)
    return EndingReport(
        now,
        tuple(findings.problems),
        tuple(findings.warnings),
        disk_reserve.measure_free_octets(),
        disk_reserve.reserved_octets,
        stamping_progress.last_stamp,
        stamping_progress.waiting_since,
    )


def count_hourly_traffic(conn: Connection, ends: Sequence[datetime]) -> list[state_counts.TrafficCount]:
    """Return the traffic of each hour that ends at one of these times."""
    hour = timedelta(hours=1)
    return [state_counts.count_traffic(conn, end - hour, end) for end in ends]

"""The present state for the first page of operators: lanes, traffic, stuck deliveries, refusals, and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import Hub, list_own_periods
from gateway.monitor import list_expiry_warnings
from gateway.operations.check_findings import Finding, Findings
from gateway.operations.lane_reports import LaneReport, list_lane_reports
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
from gateway.operations.waiting_reasons import list_lane_holds
from gateway.store import (
    ListFilter,
    RefusalRow,
    get_database_state,
    list_searches,
    operator_acts,
    read_transaction,
    refusal_counts,
    state_counts,
    time_stamps,
)

_MAX_REFUSALS: Final = 20


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
            list_lane_reports(conn, settings),
            refusal_counts.list_refusals(conn)[:_MAX_REFUSALS],
            list_searches.search_parties(conn, ListFilter(states=("SUSPENDED",))).rows,
            operator_acts.count_pending(conn),
        )


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

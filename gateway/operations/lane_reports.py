"""The state of each lane, which follows from the attempts at its own deliveries and nothing else.

What a partner sends to the hub, and the hub refuses, says nothing about the way to the partner: it is counted
with the refused messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.operations.delivery_report import CUSTOMS, load_destinations
from gateway.store import (
    LaneRow,
    LaneSummaryRow,
    deliveries,
    lane_faults,
    lanes,
    parties,
    state_counts,
)

_LOCAL_LANE: Final = "local"


@dataclass(frozen=True, slots=True)
class LaneReport:
    """A lane: its partner, how many deliveries are in each state, and the state of the lane itself."""

    name: str
    #: The partner's name for people, and the registered party; a lane of our own work has none.
    partner: str
    party: str
    queued: int
    active: int
    awaiting: int
    held: int
    failed: int
    #: When the delivery was queued that has waited for the longest time.
    oldest: datetime | None
    last_good: datetime | None
    #: ``held``, ``failing`` (deliveries have failed), ``retrying`` (the last attempt failed), ``waiting``, or
    #: ``good``.
    state: str
    #: The problem of the last attempts, else that of the newest delivery that has failed.
    problem: str | None
    #: The time of the first attempt that failed after the last success.
    failing_since: datetime | None
    hold: LaneSummaryRow | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LaneFault:
    """Why the attempts of a lane fail: the last problem, and since when no attempt has succeeded.

    `partner_since` is the time of the first of these attempts that failed at the partner; None if all failed
    because of the hub itself.
    """

    problem: str
    since: datetime
    partner_since: datetime | None


def list_lane_faults(conn: Connection, lane_rows: Iterable[LaneRow]) -> dict[str, LaneFault]:
    """Return the faults of lanes that are not over, by the names of the lanes."""
    return {
        row.name: LaneFault(row.last_problem or "", row.failing_since, row.partner_failing_since)
        for row in lane_rows
        if row.failing_since is not None and lane_faults.is_failing(conn, row)
    }


def list_lane_reports(conn: Connection, settings: Settings) -> tuple[LaneReport, ...]:
    """Return every lane: held ones first, then failing, retrying, waiting and good ones."""
    lane_rows = lanes.summarize_lanes(conn)
    faults = list_lane_faults(conn, lane_rows)
    last_delivered = state_counts.list_last_delivered(conn)
    failures = sorted(deliveries.summarize_failed(conn), key=lambda row: row.last_at)
    last_problems = {row.lane: row.problem for row in failures}
    partners = load_destinations(conn, settings)
    party_ids = {row.id for row in parties.list_parties(conn)}
    reports = []
    for row in lane_rows:
        destination_code = _get_destination_code(row.name)
        partner = partners.get(destination_code)
        party = get_partner_party(settings, destination_code)
        oldest_delivery = deliveries.find_by_id(conn, row.oldest) if row.oldest else None
        fault = faults.get(row.name)
        reports.append(
            LaneReport(
                row.name,
                partner.name if partner else destination_code,
                party if party in party_ids else "",
                *(row.queued, row.active, row.awaiting_receipt, row.held, row.failed),
                oldest=oldest_delivery.created_at if oldest_delivery is not None else None,
                last_good=last_delivered.get(row.name),
                state=_classify_lane(row, fault),
                problem=fault.problem if fault is not None else last_problems.get(row.name),
                failing_since=fault.since if fault is not None else None,
                hold=row if row.held_at is not None else None,
            )
        )
    return tuple(
        sorted(
            reports,
            key=lambda report: (_STATE_ORDER.index(report.state), report.name == _LOCAL_LANE, report.name),
        )
    )


def _get_destination_code(lane: str) -> str:
    """Return the destination of a lane: of one from which a party pulls, without the name of the channel."""
    kind, _, destination_code = lane.partition(":")
    return destination_code.rpartition(":")[0] if kind == "pull" else destination_code or kind


_STATE_ORDER: Final = ("held", "failing", "retrying", "waiting", "good")


def _classify_lane(lane_row: LaneSummaryRow, fault: LaneFault | None) -> str:
    if lane_row.held_at is not None:
        return "held"
    if lane_row.failed:
        return "failing"
    if fault is not None:
        return "retrying"
    return "waiting" if lane_row.queued or lane_row.held else "good"


def get_partner_party(settings: Settings, destination: str) -> str:
    """Return the party that is called at a destination: of an agency or customs as the settings say."""
    partner_settings = settings.customs if destination == CUSTOMS else settings.agency.get(destination)
    return (partner_settings.party if partner_settings is not None else None) or destination

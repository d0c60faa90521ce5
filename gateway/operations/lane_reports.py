"""The state of each lane, which follows from the attempts at its own deliveries and nothing else.

What a partner sends to the hub, and the hub refuses, says nothing about the way to the partner: it is counted
with the refused messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.errors import ATTEMPTS_USED_UP, PROBLEMS, RECEIPT_MISSING, REFUSED_FOR_GOOD
from gateway.operations.delivery_report import CUSTOMS, load_destinations
from gateway.store import (
    AttemptSummaryRow,
    LaneSummaryRow,
    deliveries,
    lane_attempts,
    lanes,
    parties,
    state_counts,
)

_LOCAL_LANE: Final = "local"
_FIRST_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


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
    #: The begin of the first attempt that failed, and after which none succeeded.
    failing_since: datetime | None
    hold: LaneSummaryRow | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class LaneFault:
    """Why the attempts of a lane fail: the last problem, and since when no attempt has succeeded.

    `partner_since` is the begin of the first of these attempts that failed at the partner; None if all failed
    because of the hub itself.
    """

    problem: str
    since: datetime
    partner_since: datetime | None


def find_lane_fault(conn: Connection, lane: str) -> LaneFault | None:
    """Return why the attempts of a lane fail; None after a success, and where nothing is left to do.

    A partner that refuses a delivery for good has answered: its lane is not at fault. A cancelled delivery
    does not count: an operator has given it up.
    """
    last_success = lane_attempts.find_last_delivered(conn, lane) or _FIRST_TIME
    attempt_rows = lane_attempts.summarize_attempts(conn, lane, last_success)
    answered_at = max((row.last_at for row in attempt_rows if _is_answer(row)), default=None)
    if answered_at is not None:
        attempt_rows = lane_attempts.summarize_attempts(conn, lane, answered_at)
    return summarize_faults(attempt_rows)


def summarize_faults(attempt_rows: Sequence[AttemptSummaryRow]) -> LaneFault | None:
    """Return the fault that attempts show which ended after the last success; None if none failed."""
    faults = [
        (_get_problem(row), row)
        for row in attempt_rows
        if _get_problem(row) is not None and not _is_answer(row)
    ]
    if not faults:
        return None
    # The problem of the last attempt of all says only that there were several.
    causes = [(problem, row) for problem, row in faults if problem != ATTEMPTS_USED_UP.id] or faults
    last_problem, _ = max(causes, key=lambda fault: fault[1].last_at)
    partner_rows = [row for problem, row in faults if not _is_ours(problem)]
    if all(_is_ours(problem) for problem, _ in causes):
        partner_rows = []
    return LaneFault(
        str(last_problem),
        min(row.first_at for _, row in faults),
        min((row.first_at for row in partner_rows), default=None),
    )


def _get_problem(row: AttemptSummaryRow) -> str | None:
    """Return the problem of attempts: a message that was sent and has got no receipt has one of its own."""
    return row.problem or (RECEIPT_MISSING.id if row.outcome == "sent" else None)


def _is_answer(row: AttemptSummaryRow) -> bool:
    """Return whether the partner took these deliveries, or refused them for good in its own words."""
    if row.outcome in ("delivered", "receipt"):
        return True
    return row.problem == REFUSED_FOR_GOOD.id and row.is_answered


def _is_ours(problem: str | None) -> bool:
    return problem in PROBLEMS and PROBLEMS[problem].ours


def list_lane_reports(conn: Connection, settings: Settings) -> tuple[LaneReport, ...]:
    """Return every lane: held ones first, then failing, retrying, waiting and good ones."""
    lane_rows = lanes.summarize_lanes(conn)
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
        has_open_deliveries = row.queued or row.active or row.held or row.failed
        fault = find_lane_fault(conn, row.name) if has_open_deliveries else None
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

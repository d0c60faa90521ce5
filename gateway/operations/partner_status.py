"""The agencies of which the public status page tells that the exchange with them is not in order.

Of each it has the name for people and times: never a reason, a number, or a word of the agency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.errors import MESSAGE_ID_REUSED, PROBLEMS, REFUSED_FOR_GOOD, TIMESTAMP_REFUSED
from gateway.operations.delivery_report import load_destinations
from gateway.operations.lane_reports import LaneFault, get_partner_party, list_lane_faults
from gateway.store import deliveries, lanes, refusal_counts

#: A refusal that is older says nothing about the present state.
_RECENT_REFUSAL_TIME: Final = timedelta(minutes=15)
#: So a call is refused that somebody else has recorded and sends again.
_REPEATS: Final = (MESSAGE_ID_REUSED, TIMESTAMP_REFUSED)
#: One attempt may fail by chance.
_MIN_FAILING_TIME: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class AwayPartner:
    """An agency that is away: its name for people, and the time since which it takes no call."""

    name: str
    since: datetime


@dataclass(frozen=True, slots=True)
class DisturbedAgency:
    """An agency with which calls were refused lately, or to which the hub cannot send: its name for people.

    The times are: when the agency last refused a call of the hub for good, when the hub last refused a call
    that the agency had signed, and since when calls fail because of the hub itself.
    """

    name: str
    refused_by_agency_at: datetime | None = None
    refused_by_hub_at: datetime | None = None
    unsent_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class AgencyStatus:
    """The agencies that are away, and those with a disturbed exchange, each by name."""

    away: Sequence[AwayPartner] = ()
    disturbed: Sequence[DisturbedAgency] = ()


def read_agency_status(conn: Connection, settings: Settings, now: datetime) -> AgencyStatus:
    """Return the agencies of the settings with which something is not in order at the time `now`.

    An agency is away while its lane is held, or from the first call that it did not take until it takes one.
    A failure that is less than `_MIN_FAILING_TIME` old does not count.
    """
    partners = load_destinations(conn, settings)
    lane_rows = lanes.find_lanes(conn, tuple(settings.agency))
    faults = list_lane_faults(conn, lane_rows.values())
    refused_by_agency = _list_final_refusals(conn, now - _RECENT_REFUSAL_TIME)
    refused_by_hub = _list_own_refusals(conn, now - _RECENT_REFUSAL_TIME)
    away_agencies, disturbed_agencies = [], []
    for agency_code in settings.agency:
        name, fault = partners[agency_code].name, faults.get(agency_code)
        held_at = lane_rows[agency_code].held_at if agency_code in lane_rows else None
        failing_since = _find_begin(fault.partner_since if fault is not None else None, now)
        away_since = min((at for at in (held_at, failing_since) if at is not None), default=None)
        if away_since is not None:
            away_agencies.append(AwayPartner(name, away_since))
        disturbance = DisturbedAgency(
            name,
            refused_by_agency.get(agency_code),
            refused_by_hub.get(get_partner_party(settings, agency_code)),
            _find_unsent_since(fault, now) if away_since is None else None,
        )
        if disturbance != DisturbedAgency(name):
            disturbed_agencies.append(disturbance)
    return AgencyStatus(
        sorted(away_agencies, key=lambda agency: agency.name),
        sorted(disturbed_agencies, key=lambda agency: agency.name),
    )


def _find_begin(since: datetime | None, now: datetime) -> datetime | None:
    """Return the begin of failures that last long enough to count."""
    return since if since is not None and since <= now - _MIN_FAILING_TIME else None


def _find_unsent_since(fault: LaneFault | None, now: datetime) -> datetime | None:
    """Return since when calls fail because of the hub alone."""
    return _find_begin(fault.since, now) if fault is not None and fault.partner_since is None else None


def _list_final_refusals(conn: Connection, since: datetime) -> dict[str, datetime]:
    """Return when a call was last refused for good by its destination, by lane."""
    return {
        row.lane: row.last_at
        for row in deliveries.summarize_failed(conn)
        if row.problem == REFUSED_FOR_GOOD.id and row.last_at >= since
    }


def _list_own_refusals(conn: Connection, since: datetime) -> dict[str, datetime]:
    """Return when the hub last refused something that a party had signed, and not for a fault of its own."""
    refused_at: dict[str, datetime] = {}
    for row in refusal_counts.list_refusals(conn, signed_since=since):
        problem = PROBLEMS.get(row.problem)
        if row.signed_at is not None and problem is not None and not problem.ours and problem not in _REPEATS:
            refused_at[row.sender] = max(row.signed_at, refused_at.get(row.sender, row.signed_at))
    return refused_at

"""Agencies at the console: by their settings, or switched by an operator while their system is away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gateway.evidence import record_evidence
from gateway.hub.completion import operator_actions
from gateway.store import LaneBacklog, console_mailbox, console_switches, lane_holds, lanes

__all__ = ["ConsoleSwitch", "switch_agency_back", "switch_agency_to_console"]


@dataclass(frozen=True, slots=True)
class ConsoleSwitch:
    """A switch that was made: the deliveries of the lane, those due now, applications in the mailbox."""

    backlog: LaneBacklog
    due: tuple[int, ...]
    undecided: int


def switch_agency_to_console(
    conn: Connection, agency: str, at: datetime, actor: str, reason: str
) -> ConsoleSwitch:
    """Let the officers of an agency decide at the console; raises GW705 when they do already.

    What waits in the lane is due now, and comes to rest in the mailbox. A call that is being made goes
    to the agency's own system.
    """
    lanes.ensure_lanes(conn, agency)
    console_switches.insert_switch(conn, agency, at, actor, reason)
    _record_switch(conn, agency, at, {"act": "console", "actor": actor, "reason": reason})
    return _describe_switch(conn, agency, operator_actions.try_lane(conn, agency, at, actor))


def switch_agency_back(conn: Connection, agency: str, at: datetime, actor: str, reason: str) -> ConsoleSwitch:
    """Give an agency's new applications to its own system again; raises GW705 when it was not switched.

    What came to rest in the mailbox stays there, and its officers decide it.
    """
    held = console_switches.end_switch(conn, agency)
    data = {"act": "own system", "actor": actor, "reason": reason}
    _record_switch(
        conn, agency, at, data | {"since": held.since.isoformat(), "switched_by": held.switched_by}
    )
    return _describe_switch(conn, agency, operator_actions.try_lane(conn, agency, at, actor))


def _record_switch(conn: Connection, agency: str, at: datetime, data: dict[str, str]) -> None:
    record_evidence(conn, "operator", "agency", agency, None, data, at)


def _describe_switch(conn: Connection, agency: str, due: tuple[int, ...]) -> ConsoleSwitch:
    backlog = lane_holds.read_lane_backlog(conn, agency)
    return ConsoleSwitch(backlog, due, console_mailbox.count_undecided(conn, agency))

"""Which agencies are away, for the public: only their names, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gateway.config import Settings
from gateway.operations.delivery_destinations import load_destinations
from gateway.store import lanes

__all__ = ["AwayPartner", "list_away_agencies"]


@dataclass(frozen=True, slots=True)
class AwayPartner:
    """An agency that is away: its name for people, and since when its calls wait."""

    name: str
    since: datetime


def list_away_agencies(conn: Connection, settings: Settings, now: datetime) -> list[AwayPartner]:
    """Return the agencies of the settings whose lane is held, or whose circuit is open, by name.

    Since when: the time of the hold, or the time at which the oldest call that waits was tried first.
    """
    partners = load_destinations(conn, settings)
    found = []
    for row in lanes.find_lanes(conn, tuple(settings.agency)).values():
        since = row.held_at
        if since is None and row.open_until is not None and row.open_until > now:
            since = lanes.find_waiting_since(conn, row.name) or now
        if since is not None:
            found.append(AwayPartner(partners[row.name].name, since))
    return sorted(found, key=lambda one: one.name)

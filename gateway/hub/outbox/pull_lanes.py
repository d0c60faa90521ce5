"""The lanes of messages that their partner fetches: one for each partner and channel."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from gateway.agreements import PMode
from gateway.store import lanes

__all__ = ["ensure_message_lane", "get_pull_seconds", "get_pull_time", "make_pull_lane"]


def make_pull_lane(party: str, pmode: PMode) -> str:
    """Return the lane in which messages of a P-Mode wait until a party pulls them."""
    return f"pull:{party}:{pmode.pull_channel or 'default'}"


def ensure_message_lane(conn: Connection, lane: str, pmode: PMode) -> None:
    """Insert the lane of a message that is pulled, so that no worker ever claims from it."""
    if pmode.pull is not None:
        lanes.ensure_lanes(conn, lane, pulled=True)


def get_pull_time(pmode: PMode, now: datetime) -> datetime:
    """Return until when a message waits to be pulled: for as long as the agreement keeps messages."""
    return now + timedelta(seconds=get_pull_seconds(pmode))


def get_pull_seconds(pmode: PMode) -> int:
    """Return for how many seconds a message waits to be pulled."""
    terms = pmode.reliability
    return max(terms.time_to_live, terms.persist_duration)

"""Reports how fresh the fetched revocation data is, source by source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from gateway.store import fetched_lists

__all__ = ["SourceFreshness", "list_source_freshness"]


@dataclass(frozen=True, slots=True)
class SourceFreshness:
    """One source: what is in force from it, until when, and the results of the last fetches.

    ``state``: "fresh"; "ending" when what ends first does so soon; "stale" when it has ended;
    "never" when nothing was ever fetched; "left" when the settings no longer contain the source.
    """

    name: str
    kind: str
    state: str
    words: int
    number: str | None
    this_update: datetime | None
    next_update: datetime | None
    taken_at: datetime | None
    fetched_at: datetime | None
    failed_at: datetime | None
    failures: int
    problem: str | None
    detail: str | None

    def format_remark(self) -> str | None:
        """Return the text of a warning for the operator, None when there is none."""
        until = f"{self.next_update:%Y-%m-%dT%H:%M:%SZ}" if self.next_update else ""
        told = {
            "never": f"no data have been fetched from {self.name} yet",
            "ending": f"the data fetched from {self.name} expire at {until}",
            "stale": f"the data fetched from {self.name} expired at {until}",
            "left": f"the data fetched from {self.name} are in force, but it is no longer in the settings",
        }.get(self.state)
        if not self.failures:
            return told
        failing = (
            f"fetching {self.name} failed {self.failures} times, the last: {self.detail or self.problem}"
        )
        return f"{told}; {failing}" if told else failing


def list_source_freshness(
    conn: Connection, at: datetime, warn: Mapping[str, tuple[str, timedelta | None]]
) -> tuple[SourceFreshness, ...]:
    """Return every source of the settings, and every other source that has data in force.

    `warn` gives the kind of each, and how long before its end the operator is warned; None: a
    quarter of its validity period.
    """
    rows = {row.name: row for row in fetched_lists.list_sources(conn)}
    ends = {row.source: row for row in fetched_lists.summarize_sources(conn)}
    names = [*warn, *(name for name in ends if name not in warn)]
    return tuple(
        _make_source_freshness(name, rows.get(name), ends.get(name), warn.get(name), at) for name in names
    )


def _make_source_freshness(
    name: str,
    row: Row[Any] | None,
    held: Row[Any] | None,
    warn: tuple[str, timedelta | None] | None,
    at: datetime,
) -> SourceFreshness:
    told: dict[str, Any] = {key: getattr(held, key, None) for key in ("number", "this_update", "next_update")}
    told |= {key: getattr(row, key, None) for key in ("fetched_at", "failed_at", "problem", "detail")}
    return SourceFreshness(
        name=name,
        kind=warn[0] if warn else getattr(row, "kind", ""),
        state=_classify_freshness(row, held, warn, at),
        words=held.words if held else 0,
        taken_at=held.taken_at if held else None,
        failures=row.failures if row else 0,
        **told,
    )


def _classify_freshness(
    row: Row[Any] | None, held: Row[Any] | None, warn: tuple[str, timedelta | None] | None, at: datetime
) -> str:
    if warn is None:
        return "left"
    if held is None:
        # A responder may have no certificates to be queried for, and trusted lists are stored elsewhere.
        return "fresh" if row is not None and row.fetched_at is not None else "never"
    if at > held.next_update:
        return "stale"
    before = warn[1] if warn[1] is not None else (held.next_update - held.this_update) / 4
    return "ending" if at > held.next_update - before else "fresh"

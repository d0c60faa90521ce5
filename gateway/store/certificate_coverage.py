"""Computes until when parties can sign: their certificates one after another, without a gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.store.parties import list_certificates_in_use

__all__ = [
    "WARNING",
    "CertificateCoverage",
    "UsagePeriod",
    "compute_coverage",
    "count_by_state",
    "list_usage_periods",
]

#: The operator is warned this long before an owner's last certificate ends.
WARNING: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class UsagePeriod:
    """The period (end exclusive) in which `owner` may use one certificate; `use` as in the register."""

    owner: str
    use: str
    subject: str
    sha256: str
    starts: datetime
    ends: datetime

    def state_at(self, at: datetime) -> str:
        """Return whether the period is in the future, current or over at a given time."""
        if at >= self.ends:
            return "over"
        return "future" if at < self.starts else "current"


@dataclass(frozen=True, slots=True)
class CertificateCoverage:
    """Until when `owner` has a certificate for `use` without a gap; `subject` is that of the last one."""

    owner: str
    use: str
    subject: str
    ends: datetime

    def days_left(self, at: datetime) -> float:
        """Return how many days are left, negative when it has ended."""
        return (self.ends - at) / timedelta(days=1)


def list_usage_periods(conn: Connection) -> tuple[UsagePeriod, ...]:
    """Return the usage periods of the certificates that active parties may use, now or later."""
    return tuple(_read_usage_period(row) for row in list_certificates_in_use(conn))


def _read_usage_period(row: Row[Any]) -> UsagePeriod:
    starts = max(row.not_before, row.valid_from or row.not_before)
    ends = min(row.not_after, row.valid_until or row.not_after)
    return UsagePeriod(row.party_id, row.use, row.subject, row.sha256, starts, ends)


def compute_coverage(found: Iterable[UsagePeriod], at: datetime) -> tuple[CertificateCoverage, ...]:
    """Return, soonest first, until when each owner and use is covered from a given time on.

    A certificate that starts before the current one ends extends the coverage, so a renewed
    certificate causes no warning. Owners that have only future certificates are left out.
    """
    groups: dict[tuple[str, str], list[UsagePeriod]] = {}
    for one in found:
        groups.setdefault((one.owner, one.use), []).append(one)
    covered = (_compute_group_coverage(group, at) for group in groups.values())
    return tuple(sorted((one for one in covered if one), key=lambda one: (one.ends, one.owner, one.use)))


def _compute_group_coverage(group: list[UsagePeriod], at: datetime) -> CertificateCoverage | None:
    over = [one for one in group if one.starts < one.ends <= at]
    last = max(over, key=lambda one: one.ends, default=None)
    reach = at
    for one in sorted(group, key=lambda one: one.starts):
        if one.starts <= reach < one.ends:
            reach, last = one.ends, one
    return CertificateCoverage(last.owner, last.use, last.subject, last.ends) if last else None


def count_by_state(found: Iterable[UsagePeriod], at: datetime) -> Mapping[tuple[str, str], int]:
    """Return how many certificates there are of each use and state."""
    counted: dict[tuple[str, str], int] = {}
    for one in found:
        key = (one.use, one.state_at(at))
        counted[key] = counted.get(key, 0) + 1
    return counted

"""Warns of certificates that end soon, for the log and for `gateway check`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from gateway.store import (
    WARNING,
    CertificateCoverage,
    UsagePeriod,
    compute_coverage,
    list_usage_periods,
    read_transaction,
)

__all__ = ["ExpiryWarning", "list_expiry_warnings", "log_expiry_warnings", "make_expiry_warnings"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExpiryWarning:
    """An owner whose last certificate ends soon, or has ended (`over`), with the text of the warning."""

    over: bool
    owner: str
    words: str


def list_expiry_warnings(
    engine: Engine, at: datetime, ours: Sequence[UsagePeriod] = ()
) -> tuple[ExpiryWarning, ...]:
    """Return a warning for each owner whose last certificate ends within 30 days, the soonest first."""
    with read_transaction(engine) as conn:
        found = list_usage_periods(conn)
    return make_expiry_warnings([*ours, *found], at)


def make_expiry_warnings(found: Sequence[UsagePeriod], at: datetime) -> tuple[ExpiryWarning, ...]:
    """Return a warning for each owner whose last period ends within 30 days, the soonest first."""
    return tuple(
        _make_expiry_warning(one, at) for one in compute_coverage(found, at) if one.ends - at < WARNING
    )


def _make_expiry_warning(found: CertificateCoverage, at: datetime) -> ExpiryWarning:
    over = found.ends <= at
    days = abs(found.days_left(at))
    when = f"{days:.0f} days ago" if over else f"in {days:.0f} days"
    verb = "ended" if over else "ends"
    words = (
        f"the last {found.use} certificate of {found.owner} {verb} {when}, at {found.ends:%Y-%m-%dT%H:%M:%SZ}"
    )
    return ExpiryWarning(over, found.owner, f"{words}: {found.subject[:120]}")


def log_expiry_warnings(engine: Engine, at: datetime, ours: Sequence[UsagePeriod] = ()) -> int:
    """Log each warning; return how many there are."""
    found = list_expiry_warnings(engine, at, ours)
    for one in found:
        _log.log(logging.ERROR if one.over else logging.WARNING, "%s", one.words)
    return len(found)

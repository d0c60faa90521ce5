"""Tells the operator of a notice whose time of issue is ahead of the clock."""

from __future__ import annotations

import logging
from datetime import datetime

_log = logging.getLogger(__name__)


def log_ahead_notice(partner: str, number: str, stated_at: datetime) -> None:
    """Log a new notice of a partner that counts from another time than it states."""
    _log.warning(
        "notice %s states a time ahead of the clock, and counts from its receipt: %s",
        number[:60],
        stated_at.isoformat(timespec="seconds"),
        extra={"partner": partner},
    )

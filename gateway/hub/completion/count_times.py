"""Chooses from when a notice counts, and tells the operator of one whose time is ahead of the clock."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from gateway.cases import AheadNotice, CustomsNotice, Notice, find_count_time, is_ahead

_log = logging.getLogger(__name__)


def choose_count_time(
    partner: str,
    notice: Notice | CustomsNotice,
    now: datetime,
    ahead_notices: Iterable[AheadNotice],
    *,
    states_day: bool = False,
) -> datetime:
    """Return from when a notice of a partner counts that is received at `now`; log a time that is ahead.

    See `find_count_time` for `ahead_notices` and `states_day`.
    """
    stated_at = notice.issued_at
    if is_ahead(stated_at, now):
        _log.warning(
            "notice %s states a time ahead of the clock, and counts from its receipt: %s",
            notice.number[:60],
            stated_at.isoformat(timespec="seconds"),
            extra={"partner": partner},
        )
    return find_count_time(notice.number, stated_at, now, ahead_notices, states_day=states_day)

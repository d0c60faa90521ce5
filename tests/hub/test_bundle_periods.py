"""Published mappings come into force from their first day on, and before the day of their end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.errors import GatewayError
from gateway.hub import BundleFile, BundleTerms, check_bundle_period

SEOUL = ZoneInfo("Asia/Seoul")
#: The midnights in Seoul at which 1 March and 1 April begin.
FIRST, LAST = datetime(2026, 2, 28, 15, tzinfo=UTC), datetime(2026, 3, 31, 15, tzinfo=UTC)
SHORT = timedelta(microseconds=1)


def find_fault(starts: date | None, ends: date | None, at: datetime) -> str | None:
    """Return the problem and its place, None where mappings of this period may come into force at a time."""
    terms = BundleTerms("urn:x", datetime(2026, 1, 1, tzinfo=UTC), starts, ends)
    try:
        check_bundle_period(BundleFile(terms, {}, 0, b""), at, SEOUL)
    except GatewayError as problem:
        return f"{problem.problem.id} {problem.location}"
    return None


@pytest.mark.parametrize(
    ("at", "fault"),
    [
        (FIRST - SHORT, "GW515 /MappingBundle/From"),
        (FIRST, None),
        (LAST - SHORT, None),
        (LAST, "GW515 /MappingBundle/Until"),
        (LAST + SHORT, "GW515 /MappingBundle/Until"),
    ],
)
def test_mappings_come_into_force_within_their_period_alone(at: datetime, fault: str | None) -> None:
    assert find_fault(date(2026, 3, 1), date(2026, 4, 1), at) == fault
    assert find_fault(FIRST, LAST, at) == fault
    assert find_fault(date(2026, 3, 1), None, at) == (fault if at < FIRST else None)
    assert find_fault(None, date(2026, 4, 1), at) == (fault if at >= LAST else None)
    assert find_fault(None, None, at) is None

"""Every day of two or three notices, in every order: right at last, safe, or told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import permutations, product

import pytest

from gateway.cases import DatedNotice, check_place, place_notices
from gateway.errors import ISSUE_TIME_WRONG, GatewayError
from gateway.notice_order import order_notice
from tests.kit.levels import at_night

DAY = datetime(2026, 11, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
SUBJECT = (1, "01")
#: Whether each status rejects the item.
REJECTS = {"R01": False, "R02": False, "R03": True, "R04": True}


@dataclass(frozen=True, slots=True)
class Statement:
    """What an agency issues; one `of_day` states no time."""

    status: str
    certificate: str | None
    of_day: bool


def list_days(length: int, *, numbered: bool) -> Iterator[tuple[Statement, ...]]:
    """Give what an agency may issue in a day: it cancels, and issues anew, what it has issued last."""
    for statuses in product(REJECTS, repeat=length):
        certificates: list[str | None] = []
        last, issued = None, 0
        for status in statuses:
            if status == "R01":
                issued += 1
                last = f"P-{issued + 8}" if numbered else None
            certificates.append(None if status == "R04" else last)
        if all("R01" in statuses[:place] for place, one in enumerate(statuses) if one in ("R02", "R03")):
            for of_day in product((False, True), repeat=length):
                yield tuple(map(Statement, statuses, certificates, of_day))


def decide(day: Sequence[Statement], order: Sequence[int], *, promptly: bool) -> tuple[bool, int]:
    """Let the notices of a day arrive; return whether the item is rejected, and how many were refused."""
    stored: list[DatedNotice] = []
    for row, place in enumerate(order, start=1):
        one = day[place]
        received_at = DAY + (HOUR * (place + 1.5) if promptly else HOUR * (10 + row))
        notice = DatedNotice(
            stored=row,
            number=f"{one.status}-{place}",
            issued_at=DAY if one.of_day else DAY + HOUR * (place + 1),
            received_at=received_at,
            states_day=one.of_day,
            rejections={SUBJECT: REJECTS[one.status]},
            certificates=frozenset({one.certificate} - {None}),  # type: ignore[arg-type]
            follows=one.status in ("R02", "R03"),
        )
        try:
            check_place(notice, [*stored, notice])
        except GatewayError as error:
            if error.problem is not ISSUE_TIME_WRONG:
                raise
            continue
        stored.append(notice)
    places = place_notices(stored)
    last = max(stored, key=lambda one: (order_notice(places[one.stored], one.number), one.stored))
    return last.rejections[SUBJECT], len(order) - len(stored)


def list_all_days(length: int) -> list[tuple[Statement, ...]]:
    return [day for numbered in (True, False) for day in list_days(length, numbered=numbered)]


@pytest.mark.parametrize("length", [2, 3, *at_night(4)])
@pytest.mark.parametrize("promptly", [True, False])
def test_what_arrives_as_it_was_issued_is_never_released_against_the_last_word(
    length: int, *, promptly: bool
) -> None:
    """Where each notice arrives before the next one is issued, the last one counts, or its agency is told."""
    for day in list_all_days(length):
        rejected, refused = decide(day, range(length), promptly=promptly)
        is_last_word = rejected == REJECTS[day[-1].status]
        # Of four, a refusal of a day alone may hold a certificate that came behind it.
        is_held = rejected and (not promptly or length == 4)
        assert is_last_word or refused or is_held, day


def test_no_order_releases_goods_against_the_last_word() -> None:
    """But of a certificate that is cancelled and issued anew, the last one stored counts."""
    for day in list_all_days(3):
        is_renewed = {"R02", "R03"} <= {one.status for one in day} and not all(
            one.of_day is False for one in day if one.status in ("R02", "R03")
        )
        for order in permutations(range(3)):
            rejected, refused = decide(day, order, promptly=False)
            assert rejected or refused or is_renewed or not REJECTS[day[-1].status], (day, order)

"""A notice of a day alone has its place in the day by the certificate that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from gateway.cases import DatedNotice, check_place, may_follow, place_notices
from gateway.errors import GatewayError
from gateway.notice_order import order_notice

#: The first instant of a day in Korea.
DAY = datetime(2026, 11, 19, 15, tzinfo=UTC)
AT_TEN = DAY + timedelta(hours=10)
ITEM = (1, "01")


def approve(certificate: str = "", at: datetime | None = None, *, again: bool = False) -> DatedNotice:
    """Return an approval of a certificate; of the day alone without a time."""
    return _decide(certificate, at, rejects=False, follows=again, code="R02" if again else "R01")


def cancel(certificate: str = "", at: datetime | None = None) -> DatedNotice:
    return _decide(certificate, at, rejects=True, follows=True, code="R03")


def refuse(certificate: str = "", at: datetime | None = None) -> DatedNotice:
    return _decide(certificate, at, rejects=True, follows=False, code="R04")


def _decide(certificate: str, at: datetime | None, *, rejects: bool, follows: bool, code: str) -> DatedNotice:
    return DatedNotice(
        stored=0,
        number=f"{certificate}/{code}",
        issued_at=at or DAY,
        states_day=at is None,
        rejections={ITEM: rejects},
        certificates=frozenset([certificate] if certificate else []),
        follows=follows,
    )


def store(*notices: DatedNotice) -> list[DatedNotice]:
    return [replace(notice, stored=row) for row, notice in enumerate(notices, start=1)]


def find_last(notices: Sequence[DatedNotice]) -> str:
    """Return the number of the notice that counts at last."""
    places = place_notices(notices)
    return max(notices, key=lambda one: (order_notice(places[one.stored], one.number), one.stored)).number


STORIES = {
    "issued, cancelled, issued under another number": (
        (approve("P-9"), cancel("P-9"), approve("P-10")),
        "P-10/R01",
    ),
    "approved at ten, cancelled": ((approve("P-9", AT_TEN), cancel("P-9")), "P-9/R03"),
    "approved at ten without a number, cancelled": ((approve("", AT_TEN), cancel("P-9")), "P-9/R03"),
    "approved at ten, cancelled without a number": ((approve("P-9", AT_TEN), cancel()), "/R03"),
    "approved, cancelled without a number": ((approve("P-9"), cancel()), "/R03"),
    "approved at ten, given again": (
        (approve("P-9", AT_TEN), approve("P-9", again=True)),
        "P-9/R02",
    ),
    "approved at ten, another one issued": ((approve("P-9", AT_TEN), approve("P-10")), "P-10/R01"),
    "another one issued at ten, the first cancelled": (
        (approve("P-9"), approve("P-10", AT_TEN), cancel("P-9")),
        "P-10/R01",
    ),
    "approved at ten without a number, refused": ((approve("", AT_TEN), refuse("P-9")), "P-9/R04"),
    "cancelled on the next day": (
        (approve("P-9", AT_TEN), cancel("P-9", AT_TEN + timedelta(days=1))),
        "P-9/R03",
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_the_end_does_not_depend_on_the_order_of_arrival(name: str) -> None:
    notices, last = STORIES[name]
    for order in permutations(notices):
        assert find_last(store(*order)) == last, [one.number for one in order]


def test_of_a_cancellation_and_a_new_issue_the_last_stored_counts() -> None:
    issued, cancelled, again = approve("P-9"), cancel("P-9"), approve("P-9", again=True)
    assert find_last(store(issued, cancelled, again)) == "P-9/R02"
    assert find_last(store(issued, again, cancelled)) == "P-9/R03"
    assert find_last(store(cancelled, again, issued)) == "P-9/R02"


def test_what_is_given_again_comes_after_a_refusal_that_came_before_it() -> None:
    refused, again = refuse("", AT_TEN), approve("P-9", again=True)
    assert find_last(store(refused, again)) == "P-9/R02"
    # It may as well have been issued before the refusal: no goods are released against that.
    assert find_last(store(again, refused)) == "/R04"


def test_a_time_after_the_receipt_comes_after_it() -> None:
    cancelled = replace(cancel("P-9"), received_at=AT_TEN)
    again = approve("P-9", AT_TEN + timedelta(hours=1), again=True)
    assert find_last(store(cancelled, again)) == "P-9/R02"
    assert find_last(store(cancelled, replace(again, issued_at=AT_TEN))) == "P-9/R03"


def test_no_notice_of_the_day_carries_an_approval_past_a_refusal_of_a_later_time() -> None:
    """Each of the three comes after the next one: what is of a later time for certain has the last word."""
    first = replace(approve("P-10", again=True), received_at=AT_TEN)
    refused = refuse("", AT_TEN + timedelta(minutes=2))
    notices = store(first, refused, approve("P-1", again=True))
    assert place_notices(notices)[1] < refused.issued_at
    assert find_last(notices) == "/R04"
    with pytest.raises(GatewayError, match="state the time of issue"):
        check_place(notices[-1], notices)


def test_a_question_carries_no_approval_past_a_refusal() -> None:
    asked = DatedNotice(0, "Q-1", AT_TEN + timedelta(hours=4), states_day=False)
    refused = refuse("", AT_TEN + timedelta(hours=2))
    assert place_notices(store(refused, asked, approve("P-9")))[3] == DAY
    places = place_notices(store(asked, approve("P-9")))
    assert places[2] == asked.issued_at + timedelta(milliseconds=1)


def test_what_is_of_another_day_keeps_its_order() -> None:
    yesterday = approve("P-9", DAY - timedelta(microseconds=1))
    tomorrow = approve("P-9", DAY + timedelta(days=1))
    assert find_last(store(yesterday, cancel("P-9"))) == "P-9/R03"
    places = place_notices(store(tomorrow, cancel("P-9")))
    assert places[2] == DAY


def test_places_follow_in_milliseconds() -> None:
    places = place_notices(store(approve("P-9", AT_TEN), cancel("P-9"), approve("P-10")))
    assert places == {
        1: AT_TEN,
        2: AT_TEN + timedelta(milliseconds=1),
        3: AT_TEN + timedelta(milliseconds=2),
    }


def test_questions_come_in_the_order_stored() -> None:
    asked = DatedNotice(0, "Q-1", AT_TEN, states_day=False)
    asked_of_day = DatedNotice(0, "Q-2", DAY, states_day=True)
    assert find_last(store(asked, asked_of_day)) == "Q-2"
    assert find_last(store(asked_of_day, asked)) == "Q-1"


def test_other_items_say_nothing() -> None:
    other = replace(approve("P-9", AT_TEN), rejections={(2, "01"): False})
    assert place_notices(store(other, cancel("P-9")))[2] == DAY


UNKNOWN = {
    "a first issue after a refusal without a number": (refuse("", AT_TEN), approve("P-9")),
    "a first issue after a refusal of the same certificate": (refuse("P-9", AT_TEN), approve("P-9")),
    "a cancellation of a number of another series": (approve("2026-4", AT_TEN), cancel("P-9")),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_notice_without_a_place_is_refused(name: str) -> None:
    notices = store(*UNKNOWN[name])
    with pytest.raises(GatewayError, match=r"state the time of issue") as caught:
        check_place(notices[-1], notices)
    assert (caught.value.problem.id, caught.value.location) == ("GW719", "IssuedAt")


@pytest.mark.parametrize(
    "notices",
    [
        store(approve("", AT_TEN), approve("P-9")),
        store(refuse("", AT_TEN), refuse("P-9")),
        store(refuse("", AT_TEN), approve("P-9", again=True)),
        store(refuse("", AT_TEN - timedelta(days=1)), approve("P-9")),
        store(approve("P-9", AT_TEN), approve("2026-4", AT_TEN), cancel("P-9")),
        store(approve("P-9"), refuse("", AT_TEN)),
    ],
)
def test_a_notice_with_a_place_is_taken(notices: list[DatedNotice]) -> None:
    check_place(notices[-1], notices)


@pytest.mark.parametrize(
    ("cleared", "received", "states_day", "late"),
    [(11, 15, True, True), (11, 10, True, False), (11, 15, False, False), (36, 40, True, False)],
)
def test_a_notice_of_the_day_may_follow_a_clearance(
    cleared: int, received: int, states_day: bool, late: bool
) -> None:
    moment, arrival = DAY + timedelta(hours=cleared), DAY + timedelta(hours=received)
    assert may_follow(moment, AT_TEN, DAY if states_day else None, arrival) is late
    assert may_follow(AT_TEN - timedelta(minutes=1), AT_TEN, None, arrival)

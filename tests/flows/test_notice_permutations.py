"""Notices about one application in every order: one end, or the agency is told of what does not count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import pytest
from sqlalchemy import Engine

from tests.kit.databases import BOTH
from tests.kit.day_turns import DayStory, Turn, say_all
from tests.kit.levels import at_night

APPROVED, REJECTED = "APPROVED", "REJECTED"


@dataclass(frozen=True, slots=True)
class Story:
    """What an agency says in one day, and what counts at last where every notice is accepted."""

    turns: tuple[Turn, ...]
    end: str


def certificate(status: str, number: str = "P-9") -> Turn:
    """Return a certificate that states a day alone."""
    return Turn(status, number)


#: By name: the notices, and the decision in force at last in whatever order they come.
STORIES: dict[str, Story] = {
    "a certificate cancelled, and another one issued": Story(
        (certificate("R01"), certificate("R03"), certificate("R01", "P-10")), APPROVED
    ),
    "approved by a call without a number, then cancelled": Story(
        (Turn("R01", None, 10), certificate("R03")), REJECTED
    ),
    "approved by a call, then cancelled": Story((Turn("R01", "P-9", 10), certificate("R03")), REJECTED),
    "approved, and refused behind it": Story(
        (Turn("C04", None, 9), Turn("R01", None, 10), Turn("R04", None, 11)), REJECTED
    ),
    "an approval cancelled by a call, and another certificate": Story(
        (Turn("R01", "P-9", 10), Turn("G02", "P-9", 11), certificate("R01", "P-10")), APPROVED
    ),
    "approved, issued anew, refused": Story(
        (Turn("R01", None, 10), certificate("R02"), Turn("R04", None, 12)), REJECTED
    ),
    "a certificate, issued anew, refused": Story(
        (certificate("R01"), certificate("R02"), Turn("R04", None, 12)), REJECTED
    ),
    "a certificate cancelled, another one issued, refused": Story(
        (certificate("R01"), certificate("R03"), certificate("R01", "P-10"), Turn("R04", None, 12)), REJECTED
    ),
    "asked for nothing, approved, cancelled, approved by another": Story(
        (Turn("C04", None, 9), Turn("R01", "P-9", 10), certificate("R03"), Turn("R01", "P-10", 12)), APPROVED
    ),
    "refused, approved by certificate, cancelled, another one, cancelled": Story(
        (
            Turn("R04", None, 9),
            Turn("R01", "P-9", 10),
            certificate("R03"),
            certificate("R01", "P-10"),
            certificate("R03", "P-10"),
        ),
        REJECTED,
    ),
}  # fmt: skip
_DECISIVE = (
    "a certificate cancelled, and another one issued",
    "approved by a call without a number, then cancelled",
    "approved, issued anew, refused",
)


def hear(story: DayStory, turns: Sequence[Turn]) -> tuple[Sequence[str | None], tuple[object, ...]]:
    """Let KPTA say it all about a new application; return the problems, and how the case has ended."""
    application = story.file()
    problems = say_all(story, turns, application)
    for _ in range(3):
        story.tick(seconds=5)
    case, (outcome, told) = story.case(), story.outcome()
    assert case.outcome == outcome
    return problems, (
        case.state,
        outcome,
        story.find_decision_in_force(),
        told[1],
        story.list_customs_codes()[-1:],
    )


def check_story(story: DayStory, wanted: Story, orders: Sequence[Sequence[Turn]]) -> None:
    """Let KPTA say it in each order; a notice that is refused is not stored."""
    ends = set()
    for order in orders:
        problems, end = hear(story, order)
        if not any(problems):
            ends.add(str(end))
            assert end[2:4] == (wanted.end, wanted.end), order
        stored = {number for number, _, _ in story.list_statements()}
        deciding = [one for one, problem in zip(order, problems, strict=True) if not problem and one.decides]
        assert len(stored) == len(deciding)
    assert len(ends) == 1


@BOTH
@pytest.mark.parametrize("name", _DECISIVE)
def test_a_few_orders_end_alike(engine: Engine, name: str) -> None:
    wanted = STORIES[name]
    check_story(DayStory(engine), wanted, [wanted.turns, wanted.turns[::-1]])


@BOTH
@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        *(name for name, one in STORIES.items() if len(one.turns) < 4),
        *at_night(*(name for name, one in STORIES.items() if len(one.turns) == 4)),
    ],
)
def test_every_order_ends_alike(engine: Engine, name: str) -> None:
    wanted = STORIES[name]
    check_story(DayStory(engine), wanted, list(permutations(wanted.turns)))


@pytest.mark.night
@pytest.mark.parametrize("first", range(5))
def test_every_order_of_five_notices_ends_alike(engine: Engine, first: int) -> None:
    wanted = STORIES["refused, approved by certificate, cancelled, another one, cancelled"]
    orders = [order for order in permutations(wanted.turns) if order[0] == wanted.turns[first]]
    check_story(DayStory(engine), wanted, orders)


@BOTH
@pytest.mark.parametrize("refusal_first", [True, False])
def test_a_certificate_that_is_issued_anew_follows_the_refusal_that_came_before_it(
    engine: Engine, *, refusal_first: bool
) -> None:
    """A refusal that comes behind it may be the last word: no goods are released against it."""
    turns = (Turn("R04", None, 10), certificate("R02"))
    problems, end = hear(DayStory(engine), turns if refusal_first else turns[::-1])
    assert problems == [None, None]
    assert end[2] == (APPROVED if refusal_first else REJECTED)


def test_a_refusal_with_a_time_after_the_receipt_of_a_certificate_counts(engine: Engine) -> None:
    """Issued anew by a document of the day, then refused an hour later: the goods are not released."""
    story = DayStory(engine)
    problems, end = hear(story, (Turn("R01", None, 10), certificate("R02"), Turn("R04", None, 19)))
    assert problems == [None, None, None]
    assert end[1:4] == ("PARTIAL", REJECTED, REJECTED)


@pytest.mark.parametrize(("hour", "end"), [(10, REJECTED), (19, APPROVED)])
def test_what_is_issued_anew_counts_if_its_time_is_after_the_receipt_of_the_cancellation(
    engine: Engine, hour: int, end: str
) -> None:
    """A cancellation of the day was received, and then comes what may have been issued before it."""
    story = DayStory(engine)
    turns = (Turn("R01", "P-9", 9), certificate("R03"), Turn("R02", "P-9", hour))
    problems, found = hear(story, turns)
    assert problems == [None, None, None]
    assert found[2:4] == (end, end)


@pytest.mark.parametrize("certificate_number", [None, "P-9"])
def test_a_first_certificate_after_a_refusal_of_the_day_is_refused(
    engine: Engine, certificate_number: str | None
) -> None:
    """Nothing says which of both is the last word; the fault says what to send, and nothing is stored."""
    story = DayStory(engine)
    problems, end = hear(story, (Turn("R04", certificate_number and "Q-1", 10), certificate("R01")))
    assert problems == [None, "GW719"]
    assert end[2] == REJECTED
    assert len({number for number, _, _ in story.list_statements()}) == 1


@BOTH
def test_a_cancellation_carries_no_other_certificate_past_a_refusal(engine: Engine) -> None:
    """The refusal came last and states the last time: the certificate that replaced another one is over."""
    story = DayStory(engine)
    wanted = STORIES["a certificate cancelled, another one issued, refused"]
    problems, end = hear(story, wanted.turns)
    assert not any(problems)
    assert end[1:4] == ("PARTIAL", REJECTED, REJECTED)


def test_a_new_approval_that_a_cancellation_cannot_mean_counts_or_is_told(engine: Engine) -> None:
    """Approved, cancelled by a document, approved anew an hour after its receipt: it is no lost notice."""
    story = DayStory(engine)
    problems, end = hear(story, (Turn("R01", None, 10), certificate("R03"), Turn("R01", None, 19)))
    assert problems == [None, None, None]
    assert end[1:4] == (APPROVED, APPROVED, APPROVED)

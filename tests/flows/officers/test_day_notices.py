"""Officers decide at the console, and the system of the same agency delivers certificates of a day alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionAct, DecisionPurpose
from gateway.errors import GatewayError
from gateway.web.officers import Officer
from tests.kit.databases import BOTH
from tests.kit.day_turns import DayStory, Turn, say_turn
from tests.kit.officers import ConsoleStory

APPROVED, REJECTED = "APPROVED", "REJECTED"


class ConsoleDayStory(ConsoleStory, DayStory):
    """A story in which KPTA has both: officers at the console, and a system of its own."""

    kim: Officer

    def decide_at_console(self, certificate: str | None, *, refused: bool = False) -> str | None:
        """Let an officer decide; return the id of the problem by which it is refused."""
        seen = self.look()
        purpose = DecisionPurpose.DECIDE if seen.state != "DECIDED" else DecisionPurpose.CORRECT
        act = DecisionAct(purpose, self.decide_items("KPTA", certificate, refused=refused))
        try:
            done = self.desk.perform_act(self.kim, seen.number, act, seen.shown_digest)
        except GatewayError as error:
            return error.problem.id
        return None if done.problem is None else str(done.problem)


@pytest.fixture
def story(engine: Engine) -> ConsoleDayStory:
    made = ConsoleDayStory(engine)
    made.kim = made.officer("kim", "approver")
    return made


def rest(story: ConsoleDayStory) -> tuple[str | None, str | None]:
    for _ in range(3):
        story.tick(seconds=5)
    return story.case().outcome, story.find_decision_in_force()


def say_in_order(
    story: ConsoleDayStory, acts: Sequence[Callable[[], str | None]], order: Sequence[int]
) -> list[str | None]:
    problems = []
    for place in order:
        story.tick(seconds=5)
        problems.append(acts[place]())
    return problems


@BOTH
def test_what_an_officer_has_decided_is_not_changed_by_a_document_and_its_system_is_told(
    story: ConsoleDayStory,
) -> None:
    application = story.file()
    assert story.decide_at_console("P-9") is None
    assert say_turn(story, Turn("R03", "P-9"), application) == "GW703"
    assert rest(story) == (APPROVED, APPROVED)


@BOTH
def test_what_an_officer_refuses_after_a_certificate_was_received_stays_refused(
    story: ConsoleDayStory,
) -> None:
    application = story.file()
    for turn in (Turn("R01", "P-9", 10), Turn("R02", "P-9")):
        assert say_turn(story, turn, application) is None
    story.tick(minutes=5)
    assert story.decide_at_console(None, refused=True) is None
    assert rest(story) == ("PARTIAL", REJECTED)


@pytest.mark.long
def test_an_officer_a_call_and_a_document_in_every_order(story: ConsoleDayStory) -> None:
    """Approved by a call, cancelled by a document, refused by an officer now: no order frees the goods."""
    for order in permutations(range(3)):
        application = story.file()
        acts: list[Callable[[], str | None]] = [
            lambda: say_turn(story, Turn("R01", "P-9", 10), application),  # noqa: B023
            lambda: say_turn(story, Turn("R03", "P-9"), application),  # noqa: B023
            lambda: story.decide_at_console(None, refused=True),
        ]
        problems = say_in_order(story, acts, order)
        # What comes behind the decision of an officer is refused.
        assert problems == [None] * (order.index(2) + 1) + ["GW703"] * (2 - order.index(2))
        assert rest(story) == ("PARTIAL", REJECTED), order


@pytest.mark.long
def test_a_new_certificate_of_an_officer_replaces_the_cancelled_one(story: ConsoleDayStory) -> None:
    for order in permutations(range(3)):
        application = story.file()
        acts: list[Callable[[], str | None]] = [
            lambda: say_turn(story, Turn("R01", "P-9"), application),  # noqa: B023
            lambda: say_turn(story, Turn("R03", "P-9"), application),  # noqa: B023
            lambda: story.decide_at_console("P-10"),
        ]
        problems = say_in_order(story, acts, order)
        assert problems == [None] * (order.index(2) + 1) + ["GW703"] * (2 - order.index(2))
        assert rest(story) == (APPROVED, APPROVED), order

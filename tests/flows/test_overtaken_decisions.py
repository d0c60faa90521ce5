"""A call under a RequirementNumber overtakes the decision that gives an application this number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from threading import Event, Thread, current_thread
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, DecisionCode, Notice
from gateway.hub import apply_call_back, apply_results
from gateway.operations import read_case_report
from gateway.store import cases, decisions, make_engine, read_transaction
from tests.flows.craft import all_of, text
from tests.flows.item_changes import add_item, amendment, concern
from tests.flows.test_outside_results import customs, requirement
from tests.flows.test_requirement_ledger import declare, register
from tests.kit.databases import BOTH, Templates
from tests.kit.kills import die_at
from tests.kit.levels import at_night
from tests.kit.officers import ConsoleStory
from tests.kit.story import Story

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
NUMBER = "2026-118"


def word(
    story: Story, name: str, code: DecisionCode, minutes: int, quantity: str | None = "100", **more: Any
) -> Notice:
    """Return a notice of KFDA about its item, which names the certificate."""
    at = story.clock() + timedelta(minutes=minutes)
    (one,) = story.notice("KFDA", code, number=name, at=at).decisions
    granted = {} if quantity is None else {"quantity": Decimal(quantity), "unit": "KGM"}
    said = story.notice("KFDA", code, number=name, at=at)
    return replace(said, decisions=(replace(one, number=NUMBER, **granted),), **more)


def hear(story: Story, notice: Notice, *, of_application: bool) -> None:
    """Let KFDA tell a notice about its application, or under the number of the certificate."""
    number = (
        {"application_number": story.number_of("KFDA")} if of_application else {"requirement_number": NUMBER}
    )
    apply_call_back(story.hub, "KFDA", AgencyCallback(notice, **number))


def forwarded(engine: Engine) -> Story:
    story = Story(engine)
    story.submit()
    story.tick()
    story.decide_all("KFDA")
    story.tick()
    return story


@pytest.fixture
def story_of(engine: Engine) -> Story:
    return forwarded(engine)


def rest(story: Story) -> tuple[Any, ...]:
    """Return what must not depend on the order in which the calls came."""
    for _ in range(3):
        story.tick(minutes=2)
    case = story.case()
    with read_transaction(story.house.engine) as conn:
        report = read_case_report(conn, case)
    told = [call[2] for call in customs(story) if call[1] == "19"]
    decided = sorted((one["item"], one["decision"], str(one["number"])) for one in report["decisions"])
    return case.state, case.outcome, story.outcome(), told[-1:], decided


def spend(story: Story, quantity: str) -> list[str]:
    """File another declaration that uses the certificate; return the problems of its Result."""
    declare(story, "D2", (2, NUMBER, quantity, "KGM"))
    story.tick()
    return [one.get("id", "") for one in story.result().findall("{*}Problem")]


#: What KFDA says in the order in which it issues it: name, decision, minutes, quantity, and what is more.
#: The first is about its application, the others are told under the number.
TURNS: dict[str, list[tuple[str, DecisionCode, int, str | None]]] = {
    "rejected": [("a", APPROVED, 0, "100"), ("b", REJECTED, 1, None)],
    "reduced": [("a", APPROVED, 0, "100"), ("b", APPROVED, 1, "60")],
    "older": [("a", APPROVED, 0, "100"), ("b", REJECTED, -1, None)],
    "rejected, then reduced": [
        ("a", APPROVED, 0, "100"),
        ("b", REJECTED, 1, None),
        ("c", APPROVED, 2, "60"),
    ],
    "without a quantity": [("a", APPROVED, 0, None), ("b", REJECTED, 1, None)],
}


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "turn"),
    [
        *(("sqlite", turn) for turn in TURNS),
        ("postgresql", "rejected"),
        *(pytest.param("postgresql", turn, marks=pytest.mark.night) for turn in TURNS if turn != "rejected"),
    ],
)
def test_every_order_of_arrival_ends_alike(kind: str, turn: str, templates: Templates) -> None:
    ends = []
    for order in permutations(range(len(TURNS[turn]))):
        engine = make_engine(templates.fresh(kind))
        story = forwarded(engine)
        said = [word(story, *one) for one in TURNS[turn]]
        for place in order:
            hear(story, said[place], of_application=place == 0)
        left = spend(story, "70") if TURNS[turn][0][3] else []
        ends.append((rest(story), left))
        engine.dispose()
    for one in ends:
        assert one == ends[0]


@pytest.mark.parametrize("then", [REJECTED, APPROVED])
@pytest.mark.parametrize("kind", ["sqlite", *at_night("postgresql")])
def test_a_number_without_a_quantity_is_no_certificate_in_any_order(
    then: DecisionCode, kind: str, templates: Templates
) -> None:
    """A later declaration waits for the number, as it does where nothing was said under the number before."""
    ends = []
    for first in (True, False):
        engine = make_engine(templates.fresh(kind))
        story = forwarded(engine)
        said = [(word(story, "a", APPROVED, 0, None), True), (word(story, "b", then, 1, None), False)]
        for notice, of_application in said if first else said[::-1]:
            hear(story, notice, of_application=of_application)
        assert spend(story, "70") == []
        warned = [(one.get("id"), one.text) for one in story.result().findall("{*}Warning")]
        ends.append([one for one in warned if one[0] in ("GW411", "GW413")])
        engine.dispose()
    assert ends[0] == ends[1]
    assert [one for one, _ in ends[0]] == ["GW413"]


@pytest.mark.long
def test_all_that_a_notice_said_is_told_with_it(story_of: Story) -> None:
    story = story_of
    until = (story.clock() + timedelta(days=9)).date()
    first = word(story, "a", APPROVED, 0)
    then = word(story, "b", APPROVED, 1, "60", text="Less than before.", valid_until=until)
    hear(story, then, of_application=False)
    hear(story, first, of_application=True)
    rest(story)
    assert (requirement(story).valid_until, requirement(story).holder) == (until, "1248612345")
    assert any("Less than before." in "".join(one.itertext()) for one in story.inbox.documents("Notice"))
    # Its repetition says nothing new, under either number.
    before = rest(story)
    hear(story, then, of_application=False)
    assert rest(story) == before


@pytest.mark.long
def test_what_the_application_does_not_contain_stays_a_result(story_of: Story) -> None:
    story = story_of
    said = word(story, "b", REJECTED, 1, None)
    other = replace(said, decisions=tuple(replace(one, item=9) for one in said.decisions))
    hear(story, other, of_application=False)
    hear(story, word(story, "a", APPROVED, 0), of_application=True)
    assert rest(story)[1] == "APPROVED"


@pytest.mark.long
def test_what_is_said_later_counts_for_both(story_of: Story) -> None:
    """A declaration that joined the result is told of what comes later, and so is the application."""
    story = story_of
    hear(story, word(story, "b", APPROVED, 1), of_application=False)
    declare(story, "D2", (2, NUMBER, "40", "KGM"))
    story.tick(minutes=1)
    hear(story, word(story, "a", APPROVED, 0), of_application=True)
    hear(story, word(story, "c", REJECTED, 2, None), of_application=False)
    for _ in range(3):
        story.tick(minutes=2)
    with read_transaction(story.house.engine) as conn:
        found = [read_case_report(conn, one) for one in cases.list_cases(conn, limit=2)]
    assert [one["outcome"] for one in found] == ["PARTIAL", "PARTIAL"]
    rejected = [
        [one["item"] for one in (*report["decisions"], *report["results"]) if one["decision"] == "REJECTED"]
        for report in found
    ]
    assert rejected == [[2], [2]]


def list_applied(story: Story) -> list[str]:
    return [kind for kind in story.evidence("requirement", requirement(story).id) if kind == "applied"]


@pytest.mark.long
def test_a_second_application_under_the_number_is_decided_too(story_of: Story) -> None:
    story = story_of
    first = story.number_of("KFDA")
    story.submit(story.submission(all_of(text("Reference", "R2"), text(".//FunctionalReferenceID", "R2"))))
    story.tick()
    second = story.request("KFDA").number
    assert first != second
    hear(story, word(story, "b", APPROVED, 1), of_application=False)
    for name, application in (("a1", first), ("a2", second)):
        said = AgencyCallback(word(story, name, APPROVED, 0), application_number=application)
        apply_call_back(story.hub, "KFDA", said)
    story.tick()
    assert story.request("KFDA").state == "DECIDED"
    assert list_applied(story) == ["applied"]


def test_a_registered_certificate_stays_its_holders(story_of: Story) -> None:
    story = story_of
    register(story, NUMBER, "100", "KGM")
    hear(story, word(story, "b", APPROVED, 1), of_application=False)
    hear(story, word(story, "a", APPROVED, 0), of_application=True)
    assert requirement(story).holder == ""


def approve_after(story: Story, result: Notice) -> tuple[list[str], str]:
    """Let KFDA approve its application under the number of an earlier result.

    Return whether the result was applied to the application, as evidence, and the decision on item 2.
    """
    hear(story, result, of_application=False)
    hear(story, word(story, "a", APPROVED, 0), of_application=True)
    story.tick()
    return list_applied(story), story.outcome()[1][2]


def state_again(notice: Notice, subjects: Sequence[tuple[int, str]]) -> Notice:
    """Return a notice that decides about each item and law of `subjects` as it does about its own."""
    (decision,) = notice.decisions
    decided = (replace(decision, item=item, law=law) for item, law in subjects)
    return replace(notice, decisions=tuple(decided))


@pytest.mark.parametrize(
    "subjects", [[(9, "05")], [(2, "05"), (9, "05")], [(9, "05"), (2, "05")], [(2, "69")]], ids=str
)
def test_a_result_that_names_what_the_application_does_not_contain_is_not_applied(
    story_of: Story, subjects: Sequence[tuple[int, str]]
) -> None:
    """It is left out as a whole, and does not hinder the decision on the application."""
    rejection = state_again(word(story_of, "b", REJECTED, 1, None), subjects)
    assert approve_after(story_of, rejection) == ([], "APPROVED")


@pytest.mark.parametrize(("seconds", "applied"), [(0, ["applied"]), (-1, [])])
def test_a_result_from_before_the_case_is_not_applied(
    story_of: Story, seconds: int, applied: list[str]
) -> None:
    """A day is allowed for a slow clock. An older result does not hinder the decision either."""
    issued_at = story_of.case().opened_at + timedelta(days=-1, seconds=seconds)
    rejection = replace(word(story_of, "b", REJECTED, 0, None), issued_at=issued_at)
    assert approve_after(story_of, rejection) == (applied, "APPROVED")


@pytest.mark.parametrize("items", [(2,), (2, 4), (4, 2)], ids=str)
def test_a_result_that_names_a_removed_item_is_applied_to_the_others(
    engine: Engine, items: tuple[int, ...]
) -> None:
    story = Story(engine)
    story.submit(story.submission(all_of(add_item(4, 2), concern("A2", 4, 2))))
    story.tick()
    story.submit(story.submission(amendment()), action="Amend")
    story.tick(seconds=1)
    asked = story.request("KFDA")
    assert (asked.required, asked.removed) == ([[2, "05"]], [[4, "05"]])
    story.decide_all("KFDA")
    rejection = state_again(word(story, "b", REJECTED, 1, None), [(item, "05") for item in items])
    assert approve_after(story, rejection) == (["applied"], "REJECTED")


@pytest.mark.long
def test_what_officers_decided_is_not_changed_by_their_system(engine: Engine) -> None:
    story = ConsoleStory(engine, "KPTA")
    seen, kim = story.arrive(), story.officer("kim")
    number = story.decision().decisions[0].number
    said = story.notice("KPTA", REJECTED, number="kept", at=story.clock() + timedelta(hours=1))
    said = replace(said, decisions=tuple(replace(one, number=number) for one in said.decisions))
    apply_call_back(story.hub, "KPTA", AgencyCallback(said, requirement_number=number))
    done = story.desk.perform_act(kim, story.request("KPTA").number, story.decision(), seen.shown_digest)
    story.tick(minutes=2)
    assert done.state == "PERFORMED"
    with read_transaction(engine) as conn:
        report = read_case_report(conn, story.case())
    assert [one["decision"] for one in report["decisions"]] == ["APPROVED"]


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("point", ["before", "after"])
def test_a_killed_process_applies_it_once(engine: Engine, point: str) -> None:
    story = forwarded(engine)
    hear(story, word(story, "b", APPROVED, 1), of_application=False)
    hear(story, word(story, "a", APPROVED, 0), of_application=True)
    story.tick(minutes=1)
    hear(story, word(story, "c", REJECTED, 2, None), of_application=False)
    found = requirement(story).id
    die_at(story, f"reply.results.{point}_commit", lambda hub: apply_results(hub, found, lambda _conn: None))
    assert rest(story)[1] == "PARTIAL"
    with read_transaction(engine) as conn:
        report = read_case_report(conn, story.case())
    assert [one["decision"] for one in report["decisions"] if one["item"] == 2].count("REJECTED") == 1


@pytest.mark.long
def test_a_decision_at_the_same_instant_finds_it(postgresql_url: str) -> None:
    """The decision names a number without a quantity: nothing makes it wait for the other transaction."""
    engine = make_engine(postgresql_url)
    story = forwarded(engine)
    first, then = word(story, "a", APPROVED, 0, None), word(story, "b", REJECTED, 1, None)
    stored, go_on = Event(), Event()

    real, looks = decisions.find_by_requirement, []

    def find_and_wait(*what: Any) -> Any:
        """Wait behind the last look of the call, which is in its transaction."""
        found = real(*what)
        if current_thread() is thread:
            looks.append(found)
            if len(looks) == 2:
                stored.set()
                go_on.wait(60)
        return found

    thread = Thread(target=lambda: hear(story, then, of_application=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decisions, "find_by_requirement", find_and_wait)
        thread.start()
        assert stored.wait(60)
        hear(story, first, of_application=True)
        go_on.set()
        thread.join(60)
    assert rest(story)[1] == "PARTIAL"
    engine.dispose()

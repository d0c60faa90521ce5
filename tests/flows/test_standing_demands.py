"""A question, an inspection and a fee are owed each on its own, in whatever order they are told and settled.

What is expected is calculated from the rules of the manual (deadlines.md, states.md) alone.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.cases import NamedFee, Notice
from gateway.operations import read_custody_times
from gateway.store import cases, read_transaction
from tests.flows.craft import all_of, supplement, text, without
from tests.flows.test_amendments import amend
from tests.flows.test_deadlines import rows, seoul, states, told, until
from tests.flows.test_fees import KRW, Provider, provider, story
from tests.kit.databases import BOTH
from tests.kit.story import Story, asked

__all__ = ["provider", "story"]  # fixtures

AGENCY = "NPQS"
#: What the agency says, in the order in which it was issued.
SAID = ("inspect", "ask", "levy", "over", "confirm")
#: All that may happen to one application.
EVENTS = (*SAID, "answer", "decide")
#: Reminders and deadlines have passed then.
LATER = seoul("2026-12-20T12:00")
DUE = seoul("2026-12-02T12:00")


def make_notice(held: Story, what: str, base: datetime) -> Notice:
    """Return the notice of an event; `base` is when the first one was issued."""
    at = base + timedelta(minutes=SAID.index(what) if what in SAID else 30)
    code = {"inspect": "E01", "ask": "D01", "levy": "Y05", "over": "E07", "confirm": "Y08"}[what]
    fee = NamedFee(KRW if what == "levy" else None, payment_notice="F1") if code[0] == "Y" else None
    deadline = DUE if what in ("inspect", "ask", "levy") else None
    return replace(asked(held, AGENCY, what, status=code, deadline=deadline), issued_at=at, fee=fee)


def happen(held: Story, what: str, base: datetime) -> None:
    held.tick(seconds=1)
    if what == "answer":
        drops = [without(f"Application[@id='{one}']") for one in ("A1", "A2")]
        held.submit(held.submission(all_of(supplement, *drops)), action="Supplement", attach=False)
        held.tick(seconds=1)
    elif what == "decide":
        held.decide(AGENCY)
    else:
        held.hear(AGENCY, make_notice(held, what, base))
    held.tick(seconds=1)


def open_application(held: Story) -> datetime:
    """Let an application be acknowledged; return from when on its agency issues notices."""
    held.hub.payments = replace(held.hub.payments, tariffs={})
    held.submit()
    held.tick(seconds=1)
    held.tick(hours=1)
    return held.clock() - timedelta(minutes=40)


def find_open(happened: Sequence[str]) -> list[str]:
    """Return what stands after events, in the order in which it was issued: the last one leads."""
    if "decide" in happened:
        return ["levy"] if "levy" in happened and "confirm" not in happened else []
    found = []
    if "inspect" in happened and "over" not in happened:
        found.append("inspect")
    # A supplement answers what had been asked before it.
    if "ask" in happened and "answer" not in happened[happened.index("ask") :]:
        found.append("ask")
    if "levy" in happened and "confirm" not in happened:
        found.append("levy")
    return found


def expect(happened: Sequence[str]) -> dict[str, Any]:
    """Return state, tasks, and live deadlines of the application, by the manual.

    Each task has its deadline, but for that of the decision, which follows from the calendar.
    """
    found = find_open(happened)
    owed = {"inspect": "inspect", "ask": "answer", "levy": "pay"}
    live = {owed[one]: "OPEN" for one in found}
    holders = {"pay": "applicant", "answer": "applicant", "inspect": "agency"}
    tasks = [(holder, task, DUE) for task, holder in holders.items() if task in live]
    if "decide" in happened:
        return {"state": "DECIDED", "tasks": tasks, "live": live}
    waits = {"ask", "levy"} & set(found)
    live["decide"] = "HELD" if waits else "OPEN"
    state = {"inspect": "INSPECTION", "ask": "INFORMATION_REQUIRED", "levy": "FEE_DUE"}
    last = found[-1] if found else ""
    return {
        "state": state.get(last, "ACKNOWLEDGED"),
        "tasks": tasks or [("agency", "decide", None)],
        "live": live,
    }


def see(held: Story) -> dict[str, Any]:
    """Return what `expect` returns, as it is stored."""
    request = held.request(AGENCY)
    with read_transaction(held.house.engine) as conn:
        case = cases.find_by_id(conn, request.case_id)
        timetable = held.hub.timetable.read_timetable(conn)
        told = read_custody_times(conn, case, timetable, held.clock())
    (custody,) = [one for one in told if one["agency"] == AGENCY]
    for name in ("holder", "task", "since", "due_at"):
        assert custody[name] == (custody["tasks"][0][name] if custody["tasks"] else None)
    assert all(one["since"] is not None for one in custody["tasks"])
    assert all(one["due_at"] == request.due_at for one in custody["tasks"] if one["task"] == "decide")
    kinds = ("decide", "answer", "pay", "inspect")
    live = [one for kind in kinds for one in rows(held, AGENCY, kind) if one.ended_at is None]
    assert len({one.kind for one in live}) == len(live)
    return {
        "state": request.state,
        "tasks": [
            (one["holder"], one["task"], None if one["task"] == "decide" else one["due_at"])
            for one in custody["tasks"]
        ],
        "live": {one.kind: one.state for one in live},
    }


def list_orders() -> Iterator[tuple[str, ...]]:
    """Yield every order of the events in which nothing is answered after the decision."""
    for order in itertools.permutations(EVENTS):
        if order.index("answer") < order.index("decide"):
            yield order


def draw_orders(seed: int, count: int) -> list[tuple[str, ...]]:
    return random.Random(seed).sample(list(list_orders()), count)


@pytest.mark.night
@BOTH
@pytest.mark.parametrize("order", draw_orders(31, 40), ids="-".join)
def test_each_demand_stands_until_it_is_settled_in_every_order(
    story: Story, provider: Provider, order: tuple[str, ...]
) -> None:
    """State, holder and deadlines follow from what has happened, after each event of any order."""
    base = open_application(story)
    for count, what in enumerate(order, start=1):
        happen(story, what, base)
        assert see(story) == expect(order[:count]), order[:count]


@pytest.mark.long
@pytest.mark.parametrize("order", list(itertools.permutations(("inspect", "ask", "levy"))), ids="-".join)
def test_what_nobody_settles_is_reminded_of_and_overdue_in_every_order(
    story: Story, provider: Provider, order: tuple[str, ...]
) -> None:
    base = open_application(story)
    for what in order:
        happen(story, what, base)
    for kind in ("pay", "answer", "inspect"):
        until(story, rows(story, AGENCY, kind)[0].remind_at + timedelta(seconds=1))
    until(story, LATER)
    story.tick(seconds=1)
    heard = sorted(one for one in told(story) if one[1] == AGENCY)
    kinds = ("answer", "inspect", "pay")
    assert heard == sorted(
        (f"deadline.{what}", AGENCY, kind) for what in ("overdue", "reminded") for kind in kinds
    )
    # The time of the agency has not run.
    assert states(story, AGENCY)["decide"] == ["HELD"]
    for what in ("over", "confirm", "answer"):
        happen(story, what, base)
    assert states(story, AGENCY) == {
        "acknowledge": ["MET"],
        "decide": ["OPEN"],
        "answer": ["LATE"],
        "pay": ["MET"],
        "inspect": ["LATE"],
    }


@pytest.mark.long
@BOTH
def test_an_inspection_ends_with_its_own_notice_and_not_by_one_that_it_goes_on(story: Story) -> None:
    base = open_application(story)
    happen(story, "inspect", base)
    # That it is under way takes nothing from its time; another time takes its place.
    later = replace(asked(story, AGENCY, "way", status="E06"), issued_at=base + timedelta(minutes=10))
    story.hear(AGENCY, later)
    (owed,) = rows(story, AGENCY, "inspect")
    assert (owed.state, owed.due_at) == ("OPEN", DUE)
    again = asked(story, AGENCY, "again", status="E03", deadline=DUE + timedelta(days=1))
    story.hear(AGENCY, replace(again, issued_at=base + timedelta(minutes=20)))
    assert states(story, AGENCY)["inspect"] == ["CANCELLED", "OPEN"]
    # What was over before is not what was ordered then.
    story.hear(AGENCY, replace(make_notice(story, "over", base), issued_at=base + timedelta(minutes=15)))
    assert states(story, AGENCY)["inspect"] == ["CANCELLED", "OPEN"]
    assert story.request(AGENCY).state == "INSPECTION"
    done = asked(story, AGENCY, "done", status="J10")
    story.hear(AGENCY, replace(done, issued_at=base + timedelta(minutes=30)))
    assert states(story, AGENCY)["inspect"] == ["CANCELLED", "MET"]
    assert story.request(AGENCY).state == "ACKNOWLEDGED"


@pytest.mark.long
def test_a_question_is_answered_by_what_was_received_after_it(story: Story) -> None:
    """One that comes between the receipt of a supplement and its admission stands."""
    open_application(story)
    story.submit(story.submission(supplement), action="Supplement")
    story.clock.forward(seconds=1)
    story.hear(AGENCY, asked(story, AGENCY, "Q1", deadline=DUE))
    story.tick(seconds=1)
    assert story.request(AGENCY).state == "INFORMATION_REQUIRED"
    assert states(story, AGENCY)["answer"] == ["OPEN"]
    # A question that was issued before and comes later was replaced by it.
    early = asked(story, AGENCY, "Q0", deadline=DUE)
    story.hear(AGENCY, replace(early, issued_at=story.clock() - timedelta(minutes=30)))
    assert states(story, AGENCY)["answer"] == ["OPEN"]
    story.submit(story.submission(supplement), action="Supplement")
    story.tick(seconds=1)
    assert states(story, AGENCY)["answer"] == ["MET"]


@pytest.mark.long
@BOTH
def test_an_amendment_ends_what_was_asked_about_the_former_application(
    story: Story, provider: Provider
) -> None:
    base = open_application(story)
    for what in ("inspect", "ask", "levy"):
        happen(story, what, base)
    amend(story, text("Application[@id='A3']/Fields/Item/IssuingNppo", "NVWA"))
    assert states(story, AGENCY) == {
        "acknowledge": ["MET"],
        "decide": ["CANCELLED", "HELD"],
        "answer": ["CANCELLED"],
        "inspect": ["CANCELLED"],
        "pay": ["OPEN"],
    }
    assert story.request(AGENCY).state == "FEE_DUE"
    happen(story, "confirm", base)
    assert story.request(AGENCY).state == "ACKNOWLEDGED"
    # That the former inspection is over is no news; a new one stands.
    happen(story, "over", base)
    assert story.request(AGENCY).state == "ACKNOWLEDGED"
    story.hear(AGENCY, asked(story, AGENCY, "E", status="E01", deadline=DUE))
    assert states(story, AGENCY)["inspect"] == ["CANCELLED", "OPEN"]


@pytest.mark.long
@pytest.mark.parametrize("order", list(itertools.permutations(("F1", "F2", "end"))), ids="-".join)
def test_an_application_is_due_while_a_fee_is_open(
    story: Story, provider: Provider, order: tuple[str, ...]
) -> None:
    """Also where the fee that was levied first is told after the last one has ended."""
    base = open_application(story)
    for what in order:
        at, code, money = {"F2": (0, "Y05", KRW), "F1": (5, "Y01", KRW), "end": (9, "Y04", None)}[what]
        name = NamedFee(money, payment_notice="F2" if what == "F2" else "F1")
        story.hear(AGENCY, Notice(what, base + timedelta(minutes=at), code, fee=name))
        story.tick(seconds=1)
    assert story.request(AGENCY).state == "FEE_DUE"
    assert states(story, AGENCY)["decide"] == ["HELD"]

"""Deadlines of cases: they begin, are reminded of, pass, are met, replaced, held and cancelled."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from gateway.calendars import Timetable, read_calendar
from gateway.delivery.agents import LocalAgent
from gateway.errors import OUR_MISTAKE, TRANSITION_REFUSED, GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub import Hub, describe_event
from gateway.hub.deadlines import (
    deadline_clockwork,
)
from gateway.hub.deadlines.active_timetable import (
    ActiveTimetable,
    load_shipped_timetable,
)
from gateway.hub.deadlines.case_deadlines import (
    settle_deadlines,
)
from gateway.hub.deadlines.deadline_clockwork import (
    fire_due_deadlines,
)
from gateway.state_machines import CASE
from gateway.store import agency_requests, deadlines, read_transaction, write_transaction
from gateway.store.deadlines import deadlines as table
from gateway.store.event_readers import list_events
from tests.flows.craft import all_of, because, reference, supplement, text, withdrawal
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.paths import ROOT
from tests.kit.story import AGENCIES, PLAN, QUIET, Story, asked, unreachable

# The story begins on Friday, 20 November 2026, 18:00 in Seoul.


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    started.submit()
    started.tick()
    return started


def seoul(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+09:00")


def rows(story: Story, agency: str, kind: str) -> list[Any]:
    """Return the deadlines of a kind about the application of an agency, oldest first."""
    with read_transaction(story.house.engine) as conn:
        known = deadlines.list_by_case(conn, story.case().id)
    return [row for row in known if (row.agency, row.kind) == (agency, kind)]


def states(story: Story, agency: str) -> dict[str, list[str]]:
    kinds = ("acknowledge", "decide", "answer", "pay", "inspect")
    return {kind: [one.state for one in found] for kind in kinds if (found := rows(story, agency, kind))}


def until(story: Story, moment: datetime) -> None:
    """Move the clock to a moment and let the workers do what is due."""
    story.tick(seconds=(moment - story.clock()).total_seconds())


def told(story: Story) -> list[tuple[str, str, str]]:
    """Return the events about deadlines that the broker is told: type, agency, kind."""
    with read_transaction(story.house.engine) as conn:
        found = [describe_event(row) for row in list_events(conn, "broker1", 0, 1000)]
    return [(one["type"], one["agency"], one["deadline"]) for one in found if "deadline" in one]


def evidence(story: Story, agency: str, kind: str) -> list[dict[str, Any]]:
    with read_transaction(story.house.engine) as conn:
        leaves = list_subject_leaves(conn, "request", story.request(agency).id)
    return [json.loads(one.data) for one in leaves if one.kind == kind]


def notices(story: Story) -> list[tuple[str, str]]:
    """Return text and deadline of the hub's own notices."""
    found = [one.find("{*}Request") for one in story.inbox.documents("Notice")]
    return [
        (one.findtext("{*}Text") or "", one.findtext("{*}Deadline") or "")
        for one in found
        if one is not None and one.find("{*}NoticeNumber") is None
    ]


@BOTH
def test_an_application_is_due_by_the_terms_of_its_document(story: Story) -> None:
    (decide,) = rows(story, "KFDA", "decide")
    # Ten working days after a Friday.
    assert (decide.state, decide.due_at) == ("OPEN", seoul("2026-12-04T18:00"))
    assert decide.remind_at == seoul("2026-12-02T09:00")
    assert decide.edition == "kr-public-offices@2026-2027"
    # The agency acknowledged in its answer to the call.
    assert states(story, "KFDA") == {"acknowledge": ["MET"], "decide": ["OPEN"]}
    assert story.request("KFDA").due_at == decide.due_at


def test_a_new_case_owes_what_settling_its_deadlines_finds(engine: Engine) -> None:
    story = Story(engine)
    for agency in AGENCIES:
        story.say(agency, unreachable())
    story.submit()
    story.tick()

    def look() -> tuple[list[Any], list[Any]]:
        with read_transaction(engine) as conn:
            asked = agency_requests.list_by_case(conn, story.case().id)
            return list(deadlines.list_by_case(conn, story.case().id)), list(asked)

    begun, asked = look()
    assert [one.state for one in asked] == ["PREPARED"] * 3
    kinds = [(one.id, kind) for one in asked for kind in ("acknowledge", "decide")]
    assert [(one.request_id, one.kind) for one in begun] == kinds
    assert {one.state for one in begun} == {"OPEN"}
    first = {one.request_id: one.due_at for one in begun if one.kind == "acknowledge"}
    assert {one.id: one.due_at for one in asked} == first
    with write_transaction(engine) as conn:
        settle_deadlines(conn, story.hub, story.case().id, story.clock())
    assert look() == (begun, asked)


@pytest.mark.parametrize(
    ("mistake", "logged"),
    [
        (RuntimeError("a row of another version"), "cannot be settled; it is tried again"),
        (
            GatewayError(TRANSITION_REFUSED, "request 1 was changed by another meanwhile"),
            "the deadline waits",
        ),
        (GatewayError(OUR_MISTAKE), "the deadline waits"),
    ],
    ids=["a mistake of ours", "a refused transition", "a mistake that is named"],
)
def test_a_case_that_cannot_be_settled_delays_no_other(
    story: Story,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mistake: Exception,
    logged: str,
) -> None:
    """Each deadline that is due is tried, whatever the one before it did, and again in the next pass."""
    asked = deadline_clockwork.settle_deadlines
    broken: list[int] = []

    def settle_or_break(conn: Any, hub: Hub, case_id: int, now: datetime) -> None:
        if not broken:
            broken.append(case_id)
            raise mistake
        asked(conn, hub, case_id, now)

    monkeypatch.setattr(deadline_clockwork, "settle_deadlines", settle_or_break)
    story.clock.now = seoul("2026-12-02T09:01")
    due = fire_due_deadlines(story.hub)
    assert due == len(AGENCIES)
    assert logged in caplog.text
    assert fire_due_deadlines(story.hub) == 1
    assert fire_due_deadlines(story.hub) == 0


@BOTH
def test_a_hundred_deadlines_that_cannot_be_settled_delay_no_other(
    story: Story, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are the oldest, and those of other cases fire in the next pass."""
    asked, broken = deadline_clockwork.settle_deadlines, story.case().id
    (row,) = rows(story, "KFDA", "decide")
    with write_transaction(story.house.engine) as conn:
        copied = {name: value for name, value in row._mapping.items() if name in table.c and name != "id"}
        early = {"next_at": story.clock(), "kind": "pay"}
        conn.execute(insert(table), [copied | early | {"cause": f"F{number}"} for number in range(100)])
    story.submit(story.submission(reference("B-2")))
    story.tick()

    def settle_or_break(conn: Any, hub: Hub, case_id: int, now: datetime) -> None:
        if case_id == broken:
            raise KeyError("a row of another version")
        asked(conn, hub, case_id, now)

    monkeypatch.setattr(deadline_clockwork, "settle_deadlines", settle_or_break)
    until(story, seoul("2026-12-02T09:01"))
    story.tick(seconds=1)
    assert sorted(told(story)) == [("deadline.reminded", agency, "decide") for agency in sorted(AGENCIES)]
    logged = [one for one in caplog.records if "cannot be settled" in one.message]
    assert {one.case_id for one in logged} == {broken}
    assert len({one.deadline for one in logged}) == 100 + len(AGENCIES)


@pytest.mark.long
@BOTH
def test_a_decision_in_time_ends_everything(story: Story) -> None:
    story.decide_all()
    story.tick(days=60)
    assert all(set(state) == {"MET"} for agency in AGENCIES for state in states(story, agency).values())
    assert told(story) == []
    assert story.request("KFDA").due_at is None


@pytest.mark.long
def test_an_agency_that_does_not_decide_is_reminded_and_overdue_and_its_decision_is_late(
    story: Story,
) -> None:
    story.decide_all("KFDA")
    until(story, seoul("2026-12-02T09:01"))
    assert told(story) == [("deadline.reminded", "KFDA", "decide")]
    until(story, seoul("2026-12-04T18:00"))
    assert len(told(story)) == 1
    until(story, seoul("2026-12-04T18:01"))
    story.tick(days=30)
    assert told(story) == [("deadline.reminded", "KFDA", "decide"), ("deadline.overdue", "KFDA", "decide")]
    assert [one for one, _ in story.steps(CASE, story.case().id)].count("deadline") == 1
    # Overdue decides nothing, and the applicant has nothing to do.
    assert story.case().state == "IN_PROGRESS"
    assert notices(story) == []
    (said,) = evidence(story, "KFDA", "overdue")
    assert (said["kind"], said["due"]) == ("decide", "2026-12-04T09:00:00+00:00")
    story.decide("KFDA")
    story.tick()
    assert story.outcome()[0] == "APPROVED"
    assert states(story, "KFDA")["decide"] == ["LATE"]
    assert len(evidence(story, "KFDA", "late")) == 1


@pytest.mark.long
def test_a_question_has_the_time_that_the_agency_states_and_the_declarant_is_told(story: Story) -> None:
    due = seoul("2026-11-26T12:00")
    story.hear("NPQS", asked(story, "NPQS", "Q1", deadline=due))
    story.tick()
    (answer,) = rows(story, "NPQS", "answer")
    assert (answer.state, answer.due_at, answer.cause) == ("OPEN", due, "NPQS-Q1")
    assert story.request("NPQS").due_at == due
    # While the declarant has to act, the time of the agency does not run.
    assert states(story, "NPQS")["decide"] == ["HELD"]
    until(story, seoul("2026-11-24T09:01"))
    assert notices(story) == [
        ("Reminder: NPQS waits for an answer until 2026-11-26T03:00+00:00.", "2026-11-26T03:00:00.000Z")
    ]
    until(story, due + timedelta(seconds=1))
    assert [one for one, _ in notices(story)][1].startswith("Overdue: NPQS has waited for an answer")
    assert told(story) == [("deadline.reminded", "NPQS", "answer"), ("deadline.overdue", "NPQS", "answer")]
    # The late answer is accepted, and marked.
    story.submit(story.submission(supplement), action="Supplement")
    story.tick()
    assert states(story, "NPQS")["answer"] == ["LATE"]
    (decide,) = rows(story, "NPQS", "decide")
    # Held from Friday to Thursday: four working days.
    assert (decide.state, decide.due_at) == ("OPEN", seoul("2026-12-10T18:00"))


def test_without_a_stated_time_the_terms_give_one_and_midnight_is_none(story: Story) -> None:
    story.hear("NPQS", asked(story, "NPQS", "Q1"))
    assert rows(story, "NPQS", "answer")[0].due_at == seoul("2026-12-04T18:00")
    # The new question replaces the old one; midnight of a Saturday is the end of Monday.
    story.clock.forward(minutes=1)
    story.hear("NPQS", asked(story, "NPQS", "Q2", deadline=seoul("2026-11-28T00:00")))
    old, new = rows(story, "NPQS", "answer")
    assert (old.state, new.state, new.due_at) == ("CANCELLED", "OPEN", seoul("2026-11-30T18:00"))
    # A question stands beside an inspection, and the inspection has a time of its own.
    story.clock.forward(minutes=1)
    story.hear("NPQS", asked(story, "NPQS", "Q3", status="E01", deadline=seoul("2026-12-01T10:00")))
    assert states(story, "NPQS")["answer"] == ["CANCELLED", "OPEN"]
    (inspect,) = rows(story, "NPQS", "inspect")
    assert inspect.due_at == story.request("NPQS").due_at == seoul("2026-12-01T10:00")


@pytest.mark.long
@pytest.mark.parametrize(
    ("written", "due"),
    [
        ("2026-11-26T09:00:00+09:00", "2026-11-26T09:00"),  # midnight in UTC, and nowhere here
        ("2026-11-26T00:00:00+09:00", "2026-11-26T18:00"),
        ("2026-11-26T00:00:00+00:00", "2026-11-26T18:00"),
        ("2026-11-26T00:00:00-05:00", "2026-11-26T18:00"),
        ("2026-11-25T15:00:00+00:00", "2026-11-26T18:00"),
        ("2026-11-26T02:00:00+11:00", "2026-11-26T18:00"),
    ],
)
@pytest.mark.parametrize("status", ["D01", "E01", "Y05"])
def test_a_time_counts_as_it_was_written_and_midnight_is_none(
    story: Story, status: str, written: str, due: str
) -> None:
    said = asked(story, "NPQS", "Q1", status=status, deadline=datetime.fromisoformat(written))
    story.hear("NPQS", said)
    story.tick(seconds=1)
    kind = {"D": "answer", "E": "inspect", "Y": "pay"}[status[0]]
    (owed,) = rows(story, "NPQS", kind)
    assert owed.due_at == seoul(due)
    # A repeat is the same notice.
    story.hear("NPQS", said)


@pytest.mark.long
def test_an_answer_in_time_counts_from_its_receipt(story: Story) -> None:
    due = seoul("2026-11-26T12:00")
    story.hear("NPQS", asked(story, "NPQS", "Q1", deadline=due))
    story.clock.forward(seconds=(due - story.clock()).total_seconds())
    story.submit(story.submission(supplement), action="Supplement")
    # The hub is slow: the deadline passes before the answer is admitted.
    story.clock.forward(seconds=1)
    assert fire_due_deadlines(story.hub) == 1
    story.tick()
    (answer,) = rows(story, "NPQS", "answer")
    assert (answer.state, answer.overdue_at is not None) == ("MET", True)
    assert evidence(story, "NPQS", "late") == []
    # The Notice that it is overdue is not sent any more.
    assert notices(story) == []


@pytest.mark.long
def test_an_amendment_begins_the_time_of_the_applications_that_change_again(story: Story) -> None:
    story.tick(days=4)
    change = all_of(
        text("Function", "13"),
        lambda root: because(root, "17", "A name was wrong."),
        text("Application[@id='A2']/Fields/Item/ProductNameKo", "카라멜 와플 320 g"),
    )
    story.submit(story.submission(change), action="Amend")
    story.tick()
    old, new = rows(story, "KFDA", "decide")
    assert (old.state, new.state) == ("CANCELLED", "OPEN")
    assert new.due_at == seoul("2026-12-08T18:00")
    (other,) = rows(story, "KPTA", "decide")
    assert other.due_at == seoul("2026-12-04T18:00")


@BOTH
def test_a_withdrawal_ends_every_deadline(story: Story) -> None:
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    assert {state for agency in AGENCIES for state in states(story, agency)["decide"]} == {"CANCELLED"}
    story.tick(days=60)
    assert told(story) == []


def test_a_time_that_the_calendar_does_not_know_is_told_and_not_guessed(story: Story) -> None:
    story.hear("NPQS", asked(story, "NPQS", "Q1", deadline=seoul("2028-01-03T00:00")))
    (answer,) = rows(story, "NPQS", "answer")
    assert (answer.state, answer.due_at) == ("UNKNOWN", None)
    assert answer.problem.startswith("GW710 NPQS: 2028-01-03 is outside the calendar")
    assert story.request("NPQS").due_at is None
    # When a calendar is loaded, the clockwork looks at it again.
    story.hub.timetable._cached = (0, make_longer_timetable())
    with write_transaction(story.house.engine) as conn:
        assert deadlines.wake_unknown(conn, story.clock()) == 1
    story.tick(seconds=1)
    (answer,) = rows(story, "NPQS", "answer")
    assert (answer.state, answer.due_at) == ("OPEN", seoul("2028-01-03T18:00"))


@pytest.mark.long
def test_without_test_editions_nothing_is_due_but_what_an_agency_states(engine: Engine) -> None:
    story = Story(engine)
    story.hub.timetable = ActiveTimetable(test_editions=False)
    story.submit()
    story.tick()
    assert states(story, "NPQS") == {}
    story.hear("NPQS", asked(story, "NPQS", "Q1", deadline=seoul("2026-11-30T17:00")))
    (answer,) = rows(story, "NPQS", "answer")
    assert (answer.state, answer.problem) == (
        "UNKNOWN",
        "GW710 NPQS: 2026-11-30 is outside the calendar (there is none)",
    )
    story.decide_all()
    story.tick()
    assert story.case().state == "CLOSED"


def make_longer_timetable() -> Timetable:
    text = (ROOT / "mappings/calendars/kr-public-offices-2026.csv").read_text("utf-8")
    return load_shipped_timetable([read_calendar(text.replace("2027-12-31", "2028-12-31").encode(), "x")])


def test_an_agency_that_does_not_acknowledge_is_overdue(engine: Engine) -> None:
    story = Story(engine)
    story.say("KFDA", *[unreachable()] * 9)
    story.submit()
    story.tick()
    (acknowledge,) = rows(story, "KFDA", "acknowledge")
    assert (acknowledge.state, acknowledge.due_at) == ("OPEN", seoul("2026-11-23T18:00"))
    until(story, seoul("2026-11-23T18:01"))
    assert told(story) == [("deadline.overdue", "KFDA", "acknowledge")]


@pytest.mark.long
def test_a_broken_deadline_of_another_time_is_no_event(story: Story) -> None:
    """A deadline that nobody owes any more does not fire, even if a row were left."""
    story.decide_all()
    with write_transaction(story.house.engine) as conn:
        (row,) = rows(story, "KFDA", "decide")
        values = {"state": "OPEN", "ended_at": None, "next_at": story.clock()}
        deadlines.change_deadline(conn, row.id, values)
    story.tick(days=60)
    assert states(story, "KFDA")["decide"] != ["OVERDUE"]


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("turn", range(6))
def test_an_answer_and_its_deadline_at_the_same_instant(engine: Engine, turn: int) -> None:
    """Two workers and an agency: overdue is told once, and the decision is late, whoever is first."""
    story = Story(engine, agreement=QUIET)
    story.submit()
    story.tick()
    story.decide_all("KFDA")
    story.clock.forward(seconds=(seoul("2026-12-04T18:01") - story.clock()).total_seconds())
    together = threading.Barrier(3)

    def act(one: Callable[[], object]) -> None:
        together.wait(60)
        one()

    acts: list[Callable[[], object]] = [partial(fire_due_deadlines, story.hub)] * 2
    acts.insert(turn % 3, lambda: story.decide("KFDA"))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(act, acts))
    story.tick()
    assert states(story, "KFDA")["decide"] == ["LATE"]
    assert told(story) == [("deadline.overdue", "KFDA", "decide")]
    assert (len(evidence(story, "KFDA", "overdue")), len(evidence(story, "KFDA", "late"))) == (1, 1)
    assert story.outcome()[0] == "APPROVED"


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("commit", ["deadlines.fired", "deadlines.notice"])
def test_wherever_a_process_dies_a_deadline_fires_once(engine: Engine, commit: str) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    due = seoul("2026-11-26T12:00")
    story.hear("NPQS", asked(story, "NPQS", "Q1", deadline=due))
    story.tick()
    story.clock.forward(seconds=(due - story.clock()).total_seconds() + 60)
    for side in ("before_commit", "after_commit"):
        die_at(story, f"{commit}.{side}", lambda hub: run_and_die(story, hub))
        story.clock.forward(minutes=2)
    story.tick(minutes=2)
    story.tick(minutes=2)
    assert [one for one, _ in notices(story)] == [
        "Overdue: NPQS has waited for an answer until 2026-11-26T03:00+00:00. It is still accepted."
    ]
    assert told(story) == [("deadline.overdue", "NPQS", "answer")]
    assert len(evidence(story, "NPQS", "overdue")) == 1


def run_and_die(story: Story, hub: Hub) -> None:
    """Run the clockwork and everything that it queues, as a process of its own."""
    story.hub = hub
    story.agents["local"] = LocalAgent(hub, PLAN)
    worker = story.new_worker("other", threads=1)
    worker.run_maintenance()
    while worker.run_once():
        pass

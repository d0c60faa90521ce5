"""Drawn runs of a case: whatever happens in whatever order, it ends, and as the rules say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import pytest
from sqlalchemy import Engine

from gateway.store import make_engine
from tests.kit.case_turns import CaseRun, Event, draw_late_run, draw_run, find_shortest
from tests.kit.databases import BOTH, KINDS, Templates
from tests.kit.story import AGENCIES, Story

#: How many runs the short test draws.
_SHORT = 8
_NAMES: Iterator[int] = itertools.count(1)


def run(story: Story, events: Sequence[Event]) -> None:
    CaseRun(story, f"RUN-{next(_NAMES)}").run(events)


def check(
    story: Story, seed: int, templates: Templates, draw: Callable[[int], Sequence[Event]] = draw_run
) -> None:
    """Let a drawn run happen; a failure names the seed and the shortest run that fails as well."""
    events = draw(seed)
    try:
        run(story, events)
    except Exception as failed:
        shortest = find_shortest(events, lambda some: fails(templates, some))
        listed = "\n".join(f"    {one!r}," for one in shortest)
        pytest.fail(f"seed {seed}: {failed!r}\nthe shortest run that fails:\n{listed}")


def fails(templates: Templates, events: Sequence[Event]) -> bool:
    """Return whether a run fails on a new hub."""
    url = templates.fresh("sqlite")
    engine = make_engine(url)
    try:
        run(Story(engine), events)
    except Exception:
        return True
    finally:
        engine.dispose()
        templates.drop(url)
    return False


@pytest.mark.night
@BOTH
def test_drawn_runs_end_as_the_rules_say(engine: Engine, templates: Templates) -> None:
    story = Story(engine)
    for seed in range(_SHORT):
        check(story, seed, templates)


@pytest.mark.night
def test_drawn_runs_of_withdrawn_declarations_end_as_the_rules_say(
    engine: Engine, templates: Templates
) -> None:
    story = Story(engine)
    for seed in range(_SHORT // 2):
        check(story, seed, templates, draw_late_run)


def test_what_is_said_after_a_withdrawal_does_not_keep_its_result_back(engine: Engine) -> None:
    """The agency rejects, which ends the withdrawal, and approves before the Result is made."""
    events: list[Event] = [
        ("work", "KFDA"),
        ("withdraw", "NPQS"),
        ("decide", "KFDA", 9, "REJECTED", 7),
        ("decide", "KFDA", 13, "APPROVED", 9),
    ]
    run(Story(engine), events)


def test_a_result_that_failed_is_not_sent_behind_a_later_one(engine: Engine) -> None:
    """Its time passes before it is sent; an operator requeues it when the case has another one."""
    events: list[Event] = [
        ("tick", 0),
        ("decide", "NPQS", 2, "APPROVED_WITH_CONDITIONS", 3),
        ("tick", 1),
        ("decide", "KPTA", 7, "NOT_CONCERNED", -1),
        ("decide", "KFDA", 8, "APPROVED_WITH_CONDITIONS", -9),
        ("withdraw", "KPTA"),
    ]
    run(Story(engine), events)


@pytest.mark.parametrize("ending", ["decide", "itself"])
def test_customs_is_told_when_the_last_approval_is_taken_back(engine: Engine, ending: str) -> None:
    """One agency after the other rejects, or cancels, what customs was told to be approved."""
    events: list[Event] = [("tick", 0), *(("decide", one, 1, "APPROVED", 0) for one in AGENCIES), ("tick", 1)]
    for one in AGENCIES:
        events += [
            ("decide", one, 2, "REJECTED", 5) if ending == "decide" else ("itself", one, 2),
            ("tick", 1),
        ]
    if ending == "decide":
        events += [("decide", "KPTA", 3, "APPROVED", 7), ("tick", 1), ("decide", "KPTA", 4, "REJECTED", 9)]
    story = Story(engine)
    run(story, events)
    assert story.customs_codes()[-2:] == ["19", "18"]


def test_of_a_case_that_nobody_has_approved_customs_hears_nothing_more(engine: Engine) -> None:
    story = Story(engine)
    run(story, [("tick", 0), *(("decide", one, 1, "REJECTED", 0) for one in AGENCIES), ("tick", 1)])
    assert story.customs_codes() == ["18"]


@pytest.mark.night
# A block takes a minute on an idle machine, and many on a busy one.
@pytest.mark.timeout(1200)
# Each run is drawn once; the databases take turns.
@pytest.mark.parametrize(
    ("database_url", "block"), [(KINDS[one % 2], one) for one in range(4)], indirect=["database_url"]
)
def test_many_drawn_runs_end_as_the_rules_say(engine: Engine, templates: Templates, block: int) -> None:
    story = Story(engine)
    for seed in range(1000 + 50 * block, 1005 + 50 * block):
        check(story, seed, templates)


@pytest.mark.night
# A block takes a minute on an idle machine, and many on a busy one.
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("database_url", "block"), [(KINDS[one % 2], one) for one in range(2)], indirect=["database_url"]
)
def test_many_drawn_runs_of_withdrawn_declarations_end_as_the_rules_say(
    engine: Engine, templates: Templates, block: int
) -> None:
    story = Story(engine)
    for seed in range(1000 + 25 * block, 1003 + 25 * block):
        check(story, seed, templates, draw_late_run)

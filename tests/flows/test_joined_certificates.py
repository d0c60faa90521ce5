"""A declaration waits for a number: however it comes, the Result is as where it was there before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, CustomsCall, CustomsNotice, DecisionCode
from gateway.hub import apply_call_back, join_waiting_cases
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.store import make_engine, write_transaction
from gateway.wire import find_day
from tests.flows.test_late_results import SPOKEN
from tests.flows.test_outside_results import customs, requirement, say
from tests.flows.test_requirement_ledger import declare, register, used_of, using
from tests.kit.databases import KINDS, Templates
from tests.kit.story import LAWS, Story

NUMBER = "2026-118"


def by_application(story: Story) -> None:
    (one,) = story.notice("KFDA").decisions
    granted = replace(one, number=NUMBER, quantity=Decimal(100), unit="KGM")
    said = AgencyCallback(replace(story.notice("KFDA"), decisions=(granted,)), story.number_of("KFDA"))
    apply_call_back(story.hub, "KFDA", said)


def by_registration(story: Story) -> None:
    register(story, NUMBER, "100", "KGM", laws=(LAWS["KFDA"],))
    with write_transaction(story.house.engine) as conn:
        join_waiting_cases(conn, [NUMBER], "registered", story.clock())


def without_application(story: Story) -> None:
    say(story, DecisionCode.APPROVED)


def wait(story: Story) -> None:
    for _ in range(3):
        story.tick(minutes=2)


def list_warnings(story: Story) -> list[tuple[str | None, str | None]]:
    return [(one.get("id"), one.get("pointer")) for one in story.result().findall("{*}Warning")]


def told(story: Story) -> tuple[Any, ...]:
    """Return what the last Result says, the warnings with it, and what is written off."""
    warned = [one for one in list_warnings(story) if one[0] != "GW510"]
    return story.outcome(), sorted(warned), used_of(story, NUMBER)


@pytest.mark.long
@pytest.mark.parametrize("come", [by_application, by_registration, without_application])
@pytest.mark.parametrize("kind", KINDS)
def test_its_result_is_the_same_in_both_orders(
    come: Callable[[Story], None], kind: str, templates: Templates
) -> None:
    ends = []
    for first in (False, True):
        engine = make_engine(templates.fresh(kind))
        story = Story(engine)
        story.submit()
        wait(story)
        if first:
            come(story)
            wait(story)
        declare(story, "D2", (2, NUMBER, "40", "KGM"))
        wait(story)
        if not first:
            assert "GW413" in {one for one, _ in list_warnings(story)}
            come(story)
            wait(story)
        ends.append(told(story))
        engine.dispose()
    assert ends[0] == ends[1]
    assert ends[0][2] == {"KGM": "40"}


@pytest.mark.long
@pytest.mark.parametrize("joins", ["before", "after"])
def test_a_certificate_holds_on_the_day_on_which_the_declaration_was_received(
    engine: Engine, joins: str
) -> None:
    """The hub processes it a day later, when the certificate has ended; the number may come later still."""
    story = Story(engine, customs=False)
    last_day = find_day(story.clock(), story.hub.zone)

    def register_number() -> None:
        register(story, NUMBER, "100", "KGM", laws=(LAWS["KFDA"],), valid_until=last_day)
        with write_transaction(story.house.engine) as conn:
            join_waiting_cases(conn, [NUMBER], "registered", story.clock())

    if joins == "before":
        register_number()
    story.submit(story.submission(using("D2", (2, NUMBER, "40", "KGM"))), attach=False)
    story.clock.forward(days=1)
    wait(story)
    if joins == "after":
        register_number()
        wait(story)
    assert used_of(story, NUMBER) == {"KGM": "40"}


@pytest.mark.long
def test_customs_hears_that_nothing_is_written_off_after_clearance(engine: Engine) -> None:
    """The only approval of a cleared declaration is taken back: its certificate is free for others."""
    story = Story(engine)
    say(story, DecisionCode.APPROVED)
    declare(story, "D2", *((item, NUMBER, "10", "KGM") for item in (1, 2, 3)))
    wait(story)
    cleared = CustomsNotice("CUS-1", story.clock(), "5EC")
    call = CustomsCall(cleared, case_number=str(story.case().number))
    apply_customs_call(story.hub, call, SPOKEN)
    wait(story)
    say(story, DecisionCode.REJECTED, notice="R2", quantity=None)
    wait(story)
    assert used_of(story, NUMBER) == {}
    assert requirement(story).used == {}
    codes = [code for _, code, _ in customs(story) if code]
    assert (codes[:2], sorted(codes[2:])) == (["18", "19"], ["18", "98"])
    late = next(call for call in story.soap.calls if call.text("PendingCode") == "98")
    said = [[leaf.text for leaf in one] for one in late.body.iter("{*}Requirement")]
    assert [(one[0], one[-1]) for one in said] == [("1", "REJECTED"), ("2", "REJECTED"), ("3", "REJECTED")]
    assert all("KGM" not in one for one in said)

"""Plans and misbehaviours are read strictly, and count what they are told to count."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.client import Journal, read_journal
from gateway.errors import MISUSE, GatewayError
from gateway_conformance.partners import (
    AGENCY_MISBEHAVIORS,
    BROKER_MISBEHAVIORS,
    Misbehavior,
    read_agency_plans,
    take_misbehavior,
)
from gateway_conformance.partners.agency_plan import AgencyPlan, AgencyPlans, ItemRule


@pytest.mark.parametrize(
    ("text", "seconds", "times"),
    [
        ("late=2.5*3", 2.5, 3),
        ("silent*1", 0.0, 1),
        ("garbage*0", 0.0, 0),
        ("slow=1", 1.0, 50),
        ("lost", 0.0, 50),
    ],
)
def test_a_misbehaviour_lasts_as_long_as_it_is_told(text: str, seconds: float, times: int) -> None:
    one = Misbehavior.from_text(text, AGENCY_MISBEHAVIORS)
    assert one.seconds == seconds
    assert sum(one.consume_call() for _ in range(50)) == times


def test_a_misbehaviour_is_counted_once_for_each_of_many_threads() -> None:
    one = Misbehavior.from_text("lost*100", AGENCY_MISBEHAVIORS)
    taken: list[bool] = []
    threads = [
        threading.Thread(target=lambda: taken.extend(one.consume_call() for _ in range(50))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 100


def test_only_the_misbehaviour_asked_for_is_taken() -> None:
    both = (Misbehavior("slow", 1.0, 1), Misbehavior("lost", 0.0, 1))
    assert take_misbehavior(both, "lost") is both[1]
    assert take_misbehavior(both, "lost") is None
    assert take_misbehavior(both, "slow") is both[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"behaviour": "sometimes"},
        {"mischief": ["sleep"]},
        {"mischief": ["late=soon"]},
        {"mischief": ["lost*often"]},
        {"mischief": ["no-receipt"]},
        {"items": [{"decision": "MAYBE"}]},
        {"items": [{"decision": "REJECTED", "weight": 3}]},
        {"colour": "red"},
    ],
)
def test_what_no_plan_can_say_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        read_agency_plans(None, wrong)
    assert caught.value.problem is MISUSE


@pytest.mark.parametrize(
    ("name", "content"),
    [("plan.toml", "behaviour = "), ("plan.json", "{"), ("plan.json", "[1]"), ("plan.toml", "\xff")],
)
def test_a_plan_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(GatewayError) as caught:
        read_agency_plans(tmp_path / name, {})
    assert caught.value.problem is MISUSE


def test_options_go_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('\ufeff{"behaviour": "later", "delay": 9, "when": [{"value": "X*", "status": "F03"}]}')
    plans = read_agency_plans(path, {"delay": 1.0})
    assert (plans.usual.behaviour, plans.usual.delay, plans.usual.status) == ("later", 1.0, "")
    other = plans.select_plan(["a", "X-1"])
    assert (other.behaviour, other.delay, other.status) == ("later", 1.0, "F03")
    assert plans.select_plan(["a", "Y-1"]) is plans.usual


def test_the_first_rule_that_fits_decides() -> None:
    plan = AgencyPlan(
        items=(ItemRule("REJECTED", number=2), ItemRule("NOT_CONCERNED", hs="06"), ItemRule("APPROVED"))
    )
    assert [plan.find_rule(*item).decision for item in ((2, "0601"), (3, "0601"), (3, "1905"))] == [
        "REJECTED",
        "NOT_CONCERNED",
        "APPROVED",
    ]
    assert AgencyPlan().find_rule(1, "").decision == "APPROVED"
    assert AgencyPlans().select_plan([]) == AgencyPlan()


def test_every_misbehaviour_is_described() -> None:
    assert all(words for table in (AGENCY_MISBEHAVIORS, BROKER_MISBEHAVIORS) for words in table.values())


def test_a_journal_survives_a_line_that_was_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "log" / "effects.jsonl"
    first = Journal(path)
    first.write({"n": 1})
    first.close()
    with path.open("ab") as file:
        file.write(b'{"n": 2, "cut')
    second = Journal(path)
    second.write({"n": 3})
    second.close()
    assert [row["n"] for row in read_journal(path)] == [1, 3]
    assert list(read_journal(tmp_path / "none.jsonl")) == []

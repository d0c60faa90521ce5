"""The same notices come to the same end, in whatever order and however often they arrive."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from gateway.cases import AgencyAcknowledgment, AgencyAnswer, Decision, DecisionCode, Notice
from gateway.store import agency_requests, cases, decisions, notices, read_transaction, write_transaction
from tests.flows.craft import without_applications
from tests.kit.cases import OpenCase, open_case
from tests.kit.databases import BOTH
from tests.kit.house import START
from tests.kit.story import Story

ASKED = {"KPTA": [(1, "01"), (1, "02"), (2, "01"), (2, "02")], "KFDA": [(2, "05")]}
APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
CONDITIONS, NEUTRAL = DecisionCode.APPROVED_WITH_CONDITIONS, DecisionCode.NOT_CONCERNED


def notice(number: int, status: str, *said: tuple[int, str, DecisionCode], deadline: int = 0) -> Notice:
    """Return notice `number`, issued at that minute."""
    return Notice(
        f"N{number}",
        START + timedelta(minutes=number - 20),
        status,
        tuple(Decision(item, law, code, f"P{number}") for item, law, code in said),
        deadline=START + timedelta(days=deadline) if deadline else None,
    )


SAID: tuple[tuple[str, AgencyAnswer], ...] = (
    ("KPTA", AgencyAcknowledgment("R-1")),
    ("KPTA", notice(1, "D01", deadline=3)),
    ("KPTA", notice(2, "C04")),
    ("KPTA", notice(3, "E01")),
    ("KPTA", notice(4, "D01", (1, "01", APPROVED), deadline=5)),
    ("KPTA", notice(5, "R01", (2, "02", CONDITIONS))),
    ("KPTA", notice(6, "R04", (1, "01", REJECTED), (1, "02", NEUTRAL))),
    ("KPTA", notice(7, "Y01", deadline=9)),
    ("KPTA", notice(8, "C02")),
    ("KFDA", AgencyAcknowledgment("R-1")),
    ("KFDA", notice(1, "R01", (2, "05", APPROVED))),
    ("KFDA", notice(2, "R04", (2, "05", REJECTED))),
    ("KFDA", notice(3, "R01")),
)

orders = st.lists(st.sampled_from(range(len(SAID))), max_size=30)


class Cases:
    """Opens a new case for every order, on one database."""

    def __init__(self, engine: Engine) -> None:
        self.story = Story(engine)
        self.story.submit(self.story.submission(without_applications), attach=False)
        self.numbers = itertools.count(1)

    def after(self, order: Sequence[int]) -> dict[str, Any]:
        """Return what a case has come to when SAID has arrived in this order."""
        number = next(self.numbers)
        with write_transaction(self.story.house.engine) as conn:
            case = open_case(conn, 1, number, ASKED)
        for one in order:
            agency, answer = SAID[one]
            case.hear(self.story.hub, agency, own(answer, number))
        return self._seen(case, number)

    def _seen(self, case: OpenCase, number: int) -> dict[str, Any]:
        with read_transaction(self.story.house.engine) as conn:
            row = cases.find_by_id(conn, case.id)
            asked = agency_requests.list_by_case(conn, case.id)
            current = decisions.list_current_decisions(conn, case.id)
            kept = sorted(one.number for two in asked for one in notices.list_by_request(conn, two.id))
        assert row is not None
        return {
            "case": (row.state, row.outcome),
            "requests": [
                (one.state, one.status_code, one.due_at, one.receipt_number is None) for one in asked
            ],
            "current": [
                (one.item, one.law, one.decision, one.notice_no.removesuffix(f"-{number}")) for one in current
            ],
            "kept": [one.removesuffix(f"-{number}") for one in kept],
        }


def own(answer: AgencyAnswer, number: int) -> AgencyAnswer:
    """Return the answer with numbers that no other case has."""
    if isinstance(answer, AgencyAcknowledgment):
        return AgencyAcknowledgment(f"{answer.receipt_number}-{number}")
    return Notice(
        f"{answer.number}-{number}",
        answer.issued_at,
        answer.status_code,
        answer.decisions,
        deadline=answer.deadline,
    )


@pytest.fixture
def many(engine: Engine) -> Cases:
    return Cases(engine)


_SETTINGS = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@BOTH
@pytest.mark.long
@_SETTINGS
@given(heard=orders, data=st.data())
def test_order_and_repetition_change_nothing(many: Cases, heard: list[int], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(heard), max_size=6) if heard else st.just([]))
    other = data.draw(st.permutations([*heard, *again]))
    assert many.after(heard) == many.after(other)


@pytest.mark.long
@BOTH
def test_all_of_them_forwards_backwards_and_turned(many: Cases) -> None:
    order = list(range(len(SAID)))
    seen = many.after(order)
    assert seen["case"] == ("DECIDED", "REJECTED")
    assert [one[0] for one in seen["requests"]] == ["DECIDED", "DECIDED"]
    assert seen["current"] == [
        (1, "01", "REJECTED", "N6"),
        (1, "02", "NOT_CONCERNED", "N6"),
        (2, "02", "APPROVED_WITH_CONDITIONS", "N5"),
        (2, "05", "REJECTED", "N2"),
    ]
    for turn in range(0, len(order), 3):
        assert many.after(order[turn:] + order[:turn]) == seen
        assert many.after(list(reversed(order[turn:] + order[:turn]))) == seen


@pytest.mark.long
def test_states_before_the_decision_do_not_depend_on_the_order(many: Cases) -> None:
    """Asked, acknowledged, inspected, a part decided: of any four of them every order."""
    for chosen in ([0, 1, 2, 3], [1, 2, 4, 7], [0, 3, 7, 8], [2, 3, 4, 5]):
        seen = [many.after(order) for order in itertools.permutations(chosen)]
        assert all(one == seen[0] for one in seen), chosen

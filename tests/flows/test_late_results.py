"""An agency revokes or decides anew, under a number of its own, what customs has cleared: code 98."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import (
    AgencyCallback,
    CustomsCall,
    CustomsNotice,
    Decision,
    DecisionCode,
    Notice,
    SignedReply,
)
from gateway.evidence import list_subject_leaves
from gateway.hub import Hub, apply_call_back
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.store import cases, decisions, event_readers, read_transaction
from tests.flows.craft import all_of, reference, withdrawal
from tests.flows.test_late_children import list_late_reports
from tests.flows.test_outside_results import say
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import declare
from tests.flows.test_withdrawals import run_and_die
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import Story

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
NOT_CONCERNED = DecisionCode.NOT_CONCERNED
SPOKEN = SignedReply(b"<signed call/>", "ab" * 32)
NUMBER = "2026-118"
REVOKED = ("2", "05", NUMBER, "REJECTED")


class Trade:
    """A declaration that uses a certificate of an agency, and its children, by name."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.numbers: dict[str, str] = {}

    def declare(self, name: str = "D", *certificates: str) -> None:
        declare(self.story, name, *((2, number, "40", "KGM") for number in certificates or (NUMBER,)))
        self._note(name)

    def take(self, name: str, *items: tuple[int, str, str], of: str = "D") -> None:
        change = child(name, self.numbers[of], *items)
        self.story.submit(self.story.submission(change), attach=False)
        self._note(name)

    def _note(self, name: str) -> None:
        self.story.tick(seconds=1)
        self.numbers[name] = str(self.story.case().number)
        self.story.tick(minutes=1)

    def clear(self, name: str, at: datetime | None = None, code: str = "5EC") -> None:
        said = CustomsNotice(f"CUS-{name}-{code}", at or self.story.clock(), code)
        call = CustomsCall(said, case_number=self.numbers[name])
        apply_customs_call(self.story.hub, call, SPOKEN)
        self.story.tick(seconds=5)

    def say(self, code: DecisionCode, notice: str, **more: Any) -> None:
        quantity = {"quantity": None} if code is not APPROVED else {}
        say(self.story, code, notice=notice, **quantity | more)
        for _ in range(3):
            self.story.tick(seconds=5)

    def late(self, name: str) -> list[list[tuple[str | None, ...]]]:
        """Return item, law, number and decision of each requirement of each code 98 about a case."""
        words = ("item", "law", "number", "decision")
        return list_late_reports(self.story, self.numbers[name], *words)

    def find(self, name: str) -> Any:
        with read_transaction(self.story.house.engine) as conn:
            return cases.find_by_number(conn, self.numbers[name])

    def recorded(self, name: str) -> list[dict[str, Any]]:
        """Return the evidence of what was decided late about a case, which is an event each time."""
        self.story.tick(seconds=1)
        with read_transaction(self.story.house.engine) as conn:
            rows = list_subject_leaves(conn, "case", self.find(name).id)
            told = event_readers.list_events(conn, "broker1", 0, 500)
        found = [json.loads(row.data) for row in rows if row.kind == "late_decision"]
        mine = [row for row in told if row.state == "LATE_DECISION" and row.case_number == self.numbers[name]]
        assert len(mine) == len(found)
        return found


def list_approvals(trade: Trade, name: str) -> list[list[tuple[str, ...]]]:
    """Return the requirements of each code 19 about a case."""
    return [
        [tuple(leaf.text or "" for leaf in one) for one in call.body.iter("{*}Requirement")]
        for call in trade.story.soap.calls
        if call.text("PendingCode") == "19" and call.text("CaseNumber") == trade.numbers[name]
    ]


@pytest.fixture
def trade(engine: Engine) -> Trade:
    made = Trade(Story(engine))
    say(made.story)
    made.declare()
    return made


@pytest.mark.long
@BOTH
def test_a_certificate_that_is_revoked_after_clearance_is_told_once(trade: Trade) -> None:
    """Of the declaration and of each child with the item that is cleared; a new approval is told, too."""
    trade.take("C1", (2, "10", "10"))
    trade.take("C3", (3, "1", "1"))
    trade.take("G1", (2, "5", "5"), of="C1")
    for name in ("D", "C1", "C3", "G1"):
        trade.clear(name)
    said = trade.story.clock()
    trade.say(REJECTED, "R2", at=said)
    data = {"agency": "KFDA", "requirement": NUMBER, "number": "KFDA-R2"}
    assert {name: (trade.late(name), trade.recorded(name)) for name in trade.numbers} == {
        "D": ([[REVOKED]], [data]),
        "C1": ([[REVOKED]], [data]),
        "C3": ([], []),
        "G1": ([[REVOKED]], [data]),
    }
    trade.say(REJECTED, "R2", at=said)
    assert [len(trade.late(name)) for name in trade.numbers] == [1, 1, 0, 1], "a repeat"
    trade.say(APPROVED, "R3")
    again = ("2", "05", NUMBER, "APPROVED")
    assert [trade.late(name)[1:] for name in trade.numbers] == [[[again]], [[again]], [], [[again]]]


@pytest.mark.long
def test_the_child_alone_is_cleared(trade: Trade) -> None:
    trade.take("C1", (2, "10", "10"))
    trade.clear("C1")
    trade.say(REJECTED, "R2")
    assert (trade.late("D"), trade.late("C1")) == ([], [[REVOKED]])
    assert trade.find("C1").outcome == "REJECTED"


@pytest.mark.long
@pytest.mark.parametrize("name", ["D", "C1"])
def test_what_came_before_the_clearance_and_was_issued_after_it_is_late(trade: Trade, name: str) -> None:
    trade.take("C1", (2, "10", "10"))
    cleared = trade.story.clock()
    trade.story.tick(minutes=5)
    trade.say(REJECTED, "R2")
    assert trade.late(name) == []
    trade.clear(name, at=cleared)
    trade.story.tick(seconds=5)
    assert trade.late(name) == [[REVOKED]]
    assert len(trade.recorded(name)) == 1


@pytest.mark.long
def test_what_was_issued_before_the_clearance_is_not_late(trade: Trade) -> None:
    trade.take("C1", (2, "10", "10"))
    trade.say(DecisionCode.APPROVED_WITH_CONDITIONS, "R2")
    trade.story.tick(minutes=5)
    for name in trade.numbers:
        trade.clear(name)
    assert [(trade.late(name), trade.recorded(name)) for name in trade.numbers] == [([], [])] * 2


def test_a_notice_that_another_one_has_overtaken_is_not_told(trade: Trade) -> None:
    trade.take("C1", (2, "10", "10"))
    for name in trade.numbers:
        trade.clear(name)
    now = trade.story.clock()
    trade.say(REJECTED, "R3", at=now + timedelta(minutes=2))
    trade.say(APPROVED, "R2", at=now + timedelta(minutes=1))
    assert [trade.late(name) for name in trade.numbers] == [[[REVOKED]]] * 2


@pytest.mark.long
def test_what_counts_for_the_item_is_told_where_another_item_of_the_certificate_stands(trade: Trade) -> None:
    trade.say(DecisionCode.APPROVED_WITH_CONDITIONS, "R1b", item=7)
    trade.clear("D")
    trade.say(REJECTED, "R2")
    assert trade.late("D") == [[("2", "05", NUMBER, "APPROVED_WITH_CONDITIONS")]]


@pytest.mark.parametrize("code", [DecisionCode.APPROVED_WITH_CONDITIONS, REJECTED, NOT_CONCERNED])
def test_another_certificate_of_the_item_is_not_told_with_it(trade: Trade, code: DecisionCode) -> None:
    """The agency has decided nothing new about the other certificate, which is under the same law."""
    trade.say(APPROVED, "S1", number="2026-119")
    trade.declare("E", NUMBER, "2026-119")
    trade.clear("E")
    trade.say(code, "S2", number="2026-119")
    assert trade.late("E") == [[("2", "05", "2026-119", str(code))]]


def test_another_law_of_the_certificate_is_not_told_with_it(trade: Trade) -> None:
    trade.say(APPROVED, "R1b", law="69")
    trade.clear("D")
    trade.say(REJECTED, "R2", law="69")
    assert trade.late("D") == [[("2", "69", NUMBER, "REJECTED")]]


def test_each_law_of_a_certificate_that_one_notice_revokes_is_told(trade: Trade) -> None:
    trade.say(APPROVED, "R1b", law="69")
    trade.clear("D")
    revoked = tuple(Decision(1, law, REJECTED, NUMBER) for law in ("05", "69"))
    notice = Notice("KFDA-R2", trade.story.clock(), "R04", revoked)
    apply_call_back(trade.story.hub, "KFDA", AgencyCallback(notice, requirement_number=NUMBER))
    for _ in range(2):
        trade.story.tick(seconds=5)
    assert trade.late("D") == [[("2", law, NUMBER, "REJECTED") for law in ("05", "69")]]


@pytest.mark.long
def test_an_agency_that_is_not_concerned_any_more_is_told(trade: Trade) -> None:
    trade.clear("D")
    trade.say(NOT_CONCERNED, "R2")
    assert trade.late("D") == [[("2", "05", NUMBER, "NOT_CONCERNED")]]


@pytest.mark.long
def test_a_number_that_a_cleared_declaration_waited_for_is_told(trade: Trade) -> None:
    trade.declare("E", "2026-119")
    trade.clear("E")
    trade.say(APPROVED, "S1", number="2026-119")
    assert trade.late("E") == [[("2", "05", "2026-119", "APPROVED")]]
    assert trade.late("D") == []


@pytest.mark.long
def test_a_rejection_of_a_number_that_was_waited_for_is_told(trade: Trade) -> None:
    """Of the declaration, and of its child with the item; who is not cleared has another outcome alone."""
    for name in ("W", "V"):
        trade.declare(name, "2026-119")
        trade.take(f"C{name}", (2, "10", "10"), of=name)
    for name in ("W", "CW"):
        trade.clear(name)
    trade.say(REJECTED, "R9", number="2026-119")
    rejected = ("2", "05", "2026-119", "REJECTED")
    assert {name: trade.late(name) for name in ("W", "CW", "V", "CV")} == {
        "W": [[rejected]], "CW": [[rejected]], "V": [], "CV": [],
    }  # fmt: skip
    assert {trade.find(name).outcome for name in ("CW", "CV")} == {"REJECTED"}
    assert {trade.find(name).outcome for name in ("W", "V")} == {"PARTIAL"}


@pytest.mark.long
def test_who_does_not_use_the_certificate_any_more_hears_nothing(trade: Trade) -> None:
    trade.clear("D")
    trade.clear("D", trade.story.clock() + timedelta(minutes=1), "10")
    trade.story.tick(minutes=5)
    change = all_of(withdrawal, reference("D"))
    trade.story.submit(trade.story.submission(change), action="Withdraw", attach=False)
    trade.story.tick(seconds=5)
    assert trade.find("D").state == "WITHDRAWN"
    trade.say(REJECTED, "R2")
    assert (trade.late("D"), trade.recorded("D")) == ([], [])


@pytest.mark.long
def test_what_another_declaration_gave_back_is_an_approval_and_no_late_decision(trade: Trade) -> None:
    """No agency has decided anything then: code 19 says what is written off, and that is all there is."""
    for name in ("E", "U"):
        trade.declare(name, "2026-119")
    trade.say(APPROVED, "S1", number="2026-119", quantity="40")
    trade.clear("U")
    assert trade.late("U") == []
    before = len(list_approvals(trade, "U"))
    change = all_of(withdrawal, reference("E"))
    trade.story.submit(trade.story.submission(change), action="Withdraw", attach=False)
    for _ in range(3):
        trade.story.tick(minutes=1)
    assert list_approvals(trade, "U")[before:] == [[("2", "05", "2026-119", "40", "KGM")]]
    assert (trade.late("U"), trade.recorded("U")) == ([], [])
    # What the agency says of it from now on is late.
    trade.say(REJECTED, "S2", number="2026-119")
    assert trade.late("U") == [[("2", "05", "2026-119", "REJECTED")]]


@pytest.mark.long
def test_a_number_of_an_application_that_its_agency_revokes_is_told(engine: Engine) -> None:
    """The agency names its own number; the decision is about the application that it was given for."""
    story = Story(engine)
    story.submit()
    story.tick()
    story.decide_all()
    story.tick(minutes=1)
    number = str(story.case().number)
    said = CustomsCall(CustomsNotice("CUS-1", story.clock(), "5EC"), case_number=number)
    apply_customs_call(story.hub, said, SPOKEN)
    story.tick(minutes=1)
    with read_transaction(story.house.engine) as conn:
        rows = decisions.list_by_case(conn, story.case().id)
    own = next(str(row.number) for row in rows if row.agency == "KFDA")
    say(story, REJECTED, notice="R9", number=own, item=2, quantity=None)
    for _ in range(3):
        story.tick(minutes=1)
    words = ("item", "law", "number", "decision")
    assert [one[0][::3] for one in list_late_reports(story, number, *words)] == [("2", "REJECTED")]


@BOTH
@pytest.mark.long
@pytest.mark.parametrize("name", ["D", "C1"])
@pytest.mark.parametrize(
    "commit", ["reply.requirement", "requirement.join", "customs.inherited", "customs.late"]
)
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_wherever_a_process_dies_customs_hears_once(trade: Trade, commit: str, side: str, name: str) -> None:
    story = trade.story
    trade.take("C1", (2, "10", "10"))
    trade.clear(name)
    said = story.clock()

    def act(hub: Hub) -> None:
        hub.composer = story.hub.composer
        story.hub = hub
        say(story, REJECTED, notice="R2", quantity=None, at=said)
        run_and_die(story, hub)

    die_at(story, f"{commit}.{side}", act)
    say(story, REJECTED, notice="R2", quantity=None, at=said)
    for _ in range(4):
        story.tick(minutes=2)
    assert len(trade.recorded(name)) == 1
    sent = story.deliveries(case_id=trade.find(name).id)
    assert {row.state for row in sent} == {"DELIVERED"}
    assert len([row for row in sent if row.parameters.get("pending_code") == "98"]) == 1

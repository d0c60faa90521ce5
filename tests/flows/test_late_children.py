"""An agency changes its decision on a parent after a child was cleared: customs is told of the child."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, CustomsCall, CustomsNotice, DecisionCode, SignedReply
from gateway.hub import Hub, apply_call_back
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.store import agency_requests, cases, read_transaction
from tests.flows.craft import all_of, reference, withdrawal
from tests.flows.test_partial_release import child
from tests.flows.test_withdrawals import run_and_die
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import Story, asked

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
SPOKEN = SignedReply(b"<signed call/>", "ab" * 32)
ALL_OF_ONE = (1, "420.5", "100")


def list_late_reports(story: Story, case: str, *words: str) -> list[list[tuple[str | None, ...]]]:
    """Return these words of each requirement of each report with code 98 about a case."""
    return [
        [tuple(one.findtext(f"{{*}}{word}") for word in words) for one in call.body.findall("{*}Requirement")]
        for call in story.soap.calls
        if call.text("PendingCode") == "98" and call.text("CaseNumber") == case
    ]


class Family:
    """A decided parent and its children, by name."""

    def __init__(self, story: Story) -> None:
        self.story = story
        story.submit()
        story.tick()
        story.decide_all()
        story.tick()
        parent = story.case()
        with read_transaction(story.house.engine) as conn:
            asked_for = agency_requests.list_by_case(conn, parent.id)
        self.requests = {row.agency: row.number for row in asked_for}
        self.numbers = {"parent": str(parent.number)}
        story.tick(minutes=1)

    def take(self, name: str, *items: tuple[int, str, str], of: str = "parent") -> None:
        story = self.story
        change = child(name, self.numbers[of], *items)
        story.submit(story.submission(change), attach=False)
        for _ in range(2):
            story.tick(seconds=1)
        assert story.case().outcome == "APPROVED"
        self.numbers[name] = str(story.case().number)
        story.tick(minutes=1)

    def clear(self, name: str, code: str = "5EC", at: datetime | None = None, **more: Any) -> None:
        said = CustomsNotice(f"CUS-{name}-{code}", at or self.story.clock(), code, **more)
        call = CustomsCall(said, case_number=self.numbers[name])
        apply_customs_call(self.story.hub, call, SPOKEN)
        self.story.tick(seconds=5)

    def decide(self, agency: str, code: DecisionCode, number: str, at: datetime | None = None) -> None:
        said = self.story.notice(agency, code, number=number, at=at or self.story.clock())
        self.hear(agency, said)

    def hear(self, agency: str, said: Any) -> None:
        apply_call_back(self.story.hub, agency, AgencyCallback(said, self.requests[agency]))
        for _ in range(3):
            self.story.tick(seconds=5)

    def late(self, name: str) -> list[list[tuple[str | None, ...]]]:
        """Return item and decision of each requirement of each report with code 98 about a case."""
        return list_late_reports(self.story, self.numbers[name], "item", "decision")

    def find(self, name: str) -> Any:
        with read_transaction(self.story.house.engine) as conn:
            return cases.find_by_number(conn, self.numbers[name])

    def recorded(self, name: str) -> int:
        return self.story.evidence("case", self.find(name).id).count("late_decision")


@pytest.fixture
def family(engine: Engine) -> Family:
    return Family(Story(engine))


@pytest.mark.long
@BOTH
def test_what_is_taken_back_from_the_parent_is_told_of_the_cleared_child(family: Family) -> None:
    """Of the items that the child has, once, and to each generation that is cleared."""
    family.take("C1", ALL_OF_ONE)
    family.take("C2", (3, "1", "1"))
    family.take("G1", (1, "20.5", "10"), of="C1")
    for name in ("parent", "C1", "C2", "G1"):
        family.clear(name)
    said = family.story.clock()
    family.decide("KPTA", REJECTED, "N2", at=said)
    assert {name: family.late(name) for name in family.numbers} == {
        "parent": [[("1", "REJECTED")]], "C1": [[("1", "REJECTED")]], "C2": [], "G1": [[("1", "REJECTED")]],
    }  # fmt: skip
    assert [family.recorded(name) for name in family.numbers] == [1, 1, 0, 1]
    assert family.find("C1").outcome == family.find("G1").outcome == "REJECTED"
    family.decide("KPTA", REJECTED, "N2", at=said)
    assert [len(family.late(name)) for name in family.numbers] == [1, 1, 0, 1], "a repeat"


@pytest.mark.long
def test_a_child_is_told_of_though_its_parent_is_not_cleared(family: Family) -> None:
    family.take("C1", ALL_OF_ONE)
    family.clear("C1")
    family.decide("KPTA", REJECTED, "N2")
    assert (family.late("parent"), family.late("C1")) == ([], [[("1", "REJECTED")]])


@pytest.mark.long
def test_each_item_of_a_cancelled_application_that_the_child_has_is_told(family: Family) -> None:
    family.take("C1", ALL_OF_ONE)
    family.clear("C1")
    family.hear("KPTA", asked(family.story, "KPTA", "G1", status="G01", pointers=()))
    assert [set(one) for one in family.late("C1")] == [{("1", None)}]


@pytest.mark.long
@pytest.mark.parametrize("ending", ["decided", "cancelled"])
@pytest.mark.parametrize("name", ["parent", "C1"])
def test_what_came_before_the_clearance_and_was_issued_after_it_is_late(
    family: Family, ending: str, name: str
) -> None:
    family.take("C1", ALL_OF_ONE)
    cleared = family.story.clock()
    family.story.tick(minutes=5)
    if ending == "decided":
        family.decide("KPTA", REJECTED, "N2")
    else:
        family.hear("KPTA", asked(family.story, "KPTA", "G1", status="G01", pointers=()))
    assert family.late(name) == []
    family.clear(name, at=cleared)
    family.story.tick(seconds=5)
    assert [set(one) for one in family.late(name)] == [{("1", "REJECTED" if ending == "decided" else None)}]
    assert family.recorded(name) == 1


@pytest.mark.long
def test_what_the_parent_is_told_before_the_clearance_is_not_late(family: Family) -> None:
    family.take("C1", ALL_OF_ONE)
    family.decide("KPTA", DecisionCode.APPROVED_WITH_CONDITIONS, "N2")
    family.story.tick(minutes=5)
    family.clear("C1")
    assert (family.late("C1"), family.recorded("C1")) == ([], 0)


@pytest.mark.long
def test_a_child_that_has_given_back_is_not_told_of(family: Family) -> None:
    family.take("C1", ALL_OF_ONE)
    family.clear("C1")
    family.clear("C1", "10", at=family.story.clock() + timedelta(minutes=1))
    family.story.tick(minutes=5)
    change = all_of(withdrawal, reference("C1"))
    family.story.submit(family.story.submission(change), action="Withdraw", attach=False)
    family.story.tick(seconds=5)
    assert family.find("C1").state == "WITHDRAWN"
    family.decide("KPTA", REJECTED, "N2")
    assert family.late("C1") == []


@pytest.mark.long
@pytest.mark.parametrize("name", ["parent", "C1"])
def test_a_decision_that_another_one_has_overtaken_is_not_told(family: Family, name: str) -> None:
    """Customs counts what it hears last: an older decision that comes later would mislead it."""
    family.take("C1", ALL_OF_ONE)
    family.clear(name)
    now = family.story.clock()
    family.decide("KPTA", REJECTED, "N3", at=now + timedelta(minutes=2))
    family.decide("KPTA", APPROVED, "N2", at=now + timedelta(minutes=1))
    assert family.late(name) == [[("1", "REJECTED")]]
    assert family.find("C1").outcome == "REJECTED"


@BOTH
@pytest.mark.long
@pytest.mark.parametrize("commit", ["reply.call_back", "customs.inherited", "customs.late"])
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_wherever_a_process_dies_customs_hears_once(family: Family, commit: str, side: str) -> None:
    story = family.story
    family.take("C1", ALL_OF_ONE)
    family.clear("C1")
    said = story.notice("KPTA", REJECTED, number="N2", at=story.clock())
    call = AgencyCallback(said, family.requests["KPTA"])

    def act(hub: Hub) -> None:
        apply_call_back(hub, "KPTA", call)
        run_and_die(story, hub)

    die_at(story, f"{commit}.{side}", act)
    apply_call_back(story.hub, "KPTA", call)
    for _ in range(3):
        story.tick(minutes=2)
    assert family.recorded("C1") == 1
    sent = story.deliveries(case_id=family.find("C1").id)
    assert {row.state for row in sent} == {"DELIVERED"}
    assert len([row for row in sent if row.parameters.get("pending_code") == "98"]) == 1


@pytest.mark.long
@pytest.mark.parametrize("name", ["parent", "C1"])
def test_a_decision_whose_application_was_cancelled_since_is_not_told(family: Family, name: str) -> None:
    family.take("C1", ALL_OF_ONE)
    cleared = family.story.clock()
    family.story.tick(minutes=5)
    family.decide("KPTA", REJECTED, "N2")
    family.hear("KPTA", asked(family.story, "KPTA", "G1", status="G01", pointers=()))
    family.clear(name, at=cleared)
    assert [set(one) for one in family.late(name)] == [{("1", None)}]

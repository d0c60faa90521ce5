"""What becomes of children when the withdrawal of their parent was refused, or its agency cancels."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionCode
from gateway.operations import read_case_report
from gateway.store import read_transaction
from tests.flows.craft import all_of, reference, withdrawal
from tests.flows.test_late_children import ALL_OF_ONE, Family
from tests.flows.test_withdrawals import asked as questions
from tests.flows.test_withdrawals import cancelling
from tests.kit.databases import BOTH
from tests.kit.story import Story, asked, unreachable

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED


@pytest.fixture
def family(engine: Engine) -> Family:
    return Family(Story(engine))


def withdraw(family: Family, name: str) -> None:
    change = all_of(withdrawal, *([] if name == "parent" else [reference(name)]))
    family.story.submit(family.story.submission(change), action="Withdraw", attach=False)
    for _ in range(3):
        family.story.tick(seconds=5)


def told(family: Family, name: str) -> list[tuple[str, list[str], list[str | None]]]:
    """Return outcome, decisions and problems of each Result of a case."""
    return [
        (
            one.findtext("{*}Outcome") or "",
            [said.get("decision", "") for said in one.findall("{*}Decision")],
            [found.get("id") for found in one.findall("{*}Problem")],
        )
        for one in family.story.inbox.documents("Result")
        if one.findtext("{*}CaseNumber") == family.numbers[name]
    ]


def pending_codes(family: Family, name: str) -> list[str | None]:
    """Return the codes that customs was told of a case, in order."""
    calls = family.story.soap.calls
    told = [one for one in calls if (one.destination, one.operation) == ("customs", "ReportRequirements")]
    return [one.text("PendingCode") for one in told if one.text("CaseNumber") == family.numbers[name]]


def report(family: Family, name: str) -> dict[str, object]:
    with read_transaction(family.story.house.engine) as conn:
        return read_case_report(conn, family.find(name))


def refuse_withdrawal(family: Family) -> None:
    """Withdraw the parent: one agency keeps what it approved, the others cancel."""
    cancelling(family.story, KPTA="G04", KFDA="G03", NPQS="G03")
    withdraw(family, "parent")
    assert family.find("parent").outcome == "PARTIAL"


@BOTH
def test_goods_that_leave_end_a_withdrawal_that_was_refused(family: Family) -> None:
    """What is rejected then is REJECTED in both; what is approved again counts, and nobody is asked."""
    refuse_withdrawal(family)
    family.take("C1", ALL_OF_ONE)
    family.clear("C1")
    asked_before = questions(family.story)
    family.decide("KPTA", REJECTED, "N2")
    assert (family.find("parent").state, family.find("parent").outcome) == ("CLOSED", "REJECTED")
    assert family.find("C1").outcome == "REJECTED"
    family.decide("KPTA", APPROVED, "N3")
    assert (family.find("parent").outcome, family.find("C1").outcome) == ("PARTIAL", "APPROVED")
    assert told(family, "C1") == [
        ("APPROVED", ["APPROVED"], []),
        ("REJECTED", ["REJECTED"], []),
        ("APPROVED", ["APPROVED"], []),
    ]
    assert [[one for _, one in said] for said in family.late("C1")] == [["REJECTED"], ["APPROVED"]]
    assert questions(family.story) == asked_before


def test_the_parent_is_withdrawn_again_when_its_goods_are_back(family: Family) -> None:
    refuse_withdrawal(family)
    family.take("C1", ALL_OF_ONE)
    withdraw(family, "C1")
    assert family.find("C1").state == "WITHDRAWN"
    cancelling(family.story, KPTA="G03")
    withdraw(family, "parent")
    assert family.find("parent").state == "WITHDRAWN"


def test_without_goods_that_left_a_rejection_still_completes_the_withdrawal(family: Family) -> None:
    refuse_withdrawal(family)
    family.decide("KPTA", REJECTED, "N2")
    assert family.find("parent").state == "WITHDRAWN"


def test_a_child_is_rejected_when_the_agency_cancels_what_it_approved_for_the_parent(family: Family) -> None:
    """The item is approved by nobody any more; the Result names the application of the parent."""
    family.take("C1", ALL_OF_ONE)
    family.take("C2", (3, "1", "1"))
    family.hear("KPTA", asked(family.story, "KPTA", "G1", status="G01", pointers=()))
    assert (family.find("parent").outcome, family.find("C1").outcome) == ("PARTIAL", "REJECTED")
    assert told(family, "C1") == [("APPROVED", ["APPROVED"], []), ("REJECTED", [], ["GW410"])]
    assert told(family, "C2") == [("APPROVED", ["APPROVED"], [])]
    # Customs waits again for what it was told is approved, and keeps what it was told of the other child.
    assert (pending_codes(family, "C1"), pending_codes(family, "C2")) == (["18", "19", "18"], ["18", "19"])
    (cancelled,) = report(family, "C1")["inherited_cancellations"]  # type: ignore[misc]
    assert (cancelled["application"], cancelled["items"]) == (family.requests["KPTA"], [1])
    withdraw(family, "C1")
    assert family.find("C1").state == "WITHDRAWN"


def test_customs_learns_of_an_approval_after_clearance_while_the_case_is_being_withdrawn(
    family: Family,
) -> None:
    """The agency has not heard the question whether it cancels, so its approval is no answer to it."""
    cancelling(family.story, KFDA="G03", NPQS="G03")
    family.story.say("KPTA", *[unreachable()] * 3)
    withdraw(family, "parent")
    family.clear("parent")
    family.decide("KPTA", APPROVED, "N2")
    assert family.find("parent").state != "WITHDRAWN"
    assert family.late("parent") == [[("1", "APPROVED")]]

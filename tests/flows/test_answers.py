"""What agencies say, at once and later, in whatever order: one case comes of it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine, update

from gateway.cases import (
    AgencyAcknowledgment,
    AgencyCallback,
    Decision,
    DecisionCode,
    Notice,
    make_application_number,
)
from gateway.errors import GatewayError
from gateway.hub import apply_call_back
from gateway.state_machines import CASE, REQUEST
from gateway.store import decisions, notices, read_transaction, write_transaction
from gateway.store.cases import cases
from tests.kit.databases import BOTH
from tests.kit.story import Story, asked, unreachable

REJECTED, NOT_CONCERNED = DecisionCode.REJECTED, DecisionCode.NOT_CONCERNED
CONDITIONS = DecisionCode.APPROVED_WITH_CONDITIONS


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    started.submit()
    return started


def refusal(story: Story, agency: str, said: AgencyCallback) -> tuple[str, str]:
    """Return id and place of the problem by which a call is refused; nothing is changed by it."""
    before = (story.case(), [story.request(one) for one in ("KPTA", "KFDA", "NPQS")], story.deliveries())
    with pytest.raises(GatewayError) as caught:
        apply_call_back(story.hub, agency, said)
    assert (
        story.case(),
        [story.request(one) for one in ("KPTA", "KFDA", "NPQS")],
        story.deliveries(),
    ) == before
    return caught.value.problem.id, caught.value.location


@pytest.mark.story("an agency's system decides at once")
@BOTH
def test_a_decision_at_once(story: Story) -> None:
    story.say("KFDA", lambda _: story.notice("KFDA", REJECTED))
    story.tick()
    assert story.request("KFDA").state == "DECIDED"
    assert story.case().state == "IN_PROGRESS"
    story.decide_all("KFDA")
    story.tick()
    assert story.outcome() == ("PARTIAL", {1: "APPROVED", 2: "REJECTED", 3: "APPROVED"})
    assert story.steps(REQUEST, story.request("KFDA").id) == [("send", "SENT"), ("decide", "DECIDED")]


@pytest.mark.story("an agency's system acknowledges now and decides later")
def test_an_acknowledgement_now_and_a_decision_later(story: Story) -> None:
    story.tick()
    assert {story.request(one).state for one in ("KPTA", "KFDA", "NPQS")} == {"ACKNOWLEDGED"}
    assert story.request("KPTA").receipt_number.startswith("R-KPTA-")
    story.clock.forward(days=3)
    assert story.hear("KPTA", story.notice("KPTA")) == story.case().number
    assert story.request("KPTA").state == "DECIDED"
    assert story.evidence("request", story.request("KPTA").id) == ["sent", "reply", "acknowledged", "notice"]


def test_call_backs_overtake_the_answer_to_our_call(story: Story) -> None:
    """The agency decides while our POST is still under way; its late answer changes nothing."""

    def decides_first(call: object) -> AgencyAcknowledgment:
        number = call.text("ApplicationNumber")  # type: ignore[attr-defined]
        apply_call_back(story.hub, "KPTA", AgencyCallback(story.notice("KPTA"), number))
        return AgencyAcknowledgment("late")

    story.say("KPTA", decides_first)
    story.tick()
    request = story.request("KPTA")
    assert (request.state, request.receipt_number) == ("DECIDED", "late")
    assert story.steps(REQUEST, request.id)[0] == ("decide", "DECIDED")
    story.decide_all("KPTA")
    story.tick()
    assert story.case().state == "CLOSED"


def test_the_case_closes_though_the_agencies_answer_comes_last_of_all(story: Story) -> None:
    """Decided by call-backs and told to everyone, while our own call still goes on."""

    def everyone_decides(_: object) -> AgencyAcknowledgment:
        story.decide_all()
        other = story.new_worker("w2", threads=8)
        while other.run_once():
            pass
        assert story.case().state == "DECIDED"
        return AgencyAcknowledgment("late")

    story.say("NPQS", unreachable(), everyone_decides)
    story.tick()
    story.tick(seconds=30)
    assert story.case().state == "CLOSED"


def test_a_repeated_notice_changes_nothing(story: Story) -> None:
    story.tick()
    notice = story.notice("KPTA")
    story.hear("KPTA", notice)
    queued = len(story.deliveries())
    story.clock.forward(minutes=1)
    for _ in range(3):
        story.hear("KPTA", notice)
    assert len(story.deliveries()) == queued
    assert story.evidence("request", story.request("KPTA").id).count("notice") == 1


def test_the_same_number_for_other_words_is_a_conflict(story: Story) -> None:
    story.tick()
    number = story.number_of("KPTA")
    story.hear("KPTA", story.notice("KPTA"))
    other = AgencyCallback(story.notice("KPTA", CONDITIONS), number)
    assert refusal(story, "KPTA", other)[0] == "GW702"


CONTRADICTIONS = {
    "approval that rejects": ("R01", REJECTED, "GW702"),
    "failure that approves": ("R04", DecisionCode.APPROVED, "GW702"),
    "unknown code": ("Q99", DecisionCode.APPROVED, "GW403"),
    "code of the hub": ("A02", DecisionCode.APPROVED, "GW403"),
}


@pytest.mark.parametrize(("status", "code", "problem"), CONTRADICTIONS.values(), ids=list(CONTRADICTIONS))
def test_a_notice_that_contradicts_itself(
    story: Story, status: str, code: DecisionCode, problem: str
) -> None:
    story.tick()
    said = AgencyCallback(story.notice("KPTA", code, status=status), story.number_of("KPTA"))
    assert refusal(story, "KPTA", said)[0] == problem


def test_a_notice_of_the_future_is_refused_because_it_would_hide_its_correction(story: Story) -> None:
    story.tick()
    ahead = story.clock() + timedelta(days=1)
    later = story.notice("KPTA", REJECTED, at=ahead + timedelta(seconds=1))
    number = story.number_of("KPTA")
    assert refusal(story, "KPTA", AgencyCallback(later, number)) == ("GW719", "IssuedAt")
    # A clock of another time zone is believed.
    story.hear("KPTA", story.notice("KPTA", at=ahead))
    assert story.request("KPTA").state == "DECIDED"


def test_a_notice_from_before_its_case_is_refused_because_nothing_of_it_could_count(story: Story) -> None:
    story.tick()
    opened = story.case().opened_at
    early = story.notice("KPTA", REJECTED, at=opened - timedelta(days=1, seconds=1))
    number = story.number_of("KPTA")
    assert refusal(story, "KPTA", AgencyCallback(early, number)) == ("GW719", "IssuedAt")
    assert story.evidence("request", story.request("KPTA").id).count("notice") == 0
    # A slow clock, and the first instant of the day before in another time zone, are believed.
    story.hear("KPTA", story.notice("KPTA", at=opened - timedelta(days=1)))
    assert story.request("KPTA").state == "DECIDED"


def test_an_answer_of_the_future_strands_its_request(story: Story) -> None:
    story.say("KFDA", lambda _: story.notice("KFDA", at=story.clock() + timedelta(days=3650)))
    story.tick()
    (call,) = story.deliveries(destination="KFDA")
    assert (call.state, call.problem) == ("FAILED", "GW719")
    assert story.evidence("request", story.request("KFDA").id).count("notice") == 0


@pytest.mark.refusal("an agency's system decides what it was not asked")
@pytest.mark.parametrize(("item", "law"), [(2, "01"), (1, "05"), (99, "01")])
def test_what_was_not_asked_cannot_be_decided(story: Story, item: int, law: str) -> None:
    story.tick()
    notice = Notice("N", story.clock(), "R01", (Decision(item, law, DecisionCode.APPROVED),))
    said = AgencyCallback(notice, story.number_of("KPTA"))
    assert refusal(story, "KPTA", said) == ("GW404", "Decision[1]")


def test_a_mistyped_application_number_is_told_as_that(story: Story) -> None:
    story.tick()
    good = story.number_of("KPTA")
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    for number in (wrong, good[:-1], good.lower(), f"{good[:5]}I{good[6:]}"):
        said = AgencyCallback(story.notice("KPTA"), number)
        assert refusal(story, "KPTA", said) == ("GW513", "ApplicationNumber")
    assert (
        apply_call_back(story.hub, "KPTA", AgencyCallback(story.notice("KPTA"), good)) == story.case().number
    )


@pytest.mark.refusal("an agency's system names an application of another agency")
def test_an_unknown_application_and_anothers_are_told_alike(story: Story) -> None:
    story.tick()
    words = set()
    for number in ("S26000000X001", make_application_number(999, 2026, 1), story.number_of("KFDA")):
        with pytest.raises(GatewayError) as caught:
            apply_call_back(story.hub, "KPTA", AgencyCallback(story.notice("KPTA"), number))
        words.add(str(caught.value).replace(number, "NUMBER"))
    assert len(words) == 1
    assert words.pop().startswith("GW701")
    story.decide("KFDA")
    # Without a decision it is about an application, and KPTA has none under this number.
    stolen = AgencyCallback(asked(story, "KPTA", "D01", status="D01"), requirement_number="KFDA-P-N1")
    assert refusal(story, "KPTA", stolen) == ("GW701", "RequirementNumber")


def test_a_requirement_number_names_its_request(story: Story) -> None:
    story.tick()
    story.decide("KPTA")
    story.clock.forward(minutes=5)
    later = story.notice("KPTA", CONDITIONS, number="N2", status="R02")
    apply_call_back(story.hub, "KPTA", AgencyCallback(later, requirement_number="KPTA-P-N1"))
    with read_transaction(story.house.engine) as conn:
        current = decisions.list_current_decisions(conn, story.case().id)
    assert [(row.item, row.decision) for row in current] == [(1, "APPROVED_WITH_CONDITIONS")]


def test_notices_that_come_late_are_kept_and_change_nothing(story: Story) -> None:
    story.tick()
    story.decide_all()
    story.tick()
    for status in ("C04", "D01", "E01", "Y01"):
        story.hear("KFDA", asked(story, "KFDA", status, status=status))
    story.tick()
    assert (story.request("KFDA").state, story.case().state) == ("DECIDED", "CLOSED")
    with read_transaction(story.house.engine) as conn:
        assert len(notices.list_by_request(conn, story.request("KFDA").id)) == 5
    assert len(story.inbox.documents("Result")) == 1


def test_a_correction_after_the_end_is_told_anew(story: Story) -> None:
    story.tick()
    story.decide_all()
    story.tick()
    assert story.case().state == "CLOSED"
    story.clock.forward(days=1)
    story.hear("KPTA", story.notice("KPTA", REJECTED, number="N2", status="R03"))
    assert (story.case().state, story.case().outcome) == ("DECIDED", "PARTIAL")
    story.tick()
    assert story.case().state == "CLOSED"
    assert story.outcome() == ("PARTIAL", {1: "REJECTED", 2: "APPROVED", 3: "APPROVED"})
    assert story.customs_codes() == ["18", "19", "19"]
    assert story.steps(CASE, story.case().id)[-2:] == [("correct", "DECIDED"), ("relayed", "CLOSED")]
    assert story.evidence("case", story.case().id) == [
        "admitted", "decided", "NRS", "NRS", "NRS", "NRS", "closed", "corrected", "NRS", "NRS", "closed",
    ]  # fmt: skip


def test_a_decision_that_was_overtaken_reopens_nothing(story: Story) -> None:
    story.tick()
    old = story.notice("KPTA", REJECTED, number="N0", at=story.clock() - timedelta(hours=1))
    story.decide_all()
    story.tick()
    before = len(story.inbox.documents("Result"))
    story.hear("KPTA", old)
    assert (story.case().state, story.case().outcome) == ("CLOSED", "APPROVED")
    story.tick()
    assert len(story.inbox.documents("Result")) == before
    assert story.customs_codes() == ["18", "19"]


def test_a_correction_before_the_result_was_made_is_the_only_one_told(story: Story) -> None:
    story.tick()
    story.decide_all()
    story.clock.forward(seconds=1)
    story.hear("KPTA", story.notice("KPTA", REJECTED, number="N2", status="R03"))
    story.tick()
    assert [one.findtext("{*}Outcome") for one in story.inbox.documents("Result")] == ["PARTIAL"]
    assert story.customs_codes() == ["18", "19"]
    assert story.case().state == "CLOSED"


OUTCOMES = {
    "all rejected": ({"KPTA": REJECTED, "KFDA": REJECTED, "NPQS": REJECTED}, "REJECTED", []),
    "one rejected": ({"KFDA": REJECTED}, "PARTIAL", [("1", "01"), ("3", "12")]),
    "none concerned": (dict.fromkeys(("KPTA", "KFDA", "NPQS"), NOT_CONCERNED), "APPROVED", []),
    "conditions": ({"NPQS": CONDITIONS}, "APPROVED", [("1", "01"), ("2", "05"), ("3", "12")]),
    "one not concerned": ({"KPTA": NOT_CONCERNED}, "APPROVED", [("2", "05"), ("3", "12")]),
}


@pytest.mark.parametrize(("said", "outcome", "told"), OUTCOMES.values(), ids=list(OUTCOMES))
def test_the_outcome_is_told_to_applicant_and_customs(
    story: Story, said: dict[str, DecisionCode], outcome: str, told: list[tuple[str, str]]
) -> None:
    story.tick()
    for agency in ("KPTA", "KFDA", "NPQS"):
        code = said.get(agency, DecisionCode.APPROVED)
        story.decide(agency, code, status="H02" if code is NOT_CONCERNED else "")
    story.tick()
    assert story.outcome()[0] == outcome
    assert story.case().state == "CLOSED"
    last = [call for call in story.soap.calls if call.destination == "customs"][-1]
    if outcome == "REJECTED":
        assert story.customs_codes() == ["18"]
    else:
        assert last.text("PendingCode") == "19"
        pairs = [
            (one.findtext("{*}item"), one.findtext("{*}law")) for one in last.body.findall("{*}Requirement")
        ]
        assert pairs == told


def test_a_case_without_items_takes_no_decision(story: Story) -> None:
    """A row that some other program wrote is no mistake of the agency, and none of the program."""
    story.tick()
    with write_transaction(story.house.engine) as conn:
        conn.execute(update(cases).values(detail=None))
    assert refusal(story, "KPTA", AgencyCallback(story.notice("KPTA"), story.request("KPTA").number)) == (
        "GW705",
        "case/IN_PROGRESS",
    )


def test_the_longest_words_of_an_agency_fit_into_the_result(story: Story) -> None:
    """What the contracts with agencies allow, the result and the call to customs can say."""
    story.tick()
    decision = Decision(
        item=1,
        law="01",
        decision=CONDITIONS,
        number="N" * 128,
        date=story.clock().date(),
        quantity=Decimal("123456789012.123456"),
        unit="U" * 17,
        conditions=("조건 " * 1333, "\u0085 \ufffd", "x" * 4000),
    )
    story.hear("KPTA", AgencyAcknowledgment("R" * 128))
    story.hear("KPTA", Notice("K" * 128, story.clock(), "R01", (decision,), "t" * 4000, ("p" * 512,)))
    story.decide_all("KPTA")
    story.tick()
    assert story.case().state == "CLOSED"
    assert story.result().findtext("{*}Decision/{*}Number") == "N" * 128
    assert story.customs_codes() == ["18", "19"]

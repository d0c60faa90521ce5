"""What customs says: it accepts, reports errors, clears; and what agencies decide after that."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import (
    ClearedItem,
    CustomsCall,
    CustomsNotice,
    CustomsReason,
    Decision,
    DecisionCode,
    Notice,
    SignedReply,
)
from gateway.delivery.agents import LocalAgent, MshAgent, PartnerAgent
from gateway.errors import (
    CODE_UNKNOWN,
    DECISION_CONFLICT,
    EVIDENCE_BROKEN,
    NO_ROOM,
    REFUSED_FOR_GOOD,
    REPLY_UNMATCHED,
    RULE_BROKEN,
    GatewayError,
    Problem,
)
from gateway.hub import describe_event
from gateway.hub.customs import customs_news
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.hub.event_feed import advance_event_feed
from gateway.operations import read_case_report
from gateway.state_machines import CLEARANCE
from gateway.store import (
    StateEvent,
    cases,
    customs_notices,
    deliveries,
    event_readers,
    read_transaction,
    write_transaction,
)
from tests.flows.craft import all_of, text, withdrawal, without_applications
from tests.flows.item_changes import add_item, concern
from tests.flows.test_amendments import amendment
from tests.flows.test_partial_release import child
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.rows import open_refused_case
from tests.kit.story import PLAN, QUIET, Story, asked, unreachable

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
SPOKEN = SignedReply(b"<signed call/>", "ab" * 32)


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    started.submit()
    return started


def approved(story: Story) -> Story:
    """Let every agency approve, and everything be delivered."""
    story.tick()
    story.decide_all()
    story.tick()
    assert story.case().state == "CLOSED"
    return story


def said(story: Story, code: str, number: str = "K1", **more: Any) -> CustomsNotice:
    return CustomsNotice(f"CUS-{number}", more.pop("at", story.clock()), code, **more)


def report(story: Story, code: str = "5EC", number: str = "K1", **more: Any) -> str:
    """Let customs report how clearance ended, in a call of its own."""
    call = CustomsCall(said(story, code, number, **more), case_number=story.case().number)
    return apply_customs_call(story.hub, call, SPOKEN)


def clearance(story: Story) -> str | None:
    with read_transaction(story.hub.engine) as conn:
        return customs_notices.find_clearance_state(conn, story.case().id)


def told(story: Story) -> list[etree._Element]:
    """Return what the applicant was told of customs."""
    return [one for document in story.inbox.documents("Notice") for one in document.findall("{*}Customs")]


def news(story: Story) -> list[Any]:
    return [call for call in story.soap.calls if call.operation == "NotifyClearance"]


def happened(story: Story) -> list[str]:
    """Return the types of the events that the applicant's software reads."""
    advance_event_feed(story.hub.engine, story.hub.clock)
    with read_transaction(story.hub.engine) as conn:
        return [describe_event(row)["type"] for row in event_readers.list_events(conn, "broker1", 0, 500)]


def refused(call: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        call()
    return caught.value


@pytest.mark.long
@BOTH
def test_customs_accepts_and_the_case_goes_on(story: Story) -> None:
    story.say("customs", said(story, "R24"), said(story, "R24", "K2"))
    approved(story)
    assert clearance(story) == "ACCEPTED"
    assert story.customs_codes() == ["18", "19"]
    assert told(story) == []
    assert happened(story).count("case.customs_accepted") == 2
    assert story.evidence("case", story.case().id).count("customs_notice") == 2


@pytest.mark.long
def test_an_error_is_an_answer_and_is_told_with_pointers_into_the_own_message(story: Story) -> None:
    reasons = (
        CustomsReason("the net weight is missing", "42A/67A[1]/68A[2]/02A[1]/128", "E12"),
        CustomsReason("no such declarant"),
    )
    story.say("customs", said(story, "R25", text="two errors", reasons=reasons))
    story.tick()
    registered = story.deliveries(destination="customs")[0]
    assert (registered.state, registered.attempt) == ("DELIVERED", 1)
    assert [call.operation for call in story.soap.calls].count("RegisterDeclaration") == 1
    (notice,) = told(story)
    assert notice.findtext("{*}State") == "ERROR"
    assert (notice.findtext("{*}ResultCode"), notice.findtext("{*}StatusCode")) == ("R25", "Z03")
    assert [(one.get("id"), one.get("pointer"), one.text) for one in notice.findall("{*}Problem")] == [
        ("GW715", "42A/67A[1]/68A[2]/02A[1]/128", "the net weight is missing"),
        ("GW715", None, "no such declarant"),
    ]
    assert "case.customs_error" in happened(story)
    # Customs answers the next call with a receipt number alone, as it always may.
    story.decide_all()
    story.tick()
    assert (story.case().state, clearance(story)) == ("CLOSED", "ERROR")
    assert story.steps(CLEARANCE, story.case().id) == [("report_error", "ERROR")]


@pytest.mark.long
def test_an_error_in_a_requirement_points_to_its_item(story: Story) -> None:
    story.tick()
    second = CustomsReason("unknown approval", "Requirement[2]/number")
    beyond = CustomsReason("nothing is there", "Requirement[4]")
    story.say("customs", said(story, "R25", reasons=(second, beyond)))
    story.decide_all()
    story.tick()
    items = [one.findtext("{*}item") for one in story.soap.calls[-1].body.findall("{*}Requirement")]
    (notice,) = told(story)
    pointers = [one.get("pointer") for one in notice.findall("{*}Problem")]
    assert pointers == [f"42A/67A[1]/68A[{items[1]}]", "Requirement[4]"]


@pytest.mark.parametrize("problem", [NO_ROOM, EVIDENCE_BROKEN], ids=["not reached", "changed"])
def test_pointers_wait_for_the_call_that_they_point_into(
    story: Story, monkeypatch: pytest.MonkeyPatch, problem: Problem
) -> None:
    """A Notice with pointers into a call that the applicant does not have would be signed and sent."""
    story.tick()
    reason = CustomsReason("unknown approval", "Requirement[2]/number")
    story.say("customs", said(story, "R25", reasons=(reason,)))
    story.decide_all()

    def fail(*_: object) -> bytes:
        raise GatewayError(problem, "the call to customs")

    with monkeypatch.context() as patch:
        patch.setattr(customs_news, "payloads", SimpleNamespace(get_payload_octets=fail))
        story.tick()
        assert told(story) == []
        # Who looks at the case sees what customs wrote.
        with read_transaction(story.hub.engine) as conn:
            report = read_case_report(conn, story.case())
        assert [one["reasons"][0]["pointer"] for one in report["customs"]["notices"]] == [reason.pointer]
    for row in story.deliveries(state="FAILED", problem=EVIDENCE_BROKEN.id):
        story.operate(deliveries.requeue_delivery, row.id)
    story.tick(minutes=10)
    calls = [call for call in story.soap.calls if call.operation == "ReportRequirements"]
    items = [one.findtext("{*}item") for one in calls[-1].body.findall("{*}Requirement")]
    pointers = [one.get("pointer") for notice in told(story) for one in notice.findall("{*}Problem")]
    assert pointers == [f"42A/67A[1]/68A[{items[1]}]"]


def test_pointers_into_a_call_that_retention_has_removed_stay_as_they_are(story: Story) -> None:
    story.tick()
    reason = CustomsReason("unknown approval", "Requirement[2]/number")
    story.say("customs", said(story, "R25", reasons=(reason,)))
    story.decide_all()
    story.tick()
    with write_transaction(story.hub.engine) as conn:
        conn.exec_driver_sql("UPDATE payloads SET content = '', purged_at = stored_at")
    with read_transaction(story.hub.engine) as conn:
        (row,) = customs_notices.list_by_case(conn, story.case().id)
        notice = customs_news.read_stored_notice(conn, row)
    assert [one.pointer for one in notice.reasons] == ["Requirement[2]/number"]


def test_a_code_that_is_no_answer_is_a_matter_for_the_operator(story: Story) -> None:
    story.say("customs", said(story, "5EC"))
    story.tick()
    delivery = story.deliveries(destination="customs")[0]
    assert (delivery.state, delivery.problem, clearance(story)) == ("FAILED", "GW403", None)


@pytest.mark.parametrize(
    ("cleared_items", "location"),
    [
        ((ClearedItem(4, "5EC"),), "Item[1]"),
        ((ClearedItem(1, "5EC"), ClearedItem(4, "5EC")), "Item[2]"),
        ((ClearedItem(2, "5EC"), ClearedItem(1, "5EC"), ClearedItem(2, "10")), "Item[3]"),
    ],
    ids=["none of the case", "another one", "twice"],
)
def test_customs_names_each_item_of_the_case_once_at_most(
    story: Story, cleared_items: tuple[ClearedItem, ...], location: str
) -> None:
    story.tick()
    refusal = refused(lambda: report(story, items=cleared_items))
    assert (refusal.problem, refusal.location, clearance(story)) == (RULE_BROKEN, location, None)


def test_an_agency_hears_what_customs_says_of_its_own_items_alone(story: Story) -> None:
    """KPTA, which wants the news, has item 1: where customs names the others alone, it hears of no item."""
    approved(story)
    result_codes = ("5EC", "10", "5EC")
    report(story, items=tuple(ClearedItem(item, code) for item, code in enumerate(result_codes, start=1)))
    story.tick()
    report(story, number="K2", at=story.clock() + timedelta(minutes=1), items=(ClearedItem(2, "10"),))
    story.tick()
    assert [
        [(item.findtext("{*}item"), item.findtext("{*}ResultCode")) for item in call.body.findall("{*}Item")]
        for call in news(story)
    ] == [[("1", "5EC")], []]


@pytest.mark.parametrize("is_turned", [False, True], ids=["in order", "turned"])
def test_the_result_that_was_issued_last_counts_whichever_came_last(story: Story, is_turned: bool) -> None:
    story.tick()
    reports = [("5EC", "K1", story.clock()), ("10", "K2", story.clock() + timedelta(minutes=5))]
    for code, number, issued_at in reversed(reports) if is_turned else reports:
        report(story, code, number, at=issued_at)
    assert clearance(story) == "CANCELLED"


@pytest.mark.long
def test_a_clearance_of_the_future_is_refused(story: Story) -> None:
    approved(story)
    ahead = story.clock() + timedelta(days=2)
    refusal = refused(lambda: report(story, at=ahead))
    assert (refusal.problem.id, refusal.location, clearance(story)) == ("GW719", "IssuedAt", None)
    report(story)
    assert clearance(story) == "CLEARED"


@pytest.mark.long
def test_an_export_clearance_is_no_result_of_an_import(story: Story) -> None:
    approved(story)
    refusal = refused(lambda: report(story, "5GA"))
    assert (refusal.problem.id, refusal.location, clearance(story)) == ("GW404", "ResultCode", None)
    assert "export clearance result: cleared; the declaration is an import declaration" in str(refusal)
    refusal = refused(lambda: report(story, "5EC", items=(ClearedItem(1, "5EC"), ClearedItem(2, "5GA"))))
    assert (refusal.problem.id, refusal.location) == ("GW404", "Item[2]/ResultCode")


def test_an_import_clearance_is_no_result_of_an_export(engine: Engine) -> None:
    story = Story(engine)
    change = all_of(without_applications, text(".//{*}Declaration/{*}TypeCode", "EXA"))
    story.submit(story.submission(change), attach=False)
    story.tick()
    assert refused(lambda: report(story, "5EC")).problem.id == "GW404"
    report(story, "5GA")
    assert clearance(story) == "CLEARED"


@pytest.mark.long
def test_a_clearance_from_before_its_case_is_refused(story: Story) -> None:
    approved(story)
    refusal = refused(lambda: report(story, at=story.case().opened_at - timedelta(days=2)))
    assert (refusal.problem.id, refusal.location, clearance(story)) == ("GW719", "IssuedAt", None)


@pytest.mark.story("customs clears the goods, and who waits is told")
def test_clearance_is_told_to_the_applicant_and_to_the_agency_that_wants_it(story: Story) -> None:
    approved(story)
    before = len(story.soap.calls)
    items = (ClearedItem(1, "5EC"), ClearedItem(2, "5EC"), ClearedItem(3, "5EC"))
    assert report(story, items=items, text="released") == story.case().number
    assert clearance(story) == "CLEARED"
    story.tick()
    (call,) = story.soap.calls[before:]
    assert (call.destination, call.operation) == ("KPTA", "NotifyClearance")
    assert (call.text("ResultCode"), call.text("StatusCode"), call.text("NoticeNumber")) == (
        "5EC",
        "Z04",
        "CUS-K1",
    )
    assert [one.findtext("{*}item") for one in call.body.findall("{*}Item")] == ["1"], "its own items alone"
    (notice,) = told(story)
    assert (notice.findtext("{*}State"), notice.findtext("{*}StatusCode")) == ("CLEARED", "Z04")
    assert [one.get("item") for one in notice.findall("{*}Item")] == ["1", "2", "3"]
    assert story.case().state == "CLOSED"
    assert happened(story).count("case.cleared") == 1
    # A repeat is known, whatever came in between.
    report(story, items=items, text="released", at=story.clock())
    story.tick()
    assert (len(news(story)), len(told(story))) == (1, 1)


@pytest.mark.long
def test_the_agency_is_told_though_it_is_away_at_first(story: Story) -> None:
    approved(story)
    story.say("KPTA", unreachable(), unreachable())
    report(story)
    story.tick()
    story.tick(minutes=1)
    story.tick(minutes=5)
    assert len(news(story)) == 3
    assert len({call.envelope for call in news(story)}) == 1
    assert story.deliveries(destination="KPTA")[-1].state == "DELIVERED"


@pytest.mark.long
def test_an_agency_that_refuses_the_news_keeps_its_decision(story: Story) -> None:
    approved(story)
    story.say("KPTA", GatewayError(REFUSED_FOR_GOOD, "no such operation"))
    report(story)
    story.tick()
    assert story.request("KPTA").state == "DECIDED"
    assert (story.case().state, clearance(story)) == ("CLOSED", "CLEARED")


@pytest.mark.long
def test_an_agency_that_never_got_its_application_hears_nothing(engine: Engine) -> None:
    story = Story(engine)
    story.say("KPTA", GatewayError(REFUSED_FOR_GOOD, "not ours"))
    story.submit()
    story.tick()
    report(story)
    story.tick()
    assert news(story) == []
    assert clearance(story) == "CLEARED"


@pytest.mark.long
@pytest.mark.parametrize("turned", [False, True])
def test_of_two_results_the_one_that_was_issued_last_counts(story: Story, turned: bool) -> None:
    approved(story)
    first = ("5EC", "K1", story.clock())
    last = ("10", "K2", story.clock() + timedelta(minutes=5))
    for code, number, at in (last, first) if turned else (first, last):
        report(story, code, number, at=at)
        story.tick()
    assert clearance(story) == "CANCELLED"
    assert news(story)[-1].text("ResultCode") == "10"
    assert news(story)[-1].text("StatusCode") is None
    assert len(news(story)) == (1 if turned else 2), "no agency is told what is overtaken"
    assert len(told(story)) == 2


@pytest.mark.long
def test_an_answer_does_not_hide_a_result(story: Story) -> None:
    """Customs' answer to code 19 may come when the goods are cleared."""
    approved(story)
    report(story)
    late = CustomsCall(said(story, "R25", "K9"), case_number=story.case().number, is_clearance_result=False)
    apply_customs_call(story.hub, late, SPOKEN)
    story.tick()
    assert clearance(story) == "CLEARED"
    assert [one.findtext("{*}ResultCode") for one in told(story)] == ["5EC", "R25"]


def test_the_declarants_reference_names_the_case(story: Story) -> None:
    story.tick()
    name = story.case().functional_reference
    call = CustomsCall(said(story, "5EC"), reference=name)
    assert apply_customs_call(story.hub, call, SPOKEN) == story.case().number


@pytest.mark.long
def test_what_is_refused_under_a_reference_hides_no_case(story: Story) -> None:
    story.tick()
    standing = story.case()
    with write_transaction(story.hub.engine) as conn:
        for number in range(51):
            refuse = {"number": f"R-{number}", "functional_reference": standing.functional_reference}
            refuse |= {"declarant": standing.declarant}
            case = open_refused_case(conn, **refuse)
            cases.apply_event(conn, case, StateEvent("refuse", story.clock(), "test"))
    call = CustomsCall(said(story, "5EC"), reference=standing.functional_reference)
    assert apply_customs_call(story.hub, call, SPOKEN) == standing.number


@pytest.mark.refusal("customs says what it may not say")
def test_what_customs_may_not_say_changes_nothing(story: Story) -> None:
    approved(story)
    number = story.case().number
    calls = {
        REPLY_UNMATCHED: CustomsCall(said(story, "5EC"), case_number="SW-9999-000000000-1"),
        CODE_UNKNOWN: CustomsCall(said(story, "R24"), case_number=number),
        RULE_BROKEN: CustomsCall(said(story, "5EC", items=(ClearedItem(4, "5EC"),)), case_number=number),
    }
    for problem, call in calls.items():
        found = refused(lambda call=call: apply_customs_call(story.hub, call, SPOKEN))
        assert found.problem is problem
        assert found.location
    assert clearance(story) is None
    report(story)
    assert refused(lambda: report(story, "03")).problem is DECISION_CONFLICT
    assert clearance(story) == "CLEARED"


def test_a_refused_submission_was_never_at_customs(engine: Engine) -> None:
    story = Story(engine)
    story.submit(b"<Submission/>", attach=False)
    story.tick()
    assert refused(lambda: report(story)).problem is REPLY_UNMATCHED


@pytest.mark.long
def test_without_a_p_mode_for_notices_the_agencies_are_told_all_the_same(engine: Engine) -> None:
    story = Story(engine, agreement=QUIET)
    story.submit()
    approved(story)
    report(story)
    story.tick()
    assert (len(news(story)), told(story)) == (1, [])


@pytest.mark.long
def test_after_clearance_only_customs_corrects(story: Story) -> None:
    """GW714 names 5FE; when customs cancels the clearance, the window is open again."""
    approved(story)
    number = story.case().number
    report(story)
    for change, action, attach in ((amendment(), "Amend", True), (withdrawal, "Withdraw", False)):
        story.submit(story.submission(change), action=action, attach=attach)
        story.tick()
        assert story.problems() == [("GW714", "/Submission/Function")]
        assert "5FE" in (story.result().find("{*}Problem").text or "")  # type: ignore[union-attr]
    assert "CancelApplication" not in [call.operation for call in story.soap.calls]
    story.clock.forward(minutes=1)
    again = CustomsCall(said(story, "10", "K2"), case_number=number)
    apply_customs_call(story.hub, again, SPOKEN)
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    assert "CancelApplication" in [call.operation for call in story.soap.calls]


@pytest.mark.long
def test_a_decision_after_clearance_is_told_to_customs_and_changes_nothing_about_it(story: Story) -> None:
    approved(story)
    report(story)
    story.tick()
    before = story.steps(CLEARANCE, story.case().id)
    story.clock.forward(minutes=1)
    story.decide("KFDA", REJECTED, number="N2")
    story.tick()
    late = [call for call in story.soap.calls if call.text("PendingCode") == "98"]
    assert [
        [one.findtext(f"{{*}}{name}") for name in ("item", "law", "decision")]
        for call in late
        for one in call.body.findall("{*}Requirement")
    ] == [["2", "05", "REJECTED"]]
    assert clearance(story) == "CLEARED"
    assert story.steps(CLEARANCE, story.case().id) == before
    assert story.outcome()[0] == "PARTIAL"
    assert happened(story).count("case.late_decision") == 1
    assert story.evidence("case", story.case().id).count("late_decision") == 1
    # The same notice again is known.
    story.decide("KFDA", REJECTED, number="N2", at=story.clock())
    story.tick()
    assert [call.text("PendingCode") for call in story.soap.calls].count("98") == 1


def list_late_reports(story: Story) -> list[list[tuple[str, str]]]:
    """Return item and permit number of each requirement of each report of a late decision."""
    return [
        [
            (row.findtext("{*}item") or "", row.findtext("{*}number") or "")
            for row in call.body.findall("{*}Requirement")
        ]
        for call in story.soap.calls
        if call.text("PendingCode") == "98"
    ]


def decide_food_items(
    story: Story, number: str, minutes: int, *items: int, rejected: frozenset[int] = frozenset()
) -> None:
    """Let KFDA decide items, so many minutes from now: each under a permit number of the notice."""
    decisions = tuple(
        Decision(item, "05", REJECTED if item in rejected else APPROVED, f"{number}-{item}") for item in items
    )
    at = story.clock() + timedelta(minutes=minutes)
    story.hear("KFDA", Notice(f"KFDA-{number}", at, "F02", decisions))


def submit_two_food_items(engine: Engine) -> Story:
    """Return a story whose application to KFDA is about items 2 and 4."""
    story = Story(engine)
    story.submit(story.submission(all_of(add_item(4, like=2), concern("A2", 4, like=2))))
    story.tick()
    return story


@pytest.mark.parametrize("second_first", [False, True], ids=["in their order", "the second one first"])
@pytest.mark.parametrize(
    ("again", "reports"),
    [
        ((2, 4), [[("2", "N3-2"), ("4", "N3-4")]]),
        ((2,), [[("2", "N3-2")], [("4", "N2-4")]]),
        ((4,), [[("2", "N2-2")], [("4", "N3-4")]]),
    ],
    ids=["both items", "the first item", "the second item"],
)
def test_a_late_decision_that_another_one_replaces_before_its_report_is_not_told(
    engine: Engine, second_first: bool, again: tuple[int, ...], reports: list[list[tuple[str, str]]]
) -> None:
    """Customs counts what it hears last: of two notices on an item it is told the later one, once."""
    story = submit_two_food_items(engine)
    story.decide_all("KFDA")
    decide_food_items(story, "N1", 0, 2, 4)
    story.tick()
    assert story.case().state == "CLOSED"
    report(story)
    story.tick()
    story.clock.forward(minutes=5)
    notices = [("N2", -4, (2, 4)), ("N3", -3, again)]
    for number, minutes, items in reversed(notices) if second_first else notices:
        decide_food_items(story, number, minutes, *items)
    story.tick()
    assert sorted(list_late_reports(story)) == reports
    story.tick(minutes=10)
    assert len(list_late_reports(story)) == len(reports)


def test_a_late_decision_whose_application_is_cancelled_before_its_report_is_not_told(story: Story) -> None:
    approved(story)
    report(story)
    story.tick()
    story.clock.forward(minutes=1)
    story.decide("KFDA", REJECTED, number="N2")
    story.clock.forward(minutes=1)
    story.hear("KFDA", asked(story, "KFDA", "G1", status="G01", pointers=()))
    story.tick()
    assert list_late_reports(story) == [[("2", "")]]


def test_of_a_late_notice_customs_is_told_what_concerns_the_cleared_child(engine: Engine) -> None:
    story = submit_two_food_items(engine)
    story.decide_all("KFDA")
    decide_food_items(story, "N1", 0, 2, 4)
    story.tick()
    parent = story.case().number
    change = all_of(add_item(4, like=2), child("C1", parent, (4, "1", "1")))
    story.submit(story.submission(change), attach=False)
    story.tick(seconds=1)
    assert (story.case().outcome, story.case().number != parent) == ("APPROVED", True)
    report(story)
    decide_food_items(story, "N2", 1, 2, 4)
    for _ in range(3):
        story.tick(seconds=5)
    assert list_late_reports(story) == [[("4", "N2-4")]]


@pytest.mark.parametrize("rejected", [2, 4])
def test_of_a_withdrawn_declaration_customs_is_told_what_is_rejected(engine: Engine, rejected: int) -> None:
    """The agency is asked to cancel what it approves of it in the same notice."""
    story = submit_two_food_items(engine)
    decide_food_items(story, "N1", 0, 2, 4, rejected=frozenset({2, 4}))
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    report(story)
    for agency in ("KPTA", "NPQS"):
        story.hear(agency, Notice(f"{agency}-G", story.clock(), "G03"))
    story.tick()
    assert story.case().state == "WITHDRAWN"
    reports_before = list_late_reports(story)
    decide_food_items(story, "N2", 1, 2, 4, rejected=frozenset({rejected}))
    story.tick()
    assert list_late_reports(story)[len(reports_before) :] == [[(str(rejected), f"N2-{rejected}")]]


@pytest.mark.long
def test_customs_may_clear_before_the_last_agency_has_decided(story: Story) -> None:
    story.tick()
    report(story)
    story.tick()
    assert (story.case().state, clearance(story)) == ("IN_PROGRESS", "CLEARED")
    story.decide_all()
    story.tick()
    assert story.case().state == "CLOSED"
    assert sorted(story.customs_codes()) == ["18", "19", "98", "98", "98"]


@pytest.mark.long
def test_an_application_that_is_cancelled_after_clearance_is_told_to_customs(story: Story) -> None:
    approved(story)
    report(story)
    story.hear("KFDA", asked(story, "KFDA", "G1", status="G01", pointers=()))
    story.tick()
    (late,) = [call for call in story.soap.calls if call.text("PendingCode") == "98"]
    (one,) = late.body.findall("{*}Requirement")
    assert (one.findtext("{*}item"), one.findtext("{*}decision")) == ("2", None)
    assert story.request("KFDA").state == "CANCELLED"


@pytest.mark.long
@pytest.mark.parametrize("cleared_first", [False, True])
def test_a_decision_is_late_by_its_issue_time_too(story: Story, cleared_first: bool) -> None:
    """Whichever of the two the hub hears first."""
    approved(story)
    cleared, decided = story.clock(), story.clock() + timedelta(minutes=5)
    if cleared_first:
        report(story, at=cleared)
    story.decide("KFDA", REJECTED, number="N2", at=decided)
    story.tick()
    if not cleared_first:
        report(story, at=cleared)
    story.tick()
    assert story.customs_codes().count("98") == 1
    assert clearance(story) == "CLEARED"


@pytest.mark.long
def test_a_decision_that_customs_knew_is_not_late(story: Story) -> None:
    approved(story)
    story.clock.forward(minutes=1)
    report(story)
    story.tick()
    assert "98" not in story.customs_codes()


@pytest.mark.long
def test_without_an_address_of_customs_a_late_decision_is_an_event(engine: Engine) -> None:
    story = Story(engine, customs=False)
    story.submit()
    approved(story)
    report(story)
    story.decide("KFDA", REJECTED, number="N2", at=story.clock() + timedelta(minutes=1))
    story.tick()
    assert happened(story).count("case.late_decision") == 1
    assert story.case().state == "CLOSED"


def race(*acts: Any) -> list[BaseException | None]:
    """Do several things at the same instant; return what each of them raised."""
    start = threading.Barrier(len(acts))
    ended: list[BaseException | None] = [None] * len(acts)

    def run(place: int, act: Any) -> None:
        start.wait()
        try:
            act()
        except GatewayError as error:
            ended[place] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return ended


@pytest.mark.long
@BOTH
def test_clearance_and_a_decision_at_the_same_instant(story: Story) -> None:
    """Whoever is first: the decision was issued later, so customs hears of it once."""
    approved(story)
    cleared, decided = story.clock(), story.clock() + timedelta(minutes=5)
    raised = race(
        lambda: report(story, at=cleared),
        lambda: story.decide("KFDA", REJECTED, number="N2", at=decided),
        lambda: report(story, at=cleared),
    )
    assert raised == [None, None, None]
    story.tick()
    assert (clearance(story), len(news(story))) == ("CLEARED", 1)
    assert story.customs_codes().count("98") == 1
    assert story.request("KFDA").state == "DECIDED"


@pytest.mark.long
@BOTH
def test_clearance_and_withdrawal_at_the_same_instant(story: Story) -> None:
    """Either the withdrawal is refused, or it came first and goes on; clearance stands in both."""
    approved(story)
    number = story.case().number
    call = CustomsCall(said(story, "5EC"), case_number=number)
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    workers = [lambda: story.worker.run_once(), lambda: story.new_worker("w2").run_once()]
    raised = race(*workers, lambda: apply_customs_call(story.hub, call, SPOKEN))
    assert raised == [None, None, None]
    story.tick()
    with read_transaction(story.hub.engine) as conn:
        case = cases.find_by_number(conn, number)
        assert case is not None
        assert customs_notices.find_clearance_state(conn, case.id) == "CLEARED"
    asked_to_cancel = "CancelApplication" in [one.operation for one in story.soap.calls]
    refusals = [one for one in story.inbox.documents("Result") if one.findtext("{*}Outcome") == "REFUSED"]
    assert asked_to_cancel is not bool(refusals)
    assert ("withdrawal" in (case.detail or {})) is asked_to_cancel


@pytest.mark.long
def test_an_approval_of_a_withdrawn_declaration_is_not_told_to_customs(story: Story) -> None:
    """It was cleared while it was withdrawn: customs hears the withdrawal, and a rejection after it alone."""
    story.tick()
    story.decide("KFDA", REJECTED)
    story.tick()
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick()
    report(story)
    for agency in ("KPTA", "NPQS"):
        story.hear(agency, Notice(f"{agency}-G", story.clock(), "G03"))
    story.tick()
    assert (story.case().state, clearance(story)) == ("WITHDRAWN", "CLEARED")
    for number, decision in (("N3", DecisionCode.APPROVED), ("N4", REJECTED)):
        story.clock.forward(minutes=1)
        story.decide("KFDA", decision, number=number)
        story.tick()
    late = [call for call in story.soap.calls if call.text("PendingCode") == "98"]
    assert [one.text for call in late for one in call.body.iter("{*}decision")] == ["REJECTED"]


@BOTH
@pytest.mark.long
@pytest.mark.parametrize("when", ["before_commit", "after_commit"])
@pytest.mark.parametrize("name", ["customs.call", "customs.told", "customs.late", "reply.clearance"])
def test_a_kill_at_each_commit_loses_nothing_and_tells_nothing_twice(
    story: Story, name: str, when: str
) -> None:
    approved(story)

    def act(hub: Any) -> None:
        story.hub = hub
        call = CustomsCall(said(story, "5EC"), case_number=story.case().number)
        apply_customs_call(hub, call, SPOKEN)
        story.decide("KFDA", REJECTED, number="N2", at=story.clock())
        hub.composer = kept[0].composer
        partners = hub.composer
        plans = lambda: dict.fromkeys(story.addresses, PLAN)  # noqa: E731
        story.agents["local"] = LocalAgent(hub, PLAN)
        story.agents["soap"] = PartnerAgent(hub, story.soap, partners, plans)
        story.agents["msh"] = MshAgent(hub, story.inbox)
        story.worker = story.new_worker("dying", threads=1)
        story.tick()

    kept = story.hub, story.worker, dict(story.agents)
    die_at(story, f"{name}.{when}", act)
    story.hub, story.worker = kept[0], kept[1]
    story.agents.update(kept[2])
    # Customs and the agency repeat what was not answered; the lease of the dead worker ends.
    report(story)
    story.decide("KFDA", REJECTED, number="N2", at=story.clock())
    for _ in range(4):
        story.tick(minutes=2)
    assert clearance(story) == "CLEARED"
    assert story.evidence("case", story.case().id).count("customs_notice") == 1
    done = story.deliveries(case_id=story.case().id)
    assert {row.state for row in done} == {"DELIVERED"}
    assert len([row for row in done if row.parameters.get("operation") == "NotifyClearance"]) == 1
    assert len([row for row in done if row.parameters.get("pending_code") == "98"]) == 1
    assert len([row for row in done if row.dedupe_key.startswith("customs_notice:")]) == 1

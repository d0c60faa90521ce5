"""A case that lacks a needed document is held: filed in time it goes on, else it is refused once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from lxml import etree
from sqlalchemy import Engine, func, select

from gateway.cases import CustomsCall, CustomsNotice, SignedReply
from gateway.cli import main
from gateway.config import NeedSettings
from gateway.delivery.agents import LocalAgent
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.hub import Hub, apply_customs_call, end_hold, find_former_message
from gateway.hub.completion import operator_actions
from gateway.hub.submissions import admit
from gateway.state_machines import CASE
from gateway.store import cases, deliveries, exact_searches, read_transaction
from gateway.store.messages import messages
from gateway.wire import WCO_DEC
from tests.flows.craft import Change, all_of, because, reference, supplement, text, withdrawal, without
from tests.flows.item_changes import remove_item
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import PLAN, Story

LACKING = without("Application[@id='A3']")
HOLD = NeedSettings(imports="hold", hold_time=timedelta(hours=48))


def amendment(*changes: Change) -> Change:
    return all_of(text("Function", "13"), lambda root: because(root, "17", "It was left out."), *changes)


def send(story: Story, change: Change, action: str, attach: bool = True) -> None:
    story.submit(story.submission(change), action=action, attach=attach)
    story.tick()


@pytest.fixture
def story(engine: Engine) -> Story:
    """Return a story whose case is held."""
    started = Story(engine)
    started.hub.need_policy = HOLD
    started.submit(started.submission(LACKING))
    started.tick()
    return started


def notices(story: Story) -> list[etree._Element]:
    return story.inbox.documents("Notice")


@BOTH
def test_a_held_case_tells_its_declarant_and_nobody_else(story: Story) -> None:
    case = story.case()
    assert (case.state, case.outcome, story.soap.calls) == ("HELD", None, [])
    (notice,) = notices(story)
    held = notice.find("{*}Held")
    until = datetime.fromisoformat(held.get("until").replace("Z", "+00:00"))
    assert until == datetime.fromisoformat(case.detail["held"]["until"])
    assert timedelta(0) <= story.clock() + timedelta(hours=48) - until < timedelta(minutes=1)
    (missing,) = held.findall("{*}Missing")
    assert dict(missing.attrib) == {
        "item": "3",
        "law": "12",
        "documents": "NPQS-PLA-IMP",
        "organisations": "NPQS",
        "pointer": "42A/67A[1]/68A[3]",
    }
    assert "item 3 (0601101000) needs NPQS-PLA-IMP under law 12" in (missing.text or "")
    assert story.inbox.documents("Result") == []
    assert story.evidence("case", case.id)[0] == "held"
    with read_transaction(story.house.engine) as conn:
        assert [row.id for row in exact_searches.find_cases(conn, "AKE26714KE")] == [case.id]


@pytest.mark.long
@pytest.mark.parametrize(("filed", "action"), [(supplement, "Supplement"), (amendment(), "Amend")])
def test_the_whole_submission_again_lets_it_go_on(story: Story, filed: Change, action: str) -> None:
    number = story.case().number
    send(story, filed, action)
    assert story.case().number == number
    assert {one.operation for one in story.soap.calls} == {
        "SubmitApplication",
        "RegisterDeclaration",
        "ReportRequirements",
    }
    assert "held" not in story.case().detail
    story.decide_all()
    story.tick(days=5)
    assert story.outcome() == ("APPROVED", {1: "APPROVED", 2: "APPROVED", 3: "APPROVED"})
    assert story.case().state == "CLOSED"
    assert story.customs_codes() == ["18", "19"]
    assert [one for one, _ in story.steps(CASE, story.case().id)][:2] == ["hold", "dispatch"]
    assert {row.state for row in story.deliveries(subject_type="case", agent="local")} <= {
        "DELIVERED",
        "CANCELLED",
    }


@pytest.mark.long
def test_when_the_time_is_over_it_is_refused_once_and_its_reference_is_free(story: Story) -> None:
    story.tick(hours=47)
    assert story.case().state == "HELD"
    story.tick(hours=2)
    story.tick(hours=48)
    assert story.problems() == [("GW508", "42A/67A[1]/68A[3]")]
    assert "it was not filed by 20" in (story.result().find("{*}Problem").text or "")
    assert story.result().findtext("{*}Reference") == story.case().functional_reference
    assert len(story.inbox.documents("Result")) == 1
    assert story.evidence("case", story.case().id).count("refused") == 1
    send(story, supplement, "Supplement")
    assert story.problems() == [("GW407", "/Submission/Reference")]
    story.submit()
    story.tick()
    assert story.case().state == "IN_PROGRESS"


@pytest.mark.long
def test_what_is_filed_without_it_is_held_on_and_prolongs_nothing(story: Story) -> None:
    until = story.case().detail["held"]["until"]
    story.tick(hours=24)
    send(story, all_of(supplement, LACKING, without("Application[@id='A1']")), "Supplement")
    assert story.case().state == "HELD"
    assert story.case().detail["held"]["until"] == until
    assert [len(one.findall("{*}Held/{*}Missing")) for one in notices(story)] == [1, 2]
    story.tick(hours=25)
    assert story.problems() == [("GW508", "42A/67A[1]/68A[1]"), ("GW508", "42A/67A[1]/68A[3]")]


@pytest.mark.long
@pytest.mark.parametrize("policy", ["refuse", "warn"])
def test_a_held_case_keeps_the_policy_of_its_filing(story: Story, policy: Literal["refuse", "warn"]) -> None:
    story.hub.need_policy = NeedSettings(imports=policy)
    send(story, all_of(supplement, LACKING), "Supplement")
    assert (story.case().state, len(notices(story))) == ("HELD", 2)
    send(story, supplement, "Supplement")
    assert story.case().state == "IN_PROGRESS"


def test_a_disclaimer_or_other_goods_end_the_hold_as_well(story: Story) -> None:
    def disclaim(root: etree._Element) -> None:
        element = etree.SubElement(root, "{urn:single-window:submission:1}Disclaimer")
        element.attrib.update({"item": "3", "law": "12", "reason": "B"})

    send(story, amendment(LACKING, disclaim), "Amend")
    assert story.case().state == "IN_PROGRESS"
    assert {one.destination for one in story.soap.calls} == {"KPTA", "KFDA", "customs"}


@pytest.mark.long
@BOTH
def test_a_withdrawal_ends_it_at_once_and_customs_is_told_nothing(story: Story) -> None:
    send(story, withdrawal, "Withdraw", attach=False)
    assert (story.case().state, story.outcome()[0]) == ("WITHDRAWN", "WITHDRAWN")
    story.tick(days=4)
    assert len(story.inbox.documents("Result")) == 1
    assert story.soap.calls == []
    # Customs has never heard of it, and clears nothing of it.
    case = story.case()
    for named in ({"case_number": case.number}, {"reference": case.functional_reference}):
        said = CustomsNotice("K1", story.clock(), "5EC")
        with pytest.raises(GatewayError) as refused:
            apply_customs_call(story.hub, CustomsCall(said, **named), SignedReply())
        assert refused.value.problem.id == "GW701"


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "action", "problem"),
    [
        (amendment(without(".//Amendment")), "Amend", ("GW404", "42A/06A[1]/099")),
        (amendment(reference("X-1")), "Amend", ("GW407", "/Submission/Reference")),
    ],
)
def test_what_cannot_be_is_refused_and_the_case_stays_held(
    story: Story, change: Change, action: str, problem: tuple[str, str]
) -> None:
    held = story.case().id
    send(story, change, action)
    assert story.problems() == [problem]
    with read_transaction(story.house.engine) as conn:
        assert cases.find_by_id(conn, held).state == "HELD"


def test_two_workers_refuse_it_once(story: Story) -> None:
    other = story.new_worker("w2")
    story.clock.forward(hours=49)
    while story.worker.run_once() + other.run_once():
        pass
    assert story.evidence("case", story.case().id).count("refused") == 1
    assert len(story.inbox.documents("Result")) == 1


def admit_while(
    story: Story, monkeypatch: pytest.MonkeyPatch, step: str, meanwhile: Callable[[], None]
) -> None:
    """Admit the last message; what happens meanwhile happens once, between composing and storing."""
    with read_transaction(story.house.engine) as conn:
        last = conn.execute(select(func.max(messages.c.id)).where(messages.c.direction == "in")).scalar_one()
    compose = getattr(admit, step)

    def compose_late(*about: Any) -> Any:
        made = compose(*about)
        monkeypatch.setattr(admit, step, compose)
        meanwhile()
        return made

    monkeypatch.setattr(admit, step, compose_late)
    admit.admit_submission(story.hub, last, lambda conn: None)
    story.tick()


@pytest.mark.long
@BOTH
def test_a_supplement_that_comes_while_it_ends_is_refused(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was composed for the held case; when it is stored the case is refused."""
    held = story.case().id
    story.submit(story.submission(supplement), action="Supplement")

    def let_it_end() -> None:
        story.clock.forward(hours=49)
        end_hold(story.hub, held, lambda conn: None)

    admit_while(story, monkeypatch, "compose_registration_calls", let_it_end)
    assert [one.findtext("{*}Outcome") for one in story.inbox.documents("Result")] == ["REFUSED"] * 2
    assert sorted(one.find("{*}Problem").get("id") for one in story.inbox.documents("Result")) == [
        "GW407",
        "GW508",
    ]
    assert story.soap.calls == []


@pytest.mark.long
def test_a_withdrawal_that_comes_while_the_case_goes_on_asks_the_agencies(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    def let_it_go_on() -> None:
        with read_transaction(story.house.engine) as conn:
            first = conn.execute(select(func.max(messages.c.id)).where(messages.c.direction == "in"))
            message = first.scalar_one() - 1
        admit.admit_submission(story.hub, message, lambda conn: None)
        with read_transaction(story.house.engine) as conn:
            sent = [row for row in deliveries.list_by_case(conn, story.case().id) if row.agent == "soap"]
        assert len(sent) == 5

    story.submit(story.submission(supplement), action="Supplement")
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    admit_while(story, monkeypatch, "compose_cancellations", let_it_go_on)
    assert (story.case().state, story.outcome()[0]) == ("WITHDRAWN", "WITHDRAWN")
    assert {row.state for row in story.deliveries(subject_type="request")} == {"CANCELLED"}


def run_and_die(story: Story, hub: Hub) -> None:
    hub.composer = story.hub.composer
    agents: dict[str, Any] = {"local": LocalAgent(hub, PLAN)}
    pace = WorkerSettings(
        threads=1, lease_time=timedelta(seconds=60), poll_seconds=0.01, maintenance_seconds=0.05
    )
    worker = DeliveryWorker(hub.engine, agents, story.clock, name="other", worker_settings=pace)
    hub.need_policy = HOLD
    while worker.run_once():
        pass


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("commit", ["admit.held", "hold.told", "admit.resumed", "hold.ended"])
def test_wherever_a_process_dies_it_happens_once(engine: Engine, commit: str) -> None:
    story = Story(engine)
    story.hub.need_policy = HOLD
    for number, side in enumerate(("before_commit", "after_commit")):
        name = reference(f"HELD-{number}")
        story.submit(story.submission(all_of(name, LACKING)))
        if commit in ("admit.resumed", "hold.ended"):
            story.tick()
        if commit == "admit.resumed":
            story.submit(story.submission(all_of(name, supplement)), action="Supplement")
        if commit == "hold.ended":
            story.clock.forward(hours=49)
        die_at(story, f"{commit}.{side}", lambda hub: run_and_die(story, hub))
        story.tick(minutes=2)
        story.tick()
        assert len(notices(story)) >= number + 1
        kinds = story.evidence("case", story.case().id)
        assert kinds.count("held") == 1
        assert kinds.count("refused") == (commit == "hold.ended")
        assert kinds.count("admitted") == (commit == "admit.resumed")
        calls = [one for one in story.soap.calls if one.operation == "SubmitApplication"]
        assert len(calls) == (3 * (number + 1) if commit == "admit.resumed" else 0)
    assert len(story.inbox.documents("Result")) == (2 if commit == "hold.ended" else 0)
    if commit != "admit.resumed":
        held = [one for one in notices(story) if one.find("{*}Held") is not None]
        assert len(held) == 2


@pytest.mark.long
def test_a_hold_that_is_tried_too_early_still_ends(story: Story) -> None:
    story.operate(deliveries.try_delivery, story.delivery(dedupe_key=f"hold:{story.case().id}").id)
    story.tick()
    assert story.case().state == "HELD"
    story.tick(hours=49)
    assert story.case().state == "REFUSED"


@pytest.mark.long
def test_a_hold_that_was_tried_keeps_no_case_open(story: Story) -> None:
    """The task that waits again is taken back with the first one, and the case is closed."""
    story.operate(deliveries.try_delivery, story.delivery(dedupe_key=f"hold:{story.case().id}").id)
    story.tick()
    send(story, supplement, "Supplement")
    story.decide_all()
    story.tick()
    assert story.case().state == "CLOSED"


def test_the_end_of_a_hold_cannot_be_cancelled(story: Story) -> None:
    """Without it nobody would ever end the hold; when the case goes on, nothing is in the way."""
    ending = story.delivery(dedupe_key=f"hold:{story.case().id}").id
    with pytest.raises(GatewayError, match=f"{story.case().number} is HELD until 20") as refused:
        story.operate(operator_actions.cancel_delivery, ending)
    assert refused.value.problem is TRANSITION_REFUSED
    story.operate(operator_actions.hold_delivery, ending)
    with pytest.raises(GatewayError):
        story.operate(operator_actions.cancel_delivery, ending)
    story.operate(operator_actions.release_delivery, ending)
    story.tick(hours=49)
    assert story.case().state == "REFUSED"


@pytest.mark.long
def test_a_supplement_keeps_the_declaration_and_an_amendment_changes_it(story: Story) -> None:
    change = text(".//Declarant/Name", "한빛관세사무소")
    send(story, all_of(supplement, change), "Supplement")
    assert story.problems() == [("GW404", "42A/57B[1]/R124")]
    assert len(notices(story)) == 1
    send(story, amendment(change, LACKING), "Amend")
    send(story, all_of(supplement, change), "Supplement")
    with read_transaction(story.house.engine) as conn:
        found = {row.state for row in cases.list_cases(conn, limit=9)}
    assert found == {"REFUSED", "IN_PROGRESS"}


@pytest.mark.long
@pytest.mark.parametrize(("filed", "action"), [(supplement, "Supplement"), (amendment(), "Amend")])
def test_the_declaration_in_force_is_the_one_that_was_filed_last(
    story: Story, filed: Change, action: str
) -> None:
    """A later amendment is compared with it, and not with the one that was held."""
    for changed in (all_of(filed, LACKING), filed):
        send(story, changed, action)
        with read_transaction(story.house.engine) as conn:
            newest = conn.execute(select(func.max(messages.c.id)).where(messages.c.direction == "in"))
            assert find_former_message(conn, story.case()) == newest.scalar_one()


@pytest.mark.long
def test_what_was_received_in_time_is_waited_for(story: Story) -> None:
    """The receipt counts: the task that ends the hold finds the supplement before its admission."""
    story.clock.forward(hours=47, minutes=59)
    story.submit(story.submission(supplement), action="Supplement")
    story.clock.forward(minutes=2)
    end_hold(story.hub, story.case().id, lambda conn: None)
    assert story.case().state == "HELD"
    story.tick()
    assert story.case().state == "IN_PROGRESS"


def test_what_is_never_admitted_is_not_waited_for(story: Story) -> None:
    story.clock.forward(hours=47)
    story.submit(story.submission(supplement), action="Supplement")
    story.clock.forward(hours=2)
    end_hold(story.hub, story.case().id, lambda conn: None)
    assert story.case().state == "REFUSED"


def test_the_verbs_say_that_it_is_held_and_until_when(
    story: Story, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    assert main(["case", "show", story.case().number, "--home", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "HELD  undecided" in shown
    assert "waits for applications that are missing, until 2026-" in shown
    assert "missing item 3 (0601101000) needs NPQS-PLA-IMP under law 12" in shown
    assert main(["case", "list", "--state", "HELD", "--json", "--home", str(tmp_path)]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["waits_for"].startswith("applications that are missing, until ")


def naming(section: str, tag: str) -> Change:
    """Let the amendment name an element of a class."""

    def change(root: etree._Element) -> None:
        one = root.find(".//{*}Amendment")
        assert one is not None
        step = etree.SubElement(one, f"{{{WCO_DEC}}}Pointer")
        etree.SubElement(step, f"{{{WCO_DEC}}}SequenceNumeric").text = "1"
        etree.SubElement(step, f"{{{WCO_DEC}}}DocumentSectionCode").text = section
        etree.SubElement(step, f"{{{WCO_DEC}}}TagID").text = tag

    return change


def warned(story: Story) -> list[tuple[str, str]]:
    found = (story.case().detail or {}).get("warnings", ())
    return [(one["id"], one["pointer"]) for one in found if one["id"] in ("GW417", "GW418")]


@pytest.mark.long
def test_pointers_of_an_amendment_are_compared_with_what_was_filed_last(story: Story) -> None:
    """While the case is held on, and when it goes on."""
    name = text(".//Declarant/Name", "한빛관세사무소")
    wrong = [("GW417", "42A/57B[1]/R124"), ("GW418", "42A/06A[1]/97A[1]")]
    send(story, amendment(name, naming("57C", "R012"), LACKING), "Amend")
    assert (story.case().state, warned(story)) == ("HELD", wrong)
    send(story, amendment(naming("57B", "R124"), LACKING), "Amend")
    assert (story.case().state, warned(story)) == ("HELD", [])
    send(story, amendment(name, naming("57C", "R012")), "Amend")
    assert (story.case().state, warned(story)) == ("IN_PROGRESS", wrong)
    # A case that goes on is compared with that.
    send(story, amendment(name, naming("57B", "R124")), "Amend")
    assert warned(story) == [("GW418", "42A/06A[1]/97A[1]")]


@pytest.mark.long
def test_a_held_case_gets_other_items_by_an_amendment(story: Story) -> None:
    """Without the item that needs the document nothing is missing; its number is not used again."""
    send(story, all_of(supplement, LACKING, remove_item(3)), "Supplement")
    assert [one[0] for one in story.problems()] == ["GW404"]
    send(story, amendment(LACKING, remove_item(3)), "Amend")
    with read_transaction(story.house.engine) as conn:
        case = cases.list_cases(conn, limit=2)[1]
    assert (case.state, case.detail["items"]) == ("IN_PROGRESS", [1, 2])
    send(story, amendment(), "Amend")
    assert story.problems() == [("GW419", "42A/67A[1]/68A[3]")]

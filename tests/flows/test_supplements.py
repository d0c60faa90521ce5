"""A question of an agency, and the supplement that answers it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.evidence import list_subject_leaves
from gateway.hub.submissions import admit
from gateway.store import cases, exact_searches, messages, read_transaction
from tests.flows.craft import Change, all_of, supplement, text, withdrawal
from tests.flows.item_changes import add_item, amendment, concern
from tests.kit.databases import BOTH
from tests.kit.story import Story, asked, unreachable


@pytest.fixture
def story(engine: Engine) -> Story:
    started = Story(engine)
    started.submit()
    return started


@pytest.mark.long
@BOTH
def test_a_question_and_its_supplement(story: Story) -> None:
    story.tick()
    number = story.number_of("KFDA")
    deadline = story.clock() + timedelta(days=5)
    story.hear("KFDA", asked(story, "KFDA", "Q1", deadline=deadline))
    story.tick()
    request = story.request("KFDA")
    assert (request.state, request.status_code, request.due_at) == ("INFORMATION_REQUIRED", "D01", deadline)
    (notice,) = story.inbox.documents("Notice")
    assert notice.findtext(".//{*}Text") == "the certificate of origin"
    more = story.submission(
        all_of(
            supplement,
            text("Application[@id='A2']/Fields/Item/ProductNameKo", "카라멜 와플 320 g"),
            text(".//TransportEquipment/ID", "MSKU1234565"),
        )
    )
    story.submit(more, action="Supplement")
    story.tick()
    told = [one for one in story.soap.calls if one.operation == "SubmitSupplement"]
    assert {one.destination for one in told} == {"KPTA", "KFDA", "NPQS"}
    (call,) = (one for one in told if one.destination == "KFDA")
    assert call.text("ApplicationNumber") == number
    assert "카라멜 와플 320 g" in call.envelope.decode()
    assert story.request("KFDA").state == "ACKNOWLEDGED"
    story.decide_all()
    story.tick()
    assert story.case().outcome == "APPROVED"
    assert "supplemented" in story.evidence("case", story.case().id)
    with read_transaction(story.house.engine) as conn:
        for value in ("AKE26714KE", "MSKU1234565"):
            assert [row.id for row in exact_searches.find_cases(conn, value)] == [story.case().id]


@pytest.mark.long
@pytest.mark.parametrize(
    ("action", "change", "problem"),
    [
        ("Amend", amendment(add_item(4, 2), concern("A2", 4, 2)), "GW404"),
        ("Withdraw", withdrawal, "GW407"),
    ],
    ids=["amended", "withdrawn"],
)
def test_a_supplement_is_compared_with_what_is_admitted_meanwhile(
    story: Story, monkeypatch: pytest.MonkeyPatch, action: str, change: Change, problem: str
) -> None:
    """It is refused as where it had come behind: not sent with items that the application no longer has."""
    story.tick()
    story.submit(story.submission(supplement), action="Supplement")
    story.submit(story.submission(change), action=action, attach=action == "Amend")
    with read_transaction(story.house.engine) as conn:
        later, earlier = (row.id for row in messages.list_messages(conn, limit=2, direction="in"))
    compose = admit.compose_application_call
    composed: list[int] = []

    def compose_late(*arguments: Any, **options: Any) -> Any:
        composed.append(1)
        if len(composed) == 1:
            admit.admit_submission(story.hub, later, lambda conn: None)
        return compose(*arguments, **options)

    monkeypatch.setattr(admit, "compose_application_call", compose_late)
    admit.admit_submission(story.hub, earlier, lambda conn: None)
    story.tick(seconds=1)
    with read_transaction(story.house.engine) as conn:
        row = messages.find_by_id(conn, earlier)
        (leaf,) = [leaf for leaf in list_subject_leaves(conn, "case", row.case_id) if leaf.kind == "refused"]
    assert problem in leaf.data
    sent = [call.operation for call in story.soap.calls if call.destination == "NPQS"]
    assert "SubmitSupplement" not in sent


@pytest.mark.long
def test_a_supplement_goes_out_behind_what_went_before(story: Story) -> None:
    story.say("KFDA", *[unreachable()] * 2)
    story.tick()
    story.submit(story.submission(supplement), action="Supplement")
    story.tick()
    made = [one.operation for one in story.soap.calls if one.destination == "KFDA"]
    assert made == ["SubmitApplication"]
    for _ in range(3):
        story.tick(minutes=5)
    made = [one.operation for one in story.soap.calls if one.destination == "KFDA"]
    assert made == ["SubmitApplication"] * 3 + ["SubmitSupplement"]


@pytest.mark.long
@pytest.mark.parametrize("wrong", ["unknown reference", "decided", "other application", "other items"])
def test_a_supplement_without_its_case_is_refused(story: Story, wrong: str) -> None:
    story.tick()
    change = {
        "unknown reference": all_of(
            supplement, text("Reference", "X-1"), text(".//FunctionalReferenceID", "X-1")
        ),
        "decided": supplement,
        "other application": all_of(
            supplement, lambda root: root.find("{*}Application[@id='A3']").set("id", "A9")
        ),
        "other items": all_of(supplement, text("Application[@id='A3']/Items", "3 2")),
    }[wrong]
    if wrong == "decided":
        story.decide("KFDA")
    calls, state = len(story.soap.calls), story.case().state
    story.submit(story.submission(change), action="Supplement")
    story.tick()
    assert [one for one, _ in story.problems()] == ["GW404" if wrong == "other items" else "GW407"]
    assert len(story.soap.calls) == calls
    with read_transaction(story.house.engine) as conn:
        first = cases.list_cases(conn, limit=9)[-1]
    assert first.state == state

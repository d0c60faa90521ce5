"""Customs names a case or a reference: which case it means, and which agency hears of its clearance."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from sqlalchemy import Engine

from gateway.cases import ClearedItem, CustomsCall, CustomsNotice, SignedReply
from gateway.errors import REFUSED_FOR_GOOD, REPLY_UNMATCHED, GatewayError
from gateway.hub.completion import operator_actions
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.hub.outbox.outgoing_calls import CUSTOMS
from gateway.store import StateEvent, cases, customs_notices, deliveries, read_transaction, write_transaction
from tests.kit.house import House
from tests.kit.rows import delivery, open_case
from tests.kit.story import Story, unreachable

SPOKEN = SignedReply(b"<signed call/>", "ab" * 32)
REFERENCE = "INV-7"


@dataclass(frozen=True)
class FiledCase:
    """A case to be opened: its events, and whether its only delivery goes to customs or to the applicant."""

    events: tuple[str, ...]
    is_reported: bool = False


RUNNING = FiledCase(("dispatch",), is_reported=True)
CLOSED = FiledCase(("none_concerned", "relayed"), is_reported=True)
REFUSED = FiledCase(("refuse",))
HELD = FiledCase(("hold",))
WITHDRAWN = FiledCase(("dispatch", "withdrawn"), is_reported=True)
WITHDRAWN_WHILE_HELD = FiledCase(("hold", "withdrawn"))


def open_filed_case(house: House, filed_case: FiledCase, number: str) -> None:
    """Open a case under the reference: a declarant of its own, the same reference as the others."""
    now = house.clock()
    with write_transaction(house.engine) as conn:
        case_id = open_case(
            conn, number=number, declarant=f"declarant-{number}", functional_reference=REFERENCE
        )
        for event in filed_case.events:
            cases.apply_event(conn, case_id, StateEvent(event, now, "test"))
        destination = CUSTOMS if filed_case.is_reported else "broker1"
        deliveries.enqueue_delivery(conn, delivery(destination=destination, case_id=case_id), now)


def report_cleared(house: House, **name: str) -> str:
    """Let customs clear the case of this name; return its case number."""
    notice = CustomsNotice("CUS-K1", house.clock(), "5EC")
    return apply_customs_call(house.hub, CustomsCall(notice, **name), SPOKEN)  # type: ignore[arg-type]


def list_cleared(house: House, *numbers: str) -> list[str]:
    with read_transaction(house.engine) as conn:
        case_ids = {number: cases.find_by_number(conn, number).id for number in numbers}  # type: ignore[union-attr]
        return [
            number
            for number, case_id in case_ids.items()
            if customs_notices.find_clearance_state(conn, case_id) is not None
        ]


@pytest.mark.parametrize("first", [RUNNING, CLOSED, WITHDRAWN], ids=["running", "closed", "withdrawn"])
def test_customs_must_name_the_case_where_two_declarants_use_its_reference(
    engine: Engine, first: FiledCase
) -> None:
    house = House(engine)
    open_filed_case(house, first, "C-1")
    open_filed_case(house, RUNNING, "C-2")
    with pytest.raises(GatewayError) as caught:
        report_cleared(house, reference=REFERENCE)
    assert (caught.value.problem, caught.value.location) == (REPLY_UNMATCHED, "DeclarationReference")
    assert "several declarants use the reference 'INV-7': name the case" in str(caught.value)
    assert list_cleared(house, "C-1", "C-2") == []
    assert report_cleared(house, case_number="C-2") == "C-2"
    assert list_cleared(house, "C-1", "C-2") == ["C-2"]


UNREPORTED = {"refused": REFUSED, "held": HELD, "withdrawn while held": WITHDRAWN_WHILE_HELD}


@pytest.mark.parametrize("unreported", UNREPORTED.values(), ids=UNREPORTED)
def test_a_case_that_customs_was_not_told_of_hides_no_other_and_has_no_result(
    engine: Engine, unreported: FiledCase
) -> None:
    house = House(engine)
    open_filed_case(house, unreported, "C-1")
    for parameter, name in (
        ("CaseNumber", {"case_number": "C-1"}),
        ("DeclarationReference", {"reference": REFERENCE}),
    ):
        with pytest.raises(GatewayError) as caught:
            report_cleared(house, **name)
        assert (caught.value.problem, caught.value.location) == (REPLY_UNMATCHED, parameter)
        assert "customs was told nothing" in str(caught.value)
    open_filed_case(house, RUNNING, "C-2")
    assert report_cleared(house, reference=REFERENCE) == "C-2"
    assert list_cleared(house, "C-1", "C-2") == ["C-2"]


def test_customs_may_clear_a_withdrawn_case_that_it_was_told_of(engine: Engine) -> None:
    house = House(engine)
    open_filed_case(house, WITHDRAWN, "C-1")
    assert report_cleared(house, case_number="C-1") == "C-1"


def clear(story: Story) -> None:
    """Let customs clear the case, and the news go out."""
    notice = CustomsNotice("CUS-K1", story.clock(), "5EC", items=(ClearedItem(1, "5EC"),))
    apply_customs_call(story.hub, CustomsCall(notice, case_number=story.case().number), SPOKEN)
    story.tick()


def list_agency_calls(story: Story) -> list[tuple[str, str]]:
    """Return operation and state of each call to the agency that wants to hear of clearance."""
    rows = story.deliveries(destination="KPTA")
    return [(row.parameters["operation"], row.state) for row in rows]


@pytest.mark.parametrize(
    ("answer", "is_cancelled", "state"),
    [
        (GatewayError(REFUSED_FOR_GOOD, "not ours"), False, "FAILED"),
        (GatewayError(REFUSED_FOR_GOOD, "not ours"), True, "CANCELLED"),
        (unreachable(), True, "CANCELLED"),
    ],
    ids=["refused", "refused and cancelled", "unreachable and cancelled"],
)
def test_an_agency_that_never_got_the_application_is_not_told_of_clearance(
    engine: Engine, answer: GatewayError, is_cancelled: bool, state: str
) -> None:
    story = Story(engine)
    story.say("KPTA", answer)
    story.submit()
    story.tick()
    if is_cancelled:
        story.operate(operator_actions.cancel_delivery, story.delivery(destination="KPTA").id)
    clear(story)
    story.tick(minutes=10)
    assert list_agency_calls(story) == [("SubmitApplication", state)]
    assert [call.operation for call in story.soap.calls].count("NotifyClearance") == 0


def test_an_agency_is_told_of_clearance_after_the_application_that_waits_for_it(engine: Engine) -> None:
    story = Story(engine)
    story.say("KPTA", unreachable())
    story.submit()
    story.tick()
    clear(story)
    assert list_agency_calls(story) == [("SubmitApplication", "QUEUED"), ("NotifyClearance", "QUEUED")]
    story.tick(minutes=10)
    assert list_agency_calls(story) == [("SubmitApplication", "DELIVERED"), ("NotifyClearance", "DELIVERED")]
    operations = [call.operation for call in story.soap.calls if call.destination == "KPTA"]
    assert operations == ["SubmitApplication", "SubmitApplication", "NotifyClearance"]

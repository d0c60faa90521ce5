"""The time at which a notice was issued is looked at wherever a notice comes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from gateway.cases import (
    AgencyCallback,
    CustomsCall,
    CustomsNotice,
    Decision,
    DecisionCode,
    Notice,
    SignedReply,
)
from gateway.errors import GatewayError
from gateway.hub import apply_call_back
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.store import read_transaction
from gateway.store.customs_notices import customs_notices
from gateway.store.notices import notices
from gateway.store.requirement_results import requirement_results
from tests.flows.craft import text, withdrawal
from tests.flows.item_changes import amendment
from tests.flows.test_fees import fees_of, pay
from tests.kit.fee_turns import serve_fees
from tests.kit.story import ITEMS, LAWS, Story

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
#: Sends a notice that was issued at a time; returns the id of the problem by which it is refused.
SendNotice = Callable[[Story, datetime], str | None]


def file(story: Story, folder: Path) -> None:
    del folder
    story.submit()
    story.tick()


def file_and_decide(story: Story, folder: Path) -> None:
    file(story, folder)
    story.decide_all()
    story.tick()


def file_and_clear(story: Story, folder: Path) -> None:
    """Let customs clear the goods; the agency that wants it is to be called about that."""
    file_and_decide(story, folder)
    assert report_clearance(story, story.clock()) is None


def file_with_fee(story: Story, folder: Path) -> None:
    serve_fees(story, folder)
    story.addresses["KPTA"] = replace(story.addresses["KPTA"], has_payment_notices=True)
    file(story, folder)


def file_nothing(story: Story, folder: Path) -> None:
    del story, folder


def find_refusal(call: Callable[[], object]) -> str | None:
    try:
        call()
    except GatewayError as refused:
        return refused.problem.id
    return None


def call_back(story: Story, at: datetime) -> str | None:
    return find_refusal(lambda: story.hear("KPTA", story.notice("KPTA", number="N7", at=at)))


def report_result(story: Story, at: datetime) -> str | None:
    """Let an agency decide under a number of its own, without an application."""
    decision = Decision(ITEMS["KFDA"], LAWS["KFDA"], DecisionCode.APPROVED, "2026-118")
    said = AgencyCallback(Notice("KFDA-R1", at, "R01", (decision,)), requirement_number="2026-118")
    return find_refusal(lambda: apply_call_back(story.hub, "KFDA", said))


def report_clearance(story: Story, at: datetime) -> str | None:
    notice = CustomsNotice("CUS-K1", at, "5EC")
    return report_to_hub(story, CustomsCall(notice, case_number=story.case().number))


def report_late_answer(story: Story, at: datetime) -> str | None:
    notice = CustomsNotice("CUS-K2", at, "R24")
    return report_to_hub(
        story, CustomsCall(notice, case_number=story.case().number, is_clearance_result=False)
    )


def report_to_hub(story: Story, call: CustomsCall) -> str | None:
    signed_reply = SignedReply(b"<signed call/>", "ab" * 32)
    return find_refusal(lambda: apply_customs_call(story.hub, call, signed_reply))


def answer_customs_call(story: Story, at: datetime) -> str | None:
    story.say("customs", CustomsNotice("CUS-K1", at, "R24"))
    story.submit()
    story.tick()
    return str(story.deliveries(destination="customs")[0].problem or "") or None


def answer_call(operation: str, cause_call: Callable[[Story], object] | None = None) -> SendNotice:
    """Return the sender of a notice in the answer to a call of the hub, which `cause_call` brings about."""

    def send(story: Story, at: datetime) -> str | None:
        if cause_call is not None:
            cause_call(story)
        story.say("KPTA", story.notice("KPTA", number="N7", at=at))
        story.tick()
        story.tick()
        assert [call.operation for call in story.soap.calls if call.destination == "KPTA"][-1] == operation
        return str(story.deliveries(destination="KPTA")[-1].problem or "") or None

    return send


def amend(story: Story) -> None:
    change = amendment(text(".//GovernmentAgencyGoodsItem/Commodity/Description", "Other capsules"))
    story.submit(story.submission(change), action="Amend")


def withdraw(story: Story) -> None:
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)


def pay_fee(story: Story) -> None:
    """Pay the fee of an application, which is forwarded and acknowledged at once."""
    pay(story, fees_of(story, "KPTA")[0].number)
    story.worker.run_once()


@dataclass(frozen=True)
class Entrance:
    """A way on which a notice comes in: what comes before it, and how it comes itself."""

    prepare: Callable[[Story, Path], None]
    send: SendNotice
    #: Whether the notice is about a case, which it cannot be older than.
    has_case: bool = True


ENTRANCES = {
    "call-back": Entrance(file, call_back),
    "answer to an application": Entrance(file_nothing, answer_call("SubmitApplication", Story.submit)),
    "answer to an amendment": Entrance(file, answer_call("SubmitSupplement", amend)),
    "answer to a cancellation": Entrance(file, answer_call("CancelApplication", withdraw)),
    "answer to news of clearance": Entrance(file_and_clear, answer_call("NotifyClearance")),
    "answer to news of a payment": Entrance(file_with_fee, answer_call("NotifyPayment", pay_fee)),
    "result without application": Entrance(file_nothing, report_result, has_case=False),
    "clearance": Entrance(file_and_decide, report_clearance),
    "later answer of customs": Entrance(file, report_late_answer),
    "answer of customs": Entrance(file_nothing, answer_customs_call),
}


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


def count_notices(story: Story) -> int:
    """Return how many notices of agencies and customs are stored."""
    with read_transaction(story.house.engine) as conn:
        return sum(
            conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (notices, customs_notices, requirement_results)
        )


@pytest.mark.parametrize("entrance", ENTRANCES.values(), ids=ENTRANCES)
def test_a_notice_of_the_future_is_refused_at_each_entrance(
    story: Story, tmp_path: Path, entrance: Entrance
) -> None:
    """It would hide every correction until that day; the clock of another time zone is believed."""
    entrance.prepare(story, tmp_path)
    before = count_notices(story)
    assert entrance.send(story, story.clock() + _DAY + _SECOND) == "GW719"
    assert count_notices(story) == before


@pytest.mark.parametrize("entrance", ENTRANCES.values(), ids=ENTRANCES)
def test_a_notice_from_before_its_case_is_refused_at_each_entrance(
    story: Story, tmp_path: Path, entrance: Entrance
) -> None:
    """Nothing of it could ever count; a result without an application may be older than every case."""
    entrance.prepare(story, tmp_path)
    problem_id = entrance.send(story, story.clock() - _DAY - _SECOND)
    assert problem_id == ("GW719" if entrance.has_case else None)


@pytest.mark.parametrize("distance", [-_DAY, _DAY], ids=["a day before", "a day ahead"])
@pytest.mark.parametrize("entrance", ENTRANCES.values(), ids=ENTRANCES)
def test_a_notice_of_another_time_zone_is_taken_at_each_entrance(
    story: Story, tmp_path: Path, entrance: Entrance, distance: timedelta
) -> None:
    entrance.prepare(story, tmp_path)
    before = count_notices(story)
    assert entrance.send(story, story.clock() + distance) is None
    assert count_notices(story) == before + 1

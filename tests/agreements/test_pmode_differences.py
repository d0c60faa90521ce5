"""What differs between two agreements is said in words of the business."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from gateway.agreements import PMode, Reliability, Security, list_differences
from tests.agreements.test_pmodes import RESULT, pmode


def tell(old: tuple[PMode, ...], new: tuple[PMode, ...]) -> list[str]:
    return [one.sentence for one in list_differences(old, new)]


def test_equal_agreements_do_not_differ() -> None:
    assert tell((pmode(), RESULT), (RESULT, pmode("another-id"))) == []


def test_terms_are_told_by_action() -> None:
    old = pmode(action="Order", reliability=Reliability(retries=3, retry_interval=300))
    new = pmode(
        action="Order",
        reliability=Reliability(retries=5, retry_interval=60),
        security=Security(certificates=("a" * 64,), mutual_tls=True),
        endpoint="https://b.example/msh",
    )
    assert tell((old,), (new,)) == [
        "client certificate on the connection of Order: no becomes yes",
        "certificates of the sender of Order: none becomes aaaaaaaaaaaaaaaa",
        "retries of Order: 3 becomes 5",
        "time between retries of Order: 5 minutes becomes 1 minute",
        "endpoint of the receiver of Order: none becomes https://b.example/msh",
    ]


def test_actions_come_and_go_and_the_period_is_told_once() -> None:
    later = datetime(2028, 1, 1, tzinfo=UTC)
    old = (pmode(), RESULT)
    new = (replace(RESULT, valid_until=later), pmode("n", action="Notice", valid_until=later))
    assert tell(old, new) == [
        "end of the agreement: 2027-01-01T00:00:00+00:00 becomes 2028-01-01T00:00:00+00:00",
        "Submit is no longer agreed",
        "Notice is new",
    ]


def test_an_action_of_both_parties_is_told_with_its_sender() -> None:
    back = replace(RESULT, action="Submit", id="back")
    changed = replace(back, sync_reply_mode="mshSignalsOnly")
    assert tell((pmode(), back), (pmode(), changed)) == [
        "answer on the connection of Submit from hub: none becomes mshSignalsOnly"
    ]

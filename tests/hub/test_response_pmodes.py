"""The response in the HTTP answer is of the P-Modes that the agreement binds, else the Result to a Submit."""

from __future__ import annotations

from gateway.agreements import PMode, PModeIndex
from gateway.hub.outbox.response_bundle import find_response_pmodes
from tests.agreements.test_pmodes import BROKER, HUB, NOW, RESULT, pmode

ANSWER = pmode(
    "answer", from_party=(HUB,), to_party=(BROKER,), from_role="Hub", to_role="Applicant", action="Answer"
)


def find_responses(asked: PMode, *others: PMode) -> list[str]:
    """Return the ids of the P-Modes of the response to what is filed by one P-Mode of an agreement."""
    return [found.id for found in find_response_pmodes(PModeIndex((asked, *others)), asked, NOW)]


def test_a_bound_response_is_preferred_to_the_result_of_a_submit() -> None:
    submit = pmode(sync_reply_mode="responseOnly", deliver_to="case")
    bound = pmode(sync_reply_mode="responseOnly", deliver_to="case", answered_by=("answer",))
    assert find_responses(bound, RESULT, ANSWER) == ["answer"]
    assert find_responses(submit, RESULT, ANSWER) == ["result"]
    assert find_responses(submit, ANSWER) == []
    assert find_responses(bound, RESULT) == ["result"]
    assert find_responses(pmode(), RESULT, ANSWER) == []
    asks = pmode(action="Ask", sync_reply_mode="responseOnly", deliver_to="case")
    assert find_responses(asks, RESULT, ANSWER) == []

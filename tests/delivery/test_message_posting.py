"""The status of an answer to a posted message says whether, and why, it is posted again."""

from __future__ import annotations

import pytest

from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.stored_calls import check_answer_status
from gateway.errors import GatewayError


@pytest.mark.parametrize(
    ("status", "problem", "words"),
    [
        (302, "GW603", "without a message"),
        (401, "GW608", "set `login` for its host under [tls]"),
        (403, "GW608", "an error and no message"),
        (429, "GW608", "an error and no message"),
        (503, "GW608", "an error and no message"),
    ],
)
def test_what_an_error_of_http_means(status: int, problem: str, words: str) -> None:
    with pytest.raises(GatewayError) as caught:
        check_answer_status(HttpAnswer(status, {}, b""))
    assert caught.value.problem.id == problem
    assert words in caught.value.detail
    assert caught.value.theirs == f"HTTP status {status}"


@pytest.mark.parametrize(
    ("status", "body"), [(200, b""), (204, b""), (404, b"<Envelope/>"), (500, b"<Envelope/>")]
)
def test_a_message_or_nothing_is_no_error(status: int, body: bytes) -> None:
    check_answer_status(HttpAnswer(status, {"content-type": "text/xml"}, body))

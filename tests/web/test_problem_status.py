"""A refusal has a status of a refusal, in the API and at the console, and no problem is a status 500."""

from __future__ import annotations

import pytest

from gateway.errors import PROBLEMS, GatewayError, Problem
from gateway.web.problem_status import find_status


@pytest.mark.parametrize("kind", PROBLEMS.values(), ids=lambda kind: str(kind.id))
def test_no_problem_looks_like_success_or_like_a_crash(kind: Problem) -> None:
    status = find_status(GatewayError(kind))
    assert status in range(400, 500) or status in {502, 503}
    # What may pass, and is ours, is no fault of the client.
    if kind.ours and kind.retry:
        assert status in {429, 502, 503}


@pytest.mark.parametrize(
    ("problem_id", "status"),
    [("GW402", 422), ("GW701", 409), ("GW707", 403), ("GW320", 410), ("GW601", 502), ("GW901", 503)],
)
def test_the_status_is_that_of_the_catalogue_or_of_the_family(problem_id: str, status: int) -> None:
    assert find_status(GatewayError(PROBLEMS[problem_id])) == status

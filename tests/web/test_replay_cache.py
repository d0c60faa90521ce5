"""The memory of recent calls: bounded, forgetful after its window, and exact within it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.errors import GatewayError
from gateway.web.replay_cache import LocalReplayCache, SeenCall
from tests.kit.soap import NOW

CALL = SeenCall("agency", "urn:1", b"content", b"signature")


def problem(memory: LocalReplayCache, call: SeenCall, minutes: float = 0) -> str | None:
    try:
        memory.register_call(call, NOW + timedelta(minutes=minutes))
    except GatewayError as found:
        return found.problem.id
    return None


def test_the_same_signature_comes_once_within_the_window() -> None:
    memory = LocalReplayCache()
    assert [problem(memory, CALL, at) for at in (0, 5, 9.9, 10.1)] == [None, "GW211", "GW211", None]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (SeenCall("agency", "urn:1", b"content", b"anew"), None),
        (SeenCall("agency", "urn:1", b"other", b"anew"), "GW312"),
        (SeenCall("agency", "urn:2", b"other", b"anew"), None),
        (SeenCall("another", "urn:1", b"other", b"anew"), None),
    ],
)
def test_a_message_id_stands_for_its_content_once_taken(second: SeenCall, expected: str | None) -> None:
    memory = LocalReplayCache()
    assert problem(memory, CALL) is None
    memory.confirm_call(CALL, NOW)
    assert problem(memory, second) == expected


def test_a_call_that_was_not_taken_binds_nothing() -> None:
    memory = LocalReplayCache()
    problem(memory, CALL)
    assert problem(memory, SeenCall("agency", "urn:1", b"other", b"anew")) is None


def test_a_full_memory_takes_no_more_until_it_may_forget() -> None:
    memory = LocalReplayCache(capacity=2)
    calls = [SeenCall("agency", f"urn:{n}", b"", bytes([n])) for n in range(4)]
    assert [problem(memory, call) for call in calls[:3]] == [None, None, "GW806"]
    assert problem(memory, calls[3], 11) is None

"""The memory of recent calls: bounded, forgetful after its window, and exact within it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from gateway.errors import GatewayError
from gateway.store import node_tables as tables
from gateway.store import read_transaction
from gateway.web.replay_cache import (
    LocalReplayCache,
    ReplayCache,
    SeenCall,
    SharedReplayCache,
    choose_replay_cache,
)
from tests.kit.soap import NOW

CALL = SeenCall("agency", "urn:1", b"content", b"signature")


def problem(memory: ReplayCache, call: SeenCall, minutes: float = 0) -> str | None:
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


def test_two_nodes_accept_a_call_once(engine: Engine) -> None:
    first, second = SharedReplayCache(engine), SharedReplayCache(engine)
    assert problem(first, CALL) is None
    assert [problem(one, CALL, at) for one in (first, second) for at in (0, 5)] == ["GW211"] * 4
    assert problem(second, SeenCall("agency", "urn:1", b"other", b"anew")) == "GW312"
    assert problem(second, SeenCall("agency", "urn:1", b"content", b"anew")) is None
    assert problem(second, SeenCall("another", "urn:1", b"other", b"of another")) is None


def test_a_call_without_effect_binds_nothing_on_any_node(engine: Engine) -> None:
    first, second = SharedReplayCache(engine), SharedReplayCache(engine)
    assert problem(first, CALL) is None
    first.release_call(CALL)
    assert problem(second, CALL) == "GW211"
    assert problem(second, SeenCall("agency", "urn:1", b"other", b"anew")) is None


def test_shared_calls_are_forgotten_after_the_window(engine: Engine) -> None:
    memory = SharedReplayCache(engine)
    assert problem(memory, CALL) is None
    assert problem(memory, SeenCall("agency", "urn:1", b"other", b"anew"), 11) is None
    with read_transaction(engine) as conn:
        assert conn.execute(select(func.count()).select_from(tables.seen_calls)).scalar_one() == 1


def test_calls_are_shared_where_several_machines_can_be(engine: Engine) -> None:
    shared = isinstance(choose_replay_cache(engine), SharedReplayCache)
    assert shared == (engine.dialect.name == "postgresql")

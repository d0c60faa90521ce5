"""The memory of recent calls: bounded, forgetful after its window, and exact within it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select

from gateway.errors import REPLY_UNMATCHED, GatewayError
from gateway.store import lanes, read_transaction, write_transaction
from gateway.store import node_tables as tables
from gateway.web.replay_cache import (
    LocalReplayCache,
    ReplayCache,
    SeenCall,
    SharedReplayCache,
    choose_replay_cache,
)
from tests.kit.soap import NOW

CALL = SeenCall("agency", "urn:1", b"content", b"signature")
OTHER = {"content": b"other", "signature": b"anew"}
AGAIN = {"signature": b"anew"}


def problem(memory: ReplayCache, call: SeenCall, minutes: float = 0) -> str | None:
    """Return why a call was refused that has no other effect; None when it was accepted."""
    try:
        with memory.admit_call(call, NOW + timedelta(minutes=minutes)):
            """The effect."""
    except GatewayError as found:
        return found.problem.id
    return None


def refuse(memory: ReplayCache, call: SeenCall = CALL) -> str:
    """Return why a call was refused whose effect is refused."""
    with pytest.raises(GatewayError) as found, memory.admit_call(call, NOW):
        raise GatewayError(REPLY_UNMATCHED)
    return found.value.problem.id


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
    assert problem(memory, second) == expected


def test_a_call_that_was_not_taken_binds_nothing() -> None:
    memory = LocalReplayCache()
    assert refuse(memory) == "GW701"
    assert problem(memory, CALL) == "GW211"
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
    assert refuse(first) == "GW701"
    assert [problem(second, CALL), refuse(second)] == ["GW211", "GW211"]
    assert problem(second, SeenCall("agency", "urn:1", b"other", b"anew")) is None
    assert refuse(first, SeenCall("agency", "urn:1", b"content", b"once more")) == "GW312"


def add_lane(engine: Engine, name: str, end: Callable[[], object] = bool) -> None:
    """Have an effect, unless what is called before its commit raises."""
    with write_transaction(engine, "test.effect") as conn:
        lanes.ensure_lanes(conn, name)
        end()


def refuse_late(engine: Engine, memory: ReplayCache) -> None:
    """Have an effect, and be refused after it."""
    with memory.admit_call(CALL, NOW):
        add_lane(engine, "first")
        raise GatewayError(REPLY_UNMATCHED)


def test_a_call_is_stored_with_its_effect_or_neither_is(engine: Engine) -> None:
    memory = SharedReplayCache(engine)
    with pytest.raises(ZeroDivisionError), memory.admit_call(CALL, NOW):
        add_lane(engine, "lost", lambda: 1 // 0)  # as if the process had died
    assert count_calls(engine) == 0
    with memory.admit_call(CALL, NOW):
        add_lane(engine, "kept")
        assert count_calls(engine) == 1
        add_lane(engine, "of the next transaction")
    assert count_calls(engine) == 1
    with read_transaction(engine) as conn:
        assert set(lanes.find_lanes(conn, ["lost", "kept", "of the next transaction"])) == {
            "kept",
            "of the next transaction",
        }


def test_a_repeat_is_refused_before_its_effect(engine: Engine) -> None:
    first, second = SharedReplayCache(engine), SharedReplayCache(engine)
    with first.admit_call(CALL, NOW):
        add_lane(engine, "first")
    for memory in (first, second):
        with pytest.raises(GatewayError, match="GW211"), memory.admit_call(CALL, NOW):
            add_lane(engine, "again")
    with pytest.raises(GatewayError, match="GW312"), second.admit_call(replace(CALL, **OTHER), NOW):
        add_lane(engine, "again")
    with read_transaction(engine) as conn:
        assert set(lanes.find_lanes(conn, ["first", "again"])) == {"first"}


def test_what_is_refused_after_a_first_effect_binds_nothing(engine: Engine) -> None:
    memory = SharedReplayCache(engine)
    with pytest.raises(GatewayError, match="GW701"):
        refuse_late(engine, memory)
    assert problem(memory, CALL) == "GW211"
    assert problem(memory, replace(CALL, **OTHER)) is None


@pytest.mark.parametrize(("repeat", "expected"), [({}, "GW211"), (OTHER, "GW312"), (AGAIN, None)])
def test_a_repeat_waits_for_the_effect_of_the_first(
    engine: Engine, repeat: dict[str, bytes], expected: str | None
) -> None:
    first, second = SharedReplayCache(engine), SharedReplayCache(engine)
    problem(second, replace(CALL, message_id="urn:0", signature=b"warm"))
    with ThreadPoolExecutor(1) as pool:
        with first.admit_call(CALL, NOW), write_transaction(engine) as conn:
            told = pool.submit(problem, second, replace(CALL, **repeat))
            lanes.ensure_lanes(conn, "slow")
            with pytest.raises(TimeoutError):
                told.result(0.3)
        assert told.result(30) == expected


def count_calls(engine: Engine) -> int:
    with read_transaction(engine) as conn:
        return conn.execute(select(func.count()).select_from(tables.seen_calls)).scalar_one()


def test_shared_calls_are_forgotten_after_the_window(engine: Engine) -> None:
    memory = SharedReplayCache(engine)
    assert problem(memory, CALL) is None
    assert problem(memory, SeenCall("agency", "urn:1", b"other", b"anew"), 11) is None
    assert count_calls(engine) == 1


def test_calls_are_shared_where_several_machines_can_be(engine: Engine) -> None:
    shared = isinstance(choose_replay_cache(engine), SharedReplayCache)
    assert shared == (engine.dialect.name == "postgresql")

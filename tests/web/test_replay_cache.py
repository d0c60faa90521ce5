"""The memory of recent calls: bounded, forgetful after its window, and exact within it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select

from gateway.errors import REPLY_UNMATCHED, GatewayError
from gateway.store import (
    CallRecord,
    NewSeenCall,
    deliveries,
    lanes,
    read_transaction,
    seen_calls,
    write_call_transaction,
)
from gateway.web.agency_service import build_agency_service
from gateway.web.replay_cache import ReplayCache
from gateway.wire import SERVICE_AGENCY, AddressingHeaders, serialize_element
from gateway.xmlsec import sign_soap_envelope
from gateway.xmlsec.wss import TimestampWindow
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.house import Clock
from tests.kit.soap import NOW, envelope, signer, wrapper
from tests.web.test_agency_service import ACKNOWLEDGE, Recorder, World, security

CALL = NewSeenCall("signature", "agency", "urn:1", "content")
OTHER = {"content": "other", "signature": "anew"}
AGAIN = {"signature": "anew"}


def problem(memory: ReplayCache, call: NewSeenCall, minutes: float = 0) -> str | None:
    """Return why a call was refused that has no other effect; None when it was accepted."""
    try:
        with memory.admit_call(call, NOW + timedelta(minutes=minutes)):
            """The effect."""
    except GatewayError as found:
        return found.problem.id
    return None


def refuse(memory: ReplayCache, call: NewSeenCall = CALL) -> str:
    """Return why a call was refused whose effect is refused."""
    with pytest.raises(GatewayError) as found, memory.admit_call(call, NOW):
        raise GatewayError(REPLY_UNMATCHED)
    return found.value.problem.id


@BOTH_AT_LANDING
def test_two_nodes_accept_a_call_once(engine: Engine) -> None:
    first, second = ReplayCache(engine), ReplayCache(engine)
    assert problem(first, CALL) is None
    assert [problem(one, CALL, at) for one in (first, second) for at in (0, 5, 9.9)] == ["GW211"] * 6
    assert problem(second, NewSeenCall("anew", "agency", "urn:1", "other")) == "GW312"
    assert problem(second, NewSeenCall("anew", "agency", "urn:1", "content")) is None
    assert problem(second, NewSeenCall("of another", "another", "urn:1", "other")) is None


@BOTH_AT_LANDING
def test_a_call_without_effect_binds_nothing_on_any_node(engine: Engine) -> None:
    first, second = ReplayCache(engine), ReplayCache(engine)
    assert refuse(first) == "GW701"
    assert [problem(second, CALL), refuse(second)] == ["GW211", "GW211"]
    assert problem(second, NewSeenCall("anew", "agency", "urn:1", "other")) is None
    assert refuse(first, NewSeenCall("once more", "agency", "urn:1", "content")) == "GW312"


def add_lane(
    engine: Engine, name: str, record: CallRecord | None = None, end: Callable[[], object] = bool
) -> None:
    """Have an effect, unless what is called before its commit raises."""
    with write_call_transaction(engine, "test.effect", record) as conn:
        deliveries.ensure_lanes(conn, name)
        end()


def refuse_late(engine: Engine, memory: ReplayCache) -> None:
    """Have an effect, and be refused after it."""
    with memory.admit_call(CALL, NOW) as record:
        add_lane(engine, "first", record)
        raise GatewayError(REPLY_UNMATCHED)


@BOTH_AT_LANDING
def test_a_call_is_stored_with_its_effect_or_neither_is(engine: Engine) -> None:
    memory = ReplayCache(engine)
    with pytest.raises(ZeroDivisionError), memory.admit_call(CALL, NOW) as record:
        add_lane(engine, "lost", record, lambda: 1 // 0)  # as if the process had died
    assert count_calls(engine) == 0
    with memory.admit_call(CALL, NOW) as record:
        add_lane(engine, "kept", record)
        assert count_calls(engine) == 1
        add_lane(engine, "of the next transaction")
    assert count_calls(engine) == 1
    with read_transaction(engine) as conn:
        assert set(lanes.find_lanes(conn, ["lost", "kept", "of the next transaction"])) == {
            "kept",
            "of the next transaction",
        }


@BOTH_AT_LANDING
def test_a_repeat_is_refused_before_its_effect(engine: Engine) -> None:
    first, second = ReplayCache(engine), ReplayCache(engine)
    with first.admit_call(CALL, NOW) as record:
        add_lane(engine, "first", record)
    for memory in (first, second):
        with pytest.raises(GatewayError, match="GW211"), memory.admit_call(CALL, NOW) as record:
            add_lane(engine, "again", record)
    with pytest.raises(GatewayError, match="GW312"), second.admit_call(replace(CALL, **OTHER), NOW) as record:
        add_lane(engine, "again", record)
    with read_transaction(engine) as conn:
        assert set(lanes.find_lanes(conn, ["first", "again"])) == {"first"}


@BOTH_AT_LANDING
def test_what_is_refused_after_a_first_effect_binds_nothing(engine: Engine) -> None:
    memory = ReplayCache(engine)
    with pytest.raises(GatewayError, match="GW701"):
        refuse_late(engine, memory)
    assert problem(memory, CALL) == "GW211"
    assert problem(memory, replace(CALL, **OTHER)) is None


@pytest.mark.long
@in_turn
@pytest.mark.parametrize(("repeat", "expected"), [({}, "GW211"), (OTHER, "GW312"), (AGAIN, None)])
def test_a_repeat_waits_for_the_effect_of_the_first(
    engine: Engine, repeat: dict[str, str], expected: str | None
) -> None:
    first, second = ReplayCache(engine), ReplayCache(engine)
    problem(second, replace(CALL, message_id="urn:0", signature="warm"))
    with ThreadPoolExecutor(1) as pool:
        with first.admit_call(CALL, NOW) as record, write_call_transaction(engine, "test", record) as conn:
            told = pool.submit(problem, second, replace(CALL, **repeat))
            deliveries.ensure_lanes(conn, "slow")
            with pytest.raises(TimeoutError):
                told.result(0.3)
        assert told.result(30) == expected


def count_calls(engine: Engine) -> int:
    with read_transaction(engine) as conn:
        return conn.execute(select(func.count()).select_from(seen_calls.seen_calls)).scalar_one()


@BOTH_AT_LANDING
def test_shared_calls_are_forgotten_after_the_window(engine: Engine) -> None:
    memory = ReplayCache(engine)
    assert problem(memory, CALL) is None
    assert problem(memory, NewSeenCall("anew", "agency", "urn:1", "other"), 11) is None
    assert count_calls(engine) == 1


def write_lasting_call(message_id: str, at: datetime) -> bytes:
    """Return a call of an agency whose Timestamp expires an hour after its time."""
    addressing = AddressingHeaders(f"{SERVICE_AGENCY}:Acknowledge", message_id)
    root = envelope(wrapper(SERVICE_AGENCY, "Acknowledge", ACKNOWLEDGE), addressing)
    lasting = TimestampWindow(validity=timedelta(hours=1))
    sign_soap_envelope(root, signer("agency"), now=at, window=lasting)
    return serialize_element(root)


def test_a_call_is_remembered_as_long_as_it_is_accepted(engine: Engine) -> None:
    """The clock of its signer is at most a minute ahead, and it is then accepted for five minutes."""
    clock, handler = Clock(NOW), Recorder()
    policy = security(memory=ReplayCache(engine), clock=clock)
    world = World(handler, build_agency_service(handler.apply, policy))
    used, unused, late = (
        write_lasting_call(f"urn:uuid:call-{number}", NOW + timedelta(minutes=1)) for number in range(3)
    )
    assert world.post(used).status == "200 OK"
    clock.forward(minutes=6)
    # Another call removes what is remembered no longer.
    assert world.post(unused).status == "200 OK"
    assert world.post(used).problem == "GW211"
    clock.forward(seconds=1)
    assert world.post(late).problem == "GW211"

"""The response in the HTTP answer with real processes: waiting, and killed between commit and answer."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.message_model import ErrorSignal, PartyId, Receipt, UserMessage
from gateway.store import HttpResponse, deliveries, make_engine, parties, read_transaction, write_transaction
from gateway.wire import serialize_element
from gateway.xmlsec import sign_document
from tests.flows.craft import without_applications
from tests.flows.test_sync_responses import SIGNALS_AND_RESPONSE
from tests.kit.databases import in_turn
from tests.kit.gateway import RunningGateway, post
from tests.kit.house import Clock, Neighbour, signer_named
from tests.kit.live import LiveHouse
from tests.kit.story import unsigned
from tests.kit.waiting import until

pytestmark = pytest.mark.long


@pytest.fixture
def live(tmp_path: Path, database_url: str) -> LiveHouse:
    live = LiveHouse(tmp_path, database_url, SIGNALS_AND_RESPONSE)
    engine = make_engine(database_url)
    with write_transaction(engine) as conn:
        parties.add_identifier(conn, "broker1", PartyId("6N001", "urn:example:customs-id"))
    engine.dispose()
    return live


def submission(live: LiveHouse) -> tuple[Neighbour, Any]:
    broker = Neighbour("broker1", Clock(live.now), live.agreement)
    root = unsigned()
    without_applications(root)
    signed = sign_document(root, signer_named("broker1"), now=live.now)
    return broker, broker.seal(broker.message("Submit", serialize_element(signed)))


def gate(live: LiveHouse) -> RunningGateway:
    return RunningGateway(live.home, "serve", program="tests.kit.gated")


def response_state(live: LiveHouse) -> str:
    engine = make_engine(live.database_url)
    try:
        with read_transaction(engine) as conn:
            rows = deliveries.list_deliveries(conn, agent="msh")
        return rows[0].state if rows else ""
    finally:
        engine.dispose()


def check(broker: Neighbour, answer: HttpResponse | None, parcel: Any) -> None:
    assert answer is not None
    units = broker.open(answer, parcel).units
    # The declaration has no applications, so the rules of need warn of those that it lacks.
    assert [type(one) for one in units] == [UserMessage, Receipt, ErrorSignal]
    assert [one.highest_severity for one in units if isinstance(one, ErrorSignal)] == ["Warning"]


@in_turn
def test_a_request_gets_its_response_on_its_connection(live: LiveHouse) -> None:
    broker, parcel = submission(live)
    with (
        gate(live) as hub,
        RunningGateway(live.home, "work"),
    ):
        began = time.monotonic()
        answer = hub.post(live.url, parcel)
        assert time.monotonic() - began < 45
        check(broker, answer, parcel)
        until(lambda: response_state(live) == "DELIVERED", every=0.1)
        again = hub.post(live.url, parcel)
    assert answer is not None
    assert again is not None
    assert again.body == answer.body


@in_turn
def test_a_kill_while_the_request_waits_loses_nothing(live: LiveHouse) -> None:
    """The message is committed, the response is not there yet, and the process ends: the repeat gets both."""
    broker, parcel = submission(live)
    heard: list[HttpResponse | None] = []
    with gate(live) as hub:
        asking = threading.Thread(target=lambda: heard.append(post(live.url, parcel)))
        asking.start()
        time.sleep(3)
        assert not heard, "it waits"
        hub.end(kill=True)
        asking.join(30)
    assert heard == [None]
    with (
        gate(live) as hub,
        RunningGateway(live.home, "work"),
    ):
        check(broker, hub.post(live.url, parcel), parcel)


@in_turn
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_kill_at_the_giving_loses_nothing(live: LiveHouse, side: str) -> None:
    broker, parcel = submission(live)
    with (
        RunningGateway(
            live.home, "serve", failpoint=f"respond.given.{side}_commit", program="tests.kit.gated"
        ) as hub,
        RunningGateway(live.home, "work"),
    ):
        hub.post(live.url, parcel)
        assert hub.ended_by() == signal.SIGKILL
    assert response_state(live) == ("QUEUED" if side == "before" else "DELIVERED")
    with gate(live) as hub:
        answers = [hub.post(live.url, parcel) for _ in range(2)]
    for answer in answers:
        check(broker, answer, parcel)
    assert len({one.body for one in answers if one is not None}) == 1
    assert response_state(live) == "DELIVERED"

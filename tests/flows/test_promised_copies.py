"""What a partner is promised is on two servers: new messages, repeats, late receipts, status, submissions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.hub import file_submission
from gateway.message_model import Receipt, StatusResponse
from gateway.store import InsufficientStorageError, make_engine, migrate_schema
from tests.flows.test_filing import filing
from tests.flows.test_receive import question
from tests.kit.console import Console
from tests.kit.house import Away, House, Neighbour, signer_named
from tests.kit.standby_pair import STANDBY, StandbyPair
from tests.kit.story import Story
from tests.kit.waiting import until

pytestmark = pytest.mark.long

BOTH = f"ANY 1 ({STANDBY})"


@pytest.fixture
def copied(standby_pair: StandbyPair) -> Iterator[Engine]:
    url = standby_pair.make_url(database=standby_pair.create_database())
    plain = make_engine(url)
    migrate_schema(plain)
    plain.dispose()
    made = make_engine(url, copies=2, max_wait_seconds=10)
    yield made
    standby_pair.thaw()
    standby_pair.set_synchronous(BOTH)
    standby_pair.await_streaming()
    made.dispose()


def until_kept(act: Any) -> Any:
    """Repeat as a partner does, until the answer is no GW806."""

    def ask() -> Any:
        answer = act()
        return None if b"GW806" in answer.body else answer

    return until(ask, every=0.2, not_yet=InsufficientStorageError)


def test_nobody_is_told_of_what_one_server_has(copied: Engine, standby_pair: StandbyPair) -> None:
    house = House(copied)
    broker = Neighbour("broker1", house.clock)
    unit = broker.message()
    parcel = broker.seal(unit)
    asked = question(house, broker, unit.message_id, "broker1")
    first = house.post(parcel)
    assert isinstance(broker.open(first, parcel).unit, Receipt)
    assert isinstance(broker.open(house.post(asked)).unit, StatusResponse)

    standby_pair.set_synchronous("")
    for told in (house.post(parcel), house.post(asked), house.post(broker.seal(broker.message()))):
        assert told.status == 503
        assert b"GW806" in told.body
    standby_pair.set_synchronous(BOTH)
    standby_pair.await_streaming()
    assert until_kept(lambda: house.post(parcel)).body == first.body
    assert b'messageStatus="Received"' in until_kept(lambda: house.post(asked)).body


def test_a_cancelled_commit_gives_no_receipt_and_no_repeat_gets_one_before_its_copy(
    copied: Engine, standby_pair: StandbyPair
) -> None:
    house = House(copied)
    broker = Neighbour("broker1", house.clock)
    parcel = broker.seal(broker.message())
    house.post(broker.seal(broker.message()))  # the snapshot and its verdicts are stored
    standby_pair.freeze_receiver()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(house.post, parcel)
        standby_pair.ask(f"SELECT pg_cancel_backend({standby_pair.await_waiting()})")
        assert b"GW806" in waiting.result().body
    time.sleep(1.1)
    for _ in range(2):
        assert b"GW806" in house.post(parcel).body
    standby_pair.thaw()
    told = until_kept(lambda: house.post(parcel))
    assert isinstance(broker.open(told, parcel).unit, Receipt)


def test_a_late_receipt_waits_for_its_copy(copied: Engine, standby_pair: StandbyPair) -> None:
    house = House(copied)
    broker = Neighbour("broker1", house.clock)
    parcel = broker.seal(broker.message())
    house.hub.signer = Away()
    assert b"GW803" in house.post(parcel).body
    house.hub.signer = signer_named("hub")
    standby_pair.set_synchronous("")
    assert b"GW806" in house.post(parcel).body
    standby_pair.set_synchronous(BOTH)
    standby_pair.await_streaming()
    assert isinstance(broker.open(until_kept(lambda: house.post(parcel)), parcel).unit, Receipt)


def test_a_repeated_submission_waits_for_its_copy(copied: Engine, standby_pair: StandbyPair) -> None:
    story = Story(copied, customs=False)
    filed = filing(story)
    first = file_submission(story.hub, filed)
    standby_pair.set_synchronous("")
    with pytest.raises(GatewayError) as caught:
        file_submission(story.hub, filed)
    assert caught.value.problem.id == "GW806"
    standby_pair.set_synchronous(BOTH)
    standby_pair.await_streaming()
    again = until_kept(lambda: file_submission(story.hub, filed).receipt)
    assert again.body == first.receipt.body


def test_a_case_and_its_evidence_are_shown_when_they_are_on_two_servers(
    copied: Engine, standby_pair: StandbyPair
) -> None:
    story = Story(copied, customs=False)
    console = Console(story.house.hub)
    console.add_account("han", ("party", "broker1"), "filer")
    broker = console.sign_in("han")
    story.submit()
    story.tick()
    case = f"/console/cases/{story.case().number}"
    pages = (case, f"{case}/evidence")
    for page in pages:
        assert broker.get(page).status_code == 200, page
    standby_pair.set_synchronous("")
    for page in pages:
        told = broker.get(page)
        assert told.status_code == 503, page
        assert "GW806" in told.text
    # A list is no evidence: it is shown.
    assert broker.get("/console/cases").status_code == 200

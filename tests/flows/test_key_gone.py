"""The token with the gateway's key is pulled and put back: nothing is lost, nothing goes out unsigned."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.hub.warming import warm_up
from gateway.model import Octets, Payload, Receipt
from gateway.pki.pkcs11 import TokenSigner
from gateway.protocols import Parcel
from gateway.store import deliveries, messages
from gateway.store.engine import reading
from gateway.store.messages import Answer
from gateway.wire.xml import serialize
from tests.kit.house import AGREEMENT, House, Neighbour, signer_named
from tests.kit.softhsm import PIN, SoftHsm
from tests.kit.story import LABEL, QUIET, Story

pytestmark = pytest.mark.hsm


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    made = SoftHsm.make(tmp_path / "hsm", monkeypatch)
    made.put(signer_named("hub").key)
    return made


class Seconds:
    """A clock on which a second is over whenever it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def token_signer(hsm: SoftHsm) -> TokenSigner:
    return TokenSigner(hsm.key(), signer_named("hub").certificate, lambda: PIN, Seconds())


@dataclass
class Place:
    """A hub that signs with a token, and a broker that it hears from."""

    house: House
    broker: Neighbour

    @classmethod
    def make(cls, engine: Engine, hsm: SoftHsm, agreement: bytes = AGREEMENT) -> Place:
        house = House(engine, agreement=agreement)
        house.hub.signer = token_signer(hsm)
        return cls(house, Neighbour("broker1", house.clock, agreement))

    def stored(self) -> list[tuple[str, Answer | None]]:
        with reading(self.house.engine) as conn:
            return [(row.state, messages.answer_of(conn, row.id)) for row in messages.search(conn)]

    def queued(self, agent: str) -> int:
        with reading(self.house.engine) as conn:
            return len(deliveries.search(conn, agent=agent))


@pytest.fixture
def place(engine: Engine, hsm: SoftHsm) -> Place:
    return Place.make(engine, hsm)


def assert_come_again(answer: Answer) -> None:
    """The answer is no receipt: a Fault that nobody signed, which says that it may pass."""
    assert answer.status == 503
    assert b"GW803" in answer.body
    assert b"Acknowledgment" not in answer.body
    assert b"Signature" not in answer.body


def test_a_message_is_stored_and_receipted_when_the_key_is_back(place: Place, hsm: SoftHsm) -> None:
    parcel = place.broker.seal(place.broker.message())
    hsm.pull()
    for _ in range(3):
        assert_come_again(place.house.post(parcel))
    assert place.stored() == [("ACCEPTED", None)]
    hsm.put_back()
    answer = place.house.post(parcel)
    assert isinstance(place.broker.open(answer, parcel).unit, Receipt)
    assert place.house.post(parcel) == answer
    assert place.stored() == [("ACCEPTED", answer)]


def test_what_was_receipted_before_is_receipted_again_without_the_key(place: Place, hsm: SoftHsm) -> None:
    parcel = place.broker.seal(place.broker.message())
    answer = place.house.post(parcel)
    assert isinstance(place.broker.open(answer, parcel).unit, Receipt)
    hsm.pull()
    assert place.house.post(parcel) == answer
    assert_come_again(place.house.post(place.broker.seal(place.broker.message())))


def test_repeats_at_once_get_one_receipt(place: Place, hsm: SoftHsm) -> None:
    parcel = place.broker.seal(place.broker.message())
    hsm.pull()
    place.house.post(parcel)
    hsm.put_back()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: place.house.post(parcel), range(16)))
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].status == 200


def test_an_asynchronous_receipt_is_posted_when_the_key_is_back(engine: Engine, hsm: SoftHsm) -> None:
    place = Place.make(engine, hsm, AGREEMENT.replace(b"mshSignalsOnly", b"none"))
    parcel = place.broker.seal(place.broker.message(sync_reply=False))
    hsm.pull()
    assert_come_again(place.house.post(parcel))
    assert place.queued("msh") == 0
    hsm.put_back()
    assert place.house.post(parcel).status == 204
    assert place.queued("msh") == 1


def test_a_bad_message_hears_its_own_problem(place: Place, hsm: SoftHsm) -> None:
    good = place.broker.seal(place.broker.message())
    octets = good.body.open().read()
    hsm.pull()
    answer = place.house.post(Parcel(good.headers, Octets(octets.replace(b"<a/>", b"<b/>"))))
    assert b"GW202" in answer.body
    assert b"Signature" not in answer.body
    assert place.stored() == []


def test_a_hub_starts_while_its_token_is_away(place: Place, hsm: SoftHsm) -> None:
    hsm.pull()
    warm_up(place.house.hub)
    parcel = place.broker.seal(place.broker.message())
    assert_come_again(place.house.post(parcel))
    hsm.put_back()
    assert isinstance(place.broker.open(place.house.post(parcel), parcel).unit, Receipt)


def test_a_case_goes_on_and_its_result_waits_for_the_key(engine: Engine, hsm: SoftHsm) -> None:
    story = Story(engine, agreement=QUIET)
    story.hub.signer = token_signer(hsm)
    unit = story.broker.message("Submit", serialize(story.submission()))
    label = Payload("korean-label@sample", "application/pdf", LABEL)
    hsm.pull()
    assert_come_again(story.house.post(story.broker.seal(replace(unit, payloads=(unit.payloads[0], label)))))
    story.tick()
    story.decide_all()
    # Longer than any plan of retries: what waits for the key uses up no try.
    for _ in range(30):
        story.tick(minutes=10)
    assert story.inbox.documents("Result") == []
    waiting = story.deliveries(state="QUEUED")
    assert "conclude" in [row.parameters["task"] for row in waiting]
    assert {(row.problem, row.tries) for row in waiting} == {("GW803", 0)}
    hsm.put_back()
    story.tick(minutes=10)
    assert story.outcome()[0] == "APPROVED"
    assert story.case().state == "CLOSED"

"""The token with the gateway's key is pulled and put back: nothing is lost, nothing goes out unsigned."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from werkzeug.test import Client

from gateway.errors import SIGNATURE_INVALID, GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub import warm_up_hub
from gateway.hub.outbox import late_receipts
from gateway.hub.trust.configured_secrets import NextSigningKey
from gateway.message_model import MemoryBody, Payload, Receipt
from gateway.pki import TokenSigner
from gateway.protocols import Parcel
from gateway.store import (
    HttpResponse,
    agreements,
    deliveries,
    make_engine,
    messages,
    read_transaction,
    register_version,
    write_transaction,
)
from gateway.web import hub_readiness
from gateway.web.wsgi_application import build_wsgi_application
from gateway.wire import serialize_element
from tests.kit.databases import BOTH
from tests.kit.ending import EndedError, ending_at
from tests.kit.house import AGREEMENT, EBMS2, Away, House, Neighbour, signer_named
from tests.kit.softhsm import PIN, SoftHsm
from tests.kit.story import LABEL, QUIET, Story

pytestmark = pytest.mark.hsm

ASYNCHRONOUS = AGREEMENT.replace(b"mshSignalsOnly", b"none")
#: Nobody can be told anything by a POST.
NOWHERE = b"\n".join(line for line in AGREEMENT.splitlines() if b":8901/" not in line)


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

    def stored(self) -> list[tuple[str, HttpResponse | None]]:
        with read_transaction(self.house.engine) as conn:
            return [(row.state, messages.find_response(conn, row.id)) for row in messages.list_messages(conn)]

    def queued(self, agent: str) -> int:
        with read_transaction(self.house.engine) as conn:
            return len(deliveries.list_deliveries(conn, agent=agent))


@pytest.fixture
def place(engine: Engine, hsm: SoftHsm) -> Place:
    return Place.make(engine, hsm)


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Engine]:
    """Give an engine on SQLite, for what no database has a part in."""
    made = make_engine(sqlite_url)
    yield made
    made.dispose()


def assert_come_again(answer: HttpResponse) -> None:
    """The answer is no receipt: a Fault that nobody signed, which says that it may pass."""
    assert answer.status == 503
    assert b"GW803" in answer.body
    assert b"Acknowledgment" not in answer.body
    assert b"Signature" not in answer.body


@pytest.mark.night
@BOTH
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


@pytest.mark.night
def test_repeats_at_once_get_one_receipt(place: Place, hsm: SoftHsm) -> None:
    parcel = place.broker.seal(place.broker.message())
    hsm.pull()
    place.house.post(parcel)
    hsm.put_back()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: place.house.post(parcel), range(16)))
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].status == 200


def test_an_asynchronous_receipt_is_posted_to_who_asks_again(engine: Engine, hsm: SoftHsm) -> None:
    place = Place.make(engine, hsm, ASYNCHRONOUS)
    parcel = place.broker.seal(place.broker.message(sync_reply=False))
    hsm.pull()
    assert_come_again(place.house.post(parcel))
    assert place.queued("msh") == 0
    hsm.put_back()
    assert place.house.post(parcel).status == 204
    assert place.queued("msh") == 1


def test_a_bad_message_hears_its_own_problem(place: Place, hsm: SoftHsm) -> None:
    good = place.broker.seal(place.broker.message())
    octets = good.body.open_stream().read()
    hsm.pull()
    answer = place.house.post(Parcel(good.headers, MemoryBody(octets.replace(b"<a/>", b"<b/>"))))
    assert b"GW202" in answer.body
    assert b"Signature" not in answer.body
    assert place.stored() == []


@pytest.mark.night
def test_a_hub_starts_while_its_token_is_away(place: Place, hsm: SoftHsm) -> None:
    hsm.pull()
    warm_up_hub(place.house.hub)
    parcel = place.broker.seal(place.broker.message())
    assert_come_again(place.house.post(parcel))
    hsm.put_back()
    assert isinstance(place.broker.open(place.house.post(parcel), parcel).unit, Receipt)


def test_a_hub_does_not_start_with_a_key_that_signs_wrongly(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise GatewayError(SIGNATURE_INVALID, "it does not verify", "ds:Signature")

    monkeypatch.setattr("gateway.hub.readiness_checks.verify_document", fail)
    with pytest.raises(GatewayError, match="does not verify"):
        warm_up_hub(place.house.hub)


@pytest.mark.night
def test_a_case_goes_on_and_its_result_waits_for_the_key(engine: Engine, hsm: SoftHsm) -> None:
    story = Story(engine, agreement=QUIET)
    story.hub.signer = token_signer(hsm)
    unit = story.broker.message("Submit", serialize_element(story.submission()))
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
    assert {(row.problem, row.tries) for row in waiting if row.follows is None} == {("GW803", 0)}
    hsm.put_back()
    story.tick(minutes=10)
    assert story.outcome()[0] == "APPROVED"
    assert story.case().state == "CLOSED"


def story_without_its_key(engine: Engine, hsm: SoftHsm, agreement: bytes) -> tuple[Story, list[Parcel]]:
    """Return a hub whose token was pulled, and five messages that it has taken without receipt."""
    story = Story(engine, agreement=agreement)
    story.hub.signer = token_signer(hsm)
    hsm.pull()
    at_once = b"mshSignalsOnly" in agreement
    parcels = [story.broker.seal(story.broker.message(sync_reply=at_once)) for _ in range(5)]
    for parcel in parcels:
        assert_come_again(story.house.post(parcel))
    return story, parcels


def verified(story: Story, parcels: list[Parcel]) -> list[str]:
    """Return which messages the receipts that were posted are of, each held against what was sent."""
    sent = {
        one.unit.message_id: one
        for one in (EBMS2.read_sent_unit(p, story.broker.context().limits) for p in parcels)
    }
    found = []
    for posted in story.inbox.signals:
        unit = story.broker.open(posted).unit
        assert isinstance(unit, Receipt)
        EBMS2.check_answer(story.broker.open(posted), sent[unit.ref_to_message_id])
        found.append(unit.ref_to_message_id)
    return sorted(found)


def ids(story: Story, parcels: list[Parcel]) -> list[str]:
    return sorted(EBMS2.read_sent_unit(one, story.broker.context().limits).unit.message_id for one in parcels)


@pytest.mark.night
@pytest.mark.parametrize("agreement", [AGREEMENT, ASYNCHRONOUS], ids=["at once", "by a post"])
def test_every_receipt_is_posted_once_when_the_key_is_back(
    engine: Engine, hsm: SoftHsm, agreement: bytes
) -> None:
    """Nobody asks again, and nothing is restarted."""
    story, parcels = story_without_its_key(engine, hsm, agreement)
    for _ in range(3):
        story.tick(minutes=10)
    assert story.inbox.signals == []
    hsm.put_back()
    story.tick(minutes=1)
    assert verified(story, parcels) == ids(story, parcels)
    for _ in range(3):
        story.tick(minutes=10)
    assert len(story.inbox.signals) == len(parcels)
    with read_transaction(engine) as conn:
        kept = [messages.find_response(conn, row.id) for row in messages.list_messages(conn, direction="in")]
        told = [
            row.kind
            for row in messages.list_messages(conn)
            for row in list_subject_leaves(conn, "message", row.id)
        ]
    assert {one.body for one in kept if one is not None} == {one.body for one in story.inbox.signals}
    assert told.count("receipted") == len(parcels)


@pytest.mark.night
def test_a_receipt_that_can_go_nowhere_is_made_and_waits_to_be_asked_for(
    sqlite: Engine, hsm: SoftHsm
) -> None:
    story, parcels = story_without_its_key(sqlite, hsm, NOWHERE)
    hsm.put_back()
    story.tick(minutes=1)
    assert story.inbox.signals == []
    with read_transaction(sqlite) as conn:
        kept = [messages.find_response(conn, row.id) for row in messages.list_messages(conn, direction="in")]
    hsm.pull()
    # Made before the token was pulled again: no signature is needed now.
    assert {story.house.post(one).body for one in parcels} == {one.body for one in kept if one is not None}
    assert len(kept) == len(parcels)


@pytest.mark.night
def test_who_asks_again_first_is_not_told_twice(engine: Engine, hsm: SoftHsm) -> None:
    story, parcels = story_without_its_key(engine, hsm, ASYNCHRONOUS)
    hsm.put_back()
    for parcel in parcels[:2]:
        assert story.house.post(parcel).status == 204
    story.tick(minutes=1)
    assert verified(story, parcels) == ids(story, parcels)
    story.tick(minutes=10)
    assert len(story.inbox.signals) == len(parcels)


@pytest.mark.night
def test_who_asks_again_while_its_receipt_is_made_is_not_told_twice(
    sqlite: Engine, hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    story, parcels = story_without_its_key(sqlite, hsm, ASYNCHRONOUS)
    hsm.put_back()
    again, seal = list(parcels), late_receipts._seal_receipt

    def sealed(*words: Any) -> HttpResponse:
        made = seal(*words)
        if again:
            story.house.post(again.pop(0))
        return made

    monkeypatch.setattr(late_receipts, "_seal_receipt", sealed)
    story.tick(minutes=1)
    story.tick(minutes=1)
    assert verified(story, parcels) == ids(story, parcels)


@pytest.mark.night
def test_one_task_tries_the_key_for_all_that_wait(sqlite: Engine, hsm: SoftHsm) -> None:
    story, parcels = story_without_its_key(sqlite, hsm, ASYNCHRONOUS)
    for _ in range(10):
        story.tick(minutes=1)
    waiting = [row for row in story.deliveries(agent="local") if row.parameters["task"] in ("key", "receipt")]
    assert [row.attempt for row in waiting if row.parameters["task"] == "receipt"] == [0] * len(parcels)
    assert [row.attempt for row in waiting if row.parameters["task"] == "key"] == [10]


@pytest.mark.night
@pytest.mark.parametrize("name", ["receipts.key", "receipts.late"])
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_a_process_that_ends_at_a_commit_sends_no_receipt_twice_and_forgets_none(
    sqlite: Engine, hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch, name: str, side: str
) -> None:
    story, parcels = story_without_its_key(sqlite, hsm, ASYNCHRONOUS)
    hsm.put_back()
    with monkeypatch.context() as patched:
        patched.setattr("gateway.store.engine.kill_at_failpoint", ending_at(name, side))
        with pytest.raises(EndedError):
            story.tick(minutes=1)
    story.worker = story.new_worker("w2")
    for _ in range(4):
        story.tick(minutes=2)
    assert verified(story, parcels) == ids(story, parcels)


def test_a_receipt_whose_agreement_is_gone_is_not_sent_unsigned(sqlite: Engine, hsm: SoftHsm) -> None:
    story, parcels = story_without_its_key(sqlite, hsm, ASYNCHRONOUS)
    with write_transaction(sqlite) as conn:
        (known,) = {row.agreement_id for row in agreements.list_active_pmode_texts(conn)}
        agreements.set_agreement_status(conn, known, "RETIRED")
        register_version.increment_register_version(conn)
    hsm.put_back()
    story.tick(minutes=1)
    assert story.inbox.signals == []
    failed = story.deliveries(state="FAILED")
    assert [row.problem for row in failed] == ["GW303"] * len(parcels)


def test_readiness_and_metrics_say_that_the_key_is_away(
    sqlite: Engine, hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A verdict is kept for a second.
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)
    place = Place.make(sqlite, hsm)
    client = Client(build_wsgi_application(place.house.hub, 1 << 20))
    ready, measured = client.get("/status/ready"), client.get("/metrics").text
    assert (ready.status_code, ready.text) == (200, "ready\n")
    assert "gateway_own_key_away 0.0\n" in measured
    hsm.pull()
    for _ in range(2):
        ready, measured = client.get("/status/ready"), client.get("/metrics").text
        assert (ready.status_code, ready.text) == (503, "GW803 private key unavailable\n")
        assert "gateway_own_key_away 1.0\n" in measured
    assert client.get("/status/live").status_code == 200
    hsm.put_back()
    assert client.get("/status/ready").status_code == 200
    assert "gateway_own_key_away 0.0\n" in client.get("/metrics").text


def test_the_next_key_makes_the_receipts_that_the_one_before_owes(sqlite: Engine) -> None:
    """The token is lost for good: what takes over at its time signs what waits, unasked and once."""
    story = Story(sqlite)
    hub, later = story.hub, signer_named("hub-later")
    hub.signer = Away()
    hub._successor = NextSigningKey(later, story.clock() + timedelta(hours=2))
    parcels = [story.broker.seal(story.broker.message()) for _ in range(3)]
    for parcel in parcels:
        assert_come_again(story.house.post(parcel))

    def made() -> list[bytes]:
        with read_transaction(sqlite) as conn:
            found = [
                messages.find_response(conn, row.id) for row in messages.list_messages(conn, direction="in")
            ]
        return [one.body for one in found if one is not None]

    story.tick(minutes=110)
    assert made() == []
    story.tick(minutes=20)
    receipts = made()
    by_whom = base64.b64encode(later.certificate.der)
    assert [by_whom in b"".join(one.split()) for one in receipts] == [True] * len(parcels)
    assert {story.house.post(parcel).body for parcel in parcels} == set(receipts)
    assert made() == receipts

"""A message goes through a hop to the hub, and its result comes back through the hop."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.evidence.evidence_log import list_subject_leaves
from gateway.message_model import NEXT_MSH, TO_PARTY_MSH, AckRequest, Receipt, UserMessage
from gateway.protocols.ebms2.packaging import open_package
from gateway.store.engine import make_engine, read_transaction
from tests.kit.chain import HOP, HUB, Chain, agreement_by_hop
from tests.kit.ending import EndedError, ending_at
from tests.kit.house import EBMS2


@pytest.fixture
def other(templates: Any) -> Any:
    """Give the database of the hub; the hop has `engine`, of both kinds."""
    made = make_engine(templates.fresh("sqlite"))
    yield made
    made.dispose()


@pytest.fixture
def chain(engine: Engine, other: Engine) -> Chain:
    return Chain(engine, other)


def octets(parcel: Any) -> bytes:
    return parcel.body.open_stream().read()  # type: ignore[no-any-return]


def told(chain: Chain) -> list[Any]:
    """Return the signals that reached the broker."""
    return [chain.broker.open(one).unit for one in chain.inbox.signals]


def evidence(chain: Chain, message: int) -> list[str]:
    with read_transaction(chain.hop.engine) as conn:
        return [row.kind for row in list_subject_leaves(conn, "message", message)]


def test_a_submission_goes_on_and_its_result_comes_back(chain: Chain) -> None:
    parcel = chain.send()
    sent = EBMS2.read_sent_unit(parcel, chain.hop.hub.limits)
    chain.go_on()
    chain.story.decide_all()
    chain.go_on()
    assert chain.story.outcome()[0] == "APPROVED"
    receipts = [one for one in told(chain) if isinstance(one, Receipt)]
    by_actor = {one.actor == NEXT_MSH: one for one in receipts}
    assert by_actor[False].ref_to_message_id == by_actor[True].ref_to_message_id == sent.unit.message_id
    assert chain.story.case().state == "CLOSED"
    assert {row.state for row in chain.hop.messages()} == {"PROCESSED"}
    assert evidence(chain, 1) == ["passing", "forwarded"]


def test_what_goes_on_is_what_the_signature_covers_octet_for_octet(chain: Chain) -> None:
    parcel = chain.send()
    chain.go_on()
    (onward,) = chain.wire.to(HUB)[:1]
    package, came = (open_package(one, chain.hop.hub.limits) for one in (onward, parcel))
    assert {name: one.content for name, one in package.parts.items()} == {
        name: one.content for name, one in came.parts.items()
    }
    (asked,) = re.findall(rb"<eb:AckRequested [^>]*nextMSH[^>]*>(?:</eb:AckRequested>)?", came.octets)
    assert package.octets == came.octets.replace(asked, b"")


def test_the_hop_asks_the_next_handler_and_waits_for_its_receipt(engine: Engine, other: Engine) -> None:
    chain = Chain(engine, other, forward={"acknowledgment": "signed"})
    chain.send()
    chain.go_on()
    (delivery,) = chain.hop.deliveries(destination="hub")
    assert delivery.state == "DELIVERED"
    asked = EBMS2.read_sent_unit(chain.wire.to(HUB)[0], chain.hop.hub.limits).unit
    assert isinstance(asked, UserMessage)
    assert asked.hop_ack_requested == AckRequest(signed=True)
    assert asked.ack_requested == AckRequest(signed=True)


def test_a_receipt_of_the_to_party_on_the_connection_goes_back(engine: Engine, other: Engine) -> None:
    chain = Chain(engine, other, agreement=agreement_by_hop())
    chain.send()
    chain.go_on()
    kinds = [row.kind for row in chain.hop.messages()]
    assert kinds == ["UserMessage", "Receipt"]
    assert [one.actor for one in told(chain)] == [TO_PARTY_MSH]
    answer = chain.broker.open(chain.answer).unit
    assert isinstance(answer, Receipt)
    assert answer.actor == NEXT_MSH


def test_without_a_request_the_hop_acknowledges_nothing(chain: Chain) -> None:
    chain.send(hop_ack=None)
    assert (chain.answer.status, chain.answer.body) == (204, b"")
    chain.go_on()
    assert [one.actor for one in told(chain)] == [TO_PARTY_MSH]


def test_a_repeat_gets_the_first_receipt_and_is_not_forwarded_again(engine: Engine, other: Engine) -> None:
    chain = Chain(engine, other, agreement=agreement_by_hop())
    parcel = chain.send()
    first = chain.answer
    assert chain.hop.receive(parcel) == first
    chain.go_on()
    assert chain.hop.receive(parcel) == first
    chain.go_on()
    assert len(chain.wire.to(HUB)) == 1


def receive_and_work(chain: Chain, parcel: Any) -> None:
    chain.hop.receive(parcel)
    chain.hop.work()


@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
@pytest.mark.parametrize("name", ["passing.message", "passing.forwarded"])
def test_a_hop_that_ends_at_a_commit_loses_nothing_and_has_one_effect(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, name: str, side: str
) -> None:
    parcel = chain.seal()
    with monkeypatch.context() as patched:
        patched.setattr("gateway.store.engine.kill_at_failpoint", ending_at(name, side))
        with pytest.raises(EndedError):
            receive_and_work(chain, parcel)
    chain.hop.hub = chain.hop.new_hub()
    chain.wire.handlers[HOP] = chain.hop.receive
    chain.hop.worker = chain.hop.new_worker("h2")
    stored = chain.hop.messages()
    assert bool(stored) is (name != "passing.message" or side == "after_commit")
    assert chain.hop.receive(parcel).status == 204
    for _ in range(3):
        chain.go_on(minutes=2)
    actors = [one.actor for one in told(chain) if isinstance(one, Receipt)]
    assert set(actors) == {NEXT_MSH, TO_PARTY_MSH}
    assert chain.story.case().state == "IN_PROGRESS"
    assert [row.action for row in chain.hop.messages(kind="UserMessage")] == ["Submit"]

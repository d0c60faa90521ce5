"""A message goes through a hop to the hub, and its result comes back through the hop."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import REFUSED_FOR_GOOD, SIGNATURE_INVALID, UNREACHABLE, GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub import make_rule_columns
from gateway.hub.completion import operator_actions
from gateway.message_model import (
    NEXT_MSH,
    TO_PARTY_MSH,
    AckRequest,
    ErrorSignal,
    MemoryBody,
    Party,
    PartyId,
    Receipt,
    StatusRequest,
    UserMessage,
)
from gateway.protocols import Parcel
from gateway.protocols.ebms2.packaging import open_package
from gateway.store import (
    HttpResponse,
    agreements,
    make_engine,
    parties,
    read_transaction,
    register_version,
    write_transaction,
)
from gateway.wire import DS, SOAP11
from tests.kit.chain import BROKER, HOP, HUB, Chain, agreement_by_hop, rule
from tests.kit.databases import in_turn
from tests.kit.ending import EndedError, ending_at
from tests.kit.house import EBMS2, PARTY_TYPE, Neighbour, pmodes, signer_named


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


@pytest.mark.long
@in_turn
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


@pytest.mark.long
def test_what_goes_on_is_what_the_signature_covers_octet_for_octet(chain: Chain) -> None:
    parcel = chain.send()
    chain.go_on()
    (onward,) = chain.wire.to(HUB)[:1]
    package, came = (open_package(one, chain.hop.hub.limits) for one in (onward, parcel))
    assert {name: one.content for name, one in package.parts.items()} == {
        name: one.content for name, one in came.parts.items()
    }
    (asked,) = re.findall(
        rb"<eb:AckRequested [^>]*nextMSH[^>]*>(?:</eb:AckRequested>)?", came.envelope_octets
    )
    assert package.envelope_octets == came.envelope_octets.replace(asked, b"")


@pytest.mark.parametrize(("is_known", "name"), [(False, "far"), (True, "hub")])
def test_a_message_goes_by_its_rule_whether_the_hop_knows_its_party_or_not(
    chain: Chain, name: str, *, is_known: bool
) -> None:
    with write_transaction(chain.hop.engine) as conn:
        if is_known:
            parties.add_identifier(conn, "hub", PartyId("far", PARTY_TYPE))
        way = rule("far", HUB, "broker1", next_party="hub")
        agreements.insert_forwarding_rule(conn, make_rule_columns(way), chain.clock())
        register_version.increment_register_version(conn)
    chain.send(receiver=Party((PartyId("far", PARTY_TYPE),), "Hub"))
    chain.hop.work()
    (stored,) = chain.hop.messages()
    assert stored.to_party == name
    assert len(chain.wire.to(HUB)) == 1


def test_what_the_next_handler_does_not_acknowledge_is_sent_again_after_the_interval(
    engine: Engine, other: Engine
) -> None:
    chain = Chain(engine, other, forward={"acknowledgment": "signed", "retry_interval": 60})
    hub = chain.wire.handlers[HUB]
    chain.wire.handlers[HUB] = lambda parcel: HttpResponse(204, {}, b"")
    chain.send()
    chain.go_on()
    (delivery,) = chain.hop.deliveries(destination="hub")
    assert delivery.state == "AWAITING_RECEIPT"
    chain.go_on(seconds=58)
    assert len(chain.wire.to(HUB)) == 1
    chain.wire.handlers[HUB] = hub
    chain.go_on(seconds=3)
    assert len(chain.wire.to(HUB)) == 2
    (delivery,) = chain.hop.deliveries(destination="hub")
    assert delivery.state == "DELIVERED"


def test_what_the_hop_has_given_up_goes_on_when_an_operator_says_so(engine: Engine, other: Engine) -> None:
    chain = Chain(engine, other, forward={"acknowledgment": "signed", "retries": 0})
    hub = chain.wire.handlers[HUB]
    chain.wire.handlers[HUB] = lambda parcel: HttpResponse(204, {}, b"")
    chain.send()
    for _ in range(3):
        chain.go_on(minutes=2)
    assert [row.state for row in chain.hop.messages(kind="UserMessage")] == ["FAILED"]
    chain.wire.handlers[HUB] = hub
    (failed,) = chain.hop.deliveries(agent="hop", state="FAILED")
    with write_transaction(chain.hop.engine) as conn:
        operator_actions.requeue_delivery(conn, failed.id, chain.clock(), "operator")
    chain.go_on(seconds=1)
    assert [row.state for row in chain.hop.messages(kind="UserMessage")] == ["PROCESSED"]
    assert evidence(chain, 1)[-1] == "forwarded"


@pytest.mark.long
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


@pytest.mark.long
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
    parcel = chain.send(hop_ack=None)
    assert (chain.answer.status, chain.answer.body) == (204, b"")
    chain.go_on()
    assert [one.actor for one in told(chain)] == [TO_PARTY_MSH]
    # Nothing is taken out or put in: it goes on as it came.
    onward = chain.wire.to(HUB)[0]
    assert (onward.headers, octets(onward)) == (parcel.headers, octets(parcel))


@pytest.mark.long
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


@pytest.mark.long
@in_turn
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


def failures(chain: Chain) -> list[tuple[str, str]]:
    return [
        (entry.code, entry.severity)
        for one in told(chain)
        if isinstance(one, ErrorSignal)
        for entry in one.errors
    ]


def wear_out(chain: Chain, *troubles: Any) -> None:
    """Let every attempt of the hop to reach the hub fail."""
    chain.wire.troubles[HUB] = deque(troubles)
    chain.send()
    for _ in range(8):
        chain.go_on(minutes=2)


def refused() -> GatewayError:
    return GatewayError(UNREACHABLE, "Connection refused", HUB)


@pytest.mark.long
@pytest.mark.parametrize(
    ("troubles", "severity"),
    [
        ([refused() for _ in range(8)], "Error"),
        ([GatewayError(REFUSED_FOR_GOOD, "HTTP status 403")], "Error"),
        (["answer lost", *(refused() for _ in range(8))], "Warning"),
    ],
    ids=["never sent", "refused", "answer lost"],
)
def test_when_the_hop_gives_up_it_tells_the_sender_once(
    chain: Chain, troubles: list[Any], severity: str
) -> None:
    wear_out(chain, *troubles)
    assert failures(chain) == [("DeliveryFailure", severity)]
    (failed,) = chain.hop.deliveries(state="FAILED")
    assert failed.agent == "hop"
    assert [row.state for row in chain.hop.messages(kind="UserMessage")] == ["FAILED"]
    signal = next(one for one in told(chain) if isinstance(one, ErrorSignal))
    assert [one.value for one in signal.sender.ids] == ["hop"]


@pytest.mark.parametrize("status", [200, 403, 500])
def test_a_fault_that_nobody_signed_is_followed_by_the_repeats_of_the_rule(chain: Chain, status: int) -> None:
    """What is passed on is always signed by its sender: only a signed error of the next handler ends it."""
    fault = "<s:Fault><faultcode>s:Client</faultcode><faultstring>blocked</faultstring></s:Fault>"
    envelope = f'<s:Envelope xmlns:s="{SOAP11}"><s:Body>{fault}</s:Body></s:Envelope>'
    chain.wire.troubles[HUB] = deque([HttpAnswer(status, {"content-type": "text/xml"}, envelope.encode())])
    chain.send()
    chain.go_on()
    assert [(row.state, row.problem) for row in chain.hop.deliveries(agent="hop")] == [("QUEUED", "GW603")]
    for _ in range(3):
        chain.go_on(minutes=2)
    assert failures(chain) == []
    assert chain.story.case().state == "IN_PROGRESS"


@pytest.mark.parametrize(("signed", "state"), [(True, "DELIVERED"), (False, "QUEUED")])
def test_only_a_signed_error_list_ends_the_forwarding(chain: Chain, signed: bool, state: str) -> None:
    def refuse(parcel: Parcel) -> HttpResponse:
        context = chain.story.hub.make_protocol_context(chain.story.hub.refresh_snapshot())
        problem = GatewayError(SIGNATURE_INVALID, "the digest differs")
        sealed = EBMS2.reject_parcel(problem, parcel, context).parcel
        assert sealed is not None
        root = etree.fromstring(octets(sealed))
        for signature in [] if signed else list(root.iter(f"{{{DS}}}Signature")):
            signature.getparent().remove(signature)
        return HttpResponse(200, {"Content-Type": sealed.headers["Content-Type"]}, etree.tostring(root))

    chain.wire.handlers[HUB] = refuse
    chain.send()
    chain.go_on()
    assert [row.state for row in chain.hop.deliveries(agent="hop")][:1] == [state]
    assert (failures(chain) != []) is signed


@pytest.mark.long
def test_there_is_no_error_about_a_signal_that_does_not_arrive(chain: Chain) -> None:
    chain.send(hop_ack=None)
    chain.wire.troubles[BROKER] = deque(GatewayError(UNREACHABLE, "Connection refused") for _ in range(9))
    for _ in range(8):
        chain.go_on(minutes=2)
    assert [row.state for row in chain.hop.messages()] == ["PROCESSED", "FAILED"]
    assert [row.parameters for row in chain.hop.deliveries(agent="local")] == []


def test_what_is_too_old_does_not_go_on(chain: Chain) -> None:
    late = chain.seal(expires_at=chain.clock() + timedelta(minutes=1))
    chain.clock.forward(minutes=2)
    answer = chain.hop.receive(late)
    assert b"TimeToLiveExpired" in answer.body
    assert chain.hop.messages() == []


def test_what_grows_too_old_at_the_hop_is_given_up(chain: Chain) -> None:
    chain.wire.troubles[HUB] = deque([refused()])
    chain.send(expires_at=chain.clock() + timedelta(seconds=90))
    chain.go_on()
    chain.go_on(minutes=2)
    assert failures(chain) == [("DeliveryFailure", "Error")]
    assert len(chain.wire.to(HUB)) == 1


def test_a_stranger_cannot_use_the_hop(chain: Chain) -> None:
    stranger = Neighbour("stranger", chain.clock, chain.broker.agreement)
    unit = replace(
        chain.broker.message("Store"), sender=Party((PartyId("stranger", PARTY_TYPE),), "Applicant")
    )
    parcel = EBMS2.seal(
        (unit,), None, replace(stranger.context(), signers={"stranger": signer_named("stranger")})
    )
    for answer in (chain.hop.receive(parcel),):
        assert b"GW302" in answer.body
    assert (chain.hop.messages(), chain.hop.deliveries()) == ([], [])


def test_a_party_that_the_route_does_not_name_cannot_use_it(engine: Engine, other: Engine) -> None:
    chain = Chain(engine, other, forward={"senders": ("hop",)})
    chain.send()
    assert b"GW317" in chain.answer.body
    assert chain.hop.deliveries() == []


@pytest.mark.long
def test_a_message_that_another_handler_sends_back_is_refused(engine: Engine, other: Engine) -> None:
    chain = Chain(engine, other, forward={"acknowledgment": "signed"})
    chain.send(hop_ack=None)
    chain.hop.work()
    (onward,) = chain.wire.to(HUB)
    answer = chain.hop.receive(onward)
    assert b"GW318" in answer.body
    chain.go_on()
    assert len(chain.wire.to(HUB)) == 1


def test_a_hop_that_changes_the_payload_is_found_out_by_the_hub(chain: Chain) -> None:
    def change(parcel: Parcel) -> Parcel:
        content = octets(parcel)
        assert b"%PDF" in content
        return replace(parcel, body=MemoryBody(content.replace(b"%PDF", b"%PDG", 1)))

    chain.wire.troubles[HUB] = deque([change])
    chain.send()
    chain.go_on()
    assert not any(isinstance(one, Receipt) and one.actor == TO_PARTY_MSH for one in told(chain))
    with pytest.raises(IndexError):
        chain.story.case()


def status_of(chain: Chain, about: str, asker: str = "broker1") -> str:
    """Let a party ask the hop what became of a message, under the agreement of that message."""
    request = StatusRequest(
        f"q-{about}-{asker}",
        "c-1",
        Party((PartyId(asker, PARTY_TYPE),)),
        Party((PartyId("hop", PARTY_TYPE),)),
        pmodes(chain.broker.agreement)[0].agreement,
        chain.clock(),
        queried_message_id=about,
    )
    keys = {asker: signer_named(asker)}
    written = EBMS2.seal_hop_signal(request, replace(chain.broker.context(), signers=keys), is_signed=True)
    answer = chain.hop.receive(written)
    found = re.search(rb'messageStatus="(\w+)"', answer.body)
    return found[1].decode() if found else answer.body.decode()


def test_the_hop_says_that_a_message_was_forwarded(chain: Chain) -> None:
    parcel = chain.send()
    about = EBMS2.read_sent_unit(parcel, chain.hop.hub.limits).unit.message_id
    assert status_of(chain, about) == "Received"
    chain.go_on()
    assert status_of(chain, about) == "Forwarded"
    assert status_of(chain, "nothing@broker.example") == "NotRecognized"
    # Of the messages of others nobody learns anything.
    assert status_of(chain, about, "hub") == "NotRecognized"

"""A signed message in, a stored receipt out: on both databases, through the hub itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from gateway.agreements import ForwardingRule
from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.hub import make_rule_columns
from gateway.message_model import (
    AckRequest,
    ErrorSignal,
    MemoryBody,
    PartyId,
    Ping,
    Pong,
    Receipt,
    StatusRequest,
    StatusResponse,
    Unit,
)
from gateway.protocols import Parcel
from gateway.store import (
    HttpResponse,
    agreements,
    deliveries,
    messages,
    parties,
    read_transaction,
    refusal_counts,
    write_transaction,
)
from tests.kit import tables
from tests.kit.claims import claim_deliveries
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import AGREEMENT, EBMS2, PARTY_TYPE, House, Neighbour, pmodes, signer_named


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine)


@pytest.fixture
def broker(house: House) -> Neighbour:
    return Neighbour("broker1", house.clock)


def stored(house: House) -> list[str]:
    with read_transaction(house.engine) as conn:
        return [row.message_id for row in messages.list_messages(conn)]


def problem_of(broker: Neighbour, answer: object) -> str:
    unit = broker.open(answer).unit  # type: ignore[arg-type]
    assert isinstance(unit, ErrorSignal)
    return unit.errors[0].description.split()[0]


@pytest.mark.story("broker's software sends a message and has its signed receipt")
@BOTH_AT_LANDING
def test_a_message_is_stored_with_its_receipt_and_evidence(house: House, broker: Neighbour) -> None:
    parcel = broker.seal(broker.message(content=b"<declaration/>"))
    answer = house.post(parcel)
    receipt = broker.open(answer, parcel).unit
    assert isinstance(receipt, Receipt)
    assert {one.uri for one in receipt.references} == {"", "cid:p1.m1@broker1.example"}
    with read_transaction(house.engine) as conn:
        (row,) = messages.list_messages(conn)
        assert (row.from_party, row.to_party, row.state) == ("broker1", "hub", "ACCEPTED")
        assert messages.find_response(conn, row.id) == answer
        headers, content = messages.load_parcel(conn, row.id)
        assert content == parcel.body.open_stream().read()
        assert headers["Content-Type"].startswith("multipart/related")
        assert [one.content for one in messages.load_payloads(conn, row.id)] == [b"<declaration/>"]


@pytest.mark.story("broker's software sends a message again and has the same receipt")
@BOTH_AT_LANDING
def test_a_duplicate_gets_the_same_octets_and_is_stored_once(house: House, broker: Neighbour) -> None:
    parcel = broker.seal(broker.message())
    first = house.post(parcel)
    house.clock.forward(minutes=5)
    assert house.post(parcel) == first
    assert house.post(parcel, house.new_hub()) == first
    assert stored(house) == ["m1@broker1.example"]


@BOTH_AT_LANDING
def test_many_at_once_are_stored_once_and_all_get_the_same_receipt(house: House, broker: Neighbour) -> None:
    parcel = broker.seal(broker.message())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: house.post(parcel), range(16)))
    assert len({answer.body for answer in answers}) == 1
    assert len(stored(house)) == 1


@pytest.mark.refusal("broker's software sends other content under a used message id")
@BOTH_AT_LANDING
def test_the_same_id_with_other_content_is_refused_and_the_first_stands(
    house: House, broker: Neighbour
) -> None:
    first = broker.message(content=b"<one/>")
    receipt = house.post(broker.seal(first))
    other = replace(first, payloads=(replace(first.payloads[0], octets=b"<two/>"),))
    answer = house.post(broker.seal(other))
    assert problem_of(broker, answer) == "GW312"
    assert house.post(broker.seal(first)).body != answer.body
    with read_transaction(house.engine) as conn:
        (row,) = messages.list_messages(conn)
        assert messages.find_response(conn, row.id) == receipt


@BOTH_AT_LANDING
def test_a_refused_message_leaves_no_row_and_may_come_again_corrected(
    house: House, broker: Neighbour
) -> None:
    unit = broker.message()
    good = broker.seal(unit)
    octets = good.body.open_stream().read()
    bad = Parcel(good.headers, MemoryBody(octets.replace(b"<a/>", b"<b/>")))
    assert problem_of(broker, house.post(bad)) == "GW202"
    assert stored(house) == []
    assert isinstance(broker.open(house.post(good), good).unit, Receipt)


@BOTH_AT_LANDING
def test_a_late_message_is_refused_but_a_late_repeat_is_receipted(house: House, broker: Neighbour) -> None:
    living = broker.seal(broker.message(expires_at=house.clock() + timedelta(minutes=1)))
    first = house.post(living)
    late = broker.seal(broker.message(expires_at=house.clock() + timedelta(minutes=1)))
    house.clock.forward(minutes=2)
    assert house.post(living) == first
    refused = broker.open(house.post(late)).unit
    assert isinstance(refused, ErrorSignal)
    assert refused.errors[0].code == "TimeToLiveExpired"
    assert len(stored(house)) == 1


@BOTH_AT_LANDING
@pytest.mark.parametrize("signed", [True, False])
def test_the_receipt_is_as_asked(engine: Engine, signed: bool) -> None:
    agreement = AGREEMENT.replace(b"ack_signed: always", b"ack_signed: per_message")
    house = House(engine, agreement=agreement)
    broker = Neighbour("broker1", house.clock, agreement)
    parcel = broker.seal(broker.message(ack_requested=AckRequest(signed=signed)))
    opened = broker.open(house.post(parcel), parcel)
    assert isinstance(opened.unit, Receipt)
    assert bool(opened.unit.references) is signed


@BOTH_AT_LANDING
def test_a_receipt_that_cannot_be_made_stores_no_message(
    house: House, broker: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a key that is away is waited for; after any other mistake the sender sends again."""
    parcel = broker.seal(broker.message())
    seal = EBMS2.seal

    def fail_for_receipts(units: tuple[Unit, ...], *more: Any) -> Parcel:
        if isinstance(units[0], Receipt):
            raise GatewayError(OUR_MISTAKE, "the receipt cannot be written")
        return seal(units, *more)

    with monkeypatch.context() as patch:
        patch.setattr(EBMS2, "seal", fail_for_receipts)
        answer = house.post(parcel)
    assert problem_of(broker, answer) == "GW901"
    assert stored(house) == []
    assert isinstance(broker.open(house.post(parcel), parcel).unit, Receipt)


@BOTH_AT_LANDING
def test_without_a_wish_for_a_receipt_there_is_none(engine: Engine) -> None:
    agreement = AGREEMENT.replace(b"ack_requested: always", b"ack_requested: per_message")
    house = House(engine, agreement=agreement)
    broker = Neighbour("broker1", house.clock, agreement)
    answer = house.post(broker.seal(broker.message(ack_requested=None)))
    assert (answer.status, answer.body) == (204, b"")
    assert len(stored(house)) == 1


@BOTH_AT_LANDING
def test_an_asynchronous_receipt_is_queued_again_for_a_repeat_when_it_has_gone(engine: Engine) -> None:
    """A sender whose endpoint is away repeats for days, and gets one receipt when it is back."""
    agreement = AGREEMENT.replace(b"mshSignalsOnly", b"none")
    house = House(engine, agreement=agreement)
    broker = Neighbour("broker1", house.clock, agreement)
    parcel = broker.seal(broker.message(sync_reply=False))
    for receipts in (1, 2):
        for _ in range(3):
            answer = house.post(parcel)
            assert (answer.status, answer.body) == (204, b"")
            house.clock.forward(seconds=1)
            with read_transaction(house.engine) as conn:
                queued = deliveries.list_deliveries(conn, agent="msh")
            assert len(queued) == receipts
        with write_transaction(house.engine) as conn:
            deliveries.cancel_delivery(conn, queued[0].id, house.clock(), "operator", "it has gone")
    assert len({row.payload_sha256 for row in queued}) == 1
    assert queued[0].parameters["endpoint"] == "http://127.0.0.1:8901/msh/ebms2"


@BOTH_AT_LANDING
def test_a_suspended_party_is_refused_at_its_next_message(house: House, broker: Neighbour) -> None:
    house.post(broker.seal(broker.message()))
    with write_transaction(house.engine) as conn:
        parties.set_party_status(conn, "broker1", "SUSPENDED")
    assert problem_of(broker, house.post(broker.seal(broker.message()))) == "GW302"
    house.hub.tally.store_counts()
    with write_transaction(house.engine) as conn:
        (counted,) = refusal_counts.list_refusals(conn)
        assert (counted.sender, counted.problem) == ("broker1", "GW302")
        assert counted.last_sentence == "party broker1 is suspended"
    with write_transaction(house.engine) as conn:
        parties.set_party_status(conn, "broker1", "ACTIVE")
    parcel = broker.seal(broker.message())
    assert isinstance(broker.open(house.post(parcel), parcel).unit, Receipt)


@BOTH_AT_LANDING
def test_a_suspended_agreement_ends_what_was_known(house: House, broker: Neighbour) -> None:
    house.post(broker.seal(broker.message()))
    with write_transaction(house.engine) as conn:
        agreements.set_agreement_status(conn, "urn:example:agreement:broker1-hub:2026", "SUSPENDED")
    answer = house.post(broker.seal(broker.message()))
    assert b"GW301" in answer.body
    assert len(stored(house)) == 1


@BOTH_AT_LANDING
def test_a_change_between_judging_and_storing_is_noticed(
    house: House, broker: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The register changes after the message was judged good: the transaction sees it."""
    house.post(broker.seal(broker.message()))
    real = EBMS2.make_receipt

    def suspend_first(*arguments: object) -> object:
        with write_transaction(house.engine) as conn:
            parties.set_party_status(conn, "broker1", "SUSPENDED")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(EBMS2, "make_receipt", suspend_first)
    assert problem_of(broker, house.post(broker.seal(broker.message()))) == "GW302"
    assert len(stored(house)) == 1


@pytest.mark.refusal("broker's software signs for another party")
@BOTH_AT_LANDING
def test_a_party_signs_for_itself_only(house: House, broker: Neighbour) -> None:
    with write_transaction(house.engine) as conn:
        parties.register_party(conn, "stranger", "Stranger", "applicant", house.clock())
    stranger = Neighbour("stranger", house.clock)
    context = stranger.context()
    unit = broker.message()
    pmode = next(one for one in context.agreements.pmodes if one.action == "Store")
    impostor = replace(context, signers={"broker1": context.signers["stranger"]})
    answer = house.post(EBMS2.seal((unit,), pmode, impostor))
    assert problem_of(broker, answer) == "GW209"
    assert stored(house) == []


@BOTH_AT_LANDING
def test_ping_is_answered_and_not_stored(house: House, broker: Neighbour) -> None:
    store = broker.message()
    ping = Ping(
        "ping1@broker1", "c1", store.sender, store.receiver, store.agreement, house.clock(), sync_reply=True
    )
    pong = broker.open(house.post(EBMS2.seal((ping,), None, broker.context()))).unit
    assert isinstance(pong, Pong)
    assert pong.ref_to_message_id == "ping1@broker1"
    assert stored(house) == []


def question(
    house: House, broker: Neighbour, about: str, sign: str | None, agreement: str | None = None
) -> Parcel:
    """Return a StatusRequest about a message, under an agreement, signed by `sign` or by nobody."""
    unit, pmode = broker.message(), pmodes(broker.agreement)[0]
    request = StatusRequest(
        f"s-{about}",
        "c1",
        unit.sender,
        unit.receiver,
        agreement or unit.agreement,
        house.clock(),
        queried_message_id=about,
        sync_reply=True,
    )
    context = replace(broker.context(), signers={"broker1": signer_named(sign)} if sign else {})
    return EBMS2.seal((request,), pmode if sign else None, context)


def ask(house: House, broker: Neighbour, about: str, sign: str | None = "broker1") -> StatusResponse:
    """Ask for the status of a message by a question that `sign` has signed, or nobody."""
    answer = broker.open(house.post(question(house, broker, about, sign))).unit
    assert isinstance(answer, StatusResponse)
    return answer


@BOTH_AT_LANDING
def test_status_is_told_of_ones_own_messages(house: House, broker: Neighbour) -> None:
    unit = broker.message()
    house.post(broker.seal(unit))
    told = ask(house, broker, unit.message_id)
    assert (told.status, told.received_at) == ("Received", house.clock())
    assert (ask(house, broker, "other@x").status, ask(house, broker, "other@x").received_at) == (
        "NotRecognized",
        None,
    )


@BOTH_AT_LANDING
def test_status_is_told_to_nobody_who_only_knows_an_id(house: House, broker: Neighbour) -> None:
    """Known or unknown: to a question that nobody signed there is one answer."""
    unit = broker.message()
    house.post(broker.seal(unit))
    for about in (unit.message_id, "other@x"):
        told = ask(house, broker, about, sign=None)
        assert (told.status, told.received_at, told.queried_message_id) == ("UnAuthorized", None, about)


@BOTH_AT_LANDING
def test_under_an_unknown_agreement_no_status_is_told(house: House, broker: Neighbour) -> None:
    unit = broker.message()
    house.post(broker.seal(unit))
    for about in (unit.message_id, "other@x"):
        answer = house.post(question(house, broker, about, "broker1", agreement="none-of-ours"))
        assert b'errorCode="ValueNotRecognized"' in answer.body
        assert b"GW301" in answer.body


@BOTH_AT_LANDING
def test_who_sends_through_a_hop_asks_it_there_about_passing_messages_only(
    house: House, broker: Neighbour
) -> None:
    """The hub is a handler on the way for this broker: the agreement of its question is not looked at."""
    route = ForwardingRule(PartyId("next", PARTY_TYPE), "next", "http://next.example/", ("broker1",))
    with write_transaction(house.engine) as conn:
        parties.register_party(conn, "next", "Next", "hub", house.clock(), [route.to])
        agreements.insert_forwarding_rule(conn, make_rule_columns(route), house.clock())
    unit = broker.message()
    house.post(broker.seal(unit))
    answer = house.post(question(house, broker, unit.message_id, "broker1", agreement="none-of-ours"))
    assert b'messageStatus="NotRecognized"' in answer.body
    assert ask(house, broker, unit.message_id).status == "Received"


@BOTH_AT_LANDING
@pytest.mark.parametrize("terms", [b"sign: true\n    sign_status: false", b"sign: false"])
def test_an_agreement_may_let_questions_go_unsigned(engine: Engine, terms: bytes) -> None:
    agreement = AGREEMENT.replace(b"sign: true ", terms + b" ")
    house = House(engine, agreement=agreement)
    broker = Neighbour("broker1", house.clock, agreement)
    unit = broker.message()
    house.post(broker.seal(unit))
    assert ask(house, broker, unit.message_id, sign=None).status == "Received"


@BOTH_AT_LANDING
@pytest.mark.parametrize(
    "other", ["signal_outbox.has_queue_room", "outgoing_calls.RefusalQuota.acquire_slot"]
)
def test_questions_that_anybody_can_send_do_not_fill_the_queue(
    engine: Engine, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer by a POST of ours leaves rows: so many wait, so many an hour, the rest go back at once."""
    monkeypatch.setattr(f"gateway.hub.outbox.{other}", lambda *_: True)
    agreement = AGREEMENT.replace(b"sync_reply_mode: mshSignalsOnly", b"sync_reply_mode: none")
    house = House(engine, agreement=agreement)
    unit = Neighbour("broker1", house.clock, agreement).message()
    context = Neighbour("broker1", house.clock, agreement).context()

    def ping(number: int) -> HttpResponse:
        one = Ping(f"p{number}@x", "c1", unit.sender, unit.receiver, unit.agreement, house.clock())
        return house.post(EBMS2.seal((one,), None, context))

    assert [ping(number).status for number in range(201)] == 200 * [204] + [200]
    with read_transaction(engine) as conn:
        assert conn.execute(select(func.count()).select_from(tables.deliveries)).scalar_one() == 200
    # What was answered at once is answered like the others.
    assert b"Pong" in ping(202).body


@BOTH_AT_LANDING
def test_what_nobody_asked_for_is_not_answered(house: House, broker: Neighbour) -> None:
    unit = broker.message()
    parcel = broker.seal(unit)
    hub_answer = house.post(parcel)
    # Our own Acknowledgment, thrown back at us: about nothing that we sent.
    back = house.post(Parcel(hub_answer.headers, MemoryBody(hub_answer.body)))
    assert back.status in (200, 204)
    assert b"Acknowledgment" not in back.body


@BOTH_AT_LANDING
@pytest.mark.parametrize(
    "octets",
    [b"", b"x", b"<a/>", b"\x00" * 1000, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"<a>" * 100_000],
)
def test_garbage_is_answered_by_a_fault_that_shows_no_inside(house: House, octets: bytes) -> None:
    answer = house.post(Parcel({"Content-Type": "text/xml"}, MemoryBody(octets)))
    assert answer.status >= 400
    assert b"Fault" in answer.body
    assert b"Traceback" not in answer.body
    assert stored(house) == []


@BOTH_AT_LANDING
def test_a_message_for_the_case_desk_is_queued_in_the_same_transaction(
    house: House, broker: Neighbour
) -> None:
    house.post(broker.seal(broker.message("Submit")))
    with write_transaction(house.engine) as conn:
        (lease,) = claim_deliveries(conn, "local", "me", house.clock(), house.clock() + timedelta(minutes=1))
    assert (lease.agent, lease.parameters["task"]) == ("local", "admit")

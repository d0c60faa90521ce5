"""Messages of AS4 that their partner pulls: a broker without a server gets its whole case so."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cli.registration import register_certificate
from gateway.errors import SIGNATURE_INVALID, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, Party, PullRequest, Receipt, UserMessage
from gateway.operations import load_unchecked_agreement
from gateway.protocols import OpenedMessage, Parcel, as4
from gateway.state_machines import DELIVERY
from gateway.store import HttpResponse, lanes, read_transaction, write_transaction
from gateway.wire import EB3
from gateway.xmlsec.algorithms import ECDSA_SHA256, ECDSA_SHA384
from tests.flows.craft import without_applications
from tests.flows.test_as4 import read_errors, result_delivery
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.house import AS4, House, Neighbour, pmodes, signer_named
from tests.kit.kills import die_at
from tests.kit.story import Story
from tests.protocols.as4_samples import change_tree
from tests.protocols.test_as4_security import name_by

DEFAULT_MPC = f"{EB3}defaultMPC"
CHANNEL = "urn:example:channel:results"
PULL = f", mpc: {CHANNEL}, pull: {{authorization: certificate}}}}".encode()
#: The broker takes no messages: Results and Notices wait until it pulls them.
PULLED = (
    AS4.replace(b"    endpoint: http://127.0.0.1:8901/msh/as4\n", b"")
    .replace(b"action: Result}", b"action: Result" + PULL)
    .replace(b"action: Notice}", b"action: Notice" + PULL)
)
SHA384_AGREED = f"sign: true\n    signature_algorithm: {ECDSA_SHA384}".encode()
numbers = itertools.count(1)


def ask(broker: Neighbour, channel: str | None = CHANNEL, **changes: Any) -> PullRequest:
    """Return a PullRequest of the broker."""
    context = broker.context()
    party = pmodes(AS4)[0].sender
    unit = PullRequest(
        message_id=f"q{next(numbers)}@{broker.name}.example", conversation_id="", sender=party,
        receiver=Party(()), agreement="", timestamp=context.now, mpc=channel,
    )  # fmt: skip
    return replace(unit, **changes)


def seal(broker: Neighbour, unit: PullRequest | Receipt) -> Parcel:
    return as4.seal((unit,), None, broker.context())


def pull(house: House, broker: Neighbour, unit: PullRequest | None = None) -> HttpResponse:
    return house.post(seal(broker, unit or ask(broker)))


def open_pulled(broker: Neighbour, answer: HttpResponse) -> OpenedMessage:
    """Open a pulled message, which was sealed under terms of pulling, as its receiver does."""
    context = broker.context()
    opened = as4.verify_parcel(Parcel(answer.headers, MemoryBody(answer.body)), "strict", context)
    assert isinstance(opened.unit, UserMessage)
    return opened


def acknowledge(house: House, broker: Neighbour, opened: OpenedMessage) -> HttpResponse:
    return house.post(seal(broker, as4.make_receipt(opened, broker.context())))


def as_parcel(envelope: bytes) -> Parcel:
    return Parcel({"Content-Type": "application/soap+xml"}, MemoryBody(envelope))


def code(answer: HttpResponse) -> tuple[str, str]:
    (error,) = read_errors(answer)
    return error["errorCode"], error["severity"]


@pytest.fixture
def story(engine: Engine) -> Story:
    found = Story(engine, customs=False, agreement=PULLED)
    found.submit(found.submission(without_applications), attach=False, sync_reply=True)
    found.tick(seconds=1)
    return found


@BOTH_AT_LANDING
def test_a_whole_case_is_pulled_and_each_message_waits_for_its_receipt(story: Story) -> None:
    house, broker = story.house, story.broker
    assert story.case().state == "DECIDED"
    assert not story.inbox.octets
    told = []
    while True:
        answer = pull(house, broker)
        if b":PartyInfo" not in answer.body:
            break
        opened = open_pulled(broker, answer)
        told.append(opened.unit.action)  # type: ignore[union-attr]
        assert opened.unit.mpc == CHANNEL  # type: ignore[union-attr]
        # The next one in the order of the case is handed out when this one is acknowledged.
        assert code(pull(house, broker)) == ("EBMS:0006", "warning")
        assert acknowledge(house, broker, opened).status == 204
        story.tick(seconds=1)
    assert told[-1] == "Result"
    assert code(answer) == ("EBMS:0006", "warning")
    row = result_delivery(story)
    assert row.state == "DELIVERED"
    assert story.evidence("delivery", row.id) == ["NRR"]
    assert story.case().state == "CLOSED"
    assert [event for event, _ in story.steps(DELIVERY, row.id)] == ["lease", "sent", "receipt"]


def test_the_receipt_of_a_pulled_message_may_be_agreed_as_callback(engine: Engine) -> None:
    callback = PULLED.replace(b"certificate}}", b"certificate}, reply_pattern: callback}")
    # The receipt goes where the PullRequest went: the agreement need not say where that is.
    callback = callback.replace(b"    endpoint: http://127.0.0.1:8900/msh/as4\n", b"")
    story = Story(engine, customs=False, agreement=callback)
    story.submit(story.submission(without_applications), attach=False, sync_reply=True)
    story.tick(seconds=1)
    opened = open_pulled(story.broker, pull(story.house, story.broker))
    assert acknowledge(story.house, story.broker, opened).status == 204
    assert "DELIVERED" in {row.state for row in story.deliveries(agent="msh")}


@pytest.mark.long
def test_a_receipt_beside_the_next_request_counts(story: Story) -> None:
    house, broker = story.house, story.broker
    context = broker.context()
    first = open_pulled(broker, pull(house, broker))
    receipt = as4.make_receipt(first, context)
    foreign = replace(receipt, ref_to_message_id="none@hub.example")
    asked = ask(broker)
    refused = house.post(as4.seal((asked, foreign), None, context))
    # Each unit has its error: the receipt that is wrong, and what is refused for that.
    assert {one["errorCode"]: one["refToMessageInError"] for one in read_errors(refused)} == {
        "EBMS:0001": read_bundled_id(as4.seal((asked, foreign), None, context)),
        "EBMS:0031": asked.message_id,
    }
    assert code(house.post(as4.seal((ask(broker), receipt), None, context)))[0] == "EBMS:0006"
    assert {row.state for row in story.deliveries(agent="msh")} == {"DELIVERED"}


def test_a_receipt_beside_a_business_message_counts(story: Story) -> None:
    context = story.broker.context()
    receipt = as4.make_receipt(open_pulled(story.broker, pull(story.house, story.broker)), context)
    unit = story.broker.message(mpc="urn:example:channel:store")
    answer = story.house.post(as4.seal((unit, receipt), None, context))
    assert b"NonRepudiationInformation" in answer.body
    assert {row.state for row in story.deliveries(agent="msh")} == {"DELIVERED"}


def test_a_wrong_receipt_beside_a_business_message_is_the_unit_in_error(story: Story) -> None:
    broker, context = story.broker, story.broker.context()
    receipt = as4.make_receipt(open_pulled(broker, pull(story.house, broker)), context)
    unit = broker.message(mpc="urn:example:channel:store")
    parcel = as4.seal((unit, replace(receipt, references=receipt.references[1:])), None, context)
    answer = story.house.post(parcel)
    errors = {one["errorCode"]: one for one in read_errors(answer)}
    assert {name: one["refToMessageInError"] for name, one in errors.items()} == {
        "EBMS:0302": read_bundled_id(parcel), "EBMS:0031": unit.message_id,
    }  # fmt: skip
    assert errors["EBMS:0031"]["shortDescription"] == "RelatedMessageFailed"
    # The sender of the message reads the error about it, signed.
    opened = broker.open(answer, parcel)
    assert isinstance(opened.unit, ErrorSignal)
    assert (opened.unit.errors[0].code, opened.verified_signature is not None) == ("EBMS:0031", True)
    # The message itself is right, and may be sent again.
    assert b"NonRepudiationInformation" in story.house.post(as4.seal((unit,), None, context)).body
    lost = replace(receipt, ref_to_message_id="none@hub.example")
    told = story.house.post(as4.seal((unit, lost), None, context))
    assert b"/eb3:SignalMessage/eb3:MessageInfo/eb3:RefToMessageId</eb3:ErrorDetail>" in told.body


def test_an_error_for_nothing_of_ours_takes_nothing_down_beside_it(story: Story) -> None:
    broker, context = story.broker, story.broker.context()
    unit = broker.message(mpc="urn:example:channel:store")
    signal = as4.make_error_signal(GatewayError(SIGNATURE_INVALID, "no", "//x"), unit, context)
    assert signal is not None
    lost = replace(signal, ref_to_message_id="none@hub.example")
    answer = story.house.post(as4.seal((unit, lost), None, context))
    assert b"NonRepudiationInformation" in answer.body


def read_bundled_id(parcel: Parcel) -> str:
    """Return the MessageId of the signal in a bundle."""
    root = etree.fromstring(
        parcel.read_octets()[parcel.read_octets().index(b"<soap12:Envelope") :].partition(
            b"</soap12:Envelope>"
        )[0]
        + b"</soap12:Envelope>"
    )
    return root.findtext(f".//{{{EB3}}}SignalMessage/{{{EB3}}}MessageInfo/{{{EB3}}}MessageId") or ""


def test_a_lost_answer_is_given_again_with_the_same_octets(story: Story) -> None:
    house, broker = story.house, story.broker
    first = pull(house, broker)
    story.tick(seconds=299)
    assert code(pull(house, broker)) == ("EBMS:0006", "warning")
    story.tick(seconds=2)
    again = pull(house, broker, ask(broker, timestamp=story.clock()))
    assert again == first
    opened = open_pulled(broker, again)
    # A receipt that lacks a digest, or is another's, ends nothing.
    receipt = as4.make_receipt(opened, broker.context())
    short = replace(receipt, references=receipt.references[:1])
    assert code(house.post(seal(broker, short)))[0] == "EBMS:0302"
    assert acknowledge(house, broker, opened).status == 204


@pytest.mark.long
def test_after_the_last_try_the_receipt_is_missing(story: Story) -> None:
    house, broker = story.house, story.broker
    for _ in range(4):
        assert b":PartyInfo" in pull(house, broker).body
        story.tick(seconds=301)
    assert code(pull(house, broker)) == ("EBMS:0006", "warning")
    (row,) = story.deliveries(agent="msh", state="FAILED")
    assert row.tries == 4
    assert "no receipt in time" in row.last_sentence
    assert story.evidence("delivery", row.id) == ["DeliveryFailure"]


@pytest.mark.long
def test_what_nobody_pulls_fails_when_the_time_of_the_agreement_is_over(story: Story) -> None:
    story.tick(seconds=432_000 - 2)
    assert not story.deliveries(agent="msh", state="FAILED")
    story.tick(seconds=2)
    (row, *_) = story.deliveries(agent="msh", state="FAILED")
    assert row.tries == 0


def test_who_may_not_pull_gets_nothing(story: Story) -> None:
    house, broker = story.house, story.broker
    good = ask(broker)
    bare = seal(broker, good).read_octets()
    start, end = bare.index(b"<wsse:Security"), bare.index(b"</wsse:Security>") + len(b"</wsse:Security>")
    stranger = replace(broker.context(), signers={"broker1": signer_named("hub")})
    for parcel, problem in (
        (as_parcel(bare[:start] + bare[end:]), b"GW340 nobody signed"),
        (as4.seal((good,), None, stranger), b"GW340 CN=hub"),
        (seal(broker, ask(broker, "urn:example:channel:other")), b"GW340 CN=broker1"),
        (seal(broker, ask(broker, None)), b"GW340 CN=broker1"),
        (as_parcel(bare.replace(b"channel:results", b"channel:resultx")), b"GW340"),
        (as_parcel(bare.replace(b"<eb3:MessageId>q", b"<eb3:MessageId>r")), b"GW202"),
    ):  # fmt: skip
        answer = house.post(parcel)
        assert code(answer) == ("EBMS:0101", "failure")
        assert problem in answer.body
    assert b":PartyInfo" in house.post(seal(broker, good)).body


def test_a_request_counts_once_and_is_of_now(story: Story) -> None:
    house, broker = story.house, story.broker
    parcel = seal(broker, ask(broker))
    assert b":PartyInfo" in house.post(parcel).body
    story.tick(seconds=301)
    # The recorded request would bring the message again.
    story.clock.forward(seconds=-10)
    answer = house.post(parcel)
    assert (code(answer)[0], b"GW341 a PullRequest with this MessageId" in answer.body) == ("EBMS:0101", True)
    story.clock.forward(minutes=20)
    assert b"GW341 its time is" in house.post(parcel).body
    ahead = ask(broker, timestamp=story.clock() + timedelta(minutes=2))
    assert b"GW341 its time is" in pull(house, broker, ahead).body


def test_a_message_that_is_pulled_is_neither_posted_nor_accepted_by_a_post(story: Story) -> None:
    assert not story.inbox.octets
    lane = f"pull:broker1:{CHANNEL}"
    with read_transaction(story.house.engine) as conn:
        assert lane not in {one.name for one in lanes.list_due_lanes(conn, story.clock())}


def test_a_message_that_is_agreed_to_be_pulled_is_refused_when_it_is_posted(engine: Engine) -> None:
    agreed = AS4.replace(
        b"mpc: urn:example:channel:store",
        f"mpc: {CHANNEL}\n    pull: {{authorization: certificate}}".encode(),
    )
    house = House(engine, agreement=agreed)
    broker = Neighbour("broker1", house.clock, agreed)
    answer = house.post(broker.seal(broker.message()))
    assert (code(answer)[0], b"GW303 messages of this kind must be pulled" in answer.body) == (
        "EBMS:0010",
        True,
    )


def test_a_held_lane_hands_out_nothing(story: Story) -> None:
    lane = f"pull:broker1:{CHANNEL}"
    with write_transaction(story.house.engine) as conn:
        lanes.hold_lane(conn, lane, story.clock(), "op", "why")
    assert code(pull(story.house, story.broker))[0] == "EBMS:0006"


def test_a_sub_channel_is_named_by_the_request_and_not_by_the_message(engine: Engine) -> None:
    agreement = PULLED.replace(
        b"authorization: certificate}", b"authorization: certificate, sub_channel: b1}"
    )
    story = Story(engine, customs=False, agreement=agreement)
    story.submit(story.submission(without_applications), attach=False, sync_reply=True)
    story.tick(seconds=1)
    assert code(pull(story.house, story.broker))[0] == "EBMS:0101"
    opened = open_pulled(story.broker, pull(story.house, story.broker, ask(story.broker, f"{CHANNEL}/b1")))
    assert opened.unit.mpc == CHANNEL  # type: ignore[union-attr]


@pytest.mark.parametrize("agreed", ["", f", mpc: {DEFAULT_MPC}"], ids=["not agreed", "agreed"])
@pytest.mark.parametrize("asked", [None, DEFAULT_MPC], ids=["not named", "named"])
def test_the_default_channel_is_one_whether_it_is_named_or_not(
    engine: Engine, agreed: str, asked: str | None
) -> None:
    agreement = PULLED.replace(f", mpc: {CHANNEL}, pull".encode(), f"{agreed}, pull".encode())
    story = Story(engine, customs=False, agreement=agreement)
    story.submit(story.submission(without_applications), attach=False, sync_reply=True)
    story.tick(seconds=1)
    assert b":PartyInfo" in pull(story.house, story.broker, ask(story.broker, asked)).body


@pytest.mark.parametrize("signer", ["broker1", "broker1 renewed"])
def test_each_certificate_of_a_party_may_be_named_without_being_contained(story: Story, signer: str) -> None:
    renewed = signer_named("broker1 renewed")
    with write_transaction(story.house.engine) as conn:
        register_certificate(conn, "broker1", renewed.certificate.der, story.clock())
    context = replace(story.broker.context(), signers={"broker1": signer_named(signer)})
    parcel = as4.seal((ask(story.broker),), None, context)
    named = change_tree(parcel, name_by("key", signer_named(signer).certificate))
    assert b":PartyInfo" in story.house.post(named).body


def pin_certificate(agreement: bytes, signer_name: str | None) -> bytes:
    """Return an agreement that names the certificate of a signer as the only one of the broker."""
    if signer_name is None:
        return agreement
    pin = f"    role: Applicant\n    certificates: [{signer_named(signer_name).certificate.sha256}]\n"
    return agreement.replace(b"    role: Applicant", pin.encode(), 1)


@pytest.mark.parametrize("pinned", ["broker1", "broker1 renewed"])
def test_where_certificates_are_pinned_another_one_of_the_party_pulls_nothing(
    engine: Engine, pinned: str
) -> None:
    house = House(engine, agreement=pin_certificate(PULLED, pinned))
    broker = Neighbour("broker1", house.clock, PULLED)
    with write_transaction(engine) as conn:
        register_certificate(conn, "broker1", signer_named("broker1 renewed").certificate.der, house.clock())
    for signer in ("broker1", "broker1 renewed"):
        context = replace(broker.context(), signers={"broker1": signer_named(signer)})
        answer = house.post(as4.seal((ask(broker),), None, context))
        assert (b"GW340 the agreement pins another certificate" in answer.body) == (signer != pinned)
        assert code(answer)[0] == ("EBMS:0006" if signer == pinned else "EBMS:0101")


def name_second_agreement(agreement: bytes) -> bytes:
    """Return an agreement as another one of the same parties, about another service."""
    return (
        agreement.replace(b"broker1-hub:as4:2026", b"broker1-hub:as4:second")
        .replace(b"{id: broker1-", b"{id: second-")
        .replace(b"id: broker1-store", b"id: second-store")
        .replace(b"services:declaration", b"services:second")
        .replace(b"value: store", b"value: second")
    )


def open_house_of_two(engine: Engine, first: bytes, second: bytes) -> tuple[House, Neighbour]:
    """Return a hub with two agreements about one channel, and the partner, which has two certificates."""
    house = House(engine, agreement=first)
    with write_transaction(engine) as conn:
        load_unchecked_agreement(conn, name_second_agreement(second), "second.yaml", house.clock())
        register_certificate(conn, "broker1", signer_named("broker1 renewed").certificate.der, house.clock())
    return house, Neighbour("broker1", house.clock, PULLED)


@pytest.mark.parametrize(
    ("stricter_terms", "problem"),
    [
        (pin_certificate(PULLED, "broker1 renewed"), b"GW209 the agreement pins another certificate"),
        (PULLED.replace(b"sign: true", SHA384_AGREED), b"GW204 the agreed signature algorithm is"),
    ],
    ids=["certificate", "algorithm"],
)
def test_a_receipt_beside_a_message_is_signed_as_it_was_agreed_of_what_it_acknowledges(
    story: Story, stricter_terms: bytes, problem: bytes
) -> None:
    """The agreement of the message beside it permits that signature; that of the pulled message does not."""
    receipt = as4.make_receipt(
        open_pulled(story.broker, pull(story.house, story.broker)), story.broker.context()
    )
    second_agreement = name_second_agreement(PULLED)
    with write_transaction(story.house.engine) as conn:
        load_unchecked_agreement(conn, second_agreement, "second.yaml", story.clock())
        load_unchecked_agreement(conn, stricter_terms, "stricter.yaml", story.clock())
    broker = Neighbour("broker1", story.clock, second_agreement, story.broker.numbers)
    unit = broker.message(mpc="urn:example:channel:store")
    answer = story.house.post(as4.seal((unit, receipt), None, broker.context()))
    assert problem in answer.body
    assert "DELIVERED" not in {row.state for row in story.deliveries(agent="msh")}
    # The message alone is as agreed.
    assert b"NonRepudiationInformation" in story.house.post(broker.seal(unit)).body


@pytest.mark.parametrize(
    ("first_pin", "second_pin", "accepted_signers"),
    [
        ("broker1", None, ["broker1"]),
        (None, "broker1 renewed", ["broker1 renewed"]),
        ("broker1", "broker1", ["broker1"]),
        ("broker1", "broker1 renewed", []),
        ("broker1 renewed", "broker1", []),
        (None, None, ["broker1", "broker1 renewed"]),
    ],
)
def test_each_agreement_about_a_channel_must_accept_the_certificate_of_who_pulls(
    engine: Engine, first_pin: str | None, second_pin: str | None, accepted_signers: list[str]
) -> None:
    """The messages of both wait in one queue: who may pull those of one would get those of the other."""
    house, broker = open_house_of_two(
        engine, pin_certificate(PULLED, first_pin), pin_certificate(PULLED, second_pin)
    )
    for signer in ("broker1", "broker1 renewed"):
        context = replace(broker.context(), signers={"broker1": signer_named(signer)})
        answer = house.post(as4.seal((ask(broker),), None, context))
        is_refused = b"GW340 the agreement pins another certificate" in answer.body
        assert (signer in accepted_signers) != is_refused
        assert code(answer)[0] == ("EBMS:0101" if is_refused else "EBMS:0006")


@pytest.mark.parametrize("stricter", ["first", "second"])
@pytest.mark.parametrize(
    ("term", "stricter_term", "problem", "error_code"),
    [
        ("sign: true", SHA384_AGREED.decode(), "GW204", "EBMS:0103"),
        ("pull: {authorization: certificate", "pull: {authorization: both", "GW340", "EBMS:0101"),
        ("pull: {authorization: certificate", "pull: {authorization: username", "GW340", "EBMS:0101"),
    ],
    ids=["algorithm", "certificate and login", "login"],
)
def test_each_agreement_about_a_channel_must_accept_how_it_is_pulled(
    engine: Engine, stricter: str, term: str, stricter_term: str, problem: str, error_code: str
) -> None:
    strict = PULLED.replace(term.encode(), stricter_term.encode())
    assert strict != PULLED
    agreements = (strict, PULLED) if stricter == "first" else (PULLED, strict)
    house, broker = open_house_of_two(engine, *agreements)
    answer = house.post(seal(broker, ask(broker)))
    assert problem.encode() in answer.body
    assert code(answer)[0] == error_code


@pytest.mark.parametrize("agreed", [ECDSA_SHA256, ECDSA_SHA384])
def test_a_request_is_signed_by_the_agreed_algorithm(engine: Engine, agreed: str) -> None:
    terms = PULLED.replace(b"sign: true\n", f"sign: true\n    signature_algorithm: {agreed}\n".encode())
    assert terms != PULLED
    house = House(engine, agreement=terms)
    broker = Neighbour("broker1", house.clock, terms)
    answer = house.post(seal(broker, ask(broker)))
    if agreed == ECDSA_SHA256:
        assert code(answer)[0] == "EBMS:0006"
    else:
        assert b"GW204 the agreed signature algorithm is" in answer.body


@in_turn
@pytest.mark.long
def test_a_kill_at_the_hand_out_loses_nothing(story: Story) -> None:
    house, broker = story.house, story.broker
    for place in ("pull.hand_out.before_commit", "pull.hand_out.after_commit"):
        parcel = seal(broker, ask(broker))
        die_at(story, place, lambda hub, parcel=parcel: house.post(parcel, hub))  # type: ignore[misc]
        story.tick(seconds=301)
    answer = pull(house, broker)
    assert acknowledge(house, broker, open_pulled(broker, answer)).status == 204
    (row, *_) = story.deliveries(agent="msh")
    assert (row.state, row.tries) == ("DELIVERED", 2)
    assert story.evidence("delivery", row.id) == ["NRR"]


@in_turn
@pytest.mark.long
def test_requests_at_one_instant_get_different_messages(engine: Engine) -> None:
    story = Story(engine, customs=False, agreement=PULLED.replace(b"  - {id: broker1-notice", b"#"))
    for _ in range(6):
        story.submit(story.submission(without_applications), attach=False, sync_reply=True)
        story.tick(seconds=1)
    parcels = [seal(story.broker, ask(story.broker)) for _ in range(10)]
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(story.house.post, parcels))
    bodies = [one.body for one in answers if b":PartyInfo" in one.body]
    assert len(bodies) == len(set(bodies)) == len(story.deliveries(agent="msh"))


def add_partner(story: Story) -> Neighbour:
    """Register broker2, which pulls from the same channel by an agreement of its own."""
    story.register("broker2")
    theirs = (
        PULLED.replace(b"value: broker1", b"value: broker2")
        .replace(b"broker1-hub", b"broker2-hub")
        .replace(b"id: broker1-", b"id: broker2-")
    )
    with write_transaction(story.house.engine) as conn:
        load_unchecked_agreement(conn, theirs, "broker2.yaml", story.clock())
    return Neighbour("broker2", story.clock, theirs)


def test_two_partners_on_one_channel_get_their_own(story: Story) -> None:
    second = add_partner(story)
    request = replace(ask(second), sender=pmodes(second.agreement)[0].sender)
    assert code(pull(story.house, second, request))[0] == "EBMS:0006"
    assert b":PartyInfo" in pull(story.house, story.broker).body


@pytest.mark.parametrize("beside", ["a message", "a request"])
def test_a_receipt_of_what_was_sent_to_another_party_is_refused_beside_what_is_right(
    story: Story, beside: str
) -> None:
    """Who has seen the digests of a message cannot say that its receiver has it."""
    second = add_partner(story)
    context = second.context()
    opened = open_pulled(story.broker, pull(story.house, story.broker))
    receipt = replace(as4.make_receipt(opened, context), sender=pmodes(second.agreement)[0].sender)
    message = second.message(mpc="urn:example:channel:store")
    request = replace(ask(second), sender=pmodes(second.agreement)[0].sender)
    unit = message if beside == "a message" else request
    answer = story.house.post(as4.seal((unit, receipt), None, context))
    assert b"GW209 the answer is about a message to another party" in answer.body
    assert {error["errorCode"] for error in read_errors(answer)} == {"EBMS:0101", "EBMS:0031"}
    assert "AWAITING_RECEIPT" in {row.state for row in story.deliveries(agent="msh")}
    assert "DELIVERED" not in {row.state for row in story.deliveries(agent="msh")}
    # Its receiver may acknowledge it, then as before.
    assert acknowledge(story.house, story.broker, opened).status == 204
    assert "DELIVERED" in {row.state for row in story.deliveries(agent="msh")}


def test_an_error_about_what_was_sent_to_another_party_is_left_out(story: Story) -> None:
    """An error gets no answer; the message beside it is taken, and the delivery goes on."""
    second = add_partner(story)
    context = second.context()
    opened = open_pulled(story.broker, pull(story.house, story.broker))
    signal = as4.make_error_signal(GatewayError(SIGNATURE_INVALID, "no", "//x"), opened.unit, context)
    assert signal is not None
    signal = replace(signal, sender=pmodes(second.agreement)[0].sender)
    message = second.message(mpc="urn:example:channel:store")
    answer = story.house.post(as4.seal((message, signal), None, context))
    assert b"NonRepudiationInformation" in answer.body
    assert {row.state for row in story.deliveries(agent="msh")} <= {"AWAITING_RECEIPT", "READY"}

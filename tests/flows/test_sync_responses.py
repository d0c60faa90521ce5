"""The response in the HTTP answer: on time, too late, lost on the way, repeated; and ours as a client."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.config import NeedSettings
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import OBJECT_MISSING, GatewayError
from gateway.hub import PendingResponse, WaitingRequest
from gateway.hub.intake.response_watch import ResponseLimits, ResponseWatch
from gateway.hub.outbox.response_bundle import get_response_wait
from gateway.message_model import ErrorSignal, Receipt, UserMessage
from gateway.protocols import Parcel
from gateway.state_machines import DELIVERY
from gateway.store import HttpResponse, messages, read_transaction
from gateway.store.deliveries import hold_delivery
from gateway.wire import serialize_element
from tests.flows.craft import Change, without_applications
from tests.flows.test_declaration_rules import set_tariff_code
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT, EBMS2, pmodes
from tests.kit.kills import die_at
from tests.kit.story import Story

_QUIET = b"\n".join(line for line in AGREEMENT.splitlines() if b"broker1-notice" not in line) + b"\n"
_NO_ACK = b"reliability: {ack_requested: never, ack_signed: never}, sync_reply_mode: none}"
#: The Result asks for no receipt of its own: none could be given on its connection.
SIGNALS_AND_RESPONSE = _QUIET.replace(b"mshSignalsOnly", b"signalsAndResponse").replace(
    b"action: Result}", b"action: Result, " + _NO_ACK
)
ALONE = SIGNALS_AND_RESPONSE.replace(b"signalsAndResponse", b"responseOnly")


class Asking:
    """A story whose applicant waits for the response to its submission."""

    def __init__(self, engine: Engine, agreement: bytes, change: Change = without_applications) -> None:
        self.story = Story(engine, customs=False, agreement=agreement)
        # A declaration alone: its goods would need documents.
        self.story.hub.need_policy = NeedSettings(test_edition=False)
        root = self.story.submission(change)
        self.unit = self.story.broker.message("Submit", serialize_element(root))
        self.parcel = self.story.broker.seal(self.unit)
        self.fallback = self.post()

    def post(self) -> HttpResponse:
        return self.story.house.post(self.parcel)

    def wait(self) -> WaitingRequest:
        assert isinstance(self.fallback, PendingResponse)
        waiting = self.story.hub.responses.begin_wait(self.fallback)
        assert waiting is not None
        return waiting

    def open(self, answer: HttpResponse | None) -> tuple[Any, ...]:
        assert answer is not None
        return self.story.broker.open(answer, self.parcel).units

    def result(self) -> Any:
        (found,) = (row for row in self.story.deliveries(agent="msh") if row.parameters.get("action"))
        return found

    def steps(self) -> list[tuple[str, str]]:
        return self.story.steps(DELIVERY, self.result().id)


@pytest.fixture
def asking(engine: Engine) -> Asking:
    return Asking(engine, SIGNALS_AND_RESPONSE)


@BOTH
def test_receipt_and_response_are_one_signed_envelope(asking: Asking) -> None:
    waiting = asking.wait()
    assert waiting.read_response() is None
    asking.story.tick(seconds=1)
    assert asking.story.inbox.octets == []
    units = asking.open(waiting.read_response())
    assert [type(one) for one in units] == [UserMessage, Receipt]
    assert (units[0].ref_to_message_id, units[0].action) == (asking.unit.message_id, "Result")
    assert (units[0].sync_reply, units[0].ack_requested) == (False, None)
    # The receipt is the one that was stored, in another envelope.
    (alone,) = asking.open(asking.fallback)
    assert (units[1].references, units[1].received_at) == (alone.references, alone.received_at)
    assert asking.result().state == "QUEUED"
    waiting.mark_response_given()
    assert asking.steps() == [("given", "DELIVERED")]
    assert asking.story.case().state == "CLOSED"
    asking.story.tick(days=1)
    assert asking.story.inbox.octets == []


def test_no_response_in_time_the_receipt_now_and_the_response_by_post(asking: Asking) -> None:
    waiting = asking.wait()
    asking.story.clock.forward(seconds=19)
    assert not waiting.is_over()
    asking.story.clock.forward(seconds=1)
    assert waiting.is_over()
    assert [type(one) for one in asking.open(waiting.fallback)] == [Receipt]
    waiting.close()
    asking.story.tick(seconds=3)
    assert [one.action for one in asking.story.inbox.got] == ["Result"]
    assert asking.result().state == "DELIVERED"


def test_a_lost_connection_loses_nothing(asking: Asking) -> None:
    """Read for the answer and never given: the same octets are posted when nobody waits any more."""
    waiting = asking.wait()
    asking.story.tick(seconds=1)
    read = waiting.read_response()
    waiting.close()
    asking.story.tick(seconds=30)
    assert read is not None
    assert asking.story.inbox.octets == [read.body]


@pytest.mark.long
@pytest.mark.parametrize("given", [False, True])
def test_a_repeat_gets_the_same_response(asking: Asking, given: bool) -> None:
    waiting = asking.wait()
    assert isinstance(asking.post(), PendingResponse)
    asking.story.tick(seconds=1)
    first = waiting.read_response()
    assert first is not None
    if given:
        waiting.mark_response_given()
    again = [asking.post() for _ in range(2)]
    assert not any(isinstance(one, PendingResponse) for one in again)
    assert [one.body for one in again] == [first.body] * 2
    assert asking.steps() == [("given", "DELIVERED")]
    asking.story.tick(days=1)
    assert asking.story.inbox.octets == []


def test_the_response_alone(engine: Engine) -> None:
    asking = Asking(engine, ALONE)
    assert (asking.fallback.status, asking.fallback.body) == (204, b"")
    waiting = asking.wait()
    asking.story.tick(seconds=1)
    assert len(asking.story.inbox.signals) == 1, "the receipt has a POST of its own"
    assert [type(one) for one in asking.open(waiting.read_response())] == [UserMessage]


def test_a_response_that_asks_for_a_receipt_waits_for_it(engine: Engine) -> None:
    asking = Asking(engine, SIGNALS_AND_RESPONSE.replace(_NO_ACK, b"sync_reply_mode: none}"))
    waiting = asking.wait()
    asking.story.tick(seconds=1)
    assert waiting.read_response() is not None
    waiting.mark_response_given()
    assert asking.steps() == [("given_for_receipt", "AWAITING_RECEIPT")]
    asking.story.tick(seconds=30)
    assert asking.result().state == "DELIVERED"
    assert len(asking.story.inbox.octets) == 1, "no receipt came, so it was posted"


def test_without_an_endpoint_the_response_waits_for_a_repeat(engine: Engine) -> None:
    endpoint = b"    endpoint: http://127.0.0.1:8901/msh/ebms2\n"
    assert endpoint in SIGNALS_AND_RESPONSE
    asking = Asking(engine, SIGNALS_AND_RESPONSE.replace(endpoint, b""))
    asking.story.tick(minutes=10)
    assert (asking.result().state, asking.result().tries) == ("QUEUED", 0)
    assert [type(one) for one in asking.open(asking.post())] == [UserMessage, Receipt]
    assert asking.result().state == "DELIVERED"


def with_unknown_code(root: etree._Element) -> None:
    set_tariff_code(root, "30048899")
    without_applications(root)


def test_warnings_travel_with_the_response(engine: Engine) -> None:
    asking = Asking(engine, SIGNALS_AND_RESPONSE, with_unknown_code)
    asking.story.tick()
    units = asking.open(asking.post())
    assert [type(one) for one in units] == [UserMessage, Receipt, ErrorSignal]
    (entry,) = units[2].errors
    assert (entry.severity, entry.code) == ("Warning", "ValueNotRecognized")
    assert units[2].ref_to_message_id == asking.unit.message_id


def test_what_an_operator_holds_is_not_given(asking: Asking) -> None:
    asking.story.tick()
    asking.story.operate(hold_delivery, asking.result().id)
    assert isinstance(asking.post(), PendingResponse)


def test_places_are_limited_and_no_party_has_them_all(asking: Asking) -> None:
    watch = ResponseWatch(asking.story.house.engine, asking.story.clock, ResponseLimits(waiting_requests=8))
    assert isinstance(asking.fallback, PendingResponse)
    taken = [watch.begin_wait(asking.fallback) for _ in range(3)]
    assert [one is None for one in taken] == [False, False, True]
    others = [watch.begin_wait(replace(asking.fallback, party=f"p{n}")) for n in range(8)]
    assert sum(one is not None for one in others) == 6
    assert taken[0] is not None
    taken[0].close()
    taken[0].close()
    assert watch.begin_wait(asking.fallback) is not None


def test_waiting_requests_share_one_query(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = read_transaction
    monkeypatch.setattr(
        "gateway.hub.intake.response_watch.read_transaction",
        lambda engine: (asked.append(1), real(engine))[1],
    )
    waiting = [asking.wait() for _ in range(10)]
    assert [one.read_response() for one in waiting] == [None] * 10
    assert len(asked) == 1
    asking.story.tick(seconds=1)
    asked.clear()
    assert len({one.read_response() for one in waiting if one.response}) <= 1
    assert all(one.read_response() is not None for one in waiting)
    assert len(asked) == 1


def test_a_clock_that_is_set_back_ends_the_wait(asking: Asking) -> None:
    waiting = asking.wait()
    assert not waiting.is_over()
    asking.story.clock.forward(minutes=-30)
    assert waiting.is_over()


def test_a_response_that_cannot_be_read_ends_its_own_wait_alone(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(asking.fallback, PendingResponse)
    waiting = asking.wait()
    other = asking.story.hub.responses.begin_wait(replace(asking.fallback, request=10**6))
    assert other is not None

    def miss_octets(*_arguments: Any) -> None:
        raise GatewayError(OBJECT_MISSING, "no such object")

    monkeypatch.setattr(messages, "load_parcel", miss_octets)
    asking.story.tick(seconds=1)
    assert other.read_response() is None
    assert waiting.read_response() is None
    assert (waiting.is_over(), other.is_over()) == (True, False)
    assert caplog.text.count("the response cannot be read") == 1


def test_a_time_to_perform_shortens_the_wait(engine: Engine) -> None:
    def perform(pmode: Any) -> Any:
        return replace(pmode, business=replace(pmode.business, time_to_perform=5))

    original = pmodes(SIGNALS_AND_RESPONSE)
    story = Story(engine, customs=False, agreement=SIGNALS_AND_RESPONSE)
    assert get_response_wait(story.hub, original[0]) == timedelta(seconds=20)
    assert get_response_wait(story.hub, perform(original[0])) == timedelta(seconds=5)


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_kill_at_the_commit_of_the_giving(asking: Asking, side: str) -> None:
    """Before it the response is still queued and is posted, the same octets; after it is not."""
    waiting = asking.wait()
    asking.story.tick(seconds=1)
    read = waiting.read_response()
    assert read is not None
    assert waiting.response is not None
    delivery = waiting.response.delivery
    die_at(
        asking.story, f"respond.given.{side}_commit", lambda hub: hub.responses.mark_response_given(delivery)
    )
    asking.story.tick(seconds=30)
    assert asking.story.inbox.octets == ([read.body] if side == "before" else [])
    assert asking.post().body == read.body
    assert asking.result().state == "DELIVERED"


def answer_with(story: Story, *kinds: str) -> Any:
    """Return how the applicant answers our Result: with a receipt, with a message of its own, or both."""

    def answer(opened: Any) -> HttpAnswer:
        context = story.broker.context()
        receipt = EBMS2.make_receipt(opened, context)
        message = replace(
            story.broker.message("Store", ref_to_message_id=opened.unit.message_id),
            conversation_id=opened.unit.conversation_id,
            timestamp=receipt.timestamp,
            sync_reply=False,
        )
        receipt = replace(receipt, message_id=message.message_id) if "message" in kinds else receipt
        units = {"message": message, "receipt": receipt}
        pmode = next(one for one in pmodes(story.broker.agreement) if one.action == "Store")
        parcel: Parcel = EBMS2.seal(tuple(units[one] for one in kinds), pmode, context)
        return HttpAnswer(
            200, {"content-type": parcel.headers["Content-Type"]}, parcel.body.open_stream().read()
        )

    return answer


@pytest.mark.long
@pytest.mark.parametrize("kinds", [("message", "receipt"), ("message",)])
def test_a_response_in_the_answer_to_our_message_is_stored(engine: Engine, kinds: tuple[str, ...]) -> None:
    story = Story(engine, customs=False, agreement=_QUIET)
    story.inbox.answers.append(answer_with(story, *kinds))
    story.submit(story.submission(without_applications), attach=False)
    story.tick()
    with read_transaction(engine) as conn:
        (stored,) = messages.list_messages(conn, direction="in", action="Store")
        assert messages.load_payloads(conn, stored.id)[0].content == b"<a/>"
    (row,) = (one for one in story.deliveries(agent="msh") if one.parameters.get("action"))
    assert row.state == ("DELIVERED" if "receipt" in kinds else "AWAITING_RECEIPT")
    # Its own receipt was asked for, and goes by a POST.
    assert len(story.inbox.signals) == 1


def test_a_response_is_read_where_no_receipt_is_asked(engine: Engine) -> None:
    quiet = b"reliability: {ack_requested: never, ack_signed: never}, sync_reply_mode: responseOnly}"
    story = Story(
        engine,
        customs=False,
        agreement=_QUIET.replace(b"action: Result}", b"action: Result, " + quiet),
    )
    story.inbox.answers.append(answer_with(story, "message"))
    story.submit(story.submission(without_applications), attach=False)
    story.tick()
    with read_transaction(engine) as conn:
        assert len(messages.list_messages(conn, direction="in", action="Store")) == 1
    (row,) = (one for one in story.deliveries(agent="msh") if one.parameters.get("action"))
    assert row.state == "DELIVERED"

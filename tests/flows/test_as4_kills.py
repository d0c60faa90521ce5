"""A process dies at each commit of Two-Way/Sync by AS4, and of pulling; nothing is lost or doubled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.hub import Hub, PendingResponse
from gateway.message_model import MemoryBody, Receipt, UserMessage
from gateway.protocols import Parcel, as4
from gateway.store import messages, read_transaction
from gateway.wire import serialize_element
from tests.flows.craft import without_applications
from tests.flows.test_as4_pull import PULLED, acknowledge, ask, open_pulled, pull, seal
from tests.flows.test_as4_two_way import SYNC
from tests.kit.databases import in_turn
from tests.kit.kills import die_at
from tests.kit.story import Story

pytestmark = pytest.mark.long

#: Longer than the lease of a worker that died, and than a receipt is waited for.
LATER = 301
#: The transactions of each path, in their order.
RECEIVED = ("receive.message",)
WORKED = ("delivery.claim", "admit.case", "conclude.result")
GIVEN = ("respond.given",)
SETTLED = ("signals.settled",)
HANDED_OUT = ("pull.hand_out",)
SIDES = ("before", "after")


def places(*names: str) -> list[str]:
    return [f"{name}.{side}_commit" for name in names for side in SIDES]


class Exchange:
    """A submission by AS4, and what a process does about it that may die."""

    def __init__(self, engine: Engine, agreement: bytes) -> None:
        self.story = Story(engine, customs=False, agreement=agreement)
        root = self.story.submission(without_applications)
        self.unit = self.story.broker.message("Submit", serialize_element(root))
        self.parcel = self.story.broker.seal(self.unit)
        # A Result that is posted after all has the receipt of the submission beside it.
        plain = self.story.broker.context
        self.story.broker.context = lambda: replace(  # type: ignore[method-assign]
            plain(), find_sent_parcel=lambda _, name: self.parcel if name == self.unit.message_id else None
        )

    def post(self, hub: Hub | None = None) -> Any:
        return self.story.house.post(self.parcel, hub)

    def work(self, hub: Hub) -> None:
        """Do all that is due, as a worker of a process of its own."""
        self.story.hub = hub
        self.story.worker = self.story.new_worker("another")
        self.story.tick(seconds=1)

    def check_end(self) -> None:
        """Hold that there is one message, one case that is closed, and one Result with its receipt."""
        with read_transaction(self.story.house.engine) as conn:
            assert len(messages.list_messages(conn, direction="in")) == 1
            assert len(messages.list_messages(conn, direction="out", action="Result")) == 1
        assert self.story.case().state == "CLOSED"
        states = {row.state for row in self.story.deliveries(agent="msh")}
        assert states == {"DELIVERED"}


def read_response(exchange: Exchange) -> tuple[Any, Parcel]:
    """Return the waiting request of a repeat, and its answer, which has the Result and the receipt.

    None waits where the response was there already, and is given at once.
    """
    story, fallback = exchange.story, exchange.post()
    waiting, answer = None, fallback
    if isinstance(fallback, PendingResponse):
        waiting = story.hub.responses.begin_wait(fallback)
        assert waiting is not None
        story.tick(seconds=LATER)
        answer = waiting.read_response()
    assert answer is not None
    # Warnings may stand beside them: another hub of the story knows the rules of need.
    units = story.broker.open(answer, exchange.parcel).units
    assert [type(one) for one in units[:2]] == [UserMessage, Receipt]
    return waiting, Parcel(answer.headers, MemoryBody(answer.body))


@in_turn
@pytest.mark.parametrize("place", places(*RECEIVED, *WORKED, *GIVEN, *SETTLED))
def test_a_response_in_the_answer_survives(engine: Engine, place: str) -> None:
    exchange = Exchange(engine, SYNC)
    story, name = exchange.story, place.rpartition(".")[0]
    if name in RECEIVED:
        die_at(story, place, exchange.post)
    else:
        exchange.post()
    if name in WORKED:
        die_at(story, place, exchange.work)
    waiting, answer = read_response(exchange)
    if name in GIVEN:
        assert waiting is not None
        assert waiting.response is not None
        delivery = waiting.response.delivery
        die_at(story, place, lambda hub: hub.responses.mark_response_given(delivery))
        # The repeat of the request has the same octets.
        assert exchange.post().body == answer.read_octets()
    elif waiting is not None:
        waiting.mark_response_given()
    context = story.broker.context()
    opened = as4.verify_parcel(answer, "strict", context)
    receipt = as4.seal((as4.make_receipt(opened, context),), None, context)
    if name in SETTLED:
        die_at(story, place, lambda hub: story.house.post(receipt, hub))
    assert story.house.post(receipt).status == 204
    story.tick(seconds=1)
    exchange.check_end()


@in_turn
@pytest.mark.parametrize("place", places(*RECEIVED, *WORKED, *HANDED_OUT, *SETTLED))
def test_what_is_pulled_survives(engine: Engine, place: str) -> None:
    exchange = Exchange(engine, PULLED.replace(b"  - {id: broker1-notice", b"#"))
    story, name = exchange.story, place.rpartition(".")[0]
    house, broker = story.house, story.broker
    if name in RECEIVED:
        die_at(story, place, exchange.post)
    first = exchange.post()
    assert exchange.post().body == first.body
    if name in WORKED:
        die_at(story, place, exchange.work)
    story.tick(seconds=LATER)
    if name in HANDED_OUT:
        request = seal(broker, ask(broker))
        die_at(story, place, lambda hub: house.post(request, hub))
        story.tick(seconds=LATER)
    opened = open_pulled(broker, pull(house, broker))
    if name in SETTLED:
        context = broker.context()
        receipt = as4.seal((as4.make_receipt(opened, context),), None, context)
        die_at(story, place, lambda hub: house.post(receipt, hub))
    assert acknowledge(house, broker, opened).status == 204
    story.tick(seconds=1)
    exchange.check_end()

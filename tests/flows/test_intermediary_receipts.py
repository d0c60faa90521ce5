"""Whose acknowledgment ends what: the eight combinations of ebMS 2.0 §6.6, for messages of our own.

The hub sends its Result through the hop. The broker behind the hop cannot be reached at first, so
that the two acknowledgments come apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.errors import UNREACHABLE, GatewayError
from gateway.hub import make_rule_columns
from gateway.message_model import UserMessage
from gateway.store import agreements, make_engine, write_transaction
from tests.kit.chain import BROKER, HOP, HUB, Chain, agreement_by_hop, rule
from tests.kit.databases import in_turn
from tests.kit.ending import EndedError, ending_at
from tests.kit.house import EBMS2
from tests.kit.story import QUIET

ALWAYS = b"ack_requested: always"


@pytest.fixture
def other(templates: Any) -> Iterator[Engine]:
    made = make_engine(templates.fresh("sqlite"))
    yield made
    made.dispose()


def agreed(*, eliminated: bool, by_receiver: bool, by_next: bool) -> bytes:
    """Return the agreement of one line of the table."""
    terms = QUIET.replace(b"mshSignalsOnly", b"none")
    if not eliminated:
        terms = terms.replace(b"duplicate_elimination: always", b"duplicate_elimination: per_message")
    if not by_receiver and by_next:
        terms = terms.replace(ALWAYS, b"ack_actor: nextMSH\n    " + ALWAYS)
    elif not by_receiver:
        terms = terms.replace(ALWAYS, b"ack_requested: per_message")
        result = b"- {id: broker1-result,"
        never = b"reliability: {ack_requested: never, ack_signed: never, retries: 0, retry_interval: 300}"
        assert result in terms
        terms = terms.replace(b"action: Result}", b"action: Result, " + never + b"}")
    return agreement_by_hop(terms)


def decided(engine: Engine, other: Engine, *, ask_next: str = "never", **line: bool) -> Chain:
    """Return a chain in which the hub is about to send its Result to the hop, and the broker is away."""
    chain = Chain(engine, other, agreement=agreed(**line))
    chain.story.register("hop")
    way = rule("broker1", HOP, "hub", next_party="hop", acknowledgment=ask_next)
    with write_transaction(other) as conn:
        agreements.insert_forwarding_rule(conn, make_rule_columns(way), chain.clock())
    chain.send(hop_ack=None)
    chain.go_on()
    chain.story.decide_all()
    chain.wire.troubles[BROKER] = deque(GatewayError(UNREACHABLE, "Connection refused") for _ in range(50))
    return chain


def result_delivery(chain: Chain) -> Any:
    (found,) = [
        row for row in chain.story.deliveries(agent="msh") if row.parameters.get("action") == "Result"
    ]
    return found


def results_posted(chain: Chain) -> int:
    units = [EBMS2.read_sent_unit(one, chain.hop.hub.limits).unit for one in chain.wire.to(HOP)]
    return len([one for one in units if isinstance(one, UserMessage) and one.action == "Result"])


LINES = [
    # eliminated, by the receiver, by the next handler: state while the receiver is away, repeats
    (True, True, True, "AWAITING_RECEIPT", False),
    (True, True, False, "AWAITING_RECEIPT", True),
    (True, False, True, "DELIVERED", False),
    (True, False, False, "DELIVERED", False),
    (False, True, True, "AWAITING_RECEIPT", False),
    (False, True, False, "AWAITING_RECEIPT", True),
    (False, False, True, "DELIVERED", False),
    (False, False, False, "DELIVERED", False),
]


@pytest.mark.long
@pytest.mark.parametrize(("eliminated", "by_receiver", "by_next", "state", "repeated"), LINES)
def test_each_combination_ends_as_its_line_says(
    sqlite_url: str,
    other: Engine,
    eliminated: bool,
    by_receiver: bool,
    by_next: bool,
    state: str,
    repeated: bool,
) -> None:
    engine = make_engine(sqlite_url)
    line = {"eliminated": eliminated, "by_receiver": by_receiver, "by_next": by_next}
    ask_next = "signed" if by_receiver and by_next else "never"
    chain = decided(engine, other, ask_next=ask_next, **line)
    chain.go_on()
    assert result_delivery(chain).state == state
    chain.go_on(seconds=301)
    assert (results_posted(chain) > 1) is repeated
    chain.wire.troubles[BROKER].clear()
    for _ in range(3):
        chain.go_on(seconds=61)
    assert result_delivery(chain).state == "DELIVERED"
    assert len(chain.inbox.documents("Result")) == 1
    engine.dispose()


@pytest.mark.long
@in_turn
def test_a_message_that_the_next_handler_has_and_the_receiver_never_gets_has_failed(
    engine: Engine, other: Engine
) -> None:
    chain = decided(engine, other, ask_next="signed", eliminated=True, by_receiver=True, by_next=True)
    chain.go_on()
    row = result_delivery(chain)
    assert "hop_receipt" in chain.story.evidence("delivery", row.id)
    # What the next handler says of it does not come either.
    chain.wire.troubles[HUB] = deque(GatewayError(UNREACHABLE, "Connection refused") for _ in range(50))
    for _ in range(8):
        chain.go_on(minutes=5)
    assert result_delivery(chain).state == "FAILED"
    assert "DeliveryFailure" in chain.story.evidence("delivery", row.id)
    assert results_posted(chain) == 1


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_a_hub_that_ends_as_it_notes_the_receipt_of_the_hop_sends_one_result(
    engine: Engine, other: Engine, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    chain = decided(engine, other, ask_next="signed", eliminated=True, by_receiver=True, by_next=True)
    with monkeypatch.context() as patched:
        patched.setattr("gateway.store.engine.kill_at_failpoint", ending_at("signals.hop", side))
        with pytest.raises(EndedError):
            chain.go_on()
    # The hop was just posting its receipt, in the same process.
    chain.story.worker, chain.hop.worker = chain.story.new_worker("w2"), chain.hop.new_worker("h2")
    chain.wire.troubles[BROKER].clear()
    for _ in range(4):
        chain.go_on(minutes=3)
    assert result_delivery(chain).state == "DELIVERED"
    assert len(chain.inbox.documents("Result")) == 1

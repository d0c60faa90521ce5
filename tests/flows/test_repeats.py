"""A message that comes again under its MessageId: what makes it the same, by both protocols."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from gateway.message_model import MessageProperty, Payload, Receipt, UserMessage
from gateway.store import HttpResponse, messages, read_transaction, write_transaction
from tests.kit import tables
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import AGREEMENT, AS4, House, Neighbour

Change = Callable[[UserMessage], UserMessage]


@pytest.fixture(params=[AGREEMENT, AS4], ids=["ebms2", "as4"])
def house(engine: Engine, request: Any) -> House:
    return House(engine, agreement=request.param)


@pytest.fixture
def broker(house: House) -> Neighbour:
    return Neighbour("broker1", house.clock, house.agreement)


def count_rows(house: House, table: Any) -> int:
    with read_transaction(house.engine) as conn:
        return int(conn.execute(select(func.count()).select_from(table)).scalar_one())


def get_message(broker: Neighbour) -> UserMessage:
    """Return a message with two payloads."""
    unit = broker.message(content=b"<declaration/>")
    second = Payload(f"p2.{unit.message_id}", "text/plain", b"words " * 40)
    return replace(unit, payloads=(*unit.payloads, second))


def name_parts_anew(unit: UserMessage) -> UserMessage:
    return replace(
        unit, payloads=tuple(replace(one, content_id=f"anew.{one.content_id}") for one in unit.payloads)
    )


def write_later(unit: UserMessage) -> UserMessage:
    return replace(unit, timestamp=unit.timestamp + timedelta(minutes=5))


SAME: dict[str, Change] = {
    "signed anew": lambda unit: unit,
    "header written later": write_later,
    "parts named anew": name_parts_anew,
    "both": lambda unit: name_parts_anew(write_later(unit)),
}


@BOTH_AT_LANDING
@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_a_repeat_that_is_written_and_signed_anew_gets_the_stored_receipt(
    house: House, broker: Neighbour, change: Change
) -> None:
    unit = get_message(broker)
    first = broker.seal(unit)
    receipt = house.post(first)
    assert isinstance(broker.open(receipt, first).unit, Receipt)
    evidence = count_rows(house, tables.evidence)
    house.clock.forward(minutes=5)
    again = broker.seal(change(unit))
    assert again.read_octets() != first.read_octets()
    assert house.post(again) == receipt
    assert house.post(again, house.new_hub()) == receipt
    assert house.post(first) == receipt
    assert (count_rows(house, tables.messages), count_rows(house, tables.evidence)) == (1, evidence)


def test_repeats_that_are_signed_anew_at_once_are_stored_once(house: House, broker: Neighbour) -> None:
    unit = get_message(broker)
    parcels = [
        broker.seal(replace(unit, timestamp=unit.timestamp + timedelta(seconds=number)))
        for number in range(8)
    ]
    with ThreadPoolExecutor(8) as pool:
        answers: list[HttpResponse] = list(pool.map(house.post, parcels))
    assert len({answer.body for answer in answers}) == 1
    assert b"severity=" not in answers[0].body, "it is no error"
    assert count_rows(house, tables.messages) == 1


def change_payload(position: int, **changes: Any) -> Change:
    def change(unit: UserMessage) -> UserMessage:
        payloads = list(unit.payloads)
        payloads[position] = replace(payloads[position], **changes)
        return replace(unit, payloads=tuple(payloads))

    return change


OTHER: dict[str, Change] = {
    "first payload": change_payload(0, octets=b"<other/>"),
    "second payload": change_payload(1, octets=b"word"),
    "order of the payloads": lambda unit: replace(unit, payloads=unit.payloads[::-1]),
    "a payload less": lambda unit: replace(unit, payloads=unit.payloads[:1]),
    "a payload more": lambda unit: replace(
        unit, payloads=(*unit.payloads, Payload("p3@broker1.example", "text/plain", b"more"))
    ),
    "conversation": lambda unit: replace(unit, conversation_id="other"),
}
OTHER_OF_AS4: dict[str, Change] = {
    "media type": change_payload(1, media_type="text/html"),
    "property": lambda unit: replace(unit, properties=(MessageProperty("finalRecipient", "urn:c4"),)),
    "property of a part": change_payload(1, properties=(("Colour", "red"),)),
}
OTHER_OF_EBMS2: dict[str, Change] = {
    "message that it answers": lambda unit: replace(unit, ref_to_message_id="m0@broker1.example"),
}


def check_refused(house: House, broker: Neighbour, change: Change) -> None:
    """Check that neither octets like the first ones nor a header of a later time hide what is changed."""
    unit = get_message(broker)
    first = broker.seal(unit)
    receipt = house.post(first)
    for other in (change(unit), write_later(name_parts_anew(change(unit)))):
        answer = house.post(broker.seal(other))
        assert b"GW312" in answer.body
    assert house.post(first) == receipt
    assert count_rows(house, tables.messages) == 1


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_other_content_under_a_known_id_is_refused(house: House, broker: Neighbour, change: Change) -> None:
    check_refused(house, broker, change)


@pytest.mark.parametrize("house", [AS4], ids=["as4"], indirect=True)
@pytest.mark.parametrize("change", OTHER_OF_AS4.values(), ids=OTHER_OF_AS4)
def test_other_properties_under_a_known_id_are_refused(
    house: House, broker: Neighbour, change: Change
) -> None:
    check_refused(house, broker, change)


@pytest.mark.parametrize("house", [AGREEMENT], ids=["ebms2"], indirect=True)
@pytest.mark.parametrize("change", OTHER_OF_EBMS2.values(), ids=OTHER_OF_EBMS2)
def test_another_answered_message_under_a_known_id_is_refused(
    house: House, broker: Neighbour, change: Change
) -> None:
    check_refused(house, broker, change)


def test_a_repeat_whose_first_octets_are_removed_must_have_the_same_digests(
    house: House, broker: Neighbour
) -> None:
    """Nothing is left that the header could be compared with."""
    unit = get_message(broker)
    first = broker.seal(unit)
    receipt = house.post(first)
    with write_transaction(house.engine) as conn:
        conn.execute(tables.messages.update().values(purged_at=house.clock(), parcel=None))
    assert house.post(first).body == receipt.body
    assert b"GW312" in house.post(broker.seal(write_later(unit))).body
    with read_transaction(house.engine) as conn:
        assert len(messages.list_messages(conn)) == 1

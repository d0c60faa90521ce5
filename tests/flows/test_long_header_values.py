"""The longest header values are stored on both databases; a longer one is refused at its place.

PostgreSQL keeps at most 2,704 octets in an entry of an index and compresses a value before it counts. So the
values here are drawn at random, of characters with four octets each.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine, select

from gateway.errors import GatewayError
from gateway.message_model import Receipt, SequenceNumber, UserMessage
from gateway.store import (
    deliveries,
    limited_conversations,
    message_sequences,
    messages,
    read_transaction,
    refusal_counts,
)
from gateway.web.agency_service import build_agency_service
from gateway.web.replay_cache import ReplayCache
from gateway.wire import EB3, join_multipart_related, parse_xml, read_envelope, read_fault
from tests.flows.test_conversation_limits import CPA, limited
from tests.flows.test_message_order import ORDERED
from tests.kit.databases import KINDS
from tests.kit.fragments import FragmentStory
from tests.kit.house import AGREEMENT, AS4, Clock, House, Neighbour
from tests.kit.long_texts import make_long_text
from tests.kit.soap import agency_call
from tests.kit.story import Story
from tests.web.test_agency_service import ACKNOWLEDGE, Recorder, World, security, verified

#: Where the sender joins the parts of a message. It names the first one by the message id, of which no
#: signature says anything; a Content-ID has at most 255 octets.
JOINED_AT = ("gateway.protocols.ebms2.packaging", "gateway.protocols.as4.message_sealing")


@pytest.fixture(autouse=True)
def short_content_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let messages with a long id have a short Content-ID, as programs of others do."""

    def join_parts(root: bytes, parts: Any, boundary: str, _: str, root_type: str = "text/xml") -> Any:
        return join_multipart_related(root, parts, boundary, "root@broker1.example", root_type)

    for module_name in JOINED_AT:
        monkeypatch.setattr(f"{module_name}.join_multipart_related", join_parts)


on_both = pytest.mark.parametrize("database_url", KINDS, indirect=True)
#: One character more than fits, and as many as once overflowed an index of PostgreSQL.
TOO_MANY = (257, 680, 1024)


LONGEST = make_long_text(256)
assert len(LONGEST.encode()) == 1024

EBMS2_PLACES = {
    "message_id": "eb:MessageId",
    "conversation_id": "eb:ConversationId",
    "ref_to_message_id": "eb:RefToMessageId",
}


def list_stored(house: House) -> list[Any]:
    with read_transaction(house.engine) as conn:
        return list(messages.list_messages(conn))


def read_ebms2_fault(story: Story, unit: UserMessage) -> tuple[str, str, str]:
    """Return code and text of the SOAP Fault in the answer to a message, and what the operator is told."""
    answer = story.house.post(story.broker.seal(unit))
    fault = read_fault(read_envelope(parse_xml(answer.body)))
    assert answer.status == 500
    assert fault is not None
    story.hub.tally.store_counts()
    with read_transaction(story.house.engine) as conn:
        (refusal,) = refusal_counts.list_refusals(conn, problem="GW107")
    return fault.code, fault.text, refusal.last_sentence


@pytest.mark.long
@on_both
def test_the_longest_values_of_ebms_2_are_taken_and_answered(engine: Engine) -> None:
    story = Story(engine)
    unit = story.broker.message(
        message_id=LONGEST, conversation_id=make_long_text(256, 2), ref_to_message_id=make_long_text(256, 3)
    )
    parcel = story.broker.seal(unit)
    answer = story.house.post(parcel)
    receipt = story.broker.open(answer, parcel).unit
    assert isinstance(receipt, Receipt)
    assert receipt.ref_to_message_id == LONGEST
    assert story.house.post(parcel) == answer
    (row,) = list_stored(story.house)
    assert (row.message_id, row.conversation_id) == (unit.message_id, unit.conversation_id)


@pytest.mark.long
@on_both
def test_an_ordered_message_in_the_longest_conversation_is_taken(engine: Engine) -> None:
    story = Story(engine, agreement=limited(b"concurrent: 3", ORDERED))
    unit = story.broker.message(
        "Submit",
        message_id=LONGEST,
        conversation_id=make_long_text(256, 2),
        sequence=SequenceNumber(0, "Reset"),
    )
    assert story.house.post(story.broker.seal(unit)).status == 204
    story.tick()
    signals = [story.broker.open(one).unit for one in story.inbox.signals]
    assert [one.ref_to_message_id for one in signals if isinstance(one, Receipt)] == [LONGEST]
    with read_transaction(engine) as conn:
        assert limited_conversations.find_conversation(conn, CPA, unit.conversation_id) is not None
        sequences = conn.execute(select(message_sequences.message_sequences)).all()
        assert [row.conversation_id for row in sequences] == [unit.conversation_id]


@on_both
@pytest.mark.parametrize("field", EBMS2_PLACES)
def test_a_longer_value_of_ebms_2_is_refused_at_its_place(engine: Engine, field: str) -> None:
    story = Story(engine)
    for characters in TOO_MANY:
        changes: dict[str, Any] = {field: make_long_text(characters)}
        code, text, sentence = read_ebms2_fault(story, story.broker.message(**changes))
        assert (code, text) == ("Client", "GW107 the value has more than 1,024 octets")
        assert re.fullmatch(f"the value .* at /.*/{EBMS2_PLACES[field]}", sentence)
    assert not list_stored(story.house)


def read_as4_error(house: House, broker: Neighbour, unit: UserMessage) -> tuple[str, str]:
    answer = house.post(broker.seal(unit))
    root = etree.fromstring(answer.body)
    place = root.findtext(f".//{{{EB3}}}ErrorDetail") or ""
    return root.findtext(f".//{{{EB3}}}Description") or "", place


@pytest.mark.long
@on_both
def test_the_longest_values_of_as4_are_taken_and_answered(engine: Engine) -> None:
    house = House(engine, agreement=AS4)
    broker = Neighbour("broker1", house.clock, AS4)
    unit = broker.message(message_id=LONGEST, conversation_id=make_long_text(256, 2))
    parcel = broker.seal(unit)
    answer = house.post(parcel)
    receipt = broker.open(answer, parcel).unit
    assert isinstance(receipt, Receipt)
    assert receipt.ref_to_message_id == LONGEST
    assert house.post(parcel) == answer
    (row,) = list_stored(house)
    assert (row.message_id, row.conversation_id) == (unit.message_id, unit.conversation_id)


@on_both
@pytest.mark.parametrize("field", ["message_id", "conversation_id"])
def test_a_longer_value_of_as4_is_refused_at_its_place(engine: Engine, field: str) -> None:
    house = House(engine, agreement=AS4)
    broker = Neighbour("broker1", house.clock, AS4)
    for characters in TOO_MANY:
        changes: dict[str, Any] = {field: make_long_text(characters)}
        description, place = read_as4_error(house, broker, broker.message(**changes))
        assert description == "GW107 the value has more than 1,024 octets"
        assert place.endswith(f"/{EBMS2_PLACES[field].replace('eb:', 'eb3:')}")
    assert not list_stored(house)


@pytest.mark.parametrize("agreement", [AGREEMENT, AS4], ids=["ebMS 2.0", "AS4"])
def test_a_message_stored_with_a_longer_value_is_still_read(agreement: bytes) -> None:
    broker = Neighbour("broker1", Clock(), agreement)
    unit = broker.message(conversation_id=make_long_text(400))
    parcel, limits = broker.seal(unit), broker.context().limits
    assert broker.core.read_sent_header(parcel, limits).unit.conversation_id == unit.conversation_id
    assert broker.core.read_sent_unit(parcel, limits).unit.conversation_id == unit.conversation_id
    with pytest.raises(GatewayError, match="GW107 the value has more than 1,024 octets"):
        broker.core.open_units(parcel, broker.context())


@pytest.mark.long
@on_both
def test_the_longest_id_of_a_group_of_fragments_is_taken(engine: Engine) -> None:
    story = FragmentStory(engine)
    plan = story.plan(story.large(message_id=LONGEST))
    for number in range(1, plan.fragment_count + 1):
        parcel = story.seal(plan, number, f"{number}@broker1.example")
        assert isinstance(story.broker.open(story.house.post(parcel), parcel).unit, Receipt)
    story.tick(seconds=1)
    assert [row.group_id for row in story.groups()] == [LONGEST]
    assert [row.message_id for row in story.joined()] == [LONGEST]


@on_both
def test_a_longer_id_of_a_group_of_fragments_is_refused_at_its_place(engine: Engine) -> None:
    story = FragmentStory(engine)
    for characters in TOO_MANY:
        plan = story.plan()
        plan = replace(plan, unit=replace(plan.unit, message_id=make_long_text(characters)))
        root = etree.fromstring(story.house.post(story.seal(plan, 1, "1@broker1.example")).body)
        assert root.findtext(f".//{{{EB3}}}Description") == "GW107 the value has more than 1,024 octets"
        assert re.fullmatch(r".*/mf:GroupId", root.findtext(f".//{{{EB3}}}ErrorDetail") or "")
    assert not story.groups()


@pytest.mark.long
@on_both
def test_the_longest_id_of_a_call_is_remembered_and_answered(engine: Engine) -> None:
    handler = Recorder()
    world = World(handler, build_agency_service(handler.apply, security(memory=ReplayCache(engine))))
    octets = agency_call("Acknowledge", ACKNOWLEDGE, LONGEST)
    answer = world.post(octets)
    assert (answer.status, verified(answer).relates_to) == ("200 OK", LONGEST)
    assert world.post(octets).problem == "GW211"


@on_both
def test_a_longer_id_of_a_call_is_refused_at_its_place(engine: Engine) -> None:
    handler = Recorder()
    world = World(handler, build_agency_service(handler.apply, security(memory=ReplayCache(engine))))
    for characters in TOO_MANY:
        fault = world.post(agency_call("Acknowledge", ACKNOWLEDGE, make_long_text(characters))).fault
        refusal = {etree.QName(one).localname: one.text for one in fault.detail[0]}
        assert refusal == {
            "Id": "GW107",
            "Text": "wsa:MessageID has more than 1,024 octets",
            "Location": "/soap:Envelope/soap:Header/wsa:MessageID",
        }
    assert not handler.said
    with read_transaction(engine) as conn:
        assert not deliveries.list_deliveries(conn)

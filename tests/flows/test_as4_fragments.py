"""Large messages in fragments: each is taken by itself, the last one joins them, a wrong one ends all."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine, func, select

from gateway.evidence import list_subject_leaves
from gateway.message_model import ErrorSignal, MemoryBody, Receipt, UserMessage
from gateway.operations import read_message_report
from gateway.protocols import PROTOCOLS, Parcel, as4
from gateway.store import messages, read_transaction, register_version, write_transaction
from gateway.wire import EB3
from tests.kit import tables
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.fragments import SPLIT, FragmentStory


@pytest.fixture
def story(engine: Engine) -> FragmentStory:
    return FragmentStory(engine)


def read_code(answer: Any) -> str:
    """Return the error in an answer, empty for a receipt."""
    root = etree.fromstring(answer.body)
    return "".join(one.get("errorCode") or "" for one in root.iter(f"{{{EB3}}}Error"))


def check_receipt(story: FragmentStory, parcel: Parcel, answer: Any) -> None:
    """Hold the receipt of a fragment against what was sent: every digest, that of MessageFragment too."""
    opened = story.broker.open(answer, parcel)
    assert isinstance(opened.unit, Receipt)
    assert len(opened.unit.references) == 4
    assert opened.verified_signature is not None


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("compressed", [False, True])
def test_fragments_in_any_order_are_joined_to_the_message_that_was_split(
    story: FragmentStory, compressed: bool
) -> None:
    plan = story.plan(compressed=compressed)
    numbers = list(range(1, plan.fragment_count + 1))
    assert len(numbers) > 1
    random.Random(1).shuffle(numbers)
    for number in numbers:
        parcel = story.seal(plan, number)
        check_receipt(story, parcel, story.house.post(parcel))
    assert not story.joined()
    assert [row.state for row in story.groups()] == ["COMPLETE"]
    story.tick(seconds=1)
    (row,) = story.joined()
    assert (row.message_id, row.state, row.pmode_id) == (plan.unit.message_id, "ACCEPTED", "broker1-store")
    (part,) = story.read(lambda conn: messages.load_payloads(conn, row.id))
    assert part.content == plan.unit.payloads[0].content if plan.unit.payloads else part.content
    assert part.content == story.large().payloads[0].content
    (group,) = story.groups()
    assert (group.state, group.message, group.problem) == ("JOINED", row.id, None)
    assert {one.state for one in story.fragments()} == {"PROCESSED"}
    for message, number in ((row, None), (story.fragments()[0], numbers[0])):
        told = story.read(lambda conn, of=message: read_message_report(conn, of))["fragments"]
        assert (told["group"], told["state"], told["number"]) == (plan.unit.message_id, "JOINED", number)
        assert (told["came"], told["count"], told["message"]) == (len(numbers), len(numbers), row.id)
    (leaf,) = [one for one in story.read(lambda conn: list_subject_leaves(conn, "message", row.id))]
    assert (leaf.kind, "fragments" in str(leaf)) == ("NRO", True)
    story.tick(seconds=1)
    (receipt,) = [one.unit for one in story.ears.heard]
    assert isinstance(receipt, Receipt)
    assert (receipt.ref_to_message_id, receipt.references) == (plan.unit.message_id, ())
    story.tick(hours=2)
    assert [row.state for row in story.groups()] == ["JOINED"]


def test_a_repeated_fragment_gets_the_stored_receipt_byte_for_byte(story: FragmentStory) -> None:
    plan = story.plan()
    first = story.send(plan)
    story.clock.forward(minutes=1)
    assert story.send(plan) == first
    story.tick(seconds=1)
    assert story.send(plan) == first
    story.tick(seconds=1)
    assert len(story.joined()) == 1
    assert len(story.fragments()) == plan.fragment_count


@pytest.mark.long
def test_a_joined_submission_becomes_a_case(story: FragmentStory) -> None:
    unit = story.broker.message("Submit", payloads=story.sealed_payloads())
    plan = story.plan(unit)
    story.send(plan)
    story.tick(seconds=1)
    (row,) = story.joined()
    assert row.state == "PROCESSED"
    assert row.case_id is not None


@pytest.mark.long
def test_a_source_message_that_was_sent_before_gets_its_receipt_again(story: FragmentStory) -> None:
    plan = story.plan()
    story.send(plan)
    story.tick(seconds=1)
    again = replace(plan, unit=plan.unit)
    other = [
        as4.seal_fragment(again, number, f"again-{number}@x.example", story.signer())
        for number in range(1, plan.fragment_count + 1)
    ]
    # The group has its end: a new fragment of it is refused, and changes nothing.
    assert [read_code(story.house.post(one)) for one in other[:2]] == ["EBMS:0042", "EBMS:0046"]
    story.tick(seconds=1)
    assert [row.state for row in story.groups()] == ["JOINED"]
    assert len(story.joined()) == 1


@pytest.mark.parametrize(("changes", "joined"), [(2, True), (99, False)])
def test_a_message_is_joined_again_where_the_register_changed_meanwhile(
    story: FragmentStory, monkeypatch: pytest.MonkeyPatch, changes: int, joined: bool
) -> None:
    """Where the register never rests, nothing is refused: the task is repeated."""
    plan, real, left = story.plan(), PROTOCOLS["as4"].make_receipt, changes
    story.send(plan)

    def change_register(*arguments: object) -> object:
        nonlocal left
        if left:
            left -= 1
            with write_transaction(story.house.engine) as conn:
                register_version.increment_register_version(conn)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PROTOCOLS["as4"], "make_receipt", change_register)
    story.tick(seconds=1)
    assert [row.state for row in story.groups()] == ["JOINED" if joined else "COMPLETE"]
    left = 0
    story.tick(minutes=5)
    assert [row.state for row in story.groups()] == ["JOINED"]
    assert len(story.joined()) == 1


HEADERS = {
    "a number twice": ({"number": 1}, "EBMS:0046"),
    "a number above the count": ({"number": 99}, "EBMS:0048"),
    "a second count": ({"count": 7}, "EBMS:0042"),
    "a second size": ({"message_size": 5}, "EBMS:0041"),
    "another compression": ({"compressed_size": 5}, ""),
}


@BOTH_AT_LANDING
@pytest.mark.parametrize("case", HEADERS)
def test_a_fragment_that_contradicts_its_group_ends_it(
    story: FragmentStory, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.protocols.as4 import message_splitting

    plan = story.plan()
    assert not read_code(story.house.post(story.seal(plan, 1)))
    changes, code = HEADERS[case]
    made = message_splitting._make_fragment_header
    monkeypatch.setattr(
        message_splitting, "_make_fragment_header", lambda *given: replace(made(*given), **changes)
    )
    wrong = story.seal(plan, 2)
    monkeypatch.undo()
    if not code:
        # What is not compressed may be said to be: the octets are compared when all are there.
        assert not read_code(story.house.post(wrong))
        story.send(plan, range(3, plan.fragment_count + 1))
        story.tick(seconds=1)
        code = "EBMS:0003"
    else:
        assert read_code(story.house.post(wrong)) == code
    (group,) = story.groups()
    assert (group.state, group.code) == ("REFUSED", code)
    assert read_code(story.house.post(story.seal(plan, 2))) == "EBMS:0040"
    check_dropped(story, plan, code)


def check_dropped(story: FragmentStory, plan: as4.SplitPlan, code: str) -> None:
    """Check that the sender is told of its message, once, and that the octets are gone."""
    story.tick(seconds=1)
    story.tick(seconds=1)
    (error,) = [one.unit for one in story.ears.heard]
    assert isinstance(error, ErrorSignal)
    assert (error.ref_to_message_id, error.errors[0].code) == (plan.unit.message_id, code)
    assert not story.joined()
    assert all(row.purged_at is not None for row in story.fragments())
    m = tables.messages.c
    held = select(func.count()).where(m.parcel.is_not(None), m.kind == "Fragment")
    assert story.read(lambda conn: conn.execute(held).scalar()) == 0
    assert not story.tasks("FAILED")


@BOTH_AT_LANDING
def test_what_is_missing_for_too_long_ends_the_group(story: FragmentStory) -> None:
    plan = story.plan()
    story.send(plan, [1, 3])
    story.tick(minutes=59)
    assert [row.state for row in story.groups()] == ["OPEN"]
    story.tick(minutes=2)
    (group,) = story.groups()
    assert (group.state, group.problem, group.code) == ("REFUSED", "GW353", "EBMS:0051")
    assert read_code(story.send(plan, [2])[0]) == "EBMS:0040"
    check_dropped(story, plan, "EBMS:0051")


def test_a_partner_has_so_many_incomplete_messages_at_most(story: FragmentStory) -> None:
    plans = [story.plan() for _ in range(3)]
    answers = [story.send(plan, [1])[0] for plan in plans]
    assert [read_code(one) for one in answers] == ["", "", "EBMS:0054"]
    assert b"GW342" in answers[2].body
    assert len(story.groups()) == 2
    # One that is joined leaves room for the next.
    story.send(plans[0])
    assert read_code(story.send(plans[2], [1])[0]) == "EBMS:0054"
    story.tick(seconds=1)
    assert not read_code(story.send(plans[2], [1])[0])


def test_another_partys_fragment_of_the_same_group_is_of_another_group(story: FragmentStory) -> None:
    """A stranger cannot end the group of a party, nor put a piece into it (part 2 §4.7)."""
    plan = story.plan()
    story.send(plan, [1])
    stranger = story.seal(plan, 2, signer="kpta")
    assert read_code(story.house.post(stranger)) == "EBMS:0101"
    assert [row.state for row in story.groups()] == ["OPEN"]
    story.send(plan)
    story.tick(seconds=1)
    assert len(story.joined()) == 1


def test_a_changed_fragment_is_refused_by_itself(story: FragmentStory) -> None:
    plan = story.plan()
    story.send(plan, [1])
    good = story.seal(plan, 2)
    octets = good.read_octets()
    for old, new in ((b"FragmentNum>2", b"FragmentNum>3"), (octets[-300:-200], bytes(100))):
        changed = Parcel(good.headers, MemoryBody(octets.replace(old, new)))
        assert read_code(story.house.post(changed)) == "EBMS:0101"
    assert [row.state for row in story.groups()] == ["OPEN"]


@pytest.mark.long
def test_octets_that_expand_to_a_bomb_are_refused(story: FragmentStory) -> None:
    from gateway.protocols.payload_parts import compress_content

    content = bytes(60_000_000)
    unit = story.large(1)
    plan = story.plan(replace(unit, payloads=(replace(unit.payloads[0], octets=content),)), 10**6)
    packed = compress_content(plan.octets)
    bomb = replace(
        plan,
        octets=MemoryBody(packed) if isinstance(packed, bytes) else packed,
        terms=replace(plan.terms, compressed=True),
    )
    story.send(bomb)
    story.tick(seconds=1)
    (group,) = story.groups()
    assert (group.state, group.code) == ("REFUSED", "EBMS:0055")
    check_dropped(story, plan, "EBMS:0055")


def test_a_message_above_the_agreed_size_is_refused_with_its_first_fragment(engine: Engine) -> None:
    small = SPLIT.replace(b"open_groups: 2", b"open_groups: 2, message_size: 5000")
    story = FragmentStory(engine, small)
    plan = story.plan()
    assert b"GW102" in story.send(plan, [1])[0].body
    assert [row.state for row in story.groups()] == ["REFUSED"]
    # Without the size in a header, the octets are counted.
    other = story.plan()
    codes = [read_code(one) for one in story.send(other, range(2, other.fragment_count + 1))]
    assert codes[:2] == ["", ""]
    assert codes[2] == "EBMS:0007"


@pytest.mark.long
def test_a_message_whose_fragments_say_something_else_is_refused(story: FragmentStory) -> None:
    plan = story.plan()
    other = replace(plan, unit=replace(plan.unit, conversation_id="another"))
    story.send(other)
    story.tick(seconds=1)
    (group,) = story.groups()
    assert (group.state, group.code) == ("REFUSED", "EBMS:0053")
    check_dropped(story, plan, "EBMS:0053")


def test_without_terms_a_fragment_is_refused(engine: Engine) -> None:
    story = FragmentStory(engine, SPLIT.replace(b"action: Store", b"action: Store\n    splitting: none"))
    answer = story.send(story.plan(), [1])[0]
    assert read_code(answer) == "EBMS:0008"
    assert not story.groups()
    with read_transaction(story.house.engine) as conn:
        assert not messages.list_messages(conn)


def test_a_fragment_that_is_too_large_is_refused(engine: Engine) -> None:
    story = FragmentStory(engine, SPLIT.replace(b"fragment_size: 1000000", b"fragment_size: 300000"))
    plan = story.plan(story.large(400_000), size=310_000)
    assert read_code(story.send(plan, [1])[0]) == "EBMS:0050"
    assert [row.state for row in story.groups()] == ["REFUSED"]


def test_a_joined_message_that_is_signed_is_verified(story: FragmentStory) -> None:
    unit = story.large()
    whole = as4.seal((unit,), None, story.broker.context())
    from gateway.wire import DEFAULT_LIMITS

    story.send(as4.plan_split(whole, as4.SplitTerms(2500), DEFAULT_LIMITS))
    octets = whole.read_octets()
    broken = Parcel(whole.headers, MemoryBody(octets.replace(octets[-500:-400], bytes(100))))
    other = as4.plan_split(broken, as4.SplitTerms(2500), DEFAULT_LIMITS)
    story.tick(seconds=1)
    (row,) = story.joined()
    assert row.message_id == unit.message_id
    story.tick(seconds=1)
    (receipt,) = [one.unit for one in story.ears.heard]
    assert len(receipt.references) == 3
    assert isinstance(other.unit, UserMessage)

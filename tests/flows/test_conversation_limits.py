"""An agreement limits how many conversations begin, and how many are open at a time (CPPA 2.0)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from gateway.message_model import ErrorSignal
from gateway.store import limited_conversations, read_transaction, write_transaction
from tests.flows.craft import without_applications
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT
from tests.kit.story import QUIET, Story

CPA = "urn:example:agreement:broker1-hub:2026"


def limited(words: bytes, agreement: bytes = QUIET) -> bytes:
    return agreement.replace(b"\npmodes:", b"\nconversations: {" + words + b"}\npmodes:")


def send(story: Story, conversation: str, content: bytes = b"<a/>") -> str | None:
    """Send a submission in a conversation; return the words of its refusal, None when it was accepted."""
    unit = story.broker.message("Submit", content, conversation_id=conversation)
    opened = story.broker.open(story.house.post(story.broker.seal(unit))).unit
    if not isinstance(opened, ErrorSignal):
        return None
    (error,) = opened.errors
    assert (error.code, error.location[-17:]) == ("Inconsistent", "eb:ConversationId")
    return error.description


def count(story: Story) -> tuple[int, int]:
    """Return how many conversations have begun, and how many count as open."""
    with write_transaction(story.house.engine) as conn:
        begun = limited_conversations.lock_begun_count(conn, CPA)
        return begun, limited_conversations.count_open(conn, CPA)


@pytest.mark.long
@BOTH
def test_conversations_beyond_the_agreed_number_are_refused(engine: Engine) -> None:
    story = Story(engine, agreement=limited(b"invocations: 2"))
    assert [send(story, one) for one in ("a", "b", "a")] == [None, None, None]
    assert send(story, "c") == "GW316 2 conversations have begun, and the agreement allows 2"
    story.tick()
    # Ended or not: what has begun has begun.
    assert send(story, "d") is not None
    assert send(story, "b") is None
    assert count(story)[0] == 2


@pytest.mark.long
def test_a_conversation_is_open_until_its_case_is_closed(engine: Engine) -> None:
    story = Story(engine, agreement=limited(b"concurrent: 1"))
    story.submit(attach=False, conversation_id="a", root=story.submission(without_applications))
    refused = "GW316 1 conversations are open, and the agreement allows 1"
    assert send(story, "b") == refused
    story.tick()
    assert story.case().state == "CLOSED"
    assert send(story, "b") is None
    # The first may go on, when there is room for it.
    assert send(story, "a") == refused
    story.tick()
    assert send(story, "a") is None
    assert count(story) == (2, 1)


def test_a_repeat_begins_no_conversation(engine: Engine) -> None:
    story = Story(engine, agreement=limited(b"invocations: 1, concurrent: 1"))
    parcel = story.broker.seal(story.broker.message("Submit", b"<a/>"))
    assert story.house.post(parcel).body == story.house.post(parcel).body
    assert count(story) == (1, 1)


def test_of_many_messages_at_once_as_many_begin_as_may(engine: Engine) -> None:
    story = Story(engine, agreement=limited(b"concurrent: 3"))
    together = threading.Barrier(8)

    def begin(number: int) -> bool:
        unit = story.broker.message("Submit", b"<a/>", conversation_id=f"c{number}")
        parcel = story.broker.seal(unit)
        together.wait(60)
        return b"ErrorList" not in story.house.post(parcel).body

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 3
    assert count(story) == (3, 3)


@pytest.mark.parametrize("agreement", [AGREEMENT, limited(b"", AGREEMENT)])
def test_without_a_limit_nothing_is_counted(engine: Engine, agreement: bytes) -> None:
    story = Story(engine, agreement=agreement)
    assert send(story, "a") is None
    with read_transaction(engine) as conn:
        assert limited_conversations.find_conversation(conn, CPA, "a") is None

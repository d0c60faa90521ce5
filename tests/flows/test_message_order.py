"""Messages of a conversation reach the application in the order of their numbers (ebMS 2.0 chapter 9)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from gateway.delivery.agents import local_agent
from gateway.delivery.delivery_worker import DeliveryWorker
from gateway.errors import OUR_MISTAKE, TRANSITION_REFUSED, GatewayError
from gateway.hub.intake.message_order import release_sequence, reset_sequence
from gateway.message_model import MAX_SEQUENCE_NUMBER, ErrorSignal, SequenceNumber, UserMessage
from gateway.store import (
    DeliveryLease,
    WorkPasses,
    message_sequences,
    messages,
    read_transaction,
    write_transaction,
)
from gateway.store.message_sequences import message_sequences as sequences
from tests.kit.databases import in_turn
from tests.kit.house import AGREEMENT
from tests.kit.story import Story

#: An order is agreed for submissions and supplements; receipts then travel by a POST of their own.
ORDERED = AGREEMENT.replace(b"mshSignalsOnly", b"none").replace(
    b"deliver_to: case}", b"deliver_to: case, reliability: {message_order: true}}"
)
TALK = "one-conversation"


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, agreement=ORDERED)


def numbered(story: Story, number: int, status: str = "", **changes: Any) -> UserMessage:
    """Return a message of the broker with a number, the first one with Reset."""
    place = SequenceNumber(number, status or ("Continue" if number else "Reset"))
    content = f"<a n='{number}'/>".encode()
    return story.broker.message("Submit", content, conversation_id=TALK, sequence=place, **changes)


def send(story: Story, unit: UserMessage) -> None:
    answer = story.house.post(story.broker.seal(unit))
    assert (answer.status, answer.body) == (204, b"")


def refusal(story: Story, unit: UserMessage) -> tuple[str, str]:
    """Return code and description of the error that the broker gets for a message by a POST."""
    send(story, unit)
    story.tick()
    (signal,) = [one for one in errors(story) if one.ref_to_message_id == unit.message_id]
    (error,) = signal.errors
    return error.code, error.description


def errors(story: Story) -> list[ErrorSignal]:
    found = [story.broker.open(one).unit for one in story.inbox.signals]
    return [one for one in found if isinstance(one, ErrorSignal)]


def receipts(story: Story) -> int:
    return len(story.inbox.signals) - len(errors(story))


def admitted(story: Story) -> list[str]:
    """Return the MessageIds of the messages that became cases, in this order."""
    with read_transaction(story.house.engine) as conn:
        rows = messages.list_messages(conn, limit=500, direction="in", state="PROCESSED")
        by_case = sorted(rows, key=lambda row: row.case_id)
    return [row.message_id for row in by_case]


def state_of(story: Story, unit: UserMessage) -> tuple[str, str | None]:
    with read_transaction(story.house.engine) as conn:
        row = messages.find_by_message_id(conn, "in", "broker1", unit.message_id)
    assert row is not None
    return row.state, row.problem


@pytest.mark.long
@in_turn
def test_a_later_message_is_acknowledged_at_once_and_waits_for_the_earlier(story: Story) -> None:
    units = [numbered(story, number) for number in range(4)]
    for unit in (units[2], units[1], units[3]):
        send(story, unit)
    story.tick()
    assert (receipts(story), admitted(story)) == (3, [])
    send(story, units[0])
    story.tick()
    assert receipts(story) == 4
    assert admitted(story) == [unit.message_id for unit in units]


def test_a_repeat_of_a_held_message_is_acknowledged_again_and_has_no_second_effect(story: Story) -> None:
    first, second = numbered(story, 0), numbered(story, 1)
    for unit in (second, second, first, second):
        send(story, unit)
        story.tick(seconds=1)
    assert receipts(story) == 4
    assert admitted(story) == [first.message_id, second.message_id]


def test_conversations_do_not_wait_for_each_other(story: Story) -> None:
    held = numbered(story, 1)
    other = replace(numbered(story, 0), conversation_id="another")
    send(story, held)
    send(story, other)
    story.tick()
    assert admitted(story) == [other.message_id]


def admissions(worker: DeliveryWorker) -> list[DeliveryLease]:
    """Let a worker claim; return the tasks among it that admit messages."""
    return [one for one in worker._claim_deliveries() if one.parameters.get("task") == "admit"]


def test_a_task_begins_when_the_one_before_it_has_ended(story: Story) -> None:
    """Two workers claim at the same moment: the second finds nothing to do."""
    for number in (1, 2, 0):
        send(story, numbered(story, number))
    first, second = story.new_worker("w1", threads=8), story.new_worker("w2", threads=8)
    (lease,) = admissions(first)
    assert admissions(second) == []
    first._run_attempt(lease)
    assert len(admissions(second)) == 1


@pytest.mark.long
def test_a_message_that_could_not_be_admitted_does_not_stop_the_next(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [numbered(story, number) for number in range(3)]
    with monkeypatch.context() as patched:

        def broken(*_: Any) -> None:
            raise GatewayError(OUR_MISTAKE, "broken")

        patched.setitem(local_agent._TASKS, "admit", broken)
        for unit in units[:2]:
            send(story, unit)
        for _ in range(12):
            story.tick(minutes=10)
        assert state_of(story, units[0]) == ("FAILED", "GW604")
    send(story, units[2])
    story.tick(minutes=10)
    assert state_of(story, units[2])[0] == "PROCESSED"


@pytest.mark.long
def test_one_that_could_not_be_admitted_does_not_stop_one_behind_a_letter(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message with the next number went to the mailbox, and has no task of its own."""
    ordered_letters = b"    deliver_to: mailbox\n    reliability: {message_order: true}\n"
    story = Story(engine, agreement=ORDERED.replace(b"    deliver_to: mailbox\n", ordered_letters))
    first, last = numbered(story, 0), numbered(story, 2)
    place = SequenceNumber(1, "Continue")
    letter = story.broker.message("Store", b"<letter/>", conversation_id=TALK, sequence=place)
    with monkeypatch.context() as patched:

        def broken(*_: Any) -> None:
            raise GatewayError(OUR_MISTAKE, "broken")

        patched.setitem(local_agent._TASKS, "admit", broken)
        for unit in (first, letter, last):
            send(story, unit)
        for _ in range(12):
            story.tick(minutes=10)
            if state_of(story, first)[0] == "FAILED":
                break
    assert state_of(story, first) == ("FAILED", "GW604")
    story.tick(minutes=10)
    assert state_of(story, last)[0] == "PROCESSED"


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "status", "words"),
    [
        (0, "Continue", "GW304 the number 0 begins a sequence with the status Reset"),
        (7, "Reset", "GW304 a Reset must have the number 0"),
        (MAX_SEQUENCE_NUMBER + 1, "Continue", "GW304 a sequence number must be 0 to 99999999"),
    ],
)
def test_a_number_that_nobody_can_have_is_inconsistent(
    story: Story, number: int, status: str, words: str
) -> None:
    code, told = refusal(story, numbered(story, number, status))
    assert (code, told[: len(words)]) == ("Inconsistent", words)
    assert admitted(story) == []


@pytest.mark.long
def test_a_number_that_was_used_under_another_message_id_is_refused(story: Story) -> None:
    for number in (0, 1, 3):
        send(story, numbered(story, number))
    story.tick()
    delivered = refusal(story, numbered(story, 1))
    assert delivered == (
        "Inconsistent",
        "GW304 number 1 was delivered before, under another MessageId",
    )
    held = refusal(story, numbered(story, 3))
    assert held == ("Inconsistent", "GW304 number 3 has come before, under another MessageId")


@pytest.mark.long
def test_a_reset_begins_anew_and_not_while_something_is_missing(story: Story) -> None:
    units = [numbered(story, number) for number in (0, 1, 3)]
    for unit in units:
        send(story, unit)
    code, words = refusal(story, numbered(story, 0))
    assert code == "Inconsistent"
    assert words.startswith("GW304 a Reset comes when all messages before it are confirmed: number 2 is")
    units.insert(2, numbered(story, 2))
    units += [numbered(story, 0), numbered(story, 1)]
    for unit in (units[2], *units[4:]):
        send(story, unit)
    story.tick()
    assert admitted(story) == [unit.message_id for unit in units]


@pytest.mark.long
def test_the_number_after_the_last_is_zero_again(story: Story) -> None:
    send(story, numbered(story, 0))
    story.tick()
    with write_transaction(story.house.engine) as conn:
        conn.execute(update(sequences).values(next_ordinal=MAX_SEQUENCE_NUMBER))
    units = [numbered(story, MAX_SEQUENCE_NUMBER), numbered(story, 0, "Continue"), numbered(story, 1)]
    for unit in reversed(units):
        send(story, unit)
    story.tick()
    assert admitted(story)[1:] == [unit.message_id for unit in units]


@pytest.mark.long
@pytest.mark.parametrize("hours", [2, None], ids=["its TimeToLive", "PersistDuration"])
def test_what_is_held_too_long_is_given_up_and_its_sender_told(story: Story, hours: int | None) -> None:
    later = {} if hours is None else {"expires_at": story.clock() + timedelta(hours=hours)}
    unit = numbered(story, 1, **later)
    send(story, unit)
    wait = timedelta(hours=hours) if hours else timedelta(seconds=432_000)
    story.tick(seconds=wait.total_seconds() - 1)
    assert (state_of(story, unit), errors(story)) == (("ACCEPTED", None), [])
    story.tick(seconds=1)
    assert state_of(story, unit) == ("FAILED", "GW315")
    (signal,) = errors(story)
    assert signal.ref_to_message_id == unit.message_id
    (error,) = signal.errors
    assert (error.code, error.severity) == ("DeliveryFailure", "Error")
    assert "waited for the message with the number 0" in error.description
    assert story.evidence("message", 1)[:2] == ["NRO", "given_up"]
    # The sender begins anew, and may use the number again.
    units = [numbered(story, 0), numbered(story, 1)]
    for one in units:
        send(story, one)
    story.tick()
    assert admitted(story) == [one.message_id for one in units]


@pytest.mark.long
def test_a_message_that_cannot_be_given_up_delays_no_other(
    story: Story, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    units = [numbered(story, number, expires_at=story.clock() + timedelta(hours=1)) for number in (1, 2)]
    for unit in units:
        send(story, unit)
    apply_event = messages.apply_event

    def refuse_first(conn: Any, message: int, *arguments: Any) -> None:
        if message == 1:
            raise GatewayError(TRANSITION_REFUSED, "message 1 was changed by another meanwhile")
        apply_event(conn, message, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(messages, "apply_event", refuse_first)
        story.tick(seconds=3600)
    assert [state_of(story, unit)[0] for unit in units] == ["ACCEPTED", "FAILED"]
    logged = [record for record in caplog.records if "cannot be given up" in record.message]
    assert [record.message_id for record in logged] == [units[0].message_id]
    story.tick()
    assert state_of(story, units[0]) == ("FAILED", "GW315")


def test_many_messages_that_cannot_be_given_up_delay_no_other(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story.hub, "expiry_passes", WorkPasses(2))
    units = [
        numbered(story, number, expires_at=story.clock() + timedelta(minutes=number))
        for number in (1, 2, 3, 4, 5)
    ]
    for unit in units:
        send(story, unit)
    apply_event = messages.apply_event

    def refuse_first(conn: Any, message: int, *arguments: Any) -> None:
        if message <= 3:
            raise GatewayError(TRANSITION_REFUSED, f"message {message} was changed by another meanwhile")
        apply_event(conn, message, *arguments)

    monkeypatch.setattr(messages, "apply_event", refuse_first)
    story.tick(seconds=3600)
    story.tick(seconds=1)
    assert [state_of(story, unit)[0] for unit in units] == ["ACCEPTED"] * 3 + ["FAILED"] * 2


@pytest.mark.long
def test_too_many_held_messages_are_a_delivery_failure(story: Story) -> None:
    story.hub.max_held_messages = 3
    for number in (2, 3, 4):
        send(story, numbered(story, number))
    assert refusal(story, numbered(story, 5)) == (
        "DeliveryFailure",
        "GW315 too many out-of-sequence messages: 3 wait in this conversation",
    )
    for number in (0, 1):
        send(story, numbered(story, number))
    story.tick()
    assert len(admitted(story)) == 5


def test_a_message_without_an_order_asks_the_database_nothing_about_one(engine: Engine) -> None:
    """No statement of receiving or admitting it names a table of orders or of limited conversations."""
    story, said = Story(engine), []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        said.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        story.submit(b"<a/>", attach=False)
        story.worker.run_once()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    tables = ("message_sequences", "ordered_messages", "ordered_deliveries", "conversation_counts")
    assert said
    assert [one for one in said if any(table in one for table in tables)] == []
    with read_transaction(engine) as conn:
        assert message_sequences.list_sequences(conn, limit=9, includes_empty=True) == []


def operate(story: Story, act: Any, sequence: int = 1) -> Any:
    with write_transaction(story.house.engine) as conn:
        return act(conn, sequence, story.clock(), "operator", "the sender has lost it")


@pytest.mark.long
def test_an_operator_releases_what_waits_for_a_lost_message(story: Story) -> None:
    units = [numbered(story, number) for number in (0, 2, 3, 5)]
    for unit in units:
        send(story, unit)
    done = operate(story, release_sequence)
    assert (done.number_before, done.number_after, len(done.moved)) == (1, 4, 2)
    story.tick()
    assert admitted(story) == [unit.message_id for unit in units[:3]]
    assert refusal(story, numbered(story, 1))[0] == "Inconsistent"
    assert story.evidence("sequence", 1) == ["operator"]
    done = operate(story, release_sequence)
    assert done.number_after == 6
    with pytest.raises(GatewayError) as caught:
        operate(story, release_sequence)
    assert caught.value.problem.id == "GW705"


@pytest.mark.long
def test_an_operator_gives_up_what_waits_and_the_sender_begins_anew(story: Story) -> None:
    units = [numbered(story, number) for number in (0, 2, 3)]
    for unit in units:
        send(story, unit)
    assert len(operate(story, reset_sequence).moved) == 2
    story.tick()
    assert [state_of(story, unit)[0] for unit in units] == ["PROCESSED", "FAILED", "FAILED"]
    assert {one.ref_to_message_id for one in errors(story)} == {unit.message_id for unit in units[1:]}
    again = numbered(story, 0)
    send(story, again)
    story.tick()
    assert admitted(story) == [units[0].message_id, again.message_id]
    with pytest.raises(GatewayError):
        operate(story, reset_sequence)

"""A message, a part, a receipt or a state that is changed by SQL differs from the evidence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, select, update
from sqlalchemy.exc import OperationalError

from gateway.evidence import RowFindings, verify_rows
from gateway.evidence.rows import message_rows, row_verification, state_rows
from gateway.store import InsufficientStorageError, read_transaction, write_transaction
from gateway.store.messages import messages
from gateway.store.transitions import evidence, transitions
from tests.evidence.rows.changed_columns import list_missed_columns, open_trial
from tests.flows.test_evidence import everything_happens
from tests.flows.test_retention import Kept
from tests.kit.databases import BOTH, in_turn
from tests.kit.house import Away
from tests.kit.story import Story


def verify(engine: Engine, share: int | None = None) -> RowFindings:
    with read_transaction(engine) as conn:
        return verify_rows(conn, share)


def list_differences(conn: Connection) -> set[tuple[str, str]]:
    return {(difference.table, difference.row) for difference in verify_rows(conn).differences}


def find_differences(engine: Engine) -> set[tuple[str, str]]:
    with read_transaction(engine) as conn:
        return list_differences(conn)


@pytest.mark.long
@in_turn
def test_each_changed_column_of_a_message_is_found(engine: Engine) -> None:
    everything_happens(Story(engine))
    sound = verify(engine)
    assert (sound.differences, sound.older.total()) == ([], 0)
    compare, compared = message_rows.compare_messages, message_rows.COMPARED
    assert list_missed_columns(engine, compare, compared, messages) == []
    own = [each for each in state_rows.COMPARED if each.table == "messages"]
    assert list_missed_columns(engine, state_rows.compare_message_states, own, messages) == []


@pytest.mark.long
@in_turn
def test_each_changed_state_of_a_case_is_found(engine: Engine) -> None:
    everything_happens(Story(engine))
    own = [each for each in state_rows.COMPARED if each.table in ("cases", "agency_requests")]
    assert list_missed_columns(engine, state_rows.compare_case_states, own) == []


@BOTH
def test_a_step_that_no_machine_permits_is_found(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    with write_transaction(engine) as conn:
        case_steps = transitions.c.machine == "case"
        conn.execute(update(transitions).where(case_steps).values(event="withdraw"))
    assert find_differences(engine) == {("cases", "1")}


@BOTH
def test_a_message_that_is_gone_and_one_that_was_added_are_found(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    for agency in ("KPTA", "KFDA", "NPQS"):
        story.decide(agency)
    story.tick()
    with open_trial(engine) as conn:
        sent = conn.execute(select(messages).where(messages.c.direction == "out")).first()
        assert sent is not None
        conn.execute(delete(messages).where(messages.c.id == sent.id))
        values = {**sent._mapping, "id": 7777, "message_id": "added@hub.example"}
        conn.execute(messages.insert().values(values))
        assert list_differences(conn) == {("messages", sent.message_id), ("messages", "7777")}
        conn.execute(delete(messages))
        assert ("messages", "1") in list_differences(conn)


@BOTH
def test_leaves_of_an_earlier_version_give_no_difference(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    with write_transaction(engine) as conn:
        for row in conn.execute(select(evidence)).all():
            data = json.loads(row.data)
            data.pop("stored", None)
            conn.execute(update(evidence).where(evidence.c.id == row.id).values(data=json.dumps(data)))
    findings = verify(engine)
    assert findings.differences == []
    assert findings.older["messages"] == findings.compared["messages"]
    with write_transaction(engine) as conn:
        conn.execute(update(messages).values(signer_sha256="0" * 64))
    assert ("messages", "1") in find_differences(engine)


@BOTH
def test_of_many_messages_a_random_share_is_compared(engine: Engine) -> None:
    story = Story(engine)
    for _ in range(3):
        story.submit(attach=False)
    findings = verify(engine, share=2)
    chosen = {each.table: each for each in findings.chosen}
    assert (chosen["messages"].compared, chosen["messages"].stored) == (2, 3)
    assert findings.compared["messages"] == 2
    with write_transaction(engine) as conn:
        conn.execute(update(messages).values(from_party="broker2"))
    assert verify(engine, share=2).difference_count == 2


@pytest.mark.parametrize("batch", [1, 2, 200])
def test_every_batch_is_compared(engine: Engine, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_verification, "_BATCH", batch)
    story = Story(engine)
    for _ in range(3):
        story.submit(attach=False)
    for share in (None, 2):
        findings = verify(engine, share)
        assert findings.differences == []
        assert findings.compared["messages"] == (share or 3)


#: Values that the gateway never writes, by database: of a column of a time, and of one of JSON.
UNREADABLE = {
    "sqlite": ("'yesterday'", "'{'", "cast(x'ff00' as text)"),
    "postgresql": ("'infinity'", "repeat('[', 100000)", "repeat('[', 100000)"),
}


@BOTH
def test_what_cannot_be_read_is_a_difference_of_its_row_alone(engine: Engine) -> None:
    story = Story(engine)
    for _ in range(4):
        story.submit(attach=False)
    time, json_text, text = UNREADABLE[engine.dialect.name]
    with write_transaction(engine) as conn:
        conn.exec_driver_sql(f"UPDATE messages SET received_at = {time} WHERE id = 2")
        conn.exec_driver_sql(f"UPDATE messages SET parcel_headers = {json_text} WHERE id = 3")
        conn.exec_driver_sql(f"UPDATE messages SET parcel_headers = {text} WHERE id = 4")
    findings = verify(engine)
    details: dict[str, Any] = {each.row: each.detail for each in findings.differences}
    assert {"2", "3", "4"} == set(details)
    assert all("cannot be read" in detail for detail in details.values())
    assert findings.compared["messages"] == 1


@BOTH
def test_a_lost_connection_is_no_difference(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    Story(engine).submit(attach=False)

    def lose(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("the connection is closed"))

    comparison = replace(row_verification.COMPARISONS[0], compare=lose)
    monkeypatch.setattr(row_verification, "COMPARISONS", (comparison,))
    with pytest.raises(InsufficientStorageError):
        verify(engine)


@BOTH
def test_a_message_that_is_taken_out_of_its_case_is_found(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    with write_transaction(engine) as conn:
        identity = conn.execute(select(messages.c.identity_sha256)).scalar_one()
        conn.execute(update(messages).values(case_id=None))
    assert find_differences(engine) == {("messages", identity)}


@BOTH
def test_many_differences_are_counted_and_the_first_described(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.evidence.rows.row_findings._MAX_DESCRIBED", 2)
    story = Story(engine)
    for _ in range(3):
        story.submit(attach=False)
    with write_transaction(engine) as conn:
        conn.execute(update(messages).values(from_party="broker2"))
    findings = verify(engine)
    assert (findings.difference_count, len(findings.differences)) == (3, 2)


def test_a_receipt_that_is_made_again_after_its_removal_is_the_last_one(
    engine: Engine, tmp_path: Path
) -> None:
    """The first receipt was late, as there was no key when the message came."""
    kept = Kept(engine, tmp_path)
    house, hub = kept.story.house, kept.story.hub
    signer, hub.signer = hub.signer, Away()
    parcel = kept.story.broker.seal(kept.story.broker.message("Store", b"<a/>"))
    assert house.post(parcel).status == 503
    hub.signer = signer
    first = house.post(parcel)
    kept.story.clock.forward(days=11)
    kept.purge()
    assert find_differences(engine) == set()
    again = house.post(parcel)
    assert (again.status, again.body == first.body) == (200, False)
    assert find_differences(engine) == set()
    with write_transaction(engine) as conn:
        conn.execute(update(messages).where(messages.c.id == 1).values(answer_status=500))
    assert find_differences(engine) == {("messages", "1")}

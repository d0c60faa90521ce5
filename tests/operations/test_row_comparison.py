"""A process tells rows that differ from the evidence when it starts, and states the register once."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Engine, delete, select, update

from gateway.evidence import list_subject_leaves, record_register_leaf
from gateway.operations import compare_rows, log_changed_rows, state_register_once
from gateway.store import read_transaction, write_transaction
from gateway.store.parties import certificates, parties
from gateway.store.transitions import evidence
from tests.kit import tables
from tests.kit.databases import BOTH
from tests.kit.rows import NOW
from tests.kit.story import Story


def list_differences(engine: Engine) -> set[tuple[str, str]]:
    with read_transaction(engine) as conn:
        return {(each.table, each.row) for each in compare_rows(conn, None).differences}


@BOTH
def test_the_register_is_stated_once_and_then_compared(engine: Engine) -> None:
    Story(engine)
    for _ in range(2):
        state_register_once(engine, NOW)
    with read_transaction(engine) as conn:
        stated = conn.execute(select(evidence).where(evidence.c.subject_type == "register")).all()
        party = conn.execute(select(parties)).first()
        certificate = conn.execute(select(certificates)).first()
    assert party is not None
    assert certificate is not None
    assert [(row.kind, row.subject_id) for row in stated] == [("register", "register")]
    assert list_differences(engine) == set()
    with write_transaction(engine) as conn:
        conn.execute(parties.insert().values({**party._mapping, "id": "intruder"}))
        its_own = certificates.c.sha256 == certificate.sha256
        conn.execute(update(certificates).where(its_own).values(party_id="intruder"))
    assert list_differences(engine) == {("parties", "intruder"), ("certificates", certificate.sha256)}


def test_a_start_logs_each_difference_with_its_row(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    story = Story(engine)
    story.submit()
    log_changed_rows(engine)
    assert caplog.records == []
    with write_transaction(engine) as conn:
        conn.execute(update(tables.messages).values(from_party="broker2"))
    with caplog.at_level(logging.ERROR):
        log_changed_rows(engine)
    (record,) = caplog.records
    assert record.getMessage().startswith("a row differs from the evidence: its content is not what evidence")
    assert (vars(record)["table"], vars(record)["row"]) == ("messages", "1")


def test_many_differences_are_logged_as_a_number(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.operations.row_comparison._MAX_LOGGED", 2)
    story = Story(engine)
    for _ in range(3):
        story.submit(attach=False)
    with write_transaction(engine) as conn:
        conn.execute(update(tables.messages).values(from_party="broker2"))
    with caplog.at_level(logging.ERROR):
        log_changed_rows(engine)
    assert [record.getMessage()[:9] for record in caplog.records] == ["a row dif", "a row dif", "3 rows di"]


@BOTH
@pytest.mark.parametrize("data", ["no JSON", "[1]", "7", '{"stored":[1]}', '{"stored":{"parties":1}}'])
def test_a_leaf_of_the_register_without_readable_data_hides_no_changed_row(
    engine: Engine, caplog: pytest.LogCaptureFixture, data: str
) -> None:
    story = Story(engine)
    story.submit()
    state_register_once(engine, NOW)
    with write_transaction(engine) as conn:
        record_register_leaf(conn, "register", "register", "party KFDA", None, {"verb": "v"}, NOW)
        (leaf,) = list_subject_leaves(conn, "register", "party KFDA")
        conn.execute(update(evidence).where(evidence.c.id == leaf.id).values(data=data))
        conn.execute(update(parties).where(parties.c.id == "NPQS").values(status="SUSPENDED"))
        conn.execute(update(tables.messages).values(from_party="broker2"))
    assert list_differences(engine) == {("evidence", str(leaf.id)), ("parties", "NPQS"), ("messages", "1")}
    with caplog.at_level(logging.ERROR):
        log_changed_rows(engine)
    assert [vars(record)["table"] for record in caplog.records] == ["messages", "evidence", "parties"]


@BOTH
def test_rows_of_the_register_that_cannot_be_read_hide_no_other(engine: Engine) -> None:
    Story(engine)
    state_register_once(engine, NOW)
    wrong = "'yesterday'" if engine.dialect.name == "sqlite" else "'infinity'"
    with write_transaction(engine) as conn:
        conn.exec_driver_sql(f"UPDATE parties SET created_at = {wrong} WHERE id = 'KPTA'")
        conn.execute(update(parties).where(parties.c.id == "NPQS").values(status="SUSPENDED"))
        conn.execute(delete(certificates))
    differences = list_differences(engine)
    assert {("parties", "KPTA"), ("parties", "NPQS")} < differences
    assert {table for table, _ in differences} == {"parties", "certificates"}

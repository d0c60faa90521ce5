"""Long names of parties, as the register has always taken them, stop neither their party nor others."""

from __future__ import annotations

from sqlalchemy import Engine, text

from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.hub.intake.refusal_tally import RefusalTally
from gateway.store import (
    daily_statistics,
    messages,
    read_transaction,
    refusal_counts,
    write_transaction,
)
from tests.kit.house import Clock
from tests.kit.story import Story

LONG = "주식회사" * 25  # 100 syllables: 300 octets


def rename_sender(engine: Engine) -> None:
    """Give the sender a name of 100 syllables, which `gateway party add` takes."""
    driver = engine.raw_connection()
    driver.execute("PRAGMA foreign_keys = OFF")
    tables = [
        row[0] for row in driver.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    ]
    for table in tables:
        for row in driver.execute(f"PRAGMA table_info({table})").fetchall():
            if row[1] in ("party_id", "on_behalf_of") or (table, row[1]) == ("parties", "id"):
                driver.execute(f"UPDATE {table} SET {row[1]} = ? WHERE {row[1]} = 'broker1'", (LONG,))
    driver.commit()
    driver.execute("PRAGMA foreign_keys = ON")
    driver.close()


def test_a_partner_with_a_long_name_is_served(engine: Engine) -> None:
    story = Story(engine)
    rename_sender(engine)
    story.house.hub = story.house.new_hub()
    answer = story.house.post(story.broker.seal(story.broker.message("Submit")))
    assert b"GW113" not in answer.body
    with read_transaction(engine) as conn:
        assert [row.from_party for row in messages.list_messages(conn)] == [LONG]


def test_a_refusal_of_a_long_name_does_not_stop_the_counts_of_others(engine: Engine) -> None:
    tally = RefusalTally(engine, Clock())
    tally.count_refusal(LONG, GatewayError(SIGNER_MISMATCH, "a"))
    tally.count_refusal("broker2", GatewayError(SIGNER_MISMATCH, "a"))
    tally.store_counts()
    tally.store_counts()
    with read_transaction(engine) as conn:
        assert "broker2" in [row.sender for row in refusal_counts.list_refusals(conn)]


def test_a_case_of_a_long_name_does_not_stop_the_statistics_of_others(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    with write_transaction(engine) as conn:
        conn.execute(text("UPDATE cases SET declarant = :l"), {"l": LONG})
    for _ in range(6):
        story.hub.statistics.count_new_steps()
    with read_transaction(engine) as conn:
        assert daily_statistics.read_counted_until(conn) is not None

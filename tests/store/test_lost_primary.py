"""A standby becomes the primary: with all commits, or without those that it never had."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.evidence import record_evidence
from gateway.store import (
    DatabaseHeldError,
    InsufficientStorageError,
    keep_database_mark,
    make_engine,
    migrate_schema,
    write_transaction,
)
from tests.kit.standby_pair import StandbyPair

pytestmark = pytest.mark.long
AT = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def pair() -> Iterator[StandbyPair]:
    """Give a pair of servers whose standby may become the primary."""
    made = StandbyPair()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def engine(pair: StandbyPair, tmp_path: Path) -> Iterator[Engine]:
    hosts = ",".join(f"127.0.0.1:{pair.ports[name]}" for name in ("primary", "standby"))
    url = f"postgresql://postgres@{hosts}/{pair.create_database()}?connect_timeout=2"
    made = make_engine(url, mark_path=tmp_path / "acknowledged.json", max_wait_seconds=5)
    migrate_schema(made)
    yield made
    made.dispose()


def record(engine: Engine, number: int) -> None:
    with write_transaction(engine) as conn:
        record_evidence(conn, "closed", "case", number, None, {"number": number}, AT)


def record_after_failover(engine: Engine, number: int) -> None:
    """Record evidence on the new primary; a connection to the old one fails first."""
    for _ in range(20):
        try:
            record(engine, number)
        except DatabaseHeldError:
            raise
        except InsufficientStorageError:
            continue
        return
    raise AssertionError("the new primary was not found")


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_standby_with_all_commits_is_not_held(pair: StandbyPair, engine: Engine, is_marked: bool) -> None:
    record(engine, 1)
    keep_database_mark(engine)
    record(engine, 2)
    if is_marked:
        keep_database_mark(engine)
    pair.fail_over()
    record_after_failover(engine, 3)
    keep_database_mark(engine)


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_standby_without_the_last_commit_is_held(
    pair: StandbyPair, engine: Engine, is_marked: bool
) -> None:
    record(engine, 1)
    keep_database_mark(engine)
    pair.set_synchronous("")
    pair.cut_standby()
    record(engine, 2)
    if is_marked:
        keep_database_mark(engine)
    pair.fail_over()
    with pytest.raises(DatabaseHeldError):
        record_after_failover(engine, 3)

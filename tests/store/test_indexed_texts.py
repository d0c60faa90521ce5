"""Every text in an index is bounded in octets on both databases, and a longer one is a refusal of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    insert,
    select,
    text,
)
from sqlalchemy.types import TypeDecorator

from gateway.errors import GatewayError
from gateway.monitor.health import find_readiness_problem
from gateway.store import (
    InsufficientStorageError,
    get_database_state,
    make_engine,
    read_transaction,
    write_transaction,
)
from gateway.store.parties import parties
from gateway.store.table_types import IndexedText, Instant, Json, metadata
from gateway.store.tables import describe_tables
from tests.kit.databases import BOTH
from tests.kit.long_texts import make_text_of_octets

#: Octets of the columns in an index entry of PostgreSQL: 2,704, less its header, and less the length, the
#: alignment and the largest value of each of at most nine columns that are no text.
_ENTRY_OCTETS = 2704 - 8 - 9 * 12
NOW = datetime(2026, 1, 2, tzinfo=UTC)
_TABLES = sorted(describe_tables())


def list_indexes(table: Table) -> Iterator[list[Column]]:
    """Yield the columns of each index of a table."""
    yield list(table.primary_key.columns)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield list(constraint.columns)
    for index in table.indexes:
        yield list(index.columns)


def is_text(column: Column) -> bool:
    kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
    return isinstance(kind, Text)


@pytest.fixture
def postgresql(postgresql_url: str) -> Iterator[Engine]:
    made = make_engine(postgresql_url)
    yield made
    made.dispose()


@pytest.mark.parametrize("name", _TABLES)
def test_the_texts_of_each_index_fit_into_one_entry(name: str) -> None:
    for columns in list_indexes(metadata.tables[name]):
        texts = [column for column in columns if is_text(column)]
        assert [column.name for column in texts if not isinstance(column.type, IndexedText)] == []
        assert sum(column.type.max_octets for column in texts) <= _ENTRY_OCTETS, columns


def make_longest_row(table: Table) -> dict[str, object]:
    """Return a row whose indexed texts have the largest number of octets."""
    values: dict[type, object] = {
        BigInteger: 2**60,
        Integer: 2**30,
        Boolean: True,
        Date: date(9999, 1, 1),
        Instant: datetime(9999, 1, 1, tzinfo=UTC),
        LargeBinary: b"",
        Json: {},
        Text: "",
    }
    return {
        column.name: make_text_of_octets(column.type.max_octets, number)
        if isinstance(column.type, IndexedText)
        else next(value for kind, value in values.items() if isinstance(column.type, kind))
        for number, column in enumerate(table.columns)
    }


def test_postgresql_takes_the_longest_texts_of_every_table(postgresql: Engine) -> None:
    for name in _TABLES:
        copy = metadata.tables[name].to_metadata(MetaData(), name=f"{name}_copied")
        with write_transaction(postgresql) as conn:
            conn.execute(text(f"CREATE TABLE {copy.name} (LIKE {name} INCLUDING INDEXES)"))
            conn.execute(insert(copy), [make_longest_row(copy)])


@BOTH
def test_one_octet_more_is_refused_and_nothing_is_stored(engine: Engine) -> None:
    row = {"id": "P", "name": "P", "role": "broker", "status": "ACTIVE", "created_at": NOW}
    with write_transaction(engine) as conn:
        conn.execute(insert(parties), [row | {"id": make_text_of_octets(800)}])
    with pytest.raises(GatewayError) as caught, write_transaction(engine) as conn:
        conn.execute(insert(parties), [row, row | {"id": make_text_of_octets(801)}])
    assert (
        str(caught.value)
        == "GW113 a text has 801 octets in UTF-8; at most 800 are stored in the table parties"
    )
    assert not caught.value.problem.retry
    assert not get_database_state(engine).reserve.is_lacking
    with read_transaction(engine) as conn:
        assert conn.execute(select(parties.c.id)).scalars().all() == [make_text_of_octets(800)]


@BOTH
def test_a_longer_text_is_not_found(engine: Engine) -> None:
    with read_transaction(engine) as conn:
        assert conn.execute(select(parties).where(parties.c.id == make_text_of_octets(5000))).all() == []
        assert conn.execute(select(parties).where(parties.c.id.in_([make_text_of_octets(5000)]))).all() == []
        wanted = select(parties).where(parties.c.id == bindparam("wanted"))
        assert conn.execute(wanted, {"wanted": make_text_of_octets(5000)}).all() == []
        assert conn.execute(select(parties).where(parties.c.id.like("a" * 5000))).all() == []


def test_a_value_that_the_server_cannot_index_is_no_full_disk(postgresql: Engine) -> None:
    with write_transaction(postgresql) as conn:
        conn.exec_driver_sql("CREATE TABLE unbounded (value TEXT PRIMARY KEY)")
    insert_value = text("INSERT INTO unbounded VALUES (:value)")
    with pytest.raises(GatewayError) as caught, write_transaction(postgresql) as conn:
        conn.execute(insert_value, {"value": make_text_of_octets(2720)})
    assert str(caught.value) == "GW113 a value is longer than an index of the table unbounded holds"
    reserve = get_database_state(postgresql).reserve
    assert (reserve.is_lacking, reserve.refusals) == (False, 0)
    assert find_readiness_problem(postgresql) is None


@pytest.mark.parametrize("begin", [write_transaction, read_transaction])
def test_a_statement_that_took_too_long_is_told_to_its_caller_alone(
    postgresql: Engine, begin: Callable[[Engine], AbstractContextManager[Connection]]
) -> None:
    with pytest.raises(InsufficientStorageError) as caught, begin(postgresql) as conn:
        conn.exec_driver_sql("SET LOCAL statement_timeout = 20; SELECT pg_sleep(5)")
    assert caught.value.detail.startswith("the database did not finish this: ")
    assert "statement_timeout of the role" in caught.value.detail
    assert not get_database_state(postgresql).reserve.is_lacking
    assert find_readiness_problem(postgresql) is None


def test_a_server_without_transaction_numbers_is_told_to_everybody(postgresql: Engine) -> None:
    """PostgreSQL says 54000, too, where it takes no writes before its transaction numbers run out."""
    refuse = (
        "DO $$ BEGIN RAISE EXCEPTION 'database is not accepting commands that assign new transaction IDs' "
        "USING ERRCODE = '54000'; END $$"
    )
    with (
        pytest.raises(InsufficientStorageError, match="accepts no writes now: database is not accepting"),
        write_transaction(postgresql) as conn,
    ):
        conn.exec_driver_sql(refuse)
    assert get_database_state(postgresql).reserve.is_lacking

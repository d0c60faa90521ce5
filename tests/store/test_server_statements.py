"""Statements that PostgreSQL is given through libpq: prepared, sent together, awaited for so long."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from sqlalchemy import Boolean, Engine, Integer, LargeBinary, String, bindparam, select, text
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, OperationalError, ProgrammingError

from gateway.errors import GatewayError
from gateway.store import make_engine, read_transaction, server_statements, write_transaction
from gateway.store.postgresql_connections import is_server_away, take_statements
from gateway.store.server_statements import ServerStatements, find_parameter_type, make_server_text
from gateway.store.transaction_conflicts import rerun_after_conflict
from tests.kit.databases import Templates

_PREPARED = "SELECT name, statement FROM pg_prepared_statements ORDER BY name"


@pytest.fixture(scope="module")
def url(templates: Templates) -> str:
    return templates.empty("postgresql")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    found = make_engine(url, seconds=5)
    yield found
    found.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Any]:
    with engine.connect() as conn:
        yield conn.connection.dbapi_connection


def prepare_text(sql: str, *types: int) -> Any:
    found = make_server_text(sql, types)
    assert found is not None
    return found


def list_prepared(connection: Any) -> list[str]:
    return [row[1] for row in connection.execute(_PREPARED).fetchall() if row[0].startswith("gateway_")]


def test_a_parameter_without_a_cast_needs_a_type_that_is_known() -> None:
    assert make_server_text("SELECT $1::VARCHAR, CAST($2 AS bigint)", (0, 0)) is not None
    assert make_server_text("SELECT $1::VARCHAR, $2", (0, 0)) is None
    assert make_server_text("SELECT $1::VARCHAR WHERE $1", (0,)) is None
    octets, truth = find_parameter_type(LargeBinary()), find_parameter_type(Boolean())
    found = prepare_text("INSERT INTO t VALUES ($1, $2, $3::TEXT)", octets, truth, 0)
    assert list(found.types) == [17, 16, 0]
    assert find_parameter_type(Integer()) == 20
    assert find_parameter_type(String()) == 0


def test_a_statement_is_prepared_when_it_comes_again(connection: Any) -> None:
    statements, one = take_statements(connection), prepare_text("SELECT $1::BIGINT + 1", 0)
    assert statements.execute(one, [1]).rows == [(2,)]
    assert list_prepared(connection) == []
    for number in range(3):
        assert statements.execute(one, [number]).rows == [(number + 1,)]
    assert list_prepared(connection) == ["SELECT $1::BIGINT + 1"]
    connection.rollback()
    assert statements.execute(one, [5]).rows == [(6,)]
    assert list_prepared(connection) == ["SELECT $1::BIGINT + 1"]


def test_what_was_used_longest_ago_is_forgotten(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_statements, "_MOST_PREPARED", 3)
    statements = take_statements(connection)
    texts = [prepare_text(f"SELECT $1::BIGINT + {number}", 0) for number in range(8)]
    for one in (*texts, texts[0], texts[7]):
        for _ in range(2):
            assert statements.execute(one, [1]).rows == [(1 + int(one.sql.split()[-1]),)]
    assert len(list_prepared(connection)) <= 4
    assert {"SELECT $1::BIGINT + 0", "SELECT $1::BIGINT + 7"} <= set(list_prepared(connection))


def test_no_more_are_prepared_than_are_to_be(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_statements, "_MOST_PREPARED", 5)
    statements = take_statements(connection)
    texts = [prepare_text(f"SELECT $1::BIGINT + {number}", 0) for number in range(40)]
    for _ in range(2):
        for one in texts:
            statements.execute(one, [1])
    for one in texts:
        for _ in range(2):
            statements.execute(one, [1])
    # What is forgotten last is told with the next statement that is prepared.
    assert len(list_prepared(connection)) <= 6
    connection.rollback()
    with pytest.raises(psycopg.DataError):
        statements.execute(texts[0], ["x"])
    connection.rollback()
    for one in texts:
        for _ in range(2):
            assert statements.execute(one, [1]).rows == [(1 + int(one.sql.split()[-1]),)]
    assert len(list_prepared(connection)) <= 6


def test_what_could_not_be_prepared_is_prepared_the_next_time(connection: Any) -> None:
    statements, one = take_statements(connection), prepare_text("SELECT $1::BIGINT FROM later", 0)
    for _ in range(3):
        with pytest.raises(psycopg.errors.UndefinedTable):
            statements.execute(one, [1])
        connection.rollback()
    connection.execute("CREATE TEMPORARY TABLE later AS SELECT 1")
    for _ in range(3):
        assert statements.execute(one, [7]).rows == [(7,)]


def test_the_same_text_with_other_types_is_another_statement(engine: Engine) -> None:
    truth, octets = (select(bindparam("v", type_=one()).label("v")) for one in (Boolean, LargeBinary))
    for _ in range(3):
        with read_transaction(engine) as conn:
            assert conn.execute(truth, {"v": True}).scalar() is True
            assert bytes(conn.execute(octets, {"v": b"\x01"}).scalar()) == b"\x01"
            assert bytes(conn.execute(octets, {"v": b""}).scalar()) == b""
    assert make_server_text("SELECT $1, $2", (17, 0)) is None


def test_values_that_need_the_driver_are_converted_by_it(engine: Engine) -> None:
    asked = select(bindparam("n", type_=Integer()).label("n"), bindparam("t", type_=Boolean()).label("t"))
    for value, stored in ((True, 1), (1.0, 1), (Decimal("5.0"), 5), (7, 7)):
        for _ in range(3):
            with read_transaction(engine) as conn:
                assert tuple(conn.execute(asked, {"n": value, "t": False}).one()) == (stored, False)


@pytest.mark.parametrize("change", ["ALTER COLUMN id TYPE bigint", "ALTER COLUMN name TYPE text"])
def test_a_plan_from_before_a_change_of_the_schema_is_made_anew(engine: Engine, change: str) -> None:
    with write_transaction(engine) as conn:
        conn.execute(text("DROP TABLE IF EXISTS changed"))
        conn.execute(text("CREATE TABLE changed AS SELECT 1 AS id, CAST('x' AS varchar) AS name"))
    found = text("SELECT id, name FROM changed WHERE id = CAST(:id AS integer)")

    @rerun_after_conflict
    def find() -> Any:
        with write_transaction(engine) as conn:
            return tuple(conn.execute(found, {"id": 1}).one())

    for _ in range(3):
        assert find() == (1, "x")
    other = make_engine(engine.url.render_as_string(hide_password=False))
    with write_transaction(other) as conn:
        conn.execute(text(f"ALTER TABLE changed {change}"))
    other.dispose()
    for _ in range(2):
        assert find() == (1, "x")


def test_a_server_that_has_forgotten_its_statements_prepares_them_again(engine: Engine) -> None:
    one = text("SELECT CAST(:n AS integer)")

    @rerun_after_conflict
    def ask(*further: str) -> Any:
        with write_transaction(engine) as conn:
            for word in further:
                conn.execute(text(word))
            return conn.execute(one, {"n": 1}).scalar()

    assert [ask(), ask(), ask(), ask("DISCARD PLANS")] == [1, 1, 1, 1]
    with write_transaction(engine) as conn:
        conn.execute(text("DEALLOCATE ALL"))
    assert [ask(), ask(), ask()] == [1, 1, 1]


def test_a_rollback_lets_no_statement_be_forgotten(engine: Engine) -> None:
    for times in range(3):
        with engine.connect() as conn:
            for _ in range(8):
                conn.exec_driver_sql("SELECT 1 + 1")
        with suppress(ZeroDivisionError), write_transaction(engine) as conn:
            for number in range(8):
                conn.exec_driver_sql("SELECT 2 + 2")
                assert conn.execute(text("SELECT CAST(:n AS integer)"), {"n": number}).scalar() == number
            if times < 2:
                raise ZeroDivisionError


def test_a_constraint_that_is_looked_at_by_the_commit_is_told_as_itself(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        conn.execute(text("DROP TABLE IF EXISTS late"))
        conn.execute(text("CREATE TABLE late (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    with pytest.raises(IntegrityError), write_transaction(engine) as conn:
        conn.execute(text("INSERT INTO late VALUES (1), (1)"))
    with read_transaction(engine) as conn:
        assert conn.execute(text("SELECT count(*) FROM late")).scalar() == 0


def test_a_statement_that_fails_ends_its_transaction_and_no_other_one(engine: Engine) -> None:
    wrong = select(bindparam("n", type_=Integer()) / bindparam("d", type_=Integer()))
    with write_transaction(engine) as conn:
        conn.execute(text("CREATE TABLE failed (number integer)"))
    for times in range(3):
        # The first time in its own BEGIN, later in one that is prepared.
        with pytest.raises(DataError, match="division by zero"), write_transaction(engine) as conn:
            conn.execute(wrong, {"n": 1, "d": 0})
        with suppress(DataError), write_transaction(engine) as conn:
            conn.execute(text("INSERT INTO failed VALUES (CAST(:n AS integer))"), {"n": times})
            conn.execute(wrong, {"n": 1, "d": 0})
        with write_transaction(engine) as conn:
            assert conn.execute(wrong, {"n": 4, "d": 2}).scalar() == 2
            assert conn.execute(text("SELECT count(*) FROM failed")).scalar() == 0
    with pytest.raises(ProgrammingError), write_transaction(engine) as conn:
        conn.execute(text("SELECT nothing FROM nowhere"))


def test_a_failed_transaction_is_never_taken_for_a_committed_one(engine: Engine) -> None:
    wrong = text("SELECT 1 / CAST(:d AS integer)")

    def swallow() -> None:
        with write_transaction(engine) as conn:
            conn.execute(text("CREATE TABLE swallowed (number integer)"))
            with suppress(DataError):
                conn.execute(wrong, {"d": 0})

    with pytest.raises(DatabaseError, match="had failed"):
        swallow()
    with read_transaction(engine) as conn:
        assert conn.execute(text("SELECT to_regclass('swallowed')")).scalar() is None


def test_the_first_statement_begins_with_the_properties_of_the_connection(engine: Engine) -> None:
    shown = text("SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation')")
    with read_transaction(engine) as conn:
        assert tuple(conn.execute(shown).one()) == ("on", "repeatable read")
    with write_transaction(engine) as conn:
        assert tuple(conn.execute(shown).one()) == ("off", "read committed")
        driver: Any = conn.connection.dbapi_connection
        assert take_statements(driver).is_in_transaction
    assert not take_statements(driver).is_in_transaction


def test_no_transaction_is_begun_where_each_statement_commits(connection: Any) -> None:
    connection.autocommit = True
    assert take_statements(connection).execute(prepare_text("SELECT $1::TEXT", 0), ["x"]).rows == [("x",)]
    assert not take_statements(connection).is_in_transaction
    connection.autocommit = False


VALUES = ("", "x", "'", "\\", "%s", "$1", "{a,b}", "\u00e9\U0001f600\ufffd", "NULL", "a" * 3_000_000)


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_texts_and_octets_arrive_as_they_are(connection: Any, value: str) -> None:
    octets = value.encode() + bytes(range(256))
    both = prepare_text("SELECT $1::TEXT, $2, $3::TEXT[], $4::BIGINT, $5", 0, 17, 0, 0, 16)
    for _ in range(3):
        found = take_statements(connection).execute(both, [value, octets, [value, None], None, True])
        assert found.rows == [(value, octets, [value, None], None, True)]


def test_a_value_that_no_text_may_have_is_refused_before_anything_is_sent(connection: Any) -> None:
    one = prepare_text("SELECT $1::TEXT", 0)
    with pytest.raises(psycopg.DataError):
        take_statements(connection).execute(one, ["a\0b"])
    assert take_statements(connection).execute(one, ["ab"]).rows == [("ab",)]


@pytest.mark.parametrize("number", [1, 2, 1203])
def test_rows_are_changed_one_by_one_and_counted(connection: Any, number: int) -> None:
    connection.execute("CREATE TEMPORARY TABLE many AS SELECT generate_series(1, 2000) AS id, 0 AS value")
    change = prepare_text("UPDATE many SET value = $1::INTEGER WHERE id = $2::INTEGER", 0, 0)
    statements = take_statements(connection)
    for _ in range(2):
        rows = [[one, one] for one in range(2, number + 2)]
        assert statements.execute_rows(change, rows).rowcount == number
    found = connection.execute("SELECT count(*), sum(value) FROM many WHERE value > 0").fetchone()
    assert found == (number, sum(range(2, number + 2)))
    with pytest.raises(psycopg.DataError):
        statements.execute_rows(change, [[1, 1], ["x", 2], [3, 3]])
    connection.rollback()


def test_an_answer_is_awaited_for_so_long(url: str) -> None:
    engine = make_engine(url, seconds=0.3)
    try:
        drivers: list[Any] = []

        def wait() -> None:
            with write_transaction(engine) as conn:
                drivers.append(conn.connection.dbapi_connection)
                conn.execute(text("SELECT pg_sleep(CAST(:s AS integer))"), {"s": 3})

        with pytest.raises(GatewayError, match=r"GW806.*did not answer"):
            wait()
        assert drivers[0].closed
        with write_transaction(engine) as conn:
            assert conn.execute(text("SELECT 1")).scalar() == 1
    finally:
        engine.dispose()


def test_an_interrupt_leaves_no_connection_whose_answers_are_of_another_statement(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: ServerStatements, __: Any) -> None:
        raise KeyboardInterrupt

    with write_transaction(engine) as conn:
        conn.execute(text("SELECT 1"))
    with monkeypatch.context() as patch:
        patch.setattr(ServerStatements, "_wait", interrupt)
        with pytest.raises(KeyboardInterrupt), write_transaction(engine) as conn:
            conn.execute(text("SELECT 2, pg_sleep(0.1)"))
    with write_transaction(engine) as conn:
        assert conn.execute(text("SELECT 3")).scalar() == 3


def test_a_server_that_ends_a_connection_is_an_operational_error(engine: Engine) -> None:
    with engine.connect() as conn, engine.connect() as other:
        number = conn.execute(text("SELECT pg_backend_pid()")).scalar()
        other.execute(text("SELECT pg_terminate_backend(:n)"), {"n": number})
        time.sleep(0.2)
        with pytest.raises(OperationalError):
            conn.execute(text("SELECT 1"))


def test_threads_do_not_share_what_they_execute(engine: Engine) -> None:
    wrong: list[Any] = []
    asked = select(bindparam("a", type_=Integer()), bindparam("b", type_=String()))

    def ask(thread: int) -> None:
        for number in range(200):
            with read_transaction(engine) as conn:
                given = {"a": thread * 1000 + number, "b": f"{thread}"}
                if tuple(conn.execute(asked, given).one()) != tuple(given.values()):
                    wrong.append(given)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert wrong == []


STATES = {None: True, "08006": True, "57P01": True, "57P03": True, "25006": True}
STATES |= {"08P01": False, "53100": False, "53300": False, "57014": False, "23505": False}


@pytest.mark.parametrize("state", STATES)
def test_a_server_that_is_away_is_no_full_disk(state: str | None) -> None:
    problem = psycopg.OperationalError() if state is None else psycopg.errors.lookup(state)()
    assert problem.sqlstate == state
    assert is_server_away(problem) == STATES[state]
    assert not is_server_away(sqlite3.OperationalError("database or disk is full"))

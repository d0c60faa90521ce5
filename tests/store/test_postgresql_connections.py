"""Connections to PostgreSQL: statements are prepared, answers awaited for so long, failures told."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, Integer, String, bindparam, select, text
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, OperationalError, ProgrammingError

from gateway.errors import GatewayError
from gateway.store import (
    make_engine,
    read_transaction,
    rerun_after_conflict,
    write_transaction,
)
from tests.kit.databases import Templates

#: After so many executions a statement is prepared.
_TIMES = 7


@pytest.fixture(scope="module")
def url(templates: Templates) -> str:
    return templates.empty("postgresql")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    found = make_engine(url, max_wait_seconds=5)
    yield found
    found.dispose()


def test_a_statement_that_comes_again_is_prepared(engine: Engine) -> None:
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%AS again%'"
    with write_transaction(engine) as conn:
        for number in range(_TIMES):
            conn.execute(text("SELECT CAST(:number AS bigint) AS again"), {"number": number})
        assert conn.exec_driver_sql(prepared.replace("%", "%%")).scalar() == 1


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

    for _ in range(_TIMES):
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

    assert [ask() for _ in range(_TIMES)] == [1] * _TIMES
    assert ask("DISCARD PLANS") == 1
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
    for times in range(_TIMES):
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


def test_an_answer_is_awaited_for_so_long(url: str) -> None:
    engine = make_engine(url, max_wait_seconds=2)  # short: it must run out
    try:
        drivers: list[Any] = []

        def wait() -> None:
            with write_transaction(engine) as conn:
                drivers.append(conn.connection.dbapi_connection)
                conn.execute(text("SELECT pg_sleep(CAST(:s AS integer))"), {"s": 60})

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
    def interrupt(waits: Generator[Any, Any, Any], *_: Any, **__: Any) -> None:
        next(waits)
        raise KeyboardInterrupt

    with write_transaction(engine) as conn:
        conn.execute(text("SELECT 1"))
    with monkeypatch.context() as patch:
        patch.setattr(psycopg.waiting, "wait", interrupt)
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

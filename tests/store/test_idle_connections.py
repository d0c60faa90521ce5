"""A connection that was idle is tested before its use, and one that was in use a moment ago is not."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from gateway.errors import GatewayError
from gateway.store import (
    get_database_state,
    make_engine,
    read_transaction,
    write_transaction,
)
from gateway.store.postgresql_connections import replace_lost_connections
from tests.kit.databases import Templates


def _end_all_but(engine: Engine, url: str) -> None:
    """Let the server end every connection to the database of an engine, from a connection of its own."""
    other = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    ends = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with other.connect() as conn:
        assert conn.execute(ends).all()
    other.dispose()


def _ask(engine: Engine) -> int:
    with read_transaction(engine) as conn:
        return int(conn.execute(text("SELECT 1")).scalar_one())


def test_an_idle_connection_that_the_server_has_ended_is_replaced_unseen(
    templates: Templates,
) -> None:
    url = templates.empty("postgresql")
    engine = make_engine(url)
    replace_lost_connections(engine, idle=0)
    try:
        assert _ask(engine) == 1
        _end_all_but(engine, url)
        assert _ask(engine) == 1
    finally:
        engine.dispose()


def test_an_idle_connection_of_the_pool_is_replaced_unseen(templates: Templates) -> None:
    url = templates.empty("postgresql")
    engine = make_engine(url)
    replace_lost_connections(engine, idle=0)
    try:
        for _ in range(2):
            with engine.connect() as conn:
                assert conn.execute(text("SELECT 1")).scalar_one() == 1
            _end_all_but(engine, url)
    finally:
        engine.dispose()


@pytest.mark.parametrize("step", [0, -3600], ids=["", "clock-set-back"])
def test_one_lost_connection_lets_no_other_one_be_kept(
    templates: Templates, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    url = templates.empty("postgresql")
    engine = make_engine(url)
    now = time.time
    try:
        # Two of the same kind are in use at once, so two rest afterwards.
        with write_transaction(engine) as one, write_transaction(engine) as other:
            assert one is not other
            for conn in (one, other):
                conn.execute(text("SELECT 1"))
        monkeypatch.setattr(time, "time", lambda: now() + step)
        _end_all_but(engine, url)
        with pytest.raises(GatewayError, match="GW806"), write_transaction(engine) as conn:
            conn.execute(text("SELECT 1"))
        assert get_database_state(engine).reserve.is_lacking
        with write_transaction(engine) as conn:
            assert conn.execute(text("SELECT 1")).scalar_one() == 1
        # No disk was full, so the commit has shown that the server is there.
        assert not get_database_state(engine).reserve.is_lacking
    finally:
        engine.dispose()


@pytest.mark.long
@pytest.mark.parametrize("lost", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_a_transaction_whose_rollback_fails_is_no_part_of_the_next(
    templates: Templates, monkeypatch: pytest.MonkeyPatch, lost: type[BaseException]
) -> None:
    def fail(_: Any) -> None:
        raise lost

    engine = make_engine(templates.empty("postgresql"))
    try:
        with write_transaction(engine) as conn:
            conn.execute(text("CREATE TABLE kept (number integer)"))
        with monkeypatch.context() as patch:
            patch.setattr(engine.dialect, "do_rollback", fail)
            with suppress(lost), write_transaction(engine) as conn:
                conn.execute(text("INSERT INTO kept VALUES (1)"))
                raise ZeroDivisionError
        with write_transaction(engine) as conn:
            conn.execute(text("INSERT INTO kept VALUES (2)"))
        with read_transaction(engine) as conn:
            assert conn.execute(text("SELECT number FROM kept")).scalars().all() == [2]
    finally:
        engine.dispose()


def test_what_one_kind_of_transaction_has_lost_no_other_kind_uses(templates: Templates) -> None:
    url = templates.empty("postgresql")
    engine = make_engine(url)
    number = text("SELECT pg_backend_pid()")
    try:
        with read_transaction(engine) as outer:
            used = outer.execute(number).scalar_one()
            with read_transaction(engine) as conn:
                resting = conn.execute(number).scalar_one()
            with write_transaction(engine) as conn:
                lost = conn.execute(number).scalar_one()
            other = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
            with other.connect() as conn:
                conn.execute(text(f"SELECT pg_terminate_backend({lost})"))
            other.dispose()
            with pytest.raises(GatewayError, match="GW806"), write_transaction(engine) as conn:
                conn.execute(number)
        # One of them was in use when the other kind noticed, the other one rested.
        for _ in range(3):
            with read_transaction(engine) as one, read_transaction(engine) as two:
                found = {conn.execute(number).scalar_one() for conn in (one, two)}
            assert not found & {used, resting}
    finally:
        engine.dispose()


@pytest.mark.long
def test_no_more_connections_rest_than_there_are_threads(templates: Templates) -> None:
    url = templates.empty("postgresql")
    engine, other = make_engine(url, pool_size=3), make_engine(url)
    try:
        for kind in (read_transaction, write_transaction):
            with ExitStack() as opened:
                for _ in range(8):
                    opened.enter_context(kind(engine)).execute(text("SELECT 1"))
        open_now = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        with read_transaction(other) as conn:
            # Three of them, and the one that asks.
            assert conn.execute(text(open_now)).scalar_one() <= 4
    finally:
        engine.dispose()
        other.dispose()


@pytest.mark.long
def test_a_forked_child_neither_uses_nor_closes_what_its_parent_keeps(templates: Templates) -> None:
    url = templates.empty("postgresql")
    engine = make_engine(url)
    try:
        with read_transaction(engine) as conn:
            number = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
        child = os.fork()
        if child == 0:
            try:
                engine.dispose(close=False)
                with read_transaction(engine) as conn:
                    other = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
                engine.dispose()
                os._exit(3 if other != number else 4)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        with read_transaction(engine) as conn:
            assert conn.execute(text("SELECT pg_backend_pid()")).scalar_one() == number
    finally:
        engine.dispose()


def test_the_connection_used_last_is_used_next_and_its_transactions_are_apart(templates: Templates) -> None:
    engine = make_engine(templates.empty("postgresql"))
    try:
        with write_transaction(engine) as one, write_transaction(engine) as other:
            used_last, used_first = (conn.connection.dbapi_connection for conn in (one, other))
        with write_transaction(engine) as conn:
            # The block of the first one has ended last.
            assert conn.connection.dbapi_connection is used_last is not used_first
            conn.execute(text("CREATE TABLE kept (number integer)"))
        with suppress(ZeroDivisionError), write_transaction(engine) as conn:
            conn.execute(text("INSERT INTO kept VALUES (1)"))
            raise ZeroDivisionError
        with pytest.raises(GatewayError, match="GW806"), read_transaction(engine) as conn:
            conn.execute(text("INSERT INTO kept VALUES (1)"))
        with read_transaction(engine) as conn:
            assert conn.execute(text("SELECT count(*) FROM kept")).scalar_one() == 0
    finally:
        engine.dispose()


def test_a_connection_in_use_is_not_tested_and_its_end_fails_one_transaction(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = templates.empty("postgresql")
    engine = make_engine(url)
    pings: list[Any] = []
    try:
        assert _ask(engine) == 1
        ping = engine.dialect.do_ping
        monkeypatch.setattr(engine.dialect, "do_ping", lambda one: pings.append(one) or ping(one))
        assert _ask(engine) == 1
        assert pings == []
        _end_all_but(engine, url)
        with pytest.raises(GatewayError, match="GW806"):
            _ask(engine)
        assert _ask(engine) == 1
    finally:
        engine.dispose()

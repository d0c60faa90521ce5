"""What one engine has compiled the next of the same server executes as it is."""

from __future__ import annotations

from sqlalchemy import Engine, event, select

from gateway.store import make_engine, read_transaction, write_transaction
from gateway.store import tables as t
from gateway.store.compiled_statements import COMPILED_STATEMENTS

#: No other test asks this.
ASKED = select(t.parties.c.name).where(t.parties.c.name == "compiled once", t.parties.c.role == "odd")


def count_compiled() -> int:
    return len(COMPILED_STATEMENTS["compiled_cache"])


def test_readers_and_later_engines_execute_what_the_first_compiled(engine: Engine, database_url: str) -> None:
    with read_transaction(engine) as conn:
        assert conn.execute(select(t.parties.c.name)).all() == []
    with write_transaction(engine, "ask") as conn:
        assert conn.execute(select(t.parties.c.name)).all() == []
    later = make_engine(database_url)
    with write_transaction(later, "ask") as conn:
        assert conn.execute(ASKED).all() == []
    compiled = count_compiled()
    for one in (later, make_engine(database_url)):
        with read_transaction(one) as conn:
            assert conn.execute(ASKED).all() == []
        with write_transaction(one, "ask") as conn:
            assert conn.execute(ASKED).all() == []
        one.dispose()
    assert count_compiled() == compiled


def test_the_kinds_of_databases_share_nothing(sqlite_url: str, postgresql_url: str) -> None:
    """Each has its own words for the same statement."""
    said = []
    for url in (sqlite_url, postgresql_url):
        made = make_engine(url)
        with read_transaction(made) as conn:
            event.listen(conn, "before_cursor_execute", lambda *given: said.append(given[2]))
            assert conn.execute(ASKED).all() == []
        made.dispose()
    assert "= ?" in said[0]
    assert "= %(" in said[1]

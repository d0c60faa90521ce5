"""The pool of an engine: what else the engine has open is closed with it, each time."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine

from gateway.store.postgresql_connections import call_at_dispose


def test_each_dispose_of_an_engine_closes_what_it_has_open_and_nothing_of_another(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'pool.sqlite3'}"
    engine, other = (create_engine(url) for _ in range(2))
    closed: list[str] = []
    call_at_dispose(engine, lambda: closed.append("first"))
    call_at_dispose(engine, lambda: closed.append("second"))
    call_at_dispose(other, lambda: closed.append("other"))
    engine.dispose()
    # The engine has a new pool now.
    engine.dispose()
    assert closed == ["first", "second", "first", "second"]
    other.dispose()
    assert closed[4:] == ["other"]

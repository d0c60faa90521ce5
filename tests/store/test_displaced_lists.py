"""An upgrade puts the newest revocation lists that others of their name displaced in force again."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import Connection

from gateway.store import (
    fetched_lists,
    make_engine,
    migrate_schema,
    read_transaction,
    register_version,
    write_transaction,
)
from tests.kit.revisions import apply_revision
from tests.kit.rows import later

#: As many lists as are in force again at most.
NEWEST = 64


def _insert(conn: Connection, issuer: str, sha256: str, seconds: float, octets: int = 1) -> None:
    """Store a list as code of 1.0.0 did."""
    values: dict[str, Any] = {
        "issuer_key_sha256": issuer,
        "crl_number": sha256,
        "this_update": later(seconds),
        "next_update": later(seconds + 60),
        "der": b"\x30" * octets,
        "fetched_at": later(seconds),
    }
    conn.execute(fetched_lists.revocations.insert().values(**values))


@pytest.mark.long
def test_the_newest_lists_are_in_force_again(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(empty_database_url)
    with write_transaction(engine) as conn:
        apply_revision(conn, "0100")
        for number in range(80):
            _insert(conn, "often", f"often {number:02}", 100 + number)
        for number in range(2):
            _insert(conn, "seldom", f"seldom {number}", number)
        register_version.increment_register_version(conn)
        before = register_version.get_register_version(conn)
    with caplog.at_level(logging.WARNING):
        migrate_schema(engine)
    with read_transaction(engine) as conn:
        in_force = {row.crl_number for row in fetched_lists.list_crls_in_force(conn)}
        assert register_version.get_register_version(conn) > before
    engine.dispose()
    assert in_force == {*(f"often {number}" for number in range(80 - NEWEST, 80)), "seldom 1"}
    assert f"displaced are in force again: {NEWEST - 1};" in caplog.text


@pytest.mark.long
def test_long_lists_are_in_force_again_as_far_as_memory_allows(empty_database_url: str) -> None:
    """Each process reads all of them."""
    engine = make_engine(empty_database_url)
    with write_transaction(engine) as conn:
        apply_revision(conn, "0100")
        for number in range(6):
            _insert(conn, "long", f"long {number}", 100 + number, 10 * 1024 * 1024)
        _insert(conn, "last", "last of its name", 1)
    migrate_schema(engine)
    with read_transaction(engine) as conn:
        in_force = {row.crl_number for row in fetched_lists.list_crls_in_force(conn)}
    engine.dispose()
    assert in_force == {"long 3", "long 4", "long 5", "last of its name"}


@pytest.mark.long
def test_where_nothing_was_displaced_nothing_is_said(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(empty_database_url)
    with write_transaction(engine) as conn:
        apply_revision(conn, "0100")
        for issuer in ("first", "second"):
            _insert(conn, issuer, issuer, 0)
    with caplog.at_level(logging.WARNING):
        migrate_schema(engine)
    with read_transaction(engine) as conn:
        assert {row.crl_number for row in fetched_lists.list_crls_in_force(conn)} == {"first", "second"}
    engine.dispose()
    assert "in force again" not in caplog.text

"""Migrations go in two steps: the first one only adds, so that the code of the version before works on.

A later one takes away, and says from which version on the code does without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, inspect

from gateway.errors import GatewayError
from gateway.monitor import health
from gateway.store import (
    check_schema_version,
    get_head_revision,
    make_engine,
    messages,
    migrate_schema,
    read_transaction,
    write_transaction,
)
from gateway.store.schema_migration import _scripts, find_oldest_code
from tests.kit.revisions import apply_revision
from tests.kit.rows import NOW, answer, message

#: The first version whose code asks whether a newer schema serves it.
FIRST = "0078"
Schema = dict[str, dict[str, Any]]


def read_schema(conn: Connection) -> Schema:
    """Return what code relies on: columns with type, duty and default, and what must be unique or checked."""
    found = inspect(conn)
    told: Schema = {}
    for table in found.get_table_names():
        told[table] = {
            "columns": {
                one["name"]: (str(one["type"]), one["nullable"], one["default"] is not None)
                for one in found.get_columns(table)
            },
            "unique": {
                *(tuple(one["column_names"]) for one in found.get_unique_constraints(table)),
                *(tuple(one["column_names"]) for one in found.get_indexes(table) if one["unique"]),
            },
            "checks": {one["sqltext"] for one in found.get_check_constraints(table)},
        }
    return told


def find_breaks(before: Schema, after: Schema) -> list[str]:
    """Return what of a schema the code of the version before relies on, and the next one has not."""
    breaks = [f"table {name} is gone" for name in before.keys() - after.keys()]
    for table in before.keys() & after.keys():
        old, new = before[table], after[table]
        breaks += [f"column {table}.{name} is gone" for name in old["columns"].keys() - new["columns"].keys()]
        for name, (kind, nullable, default) in new["columns"].items():
            known = old["columns"].get(name)
            must = not nullable and not default
            if known is None and must:
                breaks.append(f"column {table}.{name} must be given")
            elif known is not None and known[0] != kind:
                breaks.append(f"column {table}.{name} is {kind}, it was {known[0]}")
            elif known is not None and must and known[1]:
                breaks.append(f"column {table}.{name} must be given now")
        # What was unique by fewer columns is unique by more.
        breaks += [
            f"{table}: {one} must be unique"
            for one in new["unique"] - old["unique"]
            if not any(set(former) <= set(one) for former in old["unique"])
        ]
        breaks += [f"{table}: a new condition {one}" for one in new["checks"] - old["checks"]]
    return sorted(breaks)


@pytest.mark.long
def test_a_migration_that_takes_something_away_says_so(tmp_path):
    engine = make_engine(f"sqlite:///{tmp_path}/steps.sqlite3")
    first, *steps = reversed([*_scripts().walk_revisions()])
    with engine.begin() as conn:
        apply_revision(conn, first.revision)
        before = read_schema(conn)
        for step in steps:
            apply_revision(conn, step.revision)
            after = read_schema(conn)
            if breaks := find_breaks(before, after):
                oldest = getattr(step.module, "oldest_code", None)
                assert oldest is not None, f"{step.revision} breaks the version before it: {breaks}"
                assert oldest <= step.revision, "no code of this version exists"
            before = after
    engine.dispose()


BREAKING: dict[str, tuple[Callable[[Operations], object], str]] = {
    "a dropped table": (lambda op: op.drop_table("seen_calls"), "table seen_calls is gone"),
    "a renamed table": (lambda op: op.rename_table("nodes", "machines"), "table nodes is gone"),
    "a dropped column": (lambda op: op.drop_column("nodes", "version"), "column nodes.version is gone"),
    "a renamed column": (
        lambda op: op.alter_column("nodes", "version", new_column_name="release"),
        "column nodes.version is gone",
    ),
    "a column that must be given": (
        lambda op: _add_required(op),
        "column nodes.zone must be given",
    ),
    "a new unique index": (
        lambda op: op.create_index("ux_nodes_version", "nodes", ["version"], unique=True),
        "nodes: ('version',) must be unique",
    ),
}
HARMLESS: dict[str, Callable[[Operations], object]] = {
    "a table": lambda op: op.create_table("zones", sa.Column("name", sa.Text(), nullable=False)),
    "a column": lambda op: op.add_column("nodes", sa.Column("zone", sa.Text(), nullable=True)),
    "a column with a default": lambda op: op.add_column(
        "nodes", sa.Column("zone", sa.Text(), nullable=False, server_default="")
    ),
    "an index": lambda op: op.create_index("ix_nodes_version", "nodes", ["version"]),
    "a unique index by more columns than before": lambda op: op.create_index(
        "ux_deadlines", "deadlines", ["case_id", "request_id", "kind", "cause", "state"], unique=True
    ),
}


def _add_required(op: Operations) -> None:
    with op.batch_alter_table("nodes") as batch:
        batch.add_column(sa.Column("zone", sa.Text(), nullable=False))


def _find_breaks_of(url: str, change: Callable[[Operations], object]) -> list[str]:
    engine = make_engine(url)
    with engine.begin() as conn:
        before = read_schema(conn)
        change(Operations(MigrationContext.configure(conn)))
        after = read_schema(conn)
    engine.dispose()
    return find_breaks(before, after)


@pytest.mark.long
@pytest.mark.parametrize("name", BREAKING)
def test_what_the_version_before_relies_on_is_missed(sqlite_url, name):
    change, expected = BREAKING[name]
    assert expected in _find_breaks_of(sqlite_url, change)


@pytest.mark.long
@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_only_added_breaks_nothing(sqlite_url, name):
    assert _find_breaks_of(sqlite_url, HARMLESS[name]) == []


def _upgrade_as_the_next_version(engine, oldest):
    with write_transaction(engine) as conn:
        conn.exec_driver_sql("ALTER TABLE messages ADD COLUMN of_the_next_version TEXT")
        conn.exec_driver_sql("CREATE TABLE of_the_next_version (name TEXT PRIMARY KEY)")
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        conn.exec_driver_sql(f"UPDATE schema_floor SET oldest_code = '{oldest}'")


@pytest.mark.long
def test_code_works_on_beside_the_next_version_that_has_migrated(database_url):
    engine = make_engine(database_url)
    migrate_schema(engine)
    _upgrade_as_the_next_version(engine, FIRST)
    check_schema_version(engine)
    assert health.find_readiness_problem(engine) is None
    # It may also start again: then it migrates nothing.
    assert migrate_schema(engine) == ("9999", "9999")
    with write_transaction(engine) as conn:
        assert messages.accept_message(conn, message(message_id="beside@a"), answer(), NOW).is_new
    with read_transaction(engine) as conn:
        assert messages.find_by_message_id(conn, "in", "broker", "beside@a").state == "ACCEPTED"
    engine.dispose()


def test_code_that_is_too_old_for_the_schema_says_so(sqlite_url):
    engine = make_engine(sqlite_url)
    migrate_schema(engine)
    _upgrade_as_the_next_version(engine, "9998")
    with pytest.raises(GatewayError) as caught:
        check_schema_version(engine)
    assert caught.value.problem.id == "GW802"
    engine.dispose()


def test_the_floor_is_the_highest_that_a_migration_says():
    class Adds:
        """A migration that only adds."""

    class TakesAway:
        """A migration that takes away what version 0080 was the last to use."""

        oldest_code = "0081"

    assert find_oldest_code([Adds]) == FIRST <= get_head_revision()
    assert find_oldest_code([TakesAway, Adds]) == "0081"

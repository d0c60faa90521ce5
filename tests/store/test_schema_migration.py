from __future__ import annotations

import ast
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from gateway.errors import GatewayError
from gateway.store import lanes, make_engine, read_transaction, write_transaction
from gateway.store import schema_migration as module
from gateway.store.schema_migration import (
    check_schema_version,
    get_head_revision,
    migrate_schema,
    read_schema_version,
)
from gateway.store.schema_version import list_known_revisions
from gateway.store.tables import metadata


@pytest.fixture
def empty(empty_database_url):
    engine = make_engine(empty_database_url)
    yield engine
    engine.dispose()


def test_an_empty_database_gets_every_table(empty):
    assert read_schema_version(empty) is None
    assert migrate_schema(empty) == (None, get_head_revision())
    assert read_schema_version(empty) == get_head_revision()
    check_schema_version(empty)
    assert set(inspect(empty).get_table_names()) == {*metadata.tables, "alembic_version"}
    assert migrate_schema(empty) == (get_head_revision(), get_head_revision())
    with read_transaction(empty) as conn:
        assert [row.name for row in lanes.summarize_lanes(conn)] == [lanes.LOCAL]


def test_the_revisions_make_exactly_the_tables_of_the_code(empty):
    migrate_schema(empty)
    with empty.connect() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    found = inspect(empty)
    for table in metadata.tables.values():
        checks = {check["name"] for check in found.get_check_constraints(table.name)}
        wanted = {c.name for c in table.constraints if type(c).__name__ == "CheckConstraint"}
        assert checks == wanted, table.name
        keys = {
            (key["constrained_columns"][0], key["referred_table"])
            for key in found.get_foreign_keys(table.name)
        }
        assert keys == {(key.parent.name, key.column.table.name) for key in table.foreign_keys}
        partial = {
            index.name for index in table.indexes if index.dialect_kwargs.get("sqlite_where") is not None
        }
        for index in found.get_indexes(table.name):
            if index["name"] in partial:
                assert any("where" in option for option in index["dialect_options"]), index["name"]


@pytest.mark.parametrize("act", [check_schema_version, migrate_schema])
def test_a_database_that_is_newer_is_refused(empty, act):
    migrate_schema(empty)
    with write_transaction(empty) as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(GatewayError) as caught:
        act(empty)
    assert caught.value.problem.id == "GW802"
    assert "9999" in caught.value.detail


def test_a_database_that_is_older_is_refused_until_it_is_migrated(empty):
    with pytest.raises(GatewayError) as caught:
        check_schema_version(empty)
    assert caught.value.problem.id == "GW802"
    assert "gateway migrate" in caught.value.detail


def test_a_migration_that_fails_half_way_has_not_begun(empty, monkeypatch):
    real = module.command.upgrade

    def fails(*arguments):
        real(*arguments)
        raise ZeroDivisionError

    monkeypatch.setattr(module.command, "upgrade", fails)
    with pytest.raises(ZeroDivisionError):
        migrate_schema(empty)
    assert inspect(empty).get_table_names() == []
    monkeypatch.undo()
    assert migrate_schema(empty) == (None, get_head_revision())


def test_revisions_are_one_line_and_go_forward_only():
    scripts = module._scripts()
    assert scripts.get_heads() == [get_head_revision()]
    assert {script.revision for script in scripts.walk_revisions()} == set(list_known_revisions())
    for script in scripts.walk_revisions():
        source = Path(script.path).read_text(encoding="utf-8")
        names = {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
        assert "upgrade" in names
        assert "downgrade" not in names


def test_the_revisions_lie_in_packages():
    """So that they are in the wheel."""
    folder = Path(module.__file__).parent / "migrations"
    for inner in (folder, folder / "versions"):
        assert (inner / "__init__.py").is_file()

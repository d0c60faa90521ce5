from __future__ import annotations

import ast
import configparser
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from gateway.errors import GatewayError
from gateway.store import (
    deliveries,
    get_head_revision,
    lanes,
    make_engine,
    migrate_schema,
    read_transaction,
    write_transaction,
)
from gateway.store import schema_migration as module
from gateway.store.schema_revisions import LAST_OF_0_1_0, list_revisions, list_tables
from gateway.store.schema_version import check_schema_version, read_schema_version
from gateway.store.tables import metadata
from tests.kit.paths import ROOT
from tests.kit.revisions import apply_revision
from tests.kit.schema_text import describe_schema


@pytest.fixture
def empty(empty_database_url):
    engine = make_engine(empty_database_url)
    yield engine
    engine.dispose()


@pytest.mark.long
def test_an_empty_database_gets_every_table(empty):
    assert read_schema_version(empty) is None
    assert migrate_schema(empty) == (None, get_head_revision())
    assert read_schema_version(empty) == get_head_revision()
    check_schema_version(empty)
    assert set(inspect(empty).get_table_names()) == {*metadata.tables, "alembic_version"}
    assert set(metadata.tables) == list_tables()
    assert migrate_schema(empty) == (get_head_revision(), get_head_revision())
    with read_transaction(empty) as conn:
        assert [row.name for row in lanes.summarize_lanes(conn)] == [deliveries.LOCAL]


@pytest.mark.long
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
        if empty.dialect.name == "sqlite":
            written = found.get_table_options(table.name)
            assert written.get("sqlite_with_rowid", True) == table.dialect_options["sqlite"]["with_rowid"]


@pytest.mark.long
@pytest.mark.parametrize("act", [check_schema_version, migrate_schema])
def test_a_database_that_is_newer_and_serves_only_newer_code_is_refused(empty, act):
    migrate_schema(empty)
    with write_transaction(empty) as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        conn.exec_driver_sql("UPDATE schema_floor SET oldest_code = '9999'")
    with pytest.raises(GatewayError) as caught:
        act(empty)
    assert caught.value.problem.id == "GW802"
    assert "9999" in caught.value.detail


@pytest.mark.long
@pytest.mark.parametrize("act", [check_schema_version, migrate_schema])
@pytest.mark.parametrize(
    "statements",
    [
        (
            "CREATE TABLE alembic_version (version_num TEXT)",
            "INSERT INTO alembic_version VALUES ('ae1027a6acf')",
        ),
        ("CREATE TABLE alembic_version (state INTEGER)",),
    ],
)
def test_the_database_of_another_program_is_refused(empty, act, statements):
    """Also one that uses Alembic, whose table has the same name everywhere."""
    with write_transaction(empty) as conn:
        for statement in statements:
            conn.exec_driver_sql(statement)
    with pytest.raises(GatewayError, match="the database is that of another program") as caught:
        act(empty)
    assert caught.value.problem.id == "GW802"


@pytest.mark.long
@pytest.mark.parametrize("act", [check_schema_version, migrate_schema])
def test_a_newer_version_without_its_tables_is_refused(empty, act):
    with write_transaction(empty) as conn:
        conn.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
        conn.exec_driver_sql("INSERT INTO alembic_version VALUES ('9999')")
    with pytest.raises(GatewayError, match="has version 9999") as caught:
        act(empty)
    assert caught.value.problem.id == "GW802"


def test_a_database_that_is_older_is_refused_until_it_is_migrated(empty):
    with pytest.raises(GatewayError) as caught:
        check_schema_version(empty)
    assert caught.value.problem.id == "GW802"
    assert "gateway migrate" in caught.value.detail


@pytest.mark.long
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
    assert {script.revision for script in scripts.walk_revisions()} == set(list_revisions())
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
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    assert settings["options.package_data"]["gateway.store.migrations.versions"] == "*.sql"


@pytest.mark.long
def test_the_first_revision_makes_the_schema_of_the_last_one_of_0_1_0(empty):
    """The files say what the 58 revisions of 0.1.0 had made."""
    name = f"schema_{LAST_OF_0_1_0}_{empty.dialect.name}.sql"
    expected = Path(__file__).with_name("data").joinpath(name).read_text(encoding="utf-8")
    with write_transaction(empty) as conn:
        apply_revision(conn, list_revisions()[0])
        assert describe_schema(conn) == expected


@pytest.mark.long
def test_a_database_at_the_last_revision_of_0_1_0_gets_a_new_mark_alone(empty_database_url):
    engine = make_engine(empty_database_url)
    first = list_revisions()[0]
    with write_transaction(engine) as conn:
        apply_revision(conn, first)
        conn.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{LAST_OF_0_1_0}'")
        conn.exec_driver_sql("DELETE FROM lanes")
        before = describe_schema(conn)
    with pytest.raises(GatewayError, match="run `gateway migrate`") as caught:
        check_schema_version(engine)
    assert caught.value.problem.id == "GW802"
    steps = []
    migrate_schema(engine, lambda conn, *versions: steps.append((versions, describe_schema(conn))))
    assert steps[0] == ((LAST_OF_0_1_0, first), before)
    check_schema_version(engine)
    with read_transaction(engine) as conn:
        assert read_schema_version(engine) == get_head_revision()
        assert lanes.summarize_lanes(conn) == []
    engine.dispose()


def test_a_new_mark_is_not_set_where_its_transaction_fails(sqlite_url):
    engine = make_engine(sqlite_url)
    with write_transaction(engine) as conn:
        conn.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{LAST_OF_0_1_0}'")
    with pytest.raises(ZeroDivisionError):
        migrate_schema(engine, lambda *_step: 1 / 0)
    assert read_schema_version(engine) == LAST_OF_0_1_0
    engine.dispose()


@pytest.mark.parametrize("floor", [True, False])
@pytest.mark.parametrize("revision", ["0001", "0078", "0088"])
@pytest.mark.parametrize("act", [check_schema_version, migrate_schema])
def test_an_older_database_of_0_1_0_is_refused_with_what_to_do(sqlite_url, act, revision, floor):
    """Up to 0077 it has no table that says which code it serves."""
    engine = make_engine(sqlite_url)
    with write_transaction(engine) as conn:
        conn.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
        if not floor:
            conn.exec_driver_sql("DROP TABLE schema_floor")
    with pytest.raises(GatewayError) as caught:
        act(engine)
    assert caught.value.problem.id == "GW802"
    assert caught.value.detail == (
        f"the database has version {revision} of the gateway 0.1.0, whose last one is 0089: "
        "install the last gateway 0.1.0, run its `gateway migrate`, then that of this gateway"
    )
    assert read_schema_version(engine) == revision
    engine.dispose()

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from gateway.errors import GatewayError
from gateway.store import (
    agreements,
    fees,
    lanes,
    make_engine,
    messages,
    read_transaction,
    requirement_quantities,
    write_transaction,
)
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
        if empty.dialect.name == "sqlite":
            written = found.get_table_options(table.name)
            assert written.get("sqlite_with_rowid", True) == table.dialect_options["sqlite"]["with_rowid"]


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


_OLD_AGREEMENT = (
    "INSERT INTO agreements (id, kind, source, sha256, status, loaded_at, loaded_by)"
    " VALUES ('A-1', 'pmode', '', 'ab', 'ACTIVE', {at}, 'operator')"
)
_OLD_PMODE = (
    "INSERT INTO pmodes"
    " (id, agreement_id, protocol, from_party, from_role, to_party, service, action, parameters) VALUES"
    """ ('submit', 'A-1', 'ebms2', 'b', 'Applicant', 'h', 'urn:s', 'Submit', '{{"deliver_to":"case"}}')"""
)
_OLD_MESSAGE = (
    "INSERT INTO messages (message_id, direction, protocol, kind, conversation_id, from_party, to_party,"
    " service, action, pmode_id, identity_sha256, state, received_at, parcel_headers, parcel_sha256)"
    " VALUES ('{name}', 'in', 'ebms2', 'UserMessage', 'c', 'b', 'h', 'urn:s', 'Submit', {pmode}, 'ab',"
    " 'RECEIVED', {at}, '{{}}', 'ab')"
)


@pytest.mark.long
@pytest.mark.parametrize("revision", [one for one in list_known_revisions() if one < "0014"])
def test_pmodes_and_messages_of_every_older_version_stay(empty, revision):
    at = "1" if empty.dialect.name == "sqlite" else "now()"
    with write_transaction(empty) as conn:
        config = module._make_alembic_config()
        config.attributes["connection"] = conn
        module.command.upgrade(config, revision)
        for statement in (
            _OLD_AGREEMENT.format(at=at),
            _OLD_PMODE.format(),
            _OLD_MESSAGE.format(name="known", pmode="'submit'", at=at),
            _OLD_MESSAGE.format(name="gone", pmode="'replaced'", at=at),
            _OLD_MESSAGE.format(name="none", pmode="NULL", at=at),
        ):
            conn.exec_driver_sql(statement)
    assert migrate_schema(empty) == (revision, get_head_revision())
    with read_transaction(empty) as conn:
        (row,) = agreements.list_agreement_pmodes(conn, "A-1")
        found = {
            name: messages.find_by_message_id(conn, "in", "b", name).agreement_id
            for name in ("known", "gone", "none")
        }
    assert (row.agreement_id, row.id, row.from_role, row.to_role) == ("A-1", "submit", "Applicant", None)
    assert row.parameters == {"deliver_to": "case"}
    assert found == {"known": "A-1", "gone": None, "none": None}
    assert inspect(empty).get_pk_constraint("pmodes")["constrained_columns"] == ["agreement_id", "id"]


_OLD_DECISION = (
    "INSERT INTO decisions (request_id, agency, notice_no, item, law, issued_at, decision, number, quantity,"
    " conditions, received_at)"
    " VALUES (1, 'KFDA', '{notice}', 1, '05', {at}, 'APPROVED', {number}, {quantity}, '[]', {at})"
)


def test_the_numbers_that_agencies_gave_before_the_ledger_are_in_it(empty):
    sqlite = empty.dialect.name == "sqlite"
    at = "1" if sqlite else "now()"
    with write_transaction(empty) as conn:
        config = module._make_alembic_config()
        config.attributes["connection"] = conn
        module.command.upgrade(config, "0040")
        # The application of the decisions is of no interest here.
        conn.exec_driver_sql(
            "PRAGMA defer_foreign_keys = ON" if sqlite else "SET LOCAL session_replication_role = replica"
        )
        given = [("N1", "'P-1'", "'5'"), ("N2", "'P-1'", "'6'"), ("N3", "NULL", "'1'")]
        given.append(("N4", "'P-2'", "NULL"))
        for notice, number, quantity in given:
            statement = _OLD_DECISION.format(notice=notice, number=number, quantity=quantity, at=at)
            conn.exec_driver_sql(statement)
        module.command.upgrade(config, "head")
        (row,) = requirement_quantities.list_requirements(conn)
        assert (row.number, row.agency, row.holder, row.used) == ("P-1", "KFDA", "", {})
        conn.exec_driver_sql("DELETE FROM decisions")


_OLD_FEE = (
    "INSERT INTO fees (number, request_id, case_id, agency, kind, gate, state, payment_notice, refundable,"
    " levied_at) VALUES ('{number}', 1, 1, 'KFDA', 'inspection', 'result', '{state}', '', {no}, {at})"
)
_OLD_NOTICE = (
    "INSERT INTO notices (request_id, agency, number, issued_at, status_code, text, pointers, deadline,"
    " sha256, received_at) VALUES (1, 'KFDA', '{number}', {at}, '{code}', '', '[]', {due}, 'ab', {at})"
)


def test_an_open_fee_takes_the_time_of_its_notice(empty):
    """Of notices with other codes and of fees that have ended it takes none."""
    sqlite = empty.dialect.name == "sqlite"
    at, other, no = ("1", "2", "0") if sqlite else ("now()", "now() + interval '1 day'", "false")
    with write_transaction(empty) as conn:
        config = module._make_alembic_config()
        config.attributes["connection"] = conn
        module.command.upgrade(config, "0082")
        # The application of the fees is of no interest here.
        conn.exec_driver_sql(
            "PRAGMA defer_foreign_keys = ON" if sqlite else "SET LOCAL session_replication_role = replica"
        )
        conn.exec_driver_sql(_OLD_NOTICE.format(number="Q", code="D01", at=at, due=other))
        conn.exec_driver_sql(_OLD_NOTICE.format(number="L", code="Y05", at=at, due=other))
        conn.exec_driver_sql(_OLD_FEE.format(number="F01", state="LEVIED", at=at, no=no))
        conn.exec_driver_sql(_OLD_FEE.format(number="F02", state="PAID", at=at, no=no))
        conn.exec_driver_sql(_OLD_FEE.format(number="F03", state="LEVIED", at=other, no=no))
        module.command.upgrade(config, "head")
        found = {row.number: (row.notice, row.due_at is not None) for row in fees.list_by_request(conn, 1)}
        assert found == {"F01": ("L", True), "F02": (None, False), "F03": (None, False)}
        conn.exec_driver_sql("DELETE FROM fees")
        conn.exec_driver_sql("DELETE FROM notices")

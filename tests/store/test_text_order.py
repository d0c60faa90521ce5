"""On PostgreSQL text is compared by its octets, so no change of the operating system hides what is stored."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, create_engine, inspect, select

from gateway.errors import GatewayError
from gateway.store import (
    list_database_warnings,
    make_engine,
    messages,
    migrate_schema,
    parties,
    read_transaction,
    write_transaction,
)
from gateway.store.list_filters import build_text_condition
from gateway.store.schema_version import read_schema_version
from tests.kit import tables as t
from tests.kit.databases import PostgresqlServer, Templates
from tests.kit.levels import at_night
from tests.kit.locale_server import LocaleServer
from tests.kit.paths import ROOT
from tests.kit.revisions import apply_revision, make_database_at
from tests.kit.rows import NOW, answer, message, open_case
from tests.kit.schema_text import describe_schema

#: The last revision whose text follows the collation of the database.
BEFORE, AFTER = "0101", "0102"
IDS = [
    form.format(number) for number in range(20) for form in ("Order-{:02}@b", "order_{:02}.b", "ORDER{:02}-B")
]


@pytest.fixture(scope="module")
def server() -> Iterator[LocaleServer]:
    server = LocaleServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


def count_new(engine: Engine) -> int:
    """Store a message of each id, and return how many were new."""
    number = 0
    for message_id in IDS:
        with write_transaction(engine) as conn:
            sent = message(message_id=message_id, identity_sha256=message_id)
            number += messages.accept_message(conn, sent, answer(), NOW).is_new
    return number


def list_columns_of_other_order(engine: Engine, schema: str = "public") -> list[str]:
    """Return the columns and indexes of text that do not follow the order of octets."""
    query = (
        "SELECT format('%%s.%%s', relname, attname) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
        f"WHERE relnamespace = '\"{schema}\"'::regnamespace AND attnum > 0 AND NOT attisdropped "
        "AND attcollation NOT IN (0, '\"C\"'::regcollation)"
    )
    with read_transaction(engine) as conn:
        return list(conn.exec_driver_sql(query).scalars())


def read_repair_statements() -> str:
    """Return what the manual says to do with values that stand twice."""
    page = (ROOT / "gateway" / "manual" / "operating.md").read_text(encoding="utf-8")
    return page.partition("**Values that stand twice.**")[2].partition("```sql")[2].partition("```")[0]


@pytest.mark.long
def test_another_order_of_the_operating_system_hides_nothing(server: LocaleServer) -> None:
    """A database before the revision shows that the order has changed, and what the revision mends."""
    engines = {
        name: make_engine(server.create_database(name))
        for name in ("former", "upgraded", "doubled", "present")
    }
    for name, engine in engines.items():
        with write_transaction(engine) as conn:
            apply_revision(conn, AFTER if name == "present" else BEFORE)
        assert count_new(engine) == len(IDS)
        engine.dispose()
    server.change_order()

    assert count_new(engines["present"]) == 0
    with read_transaction(engines["former"]) as conn:
        hidden = [
            message_id
            for message_id in IDS
            if messages.find_by_message_id(conn, "in", "broker", message_id) is None
        ]
    assert len(hidden) > len(IDS) / 2
    assert count_new(engines["former"]) > len(IDS) / 2

    migrate_schema(engines["upgraded"])
    assert count_new(engines["upgraded"]) == 0

    assert count_new(engines["doubled"]) > 0
    with pytest.raises(GatewayError, match="revision 0102 cannot be applied: a value stands twice") as caught:
        migrate_schema(engines["doubled"])
    assert caught.value.problem.id == "GW805"
    assert re.search(r"Key \(.*\)=\(.*\) is duplicated", caught.value.detail)
    assert "`Values that stand twice`" in caught.value.detail
    assert read_schema_version(engines["doubled"]) == BEFORE
    with write_transaction(engines["doubled"]) as conn:
        conn.exec_driver_sql(read_repair_statements(), execution_options={"no_parameters": True})
    migrate_schema(engines["doubled"])
    assert count_new(engines["doubled"]) == 0
    for engine in engines.values():
        engine.dispose()


@pytest.mark.long
def test_a_collation_of_another_version_is_a_warning(server: LocaleServer) -> None:
    """The server compares what it has recorded with what its operating system has now."""
    engine = make_engine(server.create_database("collated"))
    with read_transaction(engine) as conn:
        assert list_database_warnings(conn) == []
    with write_transaction(engine) as conn:
        conn.exec_driver_sql("UPDATE pg_database SET datcollversion = '2.17' WHERE datname = 'collated'")
    with read_transaction(engine) as conn:
        (warning,) = list_database_warnings(conn)
    assert "(collation version 2.17, now 2." in warning
    assert "REINDEX DATABASE collated, and only then ALTER DATABASE collated REFRESH" in warning
    engine.dispose()


@pytest.mark.long
def test_every_column_of_text_follows_the_order_of_octets(postgresql_url: str) -> None:
    """Also those of later revisions, which name the collation themselves."""
    engine = make_engine(postgresql_url)
    assert list_columns_of_other_order(engine) == []
    engine.dispose()


@pytest.fixture
def former(templates: Templates) -> Iterator[Engine]:
    """Give a PostgreSQL database before the revision."""
    url = templates.empty("postgresql")
    make_database_at(url, BEFORE)
    engine = make_engine(url)
    yield engine
    engine.dispose()
    templates.drop(url)


@pytest.mark.night
def test_the_revision_changes_the_order_alone(former: Engine) -> None:
    with write_transaction(former) as conn:
        open_case(conn)
        conn.exec_driver_sql("ALTER TABLE cases DISABLE TRIGGER count_cases_changed")
        conn.exec_driver_sql("ALTER TABLE messages ENABLE ALWAYS TRIGGER count_messages_changed")
        # What others have made, with a sign that the driver reads as a parameter.
        conn.exec_driver_sql("CREATE INDEX theirs ON cases (ucr text_pattern_ops) WHERE ucr LIKE '10%%'")
        conn.exec_driver_sql('CREATE INDEX "their ""odd"" one" ON messages (to_party, lower(from_party))')
        conn.exec_driver_sql("CREATE UNIQUE INDEX their_identity ON fees (id)")
        conn.exec_driver_sql("ALTER TABLE fees REPLICA IDENTITY USING INDEX their_identity")
        conn.exec_driver_sql("ALTER TABLE cases CLUSTER ON ix_cases_state")
        conn.exec_driver_sql("CREATE TABLE theirs_too (name TEXT PRIMARY KEY)")
        before = describe_schema(conn)
        order = list_index_order(conn)
    migrate_schema(former)
    with write_transaction(former) as conn:
        assert describe_schema(conn).replace(' COLLATE "C"', "") == before
        assert list_index_order(conn) == order
        states = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgenabled NOT IN ('O') ORDER BY tgname"
        assert [tuple(row) for row in conn.exec_driver_sql(states)] == [
            ("count_cases_changed", "D"),
            ("count_messages_changed", "A"),
        ]
        kept = "SELECT indisreplident, indisclustered FROM pg_index WHERE indexrelid = '{}'::regclass"
        assert conn.exec_driver_sql(kept.format("their_identity")).one() == (True, False)
        assert conn.exec_driver_sql(kept.format("ix_cases_state")).one() == (False, True)
        # The planner knows the values of columns again.
        known = "SELECT COUNT(*) FROM pg_stats WHERE tablename = 'cases' AND attname = 'state'"
        assert conn.exec_driver_sql(known).scalar_one() == 1
    assert list_columns_of_other_order(former) == ["theirs_too.name", "theirs_too_pkey.name"]


def list_index_order(conn: Connection) -> list[str]:
    """Return the names of our indexes without a constraint, the oldest of each table first."""
    query = (
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE relnamespace = 'public'::regnamespace AND relname LIKE 'ix_%%' ORDER BY indrelid, indexrelid"
    )
    return list(conn.exec_driver_sql(query).scalars())


@pytest.fixture
def tablespace(former: Engine) -> Iterator[str]:
    """Give the name of another tablespace."""
    name = f"{former.url.database}_disk"
    admin = create_engine(former.url, isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.exec_driver_sql("SET allow_in_place_tablespaces = on")
        conn.exec_driver_sql(f"CREATE TABLESPACE {name} LOCATION ''")
        yield name
        conn.exec_driver_sql("ALTER INDEX ix_cases_ucr SET TABLESPACE pg_default")
        conn.exec_driver_sql(f"DROP TABLESPACE {name}")
    admin.dispose()


@pytest.mark.night
def test_an_index_stays_where_an_operator_has_put_it(former: Engine, tablespace: str) -> None:
    """Also where the role of the hub makes new ones elsewhere."""
    with write_transaction(former) as conn:
        conn.exec_driver_sql(f"ALTER INDEX ix_cases_ucr SET TABLESPACE {tablespace}")
    url = former.url.update_query_dict({"options": f"-c default_tablespace={tablespace}"})
    engine = make_engine(url.render_as_string(hide_password=False))
    migrate_schema(engine)
    with read_transaction(engine) as conn:
        moved = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablespace IS NOT NULL"
        assert conn.exec_driver_sql(moved).scalars().all() == ["ix_cases_ucr"]
    engine.dispose()


@pytest.mark.night
def test_a_view_of_others_is_named(former: Engine) -> None:
    with write_transaction(former) as conn:
        conn.exec_driver_sql("CREATE VIEW report AS SELECT ucr FROM cases")
    with pytest.raises(GatewayError, match="report") as caught:
        migrate_schema(former)
    assert caught.value.problem.id == "GW802"
    assert "Drop it (a view, a rule, a policy), run `gateway migrate`" in caught.value.detail
    assert read_schema_version(former) == BEFORE
    with write_transaction(former) as conn:
        conn.exec_driver_sql("DROP VIEW report")
    migrate_schema(former)
    assert list_columns_of_other_order(former) == []


@pytest.mark.long
def test_a_role_that_does_not_own_a_table_is_told_what_to_do(former: Engine) -> None:
    with write_transaction(former) as conn:
        conn.exec_driver_sql("CREATE ROLE half_owner")
        for table in inspect(conn).get_table_names():
            if table != "cases":
                conn.exec_driver_sql(f"ALTER TABLE {table} OWNER TO half_owner")
        conn.exec_driver_sql("GRANT ALL ON ALL TABLES IN SCHEMA public TO half_owner")
        conn.exec_driver_sql("GRANT ALL ON SCHEMA public TO half_owner")
    url = former.url.update_query_dict({"options": "-c role=half_owner"})
    engine = make_engine(url.render_as_string(hide_password=False))
    with pytest.raises(GatewayError, match=r"owner of (table|relation)") as caught:
        migrate_schema(engine)
    engine.dispose()
    assert caught.value.problem.id == "GW802"
    assert "ALTER ... OWNER TO" in caught.value.detail
    with write_transaction(former) as conn:
        conn.exec_driver_sql("REASSIGN OWNED BY half_owner TO CURRENT_USER; DROP OWNED BY half_owner")
        conn.exec_driver_sql("DROP ROLE half_owner")


@pytest.mark.long
@pytest.mark.parametrize("schema", ["my hub", *at_night("public", "Hub")])
def test_the_tables_are_changed_wherever_they_are(templates: Templates, schema: str) -> None:
    """Also where the search path begins with another schema, which has none of them."""
    url = templates.empty("postgresql")
    engine = make_engine(url)
    path = f'"nothing, of ours", "{schema}"'
    with write_transaction(engine) as conn:
        conn.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        conn.exec_driver_sql(f'ALTER DATABASE "{engine.url.database}" SET search_path = {path}')
    engine.dispose()
    with write_transaction(engine) as conn:
        apply_revision(conn, BEFORE)
        conn.exec_driver_sql('CREATE SCHEMA "nothing, of ours"')
    engine.dispose()
    migrate_schema(engine)
    assert list_columns_of_other_order(engine, schema) == []
    engine.dispose()
    templates.drop(url)


@pytest.mark.night
def test_a_table_that_others_hold_is_named_and_the_tables_before_it_are_done(former: Engine) -> None:
    holder = make_engine(former.url.render_as_string(hide_password=False))
    with read_transaction(holder) as conn:
        # The last table of the revision.
        conn.exec_driver_sql("SELECT FROM work_claims")
        with pytest.raises(GatewayError) as caught:
            migrate_schema(former, patience=1)  # short: it must run out
    assert caught.value.problem.id == "GW806"
    assert "the lock of work_claims is held by" in caught.value.detail
    assert read_schema_version(former) == BEFORE
    rest = {name.partition(".")[0] for name in list_columns_of_other_order(former)}
    assert rest == {"work_claims"}
    assert migrate_schema(former)[0] == BEFORE
    assert list_columns_of_other_order(former) == []
    holder.dispose()


@pytest.mark.long
@pytest.mark.parametrize("form", ["müller öl", "MÜLLER ÖL", "Кузница", "КУЗНИЦА", "öl%", "l_er"])
def test_a_search_knows_capital_and_small_letters_of_all_scripts(
    postgresql_server: PostgresqlServer, form: str
) -> None:
    """In a database whose locale knows them; `C` does not."""
    name = f"{postgresql_server.prefix}_letters"
    url = postgresql_server.create_named(name, None, "ENCODING 'UTF8' LOCALE 'C.UTF-8'")
    engine = make_engine(url)
    migrate_schema(engine)
    with write_transaction(engine) as conn:
        for name in ("Müller Öl", "Кузница", "Other"):
            parties.register_party(conn, name, name, "broker", NOW)
        condition = build_text_condition(form, t.parties.c.name)
        rows = conn.execute(select(t.parties.c.name).where(condition)).scalars().all()
    engine.dispose()
    postgresql_server.drop(url)
    assert rows == [name for name in ("Müller Öl", "Кузница") if form.casefold() in name.casefold()]


@pytest.mark.night
def test_a_migration_ends_whatever_time_limits_its_role_has(former: Engine) -> None:
    with write_transaction(former) as conn:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"):
            conn.exec_driver_sql(f'ALTER DATABASE "{former.url.database}" SET {name} = 3000')
        conn.exec_driver_sql(
            "CREATE FUNCTION wait_once() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF current_setting('test.waited', true) IS DISTINCT FROM 'yes' THEN "
            "PERFORM pg_sleep(4), set_config('test.waited', 'yes', false); END IF; END $$"
        )
        conn.exec_driver_sql("CREATE EVENT TRIGGER slow ON ddl_command_start EXECUTE FUNCTION wait_once()")
    former.dispose()
    migrate_schema(former)
    assert list_columns_of_other_order(former) == []

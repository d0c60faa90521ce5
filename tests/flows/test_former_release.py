"""A database of a former release, with an object in every state, is upgraded, and each of them goes on."""

from __future__ import annotations

import lzma
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from sqlalchemy import Engine, MetaData, Table, make_url, select
from sqlalchemy.types import Boolean, Date, DateTime

from gateway.cases import AgencyCallback
from gateway.errors import GatewayError
from gateway.hub import apply_call_back
from gateway.pki import KeySigner, RevocationData, TrustStore, read_certificate
from gateway.state_machines import MACHINES
from gateway.store import (
    agency_requests,
    cases,
    check_schema_version,
    deliveries,
    get_head_revision,
    make_engine,
    migrate_schema,
    read_transaction,
    write_transaction,
)
from gateway.store.transitions import StateEvent, apply_event
from tests.flows.craft import all_of, reference, supplement
from tests.flows.former_release import TRUST, find_table
from tests.flows.test_held_case_waking import NUMBER, naming
from tests.flows.test_held_cases import HOLD
from tests.kit import house
from tests.kit.levels import at_night
from tests.kit.paths import ROOT
from tests.kit.revisions import apply_revision
from tests.kit.rows import NOW
from tests.kit.story import Story
from tests.store.test_state_rollup import assert_equal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCHEMAS = ROOT / "tests" / "store" / "data"


@dataclass(frozen=True)
class FormerRelease:
    """A release whose databases are upgraded: its version, and that of its schema."""

    version: str
    revision: str

    def read_dump(self) -> str:
        """Return its database as SQL of SQLite (`tests.flows.former_release`)."""
        path = Path(__file__).with_name("data") / f"release_{self.version}.sql.xz"
        return lzma.decompress(path.read_bytes()).decode()

    def make_tables(self, engine: Engine) -> None:
        """Make its tables in an empty database of PostgreSQL, with its schema version."""
        if self == UNRELEASED:
            with engine.begin() as conn:
                schema = (_SCHEMAS / f"schema_{self.revision}_postgresql.sql").read_text(encoding="utf-8")
                for statement in schema.split(";\n"):
                    if statement.strip():
                        conn.exec_driver_sql(statement)
                conn.exec_driver_sql(
                    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
                )
                conn.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{self.revision}')")
        else:
            with write_transaction(engine) as conn:
                apply_revision(conn, self.revision)


#: The last release, from which operators upgrade, and the version before it that was never released.
LAST = FormerRelease("1.0.0", "0100")
UNRELEASED = FormerRelease("0.1.0", "0089")
_RELEASES = [LAST, *at_night(UNRELEASED)]


class UndoneError(Exception):
    """Ends a transaction without its changes."""


def test_the_last_release_of_the_changelog_is_upgraded() -> None:
    releases = re.findall(
        r"^## (\d[\w.]*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert releases[0] == LAST.version


@pytest.fixture(params=_RELEASES, ids=lambda former: former.version)
def former(request: pytest.FixtureRequest) -> FormerRelease:
    """Give each former release in turn."""
    release: FormerRelease = request.param
    return release


@pytest.fixture
def former_database(
    former: FormerRelease, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """Give a database of a former release; all have their keys still."""
    is_sqlite = empty_database_url.startswith("sqlite")
    path = Path(str(make_url(empty_database_url).database)) if is_sqlite else tmp_path / "release.sqlite3"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(former.read_dump())
        pairs = {name: (octets, key) for name, octets, key in conn.execute(f"SELECT * FROM {TRUST}")}
        conn.executescript(f"DROP TABLE {TRUST}")
    engine = make_engine(empty_database_url)
    if not is_sqlite:
        former.make_tables(engine)
        copy_rows(path, engine)
    crl = pairs.pop("crl")[0]
    authority = read_certificate(pairs.pop("authority")[0])
    algorithm = house.signer_named("hub").algorithm
    signers: dict[str, Any] = {
        name: KeySigner(read_certificate(octets), algorithm, load_der_private_key(key, None))
        for name, (octets, key) in pairs.items()
    }
    monkeypatch.setattr(house, "trust", lambda: (TrustStore((authority,)), RevocationData([crl])))
    monkeypatch.setattr(house, "crl", lambda: crl)
    monkeypatch.setattr(house, "_make_signer", lambda name, _kind: signers[name])
    yield engine
    engine.dispose()


def copy_rows(path: Path, engine: Engine) -> None:
    """Copy all rows of a release's SQLite file to its tables on PostgreSQL, in place of those there."""
    with closing(sqlite3.connect(path)) as source, engine.begin() as conn:
        # Rows come in any order, and are counted by state already.
        conn.exec_driver_sql("SET LOCAL session_replication_role = replica")
        tables = MetaData()
        tables.reflect(conn)
        for table in tables.tables.values():
            conn.execute(table.delete())
            source.row_factory = sqlite3.Row
            rows = [convert_row(table, row) for row in source.execute(f'SELECT * FROM "{table.name}"')]
            if rows:
                conn.execute(table.insert(), rows)
            if "id" in table.c and table.c.id.identity is not None:
                conn.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), MAX(id)) FROM {table.name}"
                )


def convert_row(table: Table, row: sqlite3.Row) -> dict[str, Any]:
    """Return a row of SQLite with the values that PostgreSQL has for them."""
    converted = {}
    for column in table.c:
        value = row[column.name]
        if value is not None and isinstance(column.type, DateTime):
            value = _EPOCH + timedelta(microseconds=value)
        elif value is not None and isinstance(column.type, Date):
            value = datetime.fromisoformat(value).date()
        elif value is not None and isinstance(column.type, Boolean):
            value = bool(value)
        converted[column.name] = value
    return converted


@pytest.fixture
def upgraded(former: FormerRelease, former_database: Engine) -> Engine:
    """Give the database after its upgrade."""
    with pytest.raises(GatewayError, match="run `gateway migrate`"):
        check_schema_version(former_database)
    assert migrate_schema(former_database) == (former.revision, get_head_revision())
    check_schema_version(former_database)
    return former_database


@pytest.mark.long
def test_each_state_takes_its_events_after_an_upgrade(upgraded: Engine) -> None:
    assert_equal(upgraded)
    for machine in MACHINES.values():
        table = find_table(machine)
        with read_transaction(upgraded) as conn:
            rows = {state: number for number, state in conn.execute(select(table.c.id, table.c.state))}
        assert set(rows) == set(machine.states)
        for state, events in machine.transitions.items():
            for event, after in events.items():
                with suppress(UndoneError), write_transaction(upgraded) as conn:
                    what = StateEvent(event, NOW, "operator")
                    assert apply_event(conn, table, machine, rows[state], what) == after
                    raise UndoneError
    assert_equal(upgraded)


def start_story(engine: Engine) -> Story:
    """Return a hub on the database, some minutes later, with all its partners."""
    story = Story(engine, first=900_001)
    story.hub.need_policy = HOLD
    story.clock.forward(minutes=6)
    return story


def find_case(engine: Engine, name: str) -> Any:
    with read_transaction(engine) as conn:
        return cases.find_by_reference(conn, "broker1", name)


def decide_case(story: Story, name: str) -> None:
    """Let each agency of a case approve what it has not decided."""
    with read_transaction(story.house.engine) as conn:
        rows = agency_requests.list_by_case(conn, find_case(story.house.engine, name).id)
    for row in rows:
        if row.state not in ("DECIDED", "CANCELLED"):
            notice = story.notice(row.agency, number=f"LAST-{name}")
            apply_call_back(story.hub, row.agency, AgencyCallback(notice, row.number))


@pytest.mark.long
def test_each_case_goes_on_after_an_upgrade(upgraded: Engine) -> None:
    story = start_story(upgraded)
    names = ("ASKED", "STRANDED", "CLOSED", "HELD", "WITHDRAWN", "DECIDED", "ACCEPTED")
    story.tick()

    def read_states() -> dict[str, str]:
        return {name: find_case(upgraded, name).state for name in names}

    # What was accepted is processed, what could not be relayed is relayed.
    expected = {"ASKED": "IN_PROGRESS", "STRANDED": "IN_PROGRESS", "CLOSED": "CLOSED", "HELD": "HELD"}
    expected |= {"WITHDRAWN": "WITHDRAWN", "DECIDED": "CLOSED", "ACCEPTED": "IN_PROGRESS"}
    assert read_states() == expected
    # An operator sends again what an agency had refused.
    (failed,) = story.deliveries(state="FAILED", destination="KFDA")
    story.operate(deliveries.requeue_delivery, failed.id)
    root = story.submission(all_of(supplement, reference("HELD"), naming(NUMBER)))
    story.submit(root, action="Supplement")
    story.tick()
    for name in ("ASKED", "STRANDED", "HELD", "ACCEPTED"):
        decide_case(story, name)
    story.tick()
    assert read_states() == dict.fromkeys(names, "CLOSED") | {"WITHDRAWN": "WITHDRAWN"}
    # A new declaration comes behind them.
    story.submit(story.submission(reference("NEW")))
    story.tick()
    decide_case(story, "NEW")
    story.tick()
    assert find_case(upgraded, "NEW").state == "CLOSED"
    assert_equal(upgraded)

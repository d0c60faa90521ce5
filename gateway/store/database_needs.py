"""The settings that the hub needs of a PostgreSQL server, and the remedy where a setting is different.

The hub states each setting that a session can state, even if the role, the database or the URL give another
value. For a required setting with a wrong value, each new connection is refused. A setting that only disturbs
the hub is a warning of `gateway check` and of a start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, text

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.store.disk_reserve import InsufficientStorageError
from gateway.store.schema_revisions import list_tables

#: The encoding in which each connection sends and reads text, from its first message on.
CLIENT_ENCODING: Final = "UTF8"
#: The settings that each session states. The driver reads times in one notation alone; the transactions of
#: the hub are made for READ COMMITTED, and those that only read ask for their own level.
_SESSION_SETTINGS: Final = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "default_transaction_isolation": "read committed",
    # Only a warning says that a wait for copies was cancelled.
    "client_min_messages": "warning",
}


@dataclass(frozen=True, slots=True)
class _RequiredSetting:
    """A setting without which the hub does not work: its values, the best first, and the remedy."""

    name: str
    values: tuple[str, ...]
    remedy: str


_REQUIRED: Final = (
    _RequiredSetting(
        "server_encoding",
        ("UTF8",),
        "other encodings lack characters that messages have. Make a database by CREATE DATABASE ... "
        "TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'; if a hub has used this one, restore a dump of "
        "it there",
    ),
    _RequiredSetting(
        "synchronous_commit",
        ("on", "local", "remote_write", "remote_apply"),
        "without it a crash loses what was acknowledged. Take it away where it is set: for the role (ALTER "
        "ROLE), the database (ALTER DATABASE), the server (postgresql.conf), in the URL or PGOPTIONS",
    ),
    _RequiredSetting(
        "session_replication_role",
        ("origin", "local"),
        "in other sessions no trigger runs and no reference is checked. Take it away where it is set for the "
        "role (ALTER ROLE) or the database (ALTER DATABASE)",
    ),
)
#: Time limits of a server that end the work of the hub, which has limits of its own, with the least number of
#: seconds that leaves it alone; 0 is no limit. Long statements are those of retention, search and evidence.
_MIN_LIMIT_SECONDS: Final = {
    "statement_timeout": 600,
    "transaction_timeout": 600,
    "lock_timeout": 60,
    "idle_in_transaction_session_timeout": 60,
    "idle_session_timeout": 60,
}
_SET_UP: Final = "SELECT {}".format(
    ", ".join(
        [
            *(f"set_config('{name}', '{value}', false)" for name, value in _SESSION_SETTINGS.items()),
            *(f"current_setting('{setting.name}')" for setting in _REQUIRED),
        ]
    )
)


def set_up_session(connection: Any) -> None:
    """State the settings of the hub in a new session of the driver; raise GW801 for one that is unfit."""
    row = connection.execute(_SET_UP).fetchone()
    connection.commit()
    for setting, actual in zip(_REQUIRED, row[len(_SESSION_SETTINGS) :], strict=True):
        if actual not in setting.values:
            detail = f"the database has {setting.name} = {actual}, it must be {setting.values[0]}"
            raise GatewayError(SETTINGS_WRONG, f"{detail}: {setting.remedy}", "database.url")


_READ_LIMITS: Final = text(
    "SELECT name, setting, source FROM pg_settings WHERE name = ANY(:names) ORDER BY name"
)
#: Where a setting comes from, in the words of `pg_settings.source`.
_SOURCES: Final = {
    "user": "ALTER ROLE",
    "global": "ALTER ROLE ALL",
    "database": "ALTER DATABASE",
    "database user": "ALTER ROLE ... IN DATABASE",
    "client": "the URL or PGOPTIONS",
    "configuration file": "postgresql.conf",
    "command line": "the command line of the server",
}
_READ_COLLATION: Final = text(
    "SELECT quote_ident(datname) AS name, datcollversion AS recorded, "
    "COALESCE(pg_database_collation_actual_version(oid), 'unknown') AS actual "
    "FROM pg_database WHERE datname = current_database()"
)
#: The first version of PostgreSQL that records the version of the collation of a database.
_FIRST_RECORDED: Final = (15,)


def list_database_warnings(conn: Connection) -> list[str]:
    """Return warnings about a PostgreSQL server with which the hub works, but not as it should."""
    if conn.dialect.name == "sqlite":
        return []
    return [*_find_short_limits(conn), *_find_changed_collation(conn)]


def _find_short_limits(conn: Connection) -> Iterator[str]:
    """Yield a problem for each time limit of PostgreSQL that is shorter than the work of the hub needs."""
    for row in conn.execute(_READ_LIMITS, {"names": list(_MIN_LIMIT_SECONDS)}):
        seconds, min_seconds = int(row.setting) / 1000, _MIN_LIMIT_SECONDS[row.name]
        if 0 < seconds < min_seconds:
            source = _SOURCES.get(row.source, row.source)
            yield (
                f"the database has {row.name} = {seconds:g} s, set by {source}, which ends work of the hub: "
                f"take it away there, or let it be {min_seconds} s at least"
            )


def _find_changed_collation(conn: Connection) -> Iterator[str]:
    """Yield a problem if the collation version of the database is not that of the operating system."""
    version: tuple[int, ...] = getattr(conn.dialect, "server_version_info", None) or ()
    if version < _FIRST_RECORDED:
        return
    row = conn.execute(_READ_COLLATION).one()
    if row.recorded is not None and row.recorded != row.actual:
        yield (
            f"the operating system may order text in another way than when the database was made (collation "
            f"version {row.recorded}, now {row.actual}). The tables of the hub do not follow it. What others "
            f"keep in this database may: REINDEX DATABASE {row.name}, and only then ALTER DATABASE "
            f"{row.name} REFRESH COLLATION VERSION"
        )


#: The tables of the hub that its role sees, but may not use as it must.
_READ_CLOSED_TABLES: Final = text(
    "SELECT current_user AS role, count(*) AS number, min(relname) AS name FROM pg_class "
    "WHERE oid IN (SELECT to_regclass(name) FROM unnest(CAST(:names AS text[])) AS name) AND NOT ("
    "has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT') AND "
    "has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))"
)


def find_rights_problem(conn: Connection) -> InsufficientStorageError | None:
    """Return GW806 where the role of the hub may not read and write its tables, else None; writes nothing."""
    if conn.dialect.name == "sqlite":
        return None
    row = conn.execute(_READ_CLOSED_TABLES, {"names": sorted(list_tables())}).one()
    if not row.number:
        return None
    detail = (
        f"the role {row.role} may not read and write all tables of the hub: {row.number} are closed to it, "
        f"the first is {row.name}. Let an administrator make it their owner (ALTER TABLE ... OWNER TO), or "
        "GRANT ALL ON ALL TABLES IN SCHEMA"
    )
    return InsufficientStorageError(detail, "database.url")

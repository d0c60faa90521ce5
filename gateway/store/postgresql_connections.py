"""Opens connections to PostgreSQL that notice a lost or frozen server, and that find the primary.

The system's own time-outs for a vanished peer are minutes, and a stopped process answers keepalives
for ever: its kernel does. So each wait for the server ends after a time of ours.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from typing import Any, Final

from sqlalchemy import URL, make_url

from gateway.store.server_statements import ServerStatements, describe_silence

__all__ = [
    "NOTICES",
    "get_connection_class",
    "is_read_only",
    "is_server_away",
    "make_connect_options",
    "read_url",
    "take_cursor",
    "take_statements",
    "watch_notices",
]

#: Where a connection keeps the warnings of the server (`Connection.info`).
NOTICES: Final = "gateway_notices"
#: Attributes of a connection: its cursor, and the statements that the server is given directly.
_CURSOR: Final = "_gateway_cursor"
_STATEMENTS: Final = "_gateway_statements"
#: `scheme://[login@]host[:port],host[:port]…[/database][?parameters]`, as libpq writes several hosts.
_SEVERAL: Final = re.compile(r"(postgres[^:/]*)://((?:[^@/]*@)?)([^@/?]*,[^@/?]*)(/[^?]*)?(?:\?(.*))?")
_CONNECT_SECONDS: Final = 5
#: Notices below a warning are not kept.
_TOLD: Final = frozenset({"WARNING", "ERROR", "FATAL", "PANIC"})


def read_url(url: str) -> URL:
    """Return a URL, which may name several hosts in the way of libpq; raises ArgumentError for none."""
    several = _SEVERAL.fullmatch(url)
    if several is None:
        return make_url(url)
    scheme, login, hosts, path, parameters = several.groups()
    named = "&".join([*(f"host={host}" for host in hosts.split(",")), *([parameters] if parameters else [])])
    return make_url(f"{scheme}://{login}{path or '/'}?{named}")


def make_connect_options(url: URL, seconds: float | None) -> dict[str, Any]:
    """Return the parameters of a connection that the URL leaves out; `seconds` is the longest wait."""
    wanted: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "options": "-c timezone=UTC",
        # After a rollback the driver lets the server forget all that is prepared, if it has prepared any.
        "prepare_threshold": None,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
    }
    if seconds is not None:
        wanted["tcp_user_timeout"] = int(seconds * 1000)
    if isinstance(url.query.get("host"), tuple):
        wanted["target_session_attrs"] = "read-write"
    return {name: value for name, value in wanted.items() if name not in url.query}


class _NoAnswerError(Exception):
    """The server did not answer in time."""


def _limit_wait(waits: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
    """Pass on what an operation of the driver waits for, until the time is over.

    The driver tells an operation now and then that nothing has come yet.
    """
    end = time.monotonic() + seconds
    try:
        wanted = next(waits)
        while True:
            came = yield wanted
            if not came and time.monotonic() > end:
                raise _NoAnswerError
            wanted = waits.send(came)
    except StopIteration as done:
        return done.value


def get_connection_class(seconds: float | None) -> Any:
    """Return the class of connections whose waits for the server end after so many seconds."""
    import psycopg

    class LimitedConnection(psycopg.Connection[Any]):  # type: ignore[misc, unused-ignore]
        """A connection that is closed when the server does not answer in time."""

        def make_statements(self) -> ServerStatements:
            """Return what gives statements to the server directly."""
            return ServerStatements(self, seconds)

        def commit(self) -> None:
            """Commit the open transaction, if there is one."""
            statements: ServerStatements | None = self.__dict__.get(_STATEMENTS)
            if statements is None:
                super().commit()
            else:
                statements.commit()

        def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
            """Wait for the server; a wait that takes too long ends the connection."""
            if seconds is None:
                return super().wait(gen, *args, **options)
            try:
                return super().wait(_limit_wait(gen, seconds), *args, **options)
            except _NoAnswerError:
                # What the server still does is unknown: nothing more is asked on this connection.
                self.pgconn.finish()
                raise psycopg.OperationalError(describe_silence(seconds)) from None

    return LimitedConnection


def take_cursor(connection: Any) -> Any:
    """Return the cursor by which a connection executes statements with numbered parameters, one by one.

    To make one for each takes longer than to give it the statement.
    """
    found = connection.__dict__.get(_CURSOR)
    if found is None or found.closed:
        import psycopg

        found = connection.__dict__[_CURSOR] = psycopg.RawCursor(connection)
    return found


def take_statements(connection: Any) -> ServerStatements:
    """Return what gives the statements of a connection to the server directly."""
    found: ServerStatements | None = connection.__dict__.get(_STATEMENTS)
    if found is None:
        found = connection.__dict__[_STATEMENTS] = connection.make_statements()
    return found


def watch_notices(connection: Any, info: dict[str, Any]) -> None:
    """Keep the warnings of the server in the connection's `info`, for whoever asks after a commit."""
    told: list[str] = []
    info[NOTICES] = told

    def keep_warning(notice: Any) -> None:
        if (notice.severity_nonlocalized or notice.severity) in _TOLD:
            told[:] = [*told[-3:], str(notice.message_primary)]

    connection.add_notice_handler(keep_warning)


def is_server_away(told: Any) -> bool:
    """Return whether an error of the driver says that the server is gone, ends, or is a standby.

    Classes 08 (connection, but for what breaks the protocol) and 57P (it ends or starts); a lost connection
    has no SQLSTATE at all. An error of another kind, as of SQLite, has no such attribute.
    """
    if not hasattr(told, "sqlstate"):
        return False
    state = told.sqlstate
    away = state is None or state.startswith(("08", "57P")) or is_read_only(told)
    return bool(away and state != "08P01")


def is_read_only(told: Any) -> bool:
    """Return whether an error of the driver says that the server takes no writes: it is a standby."""
    return getattr(told, "sqlstate", None) == "25006"

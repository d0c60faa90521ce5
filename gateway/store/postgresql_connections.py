"""Opens connections to PostgreSQL that notice a lost or frozen server, and that find the primary.

The operating system notices a lost peer only after minutes; and the kernel goes on answering keepalives for
a stopped process. So the gateway sets a time limit of its own for each wait for the server.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from functools import wraps
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

from sqlalchemy import URL, Connection, Engine, event, make_url, text
from sqlalchemy.exc import DisconnectionError

from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.store.disk_reserve import InsufficientStorageError

#: Where a connection keeps the warnings of the server (`Connection.info`).
SERVER_WARNINGS: Final = "gateway_notices"
#: The largest number of prepared statements of a connection: more than it executes repeatedly.
MAX_PREPARED_STATEMENTS: Final = 400
#: `scheme://[login@]host[:port],host[:port]…[/database][?parameters]`, as libpq writes several hosts.
_MULTI_HOST_URL: Final = re.compile(r"(postgres[^:/]*)://((?:[^@/]*@)?)([^@/?]*,[^@/?]*)(/[^?]*)?(?:\?(.*))?")
_CONNECT_SECONDS: Final = 5
_HAD_FAILED: Final = "a statement of the transaction had failed: it is rolled back"
#: Notices below a warning are not kept.
_KEPT_SEVERITIES: Final = frozenset({"WARNING", "ERROR", "FATAL", "PANIC"})


def read_url(url: str) -> URL:
    """Return the parsed database URL, which may name several hosts as libpq allows.

    Raises ArgumentError if `url` is not a URL.
    """
    multi_host_match = _MULTI_HOST_URL.fullmatch(url)
    if multi_host_match is None:
        return make_url(url)
    scheme, login, hosts, path, parameters = multi_host_match.groups()
    parameter_text = "&".join(
        [*(f"host={host}" for host in hosts.split(",")), *([parameters] if parameters else [])]
    )
    return make_url(f"{scheme}://{login}{path or '/'}?{parameter_text}")


def make_connect_options(url: URL, max_wait_seconds: float | None) -> dict[str, Any]:
    """Return the parameters of a connection that the URL leaves out.

    `max_wait_seconds` is the longest wait for the server (None: no limit).
    """
    options: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
    }
    if max_wait_seconds is not None:
        options["tcp_user_timeout"] = int(max_wait_seconds * 1000)
    if isinstance(url.query.get("host"), tuple):
        options["target_session_attrs"] = "read-write"
    return {name: value for name, value in options.items() if name not in url.query}


def does_server_answer(url: URL) -> bool:
    """Return whether the server of a URL accepts connections; False while it starts or shuts down.

    It is asked after a refused connection, for which the driver has no SQLSTATE. Also False if the URL names
    several hosts or asks for the primary: the server that answers may be a standby.
    """
    if isinstance(url.query.get("host"), tuple) or "target_session_attrs" in url.query:
        return False
    from psycopg.pq import PGconn, Ping

    timed = url.set(drivername="postgresql").update_query_dict({"connect_timeout": str(_CONNECT_SECONDS)})
    return bool(PGconn.ping(timed.render_as_string(hide_password=False).encode()) == Ping.OK)


class _NoAnswerError(Exception):
    """The server did not answer in time."""


def _limit_wait(waits: Generator[Any, Any, Any], seconds: float) -> Generator[Any, Any, Any]:
    """Yield each wait of an operation of the driver; raise _NoAnswerError after `seconds` seconds.

    The driver resumes a waiting operation regularly, even if nothing has arrived.
    """
    end = time.monotonic() + seconds
    try:
        wait = next(waits)
        while True:
            readiness = yield wait
            if not readiness and time.monotonic() > end:
                raise _NoAnswerError
            wait = waits.send(readiness)
    except StopIteration as end_of_waits:
        return end_of_waits.value


def make_connection_class(max_wait_seconds: float | None) -> Any:
    """Return a new class of connections; each wait for the server ends after `max_wait_seconds`.

    With None, no wait is limited.
    """
    import psycopg

    class LimitedConnection(psycopg.Connection[Any]):  # type: ignore[misc, unused-ignore]
        """A connection that is closed when the server does not answer in time."""

        def commit(self) -> None:
            """Commit the open transaction; raises when a statement of it had failed.

            PostgreSQL answers such a COMMIT by a rollback, and does not call it an error.
            """
            if self.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
                raise psycopg.errors.InFailedSqlTransaction(_HAD_FAILED)
            super().commit()

        def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
            """Wait for the server; a wait that takes too long ends the connection."""
            if max_wait_seconds is None:
                return super().wait(gen, *args, **options)
            try:
                return super().wait(_limit_wait(gen, max_wait_seconds), *args, **options)
            except _NoAnswerError:
                # The server may still execute the statement: the connection is not used any more.
                self.pgconn.finish()
                raise psycopg.OperationalError(
                    f"the server did not answer within {max_wait_seconds:g} seconds"
                ) from None

    return LimitedConnection


def watch_server_warnings(connection: Any, info: dict[str, Any]) -> None:
    """Keep the last four warnings of the server in `info`, where they are read after a commit."""
    warnings: list[str] = []
    info[SERVER_WARNINGS] = warnings

    def keep_warning(server_message: Any) -> None:
        if (server_message.severity_nonlocalized or server_message.severity) in _KEPT_SEVERITIES:
            warnings[:] = [*warnings[-3:], str(server_message.message_primary)]

    connection.add_notice_handler(keep_warning)


_log = logging.getLogger(__name__)
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

#: SQLSTATE of serialization_failure, deadlock_detected and lock_not_available, and of a prepared statement
#: that the server has forgotten.
_CONFLICTS: Final = frozenset({"40001", "40P01", "55P03", "26000"})
#: A plan that was made before the schema changed, whose rows would have other types now, has the SQLSTATE of
#: everything unsupported and words in the language of the server; it is recognised by the server's function.
_UNSUPPORTED: Final = "0A000"
_PLAN_CHECK: Final = "RevalidateCachedQuery"
#: How often a transaction is run before its conflict is raised.
_TRIES: Final = 4


class TransactionConflictError(InsufficientStorageError):
    """GW806 of a transaction that was rolled back for a conflict with another one; a retry may succeed."""


def find_conflict(error: Any) -> TransactionConflictError | None:
    """Return and log the conflict of transactions that a driver's error reports; None for another error.

    The first use of a query plan older than a change of the schema counts as one: a retry has a new plan.
    """
    if getattr(error, "sqlstate", None) not in _CONFLICTS and not is_outdated_plan(error):
        return None
    reason = str(error).partition("\n")[0]
    problem = TransactionConflictError(f"the transaction gave way to another: {reason[:120]}")
    _log.warning("%s", problem)
    return problem


def is_outdated_plan(error: Any) -> bool:
    """Return whether a driver's error reports a query plan that was made before the schema changed."""
    return getattr(error, "sqlstate", None) == _UNSUPPORTED and error.diag.source_function == _PLAN_CHECK


def rerun_after_conflict(act: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Return a function that runs `act` again after a TransactionConflictError, at most four times in all.

    `act` must do nothing outside of its transaction.
    """

    @wraps(act)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        for _ in range(_TRIES - 1):
            try:
                return act(*args, **kwargs)
            except TransactionConflictError:
                continue
        return act(*args, **kwargs)

    return run


_Host: TypeAlias = tuple[str, str]
#: Seconds for which a host that gave no answer is left out: it may come back as the primary.
_LEFT_OUT: Final = 3.0
#: A host that refuses does so at once; one that took longer, in seconds, gave no answer.
_AT_ONCE: Final = 1.0


class DatabaseHosts:
    """The hosts of the database of one process: it leaves out a host that gave no answer for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Since when a host gives no answer; infinite while a thread tries it again.
        self._silent_since: dict[_Host, float] = {}
        self._guard = threading.Lock()

    def connect(self, connect: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
        """Return a connection to the first host that takes it; `connect` gets the parameters of one host.

        Raises the exception of `connect` for the last host. A host without an answer is left out for a few
        seconds; then one thread at a time tries it, after the other hosts. When all hosts are left out, all
        are tried.
        """
        failure: Exception | None = None
        for host, port in sorted(_split_hosts(parameters), key=self._silent_since.__contains__):
            if not self._may_try_host((host, port)):
                continue
            silent, started_at = False, self._clock()
            try:
                return connect(**{**parameters, "host": host, **({"port": port} if port else {})})
            except Exception as problem:
                failure = problem
                silent = self._clock() - started_at >= _AT_ONCE
            finally:
                self._record_host_result((host, port), silent=silent)
        if failure is None:
            return connect(**parameters)
        raise failure

    def _may_try_host(self, host: _Host) -> bool:
        """Return whether this thread may try the host now."""
        with self._guard:
            since = self._silent_since.get(host)
            if since is None:
                return True
            due = self._clock() - since >= _LEFT_OUT
            if due:
                self._silent_since[host] = math.inf
            return due

    def _record_host_result(self, host: _Host, *, silent: bool) -> None:
        with self._guard:
            self._silent_since.pop(host, None)
            if silent:
                self._silent_since[host] = self._clock()


def _split_hosts(parameters: Mapping[str, Any]) -> list[_Host]:
    """Return host and port of each of several hosts, an empty list for one host.

    A single port counts for all hosts, as in libpq.
    """
    hosts = str(parameters.get("host", "")).split(",")
    ports = str(parameters.get("port", "")).split(",")
    if len(hosts) < 2 or "hostaddr" in parameters or len(ports) not in {1, len(hosts)}:
        return []
    return list(zip(hosts, ports * (len(hosts) if len(ports) == 1 else 1), strict=True))


_POOLER_SENTENCE: Final = (
    "a pooler gives each transaction another session of the server: it needs its session mode "
    "(pgbouncer: pool_mode = session)"
)


def check_session(connection: Any, connect: Callable[[], Any]) -> None:
    """Raise GW801 if transactions of a new connection go to different server sessions, as with a pooler.

    A pooler is noticed by a process number that is not the server's. Then a transaction of a second
    connection, which `connect` makes, occupies a free session; the process number of the first connection
    changes if that session is not its own.
    """
    first = _ask_process(connection)
    if first == connection.info.backend_pid:
        return
    with closing(connect()) as second:
        # Where the pooler has one session only, the server ends this transaction, and ours gets another one.
        second.execute("SET LOCAL idle_in_transaction_session_timeout = '2s'")
        if _ask_process(connection) != first:
            raise GatewayError(SETTINGS_WRONG, _POOLER_SENTENCE, "database.url")


def _ask_process(connection: Any) -> int:
    number = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    connection.commit()
    return int(number)


_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(CAST(:name AS text), 0))")


def acquire_named_locks(conn: Connection, *names: str) -> None:
    """Lock these names until the transaction ends; wait for other transactions that have locked one of them.

    A caller that locks several names must always give them in the same order. Does nothing on SQLite, which
    has only one writer.
    """
    if conn.dialect.name != "sqlite":
        for name in names:
            conn.execute(_LOCK, {"name": name})


def call_at_dispose(engine: Engine, close: Callable[[], object]) -> None:
    """Call a function whenever this engine is disposed."""
    event.listen(engine, "engine_disposed", lambda _: close())


#: Seconds after which a connection counts as idle.
_IDLE: Final = 1.0
#: Entry of a connection: when it was given back.
_RETURNED: Final = "gateway_returned"


class _OldConnectionError(DisconnectionError):
    """A connection that was opened before another one was lost."""


def replace_lost_connections(engine: Engine, idle: float = _IDLE) -> None:
    """Let a pool replace a connection that was idle for `idle` seconds and does not answer a ping.

    When one connection is lost, at that check or in a statement, all that were opened before are replaced.
    """
    losses = 0
    #: Entry of a connection: how many were lost before it was opened.
    losses_before = object()

    def note_opening(_connection: Any, record: Any) -> None:
        record.info[losses_before] = losses

    def note_loss(_connection: Any, _record: Any, problem: BaseException | None) -> None:
        nonlocal losses
        if not isinstance(problem, _OldConnectionError):
            losses += 1

    def note_return(_connection: Any, record: Any) -> None:
        record.info[_RETURNED] = time.monotonic()

    def check_connection(connection: Any, record: Any, _proxy: Any) -> None:
        """Raise an error of SQLAlchemy for a connection that must be replaced; ping it after a long pause."""
        if record.info.get(losses_before) != losses:
            raise _OldConnectionError("a connection was lost since this one was opened")
        returned = record.info.get(_RETURNED)
        if returned is None or time.monotonic() - returned < idle:
            return
        dialect: Any = engine.dialect
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as problem:
            raise DisconnectionError(str(problem)) from problem

    event.listen(engine, "connect", note_opening)
    event.listen(engine, "invalidate", note_loss)
    event.listen(engine, "checkin", note_return)
    event.listen(engine, "checkout", check_connection)


def count_losses(engine: Engine) -> Callable[[], int]:
    """Return a function that returns how often, from now on, the engine lost or closed connections."""
    number = 0

    def note_loss(*_: Any) -> None:
        nonlocal number
        number += 1

    event.listen(engine, "invalidate", note_loss)
    call_at_dispose(engine, note_loss)
    return lambda: number

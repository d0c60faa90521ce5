"""Gives statements with numbered parameters to a PostgreSQL server, which prepares those that come again.

What the cursors of the driver do for each execution takes longer than libpq and the server need for most
statements. So the functions of libpq are called here, as the driver offers them (`psycopg.pq`); values are
written and read by the driver's own adapters. The first statement of a transaction is sent together with
its BEGIN.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final, TypeAlias

from sqlalchemy.types import TypeEngine

__all__ = [
    "ServerAnswer",
    "ServerStatements",
    "ServerText",
    "describe_silence",
    "find_parameter_type",
    "make_server_text",
]

#: So many statements of a connection stay prepared; the server keeps a plan for each.
_MOST_PREPARED: Final = 400
#: So many executions of one statement are sent before their answers are awaited.
_TOGETHER: Final = 500
#: A parameter whose type the statement itself says.
_CAST: Final = re.compile(r"\$\d+::|\bCAST\(\$\d+ AS ")
_NUMBER: Final = re.compile(r"\$(\d+)")
#: In place of the name of a statement that was executed once: the next time it is prepared.
_AGAIN: Final = b""
#: SQLSTATE of a plan whose rows have other types now, and of a name that the server does not know.
_NEW_TYPES: Final = "0A000"
_NO_NAME: Final = "26000"
#: The numbers of types of PostgreSQL that SQLAlchemy leaves a statement without, by the name of its own type.
_UNSAID: Final = {"LargeBinary": 17, "Boolean": 16, "Integer": 20, "BigInteger": 20}
_TRUTH: Final = _UNSAID["Boolean"]
#: What the driver tells the server the type of: truth values, `float` and `Decimal`.
_CONVERTED: Final = frozenset({_TRUTH, 701, 1700})
#: In place of the number of a type that the statement itself says.
_SAID: Final = 0
_OCTETS: Final = _UNSAID["LargeBinary"]


#: The values of a row as the server is given them, and their formats.
_Given: TypeAlias = tuple[Sequence[Any], Sequence[Any]]
#: SQL and the types of its parameters.
_Key: TypeAlias = tuple[bytes, tuple[int, ...]]


class ServerText:
    """A statement as the server is given it: its SQL, the types of its parameters, and their formats."""

    __slots__ = ("formats", "key", "sql", "types")

    def __init__(self, sql: bytes, types: Sequence[int], formats: Sequence[Any]) -> None:
        self.sql = sql
        self.types = types
        self.formats = formats
        #: What it is prepared by: the same SQL with other types is another statement.
        self.key = (sql, tuple(types))


def find_parameter_type(bound: TypeEngine[Any]) -> int:
    """Return the number of PostgreSQL's type for a parameter that a statement does not cast; 0: unknown."""
    names = (one.__name__ for one in type(bound).__mro__)
    return next((_UNSAID[name] for name in names if name in _UNSAID), 0)


def make_server_text(sql: str, types: Sequence[int]) -> ServerText | None:
    """Return a statement whose parameters all have a type; None for one of which the driver must find out.

    `types` has the type of each parameter, in the order of their numbers, for those that the statement does
    not cast. Octets are sent as they are, and all other values as text, which every type can be read from.
    """
    uncast = {int(number) for number in _NUMBER.findall(_CAST.sub("", sql))}
    if not all(types[number - 1] for number in uncast):
        return None
    from psycopg.adapt import PyFormat

    formats = [PyFormat.BINARY if one == _OCTETS else PyFormat.TEXT for one in types]
    sent = [one if place in uncast else _SAID for place, one in enumerate(types, 1)]
    return ServerText(sql.encode(), sent, formats)


def describe_silence(seconds: float) -> str:
    """Return the words for a server that has said nothing for so many seconds, which were all it had."""
    return f"the server did not answer within {seconds:g} seconds"


class ServerAnswer:
    """What the server has answered to one statement: rows, and how many rows were changed or found."""

    __slots__ = ("_result", "rowcount", "rows")

    def __init__(self, result: Any, rows: Sequence[Any], rowcount: int) -> None:
        self._result = result
        self.rows = rows
        self.rowcount = rowcount

    @property
    def description(self) -> list[tuple[str, int]] | None:
        """The name of each column and its type, in the way of a cursor; None where no rows are returned."""
        told = self._result
        if told is None or not told.nfields:
            return None
        return [(told.fname(place).decode(), told.ftype(place)) for place in range(told.nfields)]


@cache
def _write_begin(level: Any, read_only: bool | None, deferrable: bool | None) -> bytes:
    """Return the command that begins a transaction with these properties; None: that of the server."""
    words = ["BEGIN"]
    if level is not None:
        words.append("ISOLATION LEVEL " + level.name.replace("_", " "))
    if read_only is not None:
        words.append("READ ONLY" if read_only else "READ WRITE")
    if deferrable is not None:
        words.append("DEFERRABLE" if deferrable else "NOT DEFERRABLE")
    return " ".join(words).encode()


class ServerStatements:
    """The statements of one connection; one thread at a time uses it.

    The connection is closed when no answer has come for `seconds` (None: it is awaited for ever): what the
    server still does is unknown then.
    """

    def __init__(self, connection: Any, seconds: float | None) -> None:
        from psycopg import errors, pq
        from psycopg.adapt import Transformer

        self._connection = connection
        self._server: Any = connection.pgconn
        self._transformer: Any = Transformer(connection)
        self._seconds = seconds
        self._errors = errors
        self._idle = pq.TransactionStatus.IDLE
        self._rows, self._done = pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK
        self._synchronised = pq.ExecStatus.PIPELINE_SYNC
        #: The name of each statement by its key, those used longest ago first.
        self._names: dict[_Key, bytes] = {}
        #: The names that the server is to forget before it prepares another statement.
        self._forgotten: list[bytes] = []
        self._made = 0
        self._readable = select.poll()
        self._readable.register(self._server.socket, select.POLLIN)

    def execute(self, text: ServerText, values: Sequence[Any]) -> ServerAnswer | None:
        """Execute a statement, in a new transaction where none is open; return its answer.

        None where the driver must convert a value: one with a truth value or a fraction for a type that the
        statement says. Raises the errors of the driver.
        """
        given = self._give_values(text, values)
        return None if given is None else self._read_answer(self._execute(text, [given])[-1])

    def execute_rows(self, text: ServerText, rows: Sequence[Sequence[Any]]) -> ServerAnswer | None:
        """Execute a statement that returns no rows for each of these rows; return how many changed.

        None as for one.
        """
        changed, given = 0, [self._give_values(text, values) for values in rows]
        whole = [one for one in given if one is not None]
        if len(whole) < len(given):
            return None
        for start in range(0, len(whole), _TOGETHER):
            part = whole[start : start + _TOGETHER]
            results = self._execute(text, part)[-len(part) :]
            changed += sum(result.command_tuples or 0 for result in results)
        return ServerAnswer(None, (), changed)

    def ask_alone(self, text: ServerText) -> Any:
        """Return the one value that a statement without parameters gives, in no transaction of others."""
        rows = self._read_answer(self._execute(text, [((), ())], begins=False)[-1]).rows
        return rows[0][0]

    def _execute(self, text: ServerText, given: Sequence[_Given], *, begins: bool = True) -> list[Any]:
        """Execute a statement for each row of values; return all results, those of the rows at the end."""
        name, sends = self._find_name(text), self._begin_transaction() if begins else []
        made, forgotten = None, len(self._forgotten)
        if name is _AGAIN or (name is None and len(given) > 1):
            name = made = self._make_name()
            sends += [
                partial(self._server.send_query_params, b"DEALLOCATE " + one, None) for one in self._forgotten
            ]
            sends.append(partial(self._server.send_prepare, name, text.sql, text.types))
        place = len(sends) - 1
        sends += [self._send_values(text, name, *one) for one in given]
        results = self._run(sends)
        if made is not None and len(results) > place and results[place].status == self._done:
            self._names[text.key] = made
            # What was sent before it is done, too.
            del self._forgotten[:forgotten]
        try:
            self._raise_problem(results)
        except self._errors.Error as problem:
            self._forget_outdated(text, problem.sqlstate)
            raise
        return results

    def _give_values(self, text: ServerText, values: Sequence[Any]) -> _Given | None:
        """Return values as the server is given them, with their formats; None where the driver converts."""
        given, told = self._transformer.dump_sequence(values, text.formats), self._transformer.types
        if not _CONVERTED.isdisjoint(told):
            for one, own in zip(told, text.types, strict=True):
                if one in _CONVERTED and not one == own == _TRUTH:
                    return None
        return given, self._transformer.formats

    def _send_values(
        self, text: ServerText, name: bytes | None, given: Sequence[Any], formats: Sequence[Any]
    ) -> Callable[[], None]:
        """Return what sends a statement with its values; one without a name is not prepared."""
        if name is None:
            return partial(self._server.send_query_params, text.sql, given, text.types, formats)
        return partial(self._server.send_query_prepared, name, given, formats)

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._server.transaction_status != self._idle)

    def commit(self) -> None:
        """Commit the open transaction, if there is one; raises when a statement of it had failed."""
        if not self.is_in_transaction:
            return
        results = self._run([partial(self._server.send_query, b"COMMIT")])
        self._raise_problem(results)
        if results[-1].command_status != b"COMMIT":
            # The server does not call it an error.
            words = "a statement of the transaction had failed: it is rolled back"
            raise self._errors.InFailedSqlTransaction(words)

    def _begin_transaction(self) -> list[Callable[[], None]]:
        if self._server.transaction_status != self._idle or self._connection.autocommit:
            return []
        told = self._connection
        command = _write_begin(told.isolation_level, told.read_only, told.deferrable)
        return [partial(self._server.send_query_params, command, None)]

    def _find_name(self, text: ServerText) -> bytes | None:
        """Return the name of a prepared statement; None before its first execution, `_AGAIN` after it."""
        name = self._names.pop(text.key, None)
        self._names[text.key] = name or _AGAIN
        while len(self._names) > _MOST_PREPARED:
            oldest = self._names.pop(next(iter(self._names)))
            if oldest is not _AGAIN:
                self._forgotten.append(oldest)
        return name

    def _forget_outdated(self, text: ServerText, state: str | None) -> None:
        """Prepare a statement anew whose plan the server refuses, and all where it has forgotten a name."""
        if state == _NEW_TYPES:
            self._names.pop(text.key, None)
        elif state == _NO_NAME:
            self._names.clear()
            self._forgotten.clear()

    def _make_name(self) -> bytes:
        self._made += 1
        return b"gateway_%d" % self._made

    def _run(self, sends: Sequence[Callable[[], None]]) -> list[Any]:
        """Send commands together, and return their results."""
        try:
            if len(sends) > 1:
                return self._run_together(sends)
            sends[0]()
            self._flush()
            results = []
            while (result := self._take_result()) is not None:
                results.append(result)
        except BaseException:
            # What the server still does, or has done, is unknown.
            self._server.finish()
            raise
        return results

    def _raise_problem(self, results: Sequence[Any]) -> None:
        """Raise what the first command that failed, failed of."""
        for result in results:
            if result.status not in (self._done, self._rows):
                raise self._errors.error_from_result(result)

    def _run_together(self, sends: Sequence[Callable[[], None]]) -> list[Any]:
        """Send commands before the first answer is awaited; after one that fails the server runs none."""
        self._server.enter_pipeline_mode()
        for send in sends:
            send()
        self._server.pipeline_sync()
        self._flush()
        results: list[Any] = []
        while (result := self._take_result()) is None or result.status != self._synchronised:
            if result is not None:
                results.append(result)
        self._server.exit_pipeline_mode()
        return results

    def _read_answer(self, result: Any) -> ServerAnswer:
        if result.status == self._done:
            changed = result.command_tuples
            return ServerAnswer(result, (), -1 if changed is None else changed)
        number = result.ntuples
        rows: Sequence[Any] = ()
        if number:
            self._transformer.set_pgresult(result)
            rows = self._transformer.load_rows(0, number, tuple)
            self._transformer.set_pgresult(None)
        return ServerAnswer(result, rows, number)

    def _take_result(self) -> Any:
        """Return the next result of what was sent, None at the end of those of one command."""
        server = self._server
        while server.is_busy():
            self._wait(self._readable)
            server.consume_input()
        return server.get_result()

    def _flush(self) -> None:
        """Send all that libpq has not sent yet; what the server says meanwhile is read."""
        while self._server.flush():
            both = select.poll()
            both.register(self._server.socket, select.POLLIN | select.POLLOUT)
            if any(happened & ~select.POLLOUT for _, happened in self._wait(both)):
                self._server.consume_input()

    def _wait(self, poll: Any) -> Any:
        limit = self._seconds
        happened = poll.poll(None if limit is None else limit * 1000)
        if not happened and limit is not None:
            raise self._errors.OperationalError(describe_silence(limit))
        return happened

"""Connections that give statements to the driver of the database themselves.

What SQLAlchemy does for each execution takes several times as long as the database needs for the
statement. So it compiles the statements, and the connection executes them; all that it cannot do so, and
each statement that somebody listens to, is executed by SQLAlchemy as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from sqlalchemy import (
    Connection,
    CursorResult,
    Engine,
    Executable,
    SelectBase,
    TextClause,
    UpdateBase,
)

from gateway.store.compiled_statements import COMPILED_STATEMENTS
from gateway.store.driver_statements import BoundStatement, DriverStatement, find_driver_statement
from gateway.store.postgresql_connections import take_cursor
from gateway.store.transaction_rows import insert_before_statement

__all__ = ["DriverConnection", "use_driver_connections"]

_COMPILED: Final = COMPILED_STATEMENTS["compiled_cache"]
#: What is sent as it is compiled; a function, for example, is made a SELECT before.
_PLAIN: Final = (SelectBase, UpdateBase, TextClause)


class DriverConnection(Connection):
    """A connection that executes statements of our transactions through its driver."""

    #: Whether the driver is in a transaction that SQLAlchemy knows nothing of (SQLite).
    in_driver_transaction = False

    def execute(
        self, statement: Executable, parameters: Any = None, *, execution_options: Any = None
    ) -> CursorResult[Any]:
        """Execute a statement; return its rows."""
        if execution_options is None and self._may_use_driver():
            found = self._execute_directly(statement, parameters)
            if found is not None:
                return found
        return super().execute(statement, parameters, execution_options=execution_options)

    def scalar(self, statement: Executable, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Execute a statement; return the first value of its first row."""
        return self.execute(statement, parameters, execution_options=execution_options).scalar()

    def _may_use_driver(self) -> bool:
        transaction = self._nested_transaction or self._transaction
        if transaction is None:
            if not self.in_driver_transaction:
                return False
        elif not transaction.is_active:
            return False
        if self._has_events:
            return False
        # One listener is our own (`insert_before_reading`), whose work is done here.
        told: Any = self.engine.dispatch
        return len(told.before_cursor_execute) == 1 and not told.after_cursor_execute

    def _execute_directly(self, statement: Any, parameters: Any) -> CursorResult[Any] | None:
        rows = parameters if isinstance(parameters, list) else [parameters or {}]
        if not isinstance(statement, _PLAIN) or not rows or _differ(rows):
            return None
        ready = find_driver_statement(statement, self.dialect, _COMPILED, rows[0])
        if ready is None:
            return None
        try:
            bound = _bind_statement(*ready, rows)
        except Exception:  # what is wrong with a value is told by SQLAlchemy
            return None
        return None if bound is None else self._send_statement(ready[0], bound)

    def _send_statement(self, statement: DriverStatement, bound: BoundStatement) -> Any:
        insert_before_statement(self, bound.sql)
        cursor: Any = None
        try:
            driver: Any = self.connection.dbapi_connection
            cursor = driver.cursor() if statement.positional else take_cursor(driver)
            (cursor.executemany if bound.repeated else cursor.execute)(bound.sql, bound.values)
            return statement.read_rows(cursor)
        except BaseException as problem:
            self._raise_problem(problem, bound, cursor)

    def _raise_problem(self, problem: BaseException, bound: BoundStatement, cursor: Any) -> NoReturn:
        """Raise what SQLAlchemy raises, and drop a connection that is lost."""
        errors: Any = self.dialect.loaded_dbapi.Error
        if isinstance(problem, Exception) and not isinstance(problem, errors):
            raise problem
        if not self.in_transaction():
            # SQLAlchemy rolls back at once what it knows no transaction of.
            self.begin()
        self._handle_dbapi_exception(problem, bound.sql, bound.values, cursor, None)


def _differ(rows: list[Any]) -> bool:
    """Return whether rows do not all name the same parameters."""
    first = rows[0]
    if not isinstance(first, Mapping):
        return True
    return len(rows) > 1 and any(not isinstance(one, Mapping) or one.keys() != first.keys() for one in rows)


def _bind_statement(
    statement: DriverStatement, inside: Sequence[Any], rows: list[Mapping[str, Any]]
) -> BoundStatement | None:
    """Return the statement with the values of these rows; None where SQLAlchemy has its own way."""
    if len(rows) == 1:
        return statement.bind_values(rows[0], inside)
    if not statement.returns_nothing():
        return statement.bind_rows(rows, inside)
    found = [statement.bind_values(row, inside) for row in rows]
    values = [one.values for one in found if one is not None]
    return BoundStatement(statement.sql, values, repeated=True)


def use_driver_connections(engine: Engine) -> None:
    """Let an engine make connections of this kind."""
    engine._connection_cls = DriverConnection

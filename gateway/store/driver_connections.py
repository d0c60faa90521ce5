"""Connections that give statements to the driver of the database themselves.

What SQLAlchemy does for each execution takes several times as long as the database needs for the
statement. So it compiles the statements, and the connection executes them; all that it cannot do so, and
each statement that somebody listens to, is executed by SQLAlchemy as ever.
"""

from __future__ import annotations

from typing import Any, NoReturn

from sqlalchemy import Connection, CursorResult, Engine, Executable

from gateway.store.driver_rows import FoundRows
from gateway.store.driver_statements import StatementText, bind_rows, bind_statement
from gateway.store.postgresql_connections import take_cursor, take_statements
from gateway.store.server_statements import ServerAnswer
from gateway.store.transaction_rows import insert_before_statement

__all__ = ["DriverConnection", "use_driver_connections"]


class DriverConnection(Connection):
    """A connection that executes statements of our transactions through its driver."""

    #: Whether the driver is in a transaction that SQLAlchemy knows nothing of.
    in_driver_transaction = False

    def __init__(self, engine: Engine, *args: Any, **kwargs: Any) -> None:
        super().__init__(engine, *args, **kwargs)
        self._is_watched = _has_listeners(engine)

    def begin_in_driver(self, command: str = "") -> None:
        """Begin a transaction of the driver, which SQLAlchemy knows nothing of.

        Without a `command` the first statement begins it (PostgreSQL).
        """
        if command:
            driver: Any = self.connection.dbapi_connection
            driver.execute(command)
        self.in_driver_transaction = True
        # Such a connection is used for many transactions.
        self._is_watched = _has_listeners(self.engine)

    def commit_in_driver(self) -> None:
        """Commit that transaction; where SQLAlchemy has begun to write in it too, by SQLAlchemy."""
        if self.in_transaction():
            self.commit()
            return
        try:
            driver: Any = self.connection.dbapi_connection
            driver.commit()
        except BaseException as problem:
            self._raise_problem(problem, "COMMIT", [], None)

    def roll_back_in_driver(self) -> None:
        """Roll that transaction back; raises the error of the driver."""
        driver: Any = self if self.in_transaction() else self.connection.dbapi_connection
        driver.rollback()

    def execute(
        self, statement: Executable, parameters: Any = None, *, execution_options: Any = None
    ) -> CursorResult[Any]:
        """Execute a statement; return its rows."""
        if execution_options is None and self._may_use_driver():
            bind = bind_rows if isinstance(parameters, list) else bind_statement
            try:
                bound = bind(statement, self.dialect, {} if parameters is None else parameters)
            except Exception:  # what is wrong with a value is told by SQLAlchemy
                bound = None
            if bound is not None:
                sent: CursorResult[Any] = self._send_statement(*bound)
                return sent
        return super().execute(statement, parameters, execution_options=execution_options)

    def scalar(self, statement: Executable, parameters: Any = None, *, execution_options: Any = None) -> Any:
        """Execute a statement; return the first value of its first row."""
        return self.execute(statement, parameters, execution_options=execution_options).scalar()

    def _may_use_driver(self) -> bool:
        if self._is_watched or self._has_events:
            return False
        transaction = self._nested_transaction or self._transaction
        return self.in_driver_transaction if transaction is None else transaction.is_active

    def _send_statement(self, text: StatementText, values: list[Any]) -> Any:
        if not text.is_plain_read:
            insert_before_statement(self, text.sql)
        cursor: Any = None
        try:
            # The property asks the same, and costs a call for each statement.
            driver: Any = (self._dbapi_connection or self.connection).dbapi_connection
            if text.server is not None:
                statements = take_statements(driver)
                execute = statements.execute_rows if text.repeated else statements.execute
                answer = execute(text.server, values)
                if answer is not None:
                    return _read_answer(text, answer)
            cursor = driver.cursor() if text.positional else take_cursor(driver)
            (cursor.executemany if text.repeated else cursor.execute)(text.sql, values)
            if text.returns_rows is None:
                text.learn_layout(cursor)
            return FoundRows(text.layout, cursor.fetchall() if text.returns_rows else (), cursor.rowcount)
        except BaseException as problem:
            self._raise_problem(problem, text.sql, values, cursor)

    def _raise_problem(self, problem: BaseException, sql: str, values: list[Any], cursor: Any) -> NoReturn:
        """Raise what SQLAlchemy raises, and drop a connection that is lost."""
        errors: Any = self.dialect.loaded_dbapi.Error
        if isinstance(problem, Exception) and not isinstance(problem, errors):
            raise problem
        if not self.in_transaction():
            # SQLAlchemy rolls back at once what it knows no transaction of.
            self.begin()
        self._handle_dbapi_exception(problem, sql, values, cursor, None)


def _read_answer(text: StatementText, answer: ServerAnswer) -> FoundRows:
    if text.returns_rows is None:
        text.learn_layout(answer)
    return FoundRows(text.layout, answer.rows, answer.rowcount)


def _has_listeners(engine: Engine) -> bool:
    """Return whether somebody listens to the statements of an engine.

    One listener is our own (`insert_before_reading`), whose work is done here.
    """
    told: Any = engine.dispatch
    return len(told.before_cursor_execute) != 1 or bool(told.after_cursor_execute)


def use_driver_connections(engine: Engine) -> None:
    """Let an engine make connections of this kind."""
    engine._connection_cls = DriverConnection

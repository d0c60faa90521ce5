"""Says what an error of a database driver shows: a statement, the server or the disk that failed.

One statement that fails says nothing about the others. So only an error of the server or of the disk is one
for everybody, and any SQLSTATE that is not named here is one of its statement alone.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final


class FailureScope(Enum):
    """The part that has failed: disk or server, for everybody; or one statement, for its caller alone."""

    DISK = "disk"
    SERVER = "server"
    STATEMENT = "statement"


#: SQLSTATE of disk_full and io_error, and the result codes SQLITE_FULL and SQLITE_IOERR.
_DISK: Final = frozenset({"53100", "58030"})
_SQLITE_DISK: Final = frozenset({13, 10})
#: The result codes SQLITE_READONLY and SQLITE_IOERR; more octets of a code tell the cause.
_SQLITE_READ_ONLY: Final = 8
_SQLITE_FILE: Final = frozenset({_SQLITE_READ_ONLY, 10})
#: SQLSTATE of protocol_violation, which another statement need not meet, and of configuration_limit_exceeded,
#: as for the temporary files of a statement.
_STATEMENT: Final = frozenset({"08P01", "53400"})
#: Classes of SQLSTATE, or their beginnings: connection, authorization, resources, shutdown or start, system.
_SERVER: Final = ("08", "28", "53", "54000", "57P", "58")
#: SQLSTATE of read_only_sql_transaction, of a session that was idle in its transaction or whose transaction
#: took too long, and of insufficient_privilege.
_READ_ONLY: Final = "25006"
_NOT_PERMITTED: Final = "42501"
_REFUSED: Final = frozenset({_READ_ONLY, "25P03", "25P04", _NOT_PERMITTED})
#: The time limits of a server that end work, by the SQLSTATE with which they do.
_TIME_LIMITS: Final = {
    "57014": "statement_timeout",
    "57P05": "idle_session_timeout",
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
}
#: SQLSTATE of program_limit_exceeded: an index entry that is too long, whose table the server then names; or
#: the numbers of transactions are used up, and the server takes no writes.
_LIMIT: Final = "54000"


def find_failure_scope(error: Any) -> FailureScope:
    """Return the part that has failed, as a driver's error shows; a lost connection has no SQLSTATE.

    An error of SQLite has a result code instead, and SQLite has no server: the other errors say that another
    process holds the file, or that the file takes no writes.
    """
    if not hasattr(error, "sqlstate"):
        primary_code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return FailureScope.DISK if primary_code in _SQLITE_DISK else FailureScope.SERVER
    state = error.sqlstate
    if state in _DISK:
        return FailureScope.DISK
    if state in _STATEMENT:
        return FailureScope.STATEMENT
    if state is None or state.startswith(_SERVER) or state in (_READ_ONLY, _NOT_PERMITTED):
        return FailureScope.SERVER
    return FailureScope.STATEMENT


def is_file_failure(error: Any, *, is_reading: bool = False) -> bool:
    """Return whether an error of SQLite may last as long as the connections of this process.

    The file, or one beside it, took no writes when they were opened, or what they have opened is gone. A
    reader (`is_reading`) that tries to write has the code of such a file, too, and shows nothing.
    """
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _SQLITE_FILE and not (is_reading and code == _SQLITE_READ_ONLY)


def is_read_only(error: Any) -> bool:
    """Return whether an error of the driver says that the server takes no writes: it is a standby."""
    return getattr(error, "sqlstate", None) == _READ_ONLY


def is_refused_for_now(error: Any) -> bool:
    """Return whether the server refuses a statement only for now: by a setting, or the rights of the role.

    The driver gives these errors the same class as mistakes in statements.
    """
    return getattr(error, "sqlstate", None) in _REFUSED


def is_value_too_long(error: Any) -> bool:
    """Return whether a value is longer than an index of the server holds: no repeat of it ever succeeds."""
    return getattr(error, "sqlstate", None) == _LIMIT and error.diag.table_name is not None


def describe_time_limit(error: Any) -> str | None:
    """Return the reason of a driver's error with the setting that may be too short; None for another error.

    A statement that a person cancels has the same SQLSTATE as one that `statement_timeout` ends.
    """
    limit = _TIME_LIMITS.get(getattr(error, "sqlstate", None) or "")
    if limit is None:
        return None
    reason = str(error).partition("\n")[0]
    return f"{reason} ({limit} of the role, the database or the server may be too short)"

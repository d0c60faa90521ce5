"""GW806, and the exceptions which say that a resource of ours is used up: memory, disk, descriptors.

No sender is to blame for them, and they pass. Libraries report them in the same way as malformed input. So
code that makes a problem of a sender from an exception must call this module first.
"""

from __future__ import annotations

import errno
import os
import tempfile
import zlib
from typing import Final

from gateway.errors.internal import DATABASE_HELD, WRONG_STORE
from gateway.errors.problem import GatewayError, Problem, ProtocolCodes

NO_ROOM = Problem(
    id="GW806",
    title="no capacity: queue, disk or workers full",
    meaning="The gateway has no capacity to store the message safely, so it did not accept it.",
    cause=(
        "The database is unavailable or busy, a disk is full, memory or file descriptors are used up, "
        "the process that judges certificates cannot be started, or all workers are busy."
    ),
    remedy=(
        "Send the same message again later. Operator: check that the database runs and has space "
        "(`gateway config show` names its `database.url`), and read the log."
    ),
    ours=True,
    retry=True,
    codes=ProtocolCodes(ebms3="EBMS:0004", soap="Server", http=503),
)

_ERRNOS: Final = frozenset(
    {errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO}
)
#: What Python says of a thread that the system does not start, as at its limit of processes.
_NO_THREAD: Final = "can't start new thread"
#: What `tempfile` says where it can write in no folder.
_NO_TEMPORARY_FOLDER: Final = "No usable temporary directory"
#: XML_ERR_NO_MEMORY of libxml2, in the log of each exception of lxml.
_LIBXML_NO_MEMORY: Final = 2
#: ERR_R_MALLOC_FAILURE of OpenSSL, in the list of errors of cryptography's InternalError.
_OPENSSL_NO_MEMORY: Final = 786_688
#: Z_MEM_ERROR of zlib, which the exception has in its text alone.
_ZLIB_NO_MEMORY: Final = "Error -4 "
_MAX_CAUSES: Final = 8


def find_resource_problem(error: BaseException) -> GatewayError | None:
    """Return GW806 if an exception, or one of its causes, says that memory, disk or handles are used up.

    Return GW810 or GW811 if a cause is that: the database is older than what the gateway has acknowledged, or
    large payloads are not in the store of the database. Return None for any other exception.
    """
    current: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if current is None:
            return None
        if isinstance(current, GatewayError) and current.problem in (NO_ROOM, DATABASE_HELD, WRONG_STORE):
            return current
        if _is_out_of_memory(current):
            return GatewayError(NO_ROOM, "memory is used up")
        if isinstance(current, OSError) and current.errno in _ERRNOS:
            return GatewayError(NO_ROOM, f"the system says {errno.errorcode[current.errno]}")
        if isinstance(current, RuntimeError) and str(current) == _NO_THREAD:
            return GatewayError(NO_ROOM, "the system starts no thread")
        if isinstance(current, FileNotFoundError) and _is_without_temporary_folder(current):
            return GatewayError(NO_ROOM, "there is no folder for temporary files")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return None


def raise_resource_problem(error: BaseException) -> None:
    """Raise GW806, GW810 or GW811 if `find_resource_problem` finds it for an exception; else return."""
    problem = find_resource_problem(error)
    if problem is not None:
        raise problem from None


def _is_without_temporary_folder(error: FileNotFoundError) -> bool:
    """Return whether the folder of TMPDIR was removed, or `tempfile` has found none."""
    folder = tempfile.tempdir
    if error.filename is None or folder is None:
        return _NO_TEMPORARY_FOLDER in str(error)
    is_temporary = os.fsdecode(error.filename).startswith(os.path.join(os.fsdecode(folder), ""))
    return is_temporary and not os.path.isdir(folder)


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether Python, zlib, OpenSSL or libxml2 raised `error` because memory was used up."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, zlib.error):
        return str(error).startswith(_ZLIB_NO_MEMORY)
    if any(
        getattr(openssl_error, "reason", None) == _OPENSSL_NO_MEMORY
        for openssl_error in _list_openssl_errors(error)
    ):
        return True
    # Some exceptions of lxml carry the error log of their thread: only its last entry is about this error.
    last_log_entry = getattr(getattr(error, "error_log", None), "last_error", None)
    return getattr(last_log_entry, "type", None) == _LIBXML_NO_MEMORY


def _list_openssl_errors(error: BaseException) -> tuple[object, ...]:
    reported = getattr(error, "err_code", None)
    return tuple(reported) if isinstance(reported, list) else ()

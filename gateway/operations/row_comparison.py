"""Compares the working rows with the evidence, for the verb that checks it and for each start of the hub."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.evidence import (
    UNREADABLE,
    RowFindings,
    describe_unreadable,
    is_register_stated,
    is_unreadable,
    state_register,
    verify_rows,
)
from gateway.operations.register_comparison import compare_register
from gateway.store import read_transaction, write_transaction

#: The number of messages, of cases and of certificates whose rows a process compares at its start, and daily.
_SHARE_OF_START: Final = 100
_MAX_LOGGED: Final = 20
_log = logging.getLogger(__name__)


def compare_rows(conn: Connection, share: int | None) -> RowFindings:
    """Compare the rows of messages, cases, certificates and the register with the evidence.

    With `share`, of more messages, cases or certificates than that a random choice is compared; the register
    is compared as a whole. The transaction must see one state of the database.
    """
    findings = verify_rows(conn, share)
    try:
        compare_register(conn, findings)
    except UNREADABLE as problem:
        if not is_unreadable(problem):
            raise
        findings.add_difference(
            "register", "all", f"a row of it cannot be read: {describe_unreadable(problem)}"
        )
    return findings


def state_register_once(engine: Engine, now: datetime) -> None:
    """Record evidence of the register as it is, unless there is such evidence: later changes are compared."""
    with read_transaction(engine) as conn:
        is_stated = is_register_stated(conn)
    if not is_stated:
        with write_transaction(engine, "register.stated") as conn:
            state_register(conn, now)


def log_changed_rows(engine: Engine) -> None:
    """Compare a share of the rows with the evidence, and log an error for each difference."""
    with read_transaction(engine) as conn:
        findings = compare_rows(conn, _SHARE_OF_START)
    for difference in findings.differences[:_MAX_LOGGED]:
        _log.error(
            "a row differs from the evidence: %s",
            difference.detail,
            extra={"table": difference.table, "row": difference.row},
        )
    if findings.difference_count > _MAX_LOGGED:
        _log.error("%s rows differ from the evidence", findings.difference_count)

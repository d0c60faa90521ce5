"""Records changes of accounts: the people who may sign in to the gateway, and their rights.

A change leaves a row of audit and a leaf of evidence, in the transaction of the change.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.evidence import record_register_change, record_register_leaf
from gateway.store import AuditEntry

_SIGN_IN: Final = "sign in"


def record_account_change(conn: Connection, entry: AuditEntry, at: datetime) -> int:
    """Store a change of an account in the audit and as evidence; return the number of its row of audit."""
    return record_register_change(conn, entry.object, entry, at)


def record_password_change(conn: Connection, entry: AuditEntry, at: datetime) -> None:
    """Store in the audit and as evidence that a person has set the own password, after the change."""
    record_register_change(conn, f"account {entry.actor}", entry, at)


def record_password_rehash(conn: Connection, name: str, at: datetime) -> None:
    """Store as evidence that another hash of the same password is kept, after that was stored."""
    data = {"verb": _SIGN_IN, "by": name, "account": None, "audit": None, "before": None, "after": None}
    record_register_leaf(conn, "register", "register", f"account {name}", None, data, at)

"""Records changes of accounts: the people who may sign in to the gateway, and their rights.

A change leaves a row of audit and a leaf of evidence, in the transaction of the change.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gateway.evidence import record_evidence
from gateway.store import AuditEntry, audit_log


def record_account_change(conn: Connection, entry: AuditEntry, at: datetime) -> int:
    """Store a change of an account in the audit and as evidence; return the number of its row of audit."""
    number = audit_log.record_action(conn, entry, at)
    data = {
        "verb": entry.action,
        "by": entry.actor,
        "account": entry.account,
        "audit": number,
        "before": entry.before,
        "after": entry.after,
    }
    record_evidence(conn, "register", "register", entry.object, None, data, at)
    return number

"""Records evidence: each event is a leaf, hashed as in RFC 9162 §2.1.1.

A transaction inserts its leaves without a sequence number, so that evidence never makes writers wait for
each other. The number is set when the tree is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from gateway.evidence.evidence_readers import salt_hidden_data
from gateway.evidence.leaf_encoding import canonicalize_json, encode_leaf_row, hash_leaf
from gateway.store import EvidenceRow, insert_log_rows
from gateway.store.transitions import evidence


def record_evidence(
    conn: Connection,
    kind: str,
    subject_type: str,
    subject_id: str | int,
    digest: str | None,
    data: Mapping[str, Any],
    at: datetime,
) -> str:
    """Insert a leaf of evidence about a subject, without a sequence number; return its hash."""
    data = salt_hidden_data(kind, subject_type, data)
    row: dict[str, Any] = {
        "at": at,
        "kind": kind,
        "subject_type": subject_type,
        "subject_id": str(subject_id),
        "digest": digest,
        "data": canonicalize_json(data),
    }
    row["leaf_hash"] = hash_leaf(encode_leaf_row(row, row["data"]))
    insert_log_rows(conn, evidence, [row])
    return str(row["leaf_hash"])


def list_subject_leaves(conn: Connection, subject_type: str, subject_id: str | int) -> Sequence[EvidenceRow]:
    """Return the leaves about one subject, oldest first."""
    query = select(evidence).where(
        evidence.c.subject_type == subject_type, evidence.c.subject_id == str(subject_id)
    )
    return conn.execute(query.order_by(evidence.c.id)).all()

"""Records evidence: each event is a leaf, hashed as in RFC 9162 §2.1.1.

A transaction inserts its leaves without a sequence number, so that evidence never makes writers wait for
each other. The number is set when the tree is built.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any, Final

from sqlalchemy import Connection, select

from gateway.evidence.evidence_readers import salt_hidden_data
from gateway.store import EvidenceRow, insert_log_rows
from gateway.store.transitions import evidence

#: Types of values that have one spelling, and of lists of values.
_ONE_SPELLING_TYPES: Final = frozenset({str, int, bool, type(None)})
_NAMES: Final = frozenset({str})
_LISTS: Final = (list, tuple)
#: The offset of UTC at the end of a time; a leaf has the letter Z in its place.
_UTC: Final = "+00:00"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


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
    row["leaf_hash"] = hash_leaf(_encode_leaf_row(row, row["data"]))
    insert_log_rows(conn, evidence, [row])
    return str(row["leaf_hash"])


def encode_leaf(row: Mapping[str, Any]) -> bytes:
    """Return the octets of a row's leaf: canonical JSON of its content."""
    return _encode_leaf_row(row, _encode(json.loads(row["data"])))


def _encode_leaf_row(row: Mapping[str, Any], canonical_data: str) -> bytes:
    """Return the octets of a leaf: the canonical JSON of the row, whose data is already `canonical_data`."""
    at = row["at"] if row["at"].tzinfo is UTC else row["at"].astimezone(UTC)
    time_text = at.isoformat(timespec="microseconds")[: -len(_UTC)]
    digest = "null" if row["digest"] is None else encode_basestring(row["digest"])
    kind, subject_type = encode_basestring(row["kind"]), encode_basestring(row["subject_type"])
    subject = encode_basestring(row["subject_id"])
    # In the order of their names, as canonical JSON requires.
    leaf = (
        f'"at":"{time_text}Z","data":{canonical_data},"digest":{digest},"kind":{kind},"subject_id":{subject}'
    )
    return f'{{{leaf},"subject_type":{subject_type}}}'.encode()


def hash_leaf(leaf: bytes) -> str:
    """Return SHA-256(0x00 || leaf) in lower-case hexadecimal."""
    return hashlib.sha256(b"\x00" + leaf).hexdigest()


def canonicalize_json(value: Mapping[str, Any]) -> str:
    """Return data as canonical JSON (RFC 8785); raises ValueError for a fraction or a key that is no text."""
    if not (
        _ONE_SPELLING_TYPES.issuperset(map(type, value.values())) and _NAMES.issuperset(map(type, value))
    ):
        _reject_fractions(value)
    return _encode(value)


def _reject_fractions(value: Any) -> None:
    """Raise ValueError if `value`, at any depth, has a float or a member name that is not text."""
    if isinstance(value, float):
        raise ValueError("a fraction has no one spelling: give it as text")
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"the name of a member is text, not {type(name).__name__}")
        value = value.values()
    elif not isinstance(value, _LISTS):
        return
    for inner in value:
        if type(inner) not in _ONE_SPELLING_TYPES:
            _reject_fractions(inner)


def list_subject_leaves(conn: Connection, subject_type: str, subject_id: str | int) -> Sequence[EvidenceRow]:
    """Return the leaves about one subject, oldest first."""
    query = select(evidence).where(
        evidence.c.subject_type == subject_type, evidence.c.subject_id == str(subject_id)
    )
    return conn.execute(query.order_by(evidence.c.id)).all()

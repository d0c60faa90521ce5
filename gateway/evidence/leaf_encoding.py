"""Encodes the content of a leaf of evidence for its hash, and reads its data again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC
from json.encoder import encode_basestring
from typing import Any, Final

from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.store import EvidenceRow, read_columns

#: Types of values that have one spelling, and of lists of values.
_ONE_SPELLING_TYPES: Final = frozenset({str, int, bool, type(None)})
_NAMES: Final = frozenset({str})
_LISTS: Final = (list, tuple)
#: The offset of UTC at the end of a time; a leaf has the letter Z in its place.
_UTC: Final = "+00:00"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def encode_leaf(row: Mapping[str, Any]) -> bytes:
    """Return the octets of a row's leaf: canonical JSON of its content."""
    return encode_leaf_row(row, _encode(json.loads(row["data"])))


def encode_leaf_row(row: Mapping[str, Any], canonical_data: str) -> bytes:
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


def read_leaf_data(leaf: EvidenceRow) -> dict[str, Any]:
    """Return the data of a leaf of evidence; raises GW805 where they do not match its hash."""
    leaf_data = parse_leaf_data(leaf)
    try:
        is_unchanged = hash_leaf(encode_leaf(read_columns(leaf))) == leaf.leaf_hash
    except (TypeError, ValueError, RecursionError):
        # A value that the gateway does not write: octets in place of a text, half of a character.
        is_unchanged = False
    if not is_unchanged:
        raise GatewayError(EVIDENCE_BROKEN, "a leaf of evidence was changed", f"evidence {leaf.id}")
    return leaf_data


def parse_leaf_data(leaf: EvidenceRow) -> dict[str, Any]:
    """Return the data of a leaf without a look at its hash; raises GW805 where it is no JSON object."""
    try:
        leaf_data = json.loads(leaf.data)
    except (TypeError, ValueError, RecursionError):
        leaf_data = None
    if not isinstance(leaf_data, dict):
        detail = "the data of a leaf of evidence is no JSON object"
        raise GatewayError(EVIDENCE_BROKEN, detail, f"evidence {leaf.id}")
    return leaf_data

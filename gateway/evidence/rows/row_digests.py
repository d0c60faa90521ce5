"""Digests of stored rows: what a leaf of evidence states about the rows that were stored with it.

A leaf proves an event; the rows that the event left in the working tables can be changed later. So the
data of a leaf has `stored`: for each table the digest of these rows, over the columns that never change
afterwards (`FIXED_COLUMNS`). Columns that do change are compared with what later leaves and transitions say.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

#: The columns that never change after their row was stored, by table. What is in stored digests never
#: changes either: another column needs another name of the digest.
FIXED_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "messages": (),
}
_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def digest_rows(table: str, rows: Iterable[Any]) -> str:
    """Return the SHA-256 of the fixed columns of rows of a table, in hexadecimal; their order does not matter.

    A row has its columns as attributes: a row of the database, or the values that will be stored.
    """
    columns = FIXED_COLUMNS[table]
    lines = sorted(_encode([_spell(getattr(row, name)) for name in columns]) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _spell(value: Any) -> Any:
    """Return a value of a column as JSON has it: one spelling on both databases."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Mapping):
        return {str(name): _spell(each) for name, each in value.items()}
    return [_spell(each) for each in value]

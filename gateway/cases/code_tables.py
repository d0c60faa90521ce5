"""Opens a table of codes that comes with the mappings: CSV with a header."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from gateway.errors import MAPPING_WRONG, GatewayError

__all__ = ["open_code_table"]


def open_code_table(table: str, columns: Sequence[str], name: str) -> csv.DictReader[str]:
    """Return a reader of the rows of a table, `name` in messages; raise GW502 where it lacks a column."""
    rows = csv.DictReader(io.StringIO(table))
    missing = [column for column in columns if column not in (rows.fieldnames or ())]
    if missing:
        raise GatewayError(MAPPING_WRONG, f"there is no column {', '.join(missing)}", f"{name}:1")
    return rows

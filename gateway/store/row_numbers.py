"""Reads the number of a row that a person or a link has written: bounded before anything is made of it."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["read_row_number"]

#: So many digits always fit into the column.
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


def read_row_number(text: str) -> int | None:
    """Return a whole number of at most 18 ASCII digits; None for any other text."""
    return int(text) if _NUMBER.fullmatch(text) else None

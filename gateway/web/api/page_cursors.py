"""Writes and reads the cursors of long lists: opaque texts that name the last row of a page.

A cursor proves nothing and needs no proof: a list shows only the rows of its caller, whatever the
cursor says.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from gateway.errors import REQUEST_MALFORMED, GatewayError

__all__ = ["read_cursor", "write_cursor"]

_FORM: Final = re.compile(r"([a-z]+):([0-9]{1,18})")


def write_cursor(kind: str, last: int) -> str:
    """Return the cursor of a list of a kind, after its row `last`."""
    return base64.urlsafe_b64encode(f"{kind}:{last}".encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str | None, place: str = "cursor") -> int | None:
    """Return the row that a cursor names, None without a cursor; raises GW110 for another list's."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        text = ""
    found = _FORM.fullmatch(text)
    if found is None or found[1] != kind:
        raise GatewayError(REQUEST_MALFORMED, "this is no cursor of this list", place)
    return int(found[2])

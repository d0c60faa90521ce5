"""Compares an amended declaration with the one before it, where its pointers name what it changes.

The former declaration is that of the last amendment, else that which opened the case. The findings are
warnings of the case: nothing is refused for them.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import Submission, compare_amendment_pointers
from gateway.errors import OCTETS_PURGED, GatewayError
from gateway.hub.document_needs import load_stored_submission

__all__ = ["AMENDED_BY", "find_former_message", "list_pointer_warnings"]

#: Where the row of a case has the message of its last amendment.
AMENDED_BY: Final = "amended_by"


def find_former_message(case: Row[Any]) -> int:
    """Return the message that has the declaration in force."""
    return int((case.detail or {}).get(AMENDED_BY) or case.message)


def list_pointer_warnings(conn: Connection, former: int, submission: Submission) -> list[dict[str, str]]:
    """Return the warnings (GW417, GW418) for the row of the case; none where the octets are purged."""
    try:
        before = load_stored_submission(conn, former)
    except GatewayError as error:
        if error.problem is not OCTETS_PURGED:
            raise
        return []
    found = compare_amendment_pointers(before.declaration, submission.declaration)
    return [{"id": one.problem.id, "text": one.text, "pointer": one.pointer} for one in found]

"""Acts of operators on parties of the register."""

from __future__ import annotations

from typing import Final

from gateway.errors import MISUSE, GatewayError
from gateway.operations.audited_changes import DatabaseChange
from gateway.operations.register_views import describe_party
from gateway.store import parties

__all__ = ["set_party_status"]

_TOLD: Final = {
    "SUSPENDED": "suspended: its messages are refused",
    "ACTIVE": "active: its messages are accepted",
}


def set_party_status(change: DatabaseChange, party: str, status: str) -> str:
    """Suspend a party, or accept its messages again; return what is so now as a sentence.

    Raises GW808 for the gateway itself: without it no message could be taken or sent.
    """
    before = describe_party(change.conn, party)
    if status == "SUSPENDED" and before is not None and before["role"] == "hub":
        raise GatewayError(MISUSE, f"{party} is the gateway itself: nothing would be accepted", "party")
    parties.set_party_status(change.conn, party, status)
    after = describe_party(change.conn, party)
    told = f"Party {party} is {_TOLD[status]}"
    if before == after:
        change.leave_unchanged()
        return f"{told}; nothing was changed."
    change.record_trust_change(f"party {party}", before=before, after=after)
    return f"{told}."

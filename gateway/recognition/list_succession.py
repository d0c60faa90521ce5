"""Decides whether a list may replace the stored one, and whether it may be used at a given time."""

from __future__ import annotations

from datetime import datetime

from gateway.errors import CERTIFICATE_EXPIRED, CERTIFICATE_UNTRUSTED, TRUST_STALE, GatewayError
from gateway.recognition.trusted_list import TrustedList

__all__ = ["check_list_freshness", "choose_successor", "is_fresh_list"]


def choose_successor(held: TrustedList | None, new: TrustedList, at: datetime) -> TrustedList:
    """Return the list to store: the new one, or the stored one where the new one is the same.

    Raises GW804 for a list that is older than the stored one, for a different list with a
    used sequence number, and for one that is not fresh; the stored list then stays in force.
    """
    check_list_freshness(new, at)
    if held is None or held.sha256 == new.sha256:
        return held or new
    if (held.form, held.territory) != (new.form, new.territory):
        detail = f"a list of {new.territory[:20]} in the place of one of {held.territory[:20]}"
        raise GatewayError(CERTIFICATE_UNTRUSTED, detail, "territory")
    if new.sequence <= held.sequence:
        detail = f"sequence number {new.sequence}, and {held.sequence} is in hand: nothing is rolled back"
        raise GatewayError(TRUST_STALE, detail, "sequence")
    if new.issued < held.issued:
        detail = f"issued at {new.issued}, before the list in hand ({held.issued})"
        raise GatewayError(TRUST_STALE, detail, "issued")
    return new


def check_list_freshness(found: TrustedList, at: datetime) -> None:
    """Raise unless a list may be used at a time: issued, not closed, its next update not due.

    The certificate that signed it must have been valid when the list was issued.
    """
    where = f"list of {found.territory[:20]}"
    if at < found.issued:
        raise GatewayError(TRUST_STALE, f"issued at {found.issued}, which is in the future", where)
    if found.next_update is None:
        raise GatewayError(TRUST_STALE, "the list was closed by its operator", where)
    if at >= found.next_update:
        raise GatewayError(TRUST_STALE, f"its next update was due at {found.next_update}", where)
    if not found.signer.not_before <= found.issued <= found.signer.not_after:
        detail = f"the certificate of {found.signer.subject[:120]} was not valid when the list was issued"
        raise GatewayError(CERTIFICATE_EXPIRED, detail, where)


def is_fresh_list(found: TrustedList, at: datetime) -> bool:
    """Return whether a list may be used at a time."""
    try:
        check_list_freshness(found, at)
    except GatewayError:
        return False
    return True

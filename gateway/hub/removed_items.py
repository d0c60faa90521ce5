"""Tells of a case which items its declarant has removed, and why; refused ones also when others have left.

The functions run in the transaction of an amendment; the case is locked. An amendment that only takes
refused items out, because they are withdrawn, returned or destroyed, changes nothing for the children that
took approved ones.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import ChangeReason
from gateway.errors import NO_OPEN_CASE, GatewayError
from gateway.store import events, item_releases

__all__ = ["check_released_items", "describe_removed_items", "list_removal_times", "tell_removed_items"]

#: Where the row of a case has what was removed.
_REMOVED: Final = "removed_items"


def check_released_items(
    conn: Connection,
    case: Row[Any],
    removed: Collection[int],
    rejected: Collection[int],
    *,
    only_removes: bool,
) -> None:
    """Raise GW407 for an amendment of a case of which items left, unless it only takes refused ones out."""
    standing = [row for row in item_releases.list_releases_from(conn, case.id) if row.returned_at is None]
    gone = {row.item for row in standing}
    if not standing or (only_removes and removed and set(removed) <= set(rejected) - gone):
        return
    first = standing[0]
    detail = (
        f"item {first.item} of case {case.number} has left by case {first.child}: only refused items can be "
        "removed, and nothing else changed"
    )
    raise GatewayError(NO_OPEN_CASE, detail, "/Submission/Reference")


def describe_removed_items(
    case: Row[Any], removed: Collection[int], rejected: Collection[int], why: tuple[ChangeReason, datetime]
) -> dict[str, Any]:
    """Return what the row of a case says of its removed items, the earlier ones too."""
    reason, now = why
    known = list((case.detail or {}).get(_REMOVED, ()))
    new = [
        {"item": item, "at": now.isoformat(), "code": reason.code, "reason": reason.sentence,
         "refused": item in rejected}
        for item in removed
    ]  # fmt: skip
    return {_REMOVED: [*known, *new]} if known or new else {}


def list_removal_times(detail: Mapping[str, Any]) -> dict[int, datetime]:
    """Return when each removed item left its case, as the row of the case says."""
    return {int(one["item"]): datetime.fromisoformat(one["at"]) for one in detail.get(_REMOVED, ())}


def tell_removed_items(conn: Connection, case: int, removed: Collection[int], now: datetime) -> None:
    """Store the event of an amendment that removes items."""
    if removed:
        events.record_events(conn, "case", [(case, "ITEMS_REMOVED")], now)

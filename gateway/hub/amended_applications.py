"""The applications of an amended case: which stay, which end with their items, and what each must decide.

An application whose items are all removed is dropped: it requires nothing any more, and its agency is
asked to cancel it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row

from gateway.cases import Application, ItemChange, Submission
from gateway.errors import NO_OPEN_CASE, RULE_BROKEN, GatewayError

__all__ = [
    "check_amended_applications",
    "is_dropped",
    "join_items",
    "list_required_items",
    "list_unheard_items",
]


def is_dropped(request: Row[Any]) -> bool:
    """Return whether amendments have removed all that a request was about."""
    return not request.required


def list_required_items(request: Row[Any]) -> set[int]:
    """Return the items that a request must decide."""
    return {int(item) for item, _ in request.required}


def list_unheard_items(number: str, calls: Iterable[Row[Any]]) -> frozenset[int] | None:
    """Return the items that amendments of an application change by some of its calls; None stands for all."""
    found: frozenset[int] | None = frozenset()
    for row in calls:
        if row.dedupe_key.startswith(f"amend:{number}:"):
            named = row.parameters.get("items", "")
            found = join_items(found, frozenset(map(int, named.split(","))) if named else None)
    return found


def join_items(one: frozenset[int] | None, other: frozenset[int] | None) -> frozenset[int] | None:
    """Return the items of both; None stands for all items."""
    return None if one is None or other is None else one | other


def check_amended_applications(submission: Submission, asked: Sequence[Row[Any]], change: ItemChange) -> None:
    """Raise GW407 for an application that cannot be amended, GW404 for one that leaves out what stays.

    An application may lose the items that the declaration removes, and gain others. It is left out when
    it loses all of them. One that the case did not have is new.
    """
    known = {row.application: row for row in asked}
    for one in submission.applications:
        row = known.get(one.id)
        if row is not None:
            _check_application(one, row, change)
    named = {one.id for one in submission.applications}
    for row in asked:
        stays = list_required_items(row) - set(change.removed)
        if row.application not in named and row.state != "CANCELLED" and stays:
            detail = (
                f"an amendment is the whole submission again: application {row.application[:40]!r} is missing"
            )
            raise GatewayError(RULE_BROKEN, detail, "/Submission/Application")


def _check_application(one: Application, row: Row[Any], change: ItemChange) -> None:
    if row.document != one.document or row.state == "CANCELLED" or is_dropped(row):
        detail = f"the case has no application {one.id[:40]!r} of {one.document[:40]!r} to amend"
        raise GatewayError(NO_OPEN_CASE, detail, f"APP[{one.position}]")
    missing = list_required_items(row) - set(change.removed) - set(one.items)
    if missing:
        detail = f"application {one.id[:40]!r} concerns item {min(missing)}, which the declaration still has"
        raise GatewayError(RULE_BROKEN, detail, f"APP[{one.position}]/Items")

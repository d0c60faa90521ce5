"""Compares an amended declaration with the one before it: its items, and the places its pointers name.

The former declaration is that of the last amendment, else that which opened the case; of a held case it is
what was filed last. Findings about pointers are warnings of the case: nothing is refused for them. Wrong
numbers of items refuse the amendment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import (
    ItemChange,
    ReportedProblem,
    Submission,
    UsedNumbers,
    check_kept_numbers,
    compare_amendment_pointers,
    judge_item_change,
    read_release_claim,
)
from gateway.errors import CHANGE_NOT_NAMED, NAMED_NOT_CHANGED
from gateway.hub.document_needs import load_stored_submission
from gateway.hub.kept_octets import read_unless_removed
from gateway.store import item_releases

__all__ = ["AmendedItems", "find_former_message", "load_former_submission", "read_amended_items"]

#: Where the row of a case has the message of its last amendment.
_AMENDED_BY: Final = "amended_by"
#: Where it has the item numbers that are not free, once one was added or removed.
_USED_NUMBERS: Final = "item_numbers"


@dataclass(frozen=True, slots=True)
class AmendedItems:
    """What a whole submission changes in the declaration of its case, which the message `former` has."""

    former: int
    change: ItemChange
    warnings: tuple[ReportedProblem, ...] = ()

    def describe_for_case(self, message: int) -> dict[str, Any]:
        """Return what the row of the case has of a declaration that this message brought."""
        used = self.change.used
        told = {_USED_NUMBERS: {"last": used.last, "removed": list(used.removed)}}
        return {_AMENDED_BY: message, **told}


def find_former_message(conn: Connection, case: Row[Any]) -> int:
    """Return the message that has the declaration in force."""
    known = (case.detail or {}).get(_AMENDED_BY) or item_releases.find_declaration_message(conn, case.id)
    return int(known or case.message)


def read_amended_items(
    conn: Connection,
    case: Row[Any],
    submission: Submission,
    codes: Collection[str],
    message: int | None = None,
) -> AmendedItems:
    """Compare the items and pointers of a whole submission with the declaration in force.

    `codes` are the type codes of a document that names the parent of a child declaration.
    A `message` that brought that declaration itself is looked at again: the case keeps its warnings.
    Without its octets, which retention may have removed, only the numbers are compared. Raises GW404,
    GW419 or GW420 for items that an amendment may not have.
    """
    detail = case.detail or {}
    known = [int(item) for item in detail.get("items", ())]
    said = detail.get(_USED_NUMBERS) or {"last": max(known, default=0), "removed": ()}
    used = UsedNumbers(int(said["last"]), tuple(said["removed"]))
    former = find_former_message(conn, case)
    before = load_former_submission(conn, former)
    if before is not None:
        check_kept_numbers(before.declaration, submission.declaration)
    is_child = read_release_claim(submission.declaration, codes) is not None
    change = judge_item_change(known, used, submission.items, is_child=is_child)
    if former == message:
        return AmendedItems(former, change, _list_known_warnings(detail))
    return AmendedItems(former, change, _list_pointer_warnings(before, submission))


def _list_known_warnings(detail: Mapping[str, Any]) -> tuple[ReportedProblem, ...]:
    wanted = (CHANGE_NOT_NAMED.id, NAMED_NOT_CHANGED.id)
    return tuple(ReportedProblem(**one) for one in detail.get("warnings", ()) if one["id"] in wanted)


def load_former_submission(conn: Connection, former: int) -> Submission | None:
    """Return the submission that a message brought; None where retention has removed it."""
    return read_unless_removed(lambda: load_stored_submission(conn, former))


def _list_pointer_warnings(before: Submission | None, submission: Submission) -> tuple[ReportedProblem, ...]:
    """Return the warnings (GW417, GW418) for the case."""
    if before is None or submission.function != "13":
        return ()
    found = compare_amendment_pointers(before.declaration, submission.declaration)
    return tuple(ReportedProblem(one.problem.id, one.text, one.pointer) for one in found)

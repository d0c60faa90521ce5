"""Compares an amended declaration with the one before it: its items, and the places its pointers name.

The former declaration is that of the last amendment, else that which opened the case; for a held case it is
the declaration that was filed last. Findings about pointers are warnings of the case: nothing is refused
for them. Wrong numbers of items refuse the amendment.

An application whose items are all removed is dropped: it requires nothing any more, and its agency is
asked to cancel it. An amendment that only takes refused items out, because they are withdrawn, returned or
destroyed, changes nothing for the children that took approved ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import (
    Application,
    ChangeReason,
    ItemChange,
    ReportedProblem,
    Submission,
    UsedNumbers,
    check_item_numbers,
    compare_amendment_pointers,
    compute_item_change,
    read_declared_release,
)
from gateway.errors import CHANGE_NOT_NAMED, NAMED_NOT_CHANGED, NO_OPEN_CASE, RULE_BROKEN, GatewayError
from gateway.hub.submissions.document_needs import load_stored_submission, read_unless_removed
from gateway.store import CaseRow, DeliveryRow, RequestWithFeesRow, item_releases, transitions
from gateway.wire import (
    TYPE_CODE_POINTER,
    describe_direction,
    find_type_direction,
    read_declared_direction,
)

#: Where the row of a case has the message of its last amendment.
_AMENDED_BY_KEY: Final = "amended_by"
#: Where it has the item numbers that are not free, once one was added or removed.
_USED_NUMBERS_KEY: Final = "item_numbers"


@dataclass(frozen=True, slots=True)
class AmendedItems:
    """The changes that a whole submission makes to the declaration in force of its case.

    `former_message_row_id` is the message (row id) that has this declaration.
    """

    former_message_row_id: int
    change: ItemChange
    warnings: tuple[ReportedProblem, ...] = ()

    def describe_for_case(self, message: int) -> dict[str, Any]:
        """Return the description of a declaration from this message for the row of the case."""
        used = self.change.used_numbers
        used_numbers = {_USED_NUMBERS_KEY: {"last": used.max_number, "removed": list(used.removed_numbers)}}
        return {_AMENDED_BY_KEY: message, **used_numbers}


def find_former_message(conn: Connection, case: CaseRow) -> int:
    """Return the message that has the declaration in force."""
    message = (case.detail or {}).get(_AMENDED_BY_KEY) or item_releases.find_declaration_message(
        conn, case.id
    )
    return int(message or case.message)


def read_amended_items(
    conn: Connection,
    case: CaseRow,
    submission: Submission,
    parent_codes: Collection[str],
    message: int | None = None,
) -> AmendedItems:
    """Compare the items and pointers of a whole submission with the declaration in force.

    `parent_codes` are the type codes of a document that names the parent of a child declaration.
    A `message` that brought that declaration itself is checked again: the case keeps its warnings.
    Without its octets, which retention may have removed, only the numbers are compared. Raises GW404,
    GW419 or GW420 for items that an amendment may not have, and for another direction than that of the case.
    """
    detail = case.detail or {}
    items = [int(item) for item in detail.get("items", ())]
    stored_numbers = detail.get(_USED_NUMBERS_KEY) or {"last": max(items, default=0), "removed": ()}
    used = UsedNumbers(int(stored_numbers["last"]), tuple(stored_numbers["removed"]))
    former_message_row_id = find_former_message(conn, case)
    former_submission = load_former_submission(conn, former_message_row_id)
    check_same_direction(submission, case)
    if former_submission is not None:
        check_item_numbers(former_submission.declaration, submission.declaration)
    is_child = read_declared_release(submission.declaration, parent_codes) is not None
    change = compute_item_change(items, used, submission.items, is_child=is_child)
    if former_message_row_id == message:
        return AmendedItems(former_message_row_id, change, _list_amendment_warnings(detail))
    return AmendedItems(former_message_row_id, change, _list_pointer_warnings(former_submission, submission))


def check_same_direction(submission: Submission, case: CaseRow) -> None:
    """Raise GW404 where the declaration of a change has another direction than that of its case.

    That is the direction with which the case was opened: its documents, certificates, children and customs'
    results are of it. A type that says neither import nor export is a direction of its own: no change leads
    past these comparisons.
    """
    direction = find_type_direction(case.document)
    changed_direction = read_declared_direction(submission.declaration)
    if direction != changed_direction:
        detail = (
            f"case {case.number} was opened as {describe_direction(direction)}, and this is "
            f"{describe_direction(changed_direction)}: withdraw the case, and file the goods as a new one"
        )
        raise GatewayError(RULE_BROKEN, detail, TYPE_CODE_POINTER)


def _list_amendment_warnings(message_detail: Mapping[str, Any]) -> tuple[ReportedProblem, ...]:
    """Return the stored warnings of an amendment: changes that it does not name, named ones that it lacks."""
    problem_ids = (CHANGE_NOT_NAMED.id, NAMED_NOT_CHANGED.id)
    return tuple(
        ReportedProblem(**warning)
        for warning in message_detail.get("warnings", ())
        if warning["id"] in problem_ids
    )


def load_former_submission(conn: Connection, message_row_id: int) -> Submission | None:
    """Return the submission that a message brought; None where retention has removed it."""
    return read_unless_removed(lambda: load_stored_submission(conn, message_row_id))


def _list_pointer_warnings(
    former_submission: Submission | None, submission: Submission
) -> tuple[ReportedProblem, ...]:
    """Return the warnings (GW417, GW418) for the case."""
    if former_submission is None or submission.function != "13":
        return ()
    differences = compare_amendment_pointers(former_submission.declaration, submission.declaration)
    return tuple(difference.report() for difference in differences)


def is_dropped(request: RequestWithFeesRow) -> bool:
    """Return whether amendments have removed all that a request was about."""
    return not request.required


def list_required_items(request: RequestWithFeesRow) -> set[int]:
    """Return the items that a request must decide."""
    return {int(item) for item, _ in request.required}


def list_unheard_items(number: str, calls: Iterable[DeliveryRow]) -> frozenset[int] | None:
    """Return the items that amendments of an application change by some of its calls; None means all."""
    unheard: frozenset[int] | None = frozenset()
    for row in calls:
        if row.dedupe_key.startswith(f"amend:{number}:"):
            numbers = row.parameters.get("items", "")
            unheard = unite_items(unheard, frozenset(map(int, numbers.split(","))) if numbers else None)
    return unheard


def unite_items(first: frozenset[int] | None, second: frozenset[int] | None) -> frozenset[int] | None:
    """Return the items of both sets; None means all items."""
    return None if first is None or second is None else first | second


def check_amended_applications(
    submission: Submission, requests: Sequence[RequestWithFeesRow], change: ItemChange
) -> None:
    """Raise GW407 for an application that cannot be amended, GW404 for a missing one with items that stay.

    An application may lose the items that the declaration removes, and gain others. It is left out when
    it loses all of them. One that the case did not have is new.
    """
    requests_by_application = {row.application: row for row in requests}
    for application in submission.applications:
        row = requests_by_application.get(application.id)
        if row is not None:
            _check_application(application, row, change)
    filed = {application.id for application in submission.applications}
    for row in requests:
        remaining_items = list_required_items(row) - set(change.removed_items)
        if row.application not in filed and row.state != "CANCELLED" and remaining_items:
            detail = (
                f"an amendment is the whole submission again: application {row.application[:40]!r} is missing"
            )
            raise GatewayError(RULE_BROKEN, detail, "/Submission/Application")


def _check_application(application: Application, row: RequestWithFeesRow, change: ItemChange) -> None:
    """Check an application of an amendment against the request `row` of the case that has its id.

    Raises GW407 if the request is for another document or is cancelled or dropped, GW404 if the application
    leaves out an item that the request requires and that the amendment does not remove.
    """
    if row.document != application.document or row.state == "CANCELLED" or is_dropped(row):
        detail = (
            f"the case has no application {application.id[:40]!r} of {application.document[:40]!r} to amend"
        )
        raise GatewayError(NO_OPEN_CASE, detail, f"APP[{application.position}]")
    missing = list_required_items(row) - set(change.removed_items) - set(application.items)
    if missing:
        detail = (
            f"application {application.id[:40]!r} concerns item {min(missing)}, which the declaration "
            "still has"
        )
        raise GatewayError(RULE_BROKEN, detail, f"APP[{application.position}]/Items")


#: The key of the removed items in the row of a case.
_REMOVED_ITEMS_KEY: Final = "removed_items"


def check_released_items(
    conn: Connection,
    case: CaseRow,
    removed_items: Collection[int],
    rejected_items: Collection[int],
    *,
    only_removes: bool,
) -> None:
    """Raise GW407 for an amendment of a case of which items left, unless it only takes refused ones out."""
    releases = [row for row in item_releases.list_releases_from(conn, case.id) if row.returned_at is None]
    released = {row.item for row in releases}
    if not releases or (
        only_removes and removed_items and set(removed_items) <= set(rejected_items) - released
    ):
        return
    first = releases[0]
    detail = (
        f"item {first.item} of case {case.number} has left by case {first.child}: only refused items can be "
        "removed, and nothing else changed"
    )
    raise GatewayError(NO_OPEN_CASE, detail, "/Submission/Reference")


def describe_removed_items(
    case: CaseRow,
    removed_items: Collection[int],
    rejected_items: Collection[int],
    reason: ChangeReason,
    now: datetime,
) -> dict[str, Any]:
    """Return the description of all removed items that the row of a case keeps, the earlier ones too."""
    earlier = list((case.detail or {}).get(_REMOVED_ITEMS_KEY, ()))
    new = [
        {"item": item, "at": now.isoformat(), "code": reason.code, "reason": reason.sentence,
         "refused": item in rejected_items}
        for item in removed_items
    ]  # fmt: skip
    return {_REMOVED_ITEMS_KEY: [*earlier, *new]} if earlier or new else {}


def list_removal_times(detail: Mapping[str, Any]) -> dict[int, datetime]:
    """Return when each removed item left its case, as the row of the case says."""
    return {
        int(removal["item"]): datetime.fromisoformat(removal["at"])
        for removal in detail.get(_REMOVED_ITEMS_KEY, ())
    }


def record_removed_items(conn: Connection, case: int, removed: Collection[int], now: datetime) -> None:
    """Store the event of an amendment that removes items."""
    if removed:
        transitions.record_events(conn, "case", [(case, "ITEMS_REMOVED")], now)

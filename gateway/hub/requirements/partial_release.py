"""Partial release: approved items of a decided case leave in child declarations of their own.

The parent is locked before a child is opened, so that of two children at the same instant the second sees the
items that the first has taken. The decisions on the parent's items count for the child: no agency is asked
again. A later change by an agency is reported to both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection

from gateway.cases import (
    APPROVING_CODES,
    ClearedItem,
    DeclaredRelease,
    DeclaredUses,
    GoodsQuantity,
    ReleasableItem,
    ReportedProblem,
    Submission,
    ValidatedChildUses,
    find_release_problems,
    list_cleared_items,
    read_declared_release,
    read_releasable_items,
    select_current_decisions,
)
from gateway.errors import NO_OPEN_CASE, PARENT_NOT_USABLE, GatewayError
from gateway.evidence import STORED, digest_rows, record_evidence
from gateway.harmonize import UnitTable
from gateway.hub.amendments.former_items import find_former_message
from gateway.hub.answers.case_progress import list_rejected_case_items, wake_held_children
from gateway.hub.completion.outside_decisions import list_all_decisions
from gateway.hub.customs.late_decisions import find_leading_result
from gateway.hub.hub import Hub
from gateway.hub.requirements.stated_uses import validate_stated_uses
from gateway.hub.submissions.document_needs import load_stored_submission
from gateway.hub.submissions.processed_submission import PreparedRelease
from gateway.needs import NeedFinding
from gateway.state_machines import CASE
from gateway.store import (
    CaseRow,
    NewItemRelease,
    ReleaseFromParentRow,
    cases,
    customs_notices,
    item_releases,
    messages,
    read_transaction,
    requirement_quantities,
    transitions,
)
from gateway.wire import describe_direction, find_type_direction, read_declared_direction

_DECIDED: Final = ("DECIDED", "CLOSED")
#: The final states in which no items leave a case any more, even after a later message.
_ENDED: Final = ("REFUSED", "WITHDRAWN")
_RELEASING: Final = ("APPROVED", "PARTIAL")


def prepare_release(
    hub: Hub, submission: Submission, declarant: str, parent_codes: Collection[str]
) -> PreparedRelease | None:
    """Read the items that a child declaration takes of its parent; None without parent or for a withdrawal.

    `parent_codes` are the type codes of a document that names a parent. Raises GW416 for a parent that the
    declarant does not have, of another direction, that is withdrawn or refused, or whose declaration was
    removed.
    """
    declared_release = (
        None if submission.function == "1" else read_declared_release(submission.declaration, parent_codes)
    )
    if declared_release is None:
        return None
    with read_transaction(hub.engine) as conn:
        parent = cases.find_by_number(conn, declared_release.parent)
        if parent is None or parent.declarant != declarant:
            raise _make_parent_error(declared_release, "is no case of this declarant")
        if parent.functional_reference == submission.reference and parent.state != "REFUSED":
            raise _make_parent_error(declared_release, "is this case itself")
        direction = read_declared_direction(submission.declaration)
        parent_direction = find_type_direction(parent.document)
        if direction != parent_direction:
            detail = f"is {describe_direction(parent_direction)}, and this is {describe_direction(direction)}"
            raise _make_parent_error(declared_release, detail)
        if parent.state in _ENDED:
            raise _make_parent_error(declared_release, f"is {parent.state}: nothing leaves of it any more")
        message = find_former_message(conn, parent)
        if messages.find_by_id(conn, message) is None:
            raise _make_parent_error(declared_release, "has no declaration any more")
        declared = load_stored_submission(conn, message).declaration
    return PreparedRelease(declared_release, int(parent.id), message, read_releasable_items(declared))


def find_undecided_parent(hub: Hub, prepared: PreparedRelease | None) -> tuple[NeedFinding, ...]:
    """Return one finding if the parent of a child is not decided yet, so that the child waits; else none."""
    if prepared is None:
        return ()
    with read_transaction(hub.engine) as conn:
        parent = cases.find_by_id(conn, prepared.parent_case_id)
    if parent is None or parent.state in _DECIDED or parent.state in CASE.final_states:
        return ()
    error = _make_parent_error(prepared.declared_release, "is not decided: nothing leaves of it yet")
    return (NeedFinding(error.problem, error.detail, error.location, "missing"),)


def _make_parent_error(declared_release: DeclaredRelease, reason: str) -> GatewayError:
    pointer = declared_release.items[0].pointer if declared_release.items else "42A"
    return GatewayError(
        PARENT_NOT_USABLE, f"{declared_release.parent[:40]!r} {reason}", f"{pointer}/99A[1]/D018"
    )


def lock_with_parent(conn: Connection, case_id: int, prepared: PreparedRelease | None) -> CaseRow:
    """Lock a case and the parent that it names, in the order of their rows; return the case.

    So of two cases that name each other at the same instant the second sees the items that the first has
    taken.
    """
    for locked_id in sorted({case_id} if prepared is None else {case_id, prepared.parent_case_id}):
        cases.lock_case(conn, locked_id)
    return cases.lock_case(conn, case_id)


def _check_no_circle(conn: Connection, prepared: PreparedRelease, child: int) -> None:
    """Raise GW416 where a parent has taken items of its child, by itself or by the cases between them."""
    pending, seen = [prepared.parent_case_id], {prepared.parent_case_id}
    while pending:
        parents = {row.parent_id for row in item_releases.list_releases_into(conn, pending.pop())}
        if child in parents:
            raise _make_parent_error(prepared.declared_release, "has items of this case itself")
        pending += parents - seen
        seen |= parents


def validate_prepared_release(
    conn: Connection,
    prepared: PreparedRelease,
    units: UnitTable,
    held_releases: Sequence[ReleaseFromParentRow] = (),
) -> tuple[ReportedProblem, ...]:
    """Lock the parent, and return the problems for which items may not leave it.

    `held_releases` are the items that an amended child has had until now. Raises GW416 for a parent that is
    not decided, and for an item that customs has cleared there: it cannot leave any more, but a child keeps
    those it has.
    """
    return _validate_release(
        conn, cases.lock_case(conn, prepared.parent_case_id), prepared, units, held_releases
    )


def inspect_release(
    conn: Connection, prepared: PreparedRelease, units: UnitTable
) -> tuple[ReportedProblem, ...]:
    """Return why items may not leave now, with the errors of `validate_prepared_release`; lock nothing."""
    parent = cases.find_by_id(conn, prepared.parent_case_id)
    try:
        return () if parent is None else _validate_release(conn, parent, prepared, units, ())
    except GatewayError as error:
        return (ReportedProblem(error.problem.id, error.detail, error.location),)


def inspect_amended_release(
    conn: Connection, prepared: PreparedRelease, child: int, units: UnitTable
) -> tuple[ReportedProblem, ...]:
    """Return the problems for which items may not leave for an amended child (row id).

    They are those of `replace_taken_items`, but nothing is locked or changed: the items that the child has
    now count as given back. Raises GW416 like that function.
    """
    held = item_releases.list_releases_into(conn, child)
    _check_no_circle(conn, prepared, child)
    parent = cases.find_by_id(conn, prepared.parent_case_id)
    return () if parent is None else _validate_release(conn, parent, prepared, units, held, child)


def _validate_release(
    conn: Connection,
    parent: CaseRow,
    prepared: PreparedRelease,
    units: UnitTable,
    held_releases: Sequence[ReleaseFromParentRow],
    child: int | None = None,
) -> tuple[ReportedProblem, ...]:
    """Return why items may not leave a parent; the items that `child` holds of it count as given back."""
    declared_release = prepared.declared_release
    if parent.state not in _DECIDED or parent.outcome not in _RELEASING:
        raise _make_parent_error(declared_release, f"is {parent.state}: nothing leaves of it")
    if find_former_message(conn, parent) != prepared.parent_message_row_id:
        # It was amended since it was read: the decisions are not about the declaration that was read.
        raise _make_parent_error(declared_release, "was amended at this moment: file the declaration again")
    approved = set(parent.detail["items"]) - list_rejected_case_items(conn, parent)
    taken_goods: dict[int, list[GoodsQuantity]] = defaultdict(list)
    for row in item_releases.list_releases_from(conn, parent.id):
        if row.returned_at is None and row.child_id != child:
            taken_goods[row.item].append(GoodsQuantity(row.measure, Decimal(row.quantity), row.unit))
    goods = prepared.releasable_items
    for item in _list_cleared_items(conn, parent) & {
        declared_item.number for declared_item in declared_release.items
    }:
        held_rows = [row for row in held_releases if row.item == item]
        if not held_rows:
            raise _make_parent_error(
                declared_release, f"is cleared by customs: item {item} does not leave any more"
            )
        goods, taken_goods[item] = _keep_held_goods(goods, item, held_rows), []
    shortages = find_release_problems(declared_release, goods, approved, taken_goods, units)
    return tuple(shortage.report() for shortage in shortages)


def _list_cleared_items(conn: Connection, parent: CaseRow) -> frozenset[int]:
    """Return the items that customs has cleared in a locked parent: those that its result names, or all."""
    if customs_notices.find_clearance_state(conn, parent.id) != "CLEARED":
        return frozenset()
    leading = customs_notices.find_by_id(conn, find_leading_result(conn, parent.id) or 0)
    if leading is None:
        return frozenset(parent.detail["items"])
    named_items = [ClearedItem(**item) for item in leading.content["items"]]
    return list_cleared_items(leading.code, named_items, parent.detail["items"])


def _keep_held_goods(
    goods: tuple[ReleasableItem, ...], item: int, held: Sequence[ReleaseFromParentRow]
) -> tuple[ReleasableItem, ...]:
    """Return the goods of a parent with no more of an item than a child of it held."""
    quantities = tuple(
        GoodsQuantity(row.measure, Decimal(row.quantity), row.unit) for row in held if row.measure
    )
    return tuple(
        replace(goods_item, quantities=quantities) if goods_item.number == item else goods_item
        for goods_item in goods
    )


def store_release(conn: Connection, prepared: PreparedRelease, child: int, now: datetime) -> None:
    """Store the items that a child takes of its locked parent (case row ids); evidence is stored for both.

    A withdrawal of the parent that an agency has refused is ended by the release: its declarant goes on with
    the approvals that are left.
    """
    goods_by_number = {item.number: item for item in prepared.releasable_items}
    new = [
        row
        for item in prepared.declared_release.items
        for row in _make_release_rows(prepared, child, item, goods_by_number[item.number])
    ]
    item_releases.insert_releases(conn, new, now)
    items = [item.number for item in prepared.declared_release.items]
    parent_evidence: dict[str, Any] = {"child": child, "items": items}
    if _end_withdrawal(conn, prepared.parent_case_id):
        parent_evidence["ends"] = "withdrawal"
    record_evidence(conn, "released", "case", prepared.parent_case_id, None, parent_evidence, now)
    data = {
        "parent": prepared.declared_release.parent,
        "items": items,
        STORED: {"item_releases": digest_rows("item_releases", new)},
    }
    record_evidence(conn, "taken", "case", child, None, data, now)
    transitions.record_events(conn, "case", [(prepared.parent_case_id, "ITEMS_RELEASED")], now)


def _end_withdrawal(conn: Connection, parent: int) -> bool:
    """End the withdrawal of a locked case, of which goods leave; return whether there was one."""
    detail = dict(cases.lock_case(conn, parent).detail or {})
    ended = detail.pop("withdrawal", None) is not None
    if ended:
        cases.set_detail(conn, parent, detail)
    return ended


def _make_release_rows(
    prepared: PreparedRelease, child: int, item: ReleasableItem, parent_item: ReleasableItem
) -> list[NewItemRelease]:
    """Return the rows for an item that a child (case row id) takes, one for each measure of its quantity.

    Each row also has the quantity that `parent_item` declares. An item without quantities has one row.
    """
    declared: Mapping[str, GoodsQuantity] = {
        quantity.measure: quantity for quantity in parent_item.quantities
    }
    no_quantity = GoodsQuantity("", Decimal(1), "")
    return [
        NewItemRelease(
            prepared.parent_case_id,
            child,
            item.number,
            quantity.measure,
            f"{quantity.quantity:f}",
            quantity.unit,
            f"{declared.get(quantity.measure, no_quantity).quantity:f}",
            declared.get(quantity.measure, no_quantity).unit,
        )
        for quantity in item.quantities or (no_quantity,)
    ]


def validate_released_uses(
    conn: Connection,
    prepared: PreparedRelease,
    declared_uses: DeclaredUses,
    units: UnitTable,
    child: int | None = None,
) -> tuple[ValidatedChildUses, tuple[ReportedProblem, ...]]:
    """Lock the certificates that a child names, and judge its uses by the quantities of its parent.

    A problem is that the children of the parent state more of a certificate than is written off for the item.
    `child` is the case (row id) of a child that is amended; None for a new one.
    """
    requirement_quantities.lock_requirements_by_number(conn, {use.number for use in declared_uses.uses})
    judged = validate_stated_uses(
        conn, prepared.parent_case_id, prepared.declared_release, declared_uses, units, child
    )
    return judged, tuple(shortage.report() for shortage in judged.problems)


def find_approved_laws(conn: Connection, parent: int) -> frozenset[tuple[int, str]]:
    """Return for which items and laws an approval of a case (row id) is in force for its children."""
    current = select_current_decisions(list_all_decisions(conn, parent))
    allowed = [ranked.decision for ranked in current if ranked.decision.decision in APPROVING_CODES]
    return frozenset((decision.item, decision.law) for decision in allowed)


def replace_taken_items(
    conn: Connection, prepared: PreparedRelease | None, case: CaseRow, units: UnitTable, now: datetime
) -> tuple[ReportedProblem, ...]:
    """Give back the items that a locked child has taken, and take those of its amendment.

    Return the problems for which it may not take them. Other children of its parent that are held check
    whether enough has come back for them.
    """
    child = int(case.id)
    held = item_releases.list_releases_into(conn, child)
    item_releases.return_releases(conn, child, "amended", now)
    if prepared is not None:
        _check_no_circle(conn, prepared, child)
    problems = () if prepared is None else validate_prepared_release(conn, prepared, units, held)
    if prepared is not None and not problems:
        store_release(conn, prepared, child, now)
    parents = {row.parent_id for row in held if row.returned_at is None}
    if prepared is None and parents:
        _record_returned_items(conn, child, parents, now)
    wake_held_children(conn, case.declarant, parents, f"returned:{child}:{now.isoformat()}", now)
    return problems


def _record_returned_items(conn: Connection, child: int, parents: Collection[int], now: datetime) -> None:
    """Record for a child that names no parent any more, and for its parents, that it has given all back."""
    reason = "amended"
    record_evidence(conn, "items_returned", "case", child, None, {"reason": reason}, now)
    for parent in sorted(parents):
        record_evidence(conn, "items_returned", "case", parent, None, {"child": child, "reason": reason}, now)


def check_nothing_released(conn: Connection, case: CaseRow) -> None:
    """Raise GW407 for a locked case of which items have left: their children are withdrawn first."""
    releases = [row for row in item_releases.list_releases_from(conn, case.id) if row.returned_at is None]
    if releases:
        detail = f"item {releases[0].item} of case {case.number} has left by case {releases[0].child}"
        raise GatewayError(NO_OPEN_CASE, detail, "/Submission/Reference")

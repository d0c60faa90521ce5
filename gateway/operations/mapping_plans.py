"""Plans mappings for a later date: proved and stored now, in force for what is received from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gateway.errors import MISUSE, STORED_MAPPINGS_UNREAD, GatewayError
from gateway.evidence import record_evidence
from gateway.hub import DecisionRules, load_active_rules, load_shipped_rules
from gateway.operations.audited_changes import DatabaseChange
from gateway.operations.display_zone import format_moment
from gateway.operations.mapping_activation import CheckedFolder, store_checked_folder
from gateway.store import MappingPeriod, mapping_bundles

__all__ = [
    "PlanEffect",
    "describe_plan",
    "find_mapping_plan",
    "find_plan_warnings",
    "plan_folder",
    "read_plan_effect",
    "read_stored_plan",
    "withdraw_mapping_plan",
]


def find_mapping_plan(conn: Connection, at: datetime) -> MappingPeriod | None:
    """Return the bundle that is in force after a time, and from when on; None where none is planned."""
    last = mapping_bundles.list_periods(conn)[-1]
    return None if last.has_begun(at) else last


@dataclass(frozen=True, slots=True)
class PlanEffect:
    """What a plan does: the documents that go out of force with it, or why its mappings do not load."""

    ending: tuple[str, ...] = ()
    problem: str = ""


def read_plan_effect(
    plan: MappingPeriod | None, held: Iterable[str], find_rules: Callable[[datetime], DecisionRules]
) -> PlanEffect:
    """Return what becomes of some documents with a plan; `find_rules` returns the rules at a time.

    A plan that another version of the program has stored may not load in this one (GW904).
    """
    if plan is None or plan.starts is None:
        return PlanEffect()
    try:
        planned = find_rules(plan.starts).bundle
    except GatewayError as error:
        if error.problem is not STORED_MAPPINGS_UNREAD:
            raise
        return PlanEffect(problem=str(error))
    return PlanEffect(tuple(sorted({*held} - planned.documents.keys())))


def read_stored_plan(conn: Connection, plan: MappingPeriod | None, held: Iterable[str]) -> PlanEffect:
    """Return what becomes of some documents with a plan, whose mappings are loaded from the database."""
    return read_plan_effect(plan, held, lambda at: load_active_rules(conn, load_shipped_rules(), at))


def find_plan_warnings(conn: Connection, at: datetime) -> list[str]:
    """Return a warning where documents that are in force at a time end with the plan."""
    plan = find_mapping_plan(conn, at)
    if plan is None or plan.starts is None:
        return []
    held = load_active_rules(conn, load_shipped_rules(), at).bundle.documents
    ending = read_stored_plan(conn, plan, held).ending
    if not ending:
        return []
    words = f"the mappings that are planned from {format_moment(plan.starts)} on do not have"
    return [f"{words} {', '.join(ending)}: out of force then"]


def describe_plan(plan: MappingPeriod | None) -> dict[str, Any] | None:
    """Return a plan as plain values, for the audit and for readers; the shipped bundle is None."""
    if plan is None:
        return None
    assert plan.starts is not None, "a plan has its date"
    return {"bundle": plan.digest, "from": format_moment(plan.starts), "actor": plan.actor}


def plan_folder(
    change: DatabaseChange, folder: CheckedFolder, said: Mapping[str, Any], starts: datetime
) -> bool:
    """Store a folder and plan it from a time on, in place of the plan of before, with evidence.

    Returns whether that is not the plan already. `said` is its difference from what is in force, as
    plain values. Raises GW808 for a time that has come.
    """
    if starts <= change.at:
        raise GatewayError(MISUSE, f"{format_moment(starts)} is not in the future", "--from")
    conn, version = change.conn, None if folder.octets is None else folder.bundle.digest
    earlier = find_mapping_plan(conn, change.at)
    if earlier is not None and (earlier.digest, earlier.starts) == (version, starts):
        change.leave_unchanged()
        return False
    digest = store_checked_folder(change, folder)
    replaced = None if earlier is None else earlier.use
    mapping_bundles.plan_bundle(conn, version, starts, (change.at, change.by), replaced)
    day, before = format_moment(starts), describe_plan(earlier)
    data = {"documents": said["documents"], "removed": said["removed"], "from": day, "replaces": before}
    data |= folder.describe_origin()
    record_evidence(conn, "mappings", "bundle", digest, digest, data, change.at)
    names = ("bundle", "documents", "added", "changed", "removed")
    after = {name: said[name] for name in names} | {"from": day} | folder.describe_origin()
    change.record_change(f"mappings {digest[:16]}", before={"planned": before}, after=after)
    return True


def withdraw_mapping_plan(change: DatabaseChange) -> MappingPeriod:
    """Take back the plan and return it, with evidence; raises GW808 where none is planned."""
    plan = find_mapping_plan(change.conn, change.at)
    if plan is None or plan.use is None:
        raise GatewayError(MISUSE, "no mappings are planned", "--cancel")
    mapping_bundles.withdraw_plan(change.conn, plan.use, change.at, change.by)
    told = describe_plan(plan)
    subject = plan.digest or "shipped"
    record_evidence(change.conn, "mappings", "bundle", subject, plan.digest, {"withdrawn": told}, change.at)
    change.record_change(f"mappings {subject[:16]}", before={"planned": told}, after={"planned": None})
    return plan

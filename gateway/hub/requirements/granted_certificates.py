"""Finds the certificates that the decisions on applications grant, and whether each can be used now.

The rule is in `gateway.cases.usable_certificates`. This module reads the facts for it: the question and the
removed items in the row of an application, and the decisions on amended or removed items.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

from sqlalchemy import Connection

from gateway.cases import (
    APPROVING_CODES,
    ApprovedApplication,
    CertificateUsability,
    ItemRemoval,
    PastDecision,
    derive_past_usability,
    derive_usability,
)
from gateway.hub.amendments.former_items import list_removal_times
from gateway.store import DecisionWithTextRow, GrantingDecisionRow, decisions, requirement_quantities


def list_usable_certificates(conn: Connection, numbers: Collection[str]) -> list[GrantingDecisionRow]:
    """Return the decisions that give, under one of these numbers, a certificate that can be used now."""
    return [row for row, state in list_granted_certificates(conn, numbers)
            if state is CertificateUsability.USABLE]  # fmt: skip


def list_granted_certificates(
    conn: Connection, numbers: Collection[str]
) -> list[tuple[GrantingDecisionRow, CertificateUsability]]:
    """Return the decisions that approve a quantity under one of these numbers, each with its standing."""
    decisions_by_request: dict[int, dict[tuple[int, str], list[DecisionWithTextRow]]] = {}
    return [
        (row, _derive_grant_usability(conn, row, decisions_by_request))
        for row in requirement_quantities.list_granting_decisions(conn, numbers)
    ]


def _derive_grant_usability(
    conn: Connection,
    row: GrantingDecisionRow,
    by_request: dict[int, dict[tuple[int, str], list[DecisionWithTextRow]]],
) -> CertificateUsability:
    """Judge one approval; `by_request` keeps the decisions on the applications that were asked about."""
    application = _describe_application(row)
    if row.counts:
        return derive_usability(application)
    if row.request_id not in by_request:
        by_request[row.request_id] = _group_decisions(conn, row.request_id)
    item_decisions = by_request[row.request_id][row.item, row.law]
    removed_at = list_removal_times(row.told or {})
    if [row.item, row.law] in row.required:
        if any(_is_current_decision(decision, row.outdated_decision) for decision in item_decisions):
            return CertificateUsability.LAPSED
        return derive_past_usability(row.id, (), application, None)
    item_removed_at = removed_at.get(row.item)
    past = [_make_past(decision, row.outdated_decision, item_removed_at) for decision in item_decisions]
    return derive_past_usability(row.id, past, application, _describe_removal(row, removed_at))


def _describe_application(row: GrantingDecisionRow) -> ApprovedApplication:
    """Return the facts about the application of an approval by which its certificate is judged.

    A kept approval is one that its agency has refused to cancel.
    """
    kept_by_application = (
        (row.told or {}).get(requirement_quantities.WITHDRAWN_KEPT, {}) if row.withdrawn else {}
    )
    is_kept = row.cancellation == "REFUSED" or [row.item, row.law] in kept_by_application.get(
        row.application, ()
    )
    return ApprovedApplication(row.cancellation == "ASKED", bool(row.withdrawn), is_kept)


def _group_decisions(conn: Connection, request: int) -> dict[tuple[int, str], list[DecisionWithTextRow]]:
    by_subject: dict[tuple[int, str], list[DecisionWithTextRow]] = defaultdict(list)
    for decision in decisions.list_all_by_request(conn, request):
        by_subject[decision.item, decision.law].append(decision)
    return by_subject


def _is_current_decision(row: DecisionWithTextRow, outdated_decision_id: int | None) -> bool:
    return row.outdated_at is None and row.id > (outdated_decision_id or 0)


def _make_past(row: DecisionWithTextRow, outdated: int | None, removed_at: datetime | None) -> PastDecision:
    """Return a decision on a removed item; one that counted until then is outdated at that very time."""
    afterwards = removed_at is not None and row.received_at >= removed_at
    counted = row.outdated_at == removed_at and row.id > (outdated or 0)
    return PastDecision(
        decision_id=row.id,
        issued_at=row.issued_at,
        notice_number=row.notice_no,
        is_approval=row.decision in APPROVING_CODES,
        is_lapsed=not (afterwards or counted),
        is_after_removal=afterwards,
    )


def _describe_removal(row: GrantingDecisionRow, removed_at: Mapping[int, datetime]) -> ItemRemoval:
    """Return how an item left its application: with the last ones, whose agency is asked, or alone."""
    last = max(_list_removal_times(row, removed_at), default=None)
    return ItemRemoval(
        has_remaining_items=bool(row.required) or last is None or removed_at.get(row.item) != last
    )


def _list_removal_times(row: GrantingDecisionRow, removed_at: Mapping[int, datetime]) -> Iterator[datetime]:
    return (removed_at[item] for item, _ in row.removed or () if item in removed_at)

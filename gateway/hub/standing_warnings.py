"""The warnings of a case that still stand: the Result tells these, and so do those who show the case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.cases import CaseOutcome, RankedDecision, select_current_decisions
from gateway.errors import (
    APPLICATION_SUPERFLUOUS,
    DISCLAIMER_CONTRADICTED,
    DISCLAIMER_NOT_ACCEPTED,
    DOCUMENT_NEEDED,
    DOCUMENT_PERHAPS_NEEDED,
)
from gateway.harmonize import MappingBundle
from gateway.hub.completion import list_all_decisions
from gateway.hub.requirement_coverage import list_answered_laws

__all__ = ["read_standing_warnings", "select_standing_warnings"]

#: What the rules of need say of goods; those of a withdrawn declaration need nothing any more.
_OF_NEEDS: Final = frozenset(
    one.id
    for one in (
        DOCUMENT_NEEDED,
        DISCLAIMER_CONTRADICTED,
        DISCLAIMER_NOT_ACCEPTED,
        DOCUMENT_PERHAPS_NEEDED,
        APPLICATION_SUPERFLUOUS,
    )
)


def select_standing_warnings(
    conn: Connection,
    case: Row[Any],
    decisions: Iterable[RankedDecision],
    get_bundle: Callable[[], MappingBundle],
) -> list[dict[str, Any]]:
    """Return the warnings of a case, without those of documents that nothing needs any more.

    `decisions` are those in force, `get_bundle` returns the mappings of now. A withdrawn declaration needs
    none, nor an item that an agency has decided about under the law that needs it, or that has a
    certificate under it: these may come after the declaration. A certificate that is revoked since is told
    as a decision, and not as a document that is missing.
    """
    detail: Mapping[str, Any] = case.detail or {}
    found: list[dict[str, Any]] = list(detail.get("warnings", ()))
    is_withdrawn = case.outcome == CaseOutcome.WITHDRAWN
    decided = {(one.decision.item, one.decision.law) for one in decisions}
    needed = detail.get("needed", ())
    if needed:
        decided |= list_answered_laws(conn, case.id, get_bundle())
    answered = {one["text"] for one in needed if (one["item"], one["law"]) in decided}
    return [
        one for one in found if one["text"] not in answered and not (is_withdrawn and one["id"] in _OF_NEEDS)
    ]


def read_standing_warnings(
    conn: Connection, case: Row[Any], get_bundle: Callable[[], MappingBundle]
) -> list[dict[str, Any]]:
    """Return the warnings of a case that stand by the decisions in force now."""
    if not (case.detail or {}).get("warnings"):
        return []
    said = select_current_decisions(list_all_decisions(conn, case.id))
    return select_standing_warnings(conn, case, said, get_bundle)

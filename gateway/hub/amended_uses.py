"""Judges before filing what an amended declaration would use of certificates and take of its parent.

The steps are those of `gateway.hub.amend`, on what is stored now; nothing is locked or changed.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import ClaimedRequirements, JudgedChildClaim, JudgedClaim, ReportedProblem
from gateway.harmonize import UnitTable
from gateway.hub.case_progress import list_rejected_case_items
from gateway.hub.partial_release import inspect_amended_release
from gateway.hub.processed_submission import PreparedRelease
from gateway.hub.requirement_ledger import inspect_requirements, list_former_uses
from gateway.hub.stated_uses import judge_stated_uses

__all__ = ["inspect_amended_uses"]


def inspect_amended_uses(
    conn: Connection,
    case: Row[Any],
    filed: tuple[ClaimedRequirements, PreparedRelease | None],
    units: UnitTable,
    on: date,
) -> tuple[tuple[ReportedProblem, ...], JudgedChildClaim, JudgedClaim]:
    """Return what keeps items of the amended case from leaving its parent, and its claim as it is judged.

    What the case uses now counts as given back. An item that is rejected uses nothing: the amendment may
    reopen it, which is not known before it is filed. Raises GW416 where nothing leaves of the parent.
    """
    claim, release = filed
    told: tuple[ReportedProblem, ...] = ()
    child = JudgedChildClaim(claim)
    rejected = list_rejected_case_items(conn, case)
    former = list_former_uses(conn, case.id, rejected)
    if release is not None:
        told = inspect_amended_release(conn, release, case.id, units)
        child = judge_stated_uses(conn, release.parent, release.claim, claim, units, case.id)
    judged = inspect_requirements(conn, child.own, units, on, former, rejected)
    return told, child, judged

"""Tells for which items and laws a declaration has a number that an agency approved by itself."""

from __future__ import annotations

from datetime import date

from gateway.cases import APPROVING, ClaimedRequirements, judge_requirement_claim, select_law_results
from gateway.hub.completion import load_requirement_results
from gateway.hub.hub import Hub
from gateway.hub.requirement_ledger import load_requirement_balances
from gateway.store import read_transaction, requirement_quantities

__all__ = ["list_covered_laws"]


def list_covered_laws(hub: Hub, claim: ClaimedRequirements, day: date) -> frozenset[tuple[int, str]]:
    """Return for which items and laws a declaration names a number that an agency approved by itself."""
    if not claim.uses:
        return frozenset()
    units = hub.rules.bundle.units
    with read_transaction(hub.engine) as conn:
        rows = requirement_quantities.find_requirements(conn, {use.number for use in claim.uses})
        taken = judge_requirement_claim(claim, load_requirement_balances(conn, rows, units), day, units).taken
        said = select_law_results(load_requirement_results(conn, [one.key for _, one in taken]))
    allowed = [one for one in said if one.decision.decision in APPROVING]
    return frozenset(
        (use.item, one.decision.law)
        for use, balance in taken
        for one in allowed
        if one.subject == balance.key
    )

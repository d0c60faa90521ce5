"""Tells for which items and laws a declaration names a certificate, so that no document is missing.

The law of a certificate is that of the decisions in force, with an application or without one. A
certificate that an operator has registered has the laws that were stated, or else that of its agency,
where the agency has one law alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import APPROVING, ClaimedRequirements, select_law_results
from gateway.harmonize import MappingBundle
from gateway.hub.case_progress import list_rejected_case_items
from gateway.hub.completion import list_counting_uses, load_requirement_results
from gateway.hub.granted_certificates import list_usable_certificates
from gateway.hub.hub import Hub
from gateway.hub.requirement_ledger import inspect_requirements, list_former_uses
from gateway.store import cases, read_transaction, requirement_quantities

__all__ = ["find_covered_laws", "list_answered_laws", "list_covered_laws"]


def list_covered_laws(
    hub: Hub, claim: ClaimedRequirements, day: date, amended: str = ""
) -> frozenset[tuple[int, str]]:
    """Return for which items and laws a declaration names a certificate of which enough is left.

    What the case with the number `amended` uses stays, and is enough for as much.
    """
    if not claim.uses:
        return frozenset()
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_number(conn, amended) if amended else None
        return find_covered_laws(conn, claim, hub.rules.bundle, day, case)


def find_covered_laws(
    conn: Connection, claim: ClaimedRequirements, bundle: MappingBundle, day: date, amended: Row[Any] | None
) -> frozenset[tuple[int, str]]:
    """Return the same as `list_covered_laws`; `amended` is the row of the case."""
    if not claim.uses:
        return frozenset()
    rows = requirement_quantities.find_requirements(conn, {use.number for use in claim.uses})
    rejected = set() if amended is None else list_rejected_case_items(conn, amended)
    former = () if amended is None else list_former_uses(conn, amended.id, rejected)
    taken = inspect_requirements(conn, claim, bundle.units, day, former, known=rows).taken
    laws = _list_laws(conn, [row for row in rows if row.id in {one.key for _, one in taken}], bundle)
    return frozenset((use.item, law) for use, balance in taken for law in laws[balance.key])


def list_answered_laws(conn: Connection, case_id: int, bundle: MappingBundle) -> set[tuple[int, str]]:
    """Return for which items and laws a case has, or had, a certificate: no document was missing for them.

    What its agency said of the certificate since does not count: the outcome and the decisions tell that.
    """
    uses = list_counting_uses(conn, case_id)
    rows = requirement_quantities.find_requirements(conn, {use.number for use in uses})
    laws: dict[int, set[str]] = {int(row.id): set() for row in rows}
    results = load_requirement_results(conn, laws)
    for one in results:
        laws[one.subject].add(one.decision.law)
    keys = {(row.number, row.agency): int(row.id) for row in rows}
    for number, agency, law in requirement_quantities.list_granted_laws(conn, {row.number for row in rows}):
        if (number, agency) in keys:
            laws[keys[number, agency]].add(law)
    for row in rows:
        if not laws[row.id] and row.registered_at is not None:
            laws[row.id] = set(row.laws or _find_only_law(row.agency, bundle))
    return {(int(use.item), law) for use in uses for law in laws.get(use.requirement_id, ())}


def _list_laws(conn: Connection, rows: Sequence[Row[Any]], bundle: MappingBundle) -> dict[int, set[str]]:
    """Return the laws of requirements by their row ids."""
    laws: dict[int, set[str]] = {int(row.id): set() for row in rows}
    results = load_requirement_results(conn, [row.id for row in rows if row.applied_since is None])
    for one in select_law_results(results):
        if one.decision.decision in APPROVING:
            laws[one.subject].add(one.decision.law)
    keys = {(row.number, row.agency): int(row.id) for row in rows}
    for row in list_usable_certificates(conn, {row.number for row in rows}):
        if (row.number, row.agency) in keys:
            laws[keys[row.number, row.agency]].add(row.law)
    said = {one.subject for one in results}
    for row in rows:
        if not laws[row.id] and row.id not in said and row.registered_at is not None:
            laws[row.id] = set(row.laws or _find_only_law(row.agency, bundle))
    return laws


def _find_only_law(agency: str, bundle: MappingBundle) -> set[str]:
    """Return the law of an agency that has one alone; nothing of another agency."""
    known = {law for one in bundle.documents.values() if one.organisation == agency for law in one.laws}
    return known if len(known) == 1 else set()

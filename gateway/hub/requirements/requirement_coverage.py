"""Finds the items and laws for which a declaration names a certificate, so that no document is missing.

The law of a certificate is that of the decisions in force, with an application or without one. A certificate
that an operator has registered has the laws that were stated, or else that of its agency, where the agency
has one law alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, tzinfo

from sqlalchemy import Connection

from gateway.cases import (
    APPROVING_CODES,
    DeclaredUses,
    Submission,
    read_declared_release,
    read_declared_uses,
    select_law_results,
)
from gateway.harmonize import MappingBundle
from gateway.hub.amendments.former_items import find_former_message
from gateway.hub.answers.case_progress import list_rejected_case_items
from gateway.hub.completion.outside_decisions import list_counting_uses, load_requirement_results
from gateway.hub.hub import Hub
from gateway.hub.register.decision_rules import DecisionRules
from gateway.hub.requirements.granted_certificates import list_usable_certificates
from gateway.hub.requirements.partial_release import find_approved_laws
from gateway.hub.requirements.requirement_ledger import inspect_requirements, list_former_uses
from gateway.hub.submissions.document_needs import (
    evaluate_document_needs,
    load_stored_submission,
)
from gateway.hub.submissions.processed_submission import PreparedRelease
from gateway.needs import NeedIndex, NeedJudgement
from gateway.store import CaseRow, RequirementRow, cases, messages, read_transaction, requirement_quantities
from gateway.wire import find_day


def list_covered_laws(
    hub: Hub, declared_uses: DeclaredUses, day: date, amended_number: str = ""
) -> frozenset[tuple[int, str]]:
    """Return the items and laws for which a declaration names a certificate of which enough is left.

    The uses of the case with the number `amended_number` stay written off, and cover equal uses in its
    amendment.
    """
    if not declared_uses.uses:
        return frozenset()
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_number(conn, amended_number) if amended_number else None
        return find_covered_laws(conn, declared_uses, hub.rules.bundle, day, case)


def find_covered_laws(
    conn: Connection, declared_uses: DeclaredUses, bundle: MappingBundle, day: date, amended: CaseRow | None
) -> frozenset[tuple[int, str]]:
    """Return the items and laws for which a declaration names a certificate of which enough is left.

    `amended` is the case that the declaration amends: its uses stay written off, and cover equal uses in the
    amendment. It is None for a new declaration. `day` is the day of filing.
    """
    if not declared_uses.uses:
        return frozenset()
    rows = requirement_quantities.find_requirements(conn, {use.number for use in declared_uses.uses})
    rejected = set() if amended is None else list_rejected_case_items(conn, amended)
    former = () if amended is None else list_former_uses(conn, amended.id, rejected)
    taken_uses = inspect_requirements(conn, declared_uses, bundle.units, day, former, rows=rows).usable_uses
    laws = _list_laws(
        conn, [row for row in rows if row.id in {balance.requirement_id for _, balance in taken_uses}], bundle
    )
    return frozenset((use.item, law) for use, balance in taken_uses for law in laws[balance.requirement_id])


def list_answered_laws(conn: Connection, case_id: int, bundle: MappingBundle) -> set[tuple[int, str]]:
    """Return the items and laws for which a case has, or had, a certificate: they lacked no document.

    Later decisions of the agency on the certificate do not count: the outcome and the decisions report them.
    """
    uses = list_counting_uses(conn, case_id)
    rows = requirement_quantities.find_requirements(conn, {use.number for use in uses})
    laws: dict[int, set[str]] = {int(row.id): set() for row in rows}
    results = load_requirement_results(conn, laws)
    for result in results:
        laws[result.requirement_id].add(result.decision.law)
    keys = {(row.number, row.agency): int(row.id) for row in rows}
    for number, agency, law in requirement_quantities.list_granted_laws(conn, {row.number for row in rows}):
        if (number, agency) in keys:
            laws[keys[number, agency]].add(law)
    for row in rows:
        if not laws[row.id] and row.registered_at is not None:
            laws[row.id] = set(row.laws or _find_only_law(row.agency, bundle))
    return {(int(use.item), law) for use in uses for law in laws.get(use.requirement_id, ())}


def list_released_laws(hub: Hub, prepared: PreparedRelease | None) -> frozenset[tuple[int, str]]:
    """Return the items and laws that the parent of a child covers; none without a parent."""
    if prepared is None:
        return frozenset()
    with read_transaction(hub.engine) as conn:
        return _find_released_laws(conn, prepared.parent_case_id, hub.rules.bundle)


def _find_released_laws(conn: Connection, parent: int, bundle: MappingBundle) -> frozenset[tuple[int, str]]:
    """Return for which items and laws a case (row id) has an approval in force, or uses a certificate.

    The certificate may be used up: the quantity of the child is a part of the quantity that the parent uses.
    """
    return find_approved_laws(conn, parent) | list_answered_laws(conn, parent, bundle)


def _list_laws(
    conn: Connection, rows: Sequence[RequirementRow], bundle: MappingBundle
) -> dict[int, set[str]]:
    """Return the laws of requirements by their row ids."""
    laws: dict[int, set[str]] = {int(row.id): set() for row in rows}
    results = load_requirement_results(conn, [row.id for row in rows if row.applied_since is None])
    for result in select_law_results(results):
        if result.decision.decision in APPROVING_CODES:
            laws[result.requirement_id].add(result.decision.law)
    keys = {(row.number, row.agency): int(row.id) for row in rows}
    for decision in list_usable_certificates(conn, {row.number for row in rows}):
        if (decision.number, decision.agency) in keys:
            laws[keys[decision.number, decision.agency]].add(decision.law)
    with_results = {result.requirement_id for result in results}
    for row in rows:
        if not laws[row.id] and row.id not in with_results and row.registered_at is not None:
            laws[row.id] = set(row.laws or _find_only_law(row.agency, bundle))
    return laws


def _find_only_law(agency: str, bundle: MappingBundle) -> set[str]:
    """Return the law of an agency that has one alone; nothing of another agency."""
    laws = {
        law
        for document in bundle.documents.values()
        if document.organisation == agency
        for law in document.laws
    }
    return laws if len(laws) == 1 else set()


#: The functions of a submission that is whole: a new one, and an amended one.
_WHOLE = ("9", "13")


@dataclass(frozen=True, slots=True)
class StoredGoods:
    """The submission in force of a case, the day whose rules hold for it, and the items and laws `covered`.

    These are covered by a certificate of the ledger, or by an approval of the parent.
    """

    submission: Submission
    day: date
    covered: frozenset[tuple[int, str]]

    def judge_needs(self, index: NeedIndex, rules: DecisionRules) -> NeedJudgement:
        """Return the judgement of the goods by the tables of an index."""
        submission = self.submission
        return evaluate_document_needs(
            submission.declaration,
            submission.applications,
            submission.disclaimers,
            index,
            rules.bundle,
            self.day,
            self.covered,
        )


def load_stored_goods(
    conn: Connection, case: CaseRow, rules: DecisionRules, zone: tzinfo
) -> StoredGoods | None:
    """Return the goods of a case as they are in force, with the ledger as it is now.

    None for a refused supplement or withdrawal, which is no whole submission and is asked for no needs.
    Raises a GatewayError where retention removed the octets.
    """
    message = find_former_message(conn, case)
    submission = load_stored_submission(conn, message)
    if message == case.message and submission.function not in _WHOLE:
        return None
    received = messages.find_by_id(conn, case.message)
    day = find_day(case.opened_at if received is None else received.received_at, zone)
    declared_uses = read_declared_uses(submission.declaration, rules.bundle.organisations)
    # A case that was never admitted has no items, and uses nothing.
    admitted = case if (case.detail or {}).get("items") else None
    covered = find_covered_laws(conn, declared_uses, rules.bundle, day, admitted)
    return StoredGoods(submission, day, covered | _list_parent_laws(conn, case, submission, rules))


def _list_parent_laws(
    conn: Connection, case: CaseRow, submission: Submission, rules: DecisionRules
) -> frozenset[tuple[int, str]]:
    """Return the items and laws that the parent of a child has documents for; empty without a parent."""
    declared_release = read_declared_release(submission.declaration, rules.parent_codes)
    parent = None if declared_release is None else cases.find_by_number(conn, declared_release.parent)
    if parent is None or parent.declarant != case.declarant:
        return frozenset()
    return _find_released_laws(conn, int(parent.id), rules.bundle)

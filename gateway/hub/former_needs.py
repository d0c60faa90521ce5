"""Tells what a declaration lacked already before it was amended, by the rules of need that hold now.

A table may be loaded with a first day in the past. What it asks of the goods of an admitted case is
nothing that an amendment or a supplement makes lacking.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.cases import read_requirement_claim
from gateway.hub.amended_places import find_former_message, load_former_submission
from gateway.hub.document_needs import StandingNeeds, judge_document_needs
from gateway.hub.hub import Hub
from gateway.hub.partial_release import list_released_laws
from gateway.hub.processed_submission import PreparedRelease
from gateway.hub.register import DecisionRules
from gateway.hub.requirement_coverage import list_covered_laws
from gateway.store import cases, read_transaction

__all__ = ["add_former_lacks"]


def add_former_lacks(
    hub: Hub, standing: StandingNeeds, number: str, rules: DecisionRules, release: PreparedRelease | None
) -> StandingNeeds:
    """Return what the case with this number has, with the words for what its declaration in force lacks.

    Where retention has removed that declaration nothing is added.
    """
    with read_transaction(hub.engine) as conn:
        case = cases.find_by_number(conn, number)
        former = None if case is None else load_former_submission(conn, find_former_message(conn, case))
    if former is None:
        return standing
    claim = replace(
        read_requirement_claim(former.declaration, rules.bundle.organisations), day=standing.since
    )
    covered = list_covered_laws(hub, claim, standing.since, number) | list_released_laws(hub, release)
    documents = former.applications if standing.documents is None else standing.documents
    stated = former.disclaimers if standing.documents is None else standing.disclaimers
    index = rules.needs.get_index(test_editions=hub.need_policy.test_editions)
    found = judge_document_needs(
        former.declaration, (documents, stated), (index, rules.bundle), standing.since, covered
    )
    lacking = {one.text for one in found.findings if one.kind == "missing"}
    return replace(standing, words=standing.words | lacking)

"""Reads what the rules of need ask of a stored case: its submission in force, and what answers its needs.

So a case can be judged again by another table, as the admission of the same submission would judge it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Any

from sqlalchemy import Connection, Row

from gateway.cases import Submission, read_release_claim, read_requirement_claim
from gateway.hub.amended_places import find_former_message
from gateway.hub.document_needs import find_local_day, judge_document_needs, load_stored_submission
from gateway.hub.partial_release import find_released_laws
from gateway.hub.register import DecisionRules
from gateway.hub.requirement_coverage import find_covered_laws
from gateway.needs import NeedIndex, NeedJudgement
from gateway.store import cases, messages

__all__ = ["StoredGoods", "load_stored_goods"]

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

    def judge(self, index: NeedIndex, rules: DecisionRules) -> NeedJudgement:
        """Return what the tables of an index say of the goods."""
        one = self.submission
        filed = (one.applications, one.disclaimers)
        return judge_document_needs(one.declaration, filed, (index, rules.bundle), self.day, self.covered)


def load_stored_goods(
    conn: Connection, case: Row[Any], rules: DecisionRules, zone: tzinfo
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
    day = find_local_day(case.opened_at if received is None else received.received_at, zone)
    claim = read_requirement_claim(submission.declaration, rules.bundle.organisations)
    # A case that was never admitted has no items, and uses nothing.
    admitted = case if (case.detail or {}).get("items") else None
    covered = find_covered_laws(conn, claim, rules.bundle, day, admitted)
    return StoredGoods(submission, day, covered | _list_released(conn, case, submission, rules))


def _list_released(
    conn: Connection, case: Row[Any], submission: Submission, rules: DecisionRules
) -> frozenset[tuple[int, str]]:
    """Return what the parent of a child declaration has approvals for; nothing without a parent."""
    claim = read_release_claim(submission.declaration, rules.parent_codes)
    parent = None if claim is None else cases.find_by_number(conn, claim.parent)
    if parent is None or parent.declarant != case.declarant:
        return frozenset()
    return find_released_laws(conn, int(parent.id))

"""What an agency says of a requirement that no application asked for, and what it decides for the items.

Such a result counts the items of the certificate, not those of a declaration. A declaration names the
number at each item that uses it. So for such an item, under each law, the best result in force decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.cases.agency_notices import Decision, DecisionCode, Notice
from gateway.cases.notice_numbers import shorten_number
from gateway.errors import RULE_BROKEN, GatewayError

__all__ = [
    "APPROVING",
    "RequirementResult",
    "check_requirement_result",
    "select_current_results",
    "select_law_results",
    "split_requirement_results",
]

#: The decisions that allow something.
APPROVING = (DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS)
#: The best first; NOT_CONCERNED says nothing about the goods.
_BEST = (*APPROVING, DecisionCode.REJECTED)
#: WCO D005 is an..70.
_LONGEST = 70


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """One decision of a notice about a requirement; `subject` is the row of the requirement."""

    subject: int
    agency: str
    decision: Decision
    issued_at: datetime
    notice_number: str

    @property
    def rank(self) -> tuple[datetime, str]:
        """Return the rank: of two results about one item and law, the higher rank is in force."""
        return self.issued_at, self.notice_number


def check_requirement_result(agency: str, number: str, notice: Notice, laws: Collection[str]) -> None:
    """Raise GW404 for a result that cannot stand by itself: `laws` are those of the agency's documents."""
    if not 0 < len(number) <= _LONGEST or not number.isprintable():
        words = f"a requirement number has 1 to {_LONGEST} printable characters"
        raise GatewayError(RULE_BROKEN, words, "RequirementNumber")
    for position, one in enumerate(notice.decisions, start=1):
        if one.law not in laws:
            words = f"{agency} decides nothing under law {one.law[:20]}"
            raise GatewayError(RULE_BROKEN, words, f"Decision[{position}]/law")
        if one.number is not None and one.number != number:
            words = f"the decision names {one.number[:40]}, and its notice {number[:40]}"
            raise GatewayError(RULE_BROKEN, words, f"Decision[{position}]/number")
        if one.quantity is not None and one.quantity <= 0:
            raise GatewayError(RULE_BROKEN, "a quantity is above zero", f"Decision[{position}]/quantity")
    subjects = [(one.item, one.law) for one in notice.decisions]
    if len(set(subjects)) < len(subjects):
        raise GatewayError(RULE_BROKEN, "a notice decides an item under a law once", "Decision")


def split_requirement_results(number: str, notice: Notice) -> tuple[tuple[str, Notice], ...]:
    """Return a notice for each requirement that a document decides: some give each item a number of its own.

    The requirement of the whole document keeps the number of the notice.
    """
    groups: dict[str, list[Decision]] = {}
    for one in notice.decisions:
        groups.setdefault(one.number or number, []).append(one)
    return tuple(
        (named, _select_part(notice, "" if named == number else f"/{named}", tuple(decided)))
        for named, decided in groups.items()
    )


def _select_part(notice: Notice, suffix: str, decided: tuple[Decision, ...]) -> Notice:
    former = notice.former and replace(notice.former, number=notice.former.number + suffix, decisions=decided)
    return replace(notice, number=shorten_number(notice.number + suffix), former=former, decisions=decided)


def select_current_results(results: Iterable[RequirementResult]) -> tuple[RequirementResult, ...]:
    """Return the results in force: one for each requirement, item and law."""
    latest: dict[tuple[int, int, str], RequirementResult] = {}
    for one in results:
        key = (one.subject, one.decision.item, one.decision.law)
        known = latest.get(key)
        if known is None or known.rank < one.rank:
            latest[key] = one
    return tuple(latest[key] for key in sorted(latest))


def select_law_results(results: Iterable[RequirementResult]) -> tuple[RequirementResult, ...]:
    """Return for each requirement and law the best result in force, sorted by them."""
    best: dict[tuple[int, str], RequirementResult] = {}
    for one in select_current_results(results):
        if one.decision.decision not in _BEST:
            continue
        key = (one.subject, one.decision.law)
        known = best.get(key)
        if known is None or _BEST.index(one.decision.decision) < _BEST.index(known.decision.decision):
            best[key] = one
    return tuple(best[key] for key in sorted(best))

"""Judges whether an approval by an agency under a number is a certificate that declarations can use.

While its agency is asked whether it cancels the application, a certificate is suspended. An approval before
an amendment waits for the next decision. An item that an amendment has removed does not come back into its
case; later notices of its agency about the item rank among the decisions on that item, and an approval that
is the latest of them is a certificate of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from gateway.cases.agency_notices import Decision, DecisionCode, Notice, shorten_number
from gateway.errors import RULE_BROKEN, GatewayError
from gateway.notice_order import NoticeOrder, order_notice
from gateway.wire import check_clear_id

#: The decisions that allow something.
APPROVING_CODES = (DecisionCode.APPROVED, DecisionCode.APPROVED_WITH_CONDITIONS)
#: The best first; NOT_CONCERNED says nothing about the goods.
_CODES_BEST_FIRST = (*APPROVING_CODES, DecisionCode.REJECTED)
#: WCO D005 is an..70.
_MAX_NUMBER_LENGTH = 70


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """One decision of a notice about a requirement, and the words of the notice.

    `requirement_id` is the row of the requirement. `direction` is import or export, None where the agency did
    not say of which declarations it is.
    """

    requirement_id: int
    agency: str
    decision: Decision
    issued_at: datetime
    notice_number: str
    text: str = ""
    direction: str | None = None

    @property
    def rank(self) -> NoticeOrder:
        """Return the rank: of two results about one item and law, the higher rank is in force."""
        return order_notice(self.issued_at, self.notice_number)


def check_requirement_result(agency: str, number: str, notice: Notice, laws: Collection[str]) -> None:
    """Raise GW404 for a result that is not valid without an application.

    `laws` are those of the agency's documents.
    """
    if not 0 < len(number) <= _MAX_NUMBER_LENGTH or not number.isprintable():
        detail = f"a requirement number must have 1 to {_MAX_NUMBER_LENGTH} printable characters"
        raise GatewayError(RULE_BROKEN, detail, "RequirementNumber")
    check_clear_id(number, "RequirementNumber")
    check_clear_id(notice.number, "NoticeNumber")
    for position, decision in enumerate(notice.decisions, start=1):
        if decision.law not in laws:
            detail = f"{agency} decides nothing under law {decision.law[:20]}"
            raise GatewayError(RULE_BROKEN, detail, f"Decision[{position}]/law")
        if decision.number is not None and decision.number != number:
            detail = f"the decision names {decision.number[:40]}, and its notice {number[:40]}"
            raise GatewayError(RULE_BROKEN, detail, f"Decision[{position}]/number")
        if decision.quantity is not None and decision.quantity <= 0:
            raise GatewayError(RULE_BROKEN, "a quantity must be above zero", f"Decision[{position}]/quantity")
    subjects = [(decision.item, decision.law) for decision in notice.decisions]
    if len(set(subjects)) < len(subjects):
        raise GatewayError(RULE_BROKEN, "a notice decides an item under a law once", "Decision")


def split_requirement_results(document_number: str, notice: Notice) -> tuple[tuple[str, Notice], ...]:
    """Return a notice for each requirement that a document decides: some give each item a number of its own.

    The requirement of the whole document keeps the number of the notice.
    """
    decisions_by_number: dict[str, list[Decision]] = {}
    for decision in notice.decisions:
        decisions_by_number.setdefault(decision.number or document_number, []).append(decision)
    return tuple(
        (
            certificate_number,
            replace(
                notice,
                number=notice.number
                if certificate_number == document_number
                else shorten_number(f"{notice.number}/{certificate_number}"),
                decisions=tuple(certificate_decisions),
            ),
        )
        for certificate_number, certificate_decisions in decisions_by_number.items()
    )


def select_current_results(results: Iterable[RequirementResult]) -> tuple[RequirementResult, ...]:
    """Return the results in force: one for each requirement, item and law.

    `results` are in the order stored, which decides between numbers that compare as equal.
    """
    current_results: dict[tuple[int, int, str], RequirementResult] = {}
    for result in results:
        result_key = (result.requirement_id, result.decision.item, result.decision.law)
        earlier_result = current_results.get(result_key)
        if earlier_result is None or earlier_result.rank <= result.rank:
            current_results[result_key] = result
    return tuple(current_results[key] for key in sorted(current_results))


def select_law_results(results: Iterable[RequirementResult]) -> tuple[RequirementResult, ...]:
    """Return for each requirement and law the best result in force, sorted by them."""
    best_results: dict[tuple[int, str], RequirementResult] = {}
    for result in select_current_results(results):
        if result.decision.decision not in _CODES_BEST_FIRST:
            continue
        law_key = (result.requirement_id, result.decision.law)
        earlier_result = best_results.get(law_key)
        if earlier_result is None or _CODES_BEST_FIRST.index(
            result.decision.decision
        ) < _CODES_BEST_FIRST.index(earlier_result.decision.decision):
            best_results[law_key] = result
    return tuple(best_results[key] for key in sorted(best_results))


class CertificateUsability(StrEnum):
    """Whether a certificate can be used, now, or when its agency has answered or decided again."""

    USABLE = "usable"
    SUSPENDED = "suspended"
    REOPENED = "reopened"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class ApprovedApplication:
    """An application that is not cancelled.

    `is_cancellation_asked`: the agency is asked whether it cancels the application. `is_case_withdrawn`: the
    case of the application is withdrawn. `is_cancellation_refused`: the agency has refused to cancel the
    approval of the certificate.
    """

    is_cancellation_asked: bool = False
    is_case_withdrawn: bool = False
    is_cancellation_refused: bool = False


@dataclass(frozen=True, slots=True)
class ItemRemoval:
    """The removal of an item from its application; `has_remaining_items` if other items stayed in it.

    For the removal of an item alone, no agency is asked.
    """

    has_remaining_items: bool


@dataclass(frozen=True, slots=True)
class PastDecision:
    """One decision on an item and law that was amended or removed; `decision_id` is its row in the store.

    A `is_lapsed` decision was overtaken by an amendment of an item that was still in the application. A
    decision `is_after_removal` came when the item had been removed.
    """

    decision_id: int
    issued_at: datetime
    notice_number: str
    is_approval: bool
    is_lapsed: bool = False
    is_after_removal: bool = False


def derive_usability(application: ApprovedApplication) -> CertificateUsability:
    """Judge the certificate of an approval in force."""
    if application.is_cancellation_asked and not (
        application.is_case_withdrawn and application.is_cancellation_refused
    ):
        return CertificateUsability.SUSPENDED
    if application.is_case_withdrawn and not application.is_cancellation_refused:
        return CertificateUsability.LAPSED
    return CertificateUsability.USABLE


def derive_past_usability(
    decision_id: int,
    past_decisions: Iterable[PastDecision],
    application: ApprovedApplication,
    removal: ItemRemoval | None,
) -> CertificateUsability:
    """Judge the certificate of an approval (`decision_id`) that does not count in its case any more.

    `past_decisions` is every decision on its item and law that does not count, and `removal` how the item
    left the application, if it did. There must be no later decision on the item that counts.
    """
    default_usability = (
        CertificateUsability.LAPSED if application.is_case_withdrawn else CertificateUsability.REOPENED
    )
    counting_decisions = [decision for decision in past_decisions if not decision.is_lapsed]
    if removal is None or not counting_decisions:
        return default_usability
    latest_decision = max(
        counting_decisions,
        key=lambda decision: (
            order_notice(decision.issued_at, decision.notice_number),
            decision.decision_id,
        ),
    )
    if latest_decision.decision_id != decision_id or not latest_decision.is_approval:
        return CertificateUsability.LAPSED
    if application.is_cancellation_asked:
        return CertificateUsability.SUSPENDED
    if removal.has_remaining_items and not latest_decision.is_after_removal:
        return default_usability
    return CertificateUsability.USABLE

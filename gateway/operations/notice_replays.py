"""Reports how the notices of agencies about a case count, as plain values and in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from gateway.cases import (
    DecisionDifference,
    DecisionEffect,
    DemandEffect,
    PlaceDifference,
    ReplayedDecision,
    ReplayedNotice,
    StatusCode,
)
from gateway.errors import APPLICATION_CANCELLED
from gateway.hub import ApplicationReplay, CaseReplay
from gateway.operations.plain_values import format_moment, get_display_zone
from gateway.store import CaseRow
from gateway.wire import find_day

#: Why a decision does not count, in words; `{}` is the number of the notice that counts instead.
_REASONS: Final[Mapping[str, str]] = {
    DecisionEffect.REPLACED: "notice {} is later",
    DecisionEffect.LOWER_NUMBER: "notice {} of the same time has the higher number",
    DecisionEffect.STORED_EARLIER: "notice {} of the same time has an equal number and came after it",
    DecisionEffect.BELOW_IN_DAY: "it states a day alone, and notice {} has a later place in this day",
    DecisionEffect.OUTDATED: "an amendment has changed or removed the item",
    DecisionEffect.CANCELLED: f"{APPLICATION_CANCELLED.id} the application is cancelled",
    DecisionEffect.WITHDRAWN: "the declaration is withdrawn",
}
_DEMANDS: Final[Mapping[str, str]] = {
    DemandEffect.LATEST: ": the latest of its kind",
    DemandEffect.REPLACED: ": notice {} has replaced or ended it",
    DemandEffect.AMENDED: ": before the last amendment",
}
#: What a notice without decisions does, by the event of its status code.
_ACTS: Final[Mapping[str, str]] = {
    "acknowledge": "has received the application",
    "ask": "asks the applicant",
    "cancel": "cancels the application",
    "decide": "decides nothing yet",
    "fee": "demands a fee",
    "inspect": "orders an inspection",
    "inspected": "ends the inspection",
    "refuse_cancel": "does not cancel the application",
}


def describe_case_replay(
    case: CaseRow, replay: CaseReplay, files_by_number: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """Return the replay of a case as plain values.

    `files_by_number` has the file of each notice that the hub has not received, by the number of its
    application and its own.
    """
    return {
        "case": case.number,
        "state": case.state,
        "outcome": case.outcome,
        "outcome_by_notices": None if replay.outcome is None else replay.outcome.value,
        "applications": [
            _describe_application(application, files_by_number) for application in replay.applications
        ],
    }


def _describe_application(
    application: ApplicationReplay, files_by_number: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    request = application.request
    return {
        "number": request.number,
        "agency": request.agency,
        "document": request.document,
        "state": request.state,
        "cancelled": application.is_cancelled,
        "notices": [
            _describe_notice(
                replayed,
                application.status_codes.get(replayed.notice.status_code),
                files_by_number.get((request.number, replayed.notice.number)),
            )
            for replayed in application.replay.notices
        ],
        "items": [
            {
                "item": item.item,
                "outcome": None if item.outcome is None else item.outcome.value,
                "notices": list(item.notice_numbers),
            }
            for item in application.replay.items
        ],
        "differences": [_describe_difference(difference) for difference in application.differences],
    }


def _describe_notice(
    replayed: ReplayedNotice, code: StatusCode | None, file_name: str | None
) -> dict[str, Any]:
    notice = replayed.notice
    states_day = notice.dated.states_day
    return {
        "number": notice.number,
        "rank": replayed.rank,
        "status_code": notice.status_code,
        "status": None if code is None else code.name,
        "event": None if code is None else code.event,
        "issued_at": None if states_day else notice.dated.issued_at,
        "issued_on": find_day(notice.dated.issued_at, get_display_zone()) if states_day else None,
        "counts_at": replayed.counts_at,
        "received_at": notice.received_at,
        "file": file_name,
        "demand": None if replayed.demand is None else replayed.demand.value,
        "demand_replaced_by": replayed.demand_replaced_by,
        "decisions": [_describe_decision(decision) for decision in replayed.decisions],
    }


def _describe_decision(replayed: ReplayedDecision) -> dict[str, Any]:
    decision = replayed.decision
    return {
        "item": decision.item,
        "law": decision.law,
        "decision": decision.decision.value,
        "number": decision.number,
        "counts": replayed.effect is DecisionEffect.COUNTS,
        "effect": replayed.effect.value,
        "replaced_by": replayed.replaced_by,
    }


def _describe_difference(difference: DecisionDifference | PlaceDifference) -> dict[str, Any]:
    if isinstance(difference, PlaceDifference):
        return {
            "notice": difference.number,
            "stored": difference.stored_at,
            "by_notices": difference.replayed_at,
        }
    return {
        "item": difference.item,
        "law": difference.law,
        "stored": list(difference.stored),
        "by_notices": list(difference.replayed),
    }


def format_issue_time(notice: Mapping[str, Any]) -> str:
    """Return when a described notice was issued: its time, or the day alone that it states."""
    if notice["issued_at"] is None:
        return str(notice["issued_on"].isoformat())
    return _format_time(notice["issued_at"])


def _format_time(moment: datetime) -> str:
    return format_moment(moment, precision="milliseconds" if moment.microsecond else "seconds")


def compose_notice_effect(notice: Mapping[str, Any]) -> str:
    """Return what a described notice decides, and whether that counts; or what else it does."""
    if notice["decisions"]:
        return "; ".join(_join_decisions(notice["decisions"]))
    act = _ACTS.get(notice["event"] or "", "has a status code that is not known")
    return act + _DEMANDS.get(notice["demand"] or "", "").format(notice["demand_replaced_by"])


def _join_decisions(decisions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the decisions of a notice; those that say the same of several items stand together."""
    items_by_sentence: dict[tuple[str, str], list[int]] = {}
    for decision in decisions:
        reason = _REASONS.get(decision["effect"])
        effect = "counts" if reason is None else f"does not count: {reason.format(decision['replaced_by'])}"
        sentence = f"law {decision['law']} {decision['decision']}", effect
        items_by_sentence.setdefault(sentence, []).append(decision["item"])
    for (decided, effect), items in items_by_sentence.items():
        noun = "item" if len(items) == 1 else "items"
        yield f"{noun} {', '.join(map(str, items))} {decided} {effect}"


def compose_item_outcome(item: Mapping[str, Any], application: Mapping[str, Any], outcome: str | None) -> str:
    """Return the outcome of a described item; `outcome` is that of its case."""
    if item["outcome"] is not None:
        noun = "notice" if len(item["notices"]) == 1 else "notices"
        return f"item {item['item']}: {item['outcome']} by {noun} {', '.join(item['notices'])}"
    if application["cancelled"]:
        return f"item {item['item']}: not approved, the application is cancelled"
    if outcome == "WITHDRAWN":
        return f"item {item['item']}: nothing counts, the declaration is withdrawn"
    return f"item {item['item']}: undecided"


def compose_difference(difference: Mapping[str, Any]) -> str:
    """Return a sentence on what the database says otherwise than the notices, and until when."""
    if "notice" in difference:
        stored, replayed = (_format_time(difference[name]) for name in ("stored", "by_notices"))
        return (
            f"notice {difference['notice']}, stored: it counts at {stored}; by the notices of its day at "
            f"{replayed}: the next notice of the agency changes this"
        )
    stored, replayed = (", ".join(difference[name]) or "none" for name in ("stored", "by_notices"))
    return (
        f"item {difference['item']} law {difference['law']}, stored: {stored} counts; by its notices "
        f"{replayed} counts: the next decision of the agency changes this"
    )

"""Replays the notices of one application: which decision counts, and why each other one does not.

It takes the notices as they state themselves, and the places in their days are found anew. Nothing that the
hub concluded from them earlier is used; where that differs, `find_differences` tells it. What counts is
found by the functions that the hub itself decides by (`place_notices`, `select_current_decisions`,
`OpenDemands`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.cases.agency_notices import Decision, DecisionCode
from gateway.cases.case_outcome import RankedDecision, evaluate_item_outcome, select_current_decisions
from gateway.cases.day_notices import DatedNotice, Subject, place_notices
from gateway.cases.open_demands import DEMANDED_STATES, DemandNotice, OpenDemands
from gateway.cases.status_codes import StatusCode
from gateway.cases.usable_certificates import APPROVING_CODES
from gateway.notice_order import order_notice, order_number

_DAY: Final = timedelta(days=1)


class DecisionEffect(StrEnum):
    """Whether a decision counts, or why it does not."""

    COUNTS = "counts"
    REPLACED = "replaced"  #: a later notice decides the same
    LOWER_NUMBER = "lower_number"  #: one of the same time with a higher number does
    STORED_EARLIER = "stored_earlier"  #: one of the same time and an equal number came after it
    BELOW_IN_DAY = "below_in_day"  #: it states a day alone, and its place is below another notice of the day
    OUTDATED = "outdated"  #: an amendment has changed or removed its item
    CANCELLED = "cancelled"  #: the agency has cancelled the application
    WITHDRAWN = "withdrawn"  #: it approves, and the declaration is withdrawn


class DemandEffect(StrEnum):
    """Whether the demand of a notice is the latest one of its kind, by status codes and order alone."""

    LATEST = "latest"
    REPLACED = "replaced"
    AMENDED = "amended"  #: it came before the last amendment


@dataclass(frozen=True, slots=True)
class NoticeToReplay:
    """A notice about an application; `received_at` is None for one that the hub has not received.

    `outdated` are the items and laws whose decisions an amendment has outdated. `superseded` are those that
    the database marks as superseded, and `stored_place` is the time at which the notice counts there.
    """

    dated: DatedNotice
    status_code: str
    received_at: datetime | None
    decisions: tuple[Decision, ...] = ()
    deadline: datetime | None = None
    outdated: frozenset[Subject] = frozenset()
    superseded: frozenset[Subject] = frozenset()
    stored_place: datetime | None = None

    @property
    def number(self) -> str:
        """Return the number of the notice."""
        return self.dated.number


@dataclass(frozen=True, slots=True)
class ReplayedApplication:
    """An application whose notices are replayed; its items are those that it asks its agency about.

    `amended_after` is the row id of the last notice before the last amendment.
    """

    number: str
    items: tuple[int, ...]
    is_cancelled: bool = False
    is_withdrawn: bool = False
    amended_after: int = 0


@dataclass(frozen=True, slots=True)
class ReplayedDecision:
    """One decision of a notice: whether it counts, and the number of the notice that counts instead."""

    decision: Decision
    effect: DecisionEffect
    replaced_by: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayedNotice:
    """A notice with the time at which it counts and its rank: the first one has rank 1.

    `demand` is None where it demands nothing. `demand_replaced_by` is the number of the notice that replaces
    the demand, or ends it.
    """

    notice: NoticeToReplay
    counts_at: datetime
    rank: int
    decisions: tuple[ReplayedDecision, ...]
    demand: DemandEffect | None = None
    demand_replaced_by: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayedItem:
    """The outcome of an item by the notices of this application, and the numbers of those that count.

    The outcome is None where no decision counts.
    """

    item: int
    outcome: DecisionCode | None
    notice_numbers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoticeReplay:
    """The notices of an application, the last one last, and what follows from them for each item."""

    notices: tuple[ReplayedNotice, ...]
    items: tuple[ReplayedItem, ...]
    #: The decisions that do not depend on amended items, as the outcome of the case is evaluated by them.
    ranked_decisions: tuple[RankedDecision, ...]


@dataclass(frozen=True, slots=True)
class DecisionDifference:
    """An item and law for which the database lets other notices count than their order does."""

    item: int
    law: str
    stored: tuple[str, ...]
    replayed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlaceDifference:
    """A notice of a day alone that has another place in the database than by the notices of its day."""

    number: str
    stored_at: datetime
    replayed_at: datetime


def replay_notices(
    application: ReplayedApplication, notices: Sequence[NoticeToReplay], codes: Mapping[str, StatusCode]
) -> NoticeReplay:
    """Return the notices of an application in the order in which they count, and the outcome of its items."""
    in_order_stored = sorted(notices, key=lambda notice: notice.dated.stored)
    places = place_notices([notice.dated for notice in in_order_stored])
    ranked_decisions = _rank_decisions(application, in_order_stored, places)
    by_number = {notice.number: notice for notice in notices}
    in_force = {
        (ranked.decision.item, ranked.decision.law): by_number[ranked.notice_number]
        for ranked in select_current_decisions(ranked_decisions)
    }
    demands = _DemandHistory(application, in_order_stored, places, codes)
    replayed_notices = tuple(
        ReplayedNotice(
            notice,
            places[notice.dated.stored],
            rank,
            tuple(
                [
                    _judge_decision(application, notice, decision, in_force, places)
                    for decision in notice.decisions
                ]
            ),
            demands.find_effect(notice),
            demands.find_replacement(notice),
        )
        for rank, notice in enumerate(
            sorted(
                in_order_stored,
                key=lambda notice: order_notice(places[notice.dated.stored], notice.number),
            ),
            start=1,
        )
    )
    items = tuple([_evaluate_item(item, replayed_notices) for item in application.items])
    return NoticeReplay(replayed_notices, items, () if application.is_cancelled else ranked_decisions)


def _rank_decisions(
    application: ReplayedApplication, notices: Sequence[NoticeToReplay], places: Mapping[int, datetime]
) -> tuple[RankedDecision, ...]:
    return tuple(
        [
            RankedDecision(application.number, decision, places[notice.dated.stored], notice.number)
            for notice in notices
            for decision in notice.decisions
            if (decision.item, decision.law) not in notice.outdated
        ]
    )


def _judge_decision(
    application: ReplayedApplication,
    notice: NoticeToReplay,
    decision: Decision,
    in_force: Mapping[Subject, NoticeToReplay],
    places: Mapping[int, datetime],
) -> ReplayedDecision:
    subject = decision.item, decision.law
    if subject in notice.outdated:
        return ReplayedDecision(decision, DecisionEffect.OUTDATED)
    counting = in_force[subject]
    if counting is not notice:
        return ReplayedDecision(decision, _explain_replacement(notice, counting, places), counting.number)
    if application.is_cancelled:
        return ReplayedDecision(decision, DecisionEffect.CANCELLED)
    if application.is_withdrawn and decision.decision in APPROVING_CODES:
        return ReplayedDecision(decision, DecisionEffect.WITHDRAWN)
    return ReplayedDecision(decision, DecisionEffect.COUNTS)


def _explain_replacement(
    notice: NoticeToReplay, counting: NoticeToReplay, places: Mapping[int, datetime]
) -> DecisionEffect:
    """Return why another notice counts in the stead of this one."""
    issued_at, counting_issued_at = places[notice.dated.stored], places[counting.dated.stored]
    if issued_at == counting_issued_at:
        has_equal_number = order_number(notice.number) == order_number(counting.number)
        return DecisionEffect.STORED_EARLIER if has_equal_number else DecisionEffect.LOWER_NUMBER
    day = notice.dated.issued_at
    if notice.dated.states_day and day <= counting_issued_at < day + _DAY:
        return DecisionEffect.BELOW_IN_DAY
    return DecisionEffect.REPLACED


def _evaluate_item(item: int, notices: Sequence[ReplayedNotice]) -> ReplayedItem:
    counting = [
        (replayed.notice.number, replayed_decision.decision)
        for replayed in notices
        for replayed_decision in replayed.decisions
        if replayed_decision.decision.item == item and replayed_decision.effect is DecisionEffect.COUNTS
    ]
    outcome = evaluate_item_outcome([decision for _, decision in counting]) if counting else None
    return ReplayedItem(item, outcome, tuple(dict.fromkeys(number for number, _ in counting)))


class _DemandHistory:
    """The demands of the notices of an application, by status codes and order alone.

    What the applicant has answered, and fees, are not among them.
    """

    def __init__(
        self,
        application: ReplayedApplication,
        notices: Sequence[NoticeToReplay],
        places: Mapping[int, datetime],
        codes: Mapping[str, StatusCode],
    ) -> None:
        self._amended_after = application.amended_after
        self._demands = {
            notice.dated.stored: DemandNotice(
                notice.dated.stored,
                code.event,
                notice.number,
                places[notice.dated.stored],
                notice.received_at or places[notice.dated.stored],
                notice.deadline,
            )
            for notice in notices
            if (code := codes.get(notice.status_code)) is not None
            and not code.fee_step
            and code.event in (*DEMANDED_STATES, "inspected")
        }
        open_demands, received_demands = OpenDemands(amended_after=self._amended_after), list[DemandNotice]()
        for demand in self._demands.values():
            received_demands.append(demand)
            if demand.id > self._amended_after:
                open_demands = open_demands.apply_notice(demand, received_demands)
        self._open_demands = open_demands

    def find_effect(self, notice: NoticeToReplay) -> DemandEffect | None:
        """Return whether the demand of a notice is the latest of its kind; None for one that has none."""
        demand = self._demands.get(notice.dated.stored)
        if demand is None or demand.event not in DEMANDED_STATES:
            return None
        if demand.id <= self._amended_after:
            return DemandEffect.AMENDED
        return DemandEffect.REPLACED if self.find_replacement(notice) else DemandEffect.LATEST

    def find_replacement(self, notice: NoticeToReplay) -> str | None:
        """Return the number of the notice that replaces the demand of another one, or ends it."""
        demand = self._demands.get(notice.dated.stored)
        if demand is None or demand.event not in DEMANDED_STATES or demand.id <= self._amended_after:
            return None
        still_open = self._open_demands.by_event.get(demand.event)
        if still_open is not None and demand.number in (still_open.number, still_open.latest_issue.number):
            return None
        ending = "inspected" if demand.event == "inspect" and still_open is None else demand.event
        later = [
            other_demand
            for other_demand in self._demands.values()
            if other_demand.event == ending and other_demand.rank > demand.rank
        ]
        others = later or [
            other_demand for other_demand in self._demands.values() if other_demand.rank > demand.rank
        ]
        return max(others, key=lambda other_demand: other_demand.rank).number if others else None


def find_differences(
    notices: Sequence[NoticeToReplay], replay: NoticeReplay
) -> Iterator[DecisionDifference | PlaceDifference]:
    """Yield where the database differs from the `replay` of the stored `notices`.

    An earlier version of the program compared numbers as text. What it stored changes with the next
    decision of the agency about the application.
    """
    for replayed in replay.notices:
        stored_place = replayed.notice.stored_place
        if stored_place is not None and stored_place != replayed.counts_at:
            yield PlaceDifference(replayed.notice.number, stored_place, replayed.counts_at)
    stored: dict[Subject, list[str]] = {}
    for notice in notices:
        for decision in notice.decisions:
            subject = decision.item, decision.law
            if subject not in notice.outdated:
                numbers = stored.setdefault(subject, [])
                numbers += [] if subject in notice.superseded else [notice.number]
    for ranked in select_current_decisions(replay.ranked_decisions):
        subject = ranked.decision.item, ranked.decision.law
        if stored[subject] != [ranked.notice_number]:
            yield DecisionDifference(*subject, tuple(stored[subject]), (ranked.notice_number,))

"""Finds the place of notices that state a day alone among the other notices of that day.

Forms of agencies have a day of issue and no time. As its first instant, the day would come before everything
else of the day: a cancellation before the approval that it cancels. So these rules put them in order:

- what another notice states of a time after the receipt of this one comes after it;
- a certificate comes after one of a lower number in the same series (P-10 after P-9);
- what issues a certificate anew comes after its first issue, and after a refusal that came before it;
- what refuses comes after what allows, also where nothing is known: so no goods are released against it;
- what decides the same comes in the order stored, and so do questions, inspections and fees.

A new notice of a day alone that would have no effect for want of a time is refused: its agency has to state
the time. The places depend on all notices together; so they are computed again for each notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Final

from gateway.cases.agency_notices import Decision, DecisionCode
from gateway.errors import ISSUE_TIME_WRONG, GatewayError
from gateway.notice_order import NumberOrder, order_notice, order_number

_DAY: Final = timedelta(days=1)
#: Times of notices have milliseconds.
_STEP: Final = timedelta(milliseconds=1)
#: As long as a receipt may be later than every time that is stated.
_UNKNOWN_RECEIPT: Final = datetime.max.replace(tzinfo=UTC)

#: An item and the law under which it is decided.
Subject = tuple[int, str]


@dataclass(frozen=True, slots=True)
class DatedNotice:
    """A notice about an application, or about a requirement, with what its place in a day depends on.

    `stored` is its row id. Of a notice that `states_day` alone, `issued_at` is the first instant of the day;
    it was issued before the hub received it. `rejections` says of each item and law that it decides whether
    it rejects the item, `certificates` are the numbers that its decisions name. It `follows` if it cancels a
    certificate that was issued before, or issues it anew.
    """

    stored: int
    number: str
    issued_at: datetime
    states_day: bool
    rejections: Mapping[Subject, bool] = field(default_factory=dict)
    certificates: frozenset[str] = frozenset()
    follows: bool = False
    received_at: datetime = _UNKNOWN_RECEIPT


def describe_decisions(decisions: Iterable[Decision]) -> dict[Subject, bool]:
    """Return of each item and law that is decided whether the item is rejected."""
    return {
        (decision.item, decision.law): decision.decision is DecisionCode.REJECTED for decision in decisions
    }


class _DayOrder(Enum):
    AFTER = auto()
    BELOW = auto()
    #: Nothing is known: the one that refuses counts.
    UNKNOWN = auto()


def place_notices(notices: Sequence[DatedNotice]) -> Mapping[int, datetime]:
    """Return the time at which each notice counts, by its row id: as stated, or its place in its day."""
    places = {notice.stored: notice.issued_at for notice in notices if not notice.states_day}
    of_days = sorted((notice for notice in notices if notice.states_day), key=_order_in_day)
    rivals = {notice.stored: _list_rivals(notice, notices) for notice in of_days}
    earlier = {
        notice.stored: [rival for rival in rivals[notice.stored] if _counts_after(notice, rival, notices)]
        for notice in of_days
    }
    # A second time, for those that come after one further down in this order.
    for notice in (*of_days, *of_days):
        counts_at = _find_place_behind(notice, earlier[notice.stored], places)
        # Only the last word may come behind a question, which would carry another one past it.
        if all(places.get(rival.stored, counts_at) <= counts_at for rival in rivals[notice.stored]):
            counts_at = max(
                counts_at, _find_place_behind(notice, _list_earlier_questions(notice, notices), places)
            )
        # Nothing carries it past a notice that states a later time for certain.
        surely_later = (rival.issued_at for rival in rivals[notice.stored] if _is_surely_later(rival, notice))
        places[notice.stored] = min([counts_at, *(issued_at - _STEP for issued_at in surely_later)])
    return places


def _find_place_behind(
    notice: DatedNotice, earlier_notices: Iterable[DatedNotice], places: Mapping[int, datetime]
) -> datetime:
    """Return the first place of a notice of a day alone behind those of other notices."""
    behind = (places[earlier.stored] + _STEP for earlier in earlier_notices if earlier.stored in places)
    return max(behind, default=notice.issued_at)


def _order_in_day(notice: DatedNotice) -> tuple[datetime, bool, NumberOrder, bool, int]:
    """Return the key that sorts notices so that most come after those on which their places depend."""
    return (
        notice.issued_at,
        bool(notice.rejections),
        _get_last_number(notice.certificates),
        notice.follows,
        notice.stored,
    )


def _get_last_number(certificates: Iterable[str]) -> NumberOrder:
    return max(map(order_number, certificates), default=())


def _is_of_day(other_notice: DatedNotice, notice: DatedNotice) -> bool:
    return notice.issued_at <= other_notice.issued_at < notice.issued_at + _DAY


def _list_rivals(notice: DatedNotice, notices: Iterable[DatedNotice]) -> list[DatedNotice]:
    """Return the other notices of the day of a notice that decide about an item and law of it."""
    subjects = notice.rejections.keys()
    return [
        other_notice
        for other_notice in notices
        if other_notice.stored != notice.stored
        and not subjects.isdisjoint(other_notice.rejections)
        and _is_of_day(other_notice, notice)
    ]


def _list_earlier_questions(notice: DatedNotice, notices: Iterable[DatedNotice]) -> list[DatedNotice]:
    """Return the notices of the day of a notice that were stored before it, and do not decide with it.

    Of a notice that itself decides nothing, these are all but the decisions of a day alone.
    """
    return [
        other_notice
        for other_notice in notices
        if other_notice.stored < notice.stored
        and _is_of_day(other_notice, notice)
        and not (other_notice.rejections and (notice.rejections or other_notice.states_day))
    ]


def _is_surely_later(rival: DatedNotice, notice: DatedNotice) -> bool:
    """Return whether another notice states a time after the receipt of one of a day alone."""
    return not rival.states_day and rival.issued_at > notice.received_at


def _counts_after(notice: DatedNotice, rival: DatedNotice, notices: Sequence[DatedNotice]) -> bool:
    day_order = _compare_decisions(notice, rival, notices)
    return day_order is _DayOrder.AFTER or (day_order is _DayOrder.UNKNOWN and _rejects_more(notice, rival))


def _compare_decisions(notice: DatedNotice, rival: DatedNotice, notices: Sequence[DatedNotice]) -> _DayOrder:
    """Return the place of a notice of a day alone, seen from another one of this day on the same item."""
    in_order_stored = _DayOrder.AFTER if rival.stored < notice.stored else _DayOrder.BELOW
    if _is_surely_later(rival, notice):
        return _DayOrder.BELOW
    if notice.certificates and rival.certificates and notice.certificates.isdisjoint(rival.certificates):
        last, rival_last = _get_last_number(notice.certificates), _get_last_number(rival.certificates)
        if last != rival_last and _get_series(last) == _get_series(rival_last):
            return _DayOrder.AFTER if last > rival_last else _DayOrder.BELOW
        if notice.follows and _names_certificate_of_another(notice, notices):
            return _DayOrder.BELOW
        if notice.follows and _rejects_more(notice, rival):
            return _DayOrder.UNKNOWN
    if _rejects_more(notice, rival):
        # The approval that was issued anew on this day has no time either.
        return in_order_stored if rival.follows and rival.states_day else _DayOrder.AFTER
    if _rejects_more(rival, notice):
        if rival.follows and not notice.certificates.isdisjoint(rival.certificates):
            return in_order_stored if notice.follows else _DayOrder.BELOW
        is_in_order = notice.follows and not _may_follow_another(notice, notices)
        return in_order_stored if is_in_order else _DayOrder.UNKNOWN
    if notice.follows == rival.follows:
        return in_order_stored
    # A certificate is given again after its first issue, and cancelled before the goods are refused.
    is_approval = not any(notice.rejections.values())
    return _DayOrder.AFTER if notice.follows == is_approval else _DayOrder.BELOW


def _get_series(number: NumberOrder) -> tuple[str, ...]:
    """Return the text of a number without its digits: numbers with the same text are of one series."""
    return tuple([text for text, _, _ in number])


def _names_certificate_of_another(notice: DatedNotice, notices: Iterable[DatedNotice]) -> bool:
    return any(
        other_notice.stored != notice.stored and not other_notice.certificates.isdisjoint(notice.certificates)
        for other_notice in notices
    )


def _may_follow_another(notice: DatedNotice, notices: Iterable[DatedNotice]) -> bool:
    """Return whether a notice that issues a certificate anew may be about the approval of another one."""
    return any(
        _decide_equally(notice, other_notice)
        for other_notice in notices
        if other_notice.stored != notice.stored
        and not notice.rejections.keys().isdisjoint(other_notice.rejections)
    )


def _decide_equally(notice: DatedNotice, other_notice: DatedNotice) -> bool:
    return not _rejects_more(notice, other_notice) and not _rejects_more(other_notice, notice)


def _rejects_more(notice: DatedNotice, other_notice: DatedNotice) -> bool:
    """Return whether a notice rejects anything that another one allows."""
    shared = notice.rejections.keys() & other_notice.rejections
    return any(notice.rejections[subject] and not other_notice.rejections[subject] for subject in shared)


def may_follow(
    moment: datetime, issued_at: datetime, day_begins_at: datetime | None, received_at: datetime
) -> bool:
    """Return whether a notice is of a time after `moment`; one of a day alone may be if it came after it.

    `day_begins_at` is the first instant of the day that the notice states without a time, else None.
    """
    if issued_at > moment:
        return True
    return day_begins_at is not None and moment < min(received_at, day_begins_at + _DAY)


def check_place(notice: DatedNotice, notices: Sequence[DatedNotice]) -> None:
    """Raise GW719 for a new notice of a day alone if nothing says whether it comes after the one in force.

    `notices` are all about the application, with it, whose decisions count.
    """
    if not notice.states_day or not notice.rejections:
        return
    places = place_notices(notices)
    rivals = [
        other_notice
        for other_notice in notices
        if other_notice.stored != notice.stored
        and not other_notice.rejections.keys().isdisjoint(notice.rejections)
    ]
    in_force = max(
        rivals,
        key=lambda rival: (order_notice(places[rival.stored], rival.number), rival.stored),
        default=None,
    )
    if (
        in_force is not None
        and _is_of_day(in_force, notice)
        and _compare_decisions(notice, in_force, notices) is _DayOrder.UNKNOWN
    ):
        detail = (
            f"it states a day without a time, and nothing says whether it comes after notice "
            f"{in_force.number[:40]} of that day, which decides otherwise: state the time of issue "
            "(SubmitDecision)"
        )
        raise GatewayError(ISSUE_TIME_WRONG, detail, "IssuedAt")

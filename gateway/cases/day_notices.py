"""Finds the place of notices that state a day alone among the other notices of that day.

Forms of agencies have a day of issue and no time. As its first instant, the day would come before everything
else of the day: a cancellation before the approval that it cancels. So a certificate's own story decides:

- what cancels a certificate, or issues it anew, comes after its first issue; of several, as the hub stored
  them;
- a certificate of a higher number comes after one of a lower number in the same series (P-10 after P-9);
- a cancellation without a number, or of a decision without one, comes after that decision;
- what decides the same comes in the order stored.

Nothing else is known: then the notice has no place, and its agency has to state a time. The places depend on
all notices together, and not on the order in which they came; so they are computed again for each notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from gateway.cases.agency_notices import Decision, DecisionCode
from gateway.errors import ISSUE_TIME_WRONG, GatewayError
from gateway.notice_order import NumberOrder, order_notice, order_number

_DAY: Final = timedelta(days=1)
#: Times of notices have milliseconds.
_STEP: Final = timedelta(milliseconds=1)


#: An item and the law under which it is decided.
Subject = tuple[int, str]


@dataclass(frozen=True, slots=True)
class DatedNotice:
    """A notice about an application, or about a requirement, with what its place in a day depends on.

    `stored` is its row id. Of a notice that `states_day` alone, `issued_at` is the first instant of the day.
    `rejections` says of each item and law that it decides whether it rejects the item, `certificates` are the
    numbers that its decisions name. It `follows` if it cancels a certificate that was issued before, or
    issues it anew.
    """

    stored: int
    number: str
    issued_at: datetime
    states_day: bool
    rejections: Mapping[Subject, bool] = field(default_factory=dict)
    certificates: frozenset[str] = frozenset()
    follows: bool = False


def describe_decisions(decisions: Iterable[Decision]) -> dict[Subject, bool]:
    """Return of each item and law that is decided whether the item is rejected."""
    return {
        (decision.item, decision.law): decision.decision is DecisionCode.REJECTED for decision in decisions
    }


class _DayOrder(Enum):
    AFTER = auto()
    BELOW = auto()
    UNKNOWN = auto()


def place_notices(notices: Sequence[DatedNotice]) -> Mapping[int, datetime]:
    """Return the time at which each notice counts, by its row id: as stated, or its place in its day."""
    places = {notice.stored: notice.issued_at for notice in notices if not notice.states_day}
    of_days = sorted((notice for notice in notices if notice.states_day), key=_order_in_day)
    # A second time, for those that come after one further down in this order.
    for notice in (*of_days, *of_days):
        before = (
            places[other_notice.stored]
            for other_notice in notices
            if other_notice is not notice
            and other_notice.stored in places
            and _is_of_day(other_notice, notice)
            and _counts_after(notice, other_notice, notices)
        )
        places[notice.stored] = max((issued_at + _STEP for issued_at in before), default=notice.issued_at)
    return places


def _order_in_day(notice: DatedNotice) -> tuple[datetime, bool, bool, NumberOrder, bool, int]:
    """Return the key that sorts notices so that each comes after those on which its place depends."""
    return (
        notice.issued_at,
        bool(notice.rejections),
        notice.follows and not notice.certificates,
        _get_last_number(notice.certificates),
        notice.follows,
        notice.stored,
    )


def _get_last_number(certificates: Iterable[str]) -> NumberOrder:
    return max(map(order_number, certificates), default=())


def _is_of_day(other_notice: DatedNotice, notice: DatedNotice) -> bool:
    return notice.issued_at <= other_notice.issued_at < notice.issued_at + _DAY


def _counts_after(notice: DatedNotice, other_notice: DatedNotice, notices: Sequence[DatedNotice]) -> bool:
    if notice.rejections and other_notice.rejections:
        return _compare_decisions(notice, other_notice, notices) is _DayOrder.AFTER
    # A question, an inspection, a fee: they come in the order stored.
    return other_notice.stored < notice.stored and not (other_notice.rejections and other_notice.states_day)


def _compare_decisions(
    notice: DatedNotice, other_notice: DatedNotice, notices: Sequence[DatedNotice]
) -> _DayOrder:
    """Return the place of a deciding notice of a day alone, seen from another one of this day."""
    if notice.rejections.keys().isdisjoint(other_notice.rejections):
        return _DayOrder.BELOW
    in_order_stored = _DayOrder.AFTER if other_notice.stored < notice.stored else _DayOrder.BELOW
    has_same_certificate = not notice.certificates.isdisjoint(other_notice.certificates)
    if has_same_certificate or not notice.certificates or not other_notice.certificates:
        if notice.follows != other_notice.follows:
            return _DayOrder.AFTER if notice.follows else _DayOrder.BELOW
        if has_same_certificate or notice.follows:
            return in_order_stored
    else:
        last, other_last = _get_last_number(notice.certificates), _get_last_number(other_notice.certificates)
        if _get_series(last) == _get_series(other_last):
            return _DayOrder.AFTER if last > other_last else _DayOrder.BELOW
        if notice.follows and _names_certificate_of_another(notice, notices):
            return _DayOrder.BELOW
    return in_order_stored if _decide_equally(notice, other_notice) else _DayOrder.UNKNOWN


def _get_series(number: NumberOrder) -> tuple[str, ...]:
    """Return the text of a number without its digits: numbers with the same text are of one series."""
    return tuple([text for text, _, _ in number])


def _names_certificate_of_another(notice: DatedNotice, notices: Iterable[DatedNotice]) -> bool:
    return any(
        other_notice.stored != notice.stored and not other_notice.certificates.isdisjoint(notice.certificates)
        for other_notice in notices
    )


def _decide_equally(notice: DatedNotice, other_notice: DatedNotice) -> bool:
    """Return whether two notices reject the same of the items and laws that both decide."""
    shared = notice.rejections.keys() & other_notice.rejections
    return all(notice.rejections[subject] == other_notice.rejections[subject] for subject in shared)


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
    deciding = [
        other_notice
        for other_notice in notices
        if other_notice.stored != notice.stored
        and not other_notice.rejections.keys().isdisjoint(notice.rejections)
    ]
    in_force = max(
        deciding,
        key=lambda other_notice: (
            order_notice(places[other_notice.stored], other_notice.number),
            other_notice.stored,
        ),
        default=None,
    )
    if (
        in_force is not None
        and _is_of_day(in_force, notice)
        and _compare_decisions(notice, in_force, notices) is _DayOrder.UNKNOWN
    ):
        detail = (
            f"it states a day without a time, and nothing says whether it comes after notice "
            f"{in_force.number[:40]} of that day, which decides otherwise: state the time of issue, or name "
            "the certificate that it cancels or issues anew"
        )
        raise GatewayError(ISSUE_TIME_WRONG, detail, "IssuedAt")

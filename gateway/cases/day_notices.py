"""Finds the place of notices that state a day alone among the other notices of that day.

Forms of agencies have a day of issue and no time. As its first instant, the day would come before everything
else of the day: a cancellation before the approval that it cancels. So a certificate's own story decides:

- what cancels a certificate, or issues it anew, comes after its first issue; of several, as the hub stored
  them;
- a certificate of a higher number comes after one of a lower number in the same series (P-10 after P-9);
- a cancellation without a number, or of a decision without one, comes after that decision; a certificate
  that is issued anew comes after a refusal that came before it, if it is not known what else it follows;
- what decides the same comes in the order stored;
- what another notice states of a time after the receipt of this one comes after it.

Nothing else is known: then the notice has no place, and its agency has to state a time. As long as it may be
the last word, one that refuses counts after one that allows, so no goods are released against it. The places
depend on all notices together; so they are computed again for each notice.
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
    it was issued before the hub received it.
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
    received_at: datetime = _UNKNOWN_RECEIPT


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
    before = {
        notice.stored: [
            other_notice
            for other_notice in notices
            if other_notice.stored != notice.stored
            and _is_of_day(other_notice, notice)
            and _counts_after(notice, other_notice, notices)
        ]
        for notice in of_days
    }
    # A second time, for those that come after one further down in this order.
    for notice in (*of_days, *of_days):
        placed = [other_notice for other_notice in before[notice.stored] if other_notice.stored in places]
        places[notice.stored] = _find_place(notice, placed, notices, places)
    return places


def _find_place(
    notice: DatedNotice,
    before: Sequence[DatedNotice],
    notices: Iterable[DatedNotice],
    places: Mapping[int, datetime],
) -> datetime:
    """Return the place of a notice of a day alone behind all that come before it.

    Neither a question nor a cancellation carries it past another notice that refuses what it allows. A later
    approval does.
    """
    steps = [places[other_notice.stored] + _STEP for other_notice in before]
    behind_all = max(steps, default=notice.issued_at)
    behind_grants = max(
        (
            places[other_notice.stored] + _STEP
            for other_notice in before
            if other_notice.rejections and not _rejects_more(other_notice, notice)
        ),
        default=notice.issued_at,
    )
    if behind_grants == behind_all:
        return behind_all
    rows_before = {other_notice.stored for other_notice in before}
    passed = [
        places[other_notice.stored]
        for other_notice in notices
        if other_notice.stored in places
        and other_notice.stored not in rows_before
        and behind_grants <= places[other_notice.stored] <= behind_all
        and _rejects_more(other_notice, notice)
    ]
    if not passed:
        return behind_all
    return max((step for step in steps if step < min(passed)), default=notice.issued_at)


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
    if not notice.rejections or not other_notice.rejections:
        # A question, an inspection, a fee: they come in the order stored.
        return other_notice.stored < notice.stored and not (
            other_notice.rejections and other_notice.states_day
        )
    day_order = _compare_decisions(notice, other_notice, notices)
    return day_order is _DayOrder.AFTER or (
        day_order is _DayOrder.UNKNOWN and _may_refuse(notice, other_notice)
    )


def _compare_decisions(
    notice: DatedNotice, other_notice: DatedNotice, notices: Sequence[DatedNotice]
) -> _DayOrder:
    """Return the place of a deciding notice of a day alone, seen from another one of this day."""
    if notice.rejections.keys().isdisjoint(other_notice.rejections):
        return _DayOrder.BELOW
    is_after = other_notice.stored < notice.stored or (
        not other_notice.states_day and _may_refuse(notice, other_notice)
    )
    in_order_stored = _DayOrder.AFTER if is_after else _DayOrder.BELOW
    has_same_certificate = not notice.certificates.isdisjoint(other_notice.certificates)
    if has_same_certificate or not notice.certificates or not other_notice.certificates:
        if notice.follows != other_notice.follows:
            return _compare_with_issue(notice, other_notice, notices)
        if has_same_certificate or notice.follows:
            return in_order_stored
    else:
        last, other_last = _get_last_number(notice.certificates), _get_last_number(other_notice.certificates)
        if last != other_last and _get_series(last) == _get_series(other_last):
            return _DayOrder.AFTER if last > other_last else _DayOrder.BELOW
        if notice.follows and _names_certificate_of_another(notice, notices):
            return _DayOrder.BELOW
    return in_order_stored if _decide_equally(notice, other_notice) else _DayOrder.UNKNOWN


def _compare_with_issue(
    notice: DatedNotice, other_notice: DatedNotice, notices: Sequence[DatedNotice]
) -> _DayOrder:
    """Return the place of a notice where one of both cancels, or issues anew, and the other one does not."""
    follower, issue = (notice, other_notice) if notice.follows else (other_notice, notice)
    revokes = _rejects_more(follower, issue)
    decide_equally = _decide_equally(notice, other_notice)
    if decide_equally and any(notice.rejections.values()):
        # A cancellation is of an approval.
        return _DayOrder.BELOW
    names_issue = revokes and not follower.certificates.isdisjoint(issue.certificates)
    if names_issue or decide_equally:
        return _DayOrder.AFTER if notice.follows else _DayOrder.BELOW
    follows_other = any(
        each.stored not in (follower.stored, issue.stored) and _may_follow_issue(follower, each)
        for each in notices
    )
    if notice.follows:
        if _is_surely_after(issue, notice):
            return _DayOrder.AFTER if revokes and not follows_other else _DayOrder.BELOW
        is_reissue = issue.stored < notice.stored and not follows_other
        return _DayOrder.AFTER if revokes or is_reissue else _DayOrder.UNKNOWN
    if revokes or (other_notice.states_day and not follows_other):
        return _DayOrder.UNKNOWN if follows_other else _DayOrder.BELOW
    return _DayOrder.UNKNOWN if _may_refuse(notice, other_notice) else _DayOrder.BELOW


def _may_follow_issue(follower: DatedNotice, issue: DatedNotice) -> bool:
    """Return whether a notice may cancel, or issue anew, what another one has granted."""
    shared = follower.rejections.keys() & issue.rejections
    is_grant = not issue.follows and any(not issue.rejections[subject] for subject in shared)
    has_no_number = not follower.certificates or not issue.certificates
    return (
        is_grant
        and (has_no_number or not follower.certificates.isdisjoint(issue.certificates))
        and issue.issued_at < follower.issued_at + (_DAY if follower.states_day else _STEP)
    )


def _rejects_more(notice: DatedNotice, other_notice: DatedNotice) -> bool:
    """Return whether a notice rejects anything that another one allows."""
    shared = notice.rejections.keys() & other_notice.rejections
    return any(notice.rejections[subject] and not other_notice.rejections[subject] for subject in shared)


def _is_surely_after(other_notice: DatedNotice, notice: DatedNotice) -> bool:
    """Return whether another notice states a time after the receipt of one of a day alone."""
    return (
        not other_notice.states_day
        and other_notice.stored > notice.stored
        and other_notice.issued_at > notice.received_at
    )


def _may_refuse(notice: DatedNotice, other_notice: DatedNotice) -> bool:
    """Return whether a notice rejects what another one allows and may come after it: goods are held then."""
    return _rejects_more(notice, other_notice) and not _is_surely_after(other_notice, notice)


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

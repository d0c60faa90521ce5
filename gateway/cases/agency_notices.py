"""The answers of an agency about one application, as values.

An agency answers a call of the hub at once or calls back later. In both cases the answer is an
`AgencyAcknowledgment` (the application has been received) or a `Notice` (its status has changed: information
is requested, an inspection is ordered, a fee is due, items are decided).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from gateway.cases.fees import NamedFee
from gateway.errors import ISSUE_TIME_WRONG, GatewayError
from gateway.wire import check_clear_id

#: Requirement status "supplement requested, with deadline": the call RequestInformation sets it.
INFORMATION_REQUESTED: Final = "D01"


class DecisionCode(StrEnum):
    """The decision on one item under one law."""

    APPROVED = "APPROVED"
    APPROVED_WITH_CONDITIONS = "APPROVED_WITH_CONDITIONS"
    REJECTED = "REJECTED"
    NOT_CONCERNED = "NOT_CONCERNED"  #: The law does not apply to the item; it does not affect the outcome.


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: item sequence number, law code, decision code and the number of the decision.

    `quantity` is in `unit` (UNECE Rec 20 or the agency's own code); `conditions` are sentences
    for human readers.
    """

    item: int
    law: str
    decision: DecisionCode
    number: str | None = None
    date: date | None = None
    quantity: Decimal | None = None
    unit: str | None = None
    conditions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return the text of which stored digests of notices and conclusions are made: it never changes."""
        return (
            f"Decision(item={self.item!r}, law={self.law!r}, decision={self.decision!r}, "
            f"number={self.number!r}, date={self.date!r}, quantity={self.quantity!r}, unit={self.unit!r}, "
            f"conditions={self.conditions!r})"
        )


@dataclass(frozen=True, slots=True)
class AgencyAcknowledgment:
    """The agency has received the application; `receipt_number` is the agency's own number."""

    receipt_number: str


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice of an agency; notices are ordered by issue time and number (`gateway.notice_order`).

    `status_code` is one of the requirement status codes (A00-Z05); `pointers` are the fields about which
    information is requested; `deadline` is the last instant for a supplement, or for a payment;
    `receipt_number` is the agency's own number of the application, where it is stated; `fee` is the fee that
    it states; `valid_until` is the last day of the certificate, if the notice is one. `version` is the line
    of the text that says which correction of the application this is. A notice that is `whole` names no item:
    its decisions are about all items that the hub knew under the agency's number. One that `states_day` alone
    has the first instant of this day as `issued_at` until it has its place (`gateway.cases.day_notices`).
    `counts_at` is the time from which it counts where the hub has chosen that before it is applied.
    `direction` is import or export, where the agency's document says of which declarations it is.
    """

    number: str
    issued_at: datetime
    status_code: str
    decisions: tuple[Decision, ...] = ()
    text: str = ""
    pointers: tuple[str, ...] = ()
    deadline: datetime | None = None
    receipt_number: str | None = None
    fee: NamedFee | None = None
    valid_until: date | None = None
    version: str | None = field(default=None, compare=False)
    whole: bool = field(default=False, compare=False)
    states_day: bool = field(default=False, compare=False)
    counts_at: datetime | None = field(default=None, compare=False)
    direction: str | None = field(default=None, compare=False)


AgencyAnswer = AgencyAcknowledgment | Notice


@dataclass(frozen=True, slots=True)
class AgencyCallback:
    """The answer in an agency's own call, about `application_number` or `requirement_number`."""

    answer: AgencyAnswer
    application_number: str | None = None
    requirement_number: str | None = None


@dataclass(frozen=True, slots=True)
class SignedReply:
    """The signed octets of an agency's answer, and the SHA-256 of the signer's certificate."""

    envelope: bytes = field(default=b"", repr=False)
    signer_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """An agency's answer, and the signed octets that contained it."""

    answer: AgencyAnswer
    reply: SignedReply


def read_subjects(stored_pairs: Iterable[Sequence[object]]) -> list[tuple[int, str]]:
    """Return pairs of item number and law code from pairs as they are stored in JSON."""
    return [(int(str(item)), str(law)) for item, law in stored_pairs]


#: The most characters of a number in the documents of the hub (`xsd/hub/result.xsd`, Name).
MAX_NUMBER_LENGTH: Final = 128
#: The most characters of the code of a law or a unit in `wsdl/hub-agency.wsdl` (Code).
MAX_CODE_LENGTH: Final = 17
_DIGEST_LENGTH: Final = 32


def shorten_number(number: str) -> str:
    """Return a number that the hub made, cut to `MAX_NUMBER_LENGTH` characters.

    The end of a longer number is replaced by a part of the digest of the whole.
    """
    if len(number) <= MAX_NUMBER_LENGTH:
        return number
    digest = hashlib.sha256(number.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{number[: MAX_NUMBER_LENGTH - _DIGEST_LENGTH - 1]}~{digest}"


#: A clock, or a booking, may have the day of another time zone.
_MAX_CLOCK_SKEW: Final = timedelta(days=1)


def is_over_day_ahead(moment: datetime, now: datetime) -> bool:
    """Return whether the time `moment` is more than a day after `now`."""
    return moment > now + _MAX_CLOCK_SKEW


def check_notice_numbers(notice: Notice) -> None:
    """Raise GW404 for a number of a notice, or of one of its decisions, with an invisible character."""
    check_clear_id(notice.number, "NoticeNumber")
    for position, decision in enumerate(notice.decisions, start=1):
        check_clear_id(decision.number or "", f"Decision[{position}]/number")


def check_issue_time(issued_at: datetime, now: datetime) -> None:
    """Raise GW719 for a notice whose time of issue is more than a day ahead.

    One that is less ahead counts from its receipt (`gateway.cases.ahead_notices`).
    """
    if is_over_day_ahead(issued_at, now):
        detail = f"it was issued at {issued_at.isoformat(timespec='seconds')}, which is more than a day ahead"
        raise GatewayError(ISSUE_TIME_WRONG, detail, "IssuedAt")


def check_issued_after_opening(issued_at: datetime, opened_at: datetime) -> None:
    """Raise GW719 for a notice that was issued more than a day before the case that it is about was opened.

    Every other notice would rank above it, so its decisions would never be in force. A day of tolerance
    allows for a slow clock, and for the first instant of a day that a document states without a time.
    """
    if issued_at < opened_at - _MAX_CLOCK_SKEW:
        issued, opened = (moment.isoformat(timespec="seconds") for moment in (issued_at, opened_at))
        detail = f"it was issued at {issued}, which is more than a day before its case was opened ({opened})"
        raise GatewayError(ISSUE_TIME_WRONG, detail, "IssuedAt")

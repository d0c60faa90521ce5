"""The answers of an agency about one application, as values.

An agency answers our call at once or calls back later.  In both cases the answer is an
`AgencyAcknowledgment` (the application has been received) or a `Notice` (its status has
changed: information is requested, an inspection is ordered, a fee is due, items are decided).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from gateway.cases.named_fees import NamedFee

__all__ = [
    "AgencyAcknowledgment",
    "AgencyAnswer",
    "AgencyCallback",
    "Decision",
    "DecisionCode",
    "Notice",
    "SignedReply",
    "read_subjects",
]


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
    """One notice of an agency; notices are ordered by issue time and number.

    `status_code` is one of the requirement status codes (A00-Z05); `pointers` are the fields
    about which information is requested; `deadline` is the last instant for a supplement, or for a
    payment; `receipt_number` is the agency's own number of the application, where it is
    stated; `fee` is what it says of a fee; `valid_until` is the last day of the certificate that it is.
    `former` is what earlier versions of the hub read in the same document, where that was another notice.
    `version` is the line of the text that says which correction of the application this is. A notice that is
    `whole` names no item: its decisions are about all that the hub knew of what its agency says of a number.
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
    former: Notice | None = field(default=None, compare=False)
    version: str | None = field(default=None, compare=False)
    whole: bool = field(default=False, compare=False)


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
    signer: str | None = None


def read_subjects(pairs: Iterable[Sequence[object]]) -> list[tuple[int, str]]:
    """Return stored pairs of an item and a law: the item as a number, the law as its code."""
    return [(int(str(item)), str(law)) for item, law in pairs]

"""What an agency may say about one application, as values.

An agency answers our call at once or calls back later; both ways it says one of two
things: `AgencyAcknowledgment` (it has the application) or a `Notice` (something about it has
changed: information is asked, an inspection is ordered, a fee is due, items are decided).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

__all__ = [
    "AgencyAcknowledgment",
    "AgencyAnswer",
    "AgencyCallback",
    "Decision",
    "DecisionCode",
    "Notice",
    "SignedReply",
]


class DecisionCode(StrEnum):
    """What was decided on one item under one law."""

    APPROVED = "APPROVED"
    APPROVED_WITH_CONDITIONS = "APPROVED_WITH_CONDITIONS"
    REJECTED = "REJECTED"
    NOT_CONCERNED = "NOT_CONCERNED"  #: The law does not apply to the item; neutral.


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: item sequence number, law code, what was decided and under which number.

    `quantity` is in `unit` (UNECE Rec 20 or the agency's own code); `conditions` are
    sentences that a human reads.
    """

    item: int
    law: str
    decision: DecisionCode
    number: str | None = None
    date: date | None = None
    quantity: Decimal | None = None
    unit: str | None = None
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgencyAcknowledgment:
    """The agency has taken the application in; `receipt_number` is its own."""

    receipt_number: str


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice of an agency: its number and time order it among the others.

    `status_code` is one of the requirement status codes (A00-Z05); `pointers` name the
    fields that are asked about; `deadline` is the last instant for a supplement.
    """

    number: str
    issued_at: datetime
    status_code: str
    decisions: tuple[Decision, ...] = ()
    text: str = ""
    pointers: tuple[str, ...] = ()
    deadline: datetime | None = None


AgencyAnswer = AgencyAcknowledgment | Notice


@dataclass(frozen=True, slots=True)
class AgencyCallback:
    """What an agency says in a call of its own, about `application_number` or `requirement_number`."""

    answer: AgencyAnswer
    application_number: str | None = None
    requirement_number: str | None = None


@dataclass(frozen=True, slots=True)
class SignedReply:
    """The signed octets that an agency spoke by, and the SHA-256 of the certificate that signed them."""

    envelope: bytes = field(default=b"", repr=False)
    signer: str | None = None

"""What a check judges: what the suite sent, and what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lxml import etree

from gateway.conformance.standard.message_building import SentMessage
from gateway.conformance.standard.received_message import ReceivedMessage
from gateway.conformance.standard.suite_party import SuiteParty

__all__ = ["Judged"]


@dataclass(frozen=True)
class Judged:
    """What a check judges: what was sent, the HTTP answer, and the message that answers, if there is one.

    `answer` is on the back channel or a callback, whichever came. `others` are what came besides;
    `earlier` has the answers of earlier steps.
    """

    party: SuiteParty
    sent: SentMessage
    http: ReceivedMessage
    answer: ReceivedMessage | None
    others: tuple[ReceivedMessage, ...] = ()
    earlier: Mapping[str, Judged] = field(default_factory=dict)

    @property
    def root(self) -> etree._Element | None:
        """Return the envelope of the answer."""
        return None if self.answer is None else self.answer.root

    def describe_answer(self) -> str:
        """Return what came, in words."""
        if self.answer is None:
            return f"{self.http}, and nothing by POST" if self.http.status is not None else str(self.http)
        return f"{self.answer.way}: {self.answer}"

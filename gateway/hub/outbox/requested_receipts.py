"""Which acknowledgments a message of ours asks for, and whose ends its delivery (ebMS 2.0 §6.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.agreements import PMode
from gateway.message_model import AckRequest
from gateway.protocols import ProtocolContext

__all__ = ["RequestedReceipts", "request_receipts"]


@dataclass(frozen=True, slots=True)
class RequestedReceipts:
    """What is asked of the To party's handler and of the next one; `next_party` is who that is.

    Without `of_receiver` the receipt of the next handler ends the delivery.
    """

    of_receiver: AckRequest | None
    of_next: AckRequest | None
    next_party: str | None

    @property
    def are_any(self) -> bool:
        """Return whether the delivery waits for a receipt at all."""
        return self.of_receiver is not None or self.of_next is not None

    @property
    def hop_parameters(self) -> dict[str, Any]:
        """Return what the delivery keeps about the next handler; empty when it is the To party's."""
        if self.next_party is None:
            return {}
        return {"hop": {"party": self.next_party, "settles": self.of_receiver is None}}


def request_receipts(pmode: PMode, sender: str, receiver: str, context: ProtocolContext) -> RequestedReceipts:
    """Return what a message of the party `sender` to `receiver` asks for.

    The P-Mode says whether the To party's handler or the next one acknowledges. A forwarding rule
    of ours for this To party names the next handler, and may ask it in addition.
    """
    terms = pmode.reliability
    agreed = AckRequest(signed=terms.ack_signed != "never") if terms.ack_requested != "never" else None
    rule = context.forwarding.find_rule(pmode.receiver, pmode.service, pmode.action)
    if rule is not None and sender not in rule.senders:
        rule = None
    if terms.ack_actor == "nextMSH":
        return RequestedReceipts(None, agreed, receiver if rule is None else rule.next_party)
    if rule is None:
        return RequestedReceipts(agreed, None, None)
    hop = None if rule.acknowledgment == "never" else AckRequest(signed=rule.acknowledgment == "signed")
    return RequestedReceipts(agreed, hop, rule.next_party)

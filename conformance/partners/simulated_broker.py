"""A simulated broker: a message handler of the reference client that can misbehave on request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gateway.client import HttpReply, IncomingRequest, Membership, MessageHandler
from gateway.message_model import UserMessage
from gateway.protocols import PROTOCOLS, OpenedMessage, ProtocolContext
from gateway_conformance.partners.misbehavior import Misbehavior, take_misbehavior

_NOTHING: Final = HttpReply(204)
_BUSY: Final = HttpReply(503, "text/plain", b"come again\n", {"Retry-After": "1"})
_GARBAGE: Final = HttpReply(200, "text/xml", b"<soap:Envelope>\xff</nothing>")


class SimulatedBroker(MessageHandler):
    """Accepts POSTs of the hub as a broker does, with misbehaviours of `BROKER_MISBEHAVIORS`."""

    def __init__(self, membership: Membership, folder: Path, mischief: tuple[Misbehavior, ...] = ()) -> None:
        super().__init__(membership, folder)
        self._mischief = mischief

    def __call__(self, request: IncomingRequest) -> HttpReply:
        """Answer one POST, or do not."""
        if take_misbehavior(self._mischief, "silent"):
            return HttpReply(closes_connection=True)
        if take_misbehavior(self._mischief, "busy"):
            return _BUSY
        return super().__call__(request)

    def acknowledge_message(
        self, unit: UserMessage, opened: OpenedMessage, row: Mapping[str, Any], context: ProtocolContext
    ) -> HttpReply:
        """Return the answer to a stored message: late, none, garbage, or with a wrong receipt."""
        slow = take_misbehavior(self._mischief, "slow")
        if slow is not None:
            slow.sleep_seconds()
        if unit.ack_requested is None or take_misbehavior(self._mischief, "no-receipt"):
            return _NOTHING
        if take_misbehavior(self._mischief, "garbage"):
            return _GARBAGE
        if take_misbehavior(self._mischief, "bad-receipt"):
            return self.send_receipt(self._make_bad_receipt(opened, context), opened)
        return super().acknowledge_message(unit, opened, row, context)

    def _make_bad_receipt(self, opened: OpenedMessage, context: ProtocolContext) -> HttpReply:
        core = PROTOCOLS[self.membership.protocol]
        good = core.make_receipt(opened, context)
        references = tuple(
            replace(reference, digest=bytes(reversed(reference.digest))) for reference in good.references
        )
        sealed = core.seal((replace(good, references=references),), opened.pmode, context)
        return HttpReply(200, sealed.get_header("Content-Type"), sealed.read_octets())

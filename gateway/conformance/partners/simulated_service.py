"""What simulated services have in common: journals, a memory of calls, and answers that come late or not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.conformance.partners.http_transport import HttpReply
from gateway.conformance.partners.journal import Journal
from gateway.conformance.partners.misbehavior import Misbehavior
from gateway.conformance.partners.partner_identity import PartnerIdentity
from gateway.conformance.partners.soap_endpoint import SoapEndpoint, VerifiedCall, load_service_description
from gateway.errors import MESSAGE_ID_REUSED, GatewayError
from gateway.wire import WSA

_GARBAGE: Final = b"<html><body>502 proxy \xff\xfe</body>"
_MESSAGE_ID: Final = f"/soap:Envelope/soap:Header/{{{WSA}}}MessageID"


class SimulatedService:
    """A SOAP service on one folder: effects.jsonl and refusals.jsonl outlive the process."""

    def __init__(self, identity: PartnerIdentity, description: str, folder: Path) -> None:
        self.desk = SoapEndpoint(identity, load_service_description(description))
        self._effects = Journal(folder / "effects.jsonl")
        self._refusals = Journal(folder / "refusals.jsonl")
        #: The digest of each call that had its effect, by MessageID, and what it was answered.
        self._known: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def _find_recorded_answer(self, call: VerifiedCall) -> str | None:
        """Return the answer given before; refuse another Body under a MessageID that is taken."""
        known = self._known.get(call.message_id)
        if known is None:
            return None
        digest, answer = known
        if digest != call.sha256:
            raise GatewayError(MESSAGE_ID_REUSED, "another call had this MessageID", _MESSAGE_ID)
        return answer

    @staticmethod
    def _misbehave_late(reply: HttpReply, consume: Callable[[str], Misbehavior | None]) -> HttpReply:
        """Return the answer as misbehaviours leave it, after the call has had its effect."""
        for name in ("slow", "late"):
            waiting = consume(name)
            if waiting is not None:
                waiting.sleep_seconds()
        if consume("lost"):
            return HttpReply(closes=True)
        if consume("garbage"):
            return HttpReply(200, reply.content_type, _GARBAGE)
        return reply

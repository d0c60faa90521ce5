"""Common parts of simulated services: journals, duplicate detection, and late or missing answers."""

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
    """A SOAP service with one folder: effects.jsonl and refusals.jsonl outlive the process."""

    def __init__(self, identity: PartnerIdentity, description: str, folder: Path) -> None:
        self.desk = SoapEndpoint(identity, load_service_description(description))
        self._effects = Journal(folder / "effects.jsonl")
        self._refusals = Journal(folder / "refusals.jsonl")
        #: The digest and the answer of each performed call, by MessageID.
        self._known: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def _find_recorded_answer(self, call: VerifiedCall) -> str | None:
        """Return the recorded answer, or None; raise for another Body with a used MessageID."""
        known = self._known.get(call.message_id)
        if known is None:
            return None
        digest, answer = known
        if digest != call.sha256:
            raise GatewayError(MESSAGE_ID_REUSED, "another call had this MessageID", _MESSAGE_ID)
        return answer

    @staticmethod
    def _misbehave_late(reply: HttpReply, consume: Callable[[str], Misbehavior | None]) -> HttpReply:
        """Return the answer after misbehaviours that apply when the call is already performed."""
        for name in ("slow", "late"):
            waiting = consume(name)
            if waiting is not None:
                waiting.sleep_seconds()
        if consume("lost"):
            return HttpReply(closes=True)
        if consume("garbage"):
            return HttpReply(200, reply.content_type, _GARBAGE)
        return reply

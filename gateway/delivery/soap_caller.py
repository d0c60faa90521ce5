"""Sends a composed call to a partner's SOAP service and returns its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gateway.cases import PartnerAnswer, SignedReply
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.http_client import HttpLimits
from gateway.delivery.known_calls import KnownCalls
from gateway.delivery.service_contracts import ServiceCall, load_contract
from gateway.delivery.soap_client import AnswerPolicy, SignedCall, open_signed_answer, sign_call
from gateway.delivery.wsdl_files import WsdlFile
from gateway.pki import Signer
from gateway.protocols import EnvelopeMemory

__all__ = ["CallSender", "PostedCall", "SoapCaller", "SoapDestination", "compose_service_call"]


@dataclass(frozen=True, slots=True)
class SoapDestination:
    """A partner's service: its WSDL (a name means a shipped one), its configured address, its rules.

    The address in the WSDL is never used, because a WSDL may come from elsewhere. `bounds` are the
    limits of this partner alone; None: those of the HTTP client.
    """

    wsdl: WsdlFile | str
    endpoint: str
    rules: AnswerPolicy
    bounds: HttpLimits | None = None


class CallSender(Protocol):
    """Takes a signed call to its destination and returns the answer: by HTTP, or in process."""

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes, bounds: HttpLimits | None = None
    ) -> HttpAnswer:
        """POST `body`; raises GW601 when no answer arrives in time, GW603 for a malformed one."""


def compose_service_call(destination: SoapDestination, call: ServiceCall) -> bytes:
    """Return the octets to store for `call`: each attempt sends their MessageID and Body."""
    return load_contract(destination.wsdl).compose_envelope(call)


@dataclass(frozen=True, slots=True)
class PostedCall:
    """A call that was made, its destination, and the octets of its answer."""

    call: SignedCall
    answer: HttpAnswer
    destination: SoapDestination


class SoapCaller:
    """Makes attempts: signs, sends, opens the answer; safe to share between threads.

    `signer` returns the key that signs now. `memory` keeps what the envelopes of answers have in common;
    with it, what those of calls have in common is kept, too.
    """

    def __init__(
        self,
        sender: CallSender,
        signer: Callable[[], Signer],
        clock: Callable[[], datetime],
        memory: EnvelopeMemory[Any] | None = None,
    ) -> None:
        self._sender = sender
        self._signer = signer
        self._clock = clock
        self._memory = memory
        self._known_calls = None if memory is None else KnownCalls()

    def post_call(self, envelope: bytes, destination: SoapDestination) -> PostedCall:
        """Make one attempt: sign the stored `envelope` anew and send it; the answer is not looked at."""
        agreed = load_contract(destination.wsdl)
        call = sign_call(
            envelope,
            agreed,
            self._signer(),
            self._clock(),
            destination.rules.limits,
            address=destination.endpoint,
            known=self._known_calls,
        )
        answer = self._sender.post(destination.endpoint, call.headers, call.body, destination.bounds)
        return PostedCall(call, answer, destination)

    def read_answer(self, posted: PostedCall) -> tuple[PartnerAnswer, SignedReply]:
        """Return what was answered, and its signed octets with the digest of the accepted certificate."""
        said, signer = open_signed_answer(
            posted.answer,
            posted.call,
            load_contract(posted.destination.wsdl),
            posted.destination.rules,
            self._clock(),
            self._memory,
        )
        return said, SignedReply(posted.answer.body, signer.sha256)

    def send_call(self, envelope: bytes, destination: SoapDestination) -> PartnerAnswer:
        """Make one attempt and return what the partner answered; raises as `exchange_call` does."""
        return self.exchange_call(envelope, destination)[0]

    def exchange_call(
        self, envelope: bytes, destination: SoapDestination
    ) -> tuple[PartnerAnswer, SignedReply]:
        """Make one attempt: sign the stored `envelope` anew, send it, open the answer.

        Returns the answer and its signed octets, with the digest of the accepted certificate.
        Raises GW601, GW602, GW603 or GW608; all but GW602 may be retried.
        """
        return self.read_answer(self.post_call(envelope, destination))

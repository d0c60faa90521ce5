"""Hands a composed call to a partner's SOAP service and returns what it answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from gateway.cases.notices import Answer
from gateway.delivery.http import HttpBounds, HttpSender
from gateway.delivery.soap_client import AnswerRules, open_answer, seal
from gateway.delivery.soap_contracts import Call, contract
from gateway.delivery.wsdl_files import WsdlFile
from gateway.hub.reply import Spoken
from gateway.pki.certificates import Certificate
from gateway.pki.keys import Signer

__all__ = ["SoapAgent", "SoapDestination", "compose"]


@dataclass(frozen=True, slots=True)
class SoapDestination:
    """A partner's service: its WSDL (shipped when only named), its address from the settings, its rules.

    The address in the WSDL is never used: a WSDL may come from elsewhere, calls go where
    the settings say.  `bounds` are how long and how much of this partner alone, None where they
    are those of the sender.
    """

    wsdl: WsdlFile | str
    endpoint: str
    rules: AnswerRules
    bounds: HttpBounds | None = None


def compose(destination: SoapDestination, call: Call) -> bytes:
    """Return the octets to store for `call`: each attempt sends their MessageID and Body."""
    return contract(destination.wsdl).compose(call)


class SoapAgent:
    """Makes attempts: signs, sends, opens the answer; safe to share between threads.

    `signer` gives the key that signs now.
    """

    def __init__(
        self, sender: HttpSender, signer: Callable[[], Signer], clock: Callable[[], datetime]
    ) -> None:
        self._sender = sender
        self._signer = signer
        self._clock = clock

    def deliver(self, envelope: bytes, destination: SoapDestination) -> Answer:
        """Make one attempt and return what the partner answered; raises as `exchange` does."""
        return self.exchange(envelope, destination)[0]

    def exchange(self, envelope: bytes, destination: SoapDestination) -> tuple[Answer, Spoken]:
        """Make one attempt: sign the stored `envelope` anew, send it, open the answer.

        Returns the answer and what it came in, with whose certificate was believed.
        Raises GW601, GW602 or GW603; the first and the last may be tried again.
        """
        agreed = contract(destination.wsdl)
        call = seal(envelope, agreed, self._signer(), self._clock(), destination.rules.limits)
        answer = self._sender.post(destination.endpoint, call.headers, call.body, destination.bounds)
        believed: list[str] = []

        def judge(certificate: Certificate, at: datetime) -> None:
            destination.rules.judge(certificate, at)
            believed.append(certificate.sha256)

        rules = replace(destination.rules, judge=judge)
        said = open_answer(answer, call, agreed, rules, self._clock())
        return said, Spoken(answer.body, next(iter(believed), None))

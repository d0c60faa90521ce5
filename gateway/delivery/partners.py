"""The partners we call by SOAP: where each is, by which contract, and whose answers count as its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.delivery.agents.soap import SoapDestination, compose
from gateway.delivery.http import HttpBounds
from gateway.delivery.soap_client import AnswerRules
from gateway.delivery.soap_contracts import Attachment, Call
from gateway.delivery.wsdl_files import WsdlFile
from gateway.errors import SETTINGS_WRONG, SIGNER_MISMATCH, GatewayError
from gateway.hub.calls import OutgoingCall
from gateway.pki.certificates import Certificate
from gateway.pki.trust import Judge, Use
from gateway.wire.prescan import DEFAULT_LIMITS, Limits

__all__ = ["Partner", "Partners"]

#: Names the registered party that a certificate (SHA-256) belongs to; None when nobody's.
PartyOf = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Partner:
    """One partner of the settings: WSDL (shipped when only named), address, registered party, habits.

    `bounds` are how long its answers may take; None: as long as anybody's.
    """

    wsdl: WsdlFile | str
    endpoint: str
    party: str
    unsigned_faults: bool = False
    bounds: HttpBounds | None = None


class Partners:
    """The configured partners by destination; composes calls and gives agents their addresses.

    `limits` bound what their answers may bring.
    """

    def __init__(
        self,
        partners: Callable[[], Mapping[str, Partner]],
        judge: Judge,
        party_of: PartyOf,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._partners = partners
        self._judge = judge
        self._party_of = party_of
        self._limits = limits

    def knows(self, destination: str) -> bool:
        """Tell whether the destination is configured."""
        return destination in self._partners()

    def compose(self, call: OutgoingCall) -> bytes:
        """Return the unsigned envelope of a call; raises GW504 when it does not fit the contract."""
        words = Call(
            call.operation,
            call.message_id,
            self._partner(call.destination).endpoint,
            call.arguments,
            call.document,
            tuple(Attachment(one.content_id, one.media_type, one.content) for one in call.attachments),
        )
        return compose(self.destination(call.destination), words)

    def destination(self, name: str) -> SoapDestination:
        """Return where calls to a destination go and how its answers are judged; raises GW801."""
        partner = self._partner(name)
        rules = AnswerRules(
            judge=self._judge_of(partner.party), unsigned_faults=partner.unsigned_faults, limits=self._limits
        )
        return SoapDestination(partner.wsdl, partner.endpoint, rules, partner.bounds)

    def _partner(self, name: str) -> Partner:
        partner = self._partners().get(name)
        if partner is None:
            raise GatewayError(
                SETTINGS_WRONG, f"there is no address for {name[:40]!r}", f"agency.{name[:40]}"
            )
        return partner

    def _judge_of(self, party: str) -> Callable[[Certificate, datetime], None]:
        def judge(certificate: Certificate, at: datetime) -> None:
            owner = self._party_of(certificate.sha256)
            if owner != party:
                detail = f"{certificate.subject[:120]} does not sign for {party}"
                raise GatewayError(SIGNER_MISMATCH, detail, "wsse:BinarySecurityToken")
            self._judge(certificate.der, Use.SIGNING, at).demand("wsse:BinarySecurityToken")

        return judge

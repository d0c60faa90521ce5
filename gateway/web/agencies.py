"""What the SOAP service does with a verified call of an agency: the hub's reply."""

from __future__ import annotations

from datetime import datetime

from gateway.cases.notices import CallBack
from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.hub.hub import Hub
from gateway.hub.reply import Spoken, call_back
from gateway.hub.trust.clients import Claim, check_client
from gateway.pki.certificates import Certificate
from gateway.pki.trust import Use
from gateway.web.guard import Caller, SoapSecurity

__all__ = ["HubHandler", "security_of"]

_TOKEN = "/soap:Envelope/soap:Header/wsse:Security/wsse:BinarySecurityToken"  # noqa: S105


class HubHandler:
    """Hands what agencies say to the hub; the party that signed is the agency that speaks."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def _call_back(self, said: CallBack, caller: Caller) -> None:
        call_back(self._hub, caller.party, said, Spoken(caller.envelope, caller.certificate.sha256))

    def acknowledge(self, said: CallBack, caller: Caller) -> None:
        """Take note that the agency has an application, under its receipt number."""
        self._call_back(said, caller)

    def request_information(self, said: CallBack, caller: Caller) -> None:
        """Take a request for a supplement."""
        self._call_back(said, caller)

    def submit_decision(self, said: CallBack, caller: Caller) -> None:
        """Take a notice: decisions, or another state of the request."""
        self._call_back(said, caller)


def security_of(hub: Hub, addresses: tuple[str, ...] = ()) -> SoapSecurity:
    """Return what the guard asks of the world, answered by the hub's register."""

    def admit(certificate: Certificate, at: datetime) -> str:
        # A suspension must end the next call: the register is looked at, not the copy.
        party = hub.refresh().party_of(certificate.sha256, at)
        if party is None:
            raise GatewayError(
                SIGNER_MISMATCH, f"{certificate.subject[:120]} belongs to no active party", _TOKEN
            )
        hub.judge(certificate.der, Use.SIGNING, at).demand(_TOKEN)
        return party

    def admit_client(party: str, shown: str | None, at: datetime) -> None:
        check_client(hub, Claim(party, shown), hub.knowledge(), at)

    return SoapSecurity(
        signer=lambda: hub.signer,
        admit=admit,
        clock=hub.clock,
        new_id=lambda: f"urn:uuid:{hub.new_uuid()}",
        addresses=addresses,
        limits=hub.limits,
        admit_client=admit_client,
    )

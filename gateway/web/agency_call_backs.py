"""What the SOAP service does with a verified call of an agency: the hub's reply."""

from __future__ import annotations

from datetime import datetime

from gateway.cases import AgencyCallback, SignedReply
from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.hub import ConnectionClaim, Hub, apply_call_back, check_client_certificate
from gateway.pki import Certificate, CertificateUse
from gateway.web.soap_security import Caller, SoapSecurityPolicy

__all__ = ["HubCallBackHandler", "build_soap_security"]

_TOKEN = "/soap:Envelope/soap:Header/wsse:Security/wsse:BinarySecurityToken"  # noqa: S105


class HubCallBackHandler:
    """Hands what agencies say to the hub; the party that signed is the agency that speaks."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def _apply_call_back(self, said: AgencyCallback, caller: Caller) -> None:
        apply_call_back(
            self._hub, caller.party, said, SignedReply(caller.envelope, caller.certificate.sha256)
        )

    def acknowledge(self, said: AgencyCallback, caller: Caller) -> None:
        """Take note that the agency has an application, under its receipt number."""
        self._apply_call_back(said, caller)

    def request_information(self, said: AgencyCallback, caller: Caller) -> None:
        """Take a request for a supplement."""
        self._apply_call_back(said, caller)

    def submit_decision(self, said: AgencyCallback, caller: Caller) -> None:
        """Take a notice: decisions, or another state of the request."""
        self._apply_call_back(said, caller)


def build_soap_security(hub: Hub, addresses: tuple[str, ...] = ()) -> SoapSecurityPolicy:
    """Return what the guard asks of the world, answered by the hub's register."""

    def admit_signer(certificate: Certificate, at: datetime) -> str:
        # A suspension must end the next call: the register is looked at, not the copy.
        party = hub.refresh_snapshot().find_certificate_party(certificate.sha256, at)
        if party is None:
            raise GatewayError(
                SIGNER_MISMATCH, f"{certificate.subject[:120]} belongs to no active party", _TOKEN
            )
        hub.judge(certificate.der, CertificateUse.SIGNING, at).raise_unless_accepted(_TOKEN)
        return party

    def admit_connection(party: str, shown: str | None, at: datetime) -> None:
        check_client_certificate(hub, ConnectionClaim(party, shown), hub.get_snapshot(), at)

    return SoapSecurityPolicy(
        signer=lambda: hub.signer,
        admit=admit_signer,
        clock=hub.clock,
        new_id=lambda: f"urn:uuid:{hub.new_uuid()}",
        addresses=addresses,
        limits=hub.limits,
        admit_client=admit_connection,
    )

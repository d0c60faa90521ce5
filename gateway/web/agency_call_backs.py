"""Applies a verified SOAP call of an agency to the hub."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from lxml import etree

from gateway.cases import AgencyCallback, SignedReply
from gateway.errors import SIGNER_MISMATCH, GatewayError
from gateway.hub import (
    CallBackWitness,
    ConnectionClaim,
    Hub,
    apply_agency_document,
    apply_call_back,
    check_client_certificate,
)
from gateway.pki import Certificate, CertificateUse
from gateway.web.replay_cache import choose_replay_cache
from gateway.web.server import Environ
from gateway.web.soap_security import Caller, SoapSecurityPolicy

__all__ = ["HubCallBackHandler", "build_soap_security"]

_TOKEN = "/soap:Envelope/soap:Header/wsse:Security/wsse:BinarySecurityToken"  # noqa: S105


class HubCallBackHandler:
    """Gives agency calls to the hub; the party that signed a call is the agency that it comes from.

    `find_witness` returns, for the act of an officer at the console, what is done in the transaction of
    the call before it changes anything.
    """

    def __init__(self, hub: Hub, find_witness: Callable[[Caller], CallBackWitness] | None = None) -> None:
        self._hub = hub
        self._find_witness = find_witness

    def _apply_call_back(self, said: AgencyCallback, caller: Caller) -> None:
        apply_call_back(self._hub, caller.party, said, *self._list_proofs(caller))

    def _list_proofs(self, caller: Caller) -> tuple[SignedReply, CallBackWitness | None]:
        witness = None if self._find_witness is None else self._find_witness(caller)
        return SignedReply(caller.envelope, caller.certificate.sha256), witness

    def acknowledge(self, said: AgencyCallback, caller: Caller) -> None:
        """Record that the agency has an application, with its receipt number."""
        self._apply_call_back(said, caller)

    def request_information(self, said: AgencyCallback, caller: Caller) -> None:
        """Apply a request for a supplement."""
        self._apply_call_back(said, caller)

    def submit_decision(self, said: AgencyCallback, caller: Caller) -> None:
        """Apply a notice: decisions, or another state of the request."""
        self._apply_call_back(said, caller)

    def deliver_notice(self, document: etree._Element, caller: Caller) -> None:
        """Apply a document of the agency's own form."""
        apply_agency_document(self._hub, caller.party, document, *self._list_proofs(caller))


def build_soap_security(
    hub: Hub, addresses: tuple[str, ...] = (), find_address: Callable[[Environ], str] | None = None
) -> SoapSecurityPolicy:
    """Return the security policy of the SOAP service, based on the hub's register."""

    def admit_signer(certificate: Certificate, at: datetime) -> str:
        # A suspension must take effect at the next call, so the snapshot is refreshed.
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
        memory=choose_replay_cache(hub.engine),
        new_id=lambda: f"urn:uuid:{hub.new_uuid()}",
        addresses=addresses,
        find_address=find_address,
        limits=hub.limits,
        admit_client=admit_connection,
        tell_refusal=hub.tally.count_refusal,
        envelopes=hub.envelopes,
    )

"""Holds the partners that are called by SOAP: endpoint, contract, and accepted signer of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gateway.delivery.drafted_calls import compose_draft, compose_from_draft
from gateway.delivery.http_client import HttpLimits
from gateway.delivery.service_contracts import CallAttachment, ServiceCall, ServiceContract, load_contract
from gateway.delivery.soap_caller import SoapDestination
from gateway.delivery.soap_client import AnswerPolicy
from gateway.delivery.wsdl_files import WsdlFile
from gateway.errors import NO_ADDRESS, SIGNER_MISMATCH, GatewayError
from gateway.hub import CUSTOMS, OutgoingCall
from gateway.pki import Certificate, CertificateUse, CertificateValidator
from gateway.wire import DEFAULT_LIMITS, WireLimits

__all__ = ["PartnerDirectory", "PartnerService"]

#: Returns the registered party of a certificate (SHA-256); None when it has none.
PartyOf = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class PartnerService:
    """One partner of the settings: WSDL (a name means a shipped one), address, registered party, options.

    `bounds` limit the time of its answers; None: the limits of the HTTP client. With `console` it has no
    system: its officers decide at the console. With `payment_notices` it is told which fees were paid.
    """

    wsdl: WsdlFile | str
    endpoint: str
    party: str
    unsigned_faults: bool = False
    bounds: HttpLimits | None = None
    console: bool = False
    payment_notices: bool = False


class PartnerDirectory:
    """The configured partners by destination; composes calls and gives agents their destinations.

    `limits` are the wire limits of their answers. `find_wsdl` returns the WSDL by which calls to an
    agency without an address are composed; these calls wait in the queue.
    """

    def __init__(
        self,
        partners: Callable[[], Mapping[str, PartnerService]],
        judge: CertificateValidator,
        party_of: PartyOf,
        limits: WireLimits = DEFAULT_LIMITS,
        find_wsdl: Callable[[str], WsdlFile | str] | None = None,
    ) -> None:
        self._partners = partners
        self._judge = judge
        self._party_of = party_of
        self._limits = limits
        self._find_wsdl = find_wsdl
        #: The last destination of each partner that was called, with the settings that it was made of.
        self._destinations: dict[str, tuple[PartnerService, SoapDestination]] = {}

    def has_destination(self, destination: str) -> bool:
        """Return whether the destination is configured."""
        return destination in self._partners()

    def is_at_console(self, destination: str) -> bool:
        """Return whether a destination has no system, by the settings: its calls rest in the mailbox."""
        partner = self._partners().get(destination)
        return partner is not None and partner.console

    def wants_payments(self, destination: str) -> bool:
        """Return whether an agency wants to be told that a fee was paid, by the settings."""
        partner = self._partners().get(destination)
        return partner is not None and partner.payment_notices

    def compose_call(self, call: OutgoingCall) -> bytes:
        """Return the unsigned envelope of a call; raises GW504 when it does not fit the contract.

        The envelope for an agency without an address names none: each attempt adds it. Raises GW607
        where nobody has agreed to the agency's WSDL yet, and for customs.
        """
        partner = self._partners().get(call.destination)
        words = _make_service_call(call, partner.endpoint if partner is not None else None)
        if partner is not None:
            return load_contract(partner.wsdl).compose_envelope(words)
        return self._load_expected_contract(call.destination).compose_envelope(words)

    def compose_draft(self, call: OutgoingCall) -> bytes:
        """Return the draft of a call to an agency: by the WSDL that takes every document."""
        return compose_draft(_make_service_call(call, None))

    def compose_drafted_call(self, draft: bytes, destination: str) -> bytes:
        """Return the envelope of a drafted call; GW720 where it does not fit, GW607 without address."""
        return compose_from_draft(draft, self.resolve_destination(destination))

    def _load_expected_contract(self, name: str) -> ServiceContract:
        if self._find_wsdl is None or name == CUSTOMS:
            raise _make_address_problem(name)
        try:
            return load_contract(self._find_wsdl(name))
        except GatewayError as problem:
            raise _make_address_problem(name) from problem

    def resolve_destination(self, name: str) -> SoapDestination:
        """Return the destination of calls and the policy for its answers; raises GW607 without address."""
        partner = self._partners().get(name)
        if partner is None:
            raise _make_address_problem(name)
        known = self._destinations.get(name)
        if known is None or known[0] is not partner:
            known = self._destinations[name] = (partner, self._make_destination(partner))
        return known[1]

    def _make_destination(self, partner: PartnerService) -> SoapDestination:
        rules = AnswerPolicy(
            judge=self._build_signer_check(partner.party),
            unsigned_faults=partner.unsigned_faults,
            limits=self._limits,
        )
        return SoapDestination(partner.wsdl, partner.endpoint, rules, partner.bounds)

    def _build_signer_check(self, party: str) -> Callable[[Certificate, datetime], None]:
        def check_partner_signer(certificate: Certificate, at: datetime) -> None:
            owner = self._party_of(certificate.sha256)
            if owner != party:
                detail = f"{certificate.subject[:120]} does not sign for {party}"
                raise GatewayError(SIGNER_MISMATCH, detail, "wsse:BinarySecurityToken")
            self._judge(certificate.der, CertificateUse.SIGNING, at).raise_unless_accepted(
                "wsse:BinarySecurityToken"
            )

        return check_partner_signer


def _make_service_call(call: OutgoingCall, to: str | None) -> ServiceCall:
    files = tuple(CallAttachment(one.content_id, one.media_type, one.content) for one in call.attachments)
    return ServiceCall(call.operation, call.message_id, to, call.arguments, call.document, files, call.scope)


def _make_address_problem(name: str) -> GatewayError:
    place = "customs.endpoint" if name == CUSTOMS else f"agency.{name[:40]}.endpoint"
    return GatewayError(NO_ADDRESS, f"there is no address for {name[:40]}", place)

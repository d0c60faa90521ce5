"""Holds the partners that are called by SOAP: endpoint, contract, and accepted signer of each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from gateway.config import AgencySettings, CustomsSettings, Settings
from gateway.delivery.attempt_outcome import RetryPlan
from gateway.delivery.http_client import HttpLimits
from gateway.delivery.service_contracts import (
    CallAttachment,
    ServiceCall,
    ServiceContract,
    WsdlFile,
    has_wsdl_file,
    load_contract,
)
from gateway.delivery.soap_client import AnswerPolicy, SoapDestination
from gateway.delivery.stored_calls import compose_draft, compose_from_draft
from gateway.errors import NO_ADDRESS, SIGNER_MISMATCH, GatewayError, find_resource_problem
from gateway.hub import CUSTOMS, ComposedEnvelope, OutgoingCall
from gateway.pki import Certificate, CertificateUse, CertificateValidator
from gateway.wire import DEFAULT_LIMITS, WireLimits

#: Returns the registered party of a certificate (SHA-256); None when it has none.
PartyOf = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class PartnerService:
    """One partner of the settings: WSDL (a name means a shipped one), address, registered party, options.

    `bounds` limit the time of its answers; None means the limits of the HTTP client. With `console` it has no
    system: its officers decide at the console. With `payment_notices` the hub notifies it of paid fees.
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
        """Return whether the hub notifies an agency of paid fees, by the settings."""
        partner = self._partners().get(destination)
        return partner is not None and partner.payment_notices

    def compose_call(self, call: OutgoingCall) -> ComposedEnvelope:
        """Return the unsigned envelope of a call; raises GW504 when it does not fit the contract.

        The envelope for an agency without an address has no address: each attempt adds it. Raises GW607 for
        customs without settings, and for an agency without settings whose WSDL is not agreed.
        """
        partner = self._partners().get(call.destination)
        service_call = _make_service_call(call, partner.endpoint if partner is not None else None)
        if partner is not None:
            contract = load_contract(partner.wsdl)
        else:
            contract = self._load_expected_contract(call.destination)
        return ComposedEnvelope(contract.compose_envelope(service_call), contract.sha256)

    def compose_draft(self, call: OutgoingCall) -> bytes:
        """Return the draft of a call to an agency: by the WSDL that takes every document."""
        return compose_draft(_make_service_call(call, None))

    def compose_drafted_call(self, draft: bytes, operation: str, destination: str) -> ComposedEnvelope:
        """Return the envelope of a drafted call; GW720 where it does not fit, GW607 without address."""
        return compose_from_draft(draft, operation, self.resolve_destination(destination))

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
        cached = self._destinations.get(name)
        if cached is None or cached[0] is not partner:
            cached = self._destinations[name] = (partner, self._make_destination(partner))
        return cached[1]

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
    files = tuple(
        CallAttachment(attachment.content_id, attachment.media_type, attachment.content)
        for attachment in call.attachments
    )
    return ServiceCall(call.operation, call.message_id, to, call.arguments, call.document, files, call.scope)


def _make_address_problem(name: str) -> GatewayError:
    key = "customs.endpoint" if name == CUSTOMS else f"agency.{name[:40]}.endpoint"
    return GatewayError(NO_ADDRESS, f"there is no address for {name[:40]}", key)


_log = logging.getLogger(__name__)
_TEMPLATE = "agency-template.wsdl"
#: The address of an agency that decides at the console, in the calls to it.
_CONSOLE = "urn:single-window:console:"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The settings file, and the function that reads it."""

    path: Path
    read: Callable[[], Settings]

    def get_file_state(self) -> tuple[int, int]:
        """Return a value that changes with the file; zeros while the file does not exist."""
        try:
            status = self.path.stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)


class PartnerSettings:
    """The partners and retry plans of the current settings; safe for many threads.

    `changed` is called with new settings before any call uses them.
    """

    def __init__(
        self,
        settings: Settings,
        file: SettingsFile | None = None,
        changed: Callable[[Settings], None] = lambda _settings: None,
    ) -> None:
        self._file = file
        self._changed = changed
        self._stamp = file.get_file_state() if file else (0, 0)
        #: The state of the file of which the log has said that it cannot be used.
        self._refused: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._settings = settings
        self._partners_and_plans = (build_partners(settings), build_retry_plans(settings))

    def get_settings(self) -> Settings:
        """Return the current settings, as far as they concern partners."""
        self._get_current_settings()
        return self._settings

    def get_partners(self) -> Mapping[str, PartnerService]:
        """Return the partners that are called over SOAP, by destination."""
        return self._get_current_settings()[0]

    def get_retry_plans(self) -> Mapping[str, RetryPlan]:
        """Return the retry plan of each partner."""
        return self._get_current_settings()[1]

    def _get_current_settings(self) -> tuple[Mapping[str, PartnerService], Mapping[str, RetryPlan]]:
        file = self._file
        if file is not None and file.get_file_state() != self._stamp:
            with self._lock:
                stamp = file.get_file_state()
                if stamp != self._stamp:
                    problem = self._reload_file(file)
                    if problem is not None and stamp != self._refused:
                        self._refused = stamp
                        _log.error(
                            "%s has changed and cannot be used, the partners stay as they were: %s",
                            file.path,
                            problem,
                        )
                    # Without a database the same file is read again.
                    if problem is None or find_resource_problem(problem) is None:
                        self._stamp = stamp
        return self._partners_and_plans

    def _reload_file(self, file: SettingsFile) -> GatewayError | None:
        """Use the settings of the changed file; return the problem where they cannot be used."""
        try:
            settings = file.read()
            self._changed(settings)
        except GatewayError as problem:
            return problem
        self._settings = settings
        self._partners_and_plans = (build_partners(settings), build_retry_plans(settings))
        _log.warning("%s has changed: the partners are read again", file.path)
        return None


def build_partners(settings: Settings) -> dict[str, PartnerService]:
    """Return the partners that are called over SOAP, by destination."""
    partners = {
        code: _build_partner(code, agency, _name_own_wsdl(settings, code))
        for code, agency in settings.agency.items()
        if agency.console or (agency.channel == "soap" and agency.endpoint)
    }
    if settings.customs.endpoint:
        wsdl = WsdlFile("customs.wsdl", None, settings.share.folders, "customs.wsdl_sha256")
        partners[CUSTOMS] = _build_partner(CUSTOMS, settings.customs, wsdl)
    return partners


def find_expected_wsdl(settings: Settings, agency: str) -> WsdlFile:
    """Return the WSDL that an agency without settings will have when it gets an endpoint."""
    wsdl = _name_own_wsdl(settings, agency)
    return wsdl if has_wsdl_file(wsdl) else replace(wsdl, name=_TEMPLATE)


def _name_own_wsdl(settings: Settings, agency: str) -> WsdlFile:
    return WsdlFile(f"agencies/{agency}.wsdl", None, settings.share.folders, f"agency.{agency}.wsdl_sha256")


def _build_partner(name: str, called: AgencySettings | CustomsSettings, wsdl: WsdlFile) -> PartnerService:
    """Return a partner; its WSDL is the configured one, else its own file if it exists, else the template."""
    chosen = called.wsdl or (wsdl.name if has_wsdl_file(wsdl) else _TEMPLATE)
    frozen = replace(wsdl, name=chosen, sha256=called.wsdl_sha256)
    console = isinstance(called, AgencySettings) and called.console
    return PartnerService(
        frozen,
        f"{_CONSOLE}{name}" if console else called.endpoint or "",
        called.get_party(name),
        bounds=HttpLimits.from_time_out(called.time_out),
        console=console,
        payment_notices=isinstance(called, AgencySettings) and called.payment_notices and not console,
    )


def build_retry_plans(settings: Settings) -> dict[str, RetryPlan]:
    """Return the retry plan of each partner: its own where the settings have one."""
    delivery = settings.delivery
    usual = RetryPlan(delivery.retries, delivery.first_retry, delivery.longest_retry)
    called: dict[str, AgencySettings | CustomsSettings] = {**settings.agency, CUSTOMS: settings.customs}
    return {
        name: RetryPlan(
            usual.retries if partner.retries is None else partner.retries,
            partner.first_retry or usual.first,
            usual.ceiling,
        )
        for name, partner in called.items()
    }

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
    has_shipped_digest,
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
FindParty = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class PartnerService:
    """One partner of the settings: WSDL (a name means a shipped one), address, registered party, options.

    `http_limits` limit the time of its answers; None means the limits of the HTTP client. With
    `is_at_console` it has no system: its officers decide at the console. With `has_payment_notices` the hub
    notifies it of paid fees.
    """

    wsdl: WsdlFile | str
    endpoint: str
    party: str
    accepts_unsigned_faults: bool = False
    http_limits: HttpLimits | None = None
    is_at_console: bool = False
    has_payment_notices: bool = False


class PartnerDirectory:
    """The configured partners by destination; composes calls and gives agents their destinations.

    `limits` are the wire limits of their answers. `find_wsdl` returns the WSDL by which calls to an
    agency without an address are composed; these calls wait in the queue.
    """

    def __init__(
        self,
        partners: Callable[[], Mapping[str, PartnerService]],
        validate_certificate: CertificateValidator,
        find_party: FindParty,
        limits: WireLimits = DEFAULT_LIMITS,
        find_wsdl: Callable[[str], WsdlFile | str] | None = None,
    ) -> None:
        self._partners = partners
        self._validate_certificate = validate_certificate
        self._find_party = find_party
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
        return partner is not None and partner.is_at_console

    def wants_payments(self, destination: str) -> bool:
        """Return whether the hub notifies an agency of paid fees, by the settings."""
        partner = self._partners().get(destination)
        return partner is not None and partner.has_payment_notices

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

    def _load_expected_contract(self, destination: str) -> ServiceContract:
        """Return the agreed contract of an agency without settings; raise GW607 if there is none."""
        if self._find_wsdl is None or destination == CUSTOMS:
            raise _make_no_address_error(destination)
        try:
            return load_contract(self._find_wsdl(destination))
        except GatewayError as problem:
            raise _make_no_address_error(destination) from problem

    def resolve_destination(self, partner_name: str) -> SoapDestination:
        """Return the destination of calls and the policy for its answers; raises GW607 without address."""
        partner = self._partners().get(partner_name)
        if partner is None:
            raise _make_no_address_error(partner_name)
        cached_destination = self._destinations.get(partner_name)
        if cached_destination is None or cached_destination[0] is not partner:
            cached_destination = self._destinations[partner_name] = (partner, self._make_destination(partner))
        return cached_destination[1]

    def _make_destination(self, partner: PartnerService) -> SoapDestination:
        rules = AnswerPolicy(
            check_signer=self._build_signer_check(partner.party),
            accepts_unsigned_faults=partner.accepts_unsigned_faults,
            limits=self._limits,
        )
        return SoapDestination(partner.wsdl, partner.endpoint, rules, partner.http_limits)

    def _build_signer_check(self, party_name: str) -> Callable[[Certificate, datetime], None]:
        """Return a function that raises GW209 unless a certificate is of this party.

        It raises the problem of the validation for a certificate that is not valid.
        """

        def check_partner_signer(certificate: Certificate, at: datetime) -> None:
            owner = self._find_party(certificate.sha256)
            if owner != party_name:
                detail = f"{certificate.subject[:120]} does not sign for {party_name}"
                raise GatewayError(SIGNER_MISMATCH, detail, "wsse:BinarySecurityToken")
            self._validate_certificate(certificate.der, CertificateUse.SIGNING, at).raise_unless_accepted(
                "wsse:BinarySecurityToken"
            )

        return check_partner_signer


def _make_service_call(call: OutgoingCall, address: str | None) -> ServiceCall:
    attachments = tuple(
        CallAttachment(attachment.content_id, attachment.media_type, attachment.content)
        for attachment in call.attachments
    )
    return ServiceCall(
        call.operation, call.message_id, address, call.arguments, call.document, attachments, call.scope
    )


def _make_no_address_error(destination: str) -> GatewayError:
    setting_name = "customs.endpoint" if destination == CUSTOMS else f"agency.{destination[:40]}.endpoint"
    return GatewayError(NO_ADDRESS, f"there is no address for {destination[:40]}", setting_name)


_log = logging.getLogger(__name__)
_TEMPLATE_WSDL = "agency-template.wsdl"
#: The address of an agency that decides at the console, in the calls to it.
_CONSOLE_ADDRESS_PREFIX = "urn:single-window:console:"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The settings file, and the function that reads it."""

    path: Path
    read: Callable[[], Settings]

    def get_file_state(self) -> tuple[int, int]:
        """Return a value that changes with the file; zeros while the file does not exist."""
        try:
            file_status = self.path.stat()
        except OSError:
            return (0, 0)
        return (file_status.st_mtime_ns, file_status.st_size)


class PartnerSettings:
    """The partners and retry plans of the current settings; safe for many threads.

    `changed` is called with new settings before any call uses them.
    """

    def __init__(
        self,
        settings: Settings,
        settings_file: SettingsFile | None = None,
        apply_changes: Callable[[Settings], None] = lambda _settings: None,
    ) -> None:
        self._file = settings_file
        self._apply_changes = apply_changes
        self._file_state = settings_file.get_file_state() if settings_file else (0, 0)
        #: The state of the file of which the log has said that it cannot be used.
        self._reported_state: tuple[int, int] | None = None
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
        """Return the partners and their retry plans; first read the settings file again if it has changed.

        Settings that cannot be used are logged once, and change nothing.
        """
        settings_file = self._file
        if settings_file is not None and settings_file.get_file_state() != self._file_state:
            with self._lock:
                file_state = settings_file.get_file_state()
                if file_state != self._file_state:
                    problem = self._reload_file(settings_file)
                    if problem is not None and file_state != self._reported_state:
                        self._reported_state = file_state
                        _log.error(
                            "%s has changed and cannot be used, the partners stay as they were: %s",
                            settings_file.path,
                            problem,
                        )
                    # Without a database the same file is read again.
                    if problem is None or find_resource_problem(problem) is None:
                        self._file_state = file_state
        return self._partners_and_plans

    def _reload_file(self, settings_file: SettingsFile) -> GatewayError | None:
        """Use the settings of the changed file; return the problem where they cannot be used."""
        try:
            settings = settings_file.read()
            partners = build_partners(settings)
            # As at the start: a node that lacks the WSDL of an agency must not use up the tries of its calls.
            for partner in partners.values():
                load_contract(partner.wsdl)
            self._apply_changes(settings)
        except GatewayError as problem:
            return problem
        self._settings = settings
        self._partners_and_plans = (partners, build_retry_plans(settings))
        _log.warning("%s has changed: the partners are read again", settings_file.path)
        return None


def build_partners(settings: Settings) -> dict[str, PartnerService]:
    """Return the partners that are called over SOAP, by destination."""
    partners = {
        agency_code: _build_partner(agency_code, agency, _make_own_wsdl_file(settings, agency_code))
        for agency_code, agency in settings.agency.items()
        if agency.console or (agency.channel == "soap" and agency.endpoint)
    }
    if settings.customs.endpoint:
        wsdl = WsdlFile("customs.wsdl", None, settings.share.folders, "customs.wsdl_sha256")
        partners[CUSTOMS] = _build_partner(CUSTOMS, settings.customs, wsdl)
    return partners


def find_expected_wsdl(settings: Settings, agency: str) -> WsdlFile:
    """Return the WSDL that an agency without settings will have when it gets an endpoint."""
    wsdl = _make_own_wsdl_file(settings, agency)
    return wsdl if has_wsdl_file(wsdl) else replace(wsdl, relative_path=_TEMPLATE_WSDL)


def _make_own_wsdl_file(settings: Settings, agency: str) -> WsdlFile:
    return WsdlFile(f"agencies/{agency}.wsdl", None, settings.share.folders, f"agency.{agency}.wsdl_sha256")


def _build_partner(
    destination: str, partner_settings: AgencySettings | CustomsSettings, wsdl: WsdlFile
) -> PartnerService:
    """Return a partner; its WSDL is the configured one, else its own file if it exists, else the template."""
    sha256 = partner_settings.wsdl_sha256
    # Where another one than the template is agreed, a node without its file must not use the template.
    has_own_wsdl = has_wsdl_file(wsdl) or (
        sha256 is not None and not has_shipped_digest(_TEMPLATE_WSDL, sha256)
    )
    wsdl_name = partner_settings.wsdl or (wsdl.relative_path if has_own_wsdl else _TEMPLATE_WSDL)
    wsdl_file = replace(wsdl, relative_path=wsdl_name, sha256=sha256)
    is_at_console = isinstance(partner_settings, AgencySettings) and partner_settings.console
    return PartnerService(
        wsdl_file,
        f"{_CONSOLE_ADDRESS_PREFIX}{destination}" if is_at_console else partner_settings.endpoint or "",
        partner_settings.get_party(destination),
        http_limits=HttpLimits.from_time_out(partner_settings.time_out),
        is_at_console=is_at_console,
        has_payment_notices=isinstance(partner_settings, AgencySettings)
        and partner_settings.payment_notices
        and not is_at_console,
    )


def build_retry_plans(settings: Settings) -> dict[str, RetryPlan]:
    """Return the retry plan of each partner: its own where the settings have one."""
    delivery = settings.delivery
    default_plan = RetryPlan(delivery.retries, delivery.first_retry, delivery.longest_retry)
    partner_settings: dict[str, AgencySettings | CustomsSettings] = {
        **settings.agency,
        CUSTOMS: settings.customs,
    }
    return {
        name: RetryPlan(
            default_plan.max_retries if partner.retries is None else partner.retries,
            partner.first_retry or default_plan.first_delay,
            default_plan.max_delay,
        )
        for name, partner in partner_settings.items()
    }

"""Reloads the partners when the settings file changes: a new agency needs no restart.

The file's state is checked when a partner is requested, and the file is read again when it has
changed. A file that cannot be read changes nothing: the partners stay, and the reason is logged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.config import AgencySettings, CustomsSettings, Settings
from gateway.delivery.attempt_outcome import RetryPlan
from gateway.delivery.http_client import HttpLimits
from gateway.delivery.partner_directory import PartnerService
from gateway.delivery.wsdl_files import WsdlFile, has_wsdl_file
from gateway.errors import GatewayError
from gateway.hub import CUSTOMS

__all__ = ["PartnerSettings", "SettingsFile", "build_partners", "build_retry_plans", "find_expected_wsdl"]

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
            found = self.path.stat()
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_size)


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
        self._lock = threading.Lock()
        self._settings = settings
        self._known = (build_partners(settings), build_retry_plans(settings))

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
                    self._reload_file(file)
                    self._stamp = stamp
        return self._known

    def _reload_file(self, file: SettingsFile) -> None:
        try:
            settings = file.read()
            self._changed(settings)
        except GatewayError as problem:
            _log.error(
                "%s has changed and cannot be used, the partners stay as they were: %s", file.path, problem
            )
            return
        self._settings = settings
        self._known = (build_partners(settings), build_retry_plans(settings))
        _log.warning("%s has changed: the partners are read again", file.path)


def build_partners(settings: Settings) -> dict[str, PartnerService]:
    """Return the partners that are called over SOAP, by destination."""
    found = {
        code: _build_partner(code, agency, _name_own_wsdl(settings, code))
        for code, agency in settings.agency.items()
        if agency.console or (agency.channel == "soap" and agency.endpoint)
    }
    if settings.customs.endpoint:
        own = WsdlFile("customs.wsdl", None, settings.share.folders, "customs.wsdl_sha256")
        found[CUSTOMS] = _build_partner(CUSTOMS, settings.customs, own)
    return found


def find_expected_wsdl(settings: Settings, agency: str) -> WsdlFile:
    """Return the WSDL of an agency that is not in the settings: what it has when it gets an endpoint."""
    own = _name_own_wsdl(settings, agency)
    return own if has_wsdl_file(own) else replace(own, name=_TEMPLATE)


def _name_own_wsdl(settings: Settings, agency: str) -> WsdlFile:
    return WsdlFile(f"agencies/{agency}.wsdl", None, settings.share.folders, f"agency.{agency}.wsdl_sha256")


def _build_partner(name: str, called: AgencySettings | CustomsSettings, own: WsdlFile) -> PartnerService:
    """Return a partner; its WSDL is the configured one, else its own file if it exists, else the template."""
    chosen = called.wsdl or (own.name if has_wsdl_file(own) else _TEMPLATE)
    frozen = replace(own, name=chosen, sha256=called.wsdl_sha256)
    console = isinstance(called, AgencySettings) and called.console
    return PartnerService(
        frozen,
        f"{_CONSOLE}{name}" if console else called.endpoint or "",
        called.party or name,
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
            usual.retries if one.retries is None else one.retries,
            one.first_retry or usual.first,
            usual.ceiling,
        )
        for name, one in called.items()
    }

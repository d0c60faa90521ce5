"""Partners as the settings file names them now: a new agency needs no restart.

The file is looked at when a partner is asked for, and read again when it has changed.  A
file that cannot be read changes nothing: the partners stay, and the log says why.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.config import Agency, Customs, Settings
from gateway.delivery.http import HttpBounds
from gateway.delivery.partners import Partner
from gateway.delivery.retry import RetryPlan
from gateway.delivery.wsdl_files import WsdlFile, is_there
from gateway.errors import GatewayError
from gateway.hub.calls import CUSTOMS

__all__ = ["SettingsFile", "WatchedPartners", "partners_of", "plans_of"]

_log = logging.getLogger(__name__)
_TEMPLATE = "agency-template.wsdl"


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """The file that the settings came from, and how it is read."""

    path: Path
    read: Callable[[], Settings]

    def stamp(self) -> tuple[int, int]:
        """Return what changes with the file; zeros while it is not there."""
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_size)


class WatchedPartners:
    """Who is called and how often is tried, as the settings say now; safe for many threads.

    `changed` is told of new settings before anybody is called by them.
    """

    def __init__(
        self,
        settings: Settings,
        file: SettingsFile | None = None,
        changed: Callable[[Settings], None] = lambda _settings: None,
    ) -> None:
        self._file = file
        self._changed = changed
        self._stamp = file.stamp() if file else (0, 0)
        self._lock = threading.Lock()
        self._known = (partners_of(settings), plans_of(settings))

    def partners(self) -> Mapping[str, Partner]:
        """Return the partners that are called over SOAP, by destination."""
        return self._current()[0]

    def plans(self) -> Mapping[str, RetryPlan]:
        """Return the retry plan of each partner."""
        return self._current()[1]

    def _current(self) -> tuple[Mapping[str, Partner], Mapping[str, RetryPlan]]:
        file = self._file
        if file is not None and file.stamp() != self._stamp:
            with self._lock:
                stamp = file.stamp()
                if stamp != self._stamp:
                    self._reload(file)
                    self._stamp = stamp
        return self._known

    def _reload(self, file: SettingsFile) -> None:
        try:
            settings = file.read()
            self._changed(settings)
        except GatewayError as problem:
            _log.error(
                "%s has changed and cannot be used, the partners stay as they were: %s", file.path, problem
            )
            return
        self._known = (partners_of(settings), plans_of(settings))
        _log.warning("%s has changed: the partners are read again", file.path)


def partners_of(settings: Settings) -> dict[str, Partner]:
    """Return the partners that are called over SOAP, by destination."""
    folders = settings.share.folders
    found = {
        code: _partner(
            code, agency, WsdlFile(f"agencies/{code}.wsdl", None, folders, f"agency.{code}.wsdl_sha256")
        )
        for code, agency in settings.agency.items()
        if agency.channel == "soap" and agency.endpoint
    }
    if settings.customs.endpoint:
        own = WsdlFile("customs.wsdl", None, folders, "customs.wsdl_sha256")
        found[CUSTOMS] = _partner(CUSTOMS, settings.customs, own)
    return found


def _partner(name: str, called: Agency | Customs, own: WsdlFile) -> Partner:
    """Return a partner; its WSDL is the one named, else its own where there is one, else the template."""
    chosen = called.wsdl or (own.name if is_there(own) else _TEMPLATE)
    frozen = replace(own, name=chosen, sha256=called.wsdl_sha256)
    return Partner(frozen, called.endpoint or "", called.party or name, bounds=HttpBounds.of(called.time_out))


def plans_of(settings: Settings) -> dict[str, RetryPlan]:
    """Return the plan of each partner: its own where the settings say so."""
    delivery = settings.delivery
    usual = RetryPlan(delivery.retries, delivery.first_retry, delivery.longest_retry)
    called: dict[str, Agency | Customs] = {**settings.agency, CUSTOMS: settings.customs}
    return {
        name: RetryPlan(
            usual.retries if one.retries is None else one.retries,
            one.first_retry or usual.first,
            usual.ceiling,
        )
        for name, one in called.items()
    }

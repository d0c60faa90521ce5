"""The keys that the hub keeps for agencies whose officers decide at the console."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from gateway.config import Settings
from gateway.hub.trust.signing_keys import load_agency_signer
from gateway.pki import Signer

__all__ = ["AgencyKeys"]


class AgencyKeys:
    """The keys of agencies, each loaded at its first use and again when its settings change.

    `read_settings` returns the current settings. Safe for many threads.
    """

    def __init__(self, read_settings: Callable[[], Settings]) -> None:
        self._read_settings = read_settings
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[Any, Signer]] = {}

    def get_signer(self, agency: str) -> Signer:
        """Return the key of an agency; raises GW803 when the settings have none, or it cannot be read."""
        settings = self._read_settings()
        section = settings.agency.get(agency)
        known = self._loaded.get(agency)
        if section is not None and known is not None and known[0] == section.pki:
            return known[1]
        with self._lock:
            signer = load_agency_signer(settings, agency)
            assert section is not None
            self._loaded[agency] = (section.pki, signer)
        return signer

    def has_key(self, agency: str) -> bool:
        """Return whether the settings name a key of an agency."""
        section = self._read_settings().agency.get(agency)
        return section is not None and section.pki.names_key

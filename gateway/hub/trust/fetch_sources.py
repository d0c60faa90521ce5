"""Reads from the settings the sources of revocation data and trusted lists, with their certificates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.config import FetchSettings, Settings
from gateway.errors import SETTINGS_WRONG, GatewayError
from gateway.pki import Certificate, read_certificate

__all__ = ["AGENT", "FetchSource", "list_source_certificates", "read_fetch_sources"]

#: The delivery agent that fetches.
AGENT: Final = "fetch"


@dataclass(frozen=True, slots=True)
class FetchSource:
    """One address, what is fetched there, and who must sign it; see :class:`FetchSettings`."""

    name: str
    settings: FetchSettings
    issuer: Certificate | None
    responder: Certificate | None

    @property
    def lane(self) -> str:
        """The lane of its fetches; one fetch of a lane runs at a time."""
        return f"fetch:{self.settings.lane or self.name}"

    @property
    def url(self) -> str:
        """The address that is fetched."""
        return self.settings.url or ""


def read_fetch_sources(settings: Settings) -> dict[str, FetchSource]:
    """Return the sources by name; raises GW801 naming a certificate that cannot be read."""
    return {name: _read_fetch_source(name, source) for name, source in settings.fetch.items()}


def list_source_certificates(sources: Mapping[str, FetchSource]) -> tuple[Certificate, ...]:
    """Return the certificates of issuers and responders, each once."""
    found = (one for source in sources.values() for one in (source.issuer, source.responder) if one)
    return tuple(dict.fromkeys(found))


def _read_fetch_source(name: str, source: FetchSettings) -> FetchSource:
    issuer = _read_source_certificate(source.issuer, f"fetch.{name}.issuer")
    return FetchSource(
        name, source, issuer, _read_source_certificate(source.responder, f"fetch.{name}.responder")
    )


def _read_source_certificate(path: Path | None, key: str) -> Certificate | None:
    if path is None:
        return None
    try:
        return read_certificate(path.read_bytes())
    except OSError as error:
        raise GatewayError(SETTINGS_WRONG, f"{path} cannot be read: {error.strerror}", key) from None
    except GatewayError as wrong:
        raise GatewayError(SETTINGS_WRONG, f"{path}: {wrong.detail}", key) from None

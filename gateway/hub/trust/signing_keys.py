"""Loads the keys the hub signs with from the settings: the current key, and the one that takes over."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gateway.config import AgencyKeySettings, NextKeySettings, PkiSettings, Settings
from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki import Signer, TokenKeyLocation, TokenSigner, is_pkcs12_file, load_signer, read_certificate

__all__ = [
    "NextSigningKey",
    "load_agency_signer",
    "load_hub_signer",
    "load_next_signing_key",
    "read_key_file",
]


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NextSigningKey:
    """The key with which a hub signs from `starts` on, in place of the key before."""

    signer: Signer
    starts: datetime


def load_hub_signer(settings: Settings) -> Signer:
    """Return the hub's own signer; raises GW803 when the key or certificate is missing.

    A token is not contacted yet: it may be unavailable now and available for the first signature.
    """
    return _load_section_signer(settings.pki, "pki")


def load_next_signing_key(settings: Settings) -> NextSigningKey | None:
    """Return the key that takes over, None when there is none; raises as `load_hub_signer` does."""
    pki = settings.pki.next
    return (
        NextSigningKey(_load_section_signer(pki, "pki.next"), pki.starts) if pki.starts is not None else None
    )


def _load_section_signer(pki: PkiSettings | NextKeySettings | AgencyKeySettings, where: str) -> Signer:
    token = pki.token
    if token.module is not None and token.pin is not None:
        place = TokenKeyLocation(str(token.module), token.label, token.key)
        certificate = read_certificate(_read_signing_certificate(pki, where))
        return TokenSigner(place, certificate, token.pin.read, time.monotonic, _log_key_state)
    key = pki.signing_key.read() if pki.signing_key else b""
    password = pki.signing_password.read().rstrip(b"\r\n") if pki.signing_password else None
    if is_pkcs12_file(key):
        return load_signer(key, None, password)
    return load_signer(key, _read_signing_certificate(pki, where), password)


def load_agency_signer(settings: Settings, agency: str) -> Signer:
    """Return the key that the hub keeps for an agency; raises GW803 when there is none."""
    section = settings.agency.get(agency)
    where = f"agency.{agency[:40]}.pki"
    if section is None or not section.pki.names_key:
        detail = f"the settings have no key of {agency[:40]}, with which the acts of its officers are signed"
        raise GatewayError(KEY_UNAVAILABLE, detail, f"{where}.signing_key")
    return _load_section_signer(section.pki, where)


def _read_signing_certificate(pki: PkiSettings | NextKeySettings | AgencyKeySettings, where: str) -> bytes:
    if pki.signing_certificate is None:
        raise GatewayError(KEY_UNAVAILABLE, "a key without a certificate", f"{where}.signing_certificate")
    return read_key_file(pki.signing_certificate, f"{where}.signing_certificate")


def _log_key_state(problem: GatewayError | None) -> None:
    if problem is not None:
        _log.error("nothing is signed until the key is back: %s", problem)
    else:
        _log.warning("the key is back: signing goes on")


def read_key_file(path: Path, key: str) -> bytes:
    """Return the octets of a key file or certificate file; raises GW803 naming the setting `key`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(KEY_UNAVAILABLE, f"{path} cannot be read: {error.strerror}", key) from None

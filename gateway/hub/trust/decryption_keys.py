"""Loads the keys that decrypt payloads from the settings."""

from __future__ import annotations

import logging
import time

from gateway.config import DecryptionKeySettings, Settings
from gateway.errors import GatewayError
from gateway.hub.trust.signing_keys import read_key_file
from gateway.pki import (
    DecryptionKey,
    TokenDecryptionKey,
    TokenKeyLocation,
    load_decryption_key,
    read_certificate,
)

__all__ = ["load_decryption_keys"]

_log = logging.getLogger(__name__)


def load_decryption_keys(settings: Settings) -> tuple[DecryptionKey, ...]:
    """Return the decryption keys, as the settings order them; raise GW803 naming the bad section.

    A token is not contacted yet: it may be unavailable now and available for the first message.
    """
    return tuple(
        _load_section_key(section, f"decryption.{name[:40]}") for name, section in settings.decryption.items()
    )


def _load_section_key(section: DecryptionKeySettings, where: str) -> DecryptionKey:
    certificate = None
    if section.certificate is not None:
        certificate = read_key_file(section.certificate, f"{where}.certificate")
    token = section.token
    if token.module is not None and token.pin is not None:
        place = TokenKeyLocation(str(token.module), token.label, token.key)
        found = read_certificate(certificate or b"")
        return TokenDecryptionKey(place, found, token.pin.read, time.monotonic, _log_key_state)
    try:
        password = section.password.read().rstrip(b"\r\n") if section.password else None
        key = section.key.read() if section.key else b""
        return load_decryption_key(key, certificate, password)
    except GatewayError as refused:
        raise GatewayError(refused.problem, refused.detail, f"{where}.key") from refused


def _log_key_state(problem: GatewayError | None) -> None:
    if problem is not None:
        _log.error("nothing is decrypted until the key is back: %s", problem)
    else:
        _log.warning("the key that decrypts is back")

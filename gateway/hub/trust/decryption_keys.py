"""Loads the keys that decrypt payloads from the settings."""

from __future__ import annotations

from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub.trust.signing_keys import read_key_file
from gateway.pki import RsaDecryptionKey, load_decryption_key

__all__ = ["load_decryption_keys"]


def load_decryption_keys(settings: Settings) -> tuple[RsaDecryptionKey, ...]:
    """Return the decryption keys, as the settings order them; raise GW803 naming the bad section."""
    found = []
    for name, section in settings.decryption.items():
        where = f"decryption.{name[:40]}"
        certificate = None
        if section.certificate is not None:
            certificate = read_key_file(section.certificate, f"{where}.certificate")
        password = section.password.read().rstrip(b"\r\n") if section.password else None
        try:
            key = section.key.read() if section.key else b""
            found.append(load_decryption_key(key, certificate, password))
        except GatewayError as refused:
            raise GatewayError(refused.problem, refused.detail, f"{where}.key") from refused
    return tuple(found)

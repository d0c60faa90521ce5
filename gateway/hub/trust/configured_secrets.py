"""Loads the secrets that the settings name: keys to sign and decrypt with, passwords for pulling.

For each signing key there is the current key, and the key that replaces it later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from gateway.config import (
    AgencyKeySettings,
    DecryptionKeySettings,
    NextKeySettings,
    PkiSettings,
    PullerSettings,
    ReloadedValue,
    Settings,
)
from gateway.errors import KEY_UNAVAILABLE, SETTINGS_WRONG, GatewayError
from gateway.pki import (
    Certificate,
    DecryptionKey,
    Signer,
    TokenDecryptionKey,
    TokenKeyLocation,
    TokenSigner,
    is_pkcs12_file,
    load_decryption_key,
    load_signer,
    read_certificate,
)

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


def _load_section_signer(pki: PkiSettings | NextKeySettings | AgencyKeySettings, section_path: str) -> Signer:
    """Return the signer that a settings section names: a PKCS#11 token, a PKCS#12 file, or a key file.

    `section_path` is the path of the section, for errors. Raises GW803 or GW205.
    """
    token = pki.token
    if token.module is not None and token.pin is not None:
        key_location = TokenKeyLocation(str(token.module), token.label, token.key)
        certificate = read_certificate(_read_signing_certificate(pki, section_path))
        return TokenSigner(key_location, certificate, token.pin.read, time.monotonic, _log_key_state)
    key = pki.signing_key.read() if pki.signing_key else b""
    password = pki.signing_password.read().rstrip(b"\r\n") if pki.signing_password else None
    if is_pkcs12_file(key):
        return load_signer(key, None, password)
    return load_signer(key, _read_signing_certificate(pki, section_path), password)


def load_agency_signer(settings: Settings, agency: str) -> Signer:
    """Return the key that the hub keeps for an agency; raises GW803 when there is none."""
    section = settings.agency.get(agency)
    section_path = f"agency.{agency[:40]}.pki"
    if section is None or not section.pki.names_key:
        detail = f"the settings have no key of {agency[:40]}, with which the acts of its officers are signed"
        raise GatewayError(KEY_UNAVAILABLE, detail, f"{section_path}.signing_key")
    return _load_section_signer(section.pki, section_path)


def _read_signing_certificate(
    pki: PkiSettings | NextKeySettings | AgencyKeySettings, section_path: str
) -> bytes:
    """Return the signing certificate of a section (DER); raise GW803 if none is set."""
    if pki.signing_certificate is None:
        raise GatewayError(
            KEY_UNAVAILABLE, "a key without a certificate", f"{section_path}.signing_certificate"
        )
    return read_certificate_file(pki.signing_certificate, f"{section_path}.signing_certificate").der


def _log_key_state(problem: GatewayError | None) -> None:
    if problem is not None:
        _log.error("nothing is signed until the key is back: %s", problem)
    else:
        _log.warning("the key is back: signing goes on")


def read_certificate_file(path: Path, setting_name: str) -> Certificate:
    """Return the one certificate in a file; raises GW803 or GW205 naming the file and `setting_name`."""
    octets = read_key_file(path, setting_name)
    try:
        return read_certificate(octets)
    except GatewayError as wrong:
        raise GatewayError(wrong.problem, f"{path}: {wrong.detail}", setting_name) from wrong


def read_key_file(path: Path, setting_name: str) -> bytes:
    """Return the octets of a key file or certificate file; raises GW803 naming the setting `setting_name`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise GatewayError(
            KEY_UNAVAILABLE, f"{path} cannot be read: {error.strerror}", setting_name
        ) from None


def load_decryption_keys(settings: Settings) -> tuple[DecryptionKey, ...]:
    """Return the decryption keys, as the settings order them; raise GW803 naming the bad section.

    A token is not contacted yet: it may be unavailable now and available for the first message.
    """
    return tuple(
        _load_section_key(section, f"decryption.{name[:40]}") for name, section in settings.decryption.items()
    )


def _load_section_key(section: DecryptionKeySettings, section_path: str) -> DecryptionKey:
    """Return the decryption key that a settings section names, of a PKCS#11 token or a file.

    Errors name a setting below `section_path`.
    """
    certificate = None
    if section.certificate is not None:
        certificate = read_certificate_file(section.certificate, f"{section_path}.certificate").der
    token = section.token
    if token.module is not None and token.pin is not None:
        key_location = TokenKeyLocation(str(token.module), token.label, token.key)
        token_certificate = read_certificate(certificate or b"")
        return TokenDecryptionKey(
            key_location, token_certificate, token.pin.read, time.monotonic, _log_decryption_key_state
        )
    try:
        password = section.password.read().rstrip(b"\r\n") if section.password else None
        key = section.key.read() if section.key else b""
        return load_decryption_key(key, certificate, password)
    except GatewayError as refused:
        raise GatewayError(refused.problem, refused.detail, f"{section_path}.key") from refused


def _log_decryption_key_state(problem: GatewayError | None) -> None:
    if problem is not None:
        _log.error("nothing is decrypted until the key is back: %s", problem)
    else:
        _log.warning("the key that decrypts is back")


class AgencyKeys:
    """The keys of agencies, each loaded at its first use and again when its settings change.

    `read_settings` returns the current settings. Safe for many threads.
    """

    def __init__(self, read_settings: Callable[[], Settings]) -> None:
        self._read_settings = read_settings
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[Any, Signer]] = {}

    def get_party(self, agency: str) -> str:
        """Return the party of an agency in the register, as the settings say."""
        section = self._read_settings().agency.get(agency)
        return agency if section is None else section.get_party(agency)

    def get_signer(self, agency: str) -> Signer:
        """Return the key of an agency; raises GW803 when the settings have none, or it cannot be read."""
        settings = self._read_settings()
        section = settings.agency.get(agency)
        loaded = self._loaded.get(agency)
        if section is not None and loaded is not None and loaded[0] == section.pki:
            return loaded[1]
        with self._lock:
            signer = load_agency_signer(settings, agency)
            assert section is not None
            self._loaded[agency] = (section.pki, signer)
        return signer


#: The digest of the profile is a fast hash: a short password is guessed from one recorded request.
_MIN_PASSWORD_OCTETS: Final = 16


class PullLogins:
    """The logins of the settings by name; a password file that changes is read again."""

    def __init__(self, sections: Mapping[str, PullerSettings] | None = None) -> None:
        self._logins: dict[str, tuple[str, ReloadedValue[bytes]]] = {}
        for party, section in (sections or {}).items():
            name = section.name or party
            if name in self._logins:
                raise GatewayError(SETTINGS_WRONG, "two parties have this name", f"puller.{party[:60]}.name")
            self._logins[name] = (party, _read_password(party, section))

    def find_login(self, name: str) -> tuple[str, bytes] | None:
        """Return the party and the password of a name; None for a name that is not in the settings."""
        login = self._logins.get(name)
        return None if login is None else (login[0], login[1]())


def _read_password(party: str, section: PullerSettings) -> ReloadedValue[bytes]:
    """Return the password of a party that pulls, read again when its file changes.

    Reading raises GW801 for a password that is too short.
    """
    secret = section.password
    assert secret is not None, "the settings check it"

    def read_password() -> bytes:
        password = secret.read().rstrip(b"\r\n")
        if len(password) < _MIN_PASSWORD_OCTETS:
            detail = f"the password has {len(password)} octets, fewer than {_MIN_PASSWORD_OCTETS}"
            raise GatewayError(SETTINGS_WRONG, detail, f"puller.{party[:60]}.password")
        return password

    return ReloadedValue((secret.file,) if secret.file is not None else (), read_password)

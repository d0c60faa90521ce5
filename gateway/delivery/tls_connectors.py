"""The settings of each host that is called: trust and certificate for TLS, and the login."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from cryptography import x509

from gateway.config import ReloadedValue, TlsSettings, get_key_file
from gateway.errors import CERTIFICATE_REVOKED, SETTINGS_WRONG, GatewayError
from gateway.pki import (
    DEFAULT_POLICY,
    PATH_RULES,
    CertificateUse,
    RevocationData,
    TlsIdentity,
    TrustPolicy,
    TrustStore,
    get_verified_chain,
    make_client_context,
    normalize_name,
    read_certificate,
    validate_path,
)

#: The section of every host that has no section of its own.
_ANY_HOST: Final = "*"
#: 0 where OpenSSL is older than 3.
_IGNORE_UNSIGNED_END: Final = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
#: The handshake has already verified path, name, time and use.
_REVOCATION_ONLY_POLICY: Final = replace(DEFAULT_POLICY, revocation="if_present", certificates=PATH_RULES)

#: Returns the loaded revocation data, and the time.
LoadedRevocations = Callable[[], tuple[RevocationData, datetime]]


class TlsConnector(Protocol):
    """Performs the client handshake on a connection."""

    def wrap_connection(self, connection: socket.socket, host: str, port: int) -> ssl.SSLSocket:
        """Return the connection over TLS; raises OSError when the server is not verified as `host`."""

    def get_revocations(self) -> RevocationData | None:
        """Return the data by which a server is verified now, a new object when they change; None without."""


class SingleContextConnector:
    """The same context for every host; with the authorities of the operating system unless one is given."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context

    def wrap_connection(self, connection: socket.socket, host: str, port: int) -> ssl.SSLSocket:
        """Return the connection over TLS."""
        del port
        if self._context is None:
            self._context = make_client_context()
        return _perform_handshake(self._context, connection, host)

    def get_revocations(self) -> None:
        """Return None: no revocation data are read."""


class PerHostConnector:
    """The TLS settings of each host; files that change are read again."""

    def __init__(self, sections: Mapping[str, TlsSettings], get_revocations: LoadedRevocations) -> None:
        self._contexts = {
            host.lower(): _build_host_context(host, section) for host, section in sections.items()
        }
        self._default_connector = SingleContextConnector()
        self._get_revocations = get_revocations

    def wrap_connection(self, connection: socket.socket, host: str, port: int) -> ssl.SSLSocket:
        """Return the connection over TLS; raises when the server's certificate is revoked."""
        host_text = f"[{host}]" if ":" in host else host
        candidates = (f"{host_text}:{port}".lower(), host_text.lower(), host.lower(), _ANY_HOST)
        make_context = next((self._contexts[name] for name in candidates if name in self._contexts), None)
        if make_context is None:
            tls_connection = self._default_connector.wrap_connection(connection, host, port)
        else:
            tls_connection = _perform_handshake(make_context(), connection, host)
        try:
            _check_revocation(get_verified_chain(tls_connection), *self._get_revocations())
        except BaseException:
            tls_connection.close()
            raise
        return tls_connection

    def get_revocations(self) -> RevocationData:
        """Return the revocation data that are loaded now."""
        return self._get_revocations()[0]


def _build_host_context(host: str, section: TlsSettings) -> ReloadedValue[ssl.SSLContext]:
    """Return the TLS context of a host, which is made again when one of its files changes."""
    identity, files = None, section.anchors
    if section.certificate is not None and section.key is not None:
        key = get_key_file(section.key, f"tls.{host[:60]}.key")
        password = section.password.read().rstrip(b"\r\n") if section.password else None
        identity = TlsIdentity(section.certificate, key, password)
        files = (*files, identity.certificate, identity.key)
    return ReloadedValue(files, lambda: make_client_context(section.anchors, identity))


def _perform_handshake(context: ssl.SSLContext, connection: socket.socket, host: str) -> ssl.SSLSocket:
    # An unsigned end of stream may be a truncation: an answer without a length is then rejected. Python
    # before 3.11.3 lets OpenSSL 3 take it for a signed one.
    context.options &= ~_IGNORE_UNSIGNED_END
    return context.wrap_socket(connection, server_hostname=host, suppress_ragged_eofs=False)


def _check_revocation(chain: tuple[bytes, ...], revocations: RevocationData, at: datetime) -> None:
    """Raise for a server whose certificate, or one above it, is revoked by a loaded list."""
    policy: TrustPolicy = _REVOCATION_ONLY_POLICY
    try:
        leaf, *issuers = (read_certificate(der, PATH_RULES) for der in chain)
    except GatewayError:
        _check_serial_numbers(chain, revocations)
        return
    trust = TrustStore(tuple(issuers[-1:]) or (leaf,), tuple(issuers[:-1]), policy)
    verdict = validate_path(leaf, at, CertificateUse.TLS_SERVER, trust, revocations)
    if verdict.problem is CERTIFICATE_REVOKED:
        raise ssl.SSLCertVerificationError(f"certificate verify failed: {verdict.reason[:150]}")


def _check_serial_numbers(chain: tuple[bytes, ...], revocations: RevocationData) -> None:
    """Raise for a certificate revoked by a list of its issuer's name; used when strict parsing fails."""
    for der in chain:
        try:
            certificate = x509.load_der_x509_certificate(der)
            issuer_name = normalize_name(certificate.issuer.public_bytes())
        except ValueError as error:
            raise ssl.SSLCertVerificationError(f"certificate verify failed: unreadable: {error}") from None
        entries = (
            each.find_entry(issuer_name, certificate.serial_number)
            for each in revocations.find_lists(issuer_name)
        )
        if any(entry is not None and not entry.is_released for entry in entries):
            raise ssl.SSLCertVerificationError("certificate verify failed: a list names it as revoked")


class HostLogins:
    """The logins of the settings, by host; a password file that changes is read again."""

    def __init__(self, sections: Mapping[str, TlsSettings]) -> None:
        self._authorizations = {
            host.lower(): _build_authorization(host, section)
            for host, section in sections.items()
            if section.login is not None
        }

    def find_authorization(self, host: str, port: int) -> str | None:
        """Return the value of ``Authorization`` for a host; None where the hub has no login."""
        host_text = f"[{host}]" if ":" in host else host
        candidates = (f"{host_text}:{port}".lower(), host_text.lower(), host.lower())
        make_authorization = next(
            (self._authorizations[name] for name in candidates if name in self._authorizations), None
        )
        return None if make_authorization is None else make_authorization()


def _build_authorization(host: str, section: TlsSettings) -> ReloadedValue[str]:
    """Return the value of ``Authorization`` (Basic) for a host, made again when the password file changes."""
    secret = section.login_password
    assert secret is not None, "the settings check it"

    def make_authorization() -> str:
        password = secret.read().rstrip(b"\r\n")
        if not password or any(octet < 32 or octet == 127 for octet in password):
            detail = "a password must be one line without control characters"
            raise GatewayError(SETTINGS_WRONG, detail, f"tls.{host[:60]}.login_password")
        login_octets = (section.login or "").encode() + b":" + password
        return "Basic " + base64.b64encode(login_octets).decode("ascii")

    return ReloadedValue((secret.file,) if secret.file is not None else (), make_authorization)

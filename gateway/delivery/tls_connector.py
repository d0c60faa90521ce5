"""Makes TLS client connections with the anchors and the client identity that the settings give each host.

Nothing is sent before the server has shown a certificate for its name, issued by an authority that
the settings trust for it. A certificate that a loaded revocation list names is rejected.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from cryptography import x509

from gateway.config import ReloadedValue, TlsSettings, get_key_file
from gateway.errors import CERTIFICATE_REVOKED, GatewayError
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

__all__ = ["PerHostConnector", "SingleContextConnector", "TlsConnector"]

#: The section of every host that has no section of its own.
_EVERY: Final = "*"
#: 0 where OpenSSL is older than 3.
_IGNORE_UNSIGNED_END: Final = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
#: The handshake has already verified path, name, time and use.
_LISTS_ONLY: Final = replace(DEFAULT_POLICY, revocation="if_present", certificates=PATH_RULES)

#: Returns the loaded revocation data, and the time.
LoadedRevocations = Callable[[], tuple[RevocationData, datetime]]


class TlsConnector(Protocol):
    """Performs the client handshake on a connection."""

    def wrap_connection(self, connection: socket.socket, host: str, port: int) -> ssl.SSLSocket:
        """Return the connection over TLS; raises OSError when the server is not verified as `host`."""


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


class PerHostConnector:
    """The TLS settings of each host; files that change are read again."""

    def __init__(self, sections: Mapping[str, TlsSettings], in_hand: LoadedRevocations) -> None:
        self._contexts = {
            name.lower(): _build_host_context(name, section) for name, section in sections.items()
        }
        self._otherwise = SingleContextConnector()
        self._in_hand = in_hand

    def wrap_connection(self, connection: socket.socket, host: str, port: int) -> ssl.SSLSocket:
        """Return the connection over TLS; raises when the server's certificate is revoked."""
        shown = f"[{host}]" if ":" in host else host
        named = (f"{shown}:{port}".lower(), shown.lower(), host.lower(), _EVERY)
        found = next((self._contexts[name] for name in named if name in self._contexts), None)
        if found is None:
            shaken = self._otherwise.wrap_connection(connection, host, port)
        else:
            shaken = _perform_handshake(found(), connection, host)
        try:
            _check_revocation(get_verified_chain(shaken), *self._in_hand())
        except BaseException:
            shaken.close()
            raise
        return shaken


def _build_host_context(name: str, section: TlsSettings) -> ReloadedValue[ssl.SSLContext]:
    identity, files = None, section.anchors
    if section.certificate is not None and section.key is not None:
        key = get_key_file(section.key, f"tls.{name[:60]}.key")
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
    rules: TrustPolicy = _LISTS_ONLY
    try:
        leaf, *above = (read_certificate(der, PATH_RULES) for der in chain)
    except GatewayError:
        _check_serial_numbers(chain, revocations)
        return
    trust = TrustStore(tuple(above[-1:]) or (leaf,), tuple(above[:-1]), rules)
    verdict = validate_path(leaf, at, CertificateUse.TLS_SERVER, trust, revocations)
    if verdict.problem is CERTIFICATE_REVOKED:
        raise ssl.SSLCertVerificationError(f"certificate verify failed: {verdict.reason[:150]}")


def _check_serial_numbers(chain: tuple[bytes, ...], revocations: RevocationData) -> None:
    """Raise for a certificate revoked by a list of its issuer's name; used when strict parsing fails."""
    for der in chain:
        try:
            one = x509.load_der_x509_certificate(der)
            issuer = normalize_name(one.issuer.public_bytes())
        except ValueError as error:
            raise ssl.SSLCertVerificationError(f"certificate verify failed: unreadable: {error}") from None
        said = (each.find_entry(issuer, one.serial_number) for each in revocations.find_lists(issuer))
        if any(entry is not None and not entry.released for entry in said):
            raise ssl.SSLCertVerificationError("certificate verify failed: a list names it as revoked")

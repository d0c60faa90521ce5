"""How we call over TLS: for each host whom we believe to be it, and what we show of ourselves.

Nothing is sent before the other end has shown a certificate for its name, of an authority that the
settings believe for it.  Revocation lists in hand are heeded: a certificate they name is refused.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from cryptography import x509

from gateway.config import Settings, key_file
from gateway.config.tls import Tls
from gateway.config.watched import Watched
from gateway.errors import CERTIFICATE_REVOKED, GatewayError
from gateway.hub.hub import Hub
from gateway.pki.certificates import PATH_RULES, read_certificate
from gateway.pki.names import name_key
from gateway.pki.revocation import Revocations
from gateway.pki.transport import Identity, client_context, verified_chain
from gateway.pki.trust import DEFAULT_POLICY, TrustPolicy, TrustStore, Use, validate_path

__all__ = ["Callings", "OneContext", "Shaking", "callings_of"]

#: The section of every host that has none of its own.
_EVERY: Final = "*"
#: The handshake has judged path, name, time and use already.
_LISTS_ONLY: Final = replace(DEFAULT_POLICY, revocation="if_present", certificates=PATH_RULES)

#: Tells which lists are in hand, and the time.
InHand = Callable[[], tuple[Revocations, datetime]]


class Shaking(Protocol):
    """Shakes hands with whoever listens at the other end of a connection."""

    def wrap(self, connection: socket.socket, host: str, port: int) -> ssl.SSLSocket:
        """Return the connection over TLS; raises OSError when the other end is not believed to be `host`."""


class OneContext:
    """The same context for every host; the authorities of the operating system unless one is given."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context

    def wrap(self, connection: socket.socket, host: str, port: int) -> ssl.SSLSocket:
        """Return the connection over TLS."""
        del port
        if self._context is None:
            self._context = client_context()
        return _shaken(self._context, connection, host)


class Callings:
    """What the settings say of each host; files that change are read again."""

    def __init__(self, sections: Mapping[str, Tls], in_hand: InHand) -> None:
        self._contexts = {name.lower(): _context_of(name, section) for name, section in sections.items()}
        self._otherwise = OneContext()
        self._in_hand = in_hand

    def wrap(self, connection: socket.socket, host: str, port: int) -> ssl.SSLSocket:
        """Return the connection over TLS; the other end's certificate is not among the revoked."""
        shown = f"[{host}]" if ":" in host else host
        named = (f"{shown}:{port}".lower(), shown.lower(), host.lower(), _EVERY)
        found = next((self._contexts[name] for name in named if name in self._contexts), None)
        if found is None:
            shaken = self._otherwise.wrap(connection, host, port)
        else:
            shaken = _shaken(found(), connection, host)
        try:
            _check_revocation(verified_chain(shaken), *self._in_hand())
        except BaseException:
            shaken.close()
            raise
        return shaken


def callings_of(settings: Settings, hub: Hub) -> Callings:
    """Return how these settings call; raises GW801 and GW803 for what cannot be used."""
    return Callings(settings.tls, lambda: (hub.judge.revocations, hub.clock()))


def _context_of(name: str, section: Tls) -> Watched[ssl.SSLContext]:
    identity, files = None, section.anchors
    if section.certificate is not None and section.key is not None:
        key = key_file(section.key, f"tls.{name[:60]}.key")
        password = section.password.read().rstrip(b"\r\n") if section.password else None
        identity = Identity(section.certificate, key, password)
        files = (*files, identity.certificate, identity.key)
    return Watched(files, lambda: client_context(section.anchors, identity))


def _shaken(context: ssl.SSLContext, connection: socket.socket, host: str) -> ssl.SSLSocket:
    # An end that nobody signed for may be a cut: what has no length is then no answer.
    return context.wrap_socket(connection, server_hostname=host, suppress_ragged_eofs=False)


def _check_revocation(chain: tuple[bytes, ...], revocations: Revocations, at: datetime) -> None:
    """Refuse a server whose certificate, or one above it, is revoked by a list in hand."""
    rules: TrustPolicy = _LISTS_ONLY
    try:
        leaf, *above = (read_certificate(der, PATH_RULES) for der in chain)
    except GatewayError:
        _check_numbers(chain, revocations)
        return
    trust = TrustStore(tuple(above[-1:]) or (leaf,), tuple(above[:-1]), rules)
    verdict = validate_path(leaf, at, Use.TLS_SERVER, trust, revocations)
    if verdict.problem is CERTIFICATE_REVOKED:
        raise ssl.SSLCertVerificationError(f"certificate verify failed: {verdict.reason[:150]}")


def _check_numbers(chain: tuple[bytes, ...], revocations: Revocations) -> None:
    """Refuse a certificate that a list of its issuer's name names; our rules do not let us read them all."""
    for der in chain:
        try:
            one = x509.load_der_x509_certificate(der)
            issuer = name_key(one.issuer.public_bytes())
        except ValueError as error:
            raise ssl.SSLCertVerificationError(f"certificate verify failed: unreadable: {error}") from None
        said = (each.entry(issuer, one.serial_number) for each in revocations.speaking_of(issuer))
        if any(entry is not None and not entry.released for entry in said):
            raise ssl.SSLCertVerificationError("certificate verify failed: a list names it as revoked")

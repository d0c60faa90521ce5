"""TLS contexts of all servers and clients: versions, suites, trust anchors and own identity.

TLS 1.2 and 1.3 (RFC 8446); in 1.2 the suites of RFC 9325 §4.2 with forward secrecy and
authenticated encryption; no compression and no renegotiation. Keys and certificates are given
as files, which the library reads by itself. An environment variable cannot make it log its
secrets.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.errors import KEY_UNAVAILABLE, GatewayError, describe_exception

#: Names of OpenSSL; level 2 also refuses keys below 112 bits of strength and SHA-1 in certificates.
_SUITES: Final = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20"
_PROTOCOLS: Final = ["http/1.1"]

_Context = TypeVar("_Context", bound=ssl.SSLContext)


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """Our own identity: a certificate with its chain, and its key, both as PEM files."""

    certificate: Path
    key: Path
    password: bytes | None = None


def make_server_context(
    identity: TlsIdentity, client_authorities: Path | None = None, *, is_certificate_required: bool = False
) -> ssl.SSLContext:
    """Return the context of a server; raise GW803 for unusable files.

    `client_authorities`: the authorities (PEM) of client certificates. Clients are asked for a
    certificate, and refused with one that is expired, of another authority or for another
    use; with `is_certificate_required`, clients without a certificate are refused too.
    """
    context = _harden_listening_context(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    _load_identity(context, identity)
    if client_authorities is not None:
        _load_trust_anchors(context, (client_authorities,))
        context.verify_mode = ssl.CERT_REQUIRED if is_certificate_required else ssl.CERT_OPTIONAL
    return context


def make_connection_context(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return the context of one server connection, equal to `context` but without its session cache.

    A session of TLS 1.2 is stored in the context with which its handshake began, and the
    library has no option against this. A resumed session would reuse the result of an earlier
    verification.
    """
    connection_context = _harden_listening_context(_ReplacedContext(ssl.PROTOCOL_TLS_SERVER))
    connection_context.verify_mode = context.verify_mode
    connection_context.replacement = context
    return connection_context


class _ReplacedContext(ssl.SSLContext):
    """A context whose connections get another one before their handshake begins.

    Not by `sni_callback`: the library decodes the name of the server for it, and writes a traceback to
    standard error where that name is not ASCII.
    """

    replacement: ssl.SSLContext

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Return a connection in memory that has the other context."""
        connection = super().wrap_bio(*args, **options)
        connection.context = self.replacement
        return connection


def make_client_context(anchors: Sequence[Path] = (), identity: TlsIdentity | None = None) -> ssl.SSLContext:
    """Return the context of a client; raise GW803 for unusable files.

    The server must have a certificate for its host name from one of `anchors` (PEM), or, when
    there are none, from an authority that the operating system trusts.
    """
    context = _harden_context(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    if anchors:
        _load_trust_anchors(context, anchors)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if identity is not None:
        _load_identity(context, identity)
    return context


def get_verified_chain(connection: ssl.SSLSocket) -> tuple[bytes, ...]:
    """Return the certificates (DER) from the peer's to the anchor, as verified in the handshake."""
    tls_socket: Any = connection
    if hasattr(tls_socket, "get_verified_chain"):  # from Python 3.13 on
        return tuple(tls_socket.get_verified_chain())
    chain = tls_socket._sslobj.get_verified_chain() or ()  # noqa: SLF001
    return tuple(ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain)


def _harden_listening_context(context: _Context) -> _Context:
    _harden_context(context)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    return context


def _harden_context(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return `context` with TLS 1.2 or later, and without compression and renegotiation."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_SUITES)
    context.set_alpn_protocols(_PROTOCOLS)
    return context


def _load_identity(context: ssl.SSLContext, identity: TlsIdentity) -> None:
    try:
        # Without a password the library would ask the terminal for one.
        context.load_cert_chain(identity.certificate, identity.key, lambda: identity.password or b"")
    except (OSError, ValueError) as error:
        raise _make_unusable_error(identity.certificate, error, identity.key) from None


def _load_trust_anchors(context: ssl.SSLContext, anchors: Sequence[Path]) -> None:
    for path in anchors:
        try:
            context.load_verify_locations(path)
        except (OSError, ValueError) as error:
            raise _make_unusable_error(path, error) from None


def _make_unusable_error(path: Path, error: Exception, key: Path | None = None) -> GatewayError:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or describe_exception(error)
    files = str(path)[-120:] + (f" with the key {str(key)[-120:]}" if key is not None else "")
    return GatewayError(KEY_UNAVAILABLE, f"{files} cannot be used for TLS: {reason}", "TLS")

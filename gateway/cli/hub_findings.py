"""Findings about a hub for `gateway check` and the log: keys, TLS, trusted and fetched data."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.x509 import load_pem_x509_certificates

from gateway.config import Settings
from gateway.delivery import HostLogins, PerHostConnector
from gateway.errors import (
    CERTIFICATE_EXPIRED,
    KEY_UNAVAILABLE,
    SETTINGS_WRONG,
    GatewayError,
)
from gateway.hub import (
    EVERYBODY,
    Hub,
    RegisterSnapshot,
    RejectingComposer,
    build_hub,
    get_current_time,
    list_own_periods,
    load_trust_store,
    validate_new_certificate,
)
from gateway.pki import CertificateUse, RevocationData
from gateway.web import build_terminator_settings, watch_tls_context

__all__ = [
    "check_own_hub",
    "check_transport",
    "find_transport_warnings",
    "open_looking_hub",
]

_SOON: Final = timedelta(days=30)


def check_transport(settings: Settings) -> None:
    """Raise for files of TLS and logins that cannot be used: GW801, GW803; GW206 for an expired one."""
    at, terms = get_current_time(), build_terminator_settings(settings)
    if terms is not None:
        watch_tls_context(terms)
    PerHostConnector(settings.tls, lambda: (RevocationData(), at))
    HostLogins(settings.tls)
    for where, path in _list_tls_certificates(settings):
        ends = _read_certificate_end(path)
        if ends <= at:
            raise GatewayError(CERTIFICATE_EXPIRED, f"{path} ended at {ends:%Y-%m-%dT%H:%M:%SZ}", where)


def find_transport_warnings(settings: Settings, known: RegisterSnapshot, at: datetime) -> Iterator[str]:
    """Yield warnings about unencrypted connections and expiring certificates of TLS."""
    http = settings.http
    if http.tls_certificate is None and not _is_local_host(http.host) and not http.proxies:
        yield (
            f"the gateway serves plain HTTP at {http.host}:{http.port}: set http.tls_certificate or "
            "http.proxies, or listen at 127.0.0.1"
        )
    yield from _find_unbound_clients(settings, known)
    for where, path in _list_tls_certificates(settings):
        if timedelta(0) < (ends := _read_certificate_end(path)) - at < _SOON:
            yield f"the certificate of {where} ends in {(ends - at).days} days, at {ends:%Y-%m-%dT%H:%M:%SZ}"
    for where, url in _list_called_addresses(settings, known):
        parts = urlsplit(url)
        if parts.scheme == "http" and not _is_local_host(parts.hostname or ""):
            yield f"{where} is called over plain HTTP at {parts.netloc[:100]}"


def _find_unbound_clients(settings: Settings, known: RegisterSnapshot) -> Iterator[str]:
    """Yield warnings about parties that must present a client certificate but are not asked for one."""
    parties = {*known.by_id.values(), *(one.party for one in known.by_certificate.values()), EVERYBODY}
    for name in settings.http.mutual_tls:
        if name not in parties:
            yield f"http.mutual_tls names {name[:80]}, which is not an active party: the entry has no effect"
    demanding = any(mode.security.mutual_tls for mode in known.book.pmodes)
    if demanding and settings.http.client_ca is None and not settings.http.tls_proxies:
        yield "P-Modes require mutual_tls, but without http.client_ca no client certificate is requested"


def _list_called_addresses(settings: Settings, known: RegisterSnapshot) -> Iterator[tuple[str, str]]:
    """Yield the parties that we call, each with its URL."""
    for code, agency in settings.agency.items():
        if agency.endpoint is not None:
            yield f"agency.{code}", agency.endpoint
    if settings.payloads.s3.bucket and settings.payloads.s3.endpoint is not None:
        yield "payloads.s3", settings.payloads.s3.endpoint
    if settings.customs.endpoint is not None:
        yield "customs", settings.customs.endpoint
    found: dict[tuple[str, str], None] = {}
    for mode in known.book.pmodes:
        for ids, url in ((mode.to_party, mode.endpoint), (mode.from_party, mode.reply_endpoint)):
            party = known.by_id.get(ids[0])
            if url is not None and party not in (None, settings.hub.party):
                found[f"party {party}", url] = None
    yield from found


def _list_tls_certificates(settings: Settings) -> Iterator[tuple[str, Path]]:
    if settings.http.tls_certificate is not None:
        yield "http.tls_certificate", settings.http.tls_certificate
    for name, section in settings.tls.items():
        if section.certificate is not None:
            yield f"tls.{name[:60]}.certificate", section.certificate


def _read_certificate_end(path: Path) -> datetime:
    """Return the earliest end of the certificates in a file, which may also contain the key."""
    try:
        found = load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise GatewayError(KEY_UNAVAILABLE, f"{path} cannot be read: {error}", "TLS") from None
    return min(one.not_valid_after_utc for one in found)


def _is_local_host(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_own_hub(settings: Settings) -> None:
    """Raise a problem of the hub of these settings, its own certificate or the next one."""
    with open_looking_hub(settings) as hub:
        hub.refresh_snapshot()
        hub.judge(hub.signer.certificate.der, CertificateUse.SIGNING, hub.clock()).raise_unless_accepted(
            "pki.signing_certificate"
        )
        _check_next_key(settings, hub)


@contextlib.contextmanager
def open_looking_hub(settings: Settings) -> Iterator[Hub]:
    """Provide a read-only hub, and close it."""
    hub = build_hub(settings, RejectingComposer(), at_work=False)
    try:
        yield hub
    finally:
        hub.close()


def _check_next_key(settings: Settings, hub: Hub) -> None:
    """Raise for a next key that starts after a gap, or whose certificate is not valid at its start."""
    starts = hub.next_key_start
    if starts is None or starts <= hub.clock():
        return
    before, after = list_own_periods(hub)
    if before.ends < after.starts:
        detail = f"no signing key is valid from {before.ends.isoformat()} to {after.starts.isoformat()}"
        raise GatewayError(SETTINGS_WRONG, detail, "pki.next.starts")
    believed, moments = (hub.judge, load_trust_store(settings)), (hub.clock(), starts)
    where = "pki.next.signing_certificate"
    validate_new_certificate(hub.signers[1].certificate, CertificateUse.SIGNING, believed, moments, where)

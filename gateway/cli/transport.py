"""What `gateway check` says of TLS: files that cannot be used, certificates that end, and plain HTTP."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.x509 import load_pem_x509_certificates

from gateway.config import Settings
from gateway.delivery.tls import Callings
from gateway.errors import CERTIFICATE_EXPIRED, KEY_UNAVAILABLE, GatewayError
from gateway.hub.assembly import now
from gateway.hub.knowledge import Knowledge
from gateway.hub.trust.clients import EVERYBODY
from gateway.pki.revocation import Revocations
from gateway.web.front import terms_of
from gateway.web.terminator import contexts

__all__ = ["check_transport", "transport_warnings"]

_SOON: Final = timedelta(days=30)


def check_transport(settings: Settings) -> None:
    """Raise what is wrong with the files of TLS: GW801, GW803, or GW206 for a certificate that is over."""
    at, terms = now(), terms_of(settings)
    if terms is not None:
        contexts(terms)
    Callings(settings.tls, lambda: (Revocations(), at))
    for where, path in _certificates(settings):
        ends = _end(path)
        if ends <= at:
            raise GatewayError(CERTIFICATE_EXPIRED, f"{path} ended at {ends:%Y-%m-%dT%H:%M:%SZ}", where)


def transport_warnings(settings: Settings, known: Knowledge, at: datetime) -> Iterator[str]:
    """Yield what others can read or will not be able to reach, by the settings and the agreements."""
    http = settings.http
    if http.tls_certificate is None and not _is_here(http.host) and not http.proxies:
        yield (
            f"plain HTTP is spoken at {http.host}:{http.port}: name http.tls_certificate, or http.proxies, "
            "or listen at 127.0.0.1"
        )
    yield from _bound_in_vain(settings, known)
    for where, path in _certificates(settings):
        if timedelta(0) < (ends := _end(path)) - at < _SOON:
            yield f"the certificate of {where} ends in {(ends - at).days} days, at {ends:%Y-%m-%dT%H:%M:%SZ}"
    for where, url in _called(settings, known):
        parts = urlsplit(url)
        if parts.scheme == "http" and not _is_here(parts.hostname or ""):
            yield f"{where} is called over plain HTTP at {parts.netloc[:100]}"


def _bound_in_vain(settings: Settings, known: Knowledge) -> Iterator[str]:
    """Yield who is meant to show a client certificate but is not asked, or cannot."""
    parties = {*known.by_id.values(), *(one.party for one in known.by_certificate.values()), EVERYBODY}
    for name in settings.http.mutual_tls:
        if name not in parties:
            yield f"http.mutual_tls names {name[:80]}, which is no active party: nobody is held to it"
    demanding = any(mode.security.mutual_tls for mode in known.book.pmodes)
    if demanding and settings.http.client_ca is None:
        yield "P-Modes say mutual_tls, but without http.client_ca nobody is asked for a certificate"


def _called(settings: Settings, known: Knowledge) -> Iterator[tuple[str, str]]:
    """Yield whom we call, and where."""
    for code, agency in settings.agency.items():
        if agency.endpoint is not None:
            yield f"agency.{code}", agency.endpoint
    if settings.customs.endpoint is not None:
        yield "customs", settings.customs.endpoint
    found: dict[tuple[str, str], None] = {}
    for mode in known.book.pmodes:
        for ids, url in ((mode.to_party, mode.endpoint), (mode.from_party, mode.reply_endpoint)):
            party = known.by_id.get(ids[0])
            if url is not None and party not in (None, settings.hub.party):
                found[f"party {party}", url] = None
    yield from found


def _certificates(settings: Settings) -> Iterator[tuple[str, Path]]:
    if settings.http.tls_certificate is not None:
        yield "http.tls_certificate", settings.http.tls_certificate
    for name, section in settings.tls.items():
        if section.certificate is not None:
            yield f"tls.{name[:60]}.certificate", section.certificate


def _end(path: Path) -> datetime:
    """Return when the first certificate of a chain ends; its key may stand in the same file."""
    try:
        found = load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise GatewayError(KEY_UNAVAILABLE, f"{path} cannot be read: {error}", "TLS") from None
    return min(one.not_valid_after_utc for one in found)


def _is_here(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

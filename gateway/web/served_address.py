"""Finds the address by which a client has reached the gateway, where the settings name none.

The Host of a request is the client's own text. It is used only when it names this server: a name of
the settings, the address it listens at, or, where it listens at every address, an address or the
name of this machine. No name is looked up.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.config import Settings
from gateway.web.server import Environ

__all__ = ["ServedAddress", "build_served_address"]

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}))(?::([0-9]{1,5}))?")
_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class ServedAddress:
    """Where the gateway listens, the further `names` of its host, and the reverse proxies in front of it."""

    host: str
    port: int
    scheme: str = "http"
    names: tuple[str, ...] = ()
    proxies: frozenset[str] = frozenset()

    def find_base_url(self, environ: Environ) -> str:
        """Return scheme, host and port by which a request came; our own where its Host is not ours."""
        scheme, asked = self._read_request(environ)
        found = _HOST.fullmatch(asked)
        if found is None or not self._is_own_host(found[1].lower().strip("[]")):
            return self._get_own_url()
        port = int(found[2]) if found[2] else _DEFAULT_PORTS[scheme]
        if not 0 < port <= 65535:
            return self._get_own_url()
        return _format_url(scheme, found[1].lower().strip("[]"), port)

    def _read_request(self, environ: Environ) -> tuple[str, str]:
        """Return scheme and Host; behind our own proxy, those that it says it was asked for."""
        scheme, asked = str(environ.get("wsgi.url_scheme", "")), str(environ.get("HTTP_HOST", ""))
        if environ.get("REMOTE_ADDR") in self.proxies:
            scheme = _get_last_value(environ, "HTTP_X_FORWARDED_PROTO") or scheme
            asked = _get_last_value(environ, "HTTP_X_FORWARDED_HOST") or asked
        return (scheme if scheme in _DEFAULT_PORTS else self.scheme), asked.strip()

    def _is_own_host(self, asked: str) -> bool:
        if asked in {one.lower() for one in (*self.names, self.host)} - _EVERY_ADDRESS:
            return True
        if asked == "localhost":
            return self.host in _EVERY_ADDRESS or _is_loopback(self.host)
        if _is_address(asked):
            return self.host in _EVERY_ADDRESS and _is_local_address(asked)
        return asked in _list_machine_names()

    def _get_own_url(self) -> str:
        """Return the URL that does not depend on a request."""
        host = self.host if self.host not in _EVERY_ADDRESS else socket.gethostname().lower()
        return _format_url(self.scheme, next(iter(self.names), host), self.port)


def build_served_address(settings: Settings) -> ServedAddress:
    """Return where these settings serve."""
    http = settings.http
    scheme = "http" if http.tls_certificate is None else "https"
    return ServedAddress(http.host, http.port, scheme, http.names, frozenset(http.proxies))


def _get_last_value(environ: Environ, name: str) -> str:
    """Return the value that the nearest proxy has added to a header."""
    return str(environ.get(name, "")).rpartition(",")[2].strip()


def _format_url(scheme: str, host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + ("" if port in (0, _DEFAULT_PORTS[scheme]) else f":{port}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


@lru_cache(256)
def _is_local_address(address: str) -> bool:
    """Return whether an address is one of this machine: nobody else's can be bound."""
    if ipaddress.ip_address(address).is_unspecified or ipaddress.ip_address(address).is_multicast:
        return False
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return True
    return False


@lru_cache(1)
def _list_machine_names() -> frozenset[str]:
    """Return the name of this machine, with and without its domain."""
    name = socket.gethostname().lower()
    return frozenset({name, name.partition(".")[0]} - {""})

"""Finds why the hub cannot log in where a partner wants a password (CPPA 2.0, AccessAuthentication)."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from gateway.agreements.pmode import PMode

__all__ = ["find_login_problem"]

_SHOWN: Final = 80


def find_login_problem(pmode: PMode, logins: frozenset[str]) -> tuple[str, str] | None:
    """Return the rule that a P-Mode with authentication breaks, and a sentence; None where all is well.

    `logins` are the hosts, or host:port, for which the settings have a name and a password. Only basic
    authentication over TLS is done (RFC 7617): digest (RFC 7616) hashes with MD5 in most products, and
    each message would have to be posted twice.
    """
    parts = urlsplit(pmode.endpoint or "")
    told = f"{(pmode.endpoint or '')[:_SHOWN]} wants a name and a password"
    if "basic" not in pmode.transport.authentication:
        text = f"{told} by digest only: agree on basic over TLS, or on a client certificate"
        return "login-impossible", text
    if parts.scheme != "https":
        text = f"{told} without TLS, where everybody on the way reads them: agree on an https endpoint"
        return "login-impossible", text
    if logins.isdisjoint((parts.netloc.lower(), (parts.hostname or "").lower())):
        text = f'{told}: set login and login_password in [tls."{parts.hostname}"] of the settings'
        return "login-missing", text
    return None

"""The names and passwords with which we log in at hosts (HTTP basic authentication, RFC 7617).

A password goes only to the host that the settings name for it, and only over TLS, after the server has
shown its certificate. Digest authentication is not done: it hashes with MD5 and costs each message a
second POST.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from gateway.config import ReloadedValue, TlsSettings
from gateway.errors import SETTINGS_WRONG, GatewayError

__all__ = ["HostLogins"]


class HostLogins:
    """The logins of the settings, by host; a password file that changes is read again."""

    def __init__(self, sections: Mapping[str, TlsSettings]) -> None:
        self._known = {
            name.lower(): _build_authorization(name, one)
            for name, one in sections.items()
            if one.login is not None
        }

    def find_authorization(self, host: str, port: int) -> str | None:
        """Return the value of ``Authorization`` for a host, None where we do not log in."""
        shown = f"[{host}]" if ":" in host else host
        named = (f"{shown}:{port}".lower(), shown.lower(), host.lower())
        found = next((self._known[name] for name in named if name in self._known), None)
        return None if found is None else found()


def _build_authorization(name: str, section: TlsSettings) -> ReloadedValue[str]:
    secret = section.login_password
    assert secret is not None, "the settings check it"

    def make_authorization() -> str:
        password = secret.read().rstrip(b"\r\n")
        if not password or any(octet < 32 or octet == 127 for octet in password):
            detail = "a password is one line without control characters"
            raise GatewayError(SETTINGS_WRONG, detail, f"tls.{name[:60]}.login_password")
        text = (section.login or "").encode() + b":" + password
        return "Basic " + base64.b64encode(text).decode("ascii")

    return ReloadedValue((secret.file,) if secret.file is not None else (), make_authorization)

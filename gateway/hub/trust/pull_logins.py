"""The names and passwords with which parties pull their messages; passwords are secrets of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.config import PullerSettings, ReloadedValue
from gateway.errors import SETTINGS_WRONG, GatewayError

__all__ = ["PullLogins"]

#: The digest of the profile is a fast hash: a short password is guessed from one recorded request.
_SHORTEST: Final = 16


class PullLogins:
    """The logins of the settings by name; a password file that changes is read again."""

    def __init__(self, sections: Mapping[str, PullerSettings] | None = None) -> None:
        self._known: dict[str, tuple[str, ReloadedValue[bytes]]] = {}
        for party, one in (sections or {}).items():
            name = one.name or party
            if name in self._known:
                raise GatewayError(SETTINGS_WRONG, "two parties have this name", f"puller.{party[:60]}.name")
            self._known[name] = (party, _read_password(party, one))

    def find_login(self, name: str) -> tuple[str, bytes] | None:
        """Return the party and the password of a name; None for a name that is not in the settings."""
        found = self._known.get(name)
        return None if found is None else (found[0], found[1]())


def _read_password(party: str, section: PullerSettings) -> ReloadedValue[bytes]:
    secret = section.password
    assert secret is not None, "the settings check it"

    def read_password() -> bytes:
        password = secret.read().rstrip(b"\r\n")
        if len(password) < _SHORTEST:
            detail = f"the password has {len(password)} octets, fewer than {_SHORTEST}"
            raise GatewayError(SETTINGS_WRONG, detail, f"puller.{party[:60]}.password")
        return password

    return ReloadedValue((secret.file,) if secret.file is not None else (), read_password)

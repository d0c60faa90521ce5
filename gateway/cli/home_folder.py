"""The home folder: what makes a folder a home, how a new one is made, and that others cannot read it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from gateway.config import Settings
from gateway.errors import MISUSE, GatewayError

__all__ = [
    "check_home_folder",
    "find_wide_permissions",
    "is_home_folder",
    "keep_files_private",
    "make_home_folder",
]

#: What a home contains: at least one of these. A folder without them is no home of a gateway.
_MARKS: Final = ("gateway.toml", "gateway.sqlite3", "pki")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600


def is_home_folder(folder: Path) -> bool:
    """Return whether a folder has settings, a database or keys of a gateway."""
    return any((folder / mark).exists() for mark in _MARKS)


def check_home_folder(settings: Settings, arguments: Any) -> None:
    """Raise GW808 for a home that is none; where the settings file is named, any folder is one."""
    home = settings.home_folder
    named = getattr(arguments, "config", None) or os.environ.get("GATEWAY_CONFIG")
    if home.is_dir() and (named or is_home_folder(home)):
        return
    shown = str(home)[-120:]
    detail = f"{shown} is no home folder: it has no settings, database or keys"
    if not home.is_dir():
        detail = f"there is no home folder {shown}"
    raise GatewayError(MISUSE, f"{detail} (`gateway migrate --new` makes a home)", shown)


def make_home_folder(settings: Settings) -> None:
    """Make the home folder, and close it and its settings to others."""
    home = settings.home_folder
    home.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
    # A folder or file of somebody else cannot be closed by us: `gateway check` tells it.
    with suppress(PermissionError):
        home.chmod(_FOLDER_MODE)
        if (home / "gateway.toml").is_file():
            (home / "gateway.toml").chmod(_FILE_MODE)


@contextmanager
def keep_files_private() -> Iterator[None]:
    """Make files with 0600 and folders with 0700 inside the block."""
    before = os.umask(_OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def find_wide_permissions(settings: Settings, settings_file: str | None) -> Iterator[str]:
    """Yield a warning for each folder or file of the home that others may read or write."""
    home = settings.home_folder
    secrets = (settings.pki.signing_key, settings.pki.next.signing_key, settings.http.tls_key)
    keys = [Path(one.file) for one in secrets if one is not None and one.file is not None]
    named = [Path(settings_file)] if settings_file else []
    files = [*named, *home.glob("gateway.sqlite3*"), *keys, *home.glob("pki/*.key.pem")]
    for path in dict.fromkeys([home, *files]):
        with suppress(OSError):
            mode = stat.S_IMODE(path.stat().st_mode)
            wanted = _FOLDER_MODE if path.is_dir() else _FILE_MODE
            if mode & _OTHERS:
                yield f"{path} is open to other accounts ({mode:04o}): chmod {wanted:o} closes it"

"""Makes the private folders of a gateway, for sockets and for what its processes tell each other.

The folder is deleted when the gateway ends. A killed gateway leaves its folder behind, and the next
gateway to start deletes it: a running gateway holds a lock on its folder, which the kernel releases
when the process dies.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["open_private_folder"]

#: A folder may exist for so many seconds without a lock: its gateway is about to lock it.
_YOUNG: Final = 60.0


@contextmanager
def open_private_folder(prefix: str) -> Iterator[str]:
    """Yield a folder that only our own user can enter; abandoned ones of this prefix are deleted first."""
    _remove_stale_folders(Path(tempfile.gettempdir()), prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(held)


def _remove_stale_folders(place: Path, prefix: str) -> None:
    for folder in place.glob(f"{prefix}*"):
        with suppress(OSError):  # of another user, or deleted meanwhile
            _remove_stale_folder(folder)


def _remove_stale_folder(folder: Path) -> None:
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(held)
        private = found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
        if private and time.time() - found.st_ctime > _YOUNG:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(held)

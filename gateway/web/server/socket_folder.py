"""The folder of the sockets between the process that ends TLS and the server; one for each gateway.

It goes with the gateway.  One that was killed leaves its folder behind, which the next to start
takes away: whoever lives holds a lock on his, which the kernel gives back when he dies.
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

__all__ = ["open_socket_folder"]

_PREFIX: Final = "gateway-tls-"
#: So many seconds a folder may be there without a lock: its gateway is about to take it.
_YOUNG: Final = 60.0


@contextmanager
def open_socket_folder() -> Iterator[str]:
    """Give a folder that nobody but we ourselves can enter; those of the dead are taken away before."""
    _remove_stale_folders(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(held)


def _remove_stale_folders(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # somebody's else, or gone meanwhile
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

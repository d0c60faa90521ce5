"""A file that a delivery process touches while it looks for deliveries; a probe reads its age.

A delivery process listens nowhere, so nobody can ask it whether it still works. The file is locked as long
as the process lives: the file of a process that has died says nothing about those that live.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

#: Seconds between two touches.
_TOUCH_SECONDS: Final = 5.0


class AliveFile:
    """The file of this process in a folder, named by the number of the process; without a folder none.

    A file that cannot be made or touched is logged once, and stops nothing.
    """

    def __init__(self, folder: Path | None, read_seconds: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._read_seconds = read_seconds
        self._touched_at = float("-inf")
        self._descriptor: int | None = None
        self._is_failure_logged = False

    def touch(self) -> None:
        """Give the file the present time; do nothing within five seconds after the last touch."""
        now = self._read_seconds()
        if self._folder is None or now - self._touched_at < _TOUCH_SECONDS:
            return
        self._touched_at = now
        try:
            if self._descriptor is not None and not os.fstat(self._descriptor).st_nlink:
                # Somebody has removed the file: no probe sees it any more.
                os.close(self._descriptor)
                self._descriptor = None
            if self._descriptor is None:
                self._descriptor = _open_locked_file(self._folder)
            os.utime(self._descriptor)
        except OSError as problem:
            if not self._is_failure_logged:
                _log.warning("the file that says this process works cannot be touched: %s", problem)
            self._is_failure_logged = True

    def remove(self) -> None:
        """Remove the file: this process looks for no more deliveries, and ends those it has."""
        if self._folder is None or self._descriptor is None:
            return
        with suppress(OSError):
            _get_path(self._folder).unlink()
        os.close(self._descriptor)
        self._descriptor = None


def _get_path(folder: Path) -> Path:
    return folder / str(os.getpid())


def _open_locked_file(folder: Path) -> int:
    """Make and lock the file of this process, and return its descriptor.

    Raises OSError, also while a probe holds the lock for its short look.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(_get_path(folder), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor

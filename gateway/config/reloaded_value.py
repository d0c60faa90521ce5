"""Rebuilds a value made of files when one of them changes, such as a renewed key or certificate."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from gateway.errors import GatewayError

_log = logging.getLogger(__name__)
_Value = TypeVar("_Value")


class ReloadedValue(Generic[_Value]):
    """A value made of files; safe for many threads.

    The files are checked at each read of the value. When they cannot be used, for example while one
    of a pair is being written, the value made before stays, and the reason is logged once.
    """

    def __init__(self, files: tuple[Path, ...], make_value: Callable[[], _Value]) -> None:
        self._files = files
        self._make_value = make_value
        self._lock = threading.Lock()
        self._file_stamps = self._read_file_stamps()
        self._value = make_value()

    def __call__(self) -> _Value:
        """Return the value that the files make now."""
        file_stamps = self._read_file_stamps()
        if file_stamps != self._file_stamps:
            with self._lock:
                if file_stamps != self._file_stamps:
                    self._rebuild_value()
                    self._file_stamps = file_stamps
        return self._value

    def _rebuild_value(self) -> None:
        """Make the value again from its files; after a GatewayError, log it and keep the old value."""
        try:
            self._value = self._make_value()
        except GatewayError as problem:
            _log.error("what is in use stays as it was: %s", problem)
        else:
            _log.warning("read again: %s", ", ".join(str(path) for path in self._files))

    def _read_file_stamps(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(_read_file_stamp(path) for path in self._files)


def _read_file_stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)

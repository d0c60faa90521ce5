"""Sweeps the object store as part of the regular upkeep of the hub, a little each minute."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from gateway.store import InsufficientStorageError, find_object_store, sweep_objects

__all__ = ["ObjectUpkeep"]

_log = logging.getLogger(__name__)
_EVERY: Final = timedelta(minutes=1)
#: No message is received or sealed for so long: whoever wrote an older object has named it, or never will.
_YOUNG: Final = timedelta(days=1)
#: The objects are looked at by the first octet of their digest: all of them in about four hours.
_PARTS: Final = 256


class ObjectUpkeep:
    """Removes objects without row, and files of killed processes; several processes may do so at once."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        self._done_at: datetime | None = None
        self._part = 0

    def sweep_next_part(self) -> None:
        """Sweep the next part, unless that was done within the last minute."""
        store, now = find_object_store(self._engine), self._clock()
        if store is None or (self._done_at is not None and now - self._done_at < _EVERY):
            return
        self._done_at = now
        try:
            store.remove_abandoned_files()
            sweep_objects(self._engine, self._part, now - _YOUNG)
        except (OSError, InsufficientStorageError) as error:
            # What else is due does not wait for a store that cannot be read.
            _log.warning("large payloads cannot be swept now: %s", error)
        self._part = (self._part + 1) % _PARTS

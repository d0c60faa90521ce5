"""Tells all others that this node works, and hears whether it is drained."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine

from gateway import __version__
from gateway.errors import NODE_DRAINED, GatewayError
from gateway.store import get_head_revision, read_transaction, working_nodes, write_transaction

__all__ = ["NodeKeeper"]

_NOTED_EVERY: Final = timedelta(seconds=10)
_ASKED_EVERY: Final = timedelta(seconds=1)


class NodeKeeper:
    """One process of a node; safe for many threads. Without a name it tells and hears nothing."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], name: str) -> None:
        self._engine = engine
        self._clock = clock
        self._name = name
        self._guard = threading.Lock()
        self._noted: datetime | None = None
        self._asked: datetime | None = None
        self._drained: GatewayError | None = None

    def note_alive(self) -> None:
        """Store that this node works, unless that was done within the last ten seconds."""
        now = self._clock()
        if not self._name or (self._noted is not None and abs(now - self._noted) < _NOTED_EVERY):
            return
        self._noted = now
        with write_transaction(self._engine, "node.seen") as conn:
            working_nodes.note_node(conn, self._name, __version__, get_head_revision(), now)

    def find_drain(self) -> GatewayError | None:
        """Return GW322 while this node is drained; the database is asked once a second."""
        if not self._name:
            return None
        with self._guard:
            now = self._clock()
            if self._asked is None or abs(now - self._asked) >= _ASKED_EVERY:
                with read_transaction(self._engine) as conn:
                    row = working_nodes.find_node(conn, self._name)
                drained = row is not None and row.drained_at is not None
                self._drained = GatewayError(NODE_DRAINED, f"node {self._name}") if drained else None
                self._asked = now
            return self._drained

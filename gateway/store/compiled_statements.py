"""Shares compiled statements between the engines of a process.

Compiling a statement takes longer than most statements do. On SQLite one database has two engines,
and what one has compiled the other takes as it is; so does the next engine of the same server.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.engine import Dialect
from sqlalchemy.util import LRUCache

__all__ = ["COMPILED_STATEMENTS", "share_compiled_statements"]

#: An option of engines: statements are kept by dialect and form, those used longest ago leave first.
COMPILED_STATEMENTS: Final[dict[str, Any]] = {"compiled_cache": LRUCache(1200)}

#: The dialect of each server that was connected to: it knows the version and settings of the server.
_dialects: Final[dict[tuple[object, ...], Dialect]] = {}


def share_compiled_statements(engine: Engine) -> None:
    """Give an engine the dialect of those before it, or offer its own after its first connection."""
    url = engine.url
    server = (url.drivername, url.host, url.port, *sorted(url.query.items()))

    def share_dialect(_connection: Any = None, _record: Any = None) -> None:
        engine.dialect = _dialects.setdefault(server, engine.dialect)

    if server in _dialects:
        share_dialect()
    else:
        event.listen(engine, "connect", share_dialect)

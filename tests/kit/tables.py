"""The tables of the store by their names, for tests that look into them."""

from __future__ import annotations

from sqlalchemy import Table

from gateway.store.tables import metadata


def __getattr__(name: str) -> Table:
    if name not in metadata.tables:
        raise AttributeError(name)
    return metadata.tables[name]

"""The store of large payloads of a home that a test has made, marked as `gateway migrate` does it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

__all__ = ["mark_store"]


def mark_store(home: Path) -> None:
    """Mark the store of large payloads of a home, whose database has every table."""
    # Imported when first used: a plugin of pytest imports this module.
    from gateway.cli.home_folder import read_home_settings
    from gateway.hub import build_engine
    from gateway.store import mark_new_store

    engine = build_engine(read_home_settings(home))
    try:
        mark_new_store(engine, datetime.now(UTC))
    finally:
        engine.dispose()

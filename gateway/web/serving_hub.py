"""Builds the hub of a process that answers messages or calls of the API."""

from __future__ import annotations

import threading
import time
from typing import Final

from gateway.config import Settings
from gateway.hub import Hub, RejectingComposer, build_hub

__all__ = ["build_serving_hub"]

_TALLY_SECONDS: Final = 2.0


def build_serving_hub(settings: Settings) -> Hub:
    """Return the hub of these settings, with its register, and with what validates unknown certificates."""
    hub = build_hub(settings, RejectingComposer())
    # A rejection needs the register; once loaded, the snapshot is available even without the database.
    hub.refresh_snapshot()
    hub.start_examiner()
    threading.Thread(target=_store_refusals, args=(hub,), name="refusals", daemon=True).start()
    return hub


def _store_refusals(hub: Hub) -> None:
    """Store and tell what was refused every few seconds, so that the last ones are stored, too."""
    while True:
        time.sleep(_TALLY_SECONDS)
        hub.tally.run_maintenance()

"""Performs again what officers intended and a crash or a missing key prevented, while a console runs."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from gateway.errors import GatewayError
from gateway.web.officers.officer_desk import OfficerDesk

__all__ = ["keep_resuming_acts"]

_LOG: Final = logging.getLogger(__name__)
_SECONDS: Final = 10.0


def keep_resuming_acts(desk: OfficerDesk) -> None:
    """Resume acts now and every ten seconds, in a thread of its own that ends with the process."""
    threading.Thread(target=_resume_forever, args=(desk,), name="officers", daemon=True).start()


def _resume_forever(desk: OfficerDesk) -> None:
    while True:
        try:
            desk.resume_acts()
        except GatewayError as problem:
            _LOG.warning("acts of officers wait: %s", problem)
        except Exception as mistake:  # the thread must go on
            _LOG.error("acts of officers wait: %s", type(mistake).__name__)
        time.sleep(_SECONDS)

"""What the API needs from the program: the hub, the settings, a clock, randomness."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Engine

from gateway.config import Settings
from gateway.hub import Hub

__all__ = ["BASE_PATH", "ApiServices", "build_api_services"]

BASE_PATH: Final = "/api/v1"


@dataclass(frozen=True, slots=True)
class ApiServices:
    """The services of the API; `random` returns so many random octets."""

    hub: Hub
    settings: Settings
    clock: Callable[[], datetime]
    random: Callable[[int], bytes] = os.urandom

    @property
    def engine(self) -> Engine:
        """Return the engine of the database."""
        return self.hub.engine

    @property
    def public_url(self) -> str:
        """Return the URL of the API as clients see it, with its version, without a slash at its end."""
        api = self.settings.api
        return str(api.public_url or f"http://localhost:{api.port}").rstrip("/") + BASE_PATH


def build_api_services(hub: Hub, settings: Settings) -> ApiServices:
    """Return the services of a hub with these settings."""
    return ApiServices(hub, settings, hub.clock)

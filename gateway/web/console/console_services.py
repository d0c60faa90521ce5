"""What the pages of the console need from the program: the hub, the settings, a clock, randomness."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from gateway.accounts import SessionLimits
from gateway.config import Settings
from gateway.hub import Hub

if TYPE_CHECKING:
    from gateway.web.officers import OfficerDesk

__all__ = ["ConsoleServices", "build_console_services", "get_console_url"]


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """The services of the pages; `desk` is that of officers, `random` returns so many random octets."""

    hub: Hub
    settings: Settings
    clock: Callable[[], datetime]
    desk: OfficerDesk
    random: Callable[[int], bytes] = os.urandom

    @property
    def engine(self) -> Engine:
        """Return the engine of the database."""
        return self.hub.engine

    @property
    def session_limits(self) -> SessionLimits:
        """Return how long sessions last."""
        return SessionLimits(self.settings.console.idle, self.settings.console.longest)

    @property
    def public_url(self) -> str:
        """Return the URL of the console as browsers see it, without a slash at its end."""
        return get_console_url(self.settings)


def get_console_url(settings: Settings) -> str:
    """Return the URL of the console as browsers see it, without a slash at its end."""
    console = settings.console
    return str(console.public_url or f"http://localhost:{console.port}").rstrip("/")


def build_console_services(hub: Hub, settings: Settings, desk: OfficerDesk) -> ConsoleServices:
    """Return the services of a hub with these settings."""
    return ConsoleServices(hub, settings, hub.clock, desk)

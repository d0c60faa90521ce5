"""Builds and serves the console: it is loaded where a console is served, and nowhere else."""

from __future__ import annotations

import os
from functools import partial
from typing import Final

from flask import Flask

from gateway.config import Settings
from gateway.hub import RejectingComposer, build_hub
from gateway.store import retry_until_stored
from gateway.web.console import (
    RefusedRequestPages,
    build_console,
    build_console_services,
    find_page_needs,
    get_console_url,
)
from gateway.web.officers import build_officer_desk, keep_resuming_acts
from gateway.web.server import RequestGate
from gateway.web.server_settings import (
    begin_process,
    build_console_address,
    build_console_limits,
    build_gate,
    serve_factory,
    start_upkeep,
)

#: How much lower the priority of the console is than that of messages (nice(2)).
_GIVE_WAY: Final = 10


def serve_console(settings: Settings, config: str | None = None) -> None:
    """Serve the console until SIGTERM or SIGINT, with a process and limits of its own."""
    # People have other ways to sign in, and the public status is for everybody.
    address = build_console_address(settings)
    serve_factory(settings, config, load_console, address, requires_certificate=False)


def load_console() -> RequestGate:
    """Return the console of the serving process's settings; called in each worker process."""
    # Where both run on one machine that is busy, messages come before pages.
    os.nice(_GIVE_WAY)
    settings = begin_process()

    def build() -> Flask:
        hub = build_hub(settings, RejectingComposer())
        hub.refresh_snapshot()
        start_upkeep(hub)
        desk = build_officer_desk(hub, settings, get_console_url(settings))
        keep_resuming_acts(desk)
        return build_console(build_console_services(hub, settings, desk))

    application = retry_until_stored(build)
    pages = RefusedRequestPages(application, settings.console.language)
    limits = build_console_limits(settings, partial(find_page_needs, application))
    return build_gate(application, limits, pages.make_rejection)

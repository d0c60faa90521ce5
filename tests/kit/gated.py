"""One process of the gateway behind its own HTTP server and gate, without a supervisor above it.

``python -m tests.kit.gated serve --home DIR``: what `gateway serve` runs in each of its processes.
Prints READY when it accepts connections.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from gateway.cli.home_folder import read_verb_settings
from gateway.config import Settings
from gateway.web import build_application
from gateway.web.server import RequestGate
from gateway.web.server_settings import build_gate_limits
from gateway.web.wsgi_application import get_body_limits


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("serve",))
    parser.add_argument("--home", required=True)
    parser.add_argument("--config", default=None)
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_serve(read_verb_settings(parser.parse_args())))


async def _serve(settings: Settings) -> None:
    gate = RequestGate(build_application(settings), build_gate_limits(settings, get_body_limits(settings)))
    server = Server(
        gate,
        address=settings.http.host,
        port=settings.http.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    # A test that ends this process is not about how it ends.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: os._exit(0))
    serving = asyncio.ensure_future(server.serve())
    while not _accepts(settings):
        await asyncio.sleep(0.05)
    print("READY", flush=True)
    await serving


def _accepts(settings: Settings) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((settings.http.host, settings.http.port)) == 0


if __name__ == "__main__":
    main()

"""Logs what a gateway starts: version, home, database, addresses, processes; and that all are ready."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway import __version__
from gateway.cli.home_folder import keep_files_private
from gateway.cli.result_output import count_things
from gateway.config import Settings
from gateway.process_log import START_LOG, pass_log_form
from gateway.store import describe_database
from gateway.web import (
    announce_readiness,
    build_api_address,
    build_console_address,
    build_listener_address,
    is_listening,
)

__all__ = ["Processes", "announce_start"]

_log = logging.getLogger(START_LOG)


@dataclass(frozen=True, slots=True)
class Processes:
    """What is started: whether HTTP, console and API are served, and how many processes deliver."""

    serves: bool = False
    console: bool = False
    api: bool = False
    workers: int = 0

    def count_all(self, settings: Settings) -> int:
        """Return how many processes report when they are ready."""
        return self.serves * settings.http.processes + self.console + self.api + self.workers

    def describe_parts(self, settings: Settings) -> Iterator[str]:
        """Yield the words about each kind, with its address."""
        scheme = "http" if settings.http.tls_certificate is None else "https"
        if self.serves:
            address = build_listener_address(settings)
            yield f"serves {scheme}://{_join_address(address.host, address.port)}"
            yield count_things(settings.http.processes, "serving process", "serving processes")
        if self.console:
            address = build_console_address(settings)
            yield f"console {scheme}://{_join_address(address.host, address.port)}"
        if self.api:
            address = build_api_address(settings)
            yield f"API {scheme}://{_join_address(address.host, address.port)}"
        if self.workers:
            yield count_things(self.workers, "worker process", "worker processes")


@contextmanager
def announce_start(settings: Settings, starting: Processes, *, as_json: bool = False) -> Iterator[None]:
    """Log what starts, and inside the block that it is ready; a child process logs neither.

    Files that are made inside the block are private, and processes log in the form of this one.
    """
    if multiprocessing.parent_process() is None:
        parts = [f"gateway {__version__} starts", f"home {settings.home_folder}"]
        parts.append(f"database {describe_database(settings.database.url)}")
        _log.info("%s", ", ".join([*parts, *starting.describe_parts(settings)]))

    # With TLS the port is open from the start, and a connection that says nothing is a failed handshake.
    probed = starting.serves and settings.http.tls_certificate is None
    address = build_listener_address(settings)

    def is_reachable() -> bool:
        return not probed or is_listening(address)

    def announce() -> None:
        _log.info("ready")

    count = starting.count_all(settings)
    with (
        pass_log_form(as_json=as_json),
        keep_files_private(),
        announce_readiness(count, announce, is_reachable),
    ):
        yield


def _join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

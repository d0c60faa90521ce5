"""Builds the engine of the database that the settings name."""

from __future__ import annotations

import socket

from sqlalchemy import Engine

from gateway.config import Settings
from gateway.errors import MISUSE, GatewayError
from gateway.store import ObjectFolder, make_engine

__all__ = ["build_engine", "build_object_folder", "get_node_name"]


def build_object_folder(settings: Settings) -> ObjectFolder:
    """Return the folder of large payloads; of its disk as much is reserved as of that of the database."""
    payloads = settings.payloads
    return ObjectFolder(payloads.folder, payloads.inline, settings.database.reserve)


def get_node_name(settings: Settings) -> str:
    """Return the name of this node: what the settings say, else the name of the host."""
    return settings.hub.node or socket.gethostname()[:40]


def build_engine(settings: Settings, *, at_work: bool = False) -> Engine:
    """Return the engine of the database; the size of its pool fits the threads of this process.

    A process at work waits for the server no longer than the settings say.
    """
    if not settings.home_folder.is_dir():
        home = str(settings.home_folder)[-120:]
        detail = f"there is no home folder {home}: `gateway migrate` makes one"
        raise GatewayError(MISUSE, detail, home)
    threads = max(settings.http.threads, settings.delivery.workers)
    database = settings.database
    volume = str(database.volume) if database.volume else None
    objects = build_object_folder(settings)
    return make_engine(
        database.url,
        pool_size=threads + 4,
        reserve=database.reserve,
        volume=volume,
        copies=database.copies,
        seconds=database.time_out.total_seconds() if at_work else None,
        objects=objects,
    )

"""Builds the engine of the database that the settings name."""

from __future__ import annotations

import socket
from importlib.util import find_spec

from sqlalchemy import Engine

from gateway.config import Settings
from gateway.errors import MISUSE, SETTINGS_WRONG, GatewayError
from gateway.store import BucketAccess, ObjectBucket, ObjectFolder, make_engine

__all__ = ["build_engine", "build_object_folder", "get_node_name"]


def build_object_folder(settings: Settings) -> ObjectFolder:
    """Return the folder of large payloads; of its disk as much is reserved as of that of the database."""
    payloads = settings.payloads
    return ObjectFolder(payloads.folder, payloads.inline, settings.database.reserve)


def build_object_store(settings: Settings) -> ObjectFolder | ObjectBucket:
    """Return what keeps large payloads: the bucket of the settings, else their folder.

    Raises GW801 without the client for S3, GW803 for a key that is not there.
    """
    folder, s3 = build_object_folder(settings), settings.payloads.s3
    if not s3.bucket:
        return folder
    if find_spec("botocore") is None:
        detail = "S3 needs the package botocore: install singlewindow-gateway[s3]"
        raise GatewayError(SETTINGS_WRONG, detail, "payloads.s3")
    assert s3.endpoint is not None
    assert s3.access_key is not None
    assert s3.secret_key is not None
    access = BucketAccess(
        s3.endpoint,
        s3.bucket,
        access_key=s3.access_key.read().decode().strip(),
        secret_key=s3.secret_key.read().decode().strip(),
        region=s3.region,
        prefix=s3.prefix,
        path_style=s3.path_style,
        ca=str(s3.ca) if s3.ca else None,
        seconds=s3.time_out.total_seconds(),
        connections=_count_threads(settings),
    )
    return ObjectBucket(access, folder, settings.payloads.inline)


def _count_threads(settings: Settings) -> int:
    """Return how many threads of a process use the database, and the objects, at one time."""
    return max(settings.http.threads, settings.delivery.workers) + 4


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
    database = settings.database
    volume = str(database.volume) if database.volume else None
    objects = build_object_store(settings)
    return make_engine(
        database.url,
        pool_size=_count_threads(settings),
        reserve=database.reserve,
        volume=volume,
        copies=database.copies,
        seconds=database.time_out.total_seconds() if at_work else None,
        objects=objects,
    )

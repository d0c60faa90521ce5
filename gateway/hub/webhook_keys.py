"""Keeps the key of the webhooks, a file of each node that must be the same on all of them.

The database has the digest of the key. A node with another key would sign calls in a way that no receiver
accepts, and would give secrets by which no other node signs. So a node uses only the key of this digest. It
makes a key only where the database has neither a digest nor webhooks.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.file_owner import make_owned_folder, open_owned_file
from gateway.store import WebhookRow, event_readers, read_transaction, shared_files, write_transaction

#: The length of the key.
WEBHOOK_KEY_OCTETS: Final = 32
#: Seconds in which a renewal puts the file of the key in its place after the commit of its digest.
_RENEWAL_SECONDS: Final = 1.0
_SETTING: Final = "api.webhook_key"
_COPY_IT: Final = (
    "copy the file from the node that has it, with the permission 0600; if no node has it, "
    "`gateway webhook renew` makes a new one"
)


def take_webhook_key(
    conn: Connection, path: Path, make_random_octets: Callable[[int], bytes], now: datetime
) -> bytes:
    """Return the key by which the secret of a new webhook is derived, in the transaction that stores it.

    A key is made, and its digest stored, where the database has neither a digest nor a webhook. Raises GW803
    for a node with another key than the others or without one, and where the file cannot be made.
    """
    shared_files.lock_shared_file(conn, shared_files.WEBHOOK_KEY)
    # With this lock two nodes, or two processes of one node, never make a key at the same time: the second
    # one finds the digest of the first one, and makes no file.
    key = _find_key_file(path)
    if key is not None:
        _note_key(conn, key)
        return key
    if _has_key(conn):
        raise _make_missing_error()
    key = make_random_octets(WEBHOOK_KEY_OCTETS)
    shared_files.record_shared_file(conn, shared_files.WEBHOOK_KEY, _digest_key(key), now)
    # The file is on the disk before the digest is committed: no digest is without its key. If the transaction
    # is rolled back, the file is the key of the next webhook of this node; if another node makes one before,
    # this node refuses its file.
    _write_key_file(path, key)
    return key


def read_webhook_key(engine: Engine, path: Path) -> bytes:
    """Return the key of the webhooks, to sign a call.

    A database without a digest has webhooks from an earlier version: the first key that is used counts.
    Raises GW803 for a node without the key, or with another one than the other nodes.
    """
    with read_transaction(engine) as conn:
        row = shared_files.find_shared_file(conn, shared_files.WEBHOOK_KEY)
    if row is not None:
        return _read_expected_key(path, row.mark)
    with write_transaction(engine, "webhook.key") as conn:
        shared_files.lock_shared_file(conn, shared_files.WEBHOOK_KEY)
        key = _read_key_file(path)
        _note_key(conn, key)
    return key


def find_webhook_key_problem(
    engine: Engine, path: Path, wait: Callable[[float], object] = time.sleep
) -> GatewayError | None:
    """Return GW803 for a node that lacks the key of the webhooks, or has another one than the other nodes.

    Returns None also where there is no key yet, because no webhook was made. A problem is looked for twice:
    `gateway webhook renew` changes first the digest and then the file.
    """
    if _find_present_key_problem(engine, path) is None:
        return None
    wait(_RENEWAL_SECONDS)
    return _find_present_key_problem(engine, path)


def _find_present_key_problem(engine: Engine, path: Path) -> GatewayError | None:
    with read_transaction(engine) as conn:
        row = shared_files.find_shared_file(conn, shared_files.WEBHOOK_KEY)
        if row is None and not _has_key(conn):
            return None
    try:
        if row is None:
            _read_key_file(path)
        else:
            _read_expected_key(path, row.mark)
    except GatewayError as problem:
        return problem
    return None


def _read_expected_key(path: Path, mark: str) -> bytes:
    """Return the key of a file; raises GW803 where there is none of this digest."""
    key = _read_key_file(path)
    _check_key(key, mark)
    return key


def prepare_new_key(path: Path, key: bytes) -> Path:
    """Return a new file beside `path` with a key; raises GW803 where that fails, or `path` is a folder."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        # A process that was killed has left its key.
        for left_path in path.parent.glob(f"{path.name}.*.new"):
            left_path.unlink(missing_ok=True)
        return _write_new_file(path, key)
    except OSError as error:
        raise _make_file_error("cannot be made", error) from None


def renew_webhook_key(conn: Connection, key: bytes, now: datetime) -> list[WebhookRow]:
    """Store the digest of a new key, and delete all webhooks, whose secrets end; return them.

    The file of the key is put in its place after the commit: before it, the webhooks have the old key.
    """
    shared_files.lock_shared_file(conn, shared_files.WEBHOOK_KEY)
    ended = list(event_readers.list_all_webhooks(conn))
    for row in ended:
        event_readers.delete_webhook(conn, row.name)
    shared_files.replace_shared_file(conn, shared_files.WEBHOOK_KEY, _digest_key(key), now)
    return ended


def place_new_key(new_path: Path, path: Path) -> None:
    """Put the file of a new key in the place of the old one; raises GW803 where that fails."""
    try:
        os.replace(new_path, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _make_file_error("cannot be put in its place", error) from None


def derive_webhook_secret(key: bytes, webhook_name: str) -> bytes:
    """Return the secret with which the calls of a webhook are signed (HMAC)."""
    return hmac.new(key, f"webhook\n{webhook_name}".encode(), hashlib.sha256).digest()


def _has_key(conn: Connection) -> bool:
    """Return whether a key was made before: the database has its digest, or webhooks of before."""
    if shared_files.find_shared_file(conn, shared_files.WEBHOOK_KEY) is not None:
        return True
    return bool(event_readers.list_all_webhooks(conn, limit=1))


def _note_key(conn: Connection, key: bytes) -> None:
    """Store the digest of a key unless the database has one; raise GW803 if that is of another key."""
    _check_key(key, shared_files.record_shared_file(conn, shared_files.WEBHOOK_KEY, _digest_key(key)).mark)


def _check_key(key: bytes, mark: str) -> None:
    if _digest_key(key) != mark:
        detail = f"this node has another key of the webhooks than the other nodes: {_COPY_IT}"
        raise GatewayError(KEY_UNAVAILABLE, detail, _SETTING)


def _digest_key(key: bytes) -> str:
    """Return the digest of a key, which the database may have: it tells nothing about the key."""
    return hashlib.sha256(b"single window gateway: key of the webhooks\n" + key).hexdigest()


def _read_key_file(path: Path) -> bytes:
    key = _find_key_file(path)
    if key is None:
        raise _make_missing_error()
    return key


def _find_key_file(path: Path) -> bytes | None:
    """Return the key of a file, None where there is no file; raise GW803 for one that is not a key."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _make_file_error("cannot be read", error) from None
    if len(key) != WEBHOOK_KEY_OCTETS:
        detail = f"the key of the webhooks has not {WEBHOOK_KEY_OCTETS} octets: {_COPY_IT}"
        raise GatewayError(KEY_UNAVAILABLE, detail, _SETTING)
    return key


def _write_key_file(path: Path, key: bytes) -> None:
    """Make the file of a new key; raise GW803 where that cannot be done, or where there is a file."""
    try:
        new_path = _write_new_file(path, key)
        try:
            # A link never replaces a file.
            os.link(new_path, path)
        finally:
            new_path.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        raise _make_file_error("cannot be made", error) from None


def _write_new_file(path: Path, key: bytes) -> Path:
    """Return a new file beside `path` with the key, which is on the disk; remove it if that fails."""
    make_owned_folder(path.parent)
    new_path = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with os.fdopen(open_owned_file(new_path, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            new_path.unlink(missing_ok=True)
        raise
    return new_path


def _sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_missing_error() -> GatewayError:
    return GatewayError(KEY_UNAVAILABLE, f"this node has no key of the webhooks: {_COPY_IT}", _SETTING)


def _make_file_error(fault: str, error: OSError) -> GatewayError:
    return GatewayError(KEY_UNAVAILABLE, f"the key of the webhooks {fault}: {error.strerror}", _SETTING)

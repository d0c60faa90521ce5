"""Makes files and folders for the account that owns their place.

Root may run one verb on the home of a service. Otherwise the files that root makes there, such as a lock of
the database or a key, would be closed to the account of the service.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path


def open_owned_file(path: str | Path, flags: int, mode: int = 0o600, *, owner_path: str | Path = "") -> int:
    """Open a file with `flags` of `os.open`, or create it with `mode`; return its descriptor.

    A new file belongs to the owner of the file `owner_path` if that exists, else to the owner of its folder.
    An existing file keeps its owner. Raises OSError; with `os.O_EXCL` also for an existing file or link.
    """
    try:
        # Made by us, and no link that its owner put there: what root gives away is this file alone.
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        copy_file_owner(
            descriptor, owner_path if owner_path and os.path.exists(owner_path) else _get_folder_path(path)
        )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_owned_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder and its missing parent folders; each belongs to the owner of the folder above it."""
    if path.is_dir():
        return
    make_owned_folder(path.parent, mode)
    with suppress(FileExistsError):
        path.mkdir(mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            copy_file_owner(descriptor, path.parent)
        finally:
            os.close(descriptor)


def copy_file_owner(descriptor: int, owner_path: str | Path) -> None:
    """Give an open file to the owner of `owner_path`; do nothing unless this process runs as root."""
    if os.geteuid() == 0:
        status = os.stat(owner_path)
        os.fchown(descriptor, status.st_uid, status.st_gid)


def describe_owner(path: str | Path) -> str:
    """Return the name of the account that owns a file; ``account NUMBER`` for an account without a name."""
    user_id = os.stat(path).st_uid
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"account {user_id}"


def _get_folder_path(path: str | Path) -> str:
    return os.path.dirname(os.path.abspath(path))

"""Makes files and folders for the account that owns their place.

Root may run one verb on the home of a service. Otherwise the files that root makes there, such as a lock of
the database or a key, would be closed to the account of the service.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path


def open_owned_file(path: str | Path, flags: int, mode: int = 0o600, *, like: str | Path = "") -> int:
    """Open a file with these flags of `os.open`; one that is not there is made, unless they forbid it.

    A new one belongs to the owner of `like` where that is there, else to the owner of its folder. One that
    is there keeps its owner. Raises OSError, also for a link where a new file is made.
    """
    try:
        # Made by us, and no link that its owner put there: what root gives away is this file alone.
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        if flags & os.O_EXCL:
            raise
        return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        give_to_owner(descriptor, like if like and os.path.exists(like) else _get_folder(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_owned_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it, where they are not there; each belongs to the owner of its place."""
    if path.is_dir():
        return
    make_owned_folder(path.parent, mode)
    with suppress(FileExistsError):
        path.mkdir(mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            give_to_owner(descriptor, path.parent)
        finally:
            os.close(descriptor)


def give_to_owner(descriptor: int, like: str | Path) -> None:
    """Give an open file to the owner of another one; only root can, for others nothing happens."""
    if os.geteuid() == 0:
        status = os.stat(like)
        os.fchown(descriptor, status.st_uid, status.st_gid)


def describe_owner(path: str | Path) -> str:
    """Return the account that a file belongs to, for people."""
    number = os.stat(path).st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"account {number}"


def _get_folder(path: str | Path) -> str:
    return os.path.dirname(os.path.abspath(path))

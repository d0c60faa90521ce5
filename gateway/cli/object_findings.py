"""Findings about the place of large payloads for `gateway check`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.config import Settings

__all__ = ["find_object_warnings"]

#: File systems of one machine. Others, as those of a network, may keep copies: that cannot be seen from here.
_LOCAL: Final = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
_MOUNTS: Final = Path("/proc/self/mounts")


def find_object_warnings(settings: Settings, mounts: Path = _MOUNTS) -> Iterator[str]:
    """Yield a warning where messages have copies on several servers and large payloads have one only."""
    copies, payloads = settings.database.copies, settings.payloads
    if copies == 1 or payloads.s3.bucket:
        return
    kind = _find_file_system(payloads.folder, mounts)
    if kind in _LOCAL:
        yield (
            f"database.copies is {copies}, but payloads.folder is on a file system of this machine ({kind}): "
            "large payloads have one copy. Use payloads.s3, or a shared folder that is replicated"
        )


def _find_file_system(folder: Path, mounts: Path) -> str:
    """Return the type of the file system of a folder, as Linux lists it; empty where that is not known."""
    wanted, best, kind = os.path.realpath(folder), "", ""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, place, this = [*line.split(" "), "", ""][:3]
        # Later lines cover earlier ones.
        if _contains(place, wanted) and len(place) >= len(best):
            best, kind = place, this
    return kind


def _contains(place: str, path: str) -> bool:
    # Linux writes a blank as \040.
    place = place.replace("\\040", " ").rstrip("/")
    return path == place or path.startswith(place + "/")

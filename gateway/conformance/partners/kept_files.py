"""The files in which a broker keeps what it has sent: one for each message, a folder for one in fragments."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.conformance.partners.message_files import open_message_file
from gateway.errors import GatewayError
from gateway.protocols import Parcel
from gateway.wire import DEFAULT_LIMITS

__all__ = ["WHOLE_FILE", "find_kept_parcel", "make_kept_name", "measure_largest_kept"]

#: The file of a message that is sent in fragments, in a folder of its own.
WHOLE_FILE: Final = "whole.http"


def find_kept_parcel(folder: Path, message_id: str) -> Parcel | None:
    """Return a message of ours that a process has kept below a folder, None where there is none."""
    name = make_kept_name(message_id)
    if name.strip(".") == "":
        return None
    for path in (folder / f"{name}.http", folder / name / WHOLE_FILE):
        if path.is_file():
            with suppress(GatewayError):
                return open_message_file(path, DEFAULT_LIMITS)
    return None


def measure_largest_kept(folder: Path) -> int:
    """Return the octets of the largest message in fragments that is kept below a folder, 0 without any."""
    sizes = [0]
    for path in folder.glob(f"*/{WHOLE_FILE}"):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return max(sizes)


def make_kept_name(message_id: str) -> str:
    """Return the name under which a message is kept: its id, without what a file system may not take."""
    return "".join(sign if sign.isalnum() or sign in "-_.@" else "_" for sign in message_id)[:120]

"""A log of JSON lines that outlives its process: each line is written before an answer is sent."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import finalize

from gateway.errors import GatewayError

__all__ = ["Journal", "read_journal"]


class Journal:
    """Appends one line per call, written to the kernel at once; safe for threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._close = finalize(self, os.close, self._file)
        # A line cut short by a kill must not be joined with the next one.
        if not _ends_with_newline(path):
            os.write(self._file, b"\n")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append `row`."""
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            os.write(self._file, line)

    def write_refusal(self, problem: GatewayError) -> None:
        """Append the problem and the time of a refusal."""
        row = {
            "problem": problem.problem.id,
            "detail": problem.detail[:300],
            "location": problem.location[:200],
        }
        self.write(row | {"at": datetime.now(UTC).isoformat(timespec="milliseconds")})

    def close(self) -> None:
        """Close the file; it is closed without this, too, when nothing refers to the log any more."""
        self._close()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return True
        file.seek(size - 1)
        return file.read(1) == b"\n"


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a log, as far as it has been written; none when there is no file."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row

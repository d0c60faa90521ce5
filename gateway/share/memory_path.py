"""Provides a folder of files held in memory, which is read like one on disk."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Any


class MemoryPath(Traversable):
    """A folder or a file held in memory: nothing is on a disk, and no file handle is left open."""

    def __init__(self, files: Mapping[str, bytes], path: str = "") -> None:
        self._files = files
        self._path = path

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return self._path.rpartition("/")[2]

    def is_file(self) -> bool:
        """Return whether this is a file."""
        return self._path in self._files

    def is_dir(self) -> bool:
        """Return whether there is a file below this path."""
        return any(name.startswith(self._child_prefix) for name in self._files)

    def iterdir(self) -> Iterator[Traversable]:
        """Yield the direct children, each once."""
        start = len(self._child_prefix)
        names = {
            name[start:].partition("/")[0] for name in self._files if name.startswith(self._child_prefix)
        }
        for name in sorted(names):
            yield self.joinpath(name)

    def joinpath(self, *parts: Any) -> Traversable:
        """Return the path below this one."""
        return MemoryPath(self._files, "/".join(part for part in (self._path, *map(str, parts)) if part))

    def read_bytes(self) -> bytes:
        """Return the content of the file; raises FileNotFoundError."""
        if self._path not in self._files:
            raise FileNotFoundError(2, "No such file", self._path)
        return self._files[self._path]

    def read_text(self, encoding: str | None = None) -> str:
        """Return the text of the file."""
        return self.read_bytes().decode(encoding or "utf-8")

    def open(self, mode: str = "r", *_: Any, **options: Any) -> Any:
        """Open the file for reading."""
        stream = io.BytesIO(self.read_bytes())
        return stream if "b" in mode else io.TextIOWrapper(stream, **options)

    @property
    def _child_prefix(self) -> str:
        return f"{self._path}/" if self._path else ""

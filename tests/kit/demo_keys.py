"""The keys of `pki demo` for tests of other verbs: made once in a process, and copied."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from gateway.cli import main

__all__ = ["copy_demo_keys"]


class _KeyFile(NamedTuple):
    """A file of the sandbox: its path in the folder, its octets and its mode."""

    path: Path
    octets: bytes
    mode: int


def copy_demo_keys(folder: Path, *parties: str) -> None:
    """Make a folder with the keys that `pki demo` makes for these parties."""
    folder.mkdir(mode=0o700, parents=True)
    for file in _make_keys(parties):
        place = folder / file.path
        place.parent.mkdir(mode=0o700, exist_ok=True)
        place.write_bytes(file.octets)
        place.chmod(file.mode)


@cache
def _make_keys(parties: tuple[str, ...]) -> list[_KeyFile]:
    words = [word for party in parties for word in ("--party", party)]
    with tempfile.TemporaryDirectory() as folder:
        assert main(["pki", "demo", "--out", folder, *words]) == 0
        return [
            _KeyFile(path.relative_to(folder), path.read_bytes(), path.stat().st_mode & 0o777)
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        ]

"""Names the build of this program: two programs of one version with different code have different builds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final


def _compute_build() -> str:
    """Return twelve hexadecimal digits of the SHA-256 of all Python files, with their names."""
    package, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        digest.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


#: It is computed when the program starts: its files may be those of the next version before it ends.
BUILD: Final = _compute_build()

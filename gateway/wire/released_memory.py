"""Memory that the allocator of the C library holds free, and that the system could use."""

from __future__ import annotations

import ctypes
from typing import Final

__all__ = ["release_memory"]

#: glibc keeps freed memory between blocks in use until malloc_trim is called; other C libraries have no such
#: call.
_trim: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


def release_memory() -> None:
    """Return to the system what the allocator of the C library holds free, as trees leave it."""
    if _trim is not None:
        _trim(0)

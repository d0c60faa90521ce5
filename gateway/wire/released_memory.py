"""Memory that the allocator of the C library holds free, and that the system could use."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

__all__ = ["release_memory", "release_objects"]

#: glibc keeps freed memory between blocks in use until malloc_trim is called; other C libraries have no such
#: call.
_trim: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


def release_memory() -> None:
    """Return to the system what the allocator of the C library holds free, as trees leave it."""
    if _trim is not None:
        _trim(0)


def release_objects() -> None:
    """Return to the system what very many small objects leave free, too.

    Python keeps thousands of freed ones for the next of their kind until all generations are collected,
    and a block of a megabyte stays while one of them lies in it.
    """
    gc.collect()
    release_memory()

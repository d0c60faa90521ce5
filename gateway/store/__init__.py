"""The database access: one function for each query or change.

Every function takes the connection of the caller's transaction first, so that related changes are
committed together. No function reads the clock. A row is returned as one of the protocols `...Row`, which
name its columns with their types; `read_columns` returns all columns of a row by name.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

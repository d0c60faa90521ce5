"""Rows in, rows out: one function for each question asked of the database.

Every function takes the connection of the caller's transaction first, so that what belongs
together is committed together.  Nothing here reads the clock.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Rows in, rows out: one function for each question asked of the database.

Every function takes the connection of the caller's transaction first, so that what belongs
together is committed together.  Nothing here reads the clock.
"""

from __future__ import annotations

from gateway.store.engine import make_engine, read_transaction, write_transaction

__all__ = ["make_engine", "read_transaction", "write_transaction"]

"""The tables of the roll-up that says how many rows are in each state; triggers keep it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["state_changes", "state_totals"]

# How many rows there are with these labels: a measure, and up to two labels of it.
state_totals = Table(
    "state_totals",
    metadata,
    Column("measure", Text, primary_key=True),
    Column("label", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    make_required_column("number", BigInteger),
)

# On PostgreSQL each transaction adds rows here instead, so that no two wait for each other; what is here is
# counted with the totals, and moved into them now and then. SQLite has one writer, and leaves this empty.
state_changes = Table(
    "state_changes",
    metadata,
    make_identity_column(),
    make_required_column("measure"),
    make_required_column("label"),
    make_required_column("state"),
    make_required_column("number", Integer),
)

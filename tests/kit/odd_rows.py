"""Rows of the register as another version of the program could have stored them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Text, select, type_coerce, update

from gateway.store import register_version, write_transaction
from tests.kit import tables

#: A term that this version does not know.
LATER_TERM = {"term_of_a_later_version": 1}


def add_later_term(engine: Engine, agreement: str, **changes: Any) -> None:
    """Give each P-Mode of an agreement a term that this version does not know."""
    pmodes = tables.pmodes
    with write_transaction(engine) as conn:
        for row in conn.execute(select(pmodes).where(pmodes.c.agreement_id == agreement)).all():
            same = (pmodes.c.agreement_id == agreement) & (pmodes.c.id == row.id)
            conn.execute(update(pmodes).where(same).values(parameters=row.parameters | LATER_TERM | changes))
        register_version.increment_register_version(conn)


def spoil_certificate(engine: Engine, sha256: str) -> None:
    """Give a registered certificate octets that this version refuses."""
    certificates = tables.certificates
    with write_transaction(engine) as conn:
        conn.execute(update(certificates).where(certificates.c.sha256 == sha256).values(der=b"\x30\x03odd"))
        register_version.increment_register_version(conn)


def store_text(engine: Engine, agreement: str, column: str, text: str) -> None:
    """Store a text, JSON or not, in a column of an agreement: parameters, overrides or successors."""
    table, key = (tables.pmodes, "agreement_id") if column == "parameters" else (tables.agreements, "id")
    with write_transaction(engine) as conn:
        stored = {table.c[column]: type_coerce(text, Text)}
        conn.execute(update(table).where(table.c[key] == agreement).values(stored))
        register_version.increment_register_version(conn)

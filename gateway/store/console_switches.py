"""Stores which agencies an operator has switched to the console while their own systems are away."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from gateway.errors import TRANSITION_REFUSED, GatewayError
from gateway.store.officer_tables import console_switches
from gateway.store.prepared_statements import InsertIfAbsent

__all__ = ["end_switch", "find_switch", "insert_switch", "list_switches", "share_switch"]

_INSERT = InsertIfAbsent(console_switches, ("agency",), "agency")


def find_switch(conn: Connection, agency: str) -> Row[Any] | None:
    """Return since when, by whom and why an agency is switched to the console; None when it is not."""
    return conn.execute(select(console_switches).where(console_switches.c.agency == agency)).first()


def share_switch(conn: Connection, agency: str) -> bool:
    """Return whether an agency is switched to the console; it stays so until the transaction ends."""
    found = select(console_switches.c.agency).where(console_switches.c.agency == agency)
    return conn.execute(found.with_for_update(read=True)).first() is not None


def list_switches(conn: Connection) -> Sequence[Row[Any]]:
    """Return the agencies that are switched to the console, by their codes."""
    return conn.execute(select(console_switches).order_by(console_switches.c.agency)).all()


def insert_switch(conn: Connection, agency: str, at: datetime, actor: str, reason: str) -> None:
    """Switch an agency to the console; raises GW705 when it is switched already."""
    row = {"agency": agency, "since": at, "switched_by": actor, "reason": reason}
    if _INSERT.insert_one(conn, row) is None:
        raise GatewayError(TRANSITION_REFUSED, f"agency {agency[:40]} is at the console already", "agency")


def end_switch(conn: Connection, agency: str) -> Row[Any]:
    """Switch an agency back to its own system; return how it was switched, or raise GW705."""
    held = select(console_switches).where(console_switches.c.agency == agency).with_for_update()
    row = conn.execute(held).first()
    if row is None:
        detail = f"no operator has switched agency {agency[:40]} to the console"
        raise GatewayError(TRANSITION_REFUSED, detail, "agency")
    conn.execute(delete(console_switches).where(console_switches.c.agency == agency))
    return row

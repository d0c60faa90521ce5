"""Tells which units the requirement ledger counts in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import BindParameter, Connection, Text, bindparam, or_, select

from gateway.store.requirement_tables import (
    awaited_requirements,
    requirement_results,
    requirement_uses,
    requirements,
)
from gateway.store.tables import decisions

__all__ = ["filter_counted_units"]

_UNIT: Final[BindParameter[str]] = bindparam("unit", type_=Text)
#: Whether a certificate is granted, used or waited for in a unit.
_IS_COUNTED: Final = select(
    or_(
        select(requirements.c.id).where(requirements.c.unit == _UNIT).exists(),
        select(requirement_uses.c.id)
        .where(requirement_uses.c.unit == _UNIT, requirement_uses.c.returned_at.is_(None))
        .exists(),
        select(requirement_results.c.id).where(requirement_results.c.unit == _UNIT).exists(),
        select(awaited_requirements.c.id)
        .where(awaited_requirements.c.unit == _UNIT, awaited_requirements.c.ended_at.is_(None))
        .exists(),
        select(decisions.c.id).where(decisions.c.unit == _UNIT, decisions.c.number.is_not(None)).exists(),
    )
)


def filter_counted_units(conn: Connection, units: Iterable[str]) -> list[str]:
    """Return those of the units in which a certificate is granted, used or waited for.

    It reads the whole ledger for a unit that is not counted in: few ask it, and seldom.
    """
    return [one for one in units if conn.execute(_IS_COUNTED, {"unit": one}).scalar_one()]

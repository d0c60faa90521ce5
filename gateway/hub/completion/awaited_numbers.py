"""Reads the numbers that a case waits for, as its Result tells them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.store import requirement_quantities, requirement_results

__all__ = ["AWAITED", "AwaitedNumber", "describe_awaited_numbers", "get_told_numbers", "list_awaited_numbers"]

#: Where a case keeps which numbers its last Result says that it waits for.
AWAITED: Final = "awaited"


@dataclass(frozen=True, slots=True)
class AwaitedNumber:
    """A number that an item waits for: the ledger does not know it, or nothing of it is free."""

    number: str
    agency: str
    item: int
    pointer: str
    is_known: bool


def list_awaited_numbers(conn: Connection, case_id: int) -> tuple[AwaitedNumber, ...]:
    """Return each number that an item of a case waits for, once, in the order of the declaration."""
    waiting = requirement_results.list_awaited_uses(conn, case_id)
    there = {row.number for row in waiting if row.in_ledger}
    found = requirement_quantities.find_requirements(conn, there)
    known = {row.number for row in requirement_quantities.select_certificates(conn, found)}
    places: dict[tuple[str, str, int], str] = {}
    for row in waiting:
        places.setdefault((row.number, row.agency or "", row.item), row.pointer)
    return tuple(
        AwaitedNumber(number, agency, item, pointer, number in known)
        for (number, agency, item), pointer in places.items()
    )


def describe_awaited_numbers(awaited: tuple[AwaitedNumber, ...]) -> list[list[Any]]:
    """Return what a Result says of the numbers that a case waits for, as its case keeps it."""
    return sorted([one.number, one.agency, one.item, one.is_known] for one in awaited)


def get_told_numbers(case: Row[Any]) -> list[list[Any]]:
    """Return what the last Result of a case says of the numbers that it waits for."""
    return list((case.detail or {}).get(AWAITED, ()))

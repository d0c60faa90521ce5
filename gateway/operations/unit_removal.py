"""Refuses mappings whose table of units lacks what the requirement ledger counts in."""

from __future__ import annotations

from sqlalchemy import Connection

from gateway.errors import MAPPING_WRONG, GatewayError
from gateway.harmonize import MappingBundle
from gateway.store import ledger_units

__all__ = ["check_counted_units"]


def check_counted_units(conn: Connection, before: MappingBundle, after: MappingBundle) -> None:
    """Raise GW502 where `after` lacks a unit of `before`, or has it in another dimension, that is counted in.

    Without it a quantity that is written off could not be compared with what is left of its certificate, so
    the certificate could be used twice.
    """
    lost = [
        unit.code
        for unit in before.units.units.values()
        if (found := after.units.get(unit.code)) is None or found.dimension != unit.dimension
    ]
    counted = ledger_units.filter_counted_units(conn, lost)
    if counted:
        detail = (
            f"certificates are granted or used in {', '.join(counted)}: the table of units must keep "
            "each of them in its dimension"
        )
        raise GatewayError(MAPPING_WRONG, detail, "codelists.yaml/units")

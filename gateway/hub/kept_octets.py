"""Reads octets that retention may have removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gateway.errors import OCTETS_PURGED, GatewayError

__all__ = ["read_unless_removed"]

_Read = TypeVar("_Read")


def read_unless_removed(read: Callable[[], _Read]) -> _Read | None:
    """Return what `read` returns; None where retention has removed the octets that it needs (GW320)."""
    try:
        return read()
    except GatewayError as error:
        if error.problem is not OCTETS_PURGED:
            raise
        return None

"""Plays in code: what the tested gateway sends of its own accord, when it repeats it, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.conformance.standard.requirement_player import Play

__all__ = ["PLAYS"]

#: Every play by the name that the tables use.
PLAYS: Final[Mapping[str, Callable[[Play], None]]] = {}

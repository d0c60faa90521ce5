"""Every target, by name, and the cases that were found before."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.fuzz import of_as4, of_documents, of_http, of_messages, of_partners, of_rules, of_web, of_wire
from tests.fuzz.target import Target

__all__ = ["FOUND", "found", "targets"]

FOUND = Path(__file__).resolve().parent / "found"
_GROUPS = (of_wire, of_messages, of_as4, of_documents, of_web, of_partners, of_http, of_rules)


@cache
def targets() -> dict[str, Target]:
    """Return the targets by name."""
    return {target.name: target for group in _GROUPS for target in group.TARGETS}


def found(target: Target) -> list[Path]:
    """Return the cases kept for a target."""
    return sorted((FOUND / target.name).glob("*"))

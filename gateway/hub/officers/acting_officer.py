"""An officer who acts for an agency, and how an act was confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ActingOfficer", "ConfirmedAct"]


@dataclass(frozen=True, slots=True)
class ActingOfficer:
    """An officer: account id, sign-in name, roles, and the agency that the officer acts for."""

    account: int
    name: str
    role: str
    agency: str

    def describe(self) -> dict[str, Any]:
        """Return the officer for the evidence."""
        return {"account": self.account, "name": self.name, "role": self.role}


@dataclass(frozen=True, slots=True)
class ConfirmedAct:
    """How an act was confirmed: what the evidence says, and the octets that prove it (may be empty)."""

    data: Mapping[str, Any]
    octets: bytes = field(default=b"", repr=False)

"""Officers, what an agency demands of them, and how their acts stand, as values."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.accounts import Right
from gateway.errors import GatewayError
from gateway.hub import ActingOfficer
from gateway.web.officers.act_confirmation import ConfirmationMethod

__all__ = ["ActOutcome", "AgencyPolicy", "Officer"]


@dataclass(frozen=True, slots=True)
class Officer:
    """A signed-in officer: account id, sign-in name, roles as text, rights, and the agency."""

    account: int
    name: str
    role: str
    rights: frozenset[Right]
    agency: str

    def to_acting_officer(self) -> ActingOfficer:
        """Return the officer without rights, as the records name it."""
        return ActingOfficer(self.account, self.name, self.role, self.agency)


@dataclass(frozen=True, slots=True)
class AgencyPolicy:
    """What an agency demands of its officers: four eyes for decisions, and how a decision is confirmed."""

    four_eyes: bool
    confirm: frozenset[ConfirmationMethod]


@dataclass(frozen=True, slots=True)
class ActOutcome:
    """How an act stands: PERFORMED, PROPOSED, REFUSED, or INTENDED while something of ours is missing."""

    act: int
    state: str
    problem: GatewayError | None
    case_number: str

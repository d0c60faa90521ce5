"""What is asked of a path and what is answered: time, weak digests, policies, and why it is not valid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from gateway.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REVOKED,
    CERTIFICATE_UNTRUSTED,
    REVOCATION_UNKNOWN,
    Problem,
)

__all__ = ["ANY_POLICY", "ANY_POLICY_IDENTIFIER", "PathFailure", "PathInquiry", "PolicyInputs"]

#: The object identifier of anyPolicy (RFC 5280 §4.2.1.4).
ANY_POLICY_IDENTIFIER: Final = "2.5.29.32.0"


@dataclass(frozen=True, slots=True)
class PathFailure:
    """The reason why a path is not valid."""

    problem: Problem
    reason: str
    final: bool = False

    @property
    def status(self) -> Literal["invalid", "indeterminate"]:
        """Return the status of the resulting verdict."""
        return "indeterminate" if self.problem is REVOCATION_UNKNOWN else "invalid"

    @property
    def weight(self) -> int:
        """Return how much this failure counts among those of several paths; a final one counts most."""
        order = (CERTIFICATE_UNTRUSTED, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED, REVOCATION_UNKNOWN)
        return len(order) if self.final else order.index(self.problem)


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """The inputs of RFC 5280 §6.1.1 (c), (e), (f) and (g): which certificate policies are acceptable.

    ``accepted`` contains object identifiers, or that of anyPolicy. ``of_anchor``: the
    policies in the anchor's certificate bind it too (RFC 5937).
    """

    accepted: frozenset[str] = frozenset({ANY_POLICY_IDENTIFIER})
    explicit: bool = False
    inhibit_mapping: bool = False
    inhibit_any: bool = False
    of_anchor: bool = True


ANY_POLICY: Final = PolicyInputs()


@dataclass(frozen=True, slots=True)
class PathInquiry:
    """The time and the rules for the validation of a path."""

    moment: datetime
    weak_digests: frozenset[str]
    policies: PolicyInputs = ANY_POLICY

    @property
    def without_policies(self) -> PathInquiry:
        """Return the inquiry without policy rules: those of the signers of lists do not matter (§6.3.3)."""
        return replace(self, policies=replace(ANY_POLICY, of_anchor=self.policies.of_anchor))

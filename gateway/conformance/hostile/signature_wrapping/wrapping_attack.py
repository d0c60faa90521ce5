"""What makes a wrapping an attack: a request that the naive verifier takes and the naive gateway misreads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.case_builders import RequestMaker, make_control_scenario
from gateway.conformance.hostile.exchange import Expectation, HttpRequest

__all__ = ["WrappingAttack"]


@dataclass(frozen=True, slots=True)
class WrappingAttack:
    """One variant on one target.

    `accepts_request` is the naive verifier as this attack meets it, `read_target` the naive gateway: what it
    takes for the target.  In the attack that contains `forged`, in the honest message not.
    """

    attack: str
    variant: str
    target: str
    title: str
    source: str
    face: str
    control: RequestMaker
    make: RequestMaker
    accepts_request: Callable[[HttpRequest], bool]
    read_target: Callable[[HttpRequest], str | None]
    forged: str
    expected: Expectation

    @property
    def attack_case(self) -> AttackCase:
        """Return the attack as a case of the corpus."""
        return AttackCase(
            f"{self.attack}.{self.variant}.{self.target.lower()}",
            self.title,
            self.face,
            self.source,
            make_control_scenario(self.control, self.make, self.expected),
            naive=True,
        )

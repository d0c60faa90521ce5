"""What makes a wrapping an attack: a request that the naive verifier takes and the naive gateway misreads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.conformance.hostile.case import Case, Expected, Post
from gateway.conformance.hostile.plays import Maker, after_control

__all__ = ["Wrapping"]


@dataclass(frozen=True, slots=True)
class Wrapping:
    """One variant on one target.

    `takes` is the naive verifier as this attack meets it, `reads` the naive gateway: what it
    takes for the target.  In the attack that contains `forged`, in the honest message not.
    """

    attack: str
    variant: str
    target: str
    title: str
    source: str
    face: str
    control: Maker
    make: Maker
    takes: Callable[[Post], bool]
    reads: Callable[[Post], str | None]
    forged: str
    expected: Expected

    @property
    def case(self) -> Case:
        """Return the attack as a case of the corpus."""
        return Case(
            f"{self.attack}.{self.variant}.{self.target.lower()}",
            self.title,
            self.face,
            self.source,
            after_control(self.control, self.make, self.expected),
            naive=True,
        )

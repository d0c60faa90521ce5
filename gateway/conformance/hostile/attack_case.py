"""What an attack is: a scenario of exchanges with a gateway, and what must come of each.

A scenario is a generator: it yields an exchange and is sent the answer, so that one step can
be made from what the last one brought.  It makes everything from its kit and keeps
nothing, so the same scenario runs against a process, a URL, or a stopwatch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import Answer, Exchange

#: Plays an attack with a kit.
Scenario = Callable[[AttackerKit], Generator[Exchange, Answer, None]]


@dataclass(frozen=True, slots=True)
class AttackCase:
    """One attack.

    `id` is the attack's id in the table, a full stop and the variant (``SIG-07.body-in-header``);
    `source` says where the attack is known from, `feature` what a gateway must have for the
    case to mean something ("" for what each has).  `naive`: the last step carries a signature
    that the naive verifier of this suite accepts, which the suite's own test holds.
    """

    id: str
    title: str
    face: str
    source: str
    scenario: Scenario
    feature: str = ""
    naive: bool = False

    @property
    def attack_id(self) -> str:
        """Return the id of the attack in the table."""
        return self.id.partition(".")[0]

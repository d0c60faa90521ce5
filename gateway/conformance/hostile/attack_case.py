"""An attack: a scenario of exchanges with a gateway, and the required result of each.

A scenario is a generator. It yields an exchange and receives the answer, so that a step can
use the previous answer. It builds everything from its kit and keeps no state, so the same
scenario runs against a process, against a URL, and in a measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import Answer, Exchange

#: Runs an attack with a kit.
Scenario = Callable[[AttackerKit], Generator[Exchange, Answer, None]]


@dataclass(frozen=True, slots=True)
class AttackCase:
    """One attack.

    `id` is the attack's id in the table, a full stop and the variant (``SIG-07.body-in-header``);
    `source` says the origin of the attack, `feature` what a gateway must have for the
    case to apply (empty: every gateway). `naive`: the last step has a signature that the naive
    verifier of this suite accepts; a test of the suite checks this.
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

"""One run of a row: what is sent meanwhile, and what is found out."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.cluster import MEMBERS, Cluster, say
from tests.cluster.database_members import wait_for
from tests.cluster.judge import find_longest_pause
from tests.cluster.traffic import Traffic

__all__ = ["Breaking"]


@dataclass
class Breaking:
    """One run of a row: the cluster, what is sent, chance, and what is found out."""

    cluster: Cluster
    traffic: Traffic
    dice: random.Random
    figures: dict[str, Any] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)

    def steady(self, seconds: float) -> None:
        """Let the broker send for a while."""
        time.sleep(seconds)

    def wait_for_receipts(self, count: int, seconds: float, since: float) -> None:
        """Wait until so many receipts were given since a moment; their absence is a mistake."""

        def enough() -> bool:
            return sum(bool(one.receipt) and one.begun >= since for one in self.traffic.attempts) >= count

        try:
            wait_for(enough, seconds, "no receipts came")
        except TimeoutError as late:
            self.mistakes.append(str(late))

    def note_receipts_meanwhile(self, since: float, *, allowed: bool = False) -> None:
        """Note how many messages that were sent since a moment have a receipt; is one a mistake?"""
        given = sum(bool(one.receipt) and one.begun > since for one in self.traffic.attempts)
        self.figures["receipts meanwhile"] = given
        if given and not allowed and self.cluster.options.synchronous:
            self.mistakes.append(f"{given} receipts while no copy was made")

    def measure_failover(self, since: float) -> None:
        """Note the longest time without a receipt since a moment, and the new primary."""
        pause = find_longest_pause(self.traffic.attempts, since, time.monotonic())
        self.figures["pause"] = round(pause, 1)
        limit = self.cluster.options.limit
        if pause > limit:
            self.mistakes.append(f"{pause:.1f} s without a receipt, {limit:g} s are allowed")

    def fail_over(self, old: str) -> str:
        """Wait for another primary, then for receipts; return its name."""
        since = time.monotonic()

        def find_other() -> str | None:
            for name in MEMBERS:
                told = self.cluster.members.ask(name, "primary") if name != old else None
                if told is not None:
                    return name
            return None

        new = wait_for(find_other, 90, "there is no other primary")
        self.figures["elected"] = round(time.monotonic() - since, 1)
        say(f"  {new} is primary after {self.figures['elected']} s")
        self.wait_for_receipts(10, 60, time.monotonic())
        return new

"""Which fee each notice is about that cancels or confirms one, by the issue times of all notices of one kind.

A notice may name the fee by its payment notice number. One that names none is about the fee that was levied
last of those that were due when it was issued. So the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from gateway.cases.named_fees import FeeStep

__all__ = ["FeeWord", "match_fee_ends"]


class FeeWord(NamedTuple):
    """A notice as far as it says something of a fee; `names` is the payment notice number, or empty."""

    number: str
    issued_at: datetime
    step: str
    names: str

    @property
    def rank(self) -> tuple[datetime, bool, str]:
        """Return what decides which of two is the later one; what is levied can be ended at once."""
        return (self.issued_at, self.step != FeeStep.LEVY, self.number)


def match_fee_ends(said: Iterable[FeeWord]) -> Mapping[str, FeeWord]:
    """Return by the number of the levy the notice that has ended its fee; a fee without one is due.

    `said` are levies, cancellations and confirmations of one kind of fee.
    """
    due: list[FeeWord] = []
    ended: dict[str, FeeWord] = {}
    for word in sorted(said, key=lambda one: one.rank):
        if word.step == FeeStep.LEVY:
            due.append(word)
            continue
        meant = [one for one in due if word.names in ("", one.names)]
        if meant:
            due.remove(meant[-1])
            ended[meant[-1].number] = word
    return ended

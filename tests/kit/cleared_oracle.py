"""A second, plain model of goods that left a case: customs clears them, or a withdrawal was refused before.

It is written from the rules (`gateway/manual/partial-release.md`, `gateway/manual/states.md`), and not from
the code of the hub. To what `ParentModel` knows it adds agencies that cancel their application, children
that customs has cleared, and a withdrawal of the parent that every agency has refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from tests.kit.goods_oracle import Amounts, ParentModel, Rank

__all__ = ["ClearedParentModel", "Told"]

_APPROVALS = ("APPROVED", "APPROVED_WITH_CONDITIONS")
#: What customs is told of an item: its decision, or None where nobody approves it any more.
Told = tuple[int, str | None]


@dataclass
class ClearedParentModel(ParentModel):
    """A decided case, whose children may be cleared by customs."""

    #: The items whose agency has cancelled its application.
    cancelled: set[int] = field(default_factory=set)
    withdraws: bool = False
    withdrawn: bool = False
    #: What customs must have heard after clearance, by the name of the child.
    late: dict[str, list[Told]] = field(default_factory=dict)
    #: The decisions of which customs has heard, by the name of the child.
    heard: set[tuple[str, int, Rank]] = field(default_factory=set)

    @property
    def decisions(self) -> dict[int, str]:
        """Return the decision in force on each item; none on an item of a cancelled application."""
        return {item: code for item, code in super().decisions.items() if item not in self.cancelled}

    def say(self, item: int, rank: Rank, code: str) -> None:
        """Its agency decides about an item; of a cleared child customs hears what is in force then."""
        super().say(item, rank, code)
        for name in self.late:
            self._tell_customs(name, item, rank)
        self._settle()

    def cancel(self, item: int) -> None:
        """The agency of an item cancels its application by itself."""
        self.cancelled.add(item)
        for name, told in self.late.items():
            if item in self.children[name]:
                told.append((item, None))
        self._settle()

    def _tell_customs(self, name: str, item: int, rank: Rank) -> None:
        """Customs hears of a child what is in force then, of each notice once."""
        one = (name, item, rank)
        if item in self.children[name] and rank == max(self.decided[item]) and one not in self.heard:
            self.heard.add(one)
            self.late[name].append((item, self.decided[item][rank]))

    def _settle(self) -> None:
        approved = any(code in _APPROVALS for code in self.decisions.values())
        self.withdrawn = self.withdrawn or (self.withdraws and not approved)

    def clear(self, name: str, at: datetime) -> None:
        """Customs clears a child: what is decided from now on is late, and what was issued after it."""
        self.late.setdefault(name, [])
        for item in sorted(set(self.children[name]) - self.cancelled):
            rank = max(self.decided[item])
            if rank[0] > at:
                self._tell_customs(name, item, rank)

    def may_withdraw(self) -> bool:
        """Return whether the parent may be withdrawn: nothing has left, and not all of it is rejected."""
        return not self.children and not self.withdrawn and self.get_outcome() != "REJECTED"

    def refuse_withdrawal(self) -> None:
        """Its declarant withdraws it, and every agency that approves something refuses to cancel."""
        self.withdraws = True
        self._settle()

    def take(self, name: str, wanted: dict[int, Amounts]) -> set[str]:
        """A child takes items; goods that leave end a withdrawal that was refused."""
        found = {"GW416"} if self.withdrawn else super().take(name, wanted)
        if not found:
            self.withdraws = False
        return found

    def _judge(self, name: str, item: int, wanted: Amounts) -> str | None:
        return "GW414" if item in self.cancelled else super()._judge(name, item, wanted)

    def get_outcome(self, child: str | None = None) -> str:
        """Return the outcome of the case, or of one of its children."""
        if child is None and self.withdrawn:
            return "WITHDRAWN"
        items: Iterable[int] = self.whole if child is None else self.children[child]
        good = [self.decisions.get(item) in _APPROVALS for item in items]
        if all(good):
            return "APPROVED"
        return "PARTIAL" if any(good) else "REJECTED"

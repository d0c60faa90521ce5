"""Drawn runs of declarations that name certificates and are amended, on a real hub, and their model.

An amendment removes an item, changes what an item uses, or names another number. What was written off for
an item stays as it was, or less. An item that its certificate has rejected stays so while it is named as
before, and what waits for a number goes on waiting. All else is judged as in a new declaration.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from tests.flows.craft import all_of, reference, text, withdrawal
from tests.flows.item_changes import remove_item
from tests.flows.test_amendments import amendment
from tests.flows.test_requirement_ledger import using
from tests.kit.goods_oracle import CertificateModel, LedgerModel, UseModel
from tests.kit.goods_turns import GoodsEvent, ResultRun, draw_events, draw_result
from tests.kit.story import Story

__all__ = ["AmendedResultRun", "draw_amended_results"]

_AMENDING: Final[dict[str, int]] = {
    "declare": 6, "say": 6, "change": 8, "again": 2, "withdraw": 1, "tick": 2,
}  # fmt: skip
_ITEMS: Final = (1, 2, 3)


@dataclass
class AmendedLedgerModel(LedgerModel):
    """Certificates without an application, and the items of the declarations that name them."""

    items: dict[str, set[int]] = field(default_factory=dict)

    def declare(self, name: str, lines: Mapping[int, tuple[str, Decimal]]) -> set[str]:
        """A declaration names numbers; return the problems for which it is refused."""
        found = super().declare(name, lines)
        if not found:
            self.items[name] = set(_ITEMS)
        return found

    def amend(self, name: str, lines: Mapping[int, tuple[str, Decimal]], removed: int | None) -> set[str]:
        """A declaration is amended; return the problems for which that is refused."""
        before = self.cases[name]
        used = {
            number: self.get_used(number)
            - sum(one.quantity for one in before.values() if one.written and one.number == number)
            for number in self.certificates
        }
        kept = {item for item, line in lines.items() if _is_kept(before.get(item), *line)}
        for item in kept:
            used[lines[item][0]] += lines[item][1]
        found, idle = set(), set()
        for item, (number, quantity) in lines.items():
            certificate = self.certificates[number]
            if item in kept or not certificate.is_known:
                continue
            had = _is_unchanged(before.get(item), number, quantity)
            if certificate.granted is None:
                idle.add(item)
                found |= set() if had else {"GW412"}
            elif used[number] + quantity > certificate.granted:
                idle.add(item)
                found |= set() if had else {"GW411"}
            if item not in idle or not had:
                used[number] += quantity
        if not found:
            self.items[name] -= {removed}
            self.cases[name] = {
                item: self._make_use(number, quantity, idle=item in idle)
                for item, (number, quantity) in lines.items()
            }
            for number in sorted({one.number for one in before.values()}):
                self._serve(number)
        return found

    def _make_use(self, number: str, quantity: Decimal, *, idle: bool) -> UseModel:
        """Return a line of an amended declaration; an idle one is rejected, or waits for the number."""
        certificate = self.certificates[number]
        written = certificate.is_known and not idle
        return UseModel(number, quantity, written or (idle and certificate.granted is None), written)


def _is_kept(before: UseModel | None, number: str, quantity: Decimal) -> bool:
    return before is not None and before.written and before.number == number and quantity <= before.quantity


def _is_unchanged(before: UseModel | None, number: str, quantity: Decimal) -> bool:
    return before is not None and before.number == number and quantity <= before.quantity


def draw_amended_results(seed: int, length: int = 16) -> list[GoodsEvent]:
    """Return the events of a run of `AmendedResultRun`."""
    return draw_events(seed, length, _AMENDING, _draw)


def _draw(drawn: random.Random, number: int, kind: str) -> GoodsEvent:
    if kind != "change":
        return draw_result(drawn, number, kind)
    _, _, *lines = draw_result(drawn, number, "declare")
    removed = drawn.choice((None, None, 1, 2, 3))
    return (kind, drawn.randint(0, 5), removed, *lines)


class AmendedResultRun(ResultRun):
    """Certificates of an agency, the declarations that name them and are amended, and the model of both."""

    model: AmendedLedgerModel

    def __init__(self, story: Story, name: str) -> None:
        super().__init__(story, name)
        self.model = AmendedLedgerModel({self._number(one): CertificateModel() for one in "XY"})

    def count_items(self, name: str) -> int:
        """Return how many items a declaration has."""
        return len(self.model.items[name])

    def _choose(self, which: int) -> str | None:
        names = sorted(self.model.cases)
        return names[which % len(names)] if names else None

    def _do_change(self, which: int, removed: int | None, *lines: tuple[int, str, str]) -> None:
        name = self._choose(which)
        if name is None:
            return
        # An amendment keeps an item, and what was removed stays so.
        items = self.model.items[name] - {removed} or self.model.items[name]
        uses = {item: (self._number(mark), Decimal(said)) for item, mark, said in lines if item in items}
        change: list[Any] = [
            using(name, *((item, used, f"{said:f}", "KGM") for item, (used, said) in uses.items())),
            *(remove_item(item) for item in _ITEMS if item not in items),
            text(".//GoodsItemQuantity", str(len(items))),
        ]
        gone = removed if removed in self.model.items[name] - items else None
        expected = self.model.amend(name, uses, gone)
        found = self._file(amendment(*change), "Amend")
        assert found == expected, f"the amendment of {name} has {found}, not {expected}"
        self.story.tick(seconds=1)

    def _do_withdraw(self, which: int) -> None:
        name = self._choose(which)
        if name is None:
            return
        rejected = self.model.get_outcome(name, self.count_items(name)) == "REJECTED"
        found = self._file(all_of(withdrawal, reference(name)), "Withdraw")
        assert found == ({"GW407"} if rejected else set()), f"the withdrawal of {name} has {found}"
        if not rejected:
            self.model.withdraw(name)
            self.story.tick(seconds=1)
            assert self._report(self.cases.pop(name))["state"] == "WITHDRAWN"

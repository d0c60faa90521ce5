"""Drawn runs of trees of declarations that name certificates, on a real hub, and their model.

A declaration names numbers that agencies say before or after, its items leave in children, and theirs in
children of the children. Each may name the number of an item with a quantity: it is a part of what is written
off above it, and waits as long as a case above waits for the number. Declarations are withdrawn and amended,
refused items are removed, and agencies approve, revoke and repeat, in any order. `TreeModel` is written from
the rules (`gateway/manual/requirement-ledger.md`, `gateway/manual/partial-release.md`).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from gateway.store import read_transaction, requirement_quantities, requirement_results
from tests.flows.craft import Change, all_of, reference, text, withdrawal
from tests.flows.item_changes import remove_item
from tests.flows.test_amendments import amendment
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import using
from tests.kit.amended_results import AmendedLedgerModel, AmendedResultRun
from tests.kit.goods_oracle import CertificateModel
from tests.kit.goods_turns import GoodsEvent, draw_events, draw_result, read_whole
from tests.kit.story import Story

__all__ = ["TreeModel", "TreeRun", "draw_trees"]

#: A number, and how much of it.
Named = tuple[str, Decimal]
_TURNS: Final[dict[str, int]] = {
    "declare": 4, "take": 9, "say": 7, "state": 4, "change": 2, "remove": 1, "withdraw": 4, "again": 1,
    "tick": 3,
}  # fmt: skip
_ITEMS: Final = (1, 2, 3)
_STATED: Final = (None, "5", "10", "20", "40")
#: Which part of an item leaves in a child, and in a child of a child; so many of them fit.
_PARTS: Final = (16, 128)
_MOST: Final = (12, 4)
_NOTHING: Final = Decimal(0)


def draw_trees(seed: int, length: int = 18) -> list[GoodsEvent]:
    """Return the events of a run of `TreeRun`."""
    return [_draw(random.Random(-seed), 900, "declare"), *draw_events(seed, length, _TURNS, _draw)]


def _draw(drawn: random.Random, number: int, kind: str) -> GoodsEvent:
    items = sorted(drawn.sample(_ITEMS, drawn.choice((1, 1, 2, 3))))
    named = tuple((item, drawn.choice("XY"), drawn.choice(_STATED)) for item in items)
    more: dict[str, tuple[Any, ...]] = {
        "take": (number, drawn.randint(0, 9), named),
        "state": (
            drawn.randint(0, 9),
            tuple((item, drawn.choice("XY"), drawn.choice(_STATED)) for item in _ITEMS),
        ),
        "change": (drawn.randint(0, 9), *draw_result(drawn, number, "declare")[2:]),
        "remove": (drawn.randint(0, 9), drawn.choice(_ITEMS)),
        "withdraw": (drawn.randint(0, 9),),
        # Longer than a case looks again for what was there when it began to wait.
        "tick": (5,),
    }
    return (kind, *more[kind]) if kind in more else draw_result(drawn, number, kind)


@dataclass
class TreeModel(AmendedLedgerModel):
    """Certificates, declarations that name them, and what leaves them in children.

    Of a child `cases` has what it uses itself: where no case above it names a number for the item.
    """

    parents: dict[str, str] = field(default_factory=dict)
    #: What a child names of what is written off above it, and what it waits for there, by item.
    stated: dict[str, dict[int, Named]] = field(default_factory=dict)
    waiting: dict[str, dict[int, Named]] = field(default_factory=dict)

    def list_children(self, name: str) -> list[str]:
        """Return the children of a case that stand."""
        return [one for one, parent in self.parents.items() if parent == name]

    def find_number(self, name: str, item: int) -> str | None:
        """Return the number that a case, or the next one above it, names for an item."""
        for one in self._list_line(name):
            if item in self.cases[one]:
                return self.cases[one][item].number
        return None

    def _list_line(self, name: str) -> Iterator[str]:
        yield name
        while name in self.parents:
            name = self.parents[name]
            yield name

    def _find_owner(self, name: str, item: int) -> tuple[str, Decimal] | None:
        """Return the case that has the number of an item in its name, and how much; None while one waits."""
        for one in self._list_line(name):
            use = self.cases[one].get(item)
            if item in self.waiting[one] or (use is not None and not use.joined):
                return None
            if use is not None:
                return one, use.quantity
            if item in self.stated[one]:
                return one, self.stated[one][item][1]
        raise AssertionError(f"nobody above {name} names a number for item {item}")

    def _get_left(self, name: str, item: int, but: str) -> Decimal | None:
        """Return what children may still name of an item of a case; None while a case waits for it."""
        owner = self._find_owner(name, item)
        return None if owner is None else owner[1] - self._sum_stated(owner[0], item, but)

    def _sum_stated(self, name: str, item: int, but: str) -> Decimal:
        total = _NOTHING
        for one in self.list_children(name):
            if one != but and item in self.stated[one]:
                total += self.stated[one][item][1]
            elif one != but:
                total += self._sum_stated(one, item, but)
        return total

    def declare(self, name: str, lines: Mapping[int, Named]) -> set[str]:
        """A declaration names numbers; return the problems for which it is refused."""
        found = super().declare(name, lines)
        if not found:
            self.stated[name], self.waiting[name] = {}, {}
        return found

    def take(self, name: str, parent: str, items: set[int], lines: Mapping[int, Named]) -> set[str]:
        """Items of a case leave in a child; return the problems for which it is refused."""
        found = self._judge_items(parent, items)
        if found == {"GW416"}:
            return found
        before = copy.deepcopy(self.__dict__)
        above = {item: one for item, one in lines.items() if self.find_number(parent, item) is not None}
        wrong = self._state(name, parent, above)
        found |= wrong | self.declare(name, {item: one for item, one in lines.items() if item not in above})
        if found:
            self.__dict__.update(before)
            return found
        self.items[name], self.parents[name] = set(items), parent
        self._state(name, parent, above)
        return found

    def _judge_items(self, parent: str, items: set[int]) -> set[str]:
        if self.get_outcome(parent, len(self.items[parent])) == "REJECTED":
            return {"GW416"}
        decided = self.get_decisions(parent)
        return {"GW414" for item in items if decided.get(item) == "REJECTED"}

    def _state(self, name: str, parent: str, lines: Mapping[int, Named]) -> set[str]:
        """A child names parts of what is written off above it; return the problem with it."""
        self.stated[name], self.waiting[name] = {}, {}
        for item, one in lines.items():
            left = self._get_left(parent, item, name)
            if left is None:
                self.waiting[name][item] = one
            elif one[1] > left:
                return {"GW411"}
            else:
                self.stated[name][item] = one
        return set()

    def state(self, name: str, lines: Mapping[int, Named]) -> set[str]:
        """A child is amended: it names other quantities; return the problems for which that is refused."""
        if self.list_children(name):
            return {"GW407"}
        parent = self.parents[name]
        found = self._judge_items(parent, self.items[name])
        if found == {"GW416"}:
            return found
        before = copy.deepcopy(self.__dict__)
        above = {item: one for item, one in lines.items() if self.find_number(parent, item) is not None}
        freed = {number for number, _ in (*self.stated[name].values(), *self.waiting[name].values())}
        found |= self._state(name, parent, above)
        own = {item: one for item, one in lines.items() if item not in above}
        found |= self.amend(name, own, None)
        if found:
            self.__dict__.update(before)
            return found
        for number in sorted(freed):
            self._serve(number)
        return found

    def _serve(self, number: str) -> None:
        """Who names a number is served in the order of admission: the cases above have it first."""
        super()._serve(number)
        for name in self.cases:
            for item, one in list(self.stated.get(name, {}).items()):
                if one[0] == number and self._find_owner(self.parents[name], item) is None:
                    # A case above it waits again, and so does the child.
                    self.waiting[name][item] = self.stated[name].pop(item)
            for item, one in list(self.waiting.get(name, {}).items()):
                left = None if one[0] != number else self._get_left(self.parents[name], item, name)
                if left is not None and one[1] <= left:
                    self.stated[name][item] = self.waiting[name].pop(item)

    def withdraw(self, name: str) -> None:
        """A declaration is withdrawn: what it used, or named of what is used above it, is given back."""
        freed = {one.number for one in self.cases[name].values()}
        freed |= {number for number, _ in self.stated.pop(name).values()}
        del self.waiting[name]
        self.parents.pop(name, None)
        super().withdraw(name)
        for number in sorted(freed):
            self._serve(number)

    def get_decisions(self, name: str) -> dict[int, str]:
        """Return the decision on each item that has one, by its own numbers or above it."""
        parent = self.parents.get(name)
        above = {} if parent is None else self.get_decisions(parent)
        return {item: one for item, one in above.items() if item in self.items[name]} | super().get_decisions(
            name
        )

    def get_told(self, name: str) -> dict[int, Any]:
        """Return what customs must hear of each approved item: of what is used above, no quantity."""
        parent, mine = self.parents.get(name), super().get_decisions(name)
        above = {} if parent is None else self.get_told(parent)
        inherited = {
            item: None if one is None else (one[0], None)
            for item, one in above.items()
            if item in self.items[name] and item not in mine
        }
        uses = self.cases[name]
        own = {
            item: (uses[item].number, uses[item].quantity) if uses[item].written else None
            for item, decision in mine.items()
            if decision == "APPROVED"
        }
        return inherited | own

    def _list_awaited(self, name: str) -> list[str]:
        return [*super()._list_awaited(name), *(number for number, _ in self.waiting[name].values())]

    def count_waiting(self, name: str) -> int:
        """Return how many items of a case wait for their number."""
        return len(self.waiting[name]) + sum(not one.joined for one in self.cases[name].values())


class TreeRun(AmendedResultRun):
    """Certificates of an agency, trees of declarations that name them, and the model of all."""

    model: TreeModel

    def __init__(self, story: Story, name: str) -> None:
        super().__init__(story, name)
        self.model = TreeModel({self._number(one): CertificateModel() for one in "XY"})
        self.whole = read_whole(story.submission())

    def _choose(self, which: int) -> str | None:
        """Return a declaration without parent."""
        names = [one for one in self.model.cases if one not in self.model.parents]
        return names[which % len(names)] if names else None

    def _choose_child(self, which: int) -> str | None:
        names = list(self.model.parents)
        return names[which % len(names)] if names else None

    def _make_lines(self, name: str, named: Mapping[int, tuple[str, str | None]]) -> dict[int, Named]:
        """Return what a child of a case names: the number of the item there, or any where that names none."""
        return {
            item: (self.model.find_number(name, item) or self._number(mark), Decimal(quantity))
            for item, (mark, quantity) in named.items()
            if quantity is not None
        }

    def _make_child(self, name: str, parent: str, items: set[int], lines: Mapping[int, Named]) -> Change:
        part = _PARTS[parent in self.model.parents]
        parts = {item: self._make_part(item, part) for item in sorted(items)}
        taken = [(item, f"{net:f}", f"{pieces:f}") for item, (net, pieces) in parts.items()]
        number = str(self._report(self.cases[parent])["number"])
        places = {item: place for place, item in enumerate(sorted(items), 1)}
        used = [(places[item], one, f"{quantity:f}", "KGM") for item, (one, quantity) in lines.items()]
        return all_of(child(name, number, *taken), using(name, *used))

    def _make_part(self, item: int, part: int) -> tuple[Decimal, Decimal]:
        """Return net mass and pieces of a part of an item, at least the least that its figures can say."""
        net, pieces = (max((one / part).quantize(one), _quantum(one)) for one in self.whole[item])
        return net, pieces

    def _do_take(self, number: int, which: int, named: tuple[tuple[int, str, str | None], ...]) -> None:
        names = [
            one
            for one in self.model.cases
            if self.model.parents.get(one) not in self.model.parents
            and len(self.model.list_children(one)) < _MOST[one in self.model.parents]
        ]
        if not names:
            return
        parent, name = names[which % len(names)], f"{self.name}-C{number}"
        wanted = {
            item: (mark, quantity) for item, mark, quantity in named if item in self.model.items[parent]
        }
        if not wanted:
            return
        lines, items = self._make_lines(parent, wanted), set(wanted)
        change = self._make_child(name, parent, items, lines)
        expected = self.model.take(name, parent, items, lines)
        found = self._file(change)
        assert found == expected, f"{name} has {found}, not {expected}"
        if not found:
            self.cases[name] = int(self.story.case().id)
        self.story.tick(seconds=1)

    def _do_state(self, which: int, named: tuple[tuple[int, str, str | None], ...]) -> None:
        name = self._choose_child(which)
        if name is None:
            return
        parent, items = self.model.parents[name], self.model.items[name]
        wanted = {item: (mark, quantity) for item, mark, quantity in named if item in items}
        lines = self._make_lines(parent, wanted)
        change = all_of(self._make_child(name, parent, items, lines), amendment())
        expected = self.model.state(name, lines)
        found = self._file(change, "Amend")
        assert found == expected, f"the amendment of {name} has {found}, not {expected}"
        self.story.tick(seconds=1)

    def _do_change(self, which: int, *lines: Any) -> None:
        name = self._choose(which)
        if name is None:
            return
        if not self.model.list_children(name):
            super()._do_change(which, None, *lines)
            return
        change = self._make_root(name, self.model.items[name])
        found = self._file(amendment(change, text(".//Importer/Name", "ANOTHER NAME")), "Amend")
        assert found == {"GW407"}, f"the amendment of {name}, which has children, has {found}"

    def _make_root(self, name: str, items: set[int]) -> Change:
        """Return a declaration as it is, with these items."""
        uses = self.model.cases[name]
        named = [
            (item, one.number, f"{one.quantity:f}", "KGM") for item, one in uses.items() if item in items
        ]
        gone = [remove_item(item) for item in _ITEMS if item not in items]
        return all_of(using(name, *named), *gone, text(".//GoodsItemQuantity", str(len(items))))

    def _do_remove(self, which: int, item: int) -> None:
        """A refused item is removed, also where others have left."""
        name = self._choose(which)
        if name is None or item not in self.model.items[name] or len(self.model.items[name]) < 2:
            return
        children = self.model.list_children(name)
        gone = any(item in self.model.items[one] for one in children)
        refused = self.model.get_decisions(name).get(item) == "REJECTED"
        items = self.model.items[name] - {item}
        lines = {
            one: (use.number, use.quantity) for one, use in self.model.cases[name].items() if one in items
        }
        change = self._make_root(name, items)
        expected = {"GW407"} if children and (gone or not refused) else self.model.amend(name, lines, item)
        found = self._file(amendment(change), "Amend")
        assert found == expected, f"the removal of {item} from {name} has {found}, not {expected}"
        self.story.tick(seconds=1)

    def _do_withdraw(self, which: int) -> None:
        names = list(self.model.cases)
        if not names:
            return
        name = names[which % len(names)]
        rejected = self.model.get_outcome(name, self.count_items(name)) == "REJECTED"
        kept = (rejected and name not in self.model.parents) or self.model.list_children(name)
        found = self._file(all_of(withdrawal, reference(name)), "Withdraw")
        assert found == ({"GW407"} if kept else set()), f"the withdrawal of {name} has {found}"
        if not kept:
            self.model.withdraw(name)
            self.story.tick(seconds=1)
            assert self._report(self.cases.pop(name))["state"] == "WITHDRAWN"

    def check(self) -> None:
        """Compare what is used, named below and waited for, and what each declaration was told."""
        model = self.model
        with read_transaction(self.story.house.engine) as conn:
            rows = requirement_quantities.find_requirements(conn, list(model.certificates))
            waits = {
                name: len(requirement_results.list_awaited_uses(conn, one))
                for name, one in self.cases.items()
            }
            stated = {
                name: {row.item: (row.number, Decimal(row.quantity)) for row in
                       requirement_quantities.list_stated_uses(conn, [one])}
                for name, one in self.cases.items()
            }  # fmt: skip
        used = {row.number: Decimal(row.used.get("KGM", 0)) for row in rows}
        for number in model.certificates:
            wanted = model.get_used(number)
            assert used.get(number, _NOTHING) == wanted, f"{used.get(number)} of {number} used, not {wanted}"
        for name in model.cases:
            assert stated[name] == model.stated[name], (
                f"{name} names {stated[name]}, not {model.stated[name]}"
            )
            assert waits[name] == model.count_waiting(name), f"{name} waits for {waits[name]}"
            self._check_case(name, model.get_outcome(name, self.count_items(name)), model.get_decisions(name))
            self._check_warnings(name)
            self._check_customs(name)


def _quantum(one: Decimal) -> Decimal:
    return Decimal(1).scaleb(int(one.as_tuple().exponent))

"""Drawn runs of a certificate whose item an amendment removes, on a real hub, and their model.

An agency approves an item as a certificate, rejects it, is asked whether it cancels the application of the
removed item (G03, G04), and decides again, in any order of arrival. Other declarations use the certificate,
before and after. The model is written from the rules (`gateway/manual/states.md`, certificates of removed
items, and `gateway/manual/requirement-ledger.md`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest

from gateway.cases import AgencyAcknowledgment, AgencyCallback, Decision, DecisionCode, Notice
from gateway.errors import GatewayError
from gateway.store import (
    agency_requests,
    cases,
    read_transaction,
    requirement_quantities,
    requirement_results,
)
from tests.flows.craft import all_of, reference, withdrawal
from tests.flows.item_changes import amendment, drop_application, remove_item
from tests.flows.test_requirement_ledger import using
from tests.kit.goods_oracle import Rank
from tests.kit.goods_turns import GoodsEvent, GoodsRun, draw_events
from tests.kit.story import ITEMS, LAWS, Story

__all__ = ["RemovedCertificateModel", "RemovedRun", "draw_removals"]

_AGENCY: Final = "KFDA"
_TURNS: Final[dict[str, int]] = {
    "decide": 7, "use": 9, "remove": 3, "answer": 3, "itself": 1, "give": 3, "again": 3, "tick": 2,
}  # fmt: skip
_NOTHING: Final = Decimal(0)


def draw_removals(seed: int, length: int = 16) -> list[GoodsEvent]:
    """Return the events of a run of `RemovedRun`; in most of them the item is approved, and soon removed."""
    drawn = random.Random(-seed)
    begun: list[GoodsEvent] = [
        ("decide", 900, "100", -10),
        ("use", 901, "20"),
        ("remove",),
        ("use", 902, "40"),
    ]
    kept = [one for one in begun if drawn.random() < 0.8]
    return [*kept, *draw_events(seed, length, _TURNS, _draw)]


def _draw(drawn: random.Random, number: int, kind: str) -> GoodsEvent:
    more: dict[str, tuple[Any, ...]] = {
        "decide": (number, drawn.choice((None, "50", "100", "100")), drawn.randint(-9, 9)),
        "use": (number, drawn.choice(("10", "20", "40"))),
        "remove": (),
        "answer": (number, drawn.choice(("G03", "G04", "G04"))),
        "itself": (number,),
        "give": (drawn.randint(0, 5),),
        "again": (drawn.randint(0, 5),),
        "tick": (5,),
    }
    return (kind, *more[kind])


@dataclass
class RemovedCertificateModel:
    """The certificate of one item, what its agency said of it, and the declarations that name it."""

    said: dict[Rank, Decimal | None] = field(default_factory=dict)
    removed: bool = False
    asked: bool = False
    cancelled: bool = False
    #: Each declaration with what it uses, and whether that is written off.
    users: dict[str, tuple[Decimal, bool]] = field(default_factory=dict)

    @property
    def latest(self) -> Decimal | None:
        """Return the quantity in force; None where the item is rejected, or nothing was said."""
        return self.said[max(self.said)] if self.said else None

    @property
    def usable(self) -> Decimal | None:
        """Return how much was granted under the number, where it can be used."""
        return None if self.asked or self.cancelled else self.latest

    @property
    def is_known(self) -> bool:
        """Return whether an approval has brought the number into the ledger."""
        return any(one is not None for one in self.said.values())

    @property
    def used(self) -> Decimal:
        """Return what is written off."""
        return sum((quantity for quantity, written in self.users.values() if written), _NOTHING)

    @property
    def outcome(self) -> str | None:
        """Return the outcome of the case of the item; its other items are approved."""
        if self.asked or not (self.removed or self.cancelled or self.said):
            return None
        return "APPROVED" if self.removed or (self.latest is not None and not self.cancelled) else "PARTIAL"

    def decide(self, rank: Rank, quantity: Decimal | None) -> None:
        """The agency decides; of an item that is removed that answers whether it cancels."""
        self.said[rank] = quantity
        self.asked = False
        self._serve()

    def remove(self) -> None:
        """The item is removed: the agency is asked, unless it has rejected the item."""
        self.removed = True
        self.asked = not (self.said and self.latest is None)

    def answer(self, status: str) -> None:
        """The agency cancels its application, or does not."""
        self.asked = False
        self.cancelled = self.cancelled or status != "G04"
        self._serve()

    def use(self, name: str, quantity: Decimal) -> set[str]:
        """A declaration names the certificate; return the problems for which it is refused."""
        if not self.is_known:
            self.users[name] = quantity, False
        elif self.usable is None:
            return {"GW412"}
        elif self.used + quantity > self.usable:
            return {"GW411"}
        else:
            self.users[name] = quantity, True
        return set()

    def give(self, name: str) -> None:
        """A declaration is withdrawn."""
        del self.users[name]
        self._serve()

    def _serve(self) -> None:
        for name, (quantity, written) in self.users.items():
            if not written and self.usable is not None and self.used + quantity <= self.usable:
                self.users[name] = quantity, True


class RemovedRun(GoodsRun):
    """A case with an item that may be removed, the declarations that use its certificate, and the model."""

    def __init__(self, story: Story, name: str) -> None:
        super().__init__(story, name)
        self.model = RemovedCertificateModel()
        story.submit(story.submission(reference(name)))
        story.tick(seconds=1)
        self.cases[name] = int(story.case().id)
        with read_transaction(story.house.engine) as conn:
            asked = agency_requests.list_by_case(conn, self.cases[name])
        self.requests = {row.agency: row.number for row in asked}
        for agency in ("KPTA", "NPQS"):
            one = Decision(ITEMS[agency], LAWS[agency], DecisionCode.APPROVED, f"P-{agency}")
            said = Notice(f"{name}-{agency}", story.clock(), "R01", (one,))
            self._call(agency, AgencyCallback(said, self.requests[agency]))
        self.said.clear()
        story.tick(seconds=1)

    @property
    def number(self) -> str:
        """Return the number of the certificate."""
        return f"{self.name}-Y"

    def _do_decide(self, number: int, quantity: str | None, minute: int) -> None:
        at = self.story.clock() + timedelta(seconds=30 * minute)
        amount = None if quantity is None else Decimal(quantity)
        code = DecisionCode.REJECTED if amount is None else DecisionCode.APPROVED
        unit = None if amount is None else "KGM"
        one = Decision(ITEMS[_AGENCY], LAWS[_AGENCY], code, self.number, quantity=amount, unit=unit)
        notice = Notice(f"{self.name}-{number:03}", at, "R04" if amount is None else "R01", (one,))
        if self.model.cancelled:
            with pytest.raises(GatewayError, match="GW703"):
                self._call(_AGENCY, AgencyCallback(notice, self.requests[_AGENCY]))
            self.said.pop()
            return
        self._call(_AGENCY, AgencyCallback(notice, self.requests[_AGENCY]))
        self.model.decide((at, notice.number), amount)
        self.story.tick(seconds=1)

    def _do_again(self, which: int) -> None:
        if not self.model.cancelled:
            super()._do_again(which)

    def _do_remove(self) -> None:
        if self.model.removed or self.model.cancelled:
            return
        self.story.say(_AGENCY, AgencyAcknowledgment("heard"))
        change = all_of(reference(self.name), amendment(remove_item(2), drop_application("A2")))
        found = self._file(change, "Amend")
        assert found == set(), f"the removal has {found}"
        self.model.remove()
        self.story.tick(seconds=1)

    def _do_answer(self, number: int, status: str) -> None:
        if self.model.asked:
            self._tell(number, status)

    def _do_itself(self, number: int) -> None:
        if not self.model.cancelled:
            self._tell(number, "G01")

    def _tell(self, number: int, status: str) -> None:
        said = Notice(f"{self.name}-{number:03}", self.story.clock(), status, ())
        self._call(_AGENCY, AgencyCallback(said, self.requests[_AGENCY]))
        self.model.answer(status)
        self.story.tick(seconds=1)

    def _do_use(self, number: int, quantity: str) -> None:
        name = f"{self.name}-D{number}"
        expected = self.model.use(name, Decimal(quantity))
        found = self._file(using(name, (1, self.number, quantity, "KGM")))
        assert found == expected, f"{name} has {found}, not {expected}"
        if not found:
            self.cases[name] = int(self.story.case().id)

    def _do_give(self, which: int) -> None:
        names = list(self.model.users)
        if not names:
            return
        name = names[which % len(names)]
        assert self._file(all_of(withdrawal, reference(name)), "Withdraw") == set()
        self.model.give(name)
        self.story.tick(seconds=1)
        assert self._report(self.cases.pop(name))["state"] == "WITHDRAWN"

    def check(self) -> None:
        """Compare what is used of the certificate, who waits for it, and how each case stands."""
        with read_transaction(self.story.house.engine) as conn:
            rows = requirement_quantities.find_requirements(conn, [self.number])
            waits = {
                name: bool(requirement_results.list_awaited_uses(conn, self.cases[name]))
                for name in self.model.users
            }
            opened = cases.find_by_id(conn, self.cases[self.name])
        used = sum((Decimal(row.used.get("KGM", 0)) for row in rows), _NOTHING)
        assert used == self.model.used, f"{used} used, not {self.model.used}"
        wanted = {name: not written for name, (_, written) in self.model.users.items()}
        assert waits == wanted, f"{waits} wait, not {wanted}"
        assert opened is not None
        assert opened.outcome == self.model.outcome, f"{opened.outcome}, not {self.model.outcome}"
        assert (opened.state == "CLOSED") == (self.model.outcome is not None), opened.state
        for name in self.model.users:
            self._check_case(name, "APPROVED", {})

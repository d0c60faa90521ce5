"""A second, plain model of declarations that are held until the documents that they lack are there.

It is written from the rules (`gateway/manual/rules-of-need.md`, `partial-release.md` and
`requirement-ledger.md`), and not from the code of the hub. Each of the three items of the sample needs one
document, and the policy is `hold`. `HeldParentModel` is a case whose items leave in child declarations,
`HeldLedgerModel` certificates without an application and the declarations that name them.

What the rules leave open: of several held cases that compete for one quantity, any may have it. The model is
told who went on (`resume`), checks that they may, and that nobody is held on who lacks nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Generic, TypeAlias, TypeVar

from tests.kit.goods_oracle import Amounts, CertificateModel, LedgerModel, ParentModel

__all__ = ["HeldCaseModel", "HeldLedgerModel", "HeldParentModel", "Lines"]

#: What each item of a declaration uses: a number and a quantity, or nothing.
Lines: TypeAlias = dict[int, tuple[str, Decimal] | None]
_APPROVALS = ("APPROVED", "APPROVED_WITH_CONDITIONS")


_Wanted = TypeVar("_Wanted")


@dataclass
class HeldCaseModel(Generic[_Wanted]):
    """A held declaration: what it wants, and until when it is held."""

    wanted: _Wanted
    until: datetime


@dataclass
class HeldParentModel(ParentModel):
    """A case that may be held itself, its children, and those of them that are held."""

    #: HELD, OPEN once its agencies have it, REFUSED or WITHDRAWN.
    state: str = "OPEN"
    parent: HeldCaseModel[None] | None = None
    held: dict[str, HeldCaseModel[dict[int, Amounts]]] = field(default_factory=dict)
    #: How each other child has ended.
    ended: dict[str, str] = field(default_factory=dict)
    #: How often each child was held.
    told: dict[str, int] = field(default_factory=dict)

    @property
    def is_decided(self) -> bool:
        """Return whether all agencies have decided."""
        return self.state == "OPEN" and set(self.decided) == set(self.whole)

    @property
    def is_awaited(self) -> bool:
        """Return whether the case is not decided yet: its children wait for it."""
        return self.state == "HELD" or (self.state == "OPEN" and not self.is_decided)

    def is_covered(self, wanted: Collection[int]) -> bool:
        """Return whether each item has the approval of its parent, and so lacks no document."""
        said = self.decisions
        return all(said.get(item) in _APPROVALS for item in wanted)

    def take(self, name: str, wanted: dict[int, Amounts]) -> set[str]:
        """A child takes items; return the problems for which it is refused."""
        return super().take(name, wanted) if self.is_decided else {"GW416"}

    def file(self, name: str, wanted: dict[int, Amounts], until: datetime) -> set[str]:
        """A child is filed; return the problems for which it is refused. It may be held."""
        if self.state in ("REFUSED", "WITHDRAWN"):
            return {"GW416"}
        if self.is_covered(wanted) and not self.is_awaited:
            return self.take(name, wanted)
        self.held[name] = HeldCaseModel(wanted, until)
        self.told[name] = 1
        return set()

    def change(self, name: str, wanted: dict[int, Amounts]) -> set[str]:
        """A child that is not held is amended: what it makes lacking refuses the amendment."""
        found = self.judge_items(name, self.children[name], wanted)
        if not found and not self.is_covered(wanted):
            return {"GW508"}
        return super().change(name, wanted)

    def file_again(self, name: str, wanted: dict[int, Amounts]) -> set[str]:
        """A held child is filed again; return the problems for which that is refused."""
        one = self.held[name]
        found = self.judge_items(name, one.wanted, wanted)
        if found:
            return found
        before = one.wanted
        if self.is_covered(wanted) and not self.is_awaited:
            found = self.take(name, wanted)
            if not found:
                del self.held[name]
        else:
            one.wanted = wanted
            self.told[name] += 1
        if not found:
            self.drop_items(name, before, wanted)
        return found

    def find_problems(self, name: str, wanted: dict[int, Amounts]) -> set[str]:
        """Return for which problems a child would be refused if it took items now."""
        before = dict(self.children)
        found = self.take(name, wanted)
        self.children = before
        return found

    def give(self, name: str) -> None:
        """A child is withdrawn, held or not: what it took is back."""
        if self.held.pop(name, None) is None:
            del self.children[name]
        self.ended[name] = "WITHDRAWN"

    def withdraw_parent(self) -> None:
        """The parent, which is held, is withdrawn: nothing leaves of it any more, and its children end."""
        self.state = "WITHDRAWN"
        self._end_children()

    def _end_children(self) -> None:
        self.ended |= dict.fromkeys(self.held, "REFUSED")
        self.held.clear()

    def expire(self, now: datetime) -> None:
        """Refuse what was held long enough, and the children with their parent."""
        for name in [one for one, held in self.held.items() if held.until <= now]:
            del self.held[name]
            self.ended[name] = "REFUSED"
        if self.state == "HELD" and self.parent is not None and self.parent.until <= now:
            self.state = "REFUSED"
            self._end_children()

    def resume(self, names: Collection[str]) -> None:
        """Let held children go on; those that are held on must have a reason."""
        for name in names:
            wanted = self.held.pop(name).wanted
            assert self.is_covered(wanted), f"{name} went on without its documents"
            assert not (found := self.take(name, wanted)), f"{name} went on in spite of {found}"
        for name, one in self.held.items():
            stays = not self.is_covered(one.wanted) or self.find_problems(name, one.wanted)
            assert stays, f"{name} is held and lacks nothing"


@dataclass
class HeldLedgerModel(LedgerModel):
    """Certificates of several agencies, declarations that name them, and those of them that are held.

    A declaration is what each of its items uses: a number and a quantity, or None.
    """

    laws: Mapping[int, str] = field(default_factory=dict)
    law_of: Mapping[str, str] = field(default_factory=dict)
    held: dict[str, HeldCaseModel[Lines]] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)

    def is_covered(self, lines: Lines) -> bool:
        """Return whether each item uses a certificate under its law of which enough is left."""
        left: dict[str, Decimal] = {}
        for item, line in lines.items():
            if line is None or self.law_of[line[0]] != self.laws[item]:
                return False
            number, quantity = line
            certificate: CertificateModel = self.certificates[number]
            if not certificate.is_known or certificate.granted is None:
                return False
            left[number] = left.get(number, certificate.granted - self.get_used(number)) - quantity
        return all(one >= 0 for one in left.values())

    def file(self, name: str, lines: Lines, until: datetime, *, again: bool = False) -> None:
        """A declaration is filed for the first time, or `again` while it is held; it is held or goes on."""
        if self.is_covered(lines):
            self.held.pop(name, None)
            self._admit(name, lines)
        elif again:
            self.held[name].wanted = lines
            self.told[name] += 1
        else:
            self.held[name] = HeldCaseModel(lines, until)
            self.told[name] = 1

    def _admit(self, name: str, lines: Lines) -> None:
        found = self.declare(name, {item: line for item, line in lines.items() if line is not None})
        assert not found, f"{name} went on in spite of {found}"

    def expire(self, now: datetime) -> None:
        """Refuse what was held long enough."""
        for name in [one for one, held in self.held.items() if held.until <= now]:
            del self.held[name]
            self.ended[name] = "REFUSED"

    def withdraw(self, name: str) -> None:
        """A declaration is withdrawn: what it used is given back."""
        if self.held.pop(name, None) is None:
            super().withdraw(name)
        self.ended[name] = "WITHDRAWN"

    def is_rejected(self, name: str) -> bool:
        """Return whether nothing of a declaration is approved, so that there is nothing to withdraw."""
        return name in self.cases and self.get_outcome(name, len(self.cases[name])) == "REJECTED"

    def resume(self, names: Collection[str]) -> None:
        """Let held declarations go on; those that are held on must have a reason."""
        for name in names:
            lines = self.held.pop(name).wanted
            assert self.is_covered(lines), f"{name} went on without its documents"
            self._admit(name, lines)
        for name, one in self.held.items():
            assert not self.is_covered(one.wanted), f"{name} is held and lacks nothing"

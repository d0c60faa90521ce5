"""A second, plain model of goods that several declarations share: whoever takes them, none is taken twice.

It is written from the rules (`gateway/manual/partial-release.md`, `gateway/manual/requirement-ledger.md`),
and not from the code of the hub. `ParentModel` is a decided case whose items leave in child declarations.
`LedgerModel` is the certificates that agencies give without an application, and the declarations that
name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

__all__ = ["Amounts", "CertificateModel", "LedgerModel", "ParentModel", "UseModel"]

_NOTHING = Decimal(0)
_APPROVALS = ("APPROVED", "APPROVED_WITH_CONDITIONS")
#: How much of each measure of an item.
Amounts = tuple[Decimal, ...]
#: When a decision was issued, and the number of its notice: the highest counts.
Rank = tuple[datetime, str]


def _compute_outcome(approved: int, rejected: int) -> str:
    if not rejected:
        return "APPROVED"
    return "PARTIAL" if approved else "REJECTED"


@dataclass
class ParentModel:
    """A decided case: its items, what is decided about each, and what each child has of them."""

    whole: Mapping[int, Amounts]
    decided: dict[int, dict[Rank, str]] = field(default_factory=dict)
    children: dict[str, dict[int, Amounts]] = field(default_factory=dict)
    #: The items that an amended child has no more, by the name of the child.
    dropped: dict[str, set[int]] = field(default_factory=dict)

    @property
    def decisions(self) -> dict[int, str]:
        """Return the decision in force on each item."""
        return {item: said[max(said)] for item, said in self.decided.items()}

    def say(self, item: int, rank: Rank, code: str) -> None:
        """Its agency decides about an item."""
        self.decided.setdefault(item, {})[rank] = code

    def get_left(self, item: int, *, but: str = "") -> Amounts:
        """Return what stays of an item; `but`: what this child has is counted as left."""
        gone = [taken[item] for name, taken in self.children.items() if item in taken and name != but]
        return tuple(
            all_of_it - sum(amounts, _NOTHING)
            for all_of_it, *amounts in zip(self.whole[item], *gone, strict=True)
        )

    def take(self, name: str, wanted: dict[int, Amounts]) -> set[str]:
        """A child takes items; return the problems for which it is refused."""
        if not any(code in _APPROVALS for code in self.decisions.values()):
            return {"GW416"}
        found = {problem for item in wanted if (problem := self._judge(name, item, wanted[item]))}
        if not found:
            self.children[name] = wanted
        return found

    def change(self, name: str, wanted: dict[int, Amounts]) -> set[str]:
        """A child is amended; return the problems for which that is refused."""
        before = self.children[name]
        found = self.judge_items(name, before, wanted) or self.take(name, wanted)
        if not found:
            self.drop_items(name, before, wanted)
        return found

    def judge_items(self, name: str, before: Iterable[int], wanted: Iterable[int]) -> set[str]:
        """Return the problems of the items of an amended child: one stays, and none comes back."""
        if not set(before) & set(wanted):
            return {"GW404"}
        return {"GW419"} if self.dropped.get(name, set()) & set(wanted) else set()

    def drop_items(self, name: str, before: Iterable[int], wanted: Iterable[int]) -> None:
        """Remember the items that an amended child has no more."""
        self.dropped.setdefault(name, set()).update(set(before) - set(wanted))

    def _judge(self, name: str, item: int, wanted: Amounts) -> str | None:
        if self.decisions[item] not in _APPROVALS:
            return "GW414"
        left = self.get_left(item, but=name)
        short = any(not one or one > there for one, there in zip(wanted, left, strict=True))
        return "GW415" if short else None

    def get_outcome(self, child: str | None = None) -> str:
        """Return the outcome of the case, or of one of its children."""
        items = self.whole if child is None else self.children[child]
        codes = [self.decisions[item] in _APPROVALS for item in items]
        return _compute_outcome(codes.count(True), codes.count(False))


@dataclass
class CertificateModel:
    """A number of an agency: what it said under it, by rank; None for what it takes back."""

    said: dict[Rank, Decimal | None] = field(default_factory=dict)

    @property
    def is_known(self) -> bool:
        """Return whether its agency has said something."""
        return bool(self.said)

    @property
    def granted(self) -> Decimal | None:
        """Return the quantity in force; None for a certificate that is revoked."""
        return self.said[max(self.said)]


@dataclass
class UseModel:
    """What one item of a declaration uses of a certificate."""

    number: str
    quantity: Decimal
    #: It has the decision that stands under the number, and does not wait for the number.
    joined: bool = False
    #: The quantity is written off.
    written: bool = False


@dataclass
class LedgerModel:
    """Certificates without an application, and the declarations that name them, in their order."""

    certificates: dict[str, CertificateModel]
    cases: dict[str, dict[int, UseModel]] = field(default_factory=dict)

    def get_used(self, number: str) -> Decimal:
        """Return what is written off a certificate."""
        return sum((one.quantity for one in self._list_uses(number) if one.written), _NOTHING)

    def _list_uses(self, number: str) -> list[UseModel]:
        return [one for uses in self.cases.values() for one in uses.values() if one.number == number]

    def declare(self, name: str, lines: Mapping[int, tuple[str, Decimal]]) -> set[str]:
        """A declaration names numbers; return the problems for which it is refused."""
        found, used = set(), {number: self.get_used(number) for number in self.certificates}
        for number, quantity in lines.values():
            certificate = self.certificates[number]
            if not certificate.is_known:
                continue
            if certificate.granted is None:
                found.add("GW412")
                continue
            used[number] += quantity
            if used[number] > certificate.granted:
                found.add("GW411")
        if not found:
            self.cases[name] = {
                item: UseModel(number, quantity, known := self.certificates[number].is_known, known)
                for item, (number, quantity) in lines.items()
            }
        return found

    def say(self, number: str, rank: Rank, quantity: Decimal | None) -> None:
        """An agency approves a quantity under a number, or takes it back: who names it is served in order."""
        certificate = self.certificates[number]
        certificate.said[rank] = quantity
        self._serve(number)

    def _serve(self, number: str) -> None:
        certificate = self.certificates[number]
        if not certificate.is_known:
            return
        for one in self._list_uses(number):
            if certificate.granted is None:
                # Also who waits for the number has the decision then.
                one.joined, one.written = True, False
            elif not one.written:
                # Where too little is left it waits, also if it had the number before.
                one.joined = one.written = self.get_used(number) + one.quantity <= certificate.granted

    def withdraw(self, name: str) -> None:
        """A declaration is withdrawn: what it used is given back."""
        for one in self.cases.pop(name).values():
            self._serve(one.number)

    def get_decisions(self, name: str) -> dict[int, str]:
        """Return the decision on each item of a declaration that has one."""
        return {
            item: "REJECTED" if self.certificates[one.number].granted is None else "APPROVED"
            for item, one in self.cases[name].items()
            if one.joined
        }

    def get_told(self, name: str) -> dict[int, tuple[str, Decimal] | None]:
        """Return what customs must hear of each approved item: number and quantity if it is written off."""
        uses, decided = self.cases[name], self.get_decisions(name)
        return {
            item: (uses[item].number, uses[item].quantity) if uses[item].written else None
            for item, decision in decided.items()
            if decision == "APPROVED"
        }

    def list_warned(self, name: str) -> list[str]:
        """Return what the Result warns of for each item that waits: an unknown number, or too little."""
        return sorted(
            "GW411" if self.certificates[number].is_known else "GW413" for number in self._list_awaited(name)
        )

    def _list_awaited(self, name: str) -> list[str]:
        return [one.number for one in self.cases[name].values() if not one.joined]

    def get_outcome(self, name: str, items: int) -> str:
        """Return the outcome of a declaration of so many items, which asks nobody."""
        rejected = list(self.get_decisions(name).values()).count("REJECTED")
        return _compute_outcome(items - rejected, rejected)
